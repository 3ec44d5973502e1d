"""What each policy asks of the disk, and when: every real call is written down and passed on."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from captures import codec, segments
from captures.accounting import Counts
from captures.reader import Capture, Segment
from captures.verify import verify
from captures.writer import WriterSettings
from rules.units import Duration, Size
from tests.captures.making import NOON, eventually, record, writer

FLUSH = Duration(0.05)


class Disk:
    """Passes calls on to the real disk and keeps how long each file was when it was synced; fails when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[tuple[int, int]] = []
        """(inode, size)"""
        self.folders: list[Path] = []
        self.fail_next = 0
        real_data, real_folder = os.fdatasync, segments.sync_folder

        def data(descriptor: int) -> None:
            found = os.fstat(descriptor)
            self.synced.append((found.st_ino, found.st_size))
            if self.fail_next:
                code, self.fail_next = self.fail_next, 0
                raise OSError(code, os.strerror(code))
            real_data(descriptor)

        def folder(path: Path) -> None:
            self.folders.append(path)
            real_folder(path)

        monkeypatch.setattr(segments, "_sync_data", data)
        monkeypatch.setattr(segments, "sync_folder", folder)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def offerer(counts: Counts, to: object) -> Callable[[int], None]:
    def offer(number: int) -> None:
        counts.seen += 1
        assert to.offer(record(NOON + number))  # type: ignore[attr-defined]

    return offer


async def test_by_default_nothing_is_synced(tmp_path: Path, disk: Disk) -> None:
    counts = Counts()
    to = writer(tmp_path / "new" / "captures", counts, flush=FLUSH)
    await to.start()
    offerer(counts, to)(0)
    await to.close()
    assert counts.written == 1
    assert (disk.synced, disk.folders) == ([], [])


async def test_by_block_nothing_counts_as_written_before_the_disk_has_it(tmp_path: Path, disk: Disk) -> None:
    folder = tmp_path / "new" / "captures"
    counts = Counts()
    to = writer(folder, counts, flush=Duration(10), block_size=Size(1), fsync="block")
    await to.start()
    assert disk.folders == [folder.parent, tmp_path, folder], "new folders and the new file, by name"
    offer = offerer(counts, to)
    for number in range(20):
        offer(number)
        await eventually(lambda written=number + 1: counts.written == written)  # type: ignore[misc]
        (file,) = folder.iterdir()
        assert disk.synced[-1][1] == file.stat().st_size, "all of the file"
    await to.close()
    (segment,) = Capture(folder).segments
    ends = [frame.offset + frame.length for frame in segment.frames()]
    assert [size for _, size in disk.synced] == [segment.frames()[0].offset, *ends, segment.size]


async def test_by_interval_many_blocks_share_a_sync_and_the_last_one_needs_no_traffic(
    tmp_path: Path, disk: Disk
) -> None:
    counts = Counts()
    to = writer(tmp_path, counts, flush=Duration(0.5), block_size=Size(1), fsync="interval")
    await to.start()
    offer = offerer(counts, to)
    for number in range(50):
        offer(number)
        await asyncio.sleep(0)
    await eventually(lambda: counts.written == 50)
    (file,) = tmp_path.iterdir()
    await eventually(lambda: disk.synced[-1][1] == file.stat().st_size)
    assert 2 <= len(disk.synced) <= 10, "header and seldom"
    before = len(disk.synced)
    await to.close()
    assert len(disk.synced) == before + 1, "the footer"


async def test_by_interval_a_sync_does_not_wait_for_a_block_that_is_not_compressed_yet(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()
    to = writer(tmp_path, counts, flush=Duration(0.2), block_size=Size(1), fsync="interval")
    await to.start()
    goes_on = threading.Event()
    real, calls = codec.Compressor.compressed, count()

    def slow_from_the_second_on(self: codec.Compressor, parts: list[bytes]) -> bytes:
        if next(calls):
            goes_on.wait(30)
        return real(self, parts)

    monkeypatch.setattr(codec.Compressor, "compressed", slow_from_the_second_on)
    offer = offerer(counts, to)
    offer(0)
    offer(1)
    try:
        await eventually(lambda: counts.written == 1)
        (file,) = tmp_path.iterdir()
        await eventually(lambda: disk.synced[-1][1] == file.stat().st_size, within=5)
        assert counts.queued == 1
    finally:
        goes_on.set()
    await to.close()
    assert counts.written == 2


@pytest.mark.parametrize("policy", ["block", "interval"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_a_failed_sync_is_never_asked_again(
    tmp_path: Path, disk: Disk, policy: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Even on a full disk, where a failed write would have stayed in its segment."""
    counts = Counts()
    to = writer(tmp_path, counts, flush=FLUSH, fsync=policy)
    await to.start()
    offer = offerer(counts, to)
    offer(0)
    await eventually(lambda: counts.written == 1)
    (file,) = tmp_path.iterdir()
    await eventually(lambda: disk.synced[-1][1] == file.stat().st_size)
    disk.fail_next = code
    offer(1)
    await eventually(lambda: disk.fail_next == 0)
    failed = disk.synced[-1][0]
    at = len(disk.synced)
    await eventually(lambda: counts.written == 2 and to.healthy)
    offer(2)
    await eventually(lambda: counts.written == 3)
    await to.close()
    assert failed not in [inode for inode, _ in disk.synced[at:]]
    assert [one.arrival_ns - NOON for one in Capture(tmp_path).records()] == [0, 1, 2]
    assert [Segment(one).state for one in sorted(tmp_path.iterdir())] == ["torn", "closed"]
    report = verify(tmp_path)
    assert report.ok, "the second one vouches for the first"
    assert report.writers[0].accounting == counts.snapshot()
    assert "sync has failed" in caplog.messages[0]
    assert ("1 records" in caplog.text) == (policy == "interval"), "what was counted and may not be there is told"


def test_policies_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="fsync"):
        WriterSettings(fsync="always")
