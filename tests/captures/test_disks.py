"""Real file systems that are full or read-only."""

import asyncio
import random
import subprocess
import sys
import time

import pytest

from captures.accounting import Counts
from captures.reader import Capture
from captures.records import Record
from captures.verify import verify
from rules.units import Duration, Size
from tests.captures import making
from tests.captures.making import NOON, eventually, record
from tests.support.disks import Disk


def noisy(dice: random.Random, number: int) -> Record:
    """A record that does not compress."""
    return record(NOON + number, body=dice.randbytes(500), body_size=500)


async def test_a_full_disk_costs_only_what_the_queue_cannot_hold_and_recovery_is_by_itself(disk: Disk) -> None:
    folder = disk.folder / "captures"
    counts, dice = Counts(), random.Random(1)
    writer = making.writer(
        folder,
        counts,
        block_size=Size(8 << 10),
        queue_size=Size(128 << 10),
        flush=Duration(0.05),
        segment_size=Size(2**30),
    )
    await writer.start()
    kept: list[Record] = []
    number = 0

    def offer() -> bool:
        nonlocal number
        one = noisy(dice, number)
        number += 1
        counts.seen += 1
        taken = writer.offer(one)
        if taken:
            kept.append(one)
        return taken

    for _ in range(50):
        assert offer()
    await eventually(lambda: counts.queued == 0)

    ballast = disk.fill()
    refused = 0
    while refused < 300:
        refused += not offer()
        await asyncio.sleep(0)
    assert (counts.dropped, counts.seen) == (refused, number)
    assert counts.snapshot().reconciles()
    await eventually(lambda: "No space left on device" in writer.last_error)
    assert not writer.healthy
    assert verify(folder).ok, "what is there reads while the disk is full"

    ballast.unlink()
    await eventually(lambda: writer.healthy and counts.queued == 0)
    for _ in range(50):
        assert offer()
    await writer.close()

    assert list(Capture(folder).records()) == kept
    assert (counts.written, counts.dropped) == (len(kept), refused)
    report = verify(folder)
    assert report.ok
    assert len(report.segments) == 1, "the segment went on where it was"
    assert report.writers[0].accounting == counts.snapshot()


async def test_closing_on_a_full_disk_ends_in_time_and_counts_what_is_lost(disk: Disk) -> None:
    folder = disk.folder / "captures"
    counts, dice = Counts(), random.Random(2)
    writer = making.writer(folder, counts, flush=Duration(0.02), block_size=Size(8 << 10))
    await writer.start()
    for number in range(40):
        counts.seen += 1
        writer.offer(noisy(dice, number))
    await eventually(lambda: counts.queued == 0)
    disk.fill()
    for number in range(40, 60):
        counts.seen += 1
        writer.offer(noisy(dice, number))
    await asyncio.wait_for(writer.close(within=0.4), 2)
    assert counts.snapshot().reconciles()
    assert counts.written + counts.dropped == 60
    assert len(list(Capture(folder).records())) == counts.written
    report = verify(folder)
    assert report.segments[0].state == "torn"
    assert not report.segments[0].damage


def test_a_kill_while_the_disk_is_full_costs_what_waited_for_it_and_that_is_said(disk: Disk) -> None:
    flush_ns = 100_000_000
    command = [sys.executable, "-m", "tests.captures.steady_writer", str(disk.folder), "100ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = int(process.stdout.readline())
        while not list(disk.folder.glob("*.reamp")) or Capture(disk.folder).last_ns is None:
            time.sleep(0.01)
        disk.fill()
        while time.time_ns() - (Capture(disk.folder).last_ns or 0) < 5 * flush_ns:
            time.sleep(0.01)
        process.kill()
        killed_at = time.time_ns()
        offered = [first, *map(int, process.stdout.read().splitlines())]
    found = [one.arrival_ns for one in Capture(disk.folder).records()]
    assert found == offered[: len(found)]
    assert killed_at - offered[len(found)] > 2 * flush_ns, "far more is gone than the disk's usual pace would cost"
    (segment,) = verify(disk.folder).segments
    assert (segment.state, segment.lost) == ("torn", True)
    assert "at most 100ms of finished requests if the disk kept up, otherwise also" in segment.note
    assert "what waited for it, up to 32MiB" in segment.note


async def test_a_read_only_folder_is_told_and_taken_up_when_it_can_be_written(disk: Disk) -> None:
    disk.remount("ro")
    counts = Counts()
    writer = making.writer(disk.folder, counts, flush=Duration(0.02))
    await writer.start()
    await eventually(lambda: not writer.healthy)
    assert "Read-only file system" in writer.last_error
    for number in range(10):
        counts.seen += 1
        assert writer.offer(record(NOON + number))
    disk.remount("rw")
    await eventually(lambda: counts.written == 10)
    assert writer.healthy
    await writer.close()
    assert verify(disk.folder).ok


async def test_closing_on_a_read_only_disk_ends_in_time(disk: Disk) -> None:
    disk.remount("ro")
    counts = Counts(seen=1)
    writer = making.writer(disk.folder, counts)
    await writer.start()
    writer.offer(record())
    await asyncio.wait_for(writer.close(within=0.3), 2)
    assert (counts.dropped, counts.snapshot().reconciles()) == (1, True)


async def test_a_disk_that_is_unmounted_is_told_and_what_lies_beneath_is_not_filled(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    folder = disk.folder / "captures"
    writer = making.writer(folder, counts, flush=Duration(0.02))
    await writer.start()
    for number in range(10):
        counts.seen += 1
        assert writer.offer(record(NOON + number))
        if number == 4:
            await eventually(lambda: counts.written == 5)
            subprocess.run(["umount", "-l", str(disk.folder)], check=True)
    await eventually(lambda: "is not mounted any more" in writer.last_error)
    assert (writer.healthy, counts.written, counts.queued) == (False, 5, 5)
    assert not list(disk.folder.iterdir()), "nothing is written where nobody would look for it"
    assert len([line for line in caplog.messages if "cannot write" in line]) == 1

    assert not disk.mount("size=256k")
    await eventually(lambda: counts.written == 10)
    assert writer.healthy
    await writer.close()
    assert [one.arrival_ns - NOON for one in Capture(folder).records()] == [5, 6, 7, 8, 9]
    assert counts.snapshot().reconciles()


async def test_a_disk_that_is_mounted_over_the_folder_is_used(disk: Disk) -> None:
    """As when a sidecar started before its volume was there."""
    counts, folder = Counts(), disk.folder / "captures"
    writer = making.writer(folder, counts, flush=Duration(0.02))
    await writer.start()
    counts.seen += 1
    writer.offer(record(NOON))
    await eventually(lambda: counts.written == 1)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    try:
        counts.seen += 1
        writer.offer(record(NOON + 1))
        await eventually(lambda: counts.written == 2)
        await writer.close()
        assert [one.arrival_ns - NOON for one in Capture(folder).records()] == [1]
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    assert [one.arrival_ns - NOON for one in Capture(folder).records()] == [0]
