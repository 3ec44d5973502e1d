"""Several processes that send for one run: one schedule, one ceiling, one report, and no life of their own."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from replayer.lanes.build import build
from rules.exits import Exit
from tests.replayer.test_run import Field, app, here
from tests.support.processes import Process, eventually, reamp, run
from tests.support.recording import record, write

__all__ = ["app", "here"]  # fixtures


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    try:
        build()
    except OSError as error:
        pytest.skip(str(error))


def workers(process: Process) -> list[int]:
    """The processes that it has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def two(here: Field, *more: str) -> list[str]:
    return here.arguments("--idle-target", "--processes", "2", *more)


def long(here: Field) -> list[str]:
    recording = write(here.folder / "long", (record(i * 0.002, f"/item/{i}") for i in range(10_000)))
    return ["replay", str(recording), *two(here)[2:]]


def test_every_record_is_sent_once_and_the_report_is_one(here: Field) -> None:
    done = run(*two(here))
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert "2 processes" in done.stdout
    report = here.report()
    assert Counter(line[4] for line in here.lines()) == Counter(f"/item/{i}" for i in range(300))
    accounts = report.accounts
    assert (accounts.read, accounts.wanted, accounts.statuses) == (300, 300, Counter({200: 300}))
    assert (report.latency.count, report.service.count, report.lag.count) == (300, 300, 300)
    (route,) = report.routes
    assert route.sent == 300


def test_the_ceiling_is_that_of_all_of_them_together(here: Field) -> None:
    write(here.folder / "recordings", (record(i * 0.0025, f"/more/{i}") for i in range(1200)))
    arguments = here.arguments("--sidecar", here.control_url, "--of", "recording", "--amplify", "1x")
    run(*arguments, "--processes", "3")
    report = here.report()
    (live,) = report.sidecars
    assert report.accounts.wanted == 1500
    assert report.accounts.shed["credit"] > 600  # 500/s wanted, 100/s granted, for three seconds
    assert 100 < report.accounts.sent == live.spent == len(here.arrivals()) <= live.real / 4


def test_the_lever_stops_all_of_them(here: Field) -> None:
    recording = write(here.folder / "long", (record(i * 0.01, f"/item/{i}") for i in range(3000)))
    arguments = here.arguments("--sidecar", here.control_url, "--of", "recording", "--amplify", "1x")[2:]
    with here.start("replay", str(recording), *arguments, "--processes", "2") as replay:
        here.flowing()
        here.pull()
        pulled = time.time()
        assert replay.wait() == Exit.LEVER
    assert max(here.arrivals()) <= pulled + 0.25
    assert here.report().stop == "lever"


def test_ctrl_c_stops_all_of_them_and_the_report_is_whole(here: Field) -> None:
    with here.start(*long(here)) as replay:
        here.flowing()
        pressed = time.time()
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    assert max(here.arrivals()) <= pressed + 0.1
    report = here.report()
    assert report.stop == "interrupted"
    assert len(here.arrivals()) <= report.accounts.sent


def test_a_killed_worker_ends_the_run_and_is_told_of(here: Field) -> None:
    with here.start(*long(here)) as replay:
        here.flowing(300)
        first, second = workers(replay)
        os.kill(first, signal.SIGKILL)
        killed = time.time()
        assert replay.wait() == Exit.FAILED
    assert max(here.arrivals()) <= killed + 0.25
    report = here.report()
    assert f"pid {first}" in report.reason
    assert "while it was sending" in report.reason
    eventually(lambda: not Path(f"/proc/{second}").exists())


def test_a_worker_that_is_not_heard_of_ends_the_run(here: Field) -> None:
    with here.start(*long(here)) as replay:
        here.flowing(300)
        first, second = workers(replay)
        os.kill(first, signal.SIGSTOP)
        assert replay.wait() == Exit.FAILED
    assert "was not heard of any more" in here.report().reason
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (first, second)))


def test_workers_are_ours_whatever_lies_in_the_folder(here: Field) -> None:
    (here.folder / "uvloop.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(reamp(*two(here)), capture_output=True, text=True, check=False, cwd=here.folder)
    assert done.returncode in (Exit.DONE, Exit.INVALID), done.stdout + done.stderr  # on a busy machine it may lag
    assert here.report().accounts.sent > 0


def test_workers_end_with_the_run_even_if_it_is_killed(here: Field) -> None:
    with here.start(*long(here)) as replay:
        here.flowing()
        pids = workers(replay)
        assert len(pids) == 2
        replay.signal(signal.SIGKILL)
        killed = time.time()
        replay.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}/fd").exists() and _alive(pid) for pid in pids))
    time.sleep(0.3)  # whatever would still come
    assert max(here.arrivals()) <= killed + 0.25


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_send_no_more_while_the_run_is_stopped(here: Field) -> None:
    with here.start(*long(here)) as replay:
        here.flowing()
        replay.signal(signal.SIGSTOP)  # as Ctrl-Z does, of which workers hear nothing: their session is their own
        stopped = time.time()
        time.sleep(3)
        assert max(here.arrivals()) <= stopped + 1.25
        replay.signal(signal.SIGCONT)
        eventually(lambda: max(here.arrivals()) > stopped + 3)
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    assert here.report().accounts.shed["late"] > 500


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--amplify", "2x"], "as it is"),
        (["--lane", "python"], "asked for"),
        (["--max-connections", "1"], "one each at least"),
    ],
)
def test_what_several_processes_can_not_do_is_said_beforehand(here: Field, more: list[str], why: str) -> None:
    done = run(*two(here, *more))
    assert done.returncode == Exit.CONFIGURATION
    assert "--processes 2" in done.stderr
    assert why in done.stderr
    assert here.arrivals() == []
