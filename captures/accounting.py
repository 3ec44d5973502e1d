"""Where every request went: the counters that the sidecar and the writer share.

They are a C structure, so that they can lie in memory that other processes read: `Counts()` has memory of its own,
`Counts.from_buffer(memory, offset)` lies in somebody else's. One process writes, any number read. Each counter is an
aligned 64-bit integer, stored whole; a reader never sees half of one.
"""

import ctypes

from rules.wire import Accounting

_COUNTERS = ("seen", "written", "synthetic", "untrusted", "filtered", "sampled_out", "dropped")


class Counts(ctypes.Structure):
    """Counters since the sidecar started.

    Their owner touches them on its event loop only, so there a snapshot is always consistent.

    Whoever sees a request counts `seen` and `in_flight`; when it ends, `in_flight` goes down and exactly one other
    counter goes up. A real request goes through `CaptureWriter.offer`, which counts `queued`, `written` and `dropped`.
    """

    seen: int
    written: int
    synthetic: int
    untrusted: int
    filtered: int
    sampled_out: int
    dropped: int
    in_flight: int
    queued: int
    bytes_written: int
    """Bytes that went into segments."""
    removed_segments: int
    """Old segments that were removed to keep within the limits."""
    removed_bytes: int
    withheld_bodies: int
    """Bodies of written records that were not kept because redaction could not search them for secrets."""
    writing: int
    """1 while a writer runs that is not in trouble: neither does the disk fail nor the queue overflow."""
    due_ns: int
    """The monotonic time by which the oldest waiting block has to be on the disk; 0: none waits. A deadline and not
    a flag: that it has passed shows without the writer, even one that hangs."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in _COUNTERS),
        ("in_flight", ctypes.c_int64),
        ("queued", ctypes.c_int64),
        ("bytes_written", ctypes.c_int64),
        ("removed_segments", ctypes.c_int64),
        ("removed_bytes", ctypes.c_int64),
        ("withheld_bodies", ctypes.c_int64),
        ("writing", ctypes.c_int64),
        ("due_ns", ctypes.c_int64),
    ]

    def snapshot(self) -> Accounting:
        """Give the counters as they stand, as the control port and the segments carry them."""
        fields = {name: getattr(self, name) for name in _COUNTERS}
        return Accounting(**fields, pending=self.in_flight + self.queued)

    def healthy(self, now_ns: int) -> bool:
        """Whether records reach the disk at the monotonic time `now_ns`, and in time."""
        return bool(self.writing) and not 0 < self.due_ns < now_ns


def observed(counts: Counts, tries: int = 16) -> Accounting:
    """Give the counters that another process is writing, so that they reconcile.

    Read at the wrong microsecond, a request has left one counter and not yet reached the next. So a copy is taken
    until one reconciles; if none does (its writer was stopped just there), what is pending is what is left over.
    """
    for _ in range(tries):
        accounting = Counts.from_buffer_copy(counts).snapshot()
        if accounting.reconciles() and accounting.pending >= 0:
            return accounting
    # `seen` goes up first, so read last it covers all the others.
    fields = {name: getattr(counts, name) for name in reversed(_COUNTERS)}
    rest = fields["seen"] - sum(fields[name] for name in _COUNTERS[1:])
    return Accounting(**fields, pending=rest)


def settle(counts: Counts, written_on_disk: int | None = None) -> None:
    """Close the accounts of a writer that has died: what was on its way is dropped, and all reconciles again.

    It may have been killed between any two stores. `seen` is what is certain. `written_on_disk`, if known, is how many
    records are really there (since these counters began): between a block's write and its count lies a moment. No
    counter goes down: what was told to be dropped stays so, even if the disk turned out to hold it.
    """
    known = counts.synthetic + counts.untrusted + counts.filtered + counts.sampled_out
    room = counts.seen - known - counts.dropped
    if written_on_disk is not None:
        counts.written = max(counts.written, min(written_on_disk, room))
    counts.in_flight = counts.queued = 0
    counts.dropped = counts.seen - known - counts.written
    counts.writing = counts.due_ns = 0
