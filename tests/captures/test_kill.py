"""A writer that is killed at random moments: what is there, what is lost, and what the accounts say of it.

REAMP_KILLS says how many times (300), REAMP_KILLS_SEED which moments; with ``pytest -s`` it tells where they were.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import pytest

from captures.accounting import Counts, settle
from captures.errors import CaptureError
from captures.reader import Capture, Segment
from captures.segments import SUFFIX
from captures.verify import verify
from tests.captures.crashing import HEAD, Kill

KILLS = int(os.environ.get("REAMP_KILLS", "300"))
SEED = os.environ.get("REAMP_KILLS_SEED", "crash")


class File:
    """A segment as any msgpack library reads it, without our reader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
        raw = path.read_bytes()
        unpacker.feed(raw)
        objects: list[Any] = []
        self.end = 0
        while True:
            try:
                objects.append(unpacker.unpack())
            except msgpack.OutOfData:
                break
            self.end = unpacker.tell()
        self.rest = len(raw) - self.end
        self.header: dict[str, Any] | None = objects[0] if objects else None
        self.blocks = [one[2] for one in objects if isinstance(one, list)]
        self.footer = next((one for one in objects[1:] if isinstance(one, dict)), None)
        self.closed = bool(objects) and isinstance(objects[-1], int)
        self.records = sum(self.blocks)


def check(folder: Path, kill: Kill) -> str:
    """Hold what is left of one writer against its notes. Gives the phase in which it died."""
    notes = (folder / f"{kill.number}.notes").read_bytes()
    counts = Counts.from_buffer_copy(notes)
    taken_ns = memoryview(notes)[HEAD:].cast("q").tolist()
    capture = folder / str(kill.number)
    files = [File(path) for path in sorted(capture.glob(f"*{SUFFIX}"))] if capture.exists() else []
    assert len(list(capture.glob("*"))) == len(files)

    # Only the last file may lack anything. What it holds of whole blocks reads, and the rest is a torn tail.
    assert all(file.closed and not file.rest for file in files[:-1])
    found = []
    readable = [file for file in files if file.header is not None]
    if readable:
        found = [int(one.path[1:]) for one in Capture(capture).records()]
        for file in readable:
            segment = Segment(file.path)
            assert (segment.count, len(segment.frames())) == (file.records, len(file.blocks))
            assert segment.state == ("closed" if file.closed else "torn")
    assert found == list(range(len(found))), "a beginning, in order and without holes"
    assert len(found) == sum(file.records for file in files)

    # The loss is within the bound. (A process that was not run meanwhile could not keep it: so much longer. Nor could
    # one that waited for the disk. Its books say so, and for how long: `reamp_capture_healthy` is told from that.)
    held_up = max((later - earlier for earlier, later in pairwise([*taken_ns, kill.killed_ns])), default=0)
    allowed = kill.flush_ns + (held_up if held_up > kill.flush_ns / 8 else 0)
    allowed += max(0, kill.killed_ns - (counts.due_ns or kill.killed_ns))
    must = sum(at + allowed <= kill.killed_ns for at in taken_ns)
    assert must <= len(found) <= len(taken_ns) + 1

    # The accounts are exact for what is there: those in memory ...
    largest = max((block for file in files for block in file.blocks), default=0)
    assert 0 <= len(found) - counts.written <= largest, "at most one block was written and not yet counted"
    settle(counts, len(found))
    assert counts.snapshot().reconciles()
    assert (counts.written, counts.dropped, counts.seen) == (len(found), counts.seen - len(found), counts.seen)

    # ... and those in the files.
    if not readable:
        if files:  # a file without a header is named, and no more
            with pytest.raises(CaptureError):
                Segment(files[0].path)
        assert not counts.written
        return "before the first header"
    report = verify(capture)
    assert report.records == len(found)
    (books,) = report.writers
    assert (books.problems, books.segments) == ([], len(readable))
    written = 0
    for file in readable:
        assert file.header
        assert file.header["accounting"]["written"] == written
        written += file.records
        if file.footer:
            assert (file.footer["records"], file.footer["accounting"]["written"]) == (file.records, written)
    states = [one.state for one in report.segments]
    assert states[:-1] == ["closed"] * (len(states) - 1)
    torn = states[-1] != "closed"
    assert report.ok == (not torn)
    assert all(not one.damage for one in report.segments if one.state != "unreadable")
    if files[-1].header is None:
        return "within a header"
    if not torn:
        return "between two segments"
    if files[-1].rest and _begins_a_map(files[-1]):
        return "within a footer"
    return "within a block" if files[-1].rest else "between two blocks"


def _begins_a_map(file: File) -> bool:
    """Whether the torn tail is the beginning of a footer, or of a header, and not of a block."""
    with file.path.open("rb") as raw:
        raw.seek(file.end)
        return raw.read(1)[0] & 0xF0 == 0x80


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fsync", ["none", "block"])
def test_whenever_a_writer_is_killed_all_whole_blocks_read_and_the_loss_is_within_the_bound(
    tmp_path: Path, fsync: str
) -> None:
    command = [sys.executable, "-m", "tests.captures.crashing", str(tmp_path), str(KILLS), SEED + fsync, fsync]
    phases: Counter[str] = Counter()
    manners: Counter[str] = Counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                kill = Kill(**json.loads(line))
                phases[check(tmp_path, kill)] += 1
                manners[kill.manner] += 1
                shutil.rmtree(tmp_path / str(kill.number), ignore_errors=True)
        except BaseException:
            process.kill()  # its writers notice
            raise
    assert process.returncode == 0
    print(f"fsync {fsync}: died {dict(phases)}; wrote {dict(manners)}")
    assert phases.total() == KILLS
    if KILLS >= 300:
        assert {"between two blocks", "between two segments"} <= set(phases)
