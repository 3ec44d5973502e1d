"""Whom a supervisor takes along when something goes wrong. Its crew is a stand-in: no process runs."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from addons.books import Books
from addons.controlport.access import Tokens
from addons.controlport.port import ControlPort
from addons.processes.crew import Crew
from addons.processes.holding import Holding
from addons.processes.supervisor import Plan, Running, _Supervisor
from rules.exits import UserError
from rules.units import Share


class _Crew:
    address = "127.0.0.1:1"
    ended = False

    async def hire(self) -> None:
        pass

    async def serving(self) -> None:
        pass

    async def watch(self) -> None:
        await asyncio.sleep(60)

    async def end(self) -> None:
        self.ended = True

    def unread(self) -> str:
        return ""

    def workers(self) -> list[Any]:
        return []


class _Holding:
    taken = False

    def take_charge(self) -> None:
        self.taken = True


class _Site:
    """A supervisor with nobody to supervise."""

    def __init__(self, folder: Path) -> None:
        self.books = Books.alone()
        self.holding = _Holding()
        self.crew = _Crew()
        plan = Plan(
            "http://app", "127.0.0.1:0", "127.0.0.1:0", Tokens(), folder, 1, Share.parse("10%"), [], None, "a", 10.0, {}
        )
        self.supervisor = _Supervisor(plan, cast("Crew", self.crew), self.books, [], lambda: plan)

    async def run(self, started: Callable[[Running], None]) -> None:
        with socket.socket() as control:
            control.bind(("127.0.0.1", 0))
            async with asyncio.timeout(10):
                await self.supervisor.run(control, cast("Holding", self.holding), started)


def _fails(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object) -> None:
        raise error

    return fail


async def test_a_fault_after_the_workers_serve_ends_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = _Site(tmp_path)
    monkeypatch.setattr(ControlPort, "start", _fails(RuntimeError("a fault")))
    with pytest.raises(RuntimeError):
        await site.run(lambda _: None)
    assert site.supervisor.abandons
    assert not site.crew.ended
    assert not site.holding.taken  # workers from before do not leave either


async def test_a_fault_before_they_serve_and_a_wrong_setting_end_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = _Site(tmp_path)
    monkeypatch.setattr(early.crew, "serving", _fails(RuntimeError("a fault")))
    with pytest.raises(RuntimeError):
        await early.run(lambda _: None)
    taken = _Site(tmp_path)
    monkeypatch.setattr(ControlPort, "start", _fails(OSError("in use")))
    with pytest.raises(UserError, match="in use"):
        await taken.run(lambda _: None)
    for site in (early, taken):
        assert site.crew.ended
        assert not site.supervisor.abandons
        assert not site.holding.taken


async def test_that_nobody_hears_of_the_start_is_no_reason_to_end(tmp_path: Path) -> None:
    site = _Site(tmp_path)
    asked = asyncio.Event()

    def started(_: Running) -> None:
        asked.set()
        raise BrokenPipeError

    running = asyncio.create_task(site.run(started))
    await asked.wait()
    await asyncio.sleep(0.05)
    assert site.holding.taken
    assert not running.done()
    site.supervisor._end()
    await running
    assert site.crew.ended
