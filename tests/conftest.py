"""What holds for all tests."""

import json
import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from tests.support.faults import Row, table, write

# Some machines are told to keep no bytecode. The tests start hundreds of processes, and compiling all that each of them
# imports takes as long as running it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Whoever starts the tests in the background of a script may have them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed (pytest's time-out catches what hangs), and a machine may be busy with other things.
settings.register_profile("reamp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reamp")


LONG = (
    "tests/e2e/test_replay.py",
    "tests/replayer/test_fleet.py",
    "tests/replayer/test_run.py",
    "tests/e2e/test_preflight.py",
    "tests/e2e/test_protocols.py",
    "tests/captures/test_kill.py",
    "tests/e2e/",
    "tests/replayer/",
)
"""Where tests take longest. A file stays with one process, so these go first: none is left over when the others end."""


RERUNS = 2
"""How often a test is tried again that has to do with processes or sockets, where several tests share the machine.

What it waits for, a kernel short of processors may give too late: that is no fault of the product, and is told at the
end. What fails whenever it is tried is one. All other tests have one try, those of properties among them, and so has
every test while nobody shares the tests.
"""

REAL = frozenset({"subprocess", "socket", "multiprocessing", "asyncio.streams", "playwright.sync_api"})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give one process more than there are processors: the tests wait for others a third of their time."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the long ones go first where several processes share the tests, and those of real ones tried again."""
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=lambda item: next((n for n, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG)))
    for item in items:
        if isinstance(item, pytest.Function) and not hasattr(item.obj, "hypothesis") and _real(item.module.__name__):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))


@cache
def _real(name: str) -> bool:
    """Whether a module of the tests has to do with real processes or sockets, be it by another module of the tests."""
    used, left = set[str](), {name}
    while left:
        module = left.pop()
        used.add(module)
        for value in vars(sys.modules[module]).values():
            other = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
            if other in REAL:
                return True
            if other.startswith("tests.") and other not in used:
                left.add(other)
    return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was tried again and why, and the fault matrix, in whichever processes its rows were found out."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"tried again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
    reports = terminalreporter.getreports("passed")
    rows = [
        Row(*json.loads(str(value))) for report in reports for name, value in report.user_properties if name == "fault"
    ]
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(rows))
        if (document := os.environ.get("REAMP_FAULTS")) and not terminalreporter.getreports("failed"):
            write(rows, Path(document))
