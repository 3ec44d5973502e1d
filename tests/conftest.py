"""What holds for all tests."""

import json
import os
import signal
import sys
from pathlib import Path

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

# No test is timed (pytest's time-out catches what hangs), and a machine may be busy with other things. Properties are
# tried with the same examples every time, so that a change fails for what it changes. Others are looked for with
# `pytest --hypothesis-profile explore`.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("reamp", settings.get_profile("explore"), derandomize=True)
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give one process more than there are processors: the tests wait for others a third of their time."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the long ones go first where several processes share the tests."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((n for n, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the fault matrix, in whichever processes its rows were found out."""
    reports = terminalreporter.getreports("passed")
    rows = [
        Row(*json.loads(str(value))) for report in reports for name, value in report.user_properties if name == "fault"
    ]
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(table(rows))
        if (document := os.environ.get("REAMP_FAULTS")) and not terminalreporter.getreports("failed"):
            write(rows, Path(document))
