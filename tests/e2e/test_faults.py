"""The fault matrix, first half: processes, disks and networks that fail under a live replay, and what that costs whom.

One row a test, over real processes; they share one scene, which each leaves in order. What is demanded of a row is in
`Fault.stops`, `Fault.goes_on` and `Fault.row`. See `tests.support.faults`, and `test_faults_judged` for the other half.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rules.exits import Exit
from rules.wire import Worker
from tests.support.disks import Disk
from tests.support.faults import Fault, Scene, Table
from tests.support.processes import eventually, run

pytestmark = pytest.mark.timeout(120)

WITHIN = 1.25
"""Seconds within which synthetic traffic has to be zero: a signal is worth one, and what was sent takes a moment."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scene")


@pytest.fixture(scope="module")
def disks(folder: Path) -> Iterator[tuple[Disk, Disk, str]]:
    """Disks of their own for the recording and for a run's books, and, if there can be none, why."""
    made = Disk(folder / "recordings"), Disk(folder / "books")
    with contextlib.ExitStack() as mounted:
        for disk in made:
            if problem := disk.mount("size=8m"):
                break
            mounted.callback(subprocess.run, ["umount", "-l", str(disk.folder)], check=True)
        yield *made, problem


@pytest.fixture(scope="module")
def shared(folder: Path, disks: tuple[Disk, Disk, str]) -> Iterator[Scene]:
    assert disks  # they are mounted before anything is written there
    # So that a full disk soon costs records: a new file needs room at once, and not many records wait in memory.
    with Scene(folder, {"segment-age": "1s", "queue-size": "16KiB"}) as made:
        yield made
        made.assert_ceiling()


@pytest.fixture
def scene(shared: Scene) -> Scene:
    """The scene, with a replay under way."""
    shared.load()
    return shared


@pytest.fixture
def matrix(record_property: pytest.FixtureRequest) -> Table:
    return lambda row: record_property("fault", json.dumps(row))  # type: ignore[operator]


def workers(scene: Scene) -> list[Worker]:
    return [worker for worker in scene.stack.state().workers if worker.state == "serving"]


def test_the_control_port_falls_silent(scene: Scene, matrix: Table) -> None:
    fault = Fault(scene, "control port: connections hang, nothing passes")
    scene.relay.cut()
    scene.watch()
    fault.heal()
    scene.relay.mend()
    scene.flows(fault.healed)
    fault.over()
    matrix(fault.row(fault.stops(WITHIN), f"goes on, sends again {fault.resumed:.1f} s after the end"))


def test_the_control_port_is_cut(scene: Scene, matrix: Table) -> None:
    fault = Fault(scene, "control port: connections reset, new ones refused")
    scene.relay.sever()
    scene.watch()
    fault.heal()
    scene.relay.mend()
    scene.flows(fault.healed)
    fault.over()
    matrix(fault.row(fault.stops(WITHIN), f"goes on, sends again {fault.resumed:.1f} s after the end"))


def test_the_replayer_is_stopped_for_five_seconds(scene: Scene, matrix: Table) -> None:
    replay = scene.load()
    fault = Fault(scene, "replayer: SIGSTOP, SIGCONT 5 s later")
    replay.signal(signal.SIGSTOP)
    scene.watch(5)
    fault.heal()
    replay.signal(signal.SIGCONT)
    scene.flows(fault.healed)
    fault.over(1.5)
    assert fault.burst <= 50 * 1.5 + 10  # a second's own share and, at most, what half a second had earned
    matrix(fault.row(fault.stops(0.2), f"goes on, nothing caught up: {fault.burst} in its first second"))


def test_a_worker_is_killed(scene: Scene, matrix: Table) -> None:
    victim, other = workers(scene)
    fault = Fault(scene, "sidecar: kill -9 of one worker of two")
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: len({worker.pid for worker in workers(scene)} - {victim.pid, other.pid}) == 1, 30)
    fault.over(1)
    assert fault.goes_on(1)
    matrix(fault.row(fault.goes_on(1), "goes on"))


def test_a_worker_hangs(scene: Scene, matrix: Table) -> None:
    victim, other = workers(scene)
    fault = Fault(scene, "sidecar: one worker of two stopped for 5 s")
    os.kill(victim.pid, signal.SIGSTOP)
    scene.watch(5)
    fault.heal()
    os.kill(victim.pid, signal.SIGCONT)
    fault.over(1)
    eventually(lambda: {worker.pid for worker in workers(scene)} == {victim.pid, other.pid}, 20)
    matrix(fault.row(fault.goes_on(2), "goes on"))


def test_the_sidecar_is_stopped(scene: Scene, matrix: Table) -> None:
    """Real users can't get through either: their requests wait."""
    fault = Fault(scene, "sidecar: all of it stopped (SIGSTOP) for 2.5 s")
    scene.sidecar.signal(signal.SIGSTOP)
    scene.watch()
    healed = fault.heal()
    scene.sidecar.signal(signal.SIGCONT)
    scene.flows(fault.healed)
    fault.over(1.5)
    # Nothing is caught up but what users themselves come up with, all those who had to wait.
    assert not scene.stack.state().lever.engaged  # nobody asked for that
    assert fault.burst <= sum(healed <= visit.ended <= healed + 1.5e9 for visit in fault.visits) + 10
    matrix(fault.row(fault.stops(0.2), f"goes on, sends again {fault.resumed:.1f} s after the end"))


def test_the_sidecar_is_reloaded(scene: Scene, matrix: Table) -> None:
    fault = Fault(scene, "sidecar: all workers exchanged (SIGHUP)")
    before = scene.sidecar.output.count("Reloaded")
    scene.sidecar.signal(signal.SIGHUP)
    eventually(lambda: scene.sidecar.output.count("Reloaded") > before, 40)
    fault.over(1)
    matrix(fault.row(fault.goes_on(1), "goes on"))


def test_the_sidecar_is_killed_and_started_anew(scene: Scene, matrix: Table) -> None:
    """Nobody is there to serve the users of this sidecar until it is back. Others of a fleet would be."""
    replay = scene.load()
    fault = Fault(scene, "sidecar: kill -9 of all of it, started again 1.5 s later")
    scene.sidecar.kill()
    scene.watch(1.5)
    fault.heal()
    scene.sidecar = scene.start_sidecar()
    scene.flows(fault.healed)
    back = time.time_ns()
    fault.over(1)
    later = [visit for visit in fault.visits if visit.began > back]
    assert all(visit.served for visit in later)
    assert replay.running()
    told = f"nobody serves them for {(back - fault.began) / 1e9:.1f} s, then 100%"
    matrix(fault.row(fault.stops(0.2), "goes on, sends again once it is back", served=0, while_=told))


def test_the_supervisor_is_killed(scene: Scene, matrix: Table) -> None:
    replay = scene.load()
    fault = Fault(scene, "sidecar: kill -9 of its supervisor, another one started 2.5 s later")
    orphans = {worker.pid for worker in workers(scene)}
    os.kill(scene.sidecar.pid, signal.SIGKILL)
    scene.watch()
    fault.heal()
    scene.sidecar = scene.start_sidecar()
    scene.flows(fault.healed)
    fault.over(1)
    assert not orphans & {worker.pid for worker in workers(scene)}
    assert replay.running()
    matrix(fault.row(fault.stops(0.2), "goes on, sends again once it is there"))


def test_the_disk_of_the_recording_is_full(scene: Scene, disks: tuple[Disk, Disk, str], matrix: Table) -> None:
    disk, _, problem = disks
    if problem:
        pytest.skip(f"nothing can be mounted here: {problem}")
    fault = Fault(scene, "sidecar: the disk of the recording is full")
    ballast = disk.fill()
    before = scene.stack.state().accounting
    eventually(lambda: scene.stack.state().accounting.dropped > before.dropped + 25, 20)
    fault.heal()
    ballast.unlink()
    fault.over()
    after = scene.stack.state().accounting
    assert after.reconciles()
    told = f"{after.dropped - before.dropped} records dropped, and counted"
    matrix(fault.row(fault.goes_on(1), "goes on", while_=told))


def test_the_disk_of_the_run_is_full(shared: Scene, disks: tuple[Disk, Disk, str], matrix: Table) -> None:
    _, disk, problem = disks
    if problem:
        pytest.skip(f"nothing can be mounted here: {problem}")
    replay = shared.load("--duration", "5s", runs=disk.folder)
    fault = Fault(shared, "replayer: the disk of the run's folder is full")
    disk.fill()
    shared.watch(1.5)
    told = fault.goes_on(1)
    assert replay.wait() == Exit.FAILED
    assert "No space left on device" in " ".join(replay.output.replace("│", " ").split())
    fault.over()
    matrix(fault.row(told, "goes on to its end; exit 1: its books were not written"))


def test_the_replayer_is_killed(scene: Scene, matrix: Table) -> None:
    replay = scene.load()
    fault = Fault(scene, "replayer: kill -9")
    replay.kill()
    fault.over(1.5)
    matrix(fault.row(fault.stops(0.2), "is gone"))


def test_the_lever_is_pulled_during_a_ramp(shared: Scene, matrix: Table) -> None:
    replay = shared.load("--stage", "2s:1.5x", "--stage", "60s:1.5x..2x")
    eventually(lambda: any("..2x" in str(line.get("stage")) for line in shared.journal()), 20)
    shared.flows()
    fault = Fault(shared, "the lever is pulled during a ramp")
    order = {"engaged": True, "reason": "enough"}
    httpx.post(f"{shared.stack.control}/v1/lever", json=order, trust_env=False).raise_for_status()
    pulled = time.time_ns()
    assert replay.wait() == Exit.LEVER
    fault.over(1.5)
    assert shared.arrivals(pulled) == []
    assert run("resume", "--sidecar", shared.stack.control, "--reason", "on we go").returncode == 0
    matrix(fault.row(fault.stops(0.5), "exit 91"))
