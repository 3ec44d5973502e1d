"""What has to go, as a decision; then the real thing on real files and a real, tiny disk."""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import keeper as keeping
from captures.accounting import Counts
from captures.keeper import Keeper, Sweeper
from captures.keyring import Recipients
from captures.reader import Capture
from captures.redaction import Redactor
from captures.retention import Limits, Stored, has_room, surplus
from captures.verify import verify
from captures.writer import CaptureWriter, WriterSettings
from rules.units import Duration, Size
from tests.captures import making
from tests.captures.making import NOON, eventually, record
from tests.support.disks import Disk

DAY = 86_400 * 10**9


def stored(sequence: int, day: float, size: int = 100, writer: str = "a", in_use: bool = False) -> Stored:
    return Stored(f"{writer}-{sequence}", writer, sequence, size, NOON + round(day * DAY), in_use)


def names(kept: list[Stored], now: float = 10, free: int = 0, **limits: object) -> list[str]:
    """What goes on day `now`."""
    gone = surplus(kept, Limits.model_validate(limits), NOON + round(now * DAY), free).segments
    return [one.name for one, _ in gone]


WEEK = [stored(day, day) for day in range(1, 8)]


def test_without_limits_all_stays() -> None:
    assert names(WEEK, now=10_000) == []


def test_what_is_too_old_goes_and_no_more() -> None:
    assert names(WEEK, now=10, max_age=Duration(86_400 * 7.5)) == ["a-1", "a-2"]


def test_the_oldest_go_until_the_rest_fits() -> None:
    assert names(WEEK, max_bytes=Size(300)) == ["a-1", "a-2", "a-3", "a-4"]
    assert names(WEEK, max_bytes=Size(700)) == []


def test_the_oldest_go_until_enough_of_the_disk_is_free() -> None:
    assert names(WEEK, free=150, min_free=Size(301)) == ["a-1", "a-2"]
    assert not surplus(WEEK, Limits(min_free=Size(800)), NOON, 150).short
    assert surplus(WEEK, Limits(min_free=Size(851)), NOON, 150).short


def test_what_is_in_use_counts_and_stays() -> None:
    kept = [stored(1, 1, size=1000, in_use=True), stored(1, 2, writer="b"), stored(2, 3, writer="b")]
    assert names(kept, max_bytes=Size(1100)) == ["b-1"]
    assert names(kept, now=100, max_age=Duration(1)) == ["b-1", "b-2"]


def test_of_one_writer_the_first_go_first_even_if_the_clock_was_set_back() -> None:
    kept = [stored(1, 5), stored(2, 6), stored(3, 1), stored(4, 2)]
    assert names(kept, max_bytes=Size(300)) == ["a-1"]
    assert names(kept, now=5, max_age=Duration(3.5 * 86_400)) == ["a-1", "a-2", "a-3"]


segments = st.lists(
    st.builds(
        Stored,
        name=st.uuids().map(str),
        writer=st.sampled_from("abc"),
        sequence=st.integers(1, 10**6),
        size=st.integers(0, 1000),
        changed_ns=st.integers(NOON - 100, NOON),
        in_use=st.booleans(),
    ),
    max_size=25,
    unique_by=lambda one: (one.writer, one.sequence),
)


@given(
    segments,
    st.none() | st.integers(1, 10_000),
    st.none() | st.integers(1, 150),
    st.none() | st.integers(0, 20_000),
    st.integers(0, 20_000),
)
def test_limits_hold_afterwards_or_nothing_that_may_go_is_left_and_nothing_goes_needlessly(
    kept: list[Stored], max_bytes: int | None, max_age_ns: int | None, min_free: int | None, free: int
) -> None:
    limits = Limits(
        max_bytes=None if max_bytes is None else Size(max_bytes),
        max_age=None if max_age_ns is None else Duration(max_age_ns / 1e9),
        min_free=None if min_free is None else Size(min_free),
    )
    decided = surplus(kept, limits, NOON, free)
    gone = [one for one, _ in decided.segments]
    left = [one for one in kept if one not in gone]
    assert len(set(gone)) == len(gone)
    assert not any(one.in_use for one in gone)
    for one in gone:  # no hole: whatever its writer wrote before it goes too
        assert not [other for other in left if other.writer == one.writer and other.sequence < one.sequence]
    blocked = {one.writer: one.sequence for one in sorted(left, key=lambda one: -one.sequence) if one.in_use}
    able = [one for one in left if one.sequence < blocked.get(one.writer, 10**9)]

    def kept_to(rest: list[Stored], freed: int) -> bool:
        return (max_bytes is None or sum(one.size for one in rest) <= max_bytes) and (
            min_free is None or free + freed >= min_free
        )

    freed = sum(one.size for one in gone)
    assert not able or kept_to(left, freed)
    assert decided.short == (min_free is not None and free + freed < min_free)
    if max_age_ns is None:
        assert not gone or not kept_to([*left, gone[-1]], freed - gone[-1].size), "the last one had to go as well"
    else:
        assert not [one for one in able if NOON - one.changed_ns > max_age_ns + 1]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_pause_ends_only_when_there_is_more_room_than_it_began_with(free: int, least: int) -> None:
    limits = Limits(min_free=Size(least))
    assert has_room(free, limits, paused=False) == (free >= least)
    assert not has_room(free, limits, paused=True) or has_room(free, limits, paused=False)


# --- on real files ---


@asynccontextmanager
async def recording(folder: Path, counts: Counts, limits: Limits) -> AsyncIterator[CaptureWriter]:
    """A writer of one record a segment, with its keeper."""
    writer = making.writer(
        folder, counts, block_size=Size(1), segment_size=Size(1), queue_size=Size(8 << 10), flush=Duration(0.05)
    )
    await writer.start()
    keeper = Keeper(folder, limits, writer, counts)
    keeper.start()
    try:
        yield writer
    finally:
        await keeper.close()
        await writer.close()


async def put(writer: CaptureWriter, counts: Counts, number: int, size: int = 0) -> None:
    counts.seen += 1
    assert writer.offer(record(NOON + number, body=os.urandom(size), body_size=size))
    await eventually(lambda: not counts.queued)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK", "SWEEP", "SWEEP_SOON"):
        monkeypatch.setattr(keeping, name, 0.02)


@pytest.mark.usefixtures("often")
async def test_a_recording_keeps_to_its_size_and_what_is_left_is_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    counts = Counts()
    strangers = [tmp_path / "notes.txt", tmp_path / "kept.reamp", tmp_path / making_name(1)]
    for stranger in strangers:
        stranger.write_bytes(b"x" * 5000)
        os.utime(stranger, (1, 1))
    async with recording(tmp_path, counts, Limits(max_bytes=Size(20_000))) as writer:
        for number in range(60):
            await put(writer, counts, number, 1000)
        written = counts.bytes_written
        await eventually(lambda: written - counts.removed_bytes <= 20_000)
        assert counts.removed_segments > 30
        assert counts.removed_bytes > 15_000
    left = [one.arrival_ns - NOON for one in Capture(tmp_path).records()]
    assert left == list(range(60 - len(left), 60)), "the newest, without a hole"
    for stranger in strangers:
        assert stranger.read_bytes() == b"x" * 5000
        stranger.unlink()
    report = verify(tmp_path)
    assert report.ok
    assert report.writers[0].accounting == counts.snapshot()
    assert any("removed the" in line and "--max-bytes" in line for line in caplog.messages)


def making_name(sequence: int) -> str:
    """The name of a segment, for what is none."""
    return f"20261121T204851.123456Z-8f3a01bc-{sequence:06d}.reamp"


@pytest.mark.usefixtures("often")
async def test_what_is_old_goes_though_nothing_new_comes(tmp_path: Path) -> None:
    await making.write(tmp_path, [record(NOON + n) for n in range(5)], block_size=Size(1), segment_size=Size(1))
    old, now = sorted(tmp_path.iterdir()), time.time()
    for file, hours in zip(old, (5, 4, 2, 0.9, 0.5), strict=True):
        os.utime(file, (now, now - 3600 * hours))
    counts, busy = Counts(), Counts()
    other = making.writer(tmp_path, busy, flush=Duration(0.02))
    await other.start()
    await put(other, busy, 5)
    (in_use,) = set(tmp_path.iterdir()) - set(old)
    os.utime(in_use, (now, now - 3600 * 9))
    async with recording(tmp_path, counts, Limits(max_age=Duration(3600))):
        await eventually(lambda: counts.removed_segments == 3)
        assert {*old[3:], in_use} <= set(tmp_path.iterdir()), "and not the one in use, however old it is"
    await other.close()
    assert verify(tmp_path).ok


async def test_whoever_writes_a_segment_keeps_it_from_being_removed(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    await writer.start()
    await put(writer, counts, 0)
    assert Sweeper(tmp_path, Limits(max_bytes=Size(1))).sweep().removed == []
    await writer.close()
    assert len(Sweeper(tmp_path, Limits(max_bytes=Size(1))).sweep().removed) == 1
    assert not list(tmp_path.iterdir())


async def test_one_at_a_time_clears_up(tmp_path: Path) -> None:
    await making.write(tmp_path, [record()])
    sweeper = Sweeper(tmp_path, Limits(max_bytes=Size(1)))
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert sweeper.sweep().removed == []
    os.close(other)
    assert len(sweeper.sweep().removed) == 1


async def test_many_that_clear_up_at_once_remove_each_segment_once_and_none_too_many(tmp_path: Path) -> None:
    await making.write(tmp_path, [record(NOON + n) for n in range(40)], block_size=Size(1), segment_size=Size(1))
    files = sorted(tmp_path.iterdir())
    limits = Limits(max_bytes=Size(sum(file.stat().st_size for file in files[20:])))
    sweeps = await asyncio.gather(*(asyncio.to_thread(Sweeper(tmp_path, limits).sweep) for _ in range(8)))
    assert sorted(one.name for swept in sweeps for one in swept.removed) == [file.name for file in files[:20]]
    assert sorted(tmp_path.iterdir()) == files[20:]


@pytest.mark.usefixtures("often")
async def test_old_segments_make_room_on_the_disk_and_without_any_recording_pauses_until_there_is_some(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    folder, counts = disk.folder / "captures", Counts()
    async with recording(folder, counts, Limits(min_free=Size(100 << 10))) as writer:
        for number in range(60):  # some 4 KiB each on a disk of 256 KiB
            await put(writer, counts, number)
            await asyncio.sleep(0.005)
        await eventually(lambda: os.statvfs(disk.folder).f_bavail * 4096 >= 100 << 10)
        assert counts.removed_segments > 10
        assert (counts.dropped, writer.healthy) == (0, True)

        ballast = disk.folder / "ballast"
        ballast.write_bytes(b"x" * (90 << 10))
        await eventually(lambda: os.statvfs(disk.folder).f_bavail * 4096 >= 100 << 10)
        with ballast.open("ab") as more:
            more.write(b"x" * (80 << 10))
        await eventually(lambda: not writer.healthy)
        assert not list(folder.iterdir()), "all are gone"
        counts.seen += 10
        assert [writer.offer(record(NOON + 100 + number)) for number in range(10)] == [False] * 10
        assert (counts.dropped, counts.snapshot().reconciles()) == (10, True)
        assert len([line for line in caplog.messages if "recording pauses" in line]) == 1

        ballast.unlink()
        await eventually(lambda: writer.healthy)
        await put(writer, counts, 1000)
    assert [one.arrival_ns - NOON for one in Capture(folder).records()] == [1000]
    report = verify(folder)
    assert report.ok
    assert report.writers[0].accounting == counts.snapshot()
    assert counts.snapshot().dropped == 10


@pytest.mark.usefixtures("often")
async def test_a_writer_that_pauses_ends_in_order(disk: Disk) -> None:
    counts = Counts()
    async with recording(disk.folder, counts, Limits(min_free=Size(1 << 30))) as writer:
        await eventually(lambda: not writer.healthy)
        counts.seen, counts.in_flight = 2, 1
        assert not writer.offer(record())
    counts.in_flight -= 1
    assert not writer.offer(record())  # what was being answered, and was given up at the end
    assert (counts.dropped, counts.in_flight, counts.snapshot().reconciles()) == (2, 0, True)
    assert verify(disk.folder).writers[0].accounting.pending == 0


@pytest.mark.usefixtures("often")
async def test_what_cannot_be_removed_is_told_once(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    folder = disk.folder / "captures"
    await making.write(folder, [record(NOON + n) for n in range(3)], block_size=Size(1), segment_size=Size(1))
    disk.remount("ro")
    counts = Counts()
    writer = making.writer(folder, counts)
    keeper = Keeper(folder, Limits(max_bytes=Size(1)), writer, counts)
    keeper.start()
    await eventually(lambda: "Read-only file system" in caplog.text)
    await asyncio.sleep(0.2)
    assert len(caplog.messages) == 1
    assert "can't be kept within its limits" in caplog.text
    disk.remount("rw")
    await eventually(lambda: counts.removed_segments == 3)
    await keeper.close()
    assert not list(folder.iterdir())


async def test_encrypted_segments_are_segments(tmp_path: Path) -> None:
    counts, key = Counts(), str(pyrage.x25519.Identity.generate().to_public())
    writer = CaptureWriter(tmp_path, WriterSettings(), counts, Redactor(making.KEY), recipients=Recipients([key]))
    await writer.start()
    await put(writer, counts, 0)
    await writer.close()
    assert len(Sweeper(tmp_path, Limits(max_bytes=Size(1))).sweep().removed) == 1
