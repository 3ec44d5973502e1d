"""The fault matrix, second half: what synthetic traffic goes by fails or lies: clocks, keys, rules and their sources.

Like `test_faults`, in scenes of its own, so that the halves can run side by side.
"""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterator

import pytest

from loadtag import keys
from loadtag.validity import Validity
from replayer.safety.prometheus import PrometheusSource
from rules.exits import Exit
from rules.slo import Rule
from tests.support.clocks import WallClock
from tests.support.faults import USERS, Fault, Scene, Table
from tests.support.processes import ROOT, eventually
from tests.support.prometheus import Server

pytestmark = pytest.mark.timeout(120)

HOUR = 3600

CHECKS = """
import pathlib, time

def queue_length(run):
    while pathlib.Path(__file__).with_name("hang").exists():
        time.sleep(1)
    return 0.5 if run["gain"] == 1 and run["real"]["rate"] > 0 else None
"""


@pytest.fixture
def matrix(record_property: pytest.FixtureRequest) -> Table:
    return lambda row: record_property("fault", json.dumps(row))  # type: ignore[operator]


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> tuple[WallClock, WallClock]:
    """The sidecar's and the replayer's."""
    folder = tmp_path_factory.mktemp("clocks")
    return WallClock(folder / "sidecar"), WallClock(folder / "replayer")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, clocks: tuple[WallClock, WallClock]) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    (folder / "shop_checks.py").write_text(CHECKS)
    sidecar, replayer = clocks
    env = {**replayer.env, "PYTHONPATH": f"{ROOT}:{folder}"}
    with Scene(folder, sidecar_env=sidecar.env, replay_env=env) as made:
        yield made
        made.assert_ceiling()


# --- keys


def test_a_key_expires_during_a_run(scene: Scene, matrix: Table) -> None:
    for seconds in (8, 16, 32):  # a busy machine takes long to begin
        until = int(time.time()) + seconds
        _, public = keys.generate(scene.folder, f"short-{seconds}", Validity(not_after=until))
        with (scene.folder / "load.pub").open("ab") as known:
            known.write(public.read_bytes())
        before = scene.sidecar.output.count("Reloaded")
        scene.sidecar.signal(signal.SIGHUP)
        eventually(lambda: scene.sidecar.output.count("Reloaded") > before, 40)  # noqa: B023 - called at once
        with contextlib.suppress(AssertionError):
            replay = scene.load("--duration", "5m", key=f"short-{seconds}.key")
            break
    assert replay.wait(40) == Exit.OUTSIDE_WINDOW
    fault = Fault(scene, "the key expires during a run", at=until)
    fault.over(1.5)
    assert "was good until" in scene.report().reason
    matrix(fault.row(fault.stops(0), "exit 92: it stops a second before the key does"))


# --- rules: what users get


SLOW = "p(95)<200ms window=2s for=1s grace=0s min_samples=10"
FAILING = "error_ratio<5% window=2s for=1s grace=0s min_samples=10"


def test_the_app_is_slow(scene: Scene, matrix: Table) -> None:
    replay = scene.load("--slo", SLOW)
    fault = Fault(scene, "app: answers take 0.4 s; rule p(95)<200ms window=2s for=1s")
    scene.set_mood(seconds=0.4)
    assert replay.wait() == Exit.SLO_BREACHED
    fault.over(1.2)
    scene.set_mood(seconds=0)
    matrix(fault.row(fault.stops(5), "exit 99"))


def test_the_app_is_slow_and_load_is_turned_down(scene: Scene, matrix: Table) -> None:
    scene.load("--slo", f"{SLOW} action=back-off".replace("for=1s", "for=0s"))
    fault = Fault(scene, "app: answers take 0.4 s; the same rule with action=back-off")
    scene.set_mood(seconds=0.4)
    scene.watch(8)
    fault.heal()
    left = fault.rate(6, 8)
    scene.set_mood(seconds=0)
    eventually(lambda: len(scene.arrivals(time.time_ns() - 1_000_000_000)) > 1.2 * left, 30)
    fault.over()
    assert left < 0.75 * USERS
    matrix(fault.row(f"{left / USERS:.0%} of it left after 7 s", "goes on, and comes back slowly"))


def test_the_app_fails(scene: Scene, matrix: Table) -> None:
    replay = scene.load("--slo", FAILING)
    fault = Fault(scene, "app: answers 500; rule error_ratio<5% window=2s for=1s")
    scene.set_mood(status=500)
    assert replay.wait() == Exit.SLO_BREACHED
    fault.over(1.2)
    scene.set_mood(status=200)
    matrix(fault.row(fault.stops(5), "exit 99", served=0, while_="the app's own answers"))


def test_the_app_is_gone(scene: Scene, matrix: Table) -> None:
    replay = scene.load("--slo", FAILING)
    fault = Fault(scene, "app: kill -9, started again when the run has ended; the same rule")
    scene.app.kill()
    assert replay.wait() == Exit.SLO_BREACHED
    (stopped,) = [line["at"] for line in scene.journal() if line["event"] == "slo abort"]
    assert isinstance(stopped, float)
    ended = stopped - fault.began / 1e9
    assert ended < 5
    scene.watch(0.5)
    scene.app = scene.start_app()
    fault.heal()
    fault.over(1.2)
    told = f"exit 99, {ended:.1f} s after the app went"
    matrix(fault.row(fault.stops(0.2), told, served=0, while_="nobody is there to serve them"))


# --- rules: Prometheus


@pytest.fixture(scope="module")
def prometheus(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prometheus"), [scene.stack.app.removeprefix("http://")])
    with server.process:
        yield server


def by_query(prometheus: Server) -> str:
    rule = f"value<0.8 window=5s for=1s grace=0s prometheus={prometheus.url} query=max(shop_load)"
    eventually(lambda: asyncio.run(PrometheusSource(Rule.parse(rule)).once()).value == 0.5, 20, 0.2)
    return rule


@pytest.mark.parametrize(("what", "words"), [("hangs (SIGSTOP)", "did not answer"), ("gives NaN", "gives NaN")])
def test_prometheus_lies(scene: Scene, prometheus: Server, matrix: Table, what: str, words: str) -> None:
    replay = scene.load("--slo", by_query(prometheus))
    fault = Fault(scene, f"Prometheus: {what}; a rule on a query, for=1s")
    if "NaN" in what:
        scene.set_mood(load="NaN")
    else:
        prometheus.process.signal(signal.SIGSTOP)
    assert replay.wait() == Exit.SLO_BREACHED
    fault.over(1.2)
    prometheus.process.signal(signal.SIGCONT)
    scene.set_mood(load="0.5")
    assert words in scene.report().reason
    matrix(fault.row(fault.stops(6.5), "exit 99: no data counts as a breach"))


def test_prometheus_is_down(scene: Scene, prometheus: Server, matrix: Table) -> None:
    replay = scene.load("--slo", by_query(prometheus))
    fault = Fault(scene, "Prometheus: kill -9; a rule on a query, for=1s")
    prometheus.process.kill()
    assert replay.wait() == Exit.SLO_BREACHED
    fault.over(1.2)
    assert "can't be asked" in scene.report().reason
    matrix(fault.row(fault.stops(5.5), "exit 99: no data counts as a breach"))


# --- rules: a plugin


def test_a_plugin_hangs(scene: Scene, matrix: Table) -> None:
    replay = scene.load("--slo", "value<0.8 window=5s for=1s grace=2s plugin=shop_checks:queue_length")
    fault = Fault(scene, "plugin: hangs; a rule on it, for=1s")
    (scene.folder / "hang").touch()
    assert replay.wait() == Exit.SLO_BREACHED
    fault.over(1.2)
    assert "has not come back" in scene.report().reason
    matrix(fault.row(fault.stops(6.5), "exit 99, and nobody waits for the plugin"))


# --- clocks


def _clock(clocks: tuple[WallClock, WallClock], whose: int) -> tuple[WallClock, str]:
    clocks[whose].step(0)  # or the test is skipped, before there is load
    return clocks[whose], ("sidecar", "replayer")[whose]


@pytest.mark.parametrize(("whose", "seconds"), [(0, -HOUR), (1, HOUR)])
def test_a_clock_is_set_and_tags_stay_valid(
    scene: Scene, clocks: tuple[WallClock, WallClock], matrix: Table, whose: int, seconds: int
) -> None:
    clock, name = _clock(clocks, whose)
    replay = scene.load()
    fault = Fault(scene, f"{name}: its clock is set {'back' if seconds < 0 else 'ahead'} by an hour")
    clock.step(seconds)
    fault.over(2)
    clock.step(0)
    fault.settle()
    assert replay.running()
    matrix(fault.row(fault.goes_on(0.5), "goes on: tags are valid all the same"))


@pytest.mark.parametrize(("whose", "seconds"), [(1, -HOUR), (0, HOUR)])
def test_a_clock_is_set_and_tags_have_expired(
    scene: Scene, clocks: tuple[WallClock, WallClock], matrix: Table, whose: int, seconds: int
) -> None:
    """By the sidecar's clock. It never takes back that something has expired, so this comes last."""
    clock, name = _clock(clocks, whose)
    replay = scene.load("--signal-timeout", "2s")
    fault = Fault(scene, f"{name}: its clock is set {'back' if seconds < 0 else 'ahead'} by an hour")
    clock.step(seconds)
    assert replay.wait() == Exit.SIGNAL_LOST
    fault.over()
    clock.step(0)
    report = scene.report()
    assert "expired" in report.reason
    assert report.accounts.statuses[403] < 20  # what was sent before the sidecar said so
    matrix(fault.row(fault.stops(0.2), "exit 90: the tags have expired by the sidecar's clock"))
