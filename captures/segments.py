"""The files of a capture: their names, and one that is being appended to."""

import asyncio
import errno
import fcntl
import os
import time
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

_LOCK_PATIENCE = 1.0
"""Seconds to ask for the lock of a new file: readers try locks too, and let go of them at once."""

_sync_data = getattr(os, "fdatasync", os.fsync)


class SyncError(OSError):
    """What was written could not be put on the disk for certain, and asking again would prove nothing.

    A system that could not write a page out may take it for clean afterwards, so that the next sync "works" (that is
    how PostgreSQL lost data, its "fsyncgate" of 2018).
    """


class Place:
    """The folder of a capture, and what it lies on. Raises OSError; may wait for the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount: Path | None = None

    def prepare(self, durable: bool = False) -> None:
        """Make the folder if it is missing; `durable`: for certain.

        If the file system that it lay on is not mounted any more, what is left there is another one, which would fill
        up with what nobody looks for: then nothing is made.
        """
        mount = _mount_of(self.folder)
        if self._mount is not None and self._mount != mount and not self._mount.is_mount():
            raise OSError(errno.ENODEV, f"{self._mount} is not mounted any more")
        missing = [one for one in (self.folder, *self.folder.parents) if not one.exists()]
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "there is a file in place of the folder") from None
        self._mount = mount
        if durable:
            for one in missing:
                sync_folder(one.parent)


def _mount_of(folder: Path) -> Path:
    absolute = folder.absolute()
    return next(one for one in (absolute, *absolute.parents) if one.is_mount() or one == one.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (of networks, in user space) know no such thing, and keep names in their own way.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise SyncError(error.errno, f"the folder cannot be synced: {os.strerror(error.errno or 0)}") from None
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        _sync_data(descriptor)
    except OSError as error:
        raise SyncError(error.errno, f"a sync has failed: {os.strerror(error.errno or 0)}") from None


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
    async def create(cls, place: Place, name: str, worker: Executor, durable: bool = False) -> "SegmentFile":
        """Make the file, for this writer alone, in a folder that is made if it is not there."""

        def opener(path: str, flags: int) -> int:
            place.prepare(durable)
            descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
            try:
                _lock(descriptor)
            except BaseException:
                os.close(descriptor)
                with suppress(OSError):
                    os.unlink(path)  # noqa: PTH108 - it is a text here
                raise
            return descriptor

        path = place.folder / name
        return cls(path, await aiofiles.open(path, "xb", buffering=0, opener=opener, executor=worker), worker)

    async def append(self, data: bytes, *, durable: bool = False) -> None:
        """Write all of `data` at the end, or leave the file as it was. `durable`: it is on the disk for certain."""
        if self._torn:
            await self._cut()
        await self._check(self.size)  # writing beyond the end of a file that was cut would leave a hole
        self._torn = True
        try:
            await self._write(data)
            if durable:
                await self.sync()
        except OSError:
            with suppress(OSError):
                await self._cut()
            raise
        self._torn = False
        self.size += len(data)

    async def sync(self) -> None:
        """Have the disk hold what was written. Raises SyncError, after which the file is to be left."""
        await self._run(_sync, self._file.fileno())

    async def sync_name(self) -> None:
        """Have the disk know that there is such a file. Raises SyncError."""
        await self._run(sync_folder, self.path.parent)

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
        found = await self._run(_still_there, self._file.fileno(), self.path)
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


def _lock(descriptor: int) -> None:
    """Take the lock that tells everybody that the file is being written. Raises OSError if somebody keeps it."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "somebody else has locked a new segment") from None
            time.sleep(0.001)
        except OSError:
            return  # a file system without locks: the name is unique all the same
        else:
            return


def _still_there(descriptor: int, path: Path) -> os.stat_result:
    """Look at an open file. Raises FileNotFoundError if it is not what the path leads to any more."""
    found = os.fstat(descriptor)
    try:
        named = path.lstat()
    except OSError:  # whatever is in the way
        what = "deleted" if not found.st_nlink else "moved away"
        also = "" if path.parent.is_dir() else "; there is no such folder any more"
        raise FileNotFoundError(errno.ENOENT, f"the segment was {what} while it was being written{also}") from None
    if not os.path.samestat(found, named):
        raise FileNotFoundError(errno.ENOENT, "another file has taken the segment's place")
    return found
