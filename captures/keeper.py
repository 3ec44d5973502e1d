"""The edge of `retention`: removes what has to go while a writer records, and has it pause when others need the disk.

Several processes may record into one folder: each has a keeper, and the folder's own lock lets one at a time clear up,
so that none removes more than it has to because another one was quicker. (Where folders can't be locked, two may.)
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from captures import codec
from captures.accounting import Counts
from captures.retention import Limits, Stored, Surplus, has_room, surplus
from captures.segments import SUFFIX
from captures.worker import Worker
from captures.writer import CaptureWriter
from rules.units import Size

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at how much of the disk is free."""

SWEEP = 10.0
"""Seconds between two looks at all segments."""

SWEEP_SOON = 3.0
"""The same while too little of the disk is free: some file systems take a moment to give back what was removed."""

_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-([0-9a-f]{8})-(\d{6,18})" + re.escape(SUFFIX))


class Swept(NamedTuple):
    """What a sweep did."""

    removed: list[Stored]
    short: bool
    """Nothing is left that may go, and too little of the disk is free all the same."""
    words: str = ""
    """Why they were removed, for people."""
    problem: str = ""
    """What kept the others from being removed."""


class Sweeper:
    """Clears up in one folder, one call at a time. May wait for the disk."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._idle: set[str] = set()
        """Segments that nobody writes: what was closed once is never opened again."""

    def free(self) -> int:
        """Tell how many bytes of the disk are free for us. Raises OSError."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def sweep(self) -> Swept:
        """Remove what has to go. Raises OSError if that can't be done."""
        with _alone(self._folder) as alone:
            if not alone:
                return Swept([], short=False)
            stored = self._stored()
            todo = surplus(stored, self._limits, time.time_ns(), self.free())
            removed: list[Stored] = []
            for one, _ in todo.segments:
                try:
                    (self._folder / one.name).unlink()
                except FileNotFoundError:
                    continue  # somebody else was quicker
                except OSError as error:
                    short = not has_room(self.free(), self._limits, paused=False)
                    return Swept(removed, short, _words(todo), f"{one.name}: {os.strerror(error.errno or 0)}")
                removed.append(one)
            return Swept(removed, todo.short, _words(todo))

    def _stored(self) -> list[Stored]:
        """List the segments that a writer has made here. What has another name is somebody's, and stays."""
        found = []
        for path in self._folder.iterdir():
            name = _NAME.fullmatch(path.name)
            if name is None:
                continue
            try:
                status = path.lstat()
                idle = path.name in self._idle or (stat.S_ISREG(status.st_mode) and _idle(path))
            except OSError:
                continue  # it went meanwhile, or is not for us to read
            if idle is None:
                continue
            if idle:
                self._idle.add(path.name)
            found.append(Stored(path.name, name[1], int(name[2]), status.st_size, status.st_mtime_ns, not idle))
        self._idle.intersection_update([one.name for one in found])
        return found


class Keeper:
    """Keeps one writer's folder within its limits, for as long as the writer records."""

    def __init__(self, folder: Path, limits: Limits, writer: CaptureWriter, counts: Counts) -> None:
        self._sweeper = Sweeper(folder, limits)
        self._folder, self._limits = folder, limits
        self._writer, self._counts = writer, counts
        self._worker = Worker("reamp-retention")
        self._swept = float("-inf")
        self._paused = self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._task = asyncio.create_task(self._run(), name="reamp-retention")

    async def close(self) -> None:
        """Look no more. A removal under way is not waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._worker.shutdown()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go better
                self._tell(str(error))
            await asyncio.sleep(LOOK if self._limits.min_free is not None else SWEEP)

    async def _look(self) -> None:
        try:
            free = await asyncio.wrap_future(self._worker.submit(self._sweeper.free))
        except FileNotFoundError:
            return  # the writer has more to say about that
        room = has_room(free, self._limits, self._paused)
        if self._paused and room:
            self._paused = False
            self._writer.release()
        since = time.monotonic() - self._swept
        if since >= (SWEEP if room else SWEEP_SOON):
            self._swept = time.monotonic()
            self._settle(await asyncio.wrap_future(self._worker.submit(self._sweeper.sweep)))

    def _tell(self, problem: str) -> None:
        """Say once what is wrong, until it is not any more."""
        if problem and not self._failing:
            log.warning("capture: %s can't be kept within its limits: %s", self._folder, problem)
        self._failing = bool(problem)

    def _settle(self, swept: Swept) -> None:
        self._tell(swept.problem)
        if swept.removed:
            size = sum(one.size for one in swept.removed)
            self._counts.removed_segments += len(swept.removed)
            self._counts.removed_bytes += size
            log.info(
                "capture: removed the %d oldest segment(s) of %s, %d bytes (%s), up to %s",
                *(len(swept.removed), self._folder, size, swept.words, swept.removed[-1].name),
            )
        if swept.short and not self._paused:
            self._paused = True
            least = Size(self._limits.min_free or 0)
            self._writer.hold(
                f"less than {least} of the disk are free (--min-free-disk), and nothing is left to remove"
            )


def _words(todo: Surplus) -> str:
    reasons = [why for _, why in todo.segments]
    return ", ".join(f"--{why}: {reasons.count(why)}" for why in dict.fromkeys(reasons))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Have nobody else clear up in the folder meanwhile. False: somebody does already."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:  # no such locks here: two that remove the same files do no harm
            yield True
        else:
            yield True
    finally:
        os.close(descriptor)


def _idle(path: Path) -> bool | None:
    """Tell whether a segment is written by nobody; None if it is no segment. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        # A file that was made this moment is not locked yet: but neither does it hold anything.
        if not codec.looks_like_ours(os.pread(descriptor, 64, 0)):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return _has_footer(descriptor)  # no locks here: what has its footer is finished
        return True
    finally:
        os.close(descriptor)


def _has_footer(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    footer = codec.unpack_trailer(os.pread(descriptor, codec.TRAILER, max(0, size - codec.TRAILER)))
    return footer is not None and footer < size
