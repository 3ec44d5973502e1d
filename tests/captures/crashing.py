"""Writers that are killed: ``python -m tests.captures.crashing FOLDER KILLS SEED FSYNC``.

One process that has everything loaded forks a writer for each kill, a few at a time, and kills it with SIGKILL at a
random moment. What a writer has done it notes in memory that its parent shares, so that the notes are exact up to the
instruction at which it died: the accounts as they stood, and when each record had been taken. For each kill there is
one line of JSON on stdout (`Kill`), and FOLDER/NUMBER with the capture and FOLDER/NUMBER.notes.
"""

import asyncio
import json
import mmap
import os
import random
import shutil
import signal
import sys
import time
import traceback
from ctypes import sizeof
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captures.accounting import Counts
from rules.units import Duration, Size
from tests.captures.making import record, writer
from tests.captures.making import write as capture

PARENT = os.getpid()
AT_ONCE = 5
PICTURE = ((b"Content-Type", b"image/png"),)
"""What the bodies are, so that little is searched in them and most of the time goes into writing."""

HEAD = 8 * 64
"""Bytes of the notes before the times: the accounts; in the last cell but one whether it has started, in the last the
number of times."""
NOTES = HEAD + 8 * 200_000


@dataclass(frozen=True)
class Manner:
    """How a writer writes, so that its death finds it in different places."""

    settings: dict[str, Any]
    pause: float
    """Seconds between two records."""
    body: int
    live: tuple[float, float]
    """Seconds that it may live."""


MANNERS = {
    # Headers, footers and rotation: a block for nearly every record, a segment for every few.
    "small": Manner(
        {"block_size": Size(300), "segment_size": Size(3000), "flush": Duration(0.4)}, 0.0005, 0, (0.0, 0.25)
    ),
    # Blocks that take the kernel a while: a kill lands in the middle of one (`grows`).
    "large": Manner(
        {"block_size": Size(3 << 20), "segment_size": Size(20 << 20), "flush": Duration(0.8)},
        0.001,
        1 << 20,
        (0.0, 0.4),
    ),
    # Only the clock closes blocks: what is lost is what the bound allows.
    "timed": Manner({"flush": Duration(0.3)}, 0.002, 0, (0.2, 0.9)),
}


@dataclass(frozen=True)
class Kill:
    """What became of one writer."""

    number: int
    manner: str
    flush_ns: int
    killed_ns: int
    """Monotonic time just before the signal was sent."""


@dataclass
class Living:
    number: int
    manner: str
    pid: int
    notes: mmap.mmap
    until: float


async def write(folder: Path, manner: Manner, fsync: str, notes: mmap.mmap, dice: random.Random) -> None:
    """Record for ever."""
    counts = Counts.from_buffer(notes)
    cells = memoryview(notes).cast("q")
    at, taken = HEAD // 8, 0
    body = dice.randbytes(manner.body)
    to = writer(folder, counts, fsync=fsync, **manner.settings)
    await to.start()
    cells[at - 2] = 1
    while os.getppid() == PARENT:
        if body and counts.queued > 12:  # the bound is promised for a disk that keeps up
            await asyncio.sleep(manner.pause)
            continue
        counts.seen += 1
        noise = taken.to_bytes(8) + body if body else b""
        one = record(time.time_ns(), path=f"/{taken}", body=noise, body_size=len(noise), headers=PICTURE)
        if not to.offer(one):
            raise AssertionError(f"a record was dropped: {to.last_error}")
        cells[at + taken] = time.monotonic_ns()
        taken += 1
        cells[at - 1] = taken  # last: what counts is complete
        await asyncio.sleep(manner.pause)


def warm_up(folder: Path) -> None:
    """Write a capture, so that what is made at the first record is not made in every process again."""
    body = random.Random(0).randbytes(1 << 16)
    records = [record(body=body, body_size=len(body), headers=PICTURE), record()]
    asyncio.run(capture(folder / "first", records))
    shutil.rmtree(folder / "first")


def begin(folder: Path, number: int, manner: str, fsync: str, dice: random.Random) -> Living:
    notes = mmap.mmap(-1, NOTES)
    seed = dice.random()
    lives = dice.uniform(*MANNERS[manner].live)
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(write(folder / str(number), MANNERS[manner], fsync, notes, random.Random(seed)))
        except Exception:  # noqa: BLE001 - whatever it is, this process must not become a second parent
            traceback.print_exc()
        finally:
            os._exit(1)
    if dice.random() < 0.8:  # the others may die before their first header
        cells, until = memoryview(notes).cast("q"), time.monotonic() + 5
        while not cells[HEAD // 8 - 2] and time.monotonic() < until:
            time.sleep(0.001)
    return Living(number, manner, pid, notes, time.monotonic() + lives)


def grows(folder: Path) -> None:
    """Wait, for a moment, until the newest file there has become larger."""
    files = sorted(folder.glob("*")) if folder.exists() else []
    if files:
        before, until = files[-1].stat().st_size, time.monotonic() + 0.3
        while files[-1].stat().st_size == before and time.monotonic() < until:
            time.sleep(0.0001)  # a block takes the kernel longer


def end(folder: Path, one: Living) -> Kill:
    if one.manner == "large":
        grows(folder / str(one.number))
    killed = time.monotonic_ns()
    os.kill(one.pid, signal.SIGKILL)
    _, status = os.waitpid(one.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it died of something else"
    (taken,) = memoryview(one.notes)[HEAD - 8 : HEAD].cast("q")
    (folder / f"{one.number}.notes").write_bytes(one.notes[: HEAD + 8 * taken])
    flush = MANNERS[one.manner].settings["flush"]
    return Kill(one.number, one.manner, round(float(flush) * 1e9), killed)


def main() -> None:
    folder, kills, seed, fsync = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    assert sizeof(Counts) <= HEAD - 16
    dice = random.Random(seed)
    warm_up(folder)
    living: list[Living] = []
    number = 0
    while number < kills or living:
        while number < kills and len(living) < AT_ONCE:
            manner = dice.choices(list(MANNERS), [6, 3, 2])[0]
            living.append(begin(folder, number, manner, fsync, dice))
            number += 1
        living.sort(key=lambda one: one.until)
        one = living.pop(0)
        time.sleep(max(0.0, one.until - time.monotonic()))
        print(json.dumps(asdict(end(folder, one))), flush=True)


if __name__ == "__main__":
    main()
