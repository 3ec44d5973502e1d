"""What the crew does when workers die or hang at the wrong moment. The workers are stand-ins: no process runs."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from addons.books import Books, Row
from addons.processes import child
from addons.processes import crew as crews
from addons.processes.crew import ROWS_PER_WORKER, Crew, Hand
from addons.processes.holding import Holding
from addons.processes.listening import bind
from addons.processes.orders import Assignment, Report
from captures.accounting import settle
from rules.exits import UserError
from rules.units import Size
from tests.captures import making

OPTIONS = {"reamp_captures": ""}


class StandIn(Hand):
    """A worker without a process. `immortal`: not even SIGKILL ends it."""

    def __init__(self, pid: int, row: Row) -> None:
        self.name, self.pid, self.row, self.restarts = "worker", pid, row, 0
        self.captures = self.writer = self._unread = ""
        self.since, self.began = time.time(), time.monotonic()
        self.serves = self.retired = self.stalled = self.immortal = False
        self.attends = []
        self.signals: list[signal.Signals] = []
        self.end_of_it: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._deadlines = []
        self._ready = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        self.serves = True
        self._settle(None)

    def die(self, code: int = -signal.SIGKILL) -> None:
        if not self.end_of_it.done():
            self._settle(UserError("ended before it served"))
            self.end_of_it.set_result(code)

    async def ended(self) -> int:
        return await self.end_of_it

    def _later(self, seconds: float, number: signal.Signals) -> None:
        pass

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if not self.immortal:
            self.die(-number)

    def say(self, line: bytes) -> None:
        pass


class Agency:
    """Where stand-ins come from."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.hired: list[StandIn] = []
        self.at_once = 0
        self.most_at_once = 0

    async def hire(self, assignment: Assignment, inherited: Sequence[int], row: Row, restarts: int) -> Hand:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.hired.append(StandIn(1000 + len(self.hired), row))
        return self.hired[-1]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.hired) < count:
                await asyncio.sleep(0)

    async def begin(self) -> None:
        """Start the first two."""
        await self.crew.hire()
        for hand in self.hired:
            hand.begin()
        await self.crew.serving()


@pytest.fixture
async def agency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with _crew(tmp_path) as crew:
        agency = Agency(crew)
        monkeypatch.setattr(Hand, "hire", agency.hire)
        yield agency
        for hand in agency.hired:
            hand.immortal = False
        await crew.end()


@contextlib.contextmanager
def _crew(folder: Path) -> Iterator[Crew]:
    sockets = bind("127.0.0.1:0", 2)
    books = Books.create(2 * ROWS_PER_WORKER)
    yield Crew(sockets, books, OPTIONS, Holding(folder, 1))
    books.close()


async def _turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_why_a_worker_can_not_read_keys_is_told_as_long_as_it_serves(agency: Agency) -> None:
    await agency.begin()
    assert agency.crew.unread() == ""
    agency.hired[1].heard(Report(ready=True, unread="load.pub: No such file"))
    assert agency.crew.unread() == "worker 1001: load.pub: No such file"
    agency.hired[1].die()
    await agency.until(3)
    assert agency.crew.unread() == ""
    agency.hired[2].heard(Report(ready=True, unread="load.pub: No such file"))
    agency.hired[2].begin()
    assert agency.crew.unread() == "worker 1002: load.pub: No such file"


async def test_a_reload_fails_if_a_worker_dies_between_its_start_and_the_exchange(agency: Agency) -> None:
    await agency.begin()
    old = agency.hired[:]
    reloading = asyncio.create_task(agency.crew.reload(OPTIONS))
    await agency.until(4)
    first, second = agency.hired[2:]
    first.begin()
    await _turns()
    first.die()
    await _turns()
    second.begin()
    with pytest.raises(UserError, match="died while it started"):
        await reloading
    assert [post.hand for post in agency.crew.posts] == old
    assert not any(hand.retired for hand in old)
    # The other one served: whoever came in there is not cut off.
    assert second.retired
    assert second.signals == []


async def test_a_start_fails_if_a_worker_dies_before_all_serve(agency: Agency) -> None:
    await agency.crew.hire()
    first, second = agency.hired
    first.begin()
    serving = asyncio.create_task(agency.crew.serving())
    await _turns()
    first.die()
    await _turns()
    second.begin()
    with pytest.raises(UserError, match="died while it started"):
        await serving


async def test_workers_are_started_one_at_a_time(agency: Agency) -> None:
    await agency.begin()
    for hand in agency.hired[:2]:
        hand.die()
    await agency.until(4)
    assert agency.most_at_once == 1


async def test_without_a_free_row_a_replacement_waits_for_one(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await agency.begin()
    monkeypatch.setattr("addons.processes.posts.FIRST_DELAY", 0.01)
    rows, agency.crew._free[:] = agency.crew._free[:], []
    monkeypatch.setattr(crews, "_on_disk", lambda *_: time.sleep(0.2))
    agency.hired[0].die()
    await agency.until(3)
    assert "all rows of the books are taken" in caplog.text
    agency.crew._free += rows


async def test_a_replacement_that_dies_as_it_begins_does_not_hide_the_next_one(agency: Agency) -> None:
    await agency.begin()
    agency.hired[0].die()
    await agency.until(3)
    await _turns()
    agency.hired[2].begin()
    agency.hired[2].die()
    await _turns()
    post = agency.crew.posts[0]
    assert post.next is not None
    assert not post.next.done()


async def test_a_disk_that_hangs_costs_a_count_and_not_a_row(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    await agency.begin()
    monkeypatch.setattr(crews, "COUNT_WITHIN", 0.05)
    monkeypatch.setattr(crews, "_on_disk", lambda *_: time.sleep(5))
    free = len(agency.crew._free)
    agency.hired[0].die()
    await agency.until(3)
    assert len(agency.crew._free) == free - 1
    await asyncio.sleep(0.3)
    assert len(agency.crew._free) == free


async def test_the_end_does_not_wait_for_a_process_that_nothing_can_end(
    agency: Agency, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await agency.begin()
    monkeypatch.setattr(crews, "END_WITHIN", 0.05)
    monkeypatch.setattr(child, "KILLED_WITHIN", 0.05)
    agency.hired[0].immortal = True
    async with asyncio.timeout(2):
        await agency.crew.end()
    assert "can't be killed" in caplog.text
    assert agency.hired[0].signals == [signal.SIGTERM, signal.SIGKILL]
    # Nobody is let in meanwhile, and nobody is hired.
    assert all(one.fileno() < 0 for post in agency.crew.posts for one in post.sockets)
    with pytest.raises(UserError):
        await agency.crew.hire()


async def test_who_does_not_retire_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "RETIRE_WITHIN", 0.1)
    monkeypatch.setattr(child, "END_WITHIN", 0.1)
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    books = Books.create(1)
    assert process.stdout
    await process.stdout.readline()
    hand = Hand(process, books.rows[0], 0)
    hand.retire()
    async with asyncio.timeout(5):
        assert await process.wait() == -signal.SIGKILL
        await hand.ended()
    books.close()


async def test_what_a_dead_worker_has_written_is_counted_though_its_first_segments_were_removed(tmp_path: Path) -> None:
    """It was killed after its last block was written and before that was counted."""
    counts = await making.write(
        tmp_path, [making.record(making.NOON + n) for n in range(6)], block_size=Size(1), segment_size=Size(1)
    )
    files = sorted(tmp_path.iterdir())
    for file in files[:3]:
        file.unlink()
    name = files[-1].name.split("-")[1]
    (tmp_path / files[-1].name.replace("000006", "000007")).touch()  # a segment that has no header yet
    counts.written -= 1
    counts.queued = 1
    assert crews._on_disk(str(tmp_path), name) == 6
    settle(counts, crews._on_disk(str(tmp_path), name))
    assert (counts.written, counts.dropped, counts.snapshot().reconciles()) == (6, 0, True)
    assert crews._on_disk(str(tmp_path / "nowhere"), name) is None
    assert crews._on_disk(str(tmp_path), "another") is None
