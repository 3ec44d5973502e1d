"""One hostile segment on its way through all that reads segments."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from captures import keyring
from captures.errors import CaptureError
from captures.keyring import Identities
from captures.reader import Capture, Segment
from captures.repair import repair
from captures.sealing import Encryption
from captures.verify import verify
from tests.support.fuzzing.mutations import KEY

_CHUNK = 256


class _Known(Identities):
    """Has the key of all segments made here, whatever their headers say; but what they say is tried first."""

    def unwrap(self, encryption: Encryption) -> bytes | None:
        with suppress(CaptureError):
            super().unwrap(encryption)
        return KEY


KNOWN = _Known([keyring.identity(keyring.generate()[0])])


class Hang(BaseException):
    """A step took longer than it may. No `Exception`, so that nobody swallows it."""


class Outcome(NamedTuple):
    """What became of one segment."""

    refused: bool
    """The file as a whole was."""
    records: int
    damaged: bool


def attempt(data: bytes, folder: Path, *, repairing: bool, seconds: float) -> Outcome:
    """Open, walk, read, verify, stream and (if so) repair the segment. Raises whatever is no CaptureError, and Hang."""
    path = folder / "1.reamp"
    path.write_bytes(data)
    with _at_most(seconds):
        try:
            segment = Segment(path, KNOWN)
        except CaptureError:
            segment = None
        records = 0
        if segment is not None:
            records = _read(segment)
        report = verify(folder, identities=KNOWN)
        if segment is not None and segment.lock is not None:
            verify(folder)  # from the outside, without any identity
        assert (segment is None) == (report.segments[0].state == "unreadable")
        assert report.records == records
        if segment is None:
            return Outcome(refused=True, records=0, damaged=True)
        arrivals = [record.arrival_ns for record in Capture(folder, KNOWN).records()]
        assert arrivals == sorted(arrivals)
        # A footer or head that lies about its times may hide records from a reader, but not from `verify`.
        assert len(arrivals) == records or (len(arrivals) < records and not report.ok)
        if repairing:
            _repair(folder, records, sealed=segment.lock is not None)
    return Outcome(refused=False, records=records, damaged=not report.ok)


def _read(segment: Segment) -> int:
    records = 0
    for frame in segment.frames():
        block = segment.read(frame)
        if block is None:
            continue
        places: Sequence[int] = range(frame.records)
        for start in range(0, frame.records, _CHUNK):
            records += len(block.records(places[start : start + _CHUNK]))
    segment.tail()
    return records


def _repair(folder: Path, records: int, *, sealed: bool) -> None:
    target = folder / "copy"
    before = (folder / "1.reamp").read_bytes()
    report = repair(folder, target, identities=KNOWN)
    try:
        assert (folder / "1.reamp").read_bytes() == before
        verdict = verify(target, identities=KNOWN)
        assert verdict.ok, verdict.model_dump_json()
        assert verdict.records == report.records
        assert report.records == records or (sealed and report.records < records)
    finally:
        for file in target.iterdir():
            file.unlink()
        target.rmdir()


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise Hang if it takes longer, also if it only shows at the end (C code is not interrupted)."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if time.monotonic() - begun > seconds:
        raise Hang(f"longer than {seconds} s")
