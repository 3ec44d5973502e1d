"""Several processes that send for one run: one schedule, one ceiling, one report, and no life of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from replayer.books.folder import read_report
from replayer.books.report import Report
from replayer.counting.cores import Cores
from rules.exits import Exit
from tests.replayer.test_run import RATE, Field, app, here
from tests.support.place import PATIENT
from tests.support.processes import Process, eventually, gone, reamp, run
from tests.support.recording import record, write

__all__ = ["app", "here"]  # fixtures


pytestmark = pytest.mark.usefixtures("native")


def workers(process: Process) -> list[int]:
    """The processes that it has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def two(here: Field, *more: str) -> list[str]:
    return here.arguments("--idle-target", "--processes", "2", *more)


def long(here: Field, *more: str) -> list[str]:
    recording = write(here.folder / "long", (record(i * 0.002, f"/item/{i}") for i in range(10_000)))
    return ["replay", str(recording), *two(here, *more)[2:]]


def sent(here: Field, *more: str) -> tuple[Counter[str], Report]:
    """Run it; give the paths that reached the app, and the report."""
    already, before = set(here.runs.iterdir()) if here.runs.exists() else set(), len(here.lines())
    done = run(*here.arguments("--idle-target", *more))
    assert done.returncode in (Exit.DONE, Exit.INVALID), done.stdout + done.stderr  # on a busy machine it may lag
    (folder,) = set(here.runs.iterdir()) - already
    report = read_report(folder)
    assert report.accounts.reconciles()
    return Counter(line[4] for line in here.lines()[before:]), report


LOUDER = ("--amplify", "2x")
"""Makes that the run deals out requests. Otherwise its processes make their own."""

BOTH = pytest.mark.parametrize("more", [(), LOUDER], ids=["made-apart", "dealt-out"])


@pytest.mark.parametrize(
    "more",
    [
        ("--amplify", "2.5x", "--set-header", "x-a: b", "--rewrite", "/item => /thing"),
        ("--loop", "--max-requests", "900"),
        ("--rate", "600/s", "--loop", "--max-requests", "900"),
        ("--stage", "1s:0.5x", "--stage", "1s:1x..3x"),
        ("--amplify", "1.5x", "--sessions", "address", "--only", "~u item/1"),
    ],
    ids=["louder", "over-and-over", "at-a-rate", "staged", "in-sessions"],
)
def test_several_send_what_one_would(here: Field, more: tuple[str, ...]) -> None:
    write(here.folder / "recordings", (record(i * 0.004, f"/item/{i}") for i in range(500)))
    paths, one = sent(here, *more)
    again, many = sent(here, *more, "--processes", "3")
    assert "3 processes" in (here.runs / many.run / "journal.jsonl").read_text()
    assert many.accounts.wanted == one.accounts.wanted >= 100
    assert many.accounts.skipped == one.accounts.skipped
    assert many.accounts.rounds == one.accounts.rounds == ("--loop" in more)
    assert many.reason == one.reason
    if not (one.accounts.shed or many.accounts.shed):  # on a busy machine some may be late
        assert again == paths
        assert many.lag.count == sum(route.sent for route in many.routes) == many.accounts.sent == paths.total()
        assert [(route.template, route.sent) for route in many.routes] == [
            (route.template, route.sent) for route in one.routes
        ]


def test_a_plugin_sees_every_request_in_one_process(here: Field) -> None:
    """So what it remembers is what it has seen."""
    (here.folder / "mine.py").write_text(
        "from itertools import count\n"
        "numbers = count(1)\n"
        "def number(request):\n"
        "    return request.changed(path=f'/n/{next(numbers)}')\n"
    )
    arguments = [*two(here, "--plugin", "mine:number")]
    done = subprocess.run(reamp(*arguments), capture_output=True, text=True, check=False, cwd=here.folder)
    assert done.returncode in (Exit.DONE, Exit.INVALID), done.stdout + done.stderr
    report = here.report()
    assert report.accounts.wanted == 300
    if not report.accounts.shed:
        numbers = sorted(int(line[4].removeprefix("/n/")) for line in here.lines())
        assert numbers == list(range(numbers[0], numbers[0] + 300))


def test_every_record_is_sent_once_and_the_report_is_one(here: Field) -> None:
    done = run(*two(here), env=PATIENT)
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
    arguments = here.arguments(*here.sidecar, "--of", "recording", "--amplify", "1x")
    run(*arguments, "--processes", "3")
    report = here.report()
    (live,) = report.sidecars
    assert report.accounts.wanted == 1500
    assert report.accounts.shed["credit"] > 600  # 500/s wanted, 100/s granted, for three seconds
    assert 100 < report.accounts.sent == live.spent == len(here.arrivals()) <= live.real / 4


@pytest.mark.parametrize("processes", ["2", "4"])
def test_what_is_added_to_live_traffic_is_what_one_would_add(here: Field, processes: str) -> None:
    """So little that each credit is needed where the request is."""
    done = run(*here.arguments(*here.sidecar, "--amplify", "1.05x", "--duration", "4s",
               "--ceiling", "5%", "--processes", processes))  # fmt: skip
    assert done.returncode in (Exit.DONE, Exit.INVALID), done.stdout + done.stderr
    report = here.report()
    (live,) = report.sidecars
    accounts = report.accounts
    assert abs(accounts.wanted - RATE / 20 * 4) <= 10
    assert accounts.shed["credit"] <= 0.05 * accounts.wanted
    assert accounts.sent == live.spent == len(here.arrivals()) <= live.real / 20
    assert report.latency.count == accounts.answered


def test_live_requests_are_counted_and_no_more_are_made(here: Field) -> None:
    run(*here.live("--max-requests", "60", "--duration", "60s", "--processes", "3"))
    report = here.report()
    assert "--max-requests" in report.reason
    assert report.accounts.wanted == 60
    assert len(here.arrivals()) == report.accounts.sent == 60 - report.accounts.shed.total()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_without_a_signal_none_of_them_sends_after_a_second(here: Field, number: signal.Signals) -> None:
    with here.start(*here.live("--duration", "60s", "--signal-timeout", "2s", "--processes", "2")) as replay:
        here.flowing()
        here.control.signal(number)
        cut = time.time()
        assert replay.wait() == Exit.SIGNAL_LOST
    assert max(here.arrivals()) <= cut + 1.0
    assert here.report().stop == "signal-lost"


@pytest.mark.parametrize(
    "how",
    [
        ("--of", "recording", "--amplify", "1x"),
        ("--of", "recording", "--amplify", "2x"),
        ("--amplify", "1.25x", "--duration", "60s"),
    ],
    ids=["as-it-is", "louder", "live"],
)
def test_the_lever_stops_all_of_them(here: Field, how: tuple[str, ...]) -> None:
    recording = write(here.folder / "long", (record(i * 0.01, f"/item/{i}") for i in range(3000)))
    arguments = here.arguments(*here.sidecar, *how)[2:]
    with here.start("replay", str(recording), *arguments, "--processes", "2") as replay:
        here.flowing()
        here.pull()
        pulled = time.time()
        assert replay.wait() == Exit.LEVER
    assert max(here.arrivals()) <= pulled + 0.25
    assert here.report().stop == "lever"


@BOTH
def test_ctrl_c_stops_all_of_them_and_the_report_is_whole(here: Field, more: tuple[str, ...]) -> None:
    with here.start(*long(here, *more)) as replay:
        here.flowing()
        pressed = time.time()
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    assert max(here.arrivals()) <= pressed + 0.1
    report = here.report()
    assert report.stop == "interrupted"
    assert len(here.arrivals()) <= report.accounts.sent


@BOTH
def test_ctrl_c_while_they_start_is_the_end(here: Field, more: tuple[str, ...]) -> None:
    def pressed_in_time() -> bool:
        before = here.lines()
        with here.start(*long(here, *more)) as replay:
            eventually(lambda: len(workers(replay)) == 2)
            slow = workers(replay)[0]
            os.kill(slow, signal.SIGSTOP)
            eventually(lambda: list(here.runs.glob("*/journal.jsonl")) and "plan" in here.events())
            replay.signal(signal.SIGINT)
            os.kill(slow, signal.SIGCONT)
            assert replay.wait() == Exit.INTERRUPTED
        assert here.report().stop == "interrupted"
        begun = "start" in here.events()
        shutil.rmtree(here.runs)
        if not begun:
            assert here.lines() == before
        return not begun

    # On a busy machine they may have been ready before this looked.
    assert any(pressed_in_time() for _ in range(3))


@BOTH
def test_a_killed_worker_ends_the_run_and_is_told_of(here: Field, more: tuple[str, ...]) -> None:
    with here.start(*long(here, *more)) as replay:
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
    with here.start(*long(here, *LOUDER)) as replay:
        here.flowing(300)
        first, second = workers(replay)
        os.kill(first, signal.SIGSTOP)
        assert replay.wait() == Exit.FAILED
    assert "was not heard of any more" in here.report().reason
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (first, second)))


def test_a_killed_worker_of_a_live_run_leaves_accounts_that_reconcile(here: Field) -> None:
    with here.start(*here.live("--duration", "60s", "--processes", "2")) as replay:
        here.flowing()
        first, _ = workers(replay)
        os.kill(first, signal.SIGKILL)
        killed = time.time()
        assert replay.wait() == Exit.FAILED
    assert max(here.arrivals()) <= killed + 0.25
    assert f"pid {first}" in here.report().reason


def test_how_busy_they_are_is_seen() -> None:
    """The busiest thread of all processes of a run is what tells whether the sender was the bottleneck."""
    burning = "import threading\ndef burn():\n    while True: pass\nthreading.Thread(target=burn).start()"
    cores = Cores()
    time.sleep(0.2)
    idle = cores.busiest().used
    process = subprocess.Popen([sys.executable, "-c", burning], start_new_session=True)
    try:
        eventually(lambda: cores.busiest().used > max(0.25, idle), every=0.5)
    finally:
        process.kill()
        process.wait()


def test_workers_are_ours_whatever_lies_in_the_folder(here: Field) -> None:
    (here.folder / "uvloop.py").write_text("raise SystemExit('not this one')")
    done = subprocess.run(reamp(*two(here)), capture_output=True, text=True, check=False, cwd=here.folder)
    assert done.returncode in (Exit.DONE, Exit.INVALID), done.stdout + done.stderr  # on a busy machine it may lag
    assert here.report().accounts.sent > 0


def test_workers_end_with_the_run_even_if_it_is_killed(here: Field) -> None:
    with here.start(*long(here, *LOUDER)) as replay:
        here.flowing()
        pids = workers(replay)
        assert len(pids) == 2
        replay.signal(signal.SIGKILL)
        killed = time.time()
        replay.wait()
        eventually(lambda: gone(pids))
    time.sleep(0.3)  # whatever would still come
    assert max(here.arrivals()) <= killed + 0.25


@BOTH
def test_workers_send_no_more_while_the_run_is_stopped(here: Field, more: tuple[str, ...]) -> None:
    with here.start(*long(here, *more)) as replay:
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
        (["--lane", "python"], "asked for"),
        (["--diff", "status"], "--diff"),
        (["--max-connections", "1"], "one each at least"),
    ],
)
def test_what_several_processes_can_not_do_is_said_beforehand(here: Field, more: list[str], why: str) -> None:
    done = run(*two(here, *more))
    assert done.returncode == Exit.CONFIGURATION
    assert "--processes 2" in done.stderr
    assert why in done.stderr
    assert here.arrivals() == []
