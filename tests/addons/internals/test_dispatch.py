"""Hooks from the table against mitmproxy's own add-on manager, on the same add-ons."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy import exceptions, http, options
from mitmproxy.addonmanager import AddonManager
from mitmproxy.addons import script
from mitmproxy.hooks import UpdateHook
from mitmproxy.master import Master
from mitmproxy.proxy.layers.http._hooks import HttpRequestHook
from mitmproxy.proxy.server_hooks import ClientConnectedHook
from mitmproxy.test import taddons, tflow

from addons.internals import dispatch, trial
from addons.internals.dispatch import Hooks, PlainHooks, hooks_of

WAYS = (
    "plain",
    "returns",
    "waits",
    "waits not",
    "fails",
    "fails later",
    "halts",
    "halts later",
    "not callable",
    "module",
)


class Probe:
    """An add-on whose hook does one of `WAYS`, with others inside."""

    def __init__(self, way: str, inside: list["Probe"], updates: str | None, number: int, seen: list[str]) -> None:
        self.name = f"probe-{number}"
        self.seen = seen
        if inside:
            self.addons = inside
        hook: Any = {
            "waits": self._waits,
            "waits not": self._waits_not,
            "fails later": self._fails_later,
            "halts later": self._halts_later,
            "not callable": "no hook",
            "module": asyncio,
        }.get(way, self._at_once)
        self.way = way
        self.request = hook
        if updates is not None:
            self.update = self._updates if updates == "plain" else self._updates_later

    def _at_once(self, flow: http.HTTPFlow) -> str | None:
        self.seen.append(f"{self.name} {flow.id}")
        if self.way == "fails":
            raise ValueError(self.name)
        if self.way == "halts":
            raise exceptions.AddonHalt
        return "ignored" if self.way == "returns" else None

    async def _waits(self, flow: http.HTTPFlow) -> None:
        self.seen.append(f"{self.name} waits")
        await asyncio.sleep(0)
        self.seen.append(f"{self.name} {flow.id}")

    async def _waits_not(self, flow: http.HTTPFlow) -> None:
        self.seen.append(f"{self.name} {flow.id}")

    async def _fails_later(self, flow: http.HTTPFlow) -> None:
        await self._waits(flow)
        raise ValueError(self.name)

    async def _halts_later(self, flow: http.HTTPFlow) -> None:
        await self._waits(flow)
        raise exceptions.AddonHalt

    def _updates(self, flows: list[http.HTTPFlow]) -> None:
        self.seen.append(f"{self.name} update {[flow.id for flow in flows]}")

    async def _updates_later(self, flows: list[http.HTTPFlow]) -> None:
        await asyncio.sleep(0)
        self._updates(flows)


Shape = tuple[str, str | None, list[Any]]
shapes: st.SearchStrategy[Shape] = st.recursive(
    st.tuples(st.sampled_from(WAYS), st.sampled_from([None, None, "plain", "later"]), st.just([])),
    lambda inner: st.tuples(st.sampled_from(WAYS), st.just(None), st.lists(inner, max_size=3)),
    max_leaves=5,
)


def built(shape: list[Shape], seen: list[str]) -> list[Probe]:
    count = iter(range(1000))

    def build(way: str, updates: str | None, inside: list[Shape]) -> Probe:
        return Probe(way, [build(*each) for each in inside], updates, next(count), seen)

    return [build(*each) for each in shape]


def manager_of(chain: list[Any]) -> AddonManager:
    stub: Any = SimpleNamespace(options=SimpleNamespace(changed=SimpleNamespace(connect=id)))
    manager = AddonManager(stub)
    manager.chain += chain
    return manager


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(shapes, max_size=4))
async def test_the_same_is_called_in_the_same_order_and_the_same_faults_are_told(
    caplog: pytest.LogCaptureFixture, shape: list[Shape]
) -> None:
    flow = tflow.tflow()
    seen: list[str] = []
    caplog.clear()
    await manager_of(built(shape, seen)).handle_lifecycle(HttpRequestHook(flow))
    theirs, told = seen[:], _told(caplog)
    seen.clear()
    caplog.clear()
    waiting = Hooks(manager_of(built(shape, seen))).run("request", flow)
    if waiting is not None:
        await waiting
    assert seen == theirs
    assert _told(caplog) == told


def _told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str, object]]:
    return [
        (record.name, record.levelno, record.getMessage().split(" at 0x")[0], record.exc_info and record.exc_info[0])
        for record in caplog.records
    ]


async def test_nothing_waits_without_need() -> None:
    seen: list[str] = []
    hooks = Hooks(manager_of(built([("plain", "plain", []), ("fails", None, []), ("halts", None, [])], seen)))
    flow = tflow.tflow()
    assert hooks.run("request", flow) is None
    assert hooks.run("response", flow) is None
    assert [entry.split()[0] for entry in seen] == ["probe-0", "probe-1", "probe-2", "probe-0", "probe-0"]


async def test_a_fault_is_told_from_the_add_on_on(caplog: pytest.LogCaptureFixture) -> None:
    for way in ("fails", "fails later"):
        caplog.clear()
        waiting = Hooks(manager_of(built([(way, None, [])], []))).run("request", tflow.tflow())
        if waiting is not None:
            await waiting
        (record,) = caplog.records
        assert record.getMessage() == "Addon error: probe-0"
        assert record.exc_info
        trace = record.exc_info[2]
        assert trace
        assert trace.tb_frame.f_code.co_filename == __file__


@pytest.mark.parametrize("later", [False, True])
async def test_a_wrong_option_is_not_swallowed(later: bool) -> None:
    def refuse(_: object) -> None:
        raise exceptions.OptionsError

    async def refuse_later(_: object) -> None:
        refuse(_)

    async def run() -> None:
        waiting = Hooks(manager_of([SimpleNamespace(request=refuse_later if later else refuse)])).run("request", 1)
        assert waiting is not None
        await waiting

    with pytest.raises(exceptions.OptionsError):
        await run()


class Counting:
    """An add-on that counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def client_connected(self, _client: object) -> None:
        self.count += 1

    async def running(self) -> None:
        self.count += 100


async def test_what_comes_and_goes_at_run_time_is_called_while_it_is_there() -> None:
    master = Master(options.Options())
    hooks = hooks_of(master)
    assert hooks_of(master) is hooks
    first, second, nested = Counting("first"), Counting("second"), Counting("nested")
    client = tflow.tclient_conn()

    def counts() -> tuple[int, int, int]:
        assert hooks.run("client_connected", client) is None
        return first.count, second.count, nested.count

    assert counts() == (0, 0, 0)
    master.addons.add(first)
    assert counts() == (1, 0, 0)
    master.addons.add(second)
    assert counts() == (2, 1, 0)
    second.addons = [nested]  # type: ignore[attr-defined]
    master.addons.register(nested)
    assert counts() == (3, 2, 1)
    master.addons.remove(second)
    assert counts() == (4, 2, 1)
    await master.addons.handle_lifecycle(ClientConnectedHook(client))
    await master.running()
    assert first.count == 105
    master.addons.clear()
    assert counts() == (105, 2, 1)
    master._legacy_log_events.uninstall()


async def test_a_script_that_is_loaded_and_taken_away_is_called_meanwhile(tmp_path: Any) -> None:
    path = tmp_path / "script.py"
    path.write_text("def request(flow):\n    flow.metadata['seen'] = True\n")
    loader = script.ScriptLoader()
    with taddons.context(loader) as context:
        hooks = hooks_of(context.master)
        scripts: list[str]
        for scripts, seen in (([], False), ([str(path)], True), ([], False)):
            context.options.scripts = scripts
            while scripts and not loader.addons[0].addons:
                hooks.run("request", tflow.tflow())
                await asyncio.sleep(0)
            flow = tflow.tflow()
            waiting = hooks.run("request", flow)
            if waiting is not None:
                await waiting
            assert ("seen" in flow.metadata) is seen


async def test_mitmproxys_own_ways_use_the_table() -> None:
    seen: list[str] = []
    with taddons.context(*built([("plain", "plain", []), ("waits", None, [])], seen)) as context:
        hooks_of(context.master)
        flow = tflow.tflow()
        await context.master.addons.handle_lifecycle(HttpRequestHook(flow))
        await context.master.addons.trigger_event(UpdateHook([flow]))
        assert [entry.split()[0] for entry in seen] == ["probe-0", "probe-1", "probe-1", "probe-0", "probe-0"]
        assert isinstance(context.master.addons, dispatch._Watched)


async def test_a_mitmproxy_that_is_not_known_is_left_to_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mitmproxy.addonmanager.AddonManager.handle_lifecycle", AddonManager.trigger_event)
    monkeypatch.setattr(trial, "_passed", {})
    seen: list[str] = []
    with taddons.context(*built([("plain", None, [])], seen)) as context:
        hooks = hooks_of(context.master)
        assert isinstance(hooks, PlainHooks)
        assert hooks_of(context.master) is hooks
        waiting = hooks.run("request", tflow.tflow())
        assert waiting is not None
        await waiting
        assert len(seen) == 1
    with taddons.context() as context:
        assert isinstance(hooks_of(context.master), PlainHooks)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
