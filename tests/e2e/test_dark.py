"""Dark copies over real processes: what arrives, what it costs real users (nothing), and that every copy is accounted
for, whatever the dark service and the process that sends to it do."""

import asyncio
import contextlib
import io
import json
import os
import signal
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from addons.dark.accounts import SENT
from loadtag import keys
from reamp import cli
from rules.wire import SIGNAL_TIMEOUT, Dark
from tests.support.client import Client
from tests.support.dark import Got, Mode, Service
from tests.support.origin import certificate
from tests.support.processes import Process, eventually, free_port, reamp, resident
from tests.support.provider import provider
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(120)


class Site:
    """A sidecar between users and an app, with a dark service beside."""

    def __init__(self, folder: Path, app: Service, dark: Service) -> None:
        private, _ = keys.generate(folder, "load")
        self.app, self.dark = app, dark
        self.process: Process
        self.stack = Stack(folder, app.url, folder / "none", keys.load_private(private))

    @contextlib.contextmanager
    def sidecar(self, *flags: str, **changes: str) -> Iterator[Process]:
        options = self.stack.options(**{"dark": self.dark.url, "captures": "none", **changes})
        with Process(reamp("sidecar", *options, *flags), self.stack.folder / "sidecar.out") as process:
            process.ready(self.stack.control_port)
            yield process

    @property
    def state(self) -> Dark:
        state = self.stack.state().dark
        assert state is not None
        return state

    def settled(self) -> Dark:
        """Wait until nothing is on its way."""
        found: list[Dark] = []

        def nothing_is() -> bool:
            found[:] = [self.state]
            return not (found[0].answering or found[0].waiting or found[0].in_flight)

        eventually(nothing_is, 30)
        assert found[0].reconciles(), found[0]
        return found[0]

    def ask(self, number: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Have users ask so often, four at a time, and check each answer."""

        async def one(user: int) -> None:
            async with Client(self.stack.url) as client:
                for at in range(user, number, 4):
                    answer = await client.request("GET", f"/item/{at}", list(headers))
                    assert (answer.status, answer.body) == (200, f"GET /item/{at} 0".encode())

        async def all_of_them() -> None:
            await asyncio.gather(*(one(user) for user in range(4)))

        asyncio.run(all_of_them())

    def cli(self, *arguments: str) -> str:
        """Run a command as a user would, but in this process: to start one takes longer."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            assert cli.run([*arguments, "--sidecar", self.stack.control]) == 0
        return said.getvalue()


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    with Service() as app, Service() as dark:
        yield Site(folder, app, dark)


@pytest.mark.parametrize("lane", ["fast", "full"], ids=["fast-http1", "full-http2"])
def test_real_requests_arrive_marked_and_nothing_else_does(tmp_path: Path, lane: str) -> None:
    asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = [
        ("GET", "/x?a=1", [("cookie", "a=1"), ("accept", "*/*")], b""),
        ("HEAD", "/x", [], b""),
        ("OPTIONS", "/x", [], b""),
        ("GET", "/big", [], b""),
        ("POST", "/x", [("content-type", "text/plain")], b"p" * 30_000),
        ("POST", "/long", [], b"p" * 150_000),  # streamed, and longer than what is copied
        ("POST", "/unknown", [], b"p" * 20_000),  # whose length is known at its end
        ("PUT", "/x", [], b"p"),
    ]
    trust, _ = certificate(tmp_path, "127.0.0.1")
    scheme, flags = ("http", []) if lane == "fast" else ("https", ["--tls-certificate", str(tmp_path / "server.pem")])
    flags += ["--dark-allow", "POST", "--dark-compare", "status,size,body-hash", "--forwarded"]
    with site(tmp_path) as here, here.sidecar(*flags, **{"dark-share": "100%", "dark-name": "next"}):
        verify = ssl.create_default_context(cafile=str(trust))
        url = f"{scheme}://127.0.0.1:{here.stack.listen}"
        with httpx.Client(base_url=url, http2=lane == "full", verify=verify, trust_env=False) as client:
            answers = [
                client.request(method, path, headers=headers, content=iter([body]) if path == "/unknown" else body)
                for method, path, headers, body in asked
            ]
            answers.append(client.get("/synthetic", headers=here.stack.tagged()))
            answers.append(client.get("/forged", headers=[("baggage", "loadtest=nonsense")]))
            answers.append(client.get("/marked", headers=[("X_Reamp_Dark", "next")]))
        assert {(answer.status_code, answer.http_version) for answer in answers} == {
            (200, "HTTP/1.1" if lane == "fast" else "HTTP/2")
        }
        state = here.settled()
        assert state.seen == len(asked)
        outcomes = {name: count for name, count in state.outcomes.items() if count}
        assert outcomes == {"excluded": 1, "too_long": 1, "2xx": 6}
        assert state.compared == {key: {"same": 6, "different": 0} for key in ("status", "size", "body-hash")}
        copied = [one for one in asked if one[0] != "PUT" and one[1] != "/long"]
        got = {(one.method, one.target): one for one in here.dark.seen}
        assert len(here.dark.seen) == len(copied)
        for method, path, headers, body in copied:
            copy = got[method, path]
            assert copy.headers["x-reamp-dark"] == "next"
            assert copy.headers["host"] == f"127.0.0.1:{here.stack.listen}"
            assert copy.headers["x-forwarded-for"] == "127.0.0.1"
            assert copy.body == body
            assert not [name for name, value in headers if copy.headers[name] != value]
        assert not [one for one in here.app.seen if any("dark" in name for name in one.headers)]
        assert len(here.app.seen) == len(asked) + 3
        # To the meter, who bears a forged mark is no real user.
        assert here.stack.state().requests["untrusted"]["2xx"] == 2
        if lane == "full":
            return
        # A copy that comes to a sidecar before a dark service is no user either, and keeps its mark.
        other = free_port()
        ports = {"listen": f"127.0.0.1:{other}", "control": f"127.0.0.1:{free_port()}"}
        options = here.stack.options(captures="none", state=str(tmp_path / "behind"), **ports)
        with Process(reamp("sidecar", *options, "--trust-dark"), tmp_path / "behind.out") as behind:
            behind.ready(other)

            async def arrive() -> None:
                async with Client(f"http://127.0.0.1:{other}") as client:
                    await client.request("GET", "/behind", [("x-reamp-dark", "next")])

            asyncio.run(arrive())
            assert here.app.seen[-1].headers["x-reamp-dark"] == "next"


TRACES = ("traceparent", "b3")

HELD_BACK = """sidecar:
  inside: [localhost]
  third_parties:
    - {match: 127.0.0.1/v1/charges, method: POST, action: stub, body: {id: "ch_{{ id }}"}}
"""


async def charged(egress: int, provider: int, order: int, got: Got) -> str:
    """Call the provider as what serves a request would that passes on its trace, and nothing else."""
    fields = {name: value for name, value in got.headers.items() if name in TRACES}
    async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{egress}", trust_env=False) as client:
        url = f"http://127.0.0.1:{provider}/v1/charges"
        return str((await client.post(url, data={"order": str(order)}, headers=fields)).json()["id"])


async def test_what_is_called_for_copies_is_held_back_and_what_is_for_their_originals_is_not(tmp_path: Path) -> None:
    egress = free_port()
    config = tmp_path / "reamp.yaml"
    traced = [
        {"traceparent": f"00-{n:032x}-{n:016x}-01"} if n % 2 else {"b3": f"{n:032x}-{n:016x}-1"} for n in range(1, 9)
    ]
    async with provider() as real:
        config.write_text(HELD_BACK)
        flags = ["--config", str(config), "--dark-allow", "POST"]
        with (
            site(tmp_path) as here,
            here.sidecar(*flags, **{"dark-share": "100%", "egress": f"127.0.0.1:{egress}"}) as process,
        ):
            async with httpx.AsyncClient(base_url=here.stack.url, trust_env=False) as users:
                for fields in traced:
                    assert (await users.post("/buy", headers=fields)).status_code == 200
            await asyncio.to_thread(here.settled)
            assert (len(here.app.seen), len(here.dark.seen)) == (8, 8)
            for number, (original, copy) in enumerate(zip(here.app.seen, here.dark.seen, strict=True)):
                assert {name: original.headers[name] for name in TRACES if name in original.headers} == traced[number]
                assert (await charged(egress, real.port, number, original)).startswith("real_")
                assert (await charged(egress, real.port, number, copy)).startswith("ch_")
                # What they call of ours knows a copy by its mark.
                url, parent = f"http://localhost:{real.port}/", copy.headers["traceparent"]
                async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{egress}", trust_env=False) as client:
                    await client.get(url, headers={"traceparent": parent})
                assert b"x-reamp-dark: dark" in real.heads[-1]
            assert [order for order in real.orders if order] == [str(number) for number in range(8)]
            assert not [head for head in real.heads if b"v1/charges" in head and b"dark" in head]
            assert here.dark.seen[0].headers["tracestate"] == f"reamp={1:032x}", "it can be told whose copy it was"
            state = here.stack.state().egress
            assert state is not None
            assert {kind: {by: n for by, n in counts.items() if n} for kind, counts in state.calls.items()} == {
                "synthetic": {},
                "dark": {"trace": 16},
                "real": {"trace": 8},
                "unattributed": {},
            }
            assert state.answered == {"blocked": 0, "stubbed": 8}
            assert "dark calls" in here.cli("status")
            assert "what is called for them by the egress goes by the rules for third parties" in process.output
            assert "beware: other tunnels pass as they are" in process.output


async def test_before_a_dark_service_the_egress_holds_back_what_is_called_for_copies(tmp_path: Path) -> None:
    egress = free_port()
    config = tmp_path / "reamp.yaml"
    parent = {"traceparent": f"00-{1:032x}-{1:016x}-01"}
    async with provider() as real:
        config.write_text(HELD_BACK)
        with Service() as service:
            private, _ = keys.generate(tmp_path, "load")
            behind = Stack(tmp_path, service.url, tmp_path / "none", keys.load_private(private))
            options = behind.options(captures="none", egress=f"127.0.0.1:{egress}", config=str(config))
            with Process(reamp("sidecar", *options, "--trust-dark"), tmp_path / "sidecar.out") as process:
                process.ready(behind.control_port)
                async with httpx.AsyncClient(base_url=behind.url, trust_env=False) as client:
                    await client.post("/buy", headers={"x-reamp-dark": "next", **parent})
                    await client.post("/buy", headers={"x-reamp-dark": "next"})
                    await client.post("/buy", headers={"traceparent": f"00-{2:032x}-{2:016x}-01"})
                copy, untraced, user = service.seen
                assert copy.headers["traceparent"] == parent["traceparent"], "a trace that no user bears stays"
                assert (await charged(egress, real.port, 0, copy)).startswith("ch_")
                assert (await charged(egress, real.port, 1, untraced)).startswith("ch_")
                assert (await charged(egress, real.port, 2, user)).startswith("real_")
        assert real.orders == ["2"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One that copies all there is, two workers, and little patience."""
    with site(tmp_path_factory.mktemp("dark")) as here:
        limits = {"dark-share": "100%", "dark-timeout": "1s", "dark-at-once": "4", "workers": "2"}
        with here.sidecar(**limits) as here.process:
            here.ask(40)  # warm
            here.settled()
            yield here


def grown(before: Dark, after: Dark) -> dict[str, int]:
    return {
        name: count - before.outcomes[name] for name, count in after.outcomes.items() if count > before.outcomes[name]
    }


def is_well(here: Site) -> bool:
    """Whether copies come through again."""
    before = here.settled()
    here.ask(1)
    return "2xx" in grown(before, here.settled())


@pytest.mark.parametrize("mode", ["slow", "failing", "hanging", "resetting", "gone"])
def test_however_the_dark_service_fares_users_get_theirs_and_every_copy_is_accounted_for(
    busy: Site, mode: Mode | str
) -> None:
    workers = [worker.pid for worker in busy.stack.state().workers]
    before, came = busy.settled(), len(busy.dark.seen)
    memory = [resident(pid) for pid in (*workers, before.pid)]
    if mode == "gone":
        busy.dark.gone()
    else:
        busy.dark.fare(mode)  # type: ignore[arg-type]
    busy.ask(300)
    after = busy.settled()
    outcomes = grown(before, after)
    assert after.seen - before.seen == sum(outcomes.values()) == 300
    expected = {"slow": "2xx", "failing": "5xx", "hanging": "timeout", "resetting": "failed", "gone": "failed"}[mode]
    assert outcomes[expected] > 0
    assert set(outcomes) <= {expected, "timeout", "shed", "stale"}
    got = len(busy.dark.seen) - came
    assert got <= sum(outcomes.get(name, 0) for name in SENT)
    if mode in ("slow", "failing"):
        assert got >= outcomes[expected]
    for pid, size in zip((*workers, before.pid), memory, strict=True):
        assert resident(pid) - size < 16 << 20
    assert busy.stack.state().requests["real"].get("5xx", 0) == 0
    busy.dark.back() if mode == "gone" else busy.dark.fare("well")
    eventually(lambda: is_well(busy), 30)


def test_an_aide_that_is_stopped_has_workers_shed_and_goes_on_with_what_is_new(busy: Site) -> None:
    before = busy.settled()
    workers = [worker.pid for worker in busy.stack.state().workers]
    memory = [resident(pid) for pid in workers]
    os.kill(before.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        busy.ask(400, [("x-fill", "f" * 8_000)])
        state = busy.state
        assert state.outcomes["shed"] > before.outcomes["shed"]
        assert state.waiting > 0
        for pid, size in zip(workers, memory, strict=True):
            assert resident(pid) - size < 16 << 20
        eventually(lambda: time.monotonic() - began > 1.5)  # what waits is old then
    finally:
        os.kill(before.pid, signal.SIGCONT)
    after = busy.settled()
    outcomes = grown(before, after)
    assert after.seen - before.seen == sum(outcomes.values()) == 400
    assert outcomes["stale"] > 0
    assert after.restarts == before.restarts
    eventually(lambda: is_well(busy), 30)


def test_an_aide_and_a_worker_that_are_killed_leave_true_accounts(busy: Site) -> None:
    before, came = busy.settled(), len(busy.dark.seen)
    busy.dark.fare("hanging")
    busy.ask(20)
    eventually(lambda: len(busy.dark.seen) > came and busy.state.in_flight)
    os.kill(before.pid, signal.SIGKILL)
    busy.ask(20)
    eventually(lambda: busy.state.serving and busy.state.restarts == before.restarts + 1)
    busy.dark.fare("well")
    eventually(lambda: is_well(busy), 30)
    outcomes = grown(before, busy.settled())
    assert 1 <= outcomes["lost"] <= 4
    worker = busy.stack.state().workers[0].pid
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in [one.pid for one in busy.stack.state().workers])
    eventually(lambda: all(one.state == "serving" for one in busy.stack.state().workers))
    before = busy.settled()
    busy.ask(40)
    outcomes = grown(before, busy.settled())
    assert sum(outcomes.values()) == 40
    assert outcomes["2xx"] > 0


def test_without_anybody_who_could_stop_them_none_is_sent_and_users_are_served_on(busy: Site) -> None:
    """The last one to use what it is given: nothing tells how it is any more."""
    busy.settled()
    os.kill(busy.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: time.monotonic() - killed > SIGNAL_TIMEOUT + 0.2)
    came = len(busy.dark.seen)
    busy.ask(40)
    assert len(busy.dark.seen) == came


def test_its_own_lever_latches_over_a_restart_and_the_main_one_holds_copies_up_too(tmp_path: Path) -> None:
    config = tmp_path / "reamp.yaml"
    config.write_text("sidecar: {dark_share: 100%}\n")
    with site(tmp_path) as here:
        with here.sidecar("--config", str(config)):
            here.ask(8)
            assert here.settled().sent == 8
            assert "lever of the dark copies pulled" in here.cli("stop", "--dark", "--reason", "it suffers")
            here.ask(8)
            state = here.settled()
            assert (state.sent, state.outcomes["stopped"]) == (8, 8)
            assert not here.stack.state().lever.engaged
        with here.sidecar("--config", str(config)) as process:
            assert here.state.lever.engaged
            assert here.state.lever.reason == "it suffers"
            here.ask(8)
            assert here.settled().outcomes["stopped"] == 8
            here.cli("resume", "--dark", "--reason", "all well")
            here.ask(8)
            assert here.settled().sent == 8
            here.cli("stop")
            here.ask(8)
            state = here.settled()
            assert (state.sent, state.outcomes["stopped"]) == (8, 16)
            assert not state.lever.engaged
            said = here.cli("status")
            assert "16 stopped" in said
            assert "the main lever holds them up" in said
            assert json.loads(here.cli("status", "--json"))["dark"]["sent"] == 8
            here.cli("resume")
            here.ask(8)
            assert here.settled().sent == 16
            assert len(here.dark.seen) == 24
            # A reload exchanges the aide, too.
            before = here.state.pid
            config.write_text("sidecar: {dark_share: 100%, dark_name: next}\n")
            process.signal(signal.SIGHUP)
            eventually(lambda: here.state.name == "next" and here.state.pid not in (0, before))
            here.ask(8)
            eventually(lambda: len(here.dark.seen) == 32)
            assert here.dark.seen[-1].headers["x-reamp-dark"] == "next"
            here.settled()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dark", "127.0.0.1:8001"], "write it like http://127.0.0.1:8001"),
        (["--dark", "http://h:1/path"], "not the URL of a service"),
        (["--dark", "http://h:x"], "not the URL of a service"),
        (["--dark", "http://localhost:8000"], "--dark is the app that users see"),
        (["--dark", "http://127.0.0.1:8080"], "--dark is this sidecar itself"),
        (["--dark", "http://dark.example.com"], "--dark-secrets drop"),
        (["--dark-share", "5%"], "--dark-share: it is about dark copies: say --dark URL as well"),
        (["--dark", "http://h", "--dark-share", "0%"], "--dark-share"),
        (["--dark", "http://h", "--dark-allow", "CONNECT"], "'CONNECT' can't be copied"),
        (["--dark", "http://h", "--dark-compare", "colour"], "name some of status, size, body-hash"),
        (["--dark", "http://h", "--dark-body-limit", "1MiB"], "--dark-body-limit"),
        (["--dark", "http://h", "--dark-name", "a b"], "--dark-name"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    flags: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["sidecar", "--upstream", "http://127.0.0.1:8000", *flags]) == 104
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
