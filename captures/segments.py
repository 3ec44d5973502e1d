"""The files of a capture: their names, and one that is being appended to."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO

SUFFIX = ".reamp"


def segment_name(created_ns: int, writer: str, sequence: int) -> str:
    """Name a segment, so that names sort by time and no two writers ever choose the same one."""
    at = datetime.fromtimestamp(created_ns // 1_000_000_000, UTC)
    micros = created_ns // 1_000 % 1_000_000
    return f"{at:%Y%m%dT%H%M%S}.{micros:06d}Z-{writer}-{sequence:06d}{SUFFIX}"


def is_being_written(descriptor: int) -> bool:
    """Whether a writer holds this open file: then a missing footer is no sign of a crash."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


class SegmentFile:
    """A new file that grows by whole pieces: what could not be written whole is cut off again.

    Every call runs in `worker`, and raises OSError.
    """

    def __init__(self, path: Path, file: "AsyncFileIO", worker: Executor) -> None:
        self.path = path
        self.size = 0
        self._file = file
        self._worker = worker
        self._torn = False

    @classmethod
    async def create(cls, path: Path, worker: Executor) -> "SegmentFile":
        """Make the file, for this writer alone, in a folder that is made if it is not there."""

        def opener(name: str, flags: int) -> int:
            Path(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(name, flags | os.O_NOFOLLOW, 0o600)
            with suppress(OSError):  # only tells readers that it is being written: the name is unique anyway
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor

        return cls(path, await aiofiles.open(path, "xb", buffering=0, opener=opener, executor=worker), worker)

    async def append(self, data: bytes) -> None:
        """Write all of `data` at the end, or leave the file as it was."""
        if self._torn:
            await self._cut()
        await self._check(self.size)  # writing beyond the end of a file that was cut would leave a hole
        self._torn = True
        try:
            await self._write(data)
        except OSError:
            with suppress(OSError):
                await self._cut()
            raise
        self._torn = False
        self.size += len(data)

    async def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = await self._file.write(rest)
            if not written:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[written:]
        await self._check(self.size + len(data))

    async def _check(self, size: int) -> None:
        """Make sure that the file is still there, and as long as what was written into it."""
        found = await self._run(os.fstat, self._file.fileno())
        if not found.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the segment was deleted while it was being written")
        if found.st_size != size:
            raise OSError(errno.EIO, "the segment was changed by somebody else while it was being written")

    async def _cut(self) -> None:
        found = await self._run(os.fstat, self._file.fileno())
        if found.st_size > self.size:  # never longer: that would fill up with zeros what somebody else cut off
            await self._file.truncate(self.size)
        await self._file.seek(self.size)
        self._torn = False

    async def close(self) -> None:
        """Let go of the file, torn or not. Never raises: nothing can be done about it any more."""
        with suppress(OSError):
            if self._torn:
                await self._cut()
        with suppress(OSError):
            await self._file.close()

    async def discard(self) -> bool:
        """Let go of a file that holds nothing yet, and remove it. False: it is still there."""
        await self.close()
        try:
            await self._run(self.path.unlink, missing_ok=True)
        except OSError:
            return False
        return True

    async def _run[**P, T](self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._worker.submit(function, *args, **kwargs))
