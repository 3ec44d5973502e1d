"""A clean copy of a damaged capture: everything that reads, in segments that are whole again.

The original is not touched. Blocks are copied as they are, not unpacked and packed again: what is copied is exact to
the byte, and blocks that are encrypted stay so. A segment in order is copied byte for byte. Any other one keeps its
header, gets the blocks that read, and a new footer with an index, accounts and a note of what was lost, which `verify`
shows.

The accounts of a copy have to add up, and must not hide anything: what is missing between the header's `written` and
the next segment's is written down as lost. Only where a header is broken, or the accounts in it contradict others, a
segment gets a new header and accounts of its own. (An encrypted one cannot: its blocks are bound to its header.)
"""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, Field

from captures import codec
from captures.codec import Footer, Frame, Header, Repaired
from captures.errors import CaptureError
from captures.folders import new_folder
from captures.keyring import NOBODY, Identities
from captures.reader import Segment, open_segments, segment_files
from captures.segments import SUFFIX
from captures.verify import contradictions, missing_numbers, numbering, went_down
from rules.wire import Accounting


class Loss(BaseModel):
    """What of one file is not in the copy."""

    file: str
    blocks: int = Field(0, description="that do not read")
    records: int = Field(0, description="as far as is known")
    why: list[str]


class RepairReport(BaseModel):
    """What `repair` did."""

    source: str
    target: str
    copied: int = Field(0, description="segments that were in order, copied byte for byte")
    rewritten: int = Field(0, description="segments that were not")
    records: int = Field(0, description="records in the copy")
    losses: list[Loss] = []


Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def repair(
    source: Path, target: Path, progress: Progress | None = None, identities: Identities = NOBODY
) -> RepairReport:
    """Write what reads of the capture `source` into the new folder `target`.

    What is encrypted stays so. With `identities` that open it every block is tried, and new footers are sealed like
    those that the writer made; without, checksums have to do, and `verify` with an identity says that footers are not
    sealed.

    Raises CaptureError if nothing reads or the disk fails, and UserError if `target` exists and is not empty. Then
    there is no copy at all.
    """
    total = 2 * sum(file.stat().st_size for file in segment_files(source) if file.is_file())
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    report = RepairReport(source=str(source), target=str(target))
    pieces: list[_Piece] = []
    with new_folder(target) as folder:
        for file, segment in open_segments(source, identities):
            if isinstance(segment, CaptureError):
                report.losses.append(Loss(file=file.name, why=[str(segment)]))
            else:
                pieces.append(_examined(segment, tell))
        if not pieces:
            raise CaptureError(f"nothing in {source} reads, so there is nothing to copy")
        for piece in _once(pieces, report):
            _copy(piece, folder, tell)
            report.records += piece.records
            if piece.sound and not piece.rewrite:
                report.copied += 1
            else:
                report.rewritten += 1
                report.losses += _losses(piece)
    return report


@dataclass
class _Piece:
    """One segment, and what will become of it."""

    segment: Segment
    bad: dict[int, Frame] = field(default_factory=dict)
    """Blocks that do not read, by their offsets."""
    stamps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """What blocks span whose heads say something else."""
    records: int = 0
    """Records in good blocks."""
    sound: bool = True
    """Nothing is wrong with the segment itself."""
    rewrite: bool = False
    """It needs a new footer."""
    fresh: bool = False
    """It needs a new header."""
    at_close: Accounting | None = None
    """What its new footer will say."""
    lost: int = 0
    missing: int = 0


def _examined(segment: Segment, tell: Callable[[int], None]) -> _Piece:
    """Read all blocks of a segment, and tell the good ones from the bad."""
    piece = _Piece(segment)
    frames = segment.frames()
    for frame in frames:
        block = None if segment.locked else segment.read(frame)
        if block is None and not (segment.locked and segment.look_at(frame)):
            piece.bad[frame.offset] = frame
            continue
        stamp = (min(block.arrivals), max(block.arrivals)) if block is not None else frame[1:3]
        if stamp != frame[1:3] and segment.lock is not None:
            # Somebody who had the key sealed it with a false head. It cannot be sealed again under the same number.
            piece.bad[frame.offset] = frame
            continue
        if stamp != frame[1:3]:
            piece.stamps[frame.offset] = stamp
        piece.records += frame.records
    tell(segment.size)
    trouble = segment.damage or piece.bad or piece.stamps or numbering(segment) or contradictions(segment, frames)
    piece.sound = segment.footer is not None and not trouble
    return piece


def _once(pieces: list[_Piece], report: RepairReport) -> Iterator[_Piece]:
    """Plan the accounts of each writer's segments; of those that are there twice give the one that holds more."""
    writers: dict[str, dict[int, _Piece]] = {}
    for piece in pieces:
        header = piece.segment.header
        if header is None:
            piece.rewrite = piece.fresh = True
            yield piece
            continue
        kept = writers.setdefault(header.writer, {})
        twin = kept.get(header.sequence)
        better = twin is None or (piece.sound, piece.records) > (twin.sound, twin.records)
        if twin is not None:
            other = twin if better else piece
            report.losses.append(Loss(file=other.segment.path.name, why=["the same segment is there twice"]))
        if better:
            kept[header.sequence] = piece
    for kept in writers.values():
        yield from _planned([kept[sequence] for sequence in sorted(kept)])


def _planned(pieces: list[_Piece]) -> Iterator[_Piece]:
    """Decide what the footers of one writer's segments will say, so that the accounts add up from one to the next."""
    before: tuple[int, Accounting] | None = None
    for place, piece in enumerate(pieces):
        header = _header(piece)
        following = _header(pieces[place + 1]) if place + 1 < len(pieces) else None
        if following is not None and following.sequence != header.sequence + 1:
            following = None
        close = _close(piece, header.accounting, following.accounting if following else None)
        contradicts = before is not None and went_down(before[1], header.accounting)
        sane = header.accounting.reconciles() and close.reconciles() and not went_down(header.accounting, close)
        if (contradicts or not sane) and piece.segment.lock is None:
            piece.rewrite = piece.fresh = True
            yield piece
            continue
        piece.at_close = close
        piece.lost = close.written - header.accounting.written - piece.records
        piece.missing = header.sequence - before[0] - 1 if before is not None else 0
        same = piece.segment.footer is not None and piece.segment.footer.accounting == close
        excused = piece.segment.footer.repaired if piece.segment.footer else None
        piece.rewrite = not (piece.sound and same) or (piece.lost, piece.missing) != _excused(excused)
        before = header.sequence, close
        yield piece


def _excused(repaired: Repaired | None) -> tuple[int, int]:
    return (repaired.lost_records, repaired.missing_segments) if repaired else (0, 0)


def _header(piece: _Piece) -> Header:
    assert piece.segment.header is not None  # noqa: S101 - those without are planned elsewhere
    return piece.segment.header


def _close(piece: _Piece, opened: Accounting, following: Accounting | None) -> Accounting:
    """Choose the accounts at close: the footer's, or what the next segment opened with, or what is there at least."""
    footer = piece.segment.footer
    if footer is not None and (following is None or went_down(footer.accounting, following)):
        return footer.accounting
    if footer is not None and following is not None and following.written == footer.accounting.written:
        return footer.accounting
    if following is not None and following.reconciles() and not went_down(opened, following):
        return following
    if footer is not None:
        return footer.accounting
    more = {name: getattr(opened, name) + piece.records for name in ("seen", "written")}
    return opened.model_copy(update=more)


def _losses(piece: _Piece) -> list[Loss]:
    """Say what is missing of a segment in the copy."""
    segment = piece.segment
    why = [str(damage) for damage in segment.damage]
    if segment.footer is None:
        tail = segment.tail()
        why.append("it has no footer" if not tail.words else f"it has no footer that reads: {tail.words}")
    known = sum(frame.records for frame in piece.bad.values())
    records = max(piece.lost, known)
    if piece.missing:
        why.append(f"{piece.missing} segments before it are missing")
    return [Loss(file=segment.path.name, blocks=len(piece.bad), records=records, why=why)] if why or records else []


def _copy(piece: _Piece, folder: Path, tell: Callable[[int], None]) -> None:
    """Write one segment into the new folder."""
    segment = piece.segment
    name = segment.path.name if segment.path.suffix == SUFFIX else segment.path.name + SUFFIX
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        for part in _parts(piece):
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    tell(segment.size)


def _parts(piece: _Piece) -> Iterator[bytes]:
    segment = piece.segment
    if not piece.rewrite:
        yield from segment.raw(0, segment.size)
        return
    if piece.fresh:
        head, opened = _fresh_header(piece), Accounting()
        piece.at_close, piece.lost, piece.missing = Accounting(seen=piece.records, written=piece.records), 0, 0
    else:
        head, opened = segment.header_bytes, _header(piece).accounting
    yield head
    offset = len(head)
    index: codec.Index = []
    number = {at: number for number, at in segment.numbers.items()}
    for frame in sorted(segment.frames(), key=lambda frame: number.get(frame.offset, 0)):
        if frame.offset in piece.bad:
            continue
        data = b"".join(segment.raw(frame.offset, frame.length))
        first, last = piece.stamps.get(frame.offset, (frame.first_ns, frame.last_ns))
        if frame.offset in piece.stamps:
            data = codec.stamped(data, first, last)
        index.append((offset, first, last, frame.records))
        offset += len(data)
        yield data
    seal = segment.lock.seal if segment.lock is not None else None
    yield codec.pack_footer(_footer(piece, index, piece.at_close or opened), index, offset, seal)


def _footer(piece: _Piece, index: codec.Index, at_close: Accounting) -> Footer:
    segment, footer = piece.segment, piece.segment.footer
    before = footer.repaired if footer else None
    first = min((first for _, first, _, _ in index), default=None)
    last = max((last for _, _, last, _ in index), default=None)
    created = segment.header.created_ns if segment.header else 0
    return Footer(
        closed_ns=footer.closed_ns if footer else max(last or 0, created),
        why=footer.why if footer else "repair",
        records=piece.records,
        first_ns=first,
        last_ns=last,
        accounting=at_close,
        repaired=Repaired(
            source=segment.path.name,
            lost_blocks=max(len(piece.bad) + (before.lost_blocks if before else 0), missing_numbers(segment)),
            lost_records=piece.lost,
            missing_segments=piece.missing,
            torn=footer is None or (before is not None and before.torn),
        ),
        header=segment.lock.header if segment.lock is not None else None,
    )


def _fresh_header(piece: _Piece) -> bytes:
    """Make a header for a segment whose own does not read, or contradicts others."""
    segment, old = piece.segment, piece.segment.header
    return codec.pack_header(
        Header(
            format=codec.FORMAT,
            version=codec.VERSION,
            created_ns=old.created_ns if old else segment.first_ns or 0,
            writer=secrets.token_hex(4),
            sequence=1,
            software=old.software if old else "unknown",
            flush_ns=old.flush_ns if old else 0,
            queue_size=old.queue_size if old else 1,
            block_size=old.block_size if old else 1,
            redaction=old.redaction if old else {},
            accounting=Accounting(),
            extra={**(old.extra if old else {}), "made_by": "repair", "from": [segment.path.name]},
        )
    )
