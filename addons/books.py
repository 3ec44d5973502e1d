"""The books of one sidecar: every counter, the credit and the lever, in memory that its processes share.

    Books.alone()           one process, one row: stock mitmproxy, tests
    Books.create(rows)      the supervisor: memory with a descriptor for workers to inherit
    Books.attach(fd)        a worker

Each worker writes one `Row` and nothing else of it; whoever serves the control port reads all rows and adds them up
(`reckoning`). So no counter needs a lock. Rows are cumulative and never zeroed: a worker that takes the place of a
dead one goes on with its row (`Row.settle` first), and no total ever goes down. During a reload the old and the new
worker of a slot need a row each.

Every cell is an aligned 64-bit integer that is loaded and stored whole, so no reader ever finds half a number. What
several write (`Shared.taken`, see `credit`) they write under `Books.lock`; the other shared cells have one writer, the
process that serves the control port. Times are those of `time.monotonic_ns`, one clock for all
processes of a machine.
"""

import ctypes
import fcntl
import mmap
import os
import time
from enum import StrEnum
from typing import Self

from addons.shared import Inherited, anonymous
from captures.accounting import Counts, settle
from rules.latency import CELLS
from rules.units import MILLION
from rules.wire import SIGNAL_TIMEOUT


class Kind(StrEnum):
    """Every request is exactly one of these."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    UNTRUSTED = "untrusted"


KINDS = tuple(kind.value for kind in Kind)
"""Their names, in the order in which rows count them."""

OUTCOMES = ("1xx", "2xx", "3xx", "4xx", "5xx", "error", "withheld", "denied", "copied", "excess")
"""What can become of a request: answered by the app (status class), never answered, refused by the guard (no credit
or lever), refused for its tag. At a tap nobody knows: it came as a copy, or it did and there was no credit for it."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of durations in seconds: the Prometheus defaults, finer below and longer above."""

RING = 32
"""Cells of the ring that says when real requests came: one for each slot of `credit`. More than the window has, so
that a worker on its way into the next slot overwrites nothing that still counts."""

REASON = 2048
"""Bytes for the lever's reason: 500 characters of four bytes fit."""

BEAT = 0.2
"""Seconds between two signs of life."""

SILENCE_NS = int(SIGNAL_TIMEOUT * 1e9)
"""A supervisor that was silent for longer counts as gone: it may have been asked to pull the lever."""

_MAGIC = 0x72656D70_00000005  # "remp", version 5 of the layout
_PAGE = 4096


class Row(ctypes.Structure):
    """What one worker counts. Attributes are for reading at leisure; the hot path uses `cells` and `cell`."""

    pid: int
    """The worker's process, 0 if there is none. This and the next two are the supervisor's to write."""
    since_ns: int
    """When it began, unix time."""
    restarts: int
    """How many before it have died in its place."""
    beat_ns: int
    """The worker's sign of life: when its event loop last had a moment, monotonic time."""
    real: int
    """Well-formed real requests: those that earn credit."""
    ring: ctypes.Array[ctypes.c_int64]
    """When they came: ``slot number << 24 | how many`` (one cell, so that the two can't come apart)."""
    counts: Counts
    """The capture log's accounts."""
    arrived: ctypes.Array[ctypes.c_int64]
    """Requests by kind."""
    ended: ctypes.Array[ctypes.c_int64]
    """Requests by kind, then by outcome."""
    durations: ctypes.Array[ctypes.c_int64]
    """By kind, then by bound, the last cell for what is longer than all of them."""
    total_ns: ctypes.Array[ctypes.c_int64]
    """The sum of the durations, by kind."""
    latency: ctypes.Array[ctypes.c_int64]
    """Histograms of waiting times, by kind, then by cell of `rules.latency`."""
    cells: "memoryview[int]"
    """The whole row as integers: an index costs half of what an attribute does."""

    _fields_ = [
        ("pid", ctypes.c_int64),
        ("since_ns", ctypes.c_int64),
        ("restarts", ctypes.c_int64),
        ("beat_ns", ctypes.c_int64),
        ("real", ctypes.c_int64),
        ("ring", ctypes.c_int64 * RING),
        ("counts", Counts),
        ("arrived", ctypes.c_int64 * len(KINDS)),
        ("ended", ctypes.c_int64 * (len(KINDS) * len(OUTCOMES))),
        ("durations", ctypes.c_int64 * (len(KINDS) * (len(BOUNDS) + 1))),
        ("total_ns", ctypes.c_int64 * len(KINDS)),
        ("latency", ctypes.c_int64 * (len(KINDS) * CELLS)),
    ]

    def begin(self, pid: int, restarts: int = 0) -> None:
        """Hand the row over to a worker."""
        self.since_ns, self.restarts = time.time_ns(), restarts
        self.beat_ns = time.monotonic_ns()
        self.pid = pid

    def tally(self, kind: int) -> list[int]:
        """Tell what became of the requests of a kind (an index into `KINDS`), by outcome."""
        return list(self.ended[kind * len(OUTCOMES) : (kind + 1) * len(OUTCOMES)])

    def in_flight(self, kind: int) -> int:
        """Tell how many requests of a kind are being answered."""
        ended = sum(self.tally(kind))  # read before the arrivals, so that it is never more than they are
        return max(0, self.arrived[kind] - ended)

    def settle(self, written_on_disk: int | None = None) -> None:
        """Close the accounts of a worker that has died; its successor may then go on with the row.

        What was being answered ended in an error, and what was on its way to the disk is dropped. `written_on_disk`:
        see `captures.accounting.settle`.
        """
        for kind in range(len(KINDS)):
            self.ended[kind * len(OUTCOMES) + OUTCOMES.index("error")] += self.in_flight(kind)
        settle(self.counts, written_on_disk)
        self.pid = 0


def cell(field: str) -> int:
    """Give the index in `Row.cells` at which a field begins."""
    return int(getattr(Row, field).offset) // 8


class Shared(ctypes.Structure):
    """What there is once for all workers."""

    magic: int
    size: int
    rows: int
    ratio: int
    """The ceiling: millionths of a credit that a real request earns. A reload may change it, under the lock
    (`Credit.set_ratio`)."""
    taken: int
    """Credit spent or expired so far, in millionths; changed under the lock."""
    floor: int
    """Credit up to here is void (`Credit.clear`, `Credit.set_ratio`)."""
    engaged: int
    """1 while the lever is pulled."""
    words: bytes
    """The reason of that, UTF-8, ended by a zero."""
    beat_ns: int
    """The supervisor's sign of life, monotonic time. 0: there is no supervisor that could fall silent."""
    tap: int
    """At a tap, how many millionths of the real requests are copied to it; 0: this is no tap. Set once, before there
    are workers."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("ratio", ctypes.c_int64),
        ("taken", ctypes.c_int64),
        ("floor", ctypes.c_int64),
        ("engaged", ctypes.c_int64),
        ("words", ctypes.c_char * REASON),
        ("beat_ns", ctypes.c_int64),
        ("tap", ctypes.c_int64),
    ]

    @property
    def share(self) -> int:
        """How many millionths of the real requests come by here: at a tap fewer than all."""
        return self.tap or MILLION

    @property
    def reason(self) -> str:
        """Why the lever is pulled. Read while it is written it may be a mixture, but always is text."""
        return self.words.decode(errors="replace")

    def watched(self, now_ns: int) -> bool:
        """Whether somebody watches over the workers, or nobody has to."""
        return not self.beat_ns or now_ns - self.beat_ns < SILENCE_NS

    def move_lever(self, engaged: bool, reason: str) -> None:
        """Tell all workers where the lever stands."""
        self.words = reason.encode(errors="replace")[: REASON - 1]
        self.engaged = engaged


class Lock:
    """One holder at a time among processes; the kernel lets go of it when the holder dies.

    Nobody waits for it for long: the loop that asks carries real users. Between two tries the holder gets the
    processor, if it happens to wait for this one; one that was stopped in the middle holds on, and all others give up.
    """

    TRIES = 20
    PATIENCE_NS = 2_000_000

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def acquire(self) -> bool:
        """Try for about as long as a holder needs. False: not to be had."""
        deadline = 0
        for _ in range(self.TRIES):
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            except OSError:
                now = time.monotonic_ns()
                deadline = deadline or now + self.PATIENCE_NS
                if now >= deadline:
                    break
                os.sched_yield()
            else:
                return True
        return False

    def release(self) -> None:
        """Let go."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1)


class NoLock(Lock):
    """For books that one event loop has for itself."""

    def __init__(self) -> None:
        super().__init__(-1)

    def acquire(self) -> bool:
        """Get it, always."""
        return True

    def release(self) -> None:
        """Nothing is held."""


class Books(Inherited):
    """All books of one sidecar."""

    def __init__(self, memory: bytearray | mmap.mmap, fd: int = -1) -> None:
        super().__init__(fd)
        self.shared = Shared.from_buffer(memory)
        self.lock = NoLock() if fd < 0 else Lock(fd)
        self.rows = [_row(memory, _PAGE + index * _ROW) for index in range(self.shared.rows)]

    @classmethod
    def alone(cls) -> Self:
        """Make books for this process only, with one row, which is in use."""
        memory = bytearray(_size(1))
        _begin(memory, 1)
        books = cls(memory)
        books.rows[0].begin(os.getpid())
        return books

    @classmethod
    def create(cls, rows: int) -> Self:
        """Make books for other processes to attach. The memory goes when the last of them ends."""
        fd = anonymous("reamp-books")
        os.ftruncate(fd, _size(rows))
        memory = mmap.mmap(fd, _size(rows))
        _begin(memory, rows)
        return cls(memory, fd)

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Open books that another process made. Raises ValueError if they are not such."""
        size = os.fstat(fd).st_size
        if size < _size(1):
            raise ValueError("these are no books of a sidecar")
        memory = mmap.mmap(fd, size)
        shared = Shared.from_buffer_copy(memory)
        if (shared.magic, shared.size) != (_MAGIC, size) or _size(shared.rows) != size:
            raise ValueError("these are no books of a sidecar, or of one of another version")
        return cls(memory, fd)

    @property
    def exclusive(self) -> bool:
        """Whether one process has them for itself."""
        return self._fd < 0


_ROW = -(-ctypes.sizeof(Row) // _PAGE) * _PAGE


def _size(rows: int) -> int:
    return _PAGE + rows * _ROW


def _begin(memory: bytearray | mmap.mmap, rows: int) -> None:
    shared = Shared.from_buffer(memory)
    shared.magic, shared.size, shared.rows = _MAGIC, _size(rows), rows


def _row(memory: bytearray | mmap.mmap, offset: int) -> Row:
    row = Row.from_buffer(memory, offset)
    row.cells = memoryview(memory)[offset : offset + ctypes.sizeof(Row)].cast("q")
    return row
