"""Records in, segments out, off the hot path.

    offer() -> open block -> sealed, packed -> (a thread) compressed -> (one task, another thread) append -> segment
                  '------------- at most queue_size bytes of memory -------------'

`offer` runs on the proxy's event loop and only redacts and keeps. A full block is packed at once, in steps between
which the loop serves requests: a thread that packs would take the interpreter from them for longer, and for as long as
the kernel likes on a busy machine. It is compressed in a thread that never waits for the disk. One task takes the
blocks in order and has another thread write them. A block leaves the queue when it is in the kernel's hands, so a disk
that fails or dawdles costs no record until the queue is full; from then on records are dropped and counted.
"""

import asyncio
import errno
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from captures import codec, columns
from captures.accounting import Counts
from captures.keyring import Recipients
from captures.records import Record
from captures.redaction import Redactor
from captures.sealing import Seal
from captures.segments import Place, SegmentFile, SyncError, segment_name
from captures.worker import Worker
from rules.units import Duration, Size

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 1.0  # seconds between two tries while the disk fails
_FIRST_OPEN = 1.0  # seconds that a start waits for the disk
_LEAST_QUEUE = 1 << 10
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Fsync = Literal["none", "interval", "block"]
"""When the disk is asked whether it really has what was written: never; at most `flush` after it was written; before a
block counts as written."""


class WriterSettings(BaseModel):
    """How a capture is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment_size: Size = Field(Size(64 << 20), description="a segment is closed when it is this large")
    segment_age: Duration = Field(Duration(600), description="a segment is closed when its first record is this old")
    block_size: Size = Field(
        Size(4 << 20), description="memory that the records of a block may take, at most half of queue_size"
    )
    flush: Duration = Field(Duration(1), description="records are written within this, if the disk keeps up")
    fsync: Fsync = Field("none", description="when what was written has to be on the disk for certain")
    queue_size: Size = Field(Size(32 << 20), description="memory for records that wait for the disk before any is lost")
    level: int = Field(3, ge=1, le=19, description="zstd level")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not 1 <= self.block_size <= columns.MAX_BLOCK - codec.MAX_RECORD:
            raise ValueError(f"block_size has to lie between 1B and {Size(columns.MAX_BLOCK - codec.MAX_RECORD)}")
        if self.queue_size < _LEAST_QUEUE:
            raise ValueError(f"queue_size has to be at least {Size(_LEAST_QUEUE)}")
        if self.flush <= 0 or self.segment_age <= 0 or self.segment_size < 1:
            raise ValueError("flush, segment_age and segment_size have to be above zero")
        return self


_TURN_NS = 200_000
_PAUSE = 0.001
"""Of the loop's time for packing at a stretch, in nanoseconds, and how long it is left alone then, in seconds."""


class _Block:
    """Records on their way to the disk: first they themselves, then what they are compressed to."""

    __slots__ = (
        *(
            "compressed",
            "count",
            "due_ns",
            "first_ns",
            "known",
            "last_ns",
            "parts",
            "payload",
            "records",
            "size",
            "why",
        ),
    )

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.size = 0
        """Bytes that wait in memory."""
        self.count = 0
        self.first_ns = self.last_ns = 0
        self.due_ns = 0
        """When the first of them has to be in the file, by the monotonic clock."""
        self.known = False
        """Whether the books know what became of the packing, or need not any more."""
        self.parts: list[bytes] = []
        """The block as it was packed, until it is compressed."""
        self.payload = b""
        self.compressed: asyncio.Future[int] | None = None
        """Gives the number of records that are left out."""
        self.why = ""
        """Why the last of them is."""

    def pack(self, compressor: codec.Compressor) -> Generator[None, None, int]:
        """Make the parts, step by step. Records that the format cannot hold are left out; gives their number."""
        records, self.records = self.records, []
        try:
            self.parts = yield from compressor.packing(records)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            sound = []
            for record in records:
                yield
                if self._sound(record):
                    sound.append(record)
            if len(sound) == len(records):
                raise ValueError(f"together they do not fit ({error})") from None
            if sound:
                self.parts = yield from compressor.packing(sound)
        else:
            sound = records
        arrivals = [record.arrival_ns for record in sound]
        self.first_ns, self.last_ns = min(arrivals, default=0), max(arrivals, default=0)
        return len(records) - len(sound)

    def compress(self, compressor: codec.Compressor) -> None:
        """Make the payload of the parts."""
        parts, self.parts = self.parts, []
        if parts:
            self.payload = compressor.compressed(parts)

    def _sound(self, record: Record) -> bool:
        try:
            columns.check(record)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the others go on
            self.why = _words(error)
            return False
        return True


class _Open:
    """The segment that is being written, and what its footer will say."""

    def __init__(self, file: SegmentFile, header: bytes, seal: Seal | None) -> None:
        self.file = file
        self._header = header
        self._seal = seal
        self._last: tuple[_Block, bytes] | None = None
        self.since = 0.0
        """When the first record came in: a segment ages from then on."""
        self.unsynced_since = 0.0
        """When the first block was written that may not be on the disk yet; 0: all are, or nobody wants to know."""
        self.unsynced = 0
        """The records in such blocks."""
        self.records = 0
        self.index: codec.Index = []

    def frame(self, block: _Block) -> bytes:
        """Make a block's frame; for encryption, the next one of this segment."""
        if self._seal is None:
            return codec.pack_frame(block.first_ns, block.last_ns, block.count, block.payload)
        if self._last is None or self._last[0] is not block:  # the disk may need more than one try
            number, span = len(self.index), (block.first_ns, block.last_ns)
            self._last = block, codec.seal_frame(self._seal, number, *span, block.count, block.payload)
        return self._last[1]

    def footer(self, why: str, counts: Counts) -> bytes:
        footer = codec.Footer(
            closed_ns=time.time_ns(),
            why=why,
            records=self.records,
            first_ns=min((first for _, first, _, _ in self.index), default=None),
            last_ns=max((last for _, _, last, _ in self.index), default=None),
            accounting=counts.snapshot(),
            header=self._header if self._seal is not None else None,
        )
        return codec.pack_footer(footer, self.index, self.file.size, self._seal)


class CaptureWriter:
    """Writes one capture. All methods belong to one event loop; nothing here ever raises because of the disk."""

    def __init__(
        self,
        folder: Path,
        settings: WriterSettings,
        counts: Counts,
        redactor: Redactor,
        header: Mapping[str, Any] | None = None,
        recipients: Recipients | None = None,
    ) -> None:
        self.last_error = ""
        self._folder = folder
        self._place = Place(folder)
        self._settings = settings
        self._durable = settings.fsync != "none"
        self._counts = counts
        self._redactor = redactor
        self._withheld = redactor.withheld
        self._extra = dict(header or {})
        self._recipients = recipients or Recipients()
        self._writer = secrets.token_hex(4)
        self._sequence = 0
        self._segment: _Open | None = None

        self._block: _Block | None = None
        self._waiting = 0  # bytes, from offer() until written
        self._sealed: deque[_Block] = deque()
        # Half of the bound is for the rest of the way: compress and write, also on a busy machine.
        self._seal_after = float(settings.flush) / 2
        self._seal_timer: asyncio.TimerHandle | None = None
        self._queue_size = int(settings.queue_size)
        # A block that filled the queue would leave no room for the next one while it is packed.
        self._block_size = min(int(settings.block_size), self._queue_size // 2)
        self._late_after_ns = round(float(settings.flush) * 1e9)

        self._failing = False
        self._overflowing = False
        self._held = ""
        self._unfit_told = False
        self._wake = asyncio.Event()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        self._compressing: Worker | None = None
        self._packing = asyncio.Lock()
        self._unpacked = 0  # blocks that are being packed, or have to wait for it
        self._compressor = codec.Compressor(settings.level)

    @property
    def name(self) -> str:
        """What tells this writer's segments from those of others: it stands in their names and headers."""
        return self._writer

    @property
    def healthy(self) -> bool:
        """Whether records reach the disk at the moment, and in time."""
        return self._counts.healthy(time.monotonic_ns())

    @property
    def bytes_written(self) -> int:
        """Bytes that went into segments."""
        return self._counts.bytes_written

    def _tell(self) -> None:
        """Write into the counters, for whoever reads them elsewhere, how the writer is: after all that changes it."""
        counts = self._counts
        counts.writing = self._task is not None and not (self._failing or self._overflowing or self._held)
        counts.due_ns = self._sealed[0].due_ns if self._sealed else 0

    async def start(self) -> None:
        """Start writing, and try to open the first segment so that a wrong folder shows at once (in `healthy`).

        A disk that hangs does not keep the proxy from starting: records wait for it.
        """
        self._loop = asyncio.get_running_loop()
        self._closing = False
        tried = asyncio.Event()
        task = asyncio.create_task(self._run(tried), name="reamp-capture")
        try:
            async with asyncio.timeout(_FIRST_OPEN):
                await tried.wait()
        except TimeoutError:
            if not tried.is_set():
                self._failed(OSError(errno.ETIMEDOUT, "the disk does not answer"))
        except BaseException:
            task.cancel()
            raise
        self._task = task
        self._tell()

    def hold(self, why: str) -> None:
        """Take no more records until `release`: they are dropped and counted. What waits is written all the same."""
        if self._loop is None:
            return
        self._seal()
        self._loop = None
        self._held = self.last_error = why
        self._tell()
        log.warning("capture: recording pauses: %s; traffic goes on, records are dropped and counted", why)

    def release(self) -> None:
        """Take records again."""
        if not self._held:
            return
        self._held = ""
        self._loop = asyncio.get_running_loop()
        self._tell()
        log.warning("capture: recording goes on, %d records were lost so far", self._counts.dropped)

    # --- the hot path ---

    def offer(self, record: Record) -> bool:
        """Take one real request. False: it was dropped, and counted as such. Takes microseconds, never raises."""
        loop = self._loop
        if loop is None:
            self._too_late()
            return False
        try:
            record = self._redactor.record(record)
            size, weight = codec.weigh(record)
        except Exception as error:  # noqa: BLE001 - a record that is not as it should be must not touch its request
            self._unfit(f"a record cannot be packed: {_words(error)}")
            return False
        if size > codec.MAX_RECORD:
            self._unfit(f"a record of {size} bytes is larger than the format allows")
            return False
        if self._waiting + weight > self._queue_size:
            self._overflow()
            return False
        block = self._block
        if block is None:
            block = self._block = _Block()
            block.due_ns = time.monotonic_ns() + self._late_after_ns
            self._seal_timer = loop.call_later(self._seal_after, self._seal)
        block.records.append(record)
        block.size += weight
        self._waiting += weight
        self._counts.queued += 1
        if block.size >= self._block_size or len(block.records) == columns.MAX_RECORDS:
            self._seal()
        return True

    def _unfit(self, why: str) -> None:
        self._counts.dropped += 1
        self.last_error = why
        if not self._unfit_told:  # once for each segment: the next such record may be the next request
            self._unfit_told = True
            log.warning("capture: %s: such records are dropped", why)

    def _withhold(self, bodies: int) -> None:
        if not self._counts.withheld_bodies:
            log.warning(
                "capture: a body could not be searched for secrets (broken, or packed in an unknown way): such bodies "
                "are not recorded, only their size, and counted as reamp_capture_withheld_bodies_total"
            )
        self._withheld += bodies
        self._counts.withheld_bodies += bodies

    def _too_late(self) -> None:
        # `close` counted what was in flight as dropped; the first ones that end after it are those.
        if not self._held and self._counts.in_flight < 0:
            self._counts.in_flight += 1
        else:
            self._counts.dropped += 1

    def _overflow(self) -> None:
        self._counts.dropped += 1
        if not self._overflowing:
            self._overflowing = True
            self._tell()
            log.warning("capture: the disk does not keep up, %d bytes are waiting: dropping records", self._waiting)

    def _seal(self) -> None:
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        if self._redactor.withheld > self._withheld:
            self._withhold(self._redactor.withheld - self._withheld)
        block, self._block = self._block, None
        if block is not None:
            block.count = len(block.records)
            self._sealed.append(block)
            # At once, whatever the disk does: compressed, far more of them can wait for it.
            try:
                self._compressing = self._compressing or Worker("reamp-compression")
            except RuntimeError as error:  # no thread is to be had
                self._sealed.pop()
                self._give_up(block)
                self._failed(error)
                return
            block.compressed = asyncio.ensure_future(self._compress(block, self._compressing))
            block.compressed.add_done_callback(lambda done: self._compressed(block, done))
            self._tell()

    async def _compress(self, block: _Block, thread: Worker) -> int:
        """Pack a block in turns with the loop's other work, and have it compressed. Gives how many were left out."""
        self._unpacked += 1
        try:
            async with self._packing:
                left_out = await self._pack(block)
        finally:
            self._unpacked -= 1
        await asyncio.wrap_future(thread.submit(block.compress, self._compressor))
        return left_out

    async def _pack(self, block: _Block) -> int:
        steps = block.pack(self._compressor)
        hurry_ns = block.due_ns - self._late_after_ns // 4  # the rest of the way has to be done in time too
        while True:
            now_ns = time.monotonic_ns()
            try:
                while time.monotonic_ns() - now_ns < _TURN_NS or now_ns > hurry_ns or self._crowded():
                    next(steps)
            except StopIteration as end:
                return int(end.value)
            await asyncio.sleep(0 if self._closing or self._unpacked > 1 else _PAUSE)

    def _crowded(self) -> bool:
        """Say whether there is hardly room for more records: those that are packed soon take a fraction of theirs."""
        return self._waiting > self._queue_size * 5 // 8

    def _compressed(self, block: _Block, done: asyncio.Future[int]) -> None:
        """Let a block take its place among those that wait for the disk, by its new size: once."""
        failed = done.cancelled() or done.exception() is not None
        if block.known:
            return
        block.known = True
        left_out = 0
        if not failed:
            left_out = done.result()
            block.count -= left_out
            self._waiting -= block.size - len(block.payload)
            block.size = len(block.payload)
        if left_out:
            self._counts.queued -= left_out
            self._counts.dropped += left_out - 1
            self._unfit(f"a record cannot be packed: {block.why}")  # counts one
        self._wake.set()

    # --- the way to the disk ---

    async def _run(self, tried: asyncio.Event) -> None:
        """Write until all is done. `tried` is set once the first segment is open, or cannot be opened."""
        try:
            await self._open()
            self._recovered()  # if it took so long that it counted as failing
        except Exception as error:  # noqa: BLE001 - whatever it is, the proxy has to start
            self._failed(error)
        tried.set()
        pause = _FIRST_PAUSE
        while True:
            try:
                if await self._step():
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, another segment may go better
                await self._failed_segment(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    async def _step(self) -> bool:
        """Do the next thing: close a segment, open one, write a block, or wait. True when all is done."""
        why = self._due()
        if why is not None:
            await self._finish(why)
            if why == "end":
                return True
        elif self._segment is not None and self._sync_left() == 0:
            await self._segment.file.sync()
            self._segment.unsynced_since, self._segment.unsynced = 0.0, 0
        elif self._sealed and self._segment is None:
            await self._open()
        elif self._segment is not None and self._sealed and self._packed(self._sealed[0]):
            await self._write(self._segment, self._sealed[0])
        elif self._closing and not self._sealed:
            return True
        elif self._segment is None and self._failing:
            await self._open()  # nothing to write, but whether it could be written should show
            self._recovered()
        else:
            await self._wait()
        return False

    def _packed(self, block: _Block) -> bool:
        """Say whether a block can be written. Nobody waits for it: the segment may have to be synced before."""
        return block.compressed is None or block.compressed.done()

    def _due(self) -> str | None:
        """Say why the segment has to be closed now; None if it stays open."""
        segment, settings = self._segment, self._settings
        if segment is None:
            return None
        if self._closing and not self._sealed:
            return "end"
        if not segment.records:
            return None
        age = time.monotonic() - segment.since
        reasons = {
            "size": segment.file.size >= settings.segment_size,
            "age": age >= settings.segment_age,
            "blocks": len(segment.index) >= codec.MAX_FRAMES,
        }
        return next((why for why, due in reasons.items() if due), None)

    async def _wait(self) -> None:
        """Wait for a block, or until the segment is too old, or has to be synced."""
        left = self._sync_left()
        if self._segment is not None and self._segment.records:
            aged = max(0.0, self._segment.since + self._settings.segment_age - time.monotonic())
            left = aged if left is None else min(left, aged)
        try:
            async with asyncio.timeout(left):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _sync_left(self) -> float | None:
        """Tell in how many seconds the segment has to be synced; None if it needn't be."""
        segment = self._segment
        if segment is None or not segment.unsynced_since:
            return None
        return max(0.0, segment.unsynced_since + self._settings.flush - time.monotonic())

    async def _open(self) -> None:
        created = time.time_ns()
        settings = self._settings
        key, encryption = self._recipients.new_key() if self._recipients else (None, None)
        header = codec.Header(
            format=codec.FORMAT,
            version=codec.VERSION,
            created_ns=created,
            writer=self._writer,
            sequence=self._sequence + 1,
            software=_software(),
            flush_ns=round(float(settings.flush) * 1e9),
            queue_size=int(settings.queue_size),
            block_size=int(settings.block_size),
            redaction=self._redactor.describe(),
            accounting=self._counts.snapshot(),
            extra=self._extra,
            encryption=encryption,
        )
        packed = codec.pack_header(header)
        name = segment_name(created, self._writer, self._sequence + 1)
        file = await SegmentFile.create(self._place, name, self._in_worker(), self._durable)
        self._sequence += 1
        try:
            await file.append(packed, durable=self._durable)
            if self._durable:
                await file.sync_name()
        except BaseException:
            await self._discard(file)
            raise
        self._counts.bytes_written += len(packed)
        self._unfit_told = False
        self._segment = _Open(file, packed, None if key is None else Seal(key, packed))

    async def _write(self, segment: _Open, block: _Block) -> None:
        try:
            if block.compressed is not None:
                await block.compressed
                self._compressed(block, block.compressed)  # it may be done, and nobody told so yet
        except Exception:
            log.exception("capture: a block cannot be compressed, and is dropped")
            self._drop()
            return
        if not block.count:
            self._drop()  # none of its records could be packed
            return
        frame = segment.frame(block)
        offset = segment.file.size
        await segment.file.append(frame, durable=self._settings.fsync == "block")
        # From here on the block is in the file: no await until all the books say so.
        segment.since = segment.since or time.monotonic()
        if self._settings.fsync == "interval":
            segment.unsynced_since = segment.unsynced_since or time.monotonic()
            segment.unsynced += block.count
        segment.index.append((offset, block.first_ns, block.last_ns, block.count))
        segment.records += block.count
        self._sealed.popleft()
        self._forget(block)
        self._counts.written += block.count
        self._counts.bytes_written += len(frame)
        self._recovered()

    def _drop(self) -> None:
        """Give the oldest waiting block up."""
        self._give_up(self._sealed.popleft())

    def _give_up(self, block: _Block) -> None:
        """Drop a block that does not wait any more."""
        block.known = True
        self._forget(block)
        self._counts.dropped += block.count

    def _drop_in_flight(self) -> None:
        """Give up what is still being answered: when it ends, nothing is recorded any more."""
        if self._counts.in_flight > 0:
            self._counts.dropped += self._counts.in_flight
            self._counts.in_flight = 0

    def _forget(self, block: _Block) -> None:
        self._waiting -= block.size
        self._counts.queued -= block.count
        self._tell()

    async def _finish(self, why: str) -> None:
        """Write the footer and let go of the segment."""
        segment = self._segment
        if segment is None:
            return
        if why == "end":
            self._drop_in_flight()
        footer = segment.footer(why, self._counts)
        await segment.file.append(footer, durable=self._durable)
        self._counts.bytes_written += len(footer)
        self._segment = None
        await segment.file.close()

    async def _threaded[**P, T](self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._in_worker().submit(function, *args, **kwargs))

    def _in_worker(self) -> Worker:
        self._worker = self._worker or Worker("reamp-capture")
        return self._worker

    # --- when the disk fails ---

    async def _failed_segment(self, error: Exception) -> None:
        """Leave a segment that cannot be written. On a full disk it stays: another file would not fit either."""
        self._failed(error)
        segment = self._segment
        full = isinstance(error, OSError) and error.errno in _DISK_FULL
        if segment is None or (full and not isinstance(error, SyncError)):
            return
        self._segment = None
        if segment.unsynced:
            log.warning("capture: a crash of the machine would now cost %d records of the segment", segment.unsynced)
        if segment.records:
            await segment.file.close()
        else:
            await self._discard(segment.file)

    async def _discard(self, file: SegmentFile) -> None:
        """Remove the newest file, which holds no record; its number is free again once it is gone."""
        if await file.discard():
            self._sequence -= 1

    def _failed(self, error: Exception) -> None:
        self.last_error = f"{self._folder}: {_words(error)}"
        if not self._failing:
            self._failing = True
            self._tell()
            log.warning("capture: cannot write to %s; traffic goes on, records wait", self.last_error)

    def _recovered(self) -> None:
        # A queue that is still nearly full would overflow again at once, and tell so with every block.
        drained = self._waiting <= self._settings.queue_size // 2
        if self._failing or (self._overflowing and drained):
            self._failing = False
            self._overflowing = self._overflowing and not drained
            self._tell()
            log.warning("capture: writing to %s again, %d records were lost so far", self._folder, self._counts.dropped)

    # --- the end ---

    async def close(self, within: float = 3.0) -> None:
        """Write what is waiting, close the segment, and be done within `within` seconds.

        What cannot be written until then is counted as dropped, and so is what is still being answered: the last
        footer knows of nothing pending. (If the disk hangs, the block that it hangs on may still turn up in the file;
        it counts as dropped.)
        """
        self._seal()
        self._loop = None  # takes no more
        self._held = ""
        self._drop_in_flight()
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=0.2)
            self._task = None
        self._tell()
        lost = sum(block.count for block in self._sealed)
        while self._sealed:
            if (compressed := self._sealed[0].compressed) is not None:
                compressed.cancel()
            self._drop()
        if self._segment is not None:
            log.warning("capture: the last segment was not closed, %d records could not be written", lost)
            await asyncio.wait({asyncio.ensure_future(self._segment.file.close())}, timeout=0.2)
            self._segment = None
        for worker in filter(None, (self._worker, self._compressing)):
            worker.shutdown()
        self._worker = self._compressing = None


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or os.strerror(error.errno or 0)
    return f"{type(error).__name__}: {error}"


def _software() -> str:
    try:
        return f"reamp {version('reamp')}"
    except PackageNotFoundError:  # from a checkout that was not installed
        return "reamp"
