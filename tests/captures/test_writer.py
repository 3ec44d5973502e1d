import asyncio
import logging
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from captures import codec
from captures.accounting import Counts
from captures.reader import Capture, Segment
from captures.records import Record
from captures.redaction import Redactor
from captures.segments import Place, SegmentFile, segment_name
from captures.verify import verify
from captures.worker import Worker
from captures.writer import CaptureWriter, WriterSettings
from rules.units import Duration, Size
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import NOON, eventually, record, write


def many(count: int, size: int = 200) -> list[Record]:
    dice = random.Random(count)
    return [record(NOON + n, body=dice.randbytes(size), body_size=size) for n in range(count)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.reamp"))


def hang(writer: CaptureWriter) -> threading.Event:
    """Make the disk hang, as seen from the writer, until the event that is given back is set."""
    free = threading.Event()
    writer._in_worker().submit(free.wait)
    return free


async def test_what_is_offered_is_what_reads(tmp_path: Path) -> None:
    made = many(1000)
    counts = await write(tmp_path / "new" / "folder", made, block_size=Size(4096))
    assert list(Capture(tmp_path / "new" / "folder").records()) == made
    assert (counts.written, counts.queued, counts.dropped) == (1000, 0, 0)
    report = verify(tmp_path / "new" / "folder")
    assert report.ok
    assert report.segments[0].blocks > 10


async def test_files_belong_to_their_owner_only(tmp_path: Path) -> None:
    await write(tmp_path / "captures", many(1))
    (file,) = files(tmp_path / "captures")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}-000001\.reamp", file.name)


def test_names_sort_by_time() -> None:
    assert segment_name(NOON + 123_456_789, "ab", 7) == "20261121T120000.123456Z-ab-000007.reamp"


async def test_the_header_says_how_it_was_written_and_not_with_which_key(tmp_path: Path) -> None:
    await write(tmp_path, many(1), flush=Duration(2))
    header = Segment(files(tmp_path)[0]).header
    assert header is not None
    assert (header.flush_ns, header.block_size, header.extra) == (2_000_000_000, 4 << 20, {"by": "test"})
    assert header.queue_size == 32 << 20
    assert "*cookie*" in header.redaction["headers"]
    assert making.KEY not in files(tmp_path)[0].read_bytes()


async def test_secrets_never_reach_the_disk(tmp_path: Path) -> None:
    secret = b"hunter2hunter2"
    userinfo = record(NOON + 99, authority="user:hunter2hunter2@shop", headers=((b"Host", b"u:hunter2hunter2@shop"),))
    names = (b"Authorization", b"cookie", b"X-Api-Key", b"proxy-authorization", b"x-csrf-token")
    made = [record(NOON + n, headers=tuple((name, b"a=" + secret) for name in names)) for n in range(20)]
    await write(tmp_path, [*made, userinfo])
    segment = Segment(files(tmp_path)[0])
    *found, last = segment.records()
    assert (last.authority, last.headers) == ("shop", ((b"Host", b"shop"),))
    assert [[name for name, _ in one.headers] for one in found] == [list(names)] * 20
    assert not any(secret in value for one in found for _, value in one.headers)
    assert secret not in files(tmp_path)[0].read_bytes()


async def test_segments_rotate_by_size_and_the_books_go_on(tmp_path: Path) -> None:
    made = many(500)
    counts = await write(tmp_path, made, segment_size=Size(20_000), block_size=Size(4096))
    segments = [Segment(file) for file in files(tmp_path)]
    assert len(segments) > 3
    assert all(segment.size < 20_000 + 2 * 4096 for segment in segments)
    assert [s.footer.why for s in segments if s.footer] == ["size"] * (len(segments) - 1) + ["end"]
    assert [s.header.sequence for s in segments if s.header] == list(range(1, len(segments) + 1))
    assert list(Capture(tmp_path).records()) == made
    report = verify(tmp_path)
    assert report.ok
    assert report.writers[0].accounting == counts.snapshot()


async def test_segments_rotate_before_they_have_more_blocks_than_a_footer_can_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr(codec, "MAX_FRAMES", 3)
        await write(tmp_path, many(70), block_size=Size(1024), segment_size=Size(2**30))
    segments = [Segment(file) for file in files(tmp_path)]
    assert len(segments) > 3
    assert [s.footer.why for s in segments if s.footer] == ["blocks"] * (len(segments) - 1) + ["end"]
    assert {len(segment.frames()) for segment in segments[:-1]} == {3}
    assert verify(tmp_path).ok


async def test_a_segment_ages_from_its_first_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    clock = SimpleNamespace(
        monotonic=lambda: time.monotonic() + ahead, monotonic_ns=time.monotonic_ns, time_ns=time.time_ns
    )
    monkeypatch.setattr("captures.writer.time", clock)
    counts = Counts()
    writer = making.writer(tmp_path, counts, segment_age=Duration(600), flush=Duration(0.02))
    await writer.start()
    for number, waited in enumerate((601.0, 1.0, 601.0)):  # nobody came for ten minutes
        ahead += waited
        _offer(writer, counts, record(NOON + number))
        await eventually(lambda: counts.queued == 0)
    await writer.close()
    assert [segment.count for segment in Capture(tmp_path).segments] == [2, 1]


async def test_segments_rotate_by_age_without_traffic_but_not_when_empty(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, segment_age=Duration(0.05), flush=Duration(0.02))
    await writer.start()
    counts.seen += 1
    writer.offer(record())
    await eventually(lambda: Segment(files(tmp_path)[0]).state == "closed")
    assert len(files(tmp_path)) == 1, "the next one is opened when there is something to write"
    counts.seen += 1
    writer.offer(record())
    await eventually(lambda: len(files(tmp_path)) == 2)
    await writer.close()
    whys = [s.footer.why for s in map(Segment, files(tmp_path)) if s.footer]
    assert whys[0] == "age"
    assert verify(tmp_path).ok


async def test_a_record_is_on_its_way_to_the_disk_within_half_the_flush_bound(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(1))
    await writer.start()
    counts.seen += 1
    offered = asyncio.get_running_loop().time()
    writer.offer(record())
    assert counts.snapshot().pending == 1
    assert writer._seal_timer is not None
    # By the timer, not by a watch: on a machine that is busy the rest may take any time.
    assert offered + 0.5 <= writer._seal_timer.when() < offered + 0.75
    await eventually(lambda: counts.written == 1)
    segment = Segment(files(tmp_path)[0])
    assert (segment.state, segment.count) == ("open", 1), "it reads while it is being written"
    report = verify(tmp_path)
    assert report.ok
    assert "is being written at this moment" in report.segments[0].note
    await writer.close()
    assert Segment(files(tmp_path)[0]).state == "closed"


async def test_two_writers_share_a_folder_and_no_file(tmp_path: Path) -> None:
    await asyncio.gather(write(tmp_path, many(100)[::2]), write(tmp_path, many(100)[1::2]))
    assert len(files(tmp_path)) == 2
    assert list(Capture(tmp_path).records()) == many(100)
    assert len(verify(tmp_path).writers) == 2


async def test_what_cannot_be_packed_is_counted_and_harms_no_other(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    assert _offer(writer, counts, record(NOON))
    assert not _offer(writer, counts, record(body=bytes(codec.MAX_RECORD)))
    assert "larger than the format allows" in writer.last_error
    assert _offer(writer, counts, record(path="\ud800"))  # what is wrong with it shows when it is packed
    assert _offer(writer, counts, record(arrival_ns=-1))
    assert _offer(writer, counts, record(NOON + 1))
    assert writer.healthy
    await writer.close()
    assert [one.arrival_ns for one in Capture(tmp_path).records()] == [NOON, NOON + 1]
    assert (counts.written, counts.dropped) == (2, 3)
    assert verify(tmp_path).ok


async def test_bodies_that_cannot_be_searched_are_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    for body in (b"no gzip", b"nor this", b""):
        _offer(writer, counts, record(body=body, body_size=len(body), headers=((b"content-encoding", b"gzip"),)))
    await writer.close()
    assert counts.withheld_bodies == 2
    assert [one.body_size for one in Capture(tmp_path).records()] == [7, 8, 0]
    assert [line.startswith("capture: a body could not be searched") for line in caplog.messages] == [True]


async def test_records_that_are_unfit_are_told_once_for_each_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02), segment_age=Duration(0.02))
    await writer.start()
    for _ in range(3):
        _offer(writer, counts, record(body=bytes(codec.MAX_RECORD)))
        _offer(writer, counts, record(path="\ud800"))
    await eventually(lambda: counts.dropped == 6)
    assert [
        ("larger than the format allows" in line, "such records are dropped" in line) for line in caplog.messages
    ] == [(True, True)]
    _offer(writer, counts, record())
    await eventually(lambda: Segment(files(tmp_path)[0]).state == "closed")
    _offer(writer, counts, record())
    await eventually(lambda: counts.written == 2)
    _offer(writer, counts, record(path="\ud800"))
    await eventually(lambda: counts.dropped == 7)
    assert "cannot be packed: UnicodeEncodeError" in caplog.messages[1]
    await writer.close()
    assert len(caplog.messages) == 2


async def test_what_is_still_being_answered_at_the_end_is_dropped_and_counted_once(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    _offer(writer, counts, record())
    counts.seen += 3
    counts.in_flight += 3
    await writer.close()
    expected = Accounting(seen=4, written=1, dropped=3)
    assert verify(tmp_path).writers[0].accounting == counts.snapshot() == expected
    counts.seen += 1  # and one comes after it
    counts.in_flight += 1
    for _ in range(4):
        counts.in_flight -= 1
        assert not writer.offer(record())
        assert counts.snapshot().reconciles()
    assert counts.snapshot() == Accounting(seen=5, written=1, dropped=4)


async def test_what_comes_while_the_last_segment_is_closed_is_not_pending_in_it_either(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    _offer(writer, counts, record())
    free = hang(writer)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    counts.seen += 1
    counts.in_flight += 1
    free.set()
    await closing
    assert verify(tmp_path).writers[0].accounting == Accounting(seen=2, written=1, dropped=1)


async def test_a_start_that_was_broken_off_leaves_nothing_uncounted(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    free = hang(writer)
    starting = asyncio.create_task(writer.start())
    await asyncio.sleep(0)
    assert all(_offer(writer, counts, one) for one in many(5))
    starting.cancel()
    await asyncio.wait({starting})
    await writer.close()
    free.set()
    assert (counts.dropped, counts.queued, counts.snapshot().reconciles()) == (5, 0, True)


async def test_whatever_keeps_a_writer_from_starting_the_proxy_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    with monkeypatch.context() as before_1970:
        clock = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=time.monotonic_ns, time_ns=lambda: -1)
        before_1970.setattr("captures.writer.time", clock)
        await writer.start()
        assert "ValidationError" in writer.last_error
        assert _offer(writer, counts, record())
    await eventually(lambda: counts.written == 1)
    assert writer.healthy
    await writer.close()
    assert verify(tmp_path).ok


async def test_a_disk_that_hangs_at_the_start_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("captures.writer._FIRST_OPEN", 0.05)
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    free = hang(writer)
    async with asyncio.timeout(5):
        await writer.start()
    assert not writer.healthy
    assert "the disk does not answer" in writer.last_error
    assert all(_offer(writer, counts, one) for one in many(10))
    free.set()
    await eventually(lambda: counts.written == 10 and writer.healthy)
    await writer.close()
    assert list(Capture(tmp_path).records()) == many(10)
    assert (len(files(tmp_path)), verify(tmp_path).ok) == (1, True)
    assert ["records wait" in caplog.messages[0], "again" in caplog.messages[1], len(caplog.messages)] == [
        True,
        True,
        2,
    ]


async def test_a_disk_that_hung_only_at_the_start_is_healthy_without_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captures.writer._FIRST_OPEN", 0.05)
    writer = making.writer(tmp_path, Counts())
    free = hang(writer)
    await writer.start()
    assert not writer.healthy
    free.set()
    await eventually(lambda: writer.healthy)
    await writer.close()


async def test_a_disk_that_hangs_from_the_start_to_the_end_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captures.writer._FIRST_OPEN", 0.05)
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    free = hang(writer)
    await writer.start()
    assert all(_offer(writer, counts, one) for one in many(5))
    began = time.monotonic()
    await writer.close(within=0.3)
    assert time.monotonic() - began < 2
    assert (counts.dropped, counts.queued, counts.snapshot().reconciles()) == (5, 0, True)
    free.set()
    await eventually(lambda: all(thread.name != "reamp-capture" for thread in threading.enumerate()))


async def test_a_header_too_large_is_told_and_what_waits_for_it_counted(tmp_path: Path) -> None:
    counts = Counts()
    writer = CaptureWriter(tmp_path, WriterSettings(), counts, Redactor(making.KEY), {"note": "x" * (64 << 10)})
    await writer.start()
    assert "larger than the format allows" in writer.last_error
    assert _offer(writer, counts, record())
    counts.seen += 1
    counts.in_flight += 1
    await writer.close(within=0.1)
    assert (counts.snapshot(), files(tmp_path)) == (Accounting(seen=2, dropped=2), [])


async def test_software_that_was_not_installed_records_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("captures.writer.version", unknown)
    await write(tmp_path, many(1))
    header = Segment(files(tmp_path)[0]).header
    assert header is not None
    assert header.software == "reamp"


async def test_before_the_start_and_after_the_end_everything_is_dropped(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    assert not writer.offer(record())
    await writer.close()
    await writer.start()
    await writer.close()
    await writer.close()
    assert not writer.offer(record())
    assert (counts.dropped, counts.queued, writer.healthy) == (2, 0, False)


async def test_the_queue_is_bounded_and_drops_are_counted_exactly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, queue_size=Size(64 << 10), block_size=Size(8 << 10), flush=Duration(0.1))
    await writer.start()
    free = hang(writer)
    taken = [one for one in many(1000) if _offer(writer, counts, one)]
    assert 40 < len(taken) < 64 * 1024 / 200
    assert counts.dropped == 1000 - len(taken)
    assert counts.snapshot().reconciles()
    assert not writer.healthy
    free.set()
    await eventually(lambda: writer.healthy and not counts.queued)
    late = [record(NOON + 5000 + n) for n in range(10)]
    assert all(_offer(writer, counts, one) for one in late)
    await writer.close()
    assert list(Capture(tmp_path).records()) == taken + late
    report = verify(tmp_path)
    assert report.ok
    assert report.writers[0].accounting.dropped == counts.dropped
    told = [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert ["does not keep up" in told[0], "again" in told[1], len(told)] == [True, True, 2]


def _offer(writer: CaptureWriter, counts: Counts, one: Record) -> bool:
    counts.seen += 1
    return writer.offer(one)


async def test_a_late_disk_is_not_healthy_even_before_anything_is_lost(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.05))
    await writer.start()
    free = hang(writer)
    _offer(writer, counts, record())
    await eventually(lambda: not writer.healthy)
    free.set()
    await eventually(lambda: writer.healthy)
    await writer.close()
    assert counts.dropped == 0


async def test_closing_with_a_disk_that_hangs_ends_in_time(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    free = hang(writer)
    for one in many(50):
        _offer(writer, counts, one)
    began = time.monotonic()
    await writer.close(within=0.3)
    assert time.monotonic() - began < 2
    assert (counts.dropped, counts.queued, counts.snapshot().reconciles()) == (50, 0, True)
    free.set()
    # The thread that was left behind closes the file: not in the middle of another test.
    await eventually(lambda: all(thread.name != "reamp-capture" for thread in threading.enumerate()))


def test_a_disk_that_hangs_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    script = """
import asyncio, sys, threading
from pathlib import Path
from tests.captures.making import record, writer

async def main():
    to = writer(Path(sys.argv[1]))
    await to.start()
    to._in_worker().submit(threading.Event().wait)
    to.offer(record())
    await to.close(0.1)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=20, check=False)
    assert done.returncode == 0


async def test_a_folder_that_is_removed_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "captures"
    counts = Counts()
    writer = making.writer(folder, counts, flush=Duration(0.02))
    await writer.start()
    _offer(writer, counts, record(NOON))
    await eventually(lambda: counts.written == 1)
    shutil.rmtree(folder)
    _offer(writer, counts, record(NOON + 1))
    await eventually(lambda: counts.written == 2)
    assert writer.healthy
    await writer.close()
    assert [one.arrival_ns for one in Capture(folder).records()] == [NOON + 1]
    assert verify(folder).ok, "what somebody deleted is not missing at the front"
    assert ["cannot write" in caplog.messages[0], "again" in caplog.messages[1], len(caplog.messages)] == [1, 1, 2]


async def test_a_folder_that_is_moved_away_is_told_and_a_new_one_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, counts = tmp_path / "captures", Counts()
    writer = making.writer(folder, counts, flush=Duration(0.02))
    await writer.start()
    _offer(writer, counts, record(NOON))
    await eventually(lambda: counts.written == 1)
    folder.rename(tmp_path / "elsewhere")
    _offer(writer, counts, record(NOON + 1))
    await eventually(lambda: counts.written == 2)
    await writer.close()
    assert "the segment was moved away while it was being written; there is no such folder" in caplog.messages[0]
    assert [one.arrival_ns for one in Capture(tmp_path / "elsewhere").records()] == [NOON]
    assert [one.arrival_ns for one in Capture(folder).records()] == [NOON + 1]
    assert verify(folder).ok


async def test_a_file_in_place_of_the_folder_is_told_once_and_recording_goes_on_when_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, counts = tmp_path / "captures", Counts()
    writer = making.writer(folder, counts, flush=Duration(0.02), block_size=Size(1), queue_size=Size(1 << 10))
    await writer.start()
    _offer(writer, counts, record(NOON))
    await eventually(lambda: counts.written == 1)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("in the way")
    offered = 1
    while not counts.dropped:
        counts.seen += 1
        writer.offer(record(NOON + offered))
        offered += 1
        await asyncio.sleep(0)
    await eventually(lambda: "there is a file in place of the folder" in writer.last_error)
    assert not writer.healthy
    told = sorted("cannot write" in line for line in caplog.messages)
    assert told == [False, True], "what fails, and that records are lost, once each"
    folder.unlink()
    await eventually(lambda: writer.healthy and not counts.queued)
    await writer.close()
    assert (counts.written, counts.dropped) == (offered - 1, 1)
    assert verify(folder).ok


async def test_a_folder_that_cannot_be_is_told_and_survived(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    counts = Counts()
    writer = making.writer(blocked / "captures", counts, flush=Duration(0.02))
    await writer.start()
    await eventually(lambda: not writer.healthy)
    assert "captures" in writer.last_error
    _offer(writer, counts, record())
    blocked.unlink()
    await eventually(lambda: counts.written == 1)
    assert writer.healthy
    await writer.close()
    assert verify(blocked / "captures").ok


async def test_health_comes_back_without_traffic(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    writer = making.writer(blocked / "captures")
    await writer.start()
    assert not writer.healthy
    blocked.unlink()
    await eventually(lambda: writer.healthy)
    await writer.close()


async def test_a_segment_that_cannot_be_written_any_more_is_left_and_vouched_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    await writer.start()
    _offer(writer, counts, record(NOON))
    await eventually(lambda: counts.written == 1)

    whole = SegmentFile._write
    failed = 0

    async def half(self: SegmentFile, data: bytes) -> None:
        nonlocal failed
        if failed:
            return await whole(self, data)
        failed += 1
        await self._file.write(data[: len(data) // 2])
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(SegmentFile, "_write", half)
    _offer(writer, counts, record(NOON + 1))
    await eventually(lambda: counts.written == 2)
    await writer.close()
    first, second = Capture(tmp_path).segments
    assert (first.state, first.count, second.state, second.count) == ("torn", 1, "closed", 1)
    assert first.size == first.end, "the torn piece was cut off"
    report = verify(tmp_path)
    assert report.ok
    assert "it is complete" in report.segments[0].note


async def test_a_piece_that_fails_is_cut_off_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await SegmentFile.create(Place(tmp_path), "a.reamp", Worker("test"))
    await file.append(b"whole")
    path = tmp_path / "a.reamp"
    left = 100

    async def half(self: SegmentFile, data: bytes) -> None:
        await self._file.write(data[: len(data) // 2])
        os.truncate(path, min(left, path.stat().st_size))
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(SegmentFile, "_write", half)
        with pytest.raises(OSError, match="Input"):
            await file.append(b"piece")
    assert path.read_bytes() == b"whole"
    await file.append(b" again")
    assert path.read_bytes() == b"whole again"

    left = 3  # and somebody else cuts it even shorter meanwhile
    monkeypatch.setattr(SegmentFile, "_write", half)
    with pytest.raises(OSError, match="Input"):
        await file.append(b"piece")
    await file.close()
    assert path.read_bytes() == b"who", "nothing is filled up with zeros"


@pytest.mark.parametrize("left", [0, 300, 10**6])
async def test_a_segment_that_somebody_else_changed_is_left(tmp_path: Path, left: int) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    await writer.start()
    _offer(writer, counts, record(NOON))
    await eventually(lambda: counts.written == 1)
    (first,) = files(tmp_path)
    os.truncate(first, left)
    _offer(writer, counts, record(NOON + 1))
    await eventually(lambda: counts.written == 2)
    assert writer.healthy
    await writer.close()
    second = files(tmp_path)[1]
    assert [one.arrival_ns for one in Segment(second).records()] == [NOON + 1]
    assert first.stat().st_size <= left, "nothing was written into what is left of it"
    assert verify(tmp_path).ok == (left == 10**6), "too long a file was cut to what was written into it"


async def test_the_number_of_a_file_that_could_not_be_removed_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    await writer.start()
    with monkeypatch.context() as failing:

        async def fail(*_: object) -> None:
            failing.undo()
            failing.setattr(Path, "unlink", _forbidden)
            raise OSError(5, "Input/output error")

        failing.setattr(SegmentFile, "_write", fail)
        _offer(writer, counts, record())
        await eventually(lambda: counts.written == 1)
    await writer.close()
    assert [(s.header.sequence, s.count) for s in Capture(tmp_path).segments if s.header] == [(1, 0), (2, 1)]
    assert verify(tmp_path).ok


def _forbidden(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


async def test_an_error_in_the_writer_itself_costs_a_block_and_not_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(0.02))
    await writer.start()
    with monkeypatch.context() as broken:
        broken.setattr(codec.Compressor, "compressed", None)
        _offer(writer, counts, record(NOON))
        await eventually(lambda: counts.dropped == 1)
    _offer(writer, counts, record(NOON + 1))
    await eventually(lambda: counts.written == 1)
    await writer.close()
    assert counts.snapshot().reconciles()
    assert "a block cannot be compressed" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_size": Size(0)},
        {"block_size": Size(64 << 20), "queue_size": Size(1 << 30)},
        {"queue_size": Size(1)},
        {"flush": Duration(0)},
        {"segment_age": Duration(0)},
        {"segment_size": Size(0)},
        {"level": 99},
        {"unknown": 1},
    ],
)
def test_settings_without_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        WriterSettings.model_validate(wrong)


UNFIT = record(NOON, status=-5)
"""Looks sound until it is packed."""


async def test_a_block_that_was_packed_a_moment_ago_counts_only_what_is_in_it(tmp_path: Path) -> None:
    """Its future may be done before anybody was told: the frame must not promise what was left out."""
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    counts.seen += 3
    for one in (record(NOON), UNFIT, record(NOON + 2)):
        assert writer.offer(one)
    writer._seal()
    time.sleep(0.3)  # the loop is busy while the thread packs
    await writer.close()
    assert (counts.written, counts.dropped, counts.queued) == (2, 1, 0)
    assert len(list(Capture(tmp_path).records())) == 2
    assert verify(tmp_path).ok


async def test_packing_hurries_when_the_queue_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records are due in an hour, and the loop is so busy that it has no time for them."""
    monkeypatch.setattr("captures.writer._TURN_NS", 0)
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(3600), queue_size=Size(1 << 20))
    await writer.start()
    body = bytes(10_000)
    for number in range(80):
        _offer(writer, counts, record(NOON + number, body=body, body_size=len(body)))
    await eventually(lambda: counts.written > 0, within=5)
    for number in range(80, 120):
        _offer(writer, counts, record(NOON + number, body=body, body_size=len(body)))
    monkeypatch.undo()
    await writer.close()
    assert (counts.written, counts.dropped) == (120, 0)


async def test_what_is_packed_after_the_end_is_not_counted_again(tmp_path: Path) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts)
    await writer.start()
    packs = threading.Event()
    writer._compressing = thread = Worker("slow")
    thread.submit(packs.wait)
    for _ in range(3):
        counts.seen += 2
        writer.offer(record(NOON))
        writer.offer(UNFIT)
        writer._seal()
    await writer.close(within=0.05)
    packs.set()
    assert counts.snapshot() == Accounting(seen=6, dropped=6, pending=0)
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert counts.snapshot() == Accounting(seen=6, dropped=6, pending=0)
    assert counts.queued == 0


async def test_without_a_thread_to_pack_in_records_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    writer = making.writer(tmp_path, counts, block_size=Size(1))
    await writer.start()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none_left)
        counts.seen += 1
        writer.offer(record(NOON))
        assert counts.snapshot() == Accounting(seen=1, dropped=1, pending=0)
        assert (writer.healthy, "thread" in writer.last_error) == (False, True)
    counts.seen += 1
    assert writer.offer(record(NOON))
    await eventually(lambda: counts.written == 1)
    assert writer.healthy
    await writer.close()
    assert verify(tmp_path).ok


async def test_a_block_is_due_when_its_first_record_is_as_old_as_promised(tmp_path: Path) -> None:
    """And not as long after it was sealed, which is half of that later."""
    counts = Counts()
    writer = making.writer(tmp_path, counts, flush=Duration(60))
    await writer.start()
    free = hang(writer)
    offered = time.monotonic_ns()
    _offer(writer, counts, record())
    just_after = time.monotonic_ns()
    await asyncio.sleep(0.05)
    writer._seal()
    assert offered <= counts.due_ns - 60_000_000_000 <= just_after
    free.set()
    await writer.close()
    assert counts.written == 1


@pytest.mark.parametrize("field", ["method", "scheme", "authority", "path", "http_version"])
def test_all_texts_of_a_record_weigh(field: str) -> None:
    """HTTP/2 has the authority nowhere else, and an import may have anything anywhere."""

    def weighed(text: str) -> tuple[int, int]:
        fields: dict[str, Any] = {field: text}
        return codec.weigh(record(**fields))

    size, weight = weighed("")
    long = "a" * 100_000
    assert weighed(long) == (size + len(long), weight + len(long))
    rare = long + "\U0001f600"
    assert weighed(rare)[0] == size + len(rare.encode())
    assert weighed(rare)[1] >= weight + sys.getsizeof(rare)
