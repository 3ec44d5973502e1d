"""Is all of it there? Every block is read, and every account is held against the others.

Three parties keep books without seeing each other's: the frames (each says how many records it holds), the footers
(each says how many records the segment holds), and the sidecar's counters (snapshots in header and footer). In order,
for a segment, means: the blocks hold what they promise, their sum is the footer's, the footer's is the difference of
`written` between footer and header, and both snapshots reconcile. Between two segments of one writer nothing is
written: the second one opens with the `written` that the first one closed with, and no counter ever goes down.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, computed_field

from captures.codec import Frame, Header, Repaired
from captures.diagnosis import Tail
from captures.errors import CaptureError
from captures.gaps import Cause, Coverage, Watch, gaps
from captures.keyring import NOBODY, Identities
from captures.moments import SECOND, iso
from captures.reader import Segment, open_segments, segment_files
from rules.units import Duration, Size
from rules.wire import Accounting


class SegmentReport(BaseModel):
    """What was found in one file."""

    file: str
    state: Literal["closed", "open", "torn", "unreadable"]
    writer: str = ""
    sequence: int = 0
    records: int = Field(0, description="that really read")
    blocks: int = 0
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    damage: list[str] = Field(default=[], description="what does not read, or does not add up")
    note: str = Field("", description="what a missing footer means here")
    encrypted_to: list[str] = Field(default=[], description="recipients, in short")
    unread: int = Field(0, description="blocks that no identity opened: only their outside was checked")
    lost_before: int = Field(0, description="records that were lost before the segment was repaired")
    lost: bool = Field(default=False, description="torn, and not shown to be complete by a later segment")


class GapReport(BaseModel):
    """A span without any record that the traffic does not explain; `captures.gaps` says how that is found."""

    from_ns: int
    to_ns: int
    cause: Cause


class WriterReport(BaseModel):
    """The books of one writer, that is of one run of a sidecar."""

    writer: str
    segments: int
    records: int
    accounting: Accounting = Field(description="the last one written down")
    accounted: int = Field(description="the segment at whose opening or closing that was")
    covered: bool = Field(description="whether the last segment was closed, so that nothing came after it")
    problems: list[str] = []


class Report(BaseModel):
    """What `verify` found."""

    folder: str
    segments: list[SegmentReport]
    writers: list[WriterReport]
    gaps: list[GapReport] = Field([], description="no damage: where nothing was recorded for unusually long")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def first_ns(self) -> int | None:
        """Earliest arrival that reads; None without records."""
        return min((s.first_ns for s in self.segments if s.first_ns is not None), default=None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def last_ns(self) -> int | None:
        """Latest arrival that reads; None without records."""
        return max((s.last_ns for s in self.segments if s.last_ns is not None), default=None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def records(self) -> int:
        """Records that read."""
        return sum(segment.records for segment in self.segments)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def lost_before(self) -> int:
        """Records that were lost before the capture was repaired: what is there is in order all the same."""
        return sum(segment.lost_before for segment in self.segments)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether everything reads, adds up, and nothing was torn off."""
        return not any(s.damage or s.lost for s in self.segments) and not any(w.problems for w in self.writers)


Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def verify(folder: Path, progress: Progress | None = None, identities: Identities = NOBODY) -> Report:
    """Read all of a capture and reconcile its books. Raises CaptureError if there is none at all.

    Of what is encrypted, and not opened by one of `identities`, only the outside is looked at.
    """
    total, done = sum(map(_size, segment_files(folder))), 0

    def tell(before: int, within: int) -> None:
        if progress is not None:
            progress(before + within, total)

    tell(0, 0)
    reports: list[SegmentReport] = []
    books: dict[str, list[_Book]] = {}
    coverage = Coverage()
    for file, segment in open_segments(folder, identities):
        if isinstance(segment, CaptureError):
            damage = [str(segment)]
            reports.append(SegmentReport(file=file.name, state="unreadable", bytes=_size(file), damage=damage))
            continue
        report = _read(segment, coverage, partial(tell, done))
        if report.damage and not file.exists():
            continue  # deleted while it was read: as if it had been deleted before
        reports.append(report)
        if segment.header is not None:
            books.setdefault(segment.header.writer, []).append(_Book(segment, report))
        done += segment.size
        tell(done, 0)
    writers = [_reconcile(writer, sorted(kept, key=lambda book: book.sequence)) for writer, kept in books.items()]
    verdict = Report(folder=str(folder), segments=reports, writers=writers)
    if verdict.first_ns is not None and verdict.last_ns is not None:
        watches = [book.watch for kept in books.values() for book in kept]
        found = gaps(coverage, verdict.records, verdict.last_ns - verdict.first_ns, watches)
        verdict.gaps = [GapReport(from_ns=gap.first_ns, to_ns=gap.last_ns, cause=gap.cause) for gap in found]
    return verdict


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


class _Book:
    """What is needed of a segment to hold it against its neighbours."""

    def __init__(self, segment: Segment, report: SegmentReport) -> None:
        assert segment.header is not None  # noqa: S101 - the caller looked
        self.report = report
        self.sequence = segment.header.sequence
        self.at_open = segment.header.accounting
        self.at_close = segment.footer.accounting if segment.footer else None
        self.repaired = segment.footer.repaired if segment.footer else None
        closed = segment.footer.closed_ns if segment.footer else report.last_ns or segment.header.created_ns
        self.watch = Watch(
            opened_ns=segment.header.created_ns,
            closed_ns=closed,
            last_ns=report.last_ns,
            dropped=self.known.dropped - self.at_open.dropped,
        )

    @property
    def known(self) -> Accounting:
        """The last accounts that the segment holds."""
        return self.at_close or self.at_open


def _read(segment: Segment, coverage: Coverage, tell: Callable[[int], None]) -> SegmentReport:
    """Read one segment whole, a block at a time."""
    report = SegmentReport(file=segment.path.name, state=segment.state, bytes=segment.size)
    if segment.header is not None:
        report.writer, report.sequence = segment.header.writer, segment.header.sequence
    if segment.lock is not None:
        report.encrypted_to = segment.lock.recipients
    strange: list[str] = []
    frames = segment.frames()
    for frame in frames:
        report.blocks += 1
        span = _span(segment, frame, coverage)
        tell(frame.offset + frame.length)
        if span is None:
            continue  # the segment has noted why
        report.records += frame.records
        report.unread += segment.locked
        first, last = span
        if (first, last) != (frame.first_ns, frame.last_ns):
            strange.append(f"at byte {frame.offset}: the block spans other times than its head says")
        report.first_ns = first if report.first_ns is None else min(first, report.first_ns)
        report.last_ns = last if report.last_ns is None else max(last, report.last_ns)
    books = [*numbering(segment), *_books(segment), *contradictions(segment, frames)]
    report.damage = [*map(str, segment.damage), *strange, *books]
    if segment.state == "open":
        report.note = f"is being written at this moment; {_extent(report)}"
    elif segment.state == "torn" and segment.header is not None:
        tail = segment.tail()
        if tail.kind == "broken footer":
            report.damage.append(f"at byte {segment.end}: {tail.words}, and with it the accounts at close")
        report.note = _torn(report, segment.header, tail)
        report.lost = True
    elif segment.footer is not None and segment.footer.repaired is not None:
        report.note = _mended(segment.footer.repaired)
        report.lost_before = max(0, segment.footer.repaired.lost_records)
    return report


def _span(segment: Segment, frame: Frame, coverage: Coverage) -> tuple[int, int] | None:
    """Read one block, or look at it from the outside; give its first and last arrival. None: it is damaged."""
    if segment.locked:
        if not segment.look_at(frame):
            return None
        coverage.add_span(frame.first_ns, frame.last_ns)
        return frame.first_ns, frame.last_ns
    block = segment.read(frame)
    if block is None:
        return None
    arrivals = sorted(block.arrivals)
    coverage.add(arrivals)
    return arrivals[0], arrivals[-1]


def _mended(repaired: Repaired) -> str:
    """Say what a repaired segment has lost."""
    counts = (
        (repaired.lost_records, "record", "records"),
        (repaired.lost_blocks, "block", "blocks"),
        (repaired.missing_segments, "segment before it", "segments before it"),
    )
    parts = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count > 0]
    lost = f"lost were {', '.join(parts)}" if parts else "nothing that was counted was lost"
    tear = "; what came after the tear was never counted" if repaired.torn else ""
    return f"a repaired copy of {repaired.source}: {lost}{tear}"


def numbering(segment: Segment) -> list[str]:
    """Hold the numbers of encrypted blocks against their places: none may be moved, none missing."""
    wrong = []
    numbers = sorted(segment.numbers, key=segment.numbers.__getitem__)
    if numbers != sorted(numbers):
        wrong.append("its blocks do not stand in the order in which they were written: they were moved")
    excused = segment.footer.repaired.lost_blocks if segment.footer and segment.footer.repaired else 0
    if (missing := missing_numbers(segment)) > excused:
        wrong.append(f"by the numbers of its blocks, {missing} are missing or damaged")
    return wrong


def missing_numbers(segment: Segment) -> int:
    """Count the blocks of an encrypted segment that must have been there and were not found by those that were read."""
    return max(segment.numbers) + 1 - len(segment.numbers) if segment.numbers else 0


def contradictions(segment: Segment, frames: Sequence[Frame]) -> list[str]:
    """Hold the footer against the heads of the blocks."""
    footer = segment.footer
    if footer is None:
        return []
    wrong = []
    promised = sum(frame.records for frame in frames)
    if footer.records != promised:
        wrong.append(f"the footer says {footer.records} records, the blocks say {promised}")
    first = min((frame.first_ns for frame in frames), default=None)
    last = max((frame.last_ns for frame in frames), default=None)
    if (footer.first_ns, footer.last_ns) != (first, last):
        wrong.append("the footer says another span than its index")
    return wrong


def _books(segment: Segment) -> list[str]:
    """Hold the accounts in footer and header against each other and against the records."""
    header, footer = segment.header, segment.footer
    wrong = []
    if header is not None and not header.accounting.reconciles():
        wrong.append(f"the accounts at open do not reconcile: {_words(header.accounting)}")
    if footer is None:
        return wrong
    if not footer.accounting.reconciles():
        wrong.append(f"the accounts at close do not reconcile: {_words(footer.accounting)}")
    if header is not None:
        excused = footer.repaired.lost_records if footer.repaired else 0
        written = footer.accounting.written - header.accounting.written - excused
        if written != footer.records:
            wrong.append(f"the counters say {written} records were written, the footer says {footer.records}")
        wrong += went_down(header.accounting, footer.accounting)
    return wrong


def went_down(before: Accounting, after: Accounting) -> list[str]:
    """Name the counters that went down, which none but `pending` ever does."""
    later = after.model_dump()
    down = [name for name, value in before.model_dump().items() if name != "pending" and later[name] < value]
    return [f"the counters went backwards: {', '.join(down)}"] if down else []


def _extent(report: SegmentReport) -> str:
    return f"reads up to {iso(report.last_ns)}" if report.last_ns is not None else "holds no whole block"


def _torn(report: SegmentReport, header: Header, tail: Tail) -> str:
    if tail.kind == "broken footer":
        return f"{tail.words}, and all its blocks are before it. It {_extent(report)}"
    rest = f" ({tail.words})" if tail.words else ""
    return (
        f"has no footer: the sidecar was killed or crashed, or the disk failed. It {_extent(report)}{rest}. "
        f"Lost are at most {Duration(header.flush_ns / SECOND)} of finished requests if the disk kept up, otherwise "
        f"also what waited for it, up to {Size(header.queue_size)}; and whatever was still being answered"
    )


def _reconcile(writer: str, books: list[_Book]) -> WriterReport:
    """Hold the segments of one writer against each other. The first ones may have been removed; a gap may not be."""
    problems = []
    for book, after in pairwise(books):
        if after.sequence == book.sequence:
            one, other = book.report.file, after.report.file
            problems.append(f"segment {book.sequence} is there twice: {one} and {other} (only {one} is replayed)")
            continue
        between = f"between segments {book.sequence} and {after.sequence}, "
        if after.sequence > book.sequence + 1:
            if after.repaired and after.repaired.missing_segments == after.sequence - book.sequence - 1:
                continue  # known when it was repaired, and told in its note
            missing = f"{book.sequence + 1}" + (
                f" to {after.sequence - 1}" if after.sequence > book.sequence + 2 else ""
            )
            problems.append(f"segment {missing} is missing")
        elif book.at_close is None:
            _vouch(book, after)
        elif (lost := after.at_open.written - book.at_close.written) > 0:
            problems.append(f"{between}{_records(lost)} counted as written that neither holds")
        problems += [between + line for line in went_down(book.known, after.at_open)]
    last = books[-1]
    return WriterReport(
        writer=writer,
        segments=len(books),
        records=sum(book.report.records for book in books),
        accounting=last.known,
        accounted=last.sequence,
        covered=last.at_close is not None and not (last.repaired and last.repaired.torn),
        problems=problems,
    )


def _vouch(book: _Book, after: _Book) -> None:
    """Let the next segment's opening accounts say whether one without a footer is complete."""
    report = book.report
    missing = after.at_open.written - book.at_open.written - report.records
    if missing == 0:
        report.lost = False
        report.note = (
            "has no footer (the writer left it when the disk failed), but it is complete: the next one says so"
        )
    elif missing > 0:
        report.note += f"; by the accounts of the next segment, {_records(missing)} missing"
    else:
        report.note += f"; by the accounts of the next segment, {_records(-missing)} too many: they may be in both"


def _records(count: int) -> str:
    return f"{count} record is" if count == 1 else f"{count} records are"


def _words(accounting: Accounting) -> str:
    return ", ".join(f"{name} {value}" for name, value in accounting.model_dump().items())
