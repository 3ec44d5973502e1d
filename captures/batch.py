"""A whole capture written in one go, for offline work: slices, merges, imports, repairs.

Unlike `writer`, which must never stand in a proxy's way, this one may wait for the disk and stops when it fails. Nobody
ever sees half of its work: it writes into a hidden folder beside the one that was asked for, which takes its place
when all is done, and goes when anything went wrong.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Self

from captures import codec, columns
from captures.errors import CaptureError
from captures.folders import new_folder
from captures.keyring import Recipients
from captures.records import Record
from captures.sealing import Seal
from captures.segments import segment_name
from rules.wire import Accounting

LEVEL = 3

_BLOCK = 8 << 20
"""Bytes that the records of a block may take in memory. Nobody waits for it to fill, so it may be larger than a
sidecar's: that is a tenth smaller on the disk, and a reader that wants a slice still unpacks little more than that."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class BatchWriter:
    """Writes one new capture. A context manager: the capture is there when the block ends in good order.

    Nothing is redacted: the records are written as they are given. `redaction` is what the header of their source said
    about them, `extra` tells where they came from. Entering raises UserError if `folder` exists and is not empty, and
    CaptureError if it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        extra: Mapping[str, Any] = _NOTHING,
        redaction: Mapping[str, Any] = _NOTHING,
        segment_size: int = 64 << 20,
        level: int = LEVEL,
        recipients: Recipients | None = None,
    ) -> None:
        self.records = 0
        """Records written so far."""
        self.bytes = 0
        """Bytes in the segments so far."""
        self._named = folder
        self._place = new_folder(folder)
        self._beside = folder
        self._extra = dict(extra)
        self._recipients = recipients or Recipients()
        self._redaction = dict(redaction)
        self._segment_size = segment_size
        self._block_limit = min(_BLOCK, segment_size)
        self._writer = secrets.token_hex(4)
        self._compressor = codec.Compressor(level)
        self._block: list[Record] = []
        self._block_size = 0
        self._sequence = 0
        self._segment: _Segment | None = None

    def __enter__(self) -> Self:
        self._beside = self._place.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._complete()
        except BaseException as failure:
            self._place.__exit__(type(failure), failure, failure.__traceback__)
            raise
        else:
            self._place.__exit__(kind, error, traceback)
        finally:
            if self._segment is not None:
                with suppress(OSError):
                    self._segment.file.close()

    def write(self, record: Record) -> None:
        """Add one record; any order will do, sorted by arrival reads fastest.

        Raises CaptureError if the disk fails: then nothing can be added any more. Raises ValueError for a record that
        the format cannot hold: it is left out, and the next one may be written.
        """
        columns.check(record)
        size, weight = codec.weigh(record)
        if size > codec.MAX_RECORD:
            raise ValueError(f"a record of {size} bytes is larger than the format allows")
        self._block.append(record)
        self._block_size += weight
        self.records += 1
        if self._block_size >= self._block_limit or len(self._block) == columns.MAX_RECORDS:
            self._flush()

    def _flush(self) -> None:
        """Write the open block."""
        block, self._block, self._block_size = self._block, [], 0
        if not block:
            return
        arrivals = [record.arrival_ns for record in block]
        first, last = min(arrivals), max(arrivals)
        payload = self._compressor.payload(block)
        with self._on_disk():
            segment = self._segment or self._open(len(block))
            frame = segment.frame(first, last, len(block), payload)
            segment.index.append((segment.size, first, last, len(block)))
            segment.records += len(block)
            self._append(segment, frame)
            if segment.size >= self._segment_size or len(segment.index) >= codec.MAX_FRAMES:
                self._close(segment, "size" if segment.size >= self._segment_size else "blocks")

    def _open(self, waiting: int = 0) -> "_Segment":
        """Begin a segment; `waiting` records are not in any yet."""
        created = time.time_ns()
        self._sequence += 1
        before = self.records - len(self._block) - waiting
        key, encryption = self._recipients.new_key() if self._recipients else (None, None)
        header = codec.Header(
            format=codec.FORMAT,
            version=codec.VERSION,
            created_ns=created,
            writer=self._writer,
            sequence=self._sequence,
            software=_software(),
            flush_ns=0,
            queue_size=_BLOCK,
            block_size=_BLOCK,
            redaction=self._redaction,
            accounting=Accounting(seen=before, written=before),
            extra=self._extra,
            encryption=encryption,
        )
        try:
            packed = codec.pack_header(header)
        except ValueError as error:
            raise CaptureError(f"cannot write {self._named}: {error}") from None
        path = self._beside / segment_name(created, self._writer, self._sequence)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seal = None if key is None else Seal(key, packed)
        self._segment = _Segment(os.fdopen(descriptor, "wb"), before, packed, seal)
        self._append(self._segment, packed)
        return self._segment

    def _append(self, segment: "_Segment", data: bytes) -> None:
        segment.file.write(data)
        segment.size += len(data)
        self.bytes += len(data)

    def _close(self, segment: "_Segment", why: str) -> None:
        """Write the footer, and have all of the segment on the disk."""
        written = segment.before + segment.records
        footer = codec.Footer(
            closed_ns=time.time_ns(),
            why=why,
            records=segment.records,
            first_ns=min((first for _, first, _, _ in segment.index), default=None),
            last_ns=max((last for _, _, last, _ in segment.index), default=None),
            accounting=Accounting(seen=written, written=written),
            header=segment.header if segment.seal is not None else None,
        )
        self._append(segment, codec.pack_footer(footer, segment.index, segment.size, segment.seal))
        segment.file.flush()
        os.fsync(segment.file.fileno())
        segment.file.close()
        self._segment = None

    def _complete(self) -> None:
        """Write what is left."""
        self._flush()
        with self._on_disk():
            if self._segment is not None or not self._sequence:  # a capture of nothing is a capture too
                self._close(self._segment or self._open(), "end")

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Say what is wrong with the disk."""
        try:
            yield
        except OSError as error:
            raise CaptureError(f"cannot write {self._named}: {os.strerror(error.errno or 0)}") from None


class _Segment:
    """The segment that is being written, and what its footer will say."""

    def __init__(self, file: BinaryIO, before: int, header: bytes, seal: Seal | None) -> None:
        self.file = file
        self.header = header
        self.seal = seal
        self.before = before
        """Records in the segments before this one."""
        self.size = 0
        self.records = 0
        self.index: codec.Index = []

    def frame(self, first_ns: int, last_ns: int, count: int, payload: bytes) -> bytes:
        """Make the frame of the next block."""
        if self.seal is None:
            return codec.pack_frame(first_ns, last_ns, count, payload)
        return codec.seal_frame(self.seal, len(self.index), first_ns, last_ns, count, payload)


def _software() -> str:
    try:
        return f"reamp {version('reamp')}"
    except PackageNotFoundError:  # from a checkout that was not installed
        return "reamp"
