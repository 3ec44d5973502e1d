"""Aides as real processes: started, watched, exchanged and ended."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from addons.processes import aide as aides
from addons.processes.aide import Aide
from addons.processes.tallies import ROWS, Tallies
from rules.exits import UserError

HELPER = """
import asyncio, sys
from addons.processes.ear import Ear
from addons.processes.orders import Errand, Report
from addons.processes.tallies import Tallies

async def work():
    ear = await Ear.begin()
    errand = Errand.model_validate_json(await ear.first())
    if errand.settings.get("wrong"):
        ear.report(Report(error="this can't be"))
        return 104
    tallies = Tallies(["begun", "told"], errand.shares["tallies"], errand.row)
    tallies.add("begun", errand.settings["by"])
    ear.report(Report(ready=True, unread=errand.settings.get("unread", "")))
    beating = asyncio.create_task(ear.beat(0.02))
    async for order in ear.orders():
        tallies.add("told")
        if order.do == "retire":
            return 0
    return 0

sys.exit(asyncio.run(work()))
"""


@pytest.fixture
async def tallies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tallies]:
    (tmp_path / "some_aide.py").write_text(HELPER)
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")
    made = Tallies.create(["begun", "told"])
    yield made
    made.close()


@pytest.fixture
async def aide(tallies: Tallies) -> AsyncIterator[Aide]:
    made = Aide("helper", "some_aide", lambda: {"tallies": tallies.fileno()})
    yield made
    await made.end()


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def replaced(aide: Aide, pid: int) -> None:
    await until(lambda: aide.serves and aide.pid != pid)


async def test_it_serves_and_ends(aide: Aide, tallies: Tallies) -> None:
    await aide.begin({"by": 2})
    assert aide.serves
    assert tallies["begun"] == 2
    pid = aide.pid
    await aide.end()
    assert (aide.serves, aide.pid) == (False, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_that_dies_is_replaced_and_its_counts_stay(aide: Aide, tallies: Tallies) -> None:
    await aide.begin({"by": 1})
    for number in range(1, 3):
        pid = aide.pid
        os.kill(pid, signal.SIGKILL)
        await replaced(aide, pid)
        assert tallies["begun"] == 1 + number
        assert aide.restarts.count == number


async def test_one_that_hangs_is_killed_and_replaced(aide: Aide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aides, "PULSE", 0.1)
    await aide.begin({"by": 1})
    pid, (child,) = aide.pid, aide._children
    await until(lambda: child.reports > 1)
    os.kill(pid, signal.SIGSTOP)
    await replaced(aide, pid)
    assert aide.restarts.count == 1


async def test_one_that_dies_while_another_takes_its_place_leaves_only_that_one(aide: Aide, tallies: Tallies) -> None:
    await aide.begin({"by": 1})
    reloading = asyncio.create_task(aide.reload({"by": 10}))
    await until(lambda: len(aide._children) == 2)
    os.kill(aide.pid, signal.SIGKILL)
    await reloading
    await until(lambda: tallies["begun"] == 21)  # the one that was to replace it, and the one that does
    await until(lambda: len(aide._children) == 1)
    assert aide.serves


async def test_a_reload_puts_another_in_its_place(aide: Aide, tallies: Tallies) -> None:
    await aide.begin({"by": 1})
    before = aide.pid
    await aide.reload({"by": 10})
    assert aide.serves
    assert aide.pid != before
    assert tallies["begun"] == 11
    await until(lambda: tallies["told"] == 1)
    assert aide.restarts.count == 0


async def test_that_it_can_not_read_keys_is_told_until_another_can(aide: Aide) -> None:
    await aide.begin({"by": 1, "unread": "load.pub: No such file"})
    assert aide.unread == f"helper {aide.pid}: load.pub: No such file"
    await aide.reload({"by": 1})
    assert aide.unread == ""


async def test_settings_that_are_wrong_change_nothing(aide: Aide) -> None:
    with pytest.raises(UserError, match="this can't be"):
        await aide.begin({"wrong": True})
    await aide.begin({"by": 1})
    pid = aide.pid
    with pytest.raises(UserError, match="this can't be"):
        await aide.reload({"wrong": True})
    assert aide.serves
    assert aide.pid == pid
    os.kill(pid, signal.SIGKILL)  # its successor has the settings that were right
    await replaced(aide, pid)


async def test_one_that_will_not_end_is_killed(
    tallies: Tallies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aides, "END_WITHIN", 0.1)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    (tmp_path / "deaf_aide.py").write_text(deaf + HELPER)
    aide = Aide("deaf", "deaf_aide", lambda: {"tallies": tallies.fileno()})
    await aide.begin({"by": 1})
    os.kill(aide.pid, signal.SIGSTOP)
    await aide.end()
    assert not aide.pid


async def test_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch, aide: Aide) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError, match="nowhere"):
        await aide.begin({})


def test_counters_of_all_processes_are_added_up() -> None:
    made = Tallies.create(["a", "b"])
    others = [Tallies(["a", "b"], made.fileno(), row) for row in range(ROWS)]
    for number, other in enumerate(others):
        other.add("a")
        other.add("b", number)
    assert dict(made) == {"a": ROWS, "b": sum(range(ROWS))}
    with pytest.raises(ValueError, match="other counters"):
        Tallies(["a"], made.fileno())
    made.close()
    made.close()
