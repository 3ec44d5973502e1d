"""A preflight of a real target, with each fault planted that it is there to find, and what it says then."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtag import headers, keys
from loadtag.validity import Validity
from reamp.commands.choosing import chosen
from replayer.books.report import Report
from replayer.plan import Plan
from replayer.preflight import drill
from replayer.preflight.drill import whole
from replayer.preflight.findings import Checklist, Finding
from replayer.preflight.running import CHECKS, preflight
from replayer.preflight.scene import Scene
from replayer.preflight.verdicts import Shot
from replayer.preparing.prepare import papers
from rules.wire import Lever
from tests.support.clocks import WallClock
from tests.support.crowd import Crowd
from tests.support.origin import certificate
from tests.support.place import PATIENT
from tests.support.processes import Process, answers, eventually, free_port, python, reamp, run
from tests.support.recording import record, write
from tests.support.relay import Relay
from tests.support.stack import AUDIENCE, Stack

NOTHING: dict[str, Any] = dict.fromkeys(("echo", "app_header", "app_metric", "downstream_header"))
WHOLE = {"echo": "/echo", "app_header": "X-Run", "downstream_header": "X-Downstream-Run"}


STRIPPED = {b"loadtest=v1.": b"gone=nothing", b"x-load-test": b"x-nothing-x"}


class Place(Stack):
    """A target with everything: users, an app that shows load tags, one behind it, a recording of it."""

    process: Process

    @property
    def revoked(self) -> Path:
        return self.folder / "revoked.txt"

    def plan(self, **changes: Any) -> dict[str, Any]:
        given = {
            "recording": self.folder / "good",
            "to": self.url,
            "sidecars": [self.control],
            "amplify": "1.25x",
            "key": self.folder / "load.key",
            "duration": "5s",
            **WHOLE,
            "app_metric": f"{self.app}/metrics#load_requests",
            **changes,
        }
        return {name: value for name, value in given.items() if value is not None}

    def check(self, *about: str, tell: Callable[[Finding], None] = lambda _: None, **changes: Any) -> Checklist:
        """Run the checks that a test is `about`, with all that they need; all if none is named."""
        plan = Plan.model_validate(self.plan(**changes))
        run_id, signer, selection = papers(plan, chosen(plan.only, plan.except_))
        wanted = set(about or (one.name for one in CHECKS))
        for one in reversed(CHECKS):
            wanted |= set(one.needs) if one.name in wanted else set()
        checks = [one for one in CHECKS if one.name in wanted]
        return asyncio.run(preflight(plan, run_id, signer, selection, tell, checks))

    def arguments(self, command: str, *more: str, **changes: Any) -> list[str]:
        plan = self.plan(**changes)
        found = [command, str(plan.pop("recording")), "--sidecar", plan.pop("sidecars")[0]]
        options = [part for name, value in plan.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        return [*found, *options, *more]

    def lever(self) -> Lever:
        return self.state().lever

    def reset(self) -> None:
        order = {"engaged": False, "reason": "the test is over"}
        httpx.post(f"{self.control}/v1/lever", json=order, trust_env=False).raise_for_status()


def app(folder: Path, name: str, **env: str) -> tuple[Process, int]:
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.tagged:app", "--port", str(port), "--log-level", "warning")
    return Process(command, folder / f"{name}.out", env), port


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("preflight")
    private, _ = keys.generate(folder, "load")
    write(folder / "good", [record(n / 10, f"/item/{n % 3}", authority="127.0.0.1:80") for n in range(50)])
    with contextlib.ExitStack() as stack:
        behind, behind_port = app(folder, "behind")
        stack.enter_context(behind)
        front, front_port = app(folder, "front", DOWNSTREAM=f"http://127.0.0.1:{behind_port}/stock")
        stack.enter_context(front)
        made = Place(folder, f"http://127.0.0.1:{front_port}", folder / "none", keys.load_private(private))
        behind.ready(behind_port)
        front.ready(front_port)
        made.revoked.touch()
        made.process = stack.enter_context(made.sidecar(revoked=str(made.revoked)))
        crowd = stack.enter_context(Crowd(made.url, 50))
        eventually(lambda: crowd.answered > 40)
        yield made


@pytest.fixture
def dead() -> dict[str, Any]:
    """No sidecar at all: what is found on paper is found all the same, and nothing is sent."""
    return {"sidecars": [f"http://127.0.0.1:{free_port()}"]}


def failures(found: Checklist) -> dict[str, Finding]:
    return {one.check: one for one in found.failures}


def outcomes(found: Checklist) -> dict[str, str]:
    return {one.check: one.outcome for one in found.findings}


def said(found: Checklist, check: str) -> str:
    one = next(one for one in found.findings if one.check == check)
    assert one.advice or one.outcome in ("ok", "skipped")
    return f"{one.outcome}: {one.evidence} -> {one.advice}"


# --- all is well ---


def test_all_is_well(place: Place) -> None:
    before = place.state()
    found = place.check(slo=["p(95)<30s min_samples=20"])
    assert set(outcomes(found).values()) == {"ok"}, [one for one in found.findings if one.outcome != "ok"]
    assert found.requests <= 40
    assert found.seconds < 5
    assert found.canary.startswith("/item/")
    after = place.state()
    assert not after.lever.engaged
    assert found.run in after.lever.reason
    assert sum(after.requests["synthetic"].values()) - sum(before.requests["synthetic"].values()) == found.requests - 2
    assert said(found, "downstream").startswith(f"ok: X-Downstream-Run: {found.run}")


def test_nothing_named_is_skipped_and_said(place: Place) -> None:
    found = place.check("app", "downstream", **NOTHING)
    assert outcomes(found)["app"] == outcomes(found)["downstream"] == "skipped"
    assert "--echo" in said(found, "app")
    assert not found.failures


# --- on paper ---


def tagged(place: Place) -> Path:
    bad = headers.put([(b"host", b"127.0.0.1")], place.token(), "run-1")
    records = [record(0.1, "/a", authority="127.0.0.1"), record(0.2, "/b", headers=bad, authority="127.0.0.1")]
    return write(place.folder / "tagged", records)


def unsafe(place: Place) -> Path:
    records = [record(n / 10, f"/cart/{n}", "POST" if n % 2 else "GET", authority="127.0.0.1") for n in range(10)]
    return write(place.folder / "unsafe", records)


def elsewhere(place: Place) -> Path:
    return write(place.folder / "elsewhere", [record(n / 10, "/a") for n in range(10)])


def test_a_recording_that_is_not_one_of_this_target(place: Place, dead: dict[str, Any]) -> None:
    found = place.check("recording is real", recording=tagged(place), **dead)
    assert "1 of 2 records bear a load tag, the first one GET /b" in said(found, "recording is real")
    assert "record real users" in said(found, "recording is real")

    bad = unsafe(place)
    found = place.check("recording is safe", recording=bad, **dead)
    assert "5 of 10 records may change things, and no --allow names them: POST /cart/{id} (5)" in said(
        found, "recording is safe"
    )
    assert "have it sent by --allow 'POST /cart/{id}'" in said(found, "recording is safe")
    assert "this is meant by --except '~m POST'; or" in said(found, "recording is safe")
    # Both ways out are ways out.
    ways: tuple[dict[str, Any], ...] = ({"allow": "POST /cart/{id}"}, {"except_": "~m POST"})
    for way in ways:
        assert outcomes(place.check("recording is safe", recording=bad, **way, **dead))["recording is safe"] == "ok"

    found = place.check("recording fits", recording=elsewhere(place), **dead)
    assert "recorded for shop.example (10), and 127.0.0.1 is what" in said(found, "recording fits")
    assert "--host shop.example" in said(found, "recording fits")
    for host in ("shop.example", "recorded"):
        assert (
            outcomes(place.check("recording fits", recording=elsewhere(place), host=host, **dead))["recording fits"]
            == "ok"
        )


def test_where_load_may_not_go_nothing_is_sent(place: Place) -> None:
    (place.folder / "targets").write_text("*.staging.example\n")
    seen = place.state().requests["synthetic"]
    found = place.check(allowed_targets=place.folder / "targets")
    assert set(failures(found)) == {"allowed"}
    assert "is not on the list of allowed targets" in said(found, "allowed")
    assert "have its owner add it" in said(found, "allowed")
    assert found.requests == 0
    assert place.state().requests["synthetic"] == seen


def test_outside_of_its_window_nothing_is_sent(place: Place) -> None:
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a")
    found = place.check(window=f"{day} 00:00-24:00 UTC")
    assert set(failures(found)) == {"window"}
    assert "wait until it opens" in said(found, "window")
    assert found.requests == 0


def test_a_key_that_ends_before_the_run(place: Place) -> None:
    now = int(time.time())
    short, _ = keys.generate(place.folder, "short", Validity(not_after=now + 600))
    found = place.check(key=short, duration="1h")
    assert set(failures(found)) == {"key"}
    assert "and the run takes 1h" in said(found, "key")
    assert "reamp keygen" in said(found, "key")
    assert found.requests == 0


# --- sidecars ---


def test_no_sidecar(place: Place, dead: dict[str, Any]) -> None:
    found = place.check(**dead)
    assert set(failures(found)) == {"sidecar"}
    assert "no connection" in said(found, "sidecar")
    assert "Is it running" in said(found, "sidecar")
    assert found.requests == 0
    found = place.check("sidecar", sidecars=[place.app])
    assert "not the control port of a sidecar" in said(found, "sidecar")


def test_a_sidecar_that_hangs_from_the_beginning(place: Place) -> None:
    os.kill(place.process.pid, signal.SIGSTOP)
    try:
        found = place.check()
    finally:
        os.kill(place.process.pid, signal.SIGCONT)
    assert set(failures(found)) == {"sidecar"}
    assert "does not answer within 2 s: it hangs" in said(found, "sidecar")


def test_a_signal_that_goes_stale_while_it_is_watched(place: Place) -> None:
    def tell(finding: Finding) -> None:
        if finding.check == "tag":
            os.kill(place.process.pid, signal.SIGSTOP)
        if finding.check == "signal":
            os.kill(place.process.pid, signal.SIGCONT)

    found = place.check("signal", tell=tell)
    assert "is stale" in said(found, "signal")
    assert set(failures(found)) == {"signal"}


def test_clocks_that_differ(place: Place) -> None:
    clock = WallClock(place.folder / "clock")
    clock.step(45)
    other = Place(place.folder, place.app, place.app_log, place.signer)
    command = reamp("sidecar", *other.options(state=str(place.folder / "fast"), captures="none"))
    with Process(command, place.folder / "fast.out", clock.env) as process:
        process.ready(other.control_port)
        found = other.check("clocks", "signal", "canary", "not recorded")
    assert "45.0 s ahead of ours; load tags bear 30 s" in said(found, "clocks")
    assert "NTP" in said(found, "clocks")
    assert "--tag-lifetime" in said(found, "clocks")
    # And there are no users, and nothing is recorded.
    assert set(failures(found)) == {"clocks", "signal"}, failures(found)
    assert "no real request passes" in said(found, "signal")
    assert "load balancer" in said(found, "signal")
    assert said(found, "not recorded").startswith("skipped: the sidecar records nothing")


def test_a_key_or_an_audience_that_the_sidecar_does_not_know(place: Place) -> None:
    stranger, _ = keys.generate(place.folder, "stranger")
    found = place.check(key=stranger)
    assert set(failures(found)) == {"tag", "canary", "not recorded"}
    assert "does not know the key" in said(found, "tag")
    assert "--public-key" in said(found, "tag")
    assert "+1 untrusted" in said(found, "canary")
    assert "does not believe it" in said(found, "canary")
    assert outcomes(found)["lever"] == outcomes(found)["ceiling"] == "skipped"

    found = place.check("tag", audience="elsewhere")
    assert f"expects tags for {AUDIENCE}" in said(found, "tag")
    assert f"--audience {AUDIENCE}" in said(found, "tag")


def test_a_sidecar_that_can_not_read_its_list_of_revocations(place: Place) -> None:
    place.revoked.write_text("nonsense\n")
    try:
        eventually(lambda: place.state().doubt != "")
        found = place.check("tag")
        assert f"no load tag counts: the list of revocations can't be read: {place.revoked}: line 1" in said(
            found, "tag"
        )
        assert "put the file right there" in said(found, "tag")
    finally:
        place.revoked.write_text("")
        eventually(lambda: place.state().doubt == "")


# --- the way to the app ---


def test_a_target_that_leads_past_the_sidecar(place: Place) -> None:
    found = place.check(to=place.app)
    assert set(failures(found)) == {"canary", "not recorded", "bad tags"}
    assert f"--to {place.app} leads past the sidecar: it is the app itself" in said(found, "canary")
    assert "the app got to see the tag (expired and forged)" in said(found, "bad tags")
    assert "switch off the app's side effects" in said(found, "bad tags")
    # What guards nobody must not be run into.
    assert found.requests == 4
    assert {outcomes(found)[check] for check in ("app", "downstream", "lever", "ceiling")} == {"skipped"}


def test_a_target_that_takes_the_tag_away_before_the_sidecar(place: Place) -> None:
    with Relay(place.listen, replaced=STRIPPED) as relay:
        found = place.check("canary", "not recorded", "bad tags", to=f"http://127.0.0.1:{relay.port}")
    assert set(failures(found)) == {"canary", "not recorded", "bad tags"}
    assert "takes the header baggage away" in said(found, "canary")
    assert "in the recording like one of a real user" in said(found, "not recorded")


def test_a_target_that_is_not_there(place: Place) -> None:
    found = place.check("canary", "bad tags", to=f"http://127.0.0.1:{free_port()}")
    assert set(failures(found)) == {"canary", "bad tags"}
    assert "does not answer: is it the address" in said(found, "canary")


def test_an_app_that_does_not_get_the_tag(place: Place) -> None:
    folder = place.folder / "deaf"
    folder.mkdir()
    front = int(place.app.rpartition(":")[2])
    with Relay(front, replaced=STRIPPED) as relay:
        other = Place(place.folder, f"http://127.0.0.1:{relay.port}", place.app_log, place.signer)
        with (
            Process(reamp("sidecar", *other.options(state=str(folder), captures="none")), folder / "out") as process,
            Crowd(other.url, 50) as crowd,
        ):
            process.ready(other.control_port)
            eventually(lambda: crowd.answered > 40)
            found = other.check("app", "downstream", app_metric=f"{place.app}/metrics#load_requests")
    assert set(failures(found)) == {"app", "downstream"}
    words = said(found, "app")
    assert "GET /echo shows no load tag to the app" in words
    assert "has no X-Run" in words
    assert "load_requests went from" in words
    assert "have it pass them on" in words
    assert "every hop on the way passes the header `baggage` on" in said(found, "downstream")


def test_what_proves_nothing_is_not_taken_for_a_proof(place: Place) -> None:
    found = place.check(
        "bad tags", "app", echo="/missing", app_header="Content-Type", app_metric=f"{place.app}/metrics#all_requests"
    )
    assert "in the answer to a request without a valid tag, too" in said(found, "app")
    assert "it grew before that, too" in said(found, "app")
    found = place.check("app", echo=None, app_header=None, app_metric=f"{place.app}/metrics#nothing")
    assert "has no metric nothing" in said(found, "app")
    found = place.check("app", echo=None, app_header=None, app_metric=f"{place.app}/echo#load_requests")
    assert "no metrics come from there" in said(found, "app")


def test_an_instance_without_a_sidecar_is_found_by_lever_and_ceiling(place: Place) -> None:
    front = int(place.app.rpartition(":")[2])
    with Relay(place.listen, front) as balancer:
        found = place.check("lever", "ceiling", to=f"http://127.0.0.1:{balancer.port}", **NOTHING)
    assert set(failures(found)) == {"lever", "ceiling"}, found
    assert "more passed than real users earned" in said(found, "ceiling")
    assert "the lever does not hold" in said(found, "lever")
    assert "put one before every instance" in said(found, "lever")
    assert not place.lever().engaged
    assert found.requests <= 45


# --- the lever ---


def test_a_lever_that_is_pulled_already_stays_so(place: Place) -> None:
    order = {"engaged": True, "reason": "a real incident", "by": "ana"}
    httpx.post(f"{place.control}/v1/lever", json=order, trust_env=False).raise_for_status()
    try:
        found = place.check("lever", "ceiling")
        assert place.lever().reason == "a real incident"
    finally:
        place.reset()
    assert "by ana: a real incident" in said(found, "lever")
    assert f"reamp resume --sidecar {place.control}" in said(found, "lever")


def test_a_lever_that_others_would_feel_is_left_alone(place: Place) -> None:
    fields = {"baggage": f"loadtest={place.token('other')}", "x-load-test": "other"}
    with httpx.stream("GET", f"{place.control}/v1/credits", headers=fields, trust_env=False) as stream:
        lines = stream.iter_lines()
        next(lines)
        before = place.lever()
        found = place.check("lever", "ceiling")
        assert place.lever() == before
    assert not found.failures
    assert "1 other replayers listen" in said(found, "lever")
    assert outcomes(found)["ceiling"] == "skipped"


def test_a_lever_that_a_restart_would_forget(place: Place) -> None:
    kept = place.folder / "state" / "lever.json"
    kept.unlink(missing_ok=True)
    kept.mkdir()
    try:
        found = place.check("lever", "ceiling")
    finally:
        kept.rmdir()
    assert set(failures(found)) == {"lever"}
    assert "could not be written down" in said(found, "lever")
    assert "--state" in said(found, "lever")
    assert not place.lever().engaged


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # nothing is sent; the kernel only chooses where it would leave from
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def test_a_lever_that_may_not_be_reset_is_not_pulled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here = own_address()
    if here.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    certificate(place.folder, here)
    pem, trust = place.folder / "server.pem", place.folder / "ca.pem"
    pem.chmod(0o600)
    other = Place(place.folder, place.app, place.app_log, place.signer)
    control = f"{here}:{other.control_port}"
    options = {"control": control, "control-cert": str(pem), "state": str(place.folder / "far"), "captures": "none"}
    tokens = {"REAMP_SIDECAR_CONTROL_TOKEN": "c" * 32, "REAMP_SIDECAR_ADMIN_TOKEN": "a" * 32}
    monkeypatch.setenv("REAMP_CONTROL_TOKEN", "c" * 32)
    with (
        Process(reamp("sidecar", *other.options(**options)), place.folder / "far.out", tokens),
        Crowd(other.url, 50, fresh=True),
    ):
        eventually(answers(other.listen))
        found = other.check("lever", sidecars=[f"https://{control}"], control_ca=trust)
        assert set(failures(found)) == {"lever"}, failures(found)
        assert "so it was not pulled" in said(found, "lever")
        assert "--skip-check lever" in said(found, "lever")
        told = other.check("lever", "ceiling", sidecars=[f"https://{control}"], control_ca=trust, skip_check="lever")
        assert not told.failures
        assert said(told, "lever").startswith("skipped: this was asked for")
        assert said(told, "ceiling").startswith("skipped")
        assert "its admin token, into REAMP_CONTROL_TOKEN" in said(found, "lever")
        monkeypatch.setenv("REAMP_CONTROL_TOKEN", "a" * 32)
        assert not other.check("lever", sidecars=[f"https://{control}"], control_ca=trust).failures


def once_pulled(place: Place, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen while the preflight's own pull stands."""
    pair, acts = drill._pair, iter([act])

    async def hooked(scene: Scene) -> list[Shot]:
        if place.lever().engaged:
            for each in acts:
                each()
        return await pair(scene)

    monkeypatch.setattr(drill, "_pair", hooked)


def test_a_lever_that_can_no_longer_be_reset_is_said_loudly(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with Relay(place.control_port) as relay:
        once_pulled(place, relay.cut, monkeypatch)
        try:
            found = place.check("lever", sidecars=[f"http://127.0.0.1:{relay.port}"])
            assert place.lever().engaged
            assert "the preflight was killed: reamp resume" in place.lever().reason
        finally:
            place.reset()
    assert "THE LEVER IS STILL PULLED" in said(found, "lever")
    assert f"reamp resume --sidecar http://127.0.0.1:{relay.port}" in said(found, "lever")


def test_what_somebody_else_pulls_meanwhile_stays_pulled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    order = {"engaged": True, "reason": "now really", "by": "ana"}
    once_pulled(place, lambda: httpx.post(f"{place.control}/v1/lever", json=order, trust_env=False), monkeypatch)
    try:
        found = place.check("lever", "ceiling")
        assert place.lever().engaged
        assert place.lever().reason == "now really"
    finally:
        place.reset()
    assert "ana pulled it meanwhile (now really), so it stays pulled" in said(found, "lever")


def test_what_somebody_else_pulls_just_before_is_not_taken_for_the_preflight_s(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it has looked, and has seen that it may reset the lever, and before it pulls."""
    pair, order = drill._pair, {"engaged": True, "reason": "now really", "by": "ana"}

    async def pulled_before(scene: Scene) -> list[Shot]:
        if not place.lever().engaged:
            httpx.post(f"{place.control}/v1/lever", json=order, trust_env=False).raise_for_status()
        return await pair(scene)

    monkeypatch.setattr(drill, "_pair", pulled_before)
    try:
        found = place.check("lever", "ceiling")
        assert place.lever().engaged
        assert place.lever().reason == "now really"
    finally:
        place.reset()
    assert "ana pulled it meanwhile (now really), so it stays pulled" in said(found, "lever")
    assert outcomes(found)["ceiling"] == "skipped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_breaks_it_off_finds_the_lever_reset(place: Place, number: signal.Signals) -> None:
    def broken_off_in_time() -> bool:
        process = Process(reamp(*place.arguments("preflight")), place.folder / "broken-off.out")
        with process:
            eventually(lambda: place.lever().engaged or not process.running(), 30, every=0.005)
            process.signal(number)
            code = process.wait()
        assert "Traceback" not in process.output
        if number == signal.SIGKILL and place.lever().engaged:
            assert "if this still stands, the preflight was killed: reamp resume" in place.lever().reason
            place.reset()
            return True
        assert not place.lever().engaged
        return code == 105

    assert any(broken_off_in_time() for _ in range(5))  # on a busy machine it may be over before this has looked


async def test_a_pull_that_is_on_its_way_is_not_broken_off_and_neither_is_the_reset() -> None:
    done, begun = list[str](), asyncio.Event()

    async def slow(what: str) -> str:
        begun.set()
        await asyncio.sleep(0.05)
        done.append(what)
        return what

    async def both() -> None:
        try:
            await whole(slow("pull"))
        finally:
            await whole(slow("reset"))

    task = asyncio.create_task(both())
    await begun.wait()
    task.cancel()  # as by a signal
    begun.clear()
    await begun.wait()
    task.cancel()  # and as by a timeout, in the middle of what is to be undone
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["pull", "reset"]
    assert await whole(slow("more")) == "more"


def test_a_check_that_breaks_has_failed(place: Place) -> None:
    with Relay(place.control_port) as relay:

        def tell(finding: Finding) -> None:
            if finding.check == "sidecar":
                relay.cut()

        found = place.check("canary", "lever", tell=tell, sidecars=[f"http://127.0.0.1:{relay.port}"])
    assert "the check itself broke" in said(found, "canary")
    assert outcomes(found)["lever"] == "skipped"


# --- rules ---


def test_rules_whose_sources_have_data_or_none(place: Place) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    found = place.check("slo", slo=["p(95)<5s min_samples=20", "error_ratio<50% min_samples=20"])
    assert said(found, "slo").startswith("ok: p(95)<5s: "), said(found, "slo")
    found = place.check("slo", slo=["p(95)<5s", f"value<0.8 prometheus={gone} query=up"])
    assert set(failures(found)) == {"slo"}
    assert "value<0.8: no data" in said(found, "slo")
    assert "see that its source answers from here" in said(found, "slo")
    found = place.check("slo", slo=["p(95)<1us min_samples=100000"])
    assert "does not hold now, before any load" in said(found, "slo")
    assert "give it a longer window" in said(found, "slo")


# --- the commands ---


def test_the_command_tells_all_in_words_and_in_json(place: Place) -> None:
    ended = run(*place.arguments("preflight", "--json"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = Checklist.model_validate_json(ended.stdout)
    assert [one.check for one in found.findings][-1] == "slo"
    ended = run(*place.arguments("preflight", to=place.app))
    assert ended.returncode == 94
    assert "FAILED   canary: Is a tagged request seen as synthetic?" in ended.stdout
    assert "-> --to" in ended.stdout
    ended = run(*place.arguments("preflight", "--skip-check", "levre"))
    assert ended.returncode == 104
    assert "there is no such check; there are recording is real" in ended.stderr
    ended = run(*place.arguments("preflight", key="nowhere.key"))
    assert ended.returncode == 104
    assert "nowhere.key" in ended.stderr


def test_a_live_replay_begins_with_it(place: Place) -> None:
    runs = place.folder / "runs"
    ended = run(*place.arguments("replay", "--runs", str(runs), duration="1s"), env=PATIENT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (folder,) = runs.iterdir()
    found = Checklist.model_validate_json((folder / "preflight.json").read_bytes())
    assert found.run == folder.name
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in journal[:2]] == ["plan", "preflight"]
    assert journal[1]["failed"] == []
    assert "start" in [entry["event"] for entry in journal]
    assert Report.model_validate_json((folder / "report.json").read_bytes()).stop == "ended"


def test_a_live_replay_that_fails_it_sends_nothing(place: Place) -> None:
    runs = place.folder / "failed-runs"
    ended = run(*place.arguments("replay", "--runs", str(runs), to=place.app))
    assert ended.returncode == 94, ended.stdout + ended.stderr
    assert "leads past the sidecar" in ended.stdout
    (folder,) = runs.iterdir()
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    assert (report.stop, report.exit_code, report.accounts.sent) == ("preflight", 94, 0)
    assert "canary" in report.reason
    journal = [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert journal == ["plan", "preflight", "stopped"]
    told = run("report", str(folder))
    assert told.returncode == 0
    assert "a check beforehand failed" in " ".join(told.stdout.split())


def test_a_start_that_was_announced_ahead_is_checked_again_just_before_it(place: Place) -> None:
    targets, runs = place.folder / "targets", place.folder / "announced-runs"
    targets.write_text("127.0.0.1\n")
    ahead = place.arguments("replay", "--runs", str(runs), "--announce-before", "4s", "--allowed-targets", str(targets))
    with Process(reamp(*ahead), place.folder / "ahead.out") as replay:
        eventually(lambda: any("ahead" in file.read_text() for file in runs.glob("*/journal.jsonl")), 30)
        targets.write_text("elsewhere.example\n")
        assert replay.wait() == 94, replay.output
    (folder,) = runs.iterdir()
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    assert (report.stop, report.accounts.sent) == ("preflight", 0)
    assert "allowed:" in report.reason
    journal = [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [event for event in journal if event != "stage"] == ["plan", "preflight", "ahead", "preflight", "stopped"]
