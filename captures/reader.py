"""Segments and captures, read as streams, sorted by arrival, whatever state the files are in."""

import errno
import heapq
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from captures import codec, columns
from captures.codec import Footer, Frame, Header
from captures.columns import MAX_BLOCK, MAX_TIME, Block, Rows, Unpack
from captures.diagnosis import Tail, stranger, tail
from captures.errors import CaptureError, Damage, GoneError, LockedError, VersionError
from captures.keyring import NOBODY, Identities, SegmentLock
from captures.records import Record
from captures.segments import SUFFIX, is_being_written

_SCAN = 1 << 20  # bytes read at a time when looking for the next frame after damage
_FIRST_SCAN = 4 << 10  # bytes of the first such look, which double: damage after damage must not cost a megabyte each
_SCAN_BUDGET = 4  # times the size of the file: what may be checksummed while looking, so that no file costs for ever

_MOST_DAMAGE = 1000  # places that are listed: a file could consist of nothing else

_AT_ONCE = 256  # records made at a time: whoever reads in an event loop has to get on with other things

# Blocks held whole while their records are due: as a rule 1 MiB each, at most some tens. A sidecar keeps one or two of
# them due at a time, so this is enough for a fleet.
_WHOLE = 32


class Segment:
    """One file of a capture. Opening it reads its header and footer; its blocks are read on demand.

    `header` is None if it is damaged or still on its way; `footer` is None if there is none (then `state` says why).
    What turns out to be unreadable is added to `damage`. Raises CaptureError if the file is no segment or cannot be
    opened, and GoneError if it is not there any more.

    If it is encrypted, `identities` open it; without the right one `read` raises LockedError, and only its outside can
    be looked at.
    """

    def __init__(self, path: Path, identities: Identities = NOBODY) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._known: set[Damage] = set()
        self.lock: SegmentLock | None = None
        self._identities = identities
        self._numbers: dict[int, int] = {}
        self._footer_checked = False
        self.footer: Footer | None = None
        try:
            if not S_ISREG(path.stat().st_mode):
                raise CaptureError(f"{path} is no file: it is {_kind(path)}")  # and opening a pipe would wait
            with path.open("rb") as file:
                # First who holds it, then how long it is: a writer that closes it in between leaves no torn file.
                self._open = is_being_written(file.fileno())
                self.size = os.fstat(file.fileno()).st_size
                start = file.read(min(self.size, codec.MAX_HEADER))
        except FileNotFoundError:
            if path.is_symlink():
                raise CaptureError(f"{path} is a link to a file that is not there") from None
            raise GoneError(f"{path} is not there any more") from None
        except OSError as error:
            raise CaptureError(f"{path}: {os.strerror(error.errno or 0)}") from None
        self.header, self._start = self._read_header(start)
        self.end = self._start
        """Where the last whole frame ends; after it come the footer, or the bytes of a torn tail."""
        self._walked: list[Frame] = []
        found = self._find_footer()
        if found is None:
            self._walked = list(self._walk())
        else:
            self.footer, _ = found
            if self.header is None and self.footer.header is not None:
                self._take_copy(self.footer.header)
        if self.header is None and not self.count:
            if not self._open:
                raise CaptureError(f"{path} is not a capture: {self.damage[0].what}")
            self._known.clear()
            self.damage.clear()  # nothing is broken: the header is on its way

    @property
    def locked(self) -> bool:
        """Whether it is encrypted, and none of the identities opens it."""
        return self.lock is not None and self.lock.seal is None

    @property
    def numbers(self) -> dict[int, int]:
        """Of the encrypted blocks that were looked at, their numbers and where they lie."""
        return self._numbers

    @property
    def header_bytes(self) -> bytes:
        """The header as it stands in the file, or in the footer's copy, if it reads."""
        return self.lock.header if self.lock is not None else b"".join(self.raw(0, self._start))

    @property
    def state(self) -> Literal["closed", "open", "torn"]:
        """Closed with a footer, still being written, or torn off by a crash."""
        return "closed" if self.footer else "open" if self._open else "torn"

    @property
    def count(self) -> int:
        """Records, by what the footer or the frames say."""
        return self.footer.records if self.footer else sum(frame.records for frame in self._walked)

    @property
    def first_ns(self) -> int | None:
        """Earliest arrival; None without records."""
        return self.footer.first_ns if self.footer else min((f.first_ns for f in self._walked), default=None)

    @property
    def last_ns(self) -> int | None:
        """Latest arrival; None without records."""
        return self.footer.last_ns if self.footer else max((f.last_ns for f in self._walked), default=None)

    def frames(self) -> list[Frame]:
        """Where each block lies, in the order of the file: from the footer's index, or as walking found it.

        The index is read each time: a long capture has many, and few are needed at once.
        """
        if self._walked:
            return self._walked
        try:
            found = self._find_footer()
            if found is not None:
                self._check_footer()
        except CaptureError as error:  # deleted since it was opened: retention does that
            self._damaged(0, str(error))
            return []
        return [] if found is None else found[1]

    def _check_footer(self) -> None:
        """Once, see whether who wrote the footer has the key of the blocks."""
        if self._footer_checked or self.lock is None or self.lock.seal is None:
            return
        self._footer_checked = True
        if not codec.footer_signed(self._bytes(self.end, self.size - self.end - codec.TRAILER), self.lock.seal):
            self._damaged(self.end, "the footer is not sealed by who wrote the blocks: what it says may be false")

    def read(self, frame: Frame, unpack: Unpack = columns.decode) -> Block | None:
        """Read one block; its records are made when they are asked for. None: it is damaged. Raises LockedError."""
        try:
            data = self._bytes(frame.offset, frame.length)
            block = codec.read_frame(data, frame, self.lock, unpack)
            self._once(data, frame.offset)
        except LockedError:
            raise
        except CaptureError as error:
            self._damaged(frame.offset, str(error))
            return None
        else:
            return block

    def look_at(self, frame: Frame) -> bool:
        """Check a block from the outside, as can be done without any identity. False: it is damaged."""
        try:
            data = self._bytes(frame.offset, frame.length)
            codec.check_frame(data, frame)
            self._once(data, frame.offset)
        except CaptureError as error:
            self._damaged(frame.offset, str(error))
            return False
        return True

    def _once(self, data: bytes, offset: int) -> None:
        """See to it that no encrypted block is there twice. Raises CaptureError."""
        number = codec.block_number(data)
        if number is not None and (other := self._numbers.setdefault(number, offset)) != offset:
            raise CaptureError(f"block {number} is there twice: it stands at byte {other} too")

    def records(self) -> Iterator[Record]:
        """All records in the order in which they were written."""
        for frame in self.frames():
            if block := self.read(frame):
                yield from block.records(range(frame.records))

    def raw(self, offset: int, length: int) -> Iterator[bytes]:
        """Give bytes as they stand in the file, some at a time. Raises CaptureError if they are not there."""
        for place in range(offset, offset + length, _SCAN):
            data = self._bytes(place, wanted := min(_SCAN, offset + length - place))
            if len(data) != wanted:
                raise CaptureError(f"{self.path} was cut while it was read")
            yield data

    def tail(self) -> Tail:
        """Say what stands after the last whole block if there is no footer that reads."""
        rest = self.size - self.end
        led_to = codec.unpack_trailer(self._bytes(max(0, self.size - codec.TRAILER), codec.TRAILER)) == self.end
        return tail(self._bytes(self.end, min(rest, codec.MAX_HEADER)), rest, led_to=led_to)

    def _bytes(self, offset: int, length: int) -> bytes:
        if length > codec.FRAME_HEAD + codec.MAX_PAYLOAD:
            raise CaptureError("the block is larger than the format allows")
        try:
            with self.path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), length, offset)
        except OSError as error:
            kind = GoneError if isinstance(error, FileNotFoundError) else CaptureError
            raise kind(f"it cannot be read: {os.strerror(error.errno or 0)}") from None

    def misplaced(self, frame: Frame) -> None:
        """Note that a block holds records of other times than its head says."""
        self._damaged(frame.offset, "the block holds records of other times than its head says: these are left out")

    def _damaged(self, offset: int, what: str) -> None:
        damage = Damage(offset, what)
        if damage in self._known or len(self._known) > _MOST_DAMAGE:
            return
        if len(self._known) == _MOST_DAMAGE:
            damage = Damage(offset, "and there is more damage than this")
        self._known.add(damage)
        self.damage.append(damage)

    def _read_header(self, start: bytes) -> tuple[Header | None, int]:
        """Read the header (None if it is damaged) and give the offset of the first frame."""
        if not start and self._open:
            return None, 0
        if not start:
            raise CaptureError(f"{self.path} is empty")
        try:
            return self._unpacked(start)
        except VersionError as error:
            raise CaptureError(f"{self.path} cannot be read: {error}. A newer reamp can") from None
        except CaptureError as error:
            if not codec.looks_like_ours(start):
                seems = f" It seems to be {what}" if (what := stranger(start)) else ""
                raise CaptureError(
                    f"{self.path} is not a capture: it does not start with a header of one.{seems}"
                ) from None
            self._damaged(0, f"the header is broken: {error}")
            return None, 0

    def _take_copy(self, copy: bytes) -> None:
        """Use the copy of the header that the footer of an encrypted segment holds: without it nothing would open."""
        with suppress(CaptureError):
            self.header, _ = self._unpacked(copy)

    def _unpacked(self, data: bytes) -> tuple[Header, int]:
        header, length = codec.unpack_header(data)
        if header.encryption is not None:
            self.lock = SegmentLock(header.encryption, data[:length], self._identities)
        return header, length

    def _find_footer(self) -> tuple[Footer, list[Frame]] | None:
        """Find the footer from the file's last bytes; None if it is not there or not whole."""
        offset = codec.unpack_trailer(self._bytes(max(0, self.size - codec.TRAILER), codec.TRAILER))
        if offset is None or not self._start <= offset < self.size - codec.TRAILER:
            return None
        if self.size - offset > codec.MAX_FOOTER + codec.TRAILER:
            return None
        try:
            footer, frames, length = codec.unpack_footer(self._bytes(offset, self.size - offset), self._start, offset)
        except CaptureError:
            return None
        if offset + length + codec.TRAILER != self.size:
            return None
        self.end = offset
        return footer, frames

    # --- without an index ---

    def _walk(self) -> Iterator[Frame]:
        """Go from frame to frame; over damage, look for the next whole one."""
        offset, before = self._start, None
        budget = _SCAN_BUDGET * self.size + MAX_BLOCK
        number = 0
        while offset < self.size:
            head = self._bytes(offset, codec.FRAME_HEAD)
            frame = codec.frame_head(head, offset)
            if frame is not None and offset + frame.length <= self.size:
                if number == codec.MAX_FRAMES:
                    self._damaged(offset, "more blocks than the format allows: these are not read")
                    return
                number += 1
                self.end = offset + frame.length
                yield frame
                before, offset = frame, self.end
                continue
            if codec.FOOTER_START in head:
                budget -= min(self.size - offset, codec.MAX_FOOTER)  # looking is not for nothing either
                if self._ends_here(offset):
                    return
            # Not a frame: this is a torn tail, or damage here, or the frame before has a wrong length.
            start = offset
            if before is not None and not codec.frame_intact(self._bytes(before.offset, before.length)):
                start = before.offset
            found, budget = self._search(start + 1, budget)
            if found is None:
                return
            if start == offset > 0:
                self._damaged(offset, "a block's head is broken")
            before, offset = None, found

    def _ends_here(self, offset: int) -> bool:
        """Take the footer if it is here (its trailer is broken then, or it would have been found before)."""
        if self.size - offset > codec.MAX_FOOTER + codec.TRAILER:
            return False
        try:
            self.footer, _, _ = codec.unpack_footer(self._bytes(offset, self.size - offset), self._start, offset)
        except CaptureError:
            return False
        self._damaged(offset, "the end of the file, after the footer, is broken")
        return True

    def _search(self, start: int, budget: int) -> tuple[int | None, int]:
        """Find the next whole frame from `start` on; give what is left of `budget`."""
        step = _FIRST_SCAN
        while start < self.size:
            start = self._next_data(start)
            data = self._bytes(start, step + codec.FRAME_HEAD)
            for match in codec.FRAME_PATTERN.finditer(data):
                offset = start + match.start()
                frame = codec.frame_head(self._bytes(offset, codec.FRAME_HEAD), offset)
                if frame is None or offset + frame.length > self.size:
                    continue
                budget -= frame.length
                if budget < 0:
                    self._damaged(offset, "too much damage to look for more blocks")
                    return None, budget
                if codec.frame_intact(self._bytes(offset, frame.length)):
                    return offset, budget
            start += step
            step = min(2 * step, _SCAN)
        return None, budget

    def _next_data(self, offset: int) -> int:
        """Skip what was never written: a sparse file may be of any size and take no room."""
        try:
            with self.path.open("rb", buffering=0) as file:
                return os.lseek(file.fileno(), offset, os.SEEK_DATA)
        except OSError as error:
            return self.size if error.errno == errno.ENXIO else offset


class Capture:
    """All segments of a folder (or one file), as one stream of records in order of arrival.

    What does not read, and what is there twice, is left out and listed in `damage`. Raises CaptureError if there is
    nothing to read.
    """

    def __init__(self, path: Path, identities: Identities = NOBODY) -> None:
        self.path = path
        self._identities = identities
        self.segments: list[Segment] = []
        self._left_out: list[str] = []
        known: dict[tuple[str, int], str] = {}
        for file, found in open_segments(path, identities):
            if isinstance(found, CaptureError):
                self._left_out.append(str(found))
                continue
            if found.header is not None:
                first = known.setdefault((found.header.writer, found.header.sequence), file.name)
                if first != file.name:
                    self._left_out.append(f"{file} is left out: {first} is the same segment")
                    continue
            self.segments.append(found)
        if not self.segments:
            raise CaptureError("\n".join(self._left_out[:5]) or f"no capture in {path}: it holds no *{SUFFIX} files")

    @property
    def damage(self) -> list[str]:
        """What was found unreadable so far, in words, with the file's name."""
        found = [f"{segment.path.name} {damage}" for segment in self.segments for damage in segment.damage]
        return [*self._left_out, *found]

    @property
    def count(self) -> int:
        """Records, without reading any."""
        return sum(segment.count for segment in self.segments)

    @property
    def first_ns(self) -> int | None:
        """Earliest arrival; None without records."""
        return min((at for s in self.segments if (at := s.first_ns) is not None), default=None)

    @property
    def last_ns(self) -> int | None:
        """Latest arrival; None without records."""
        return max((at for s in self.segments if (at := s.last_ns) is not None), default=None)

    def unlock(self) -> None:
        """Make sure that all of it can be read. Raises LockedError that says for whom it is encrypted."""
        if locked := [segment for segment in self.segments if segment.locked]:
            raise LockedError(_refusal(locked, given=bool(self._identities)))

    def records(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Record]:
        """All records with ``start_ns <= arrival_ns < end_ns``, sorted by arrival.

        Raises LockedError, before anything is read, if a segment is encrypted and no identity opens it.

        Records are written as their requests *end*, so blocks overlap in time. A block is opened when the stream
        reaches its first arrival, and held until the stream has passed its last.

        One request that took an hour makes its block span an hour. So that a capture full of such requests does not end
        up in memory, only so many blocks are held whole. Of any further one the records that are due now are kept,
        and as many again as it gave before; the rest is read again when the stream reaches it. Doubling keeps both
        in bounds: a block is read again but a few times, and little more is held of it than its early records.
        """
        self.unlock()
        return self._records(start_ns, end_ns)

    def runs(
        self, start_ns: int | None = None, end_ns: int | None = None, unpack: Unpack = columns.decode
    ) -> Iterator[tuple[Block, Sequence[int]]]:
        """Give the same as runs of one block each, its places in order of arrival: for who has a way to use them whole.

        `unpack` makes blocks of those that are stored by columns. Raises like `records`.
        """
        self.unlock()
        return self._runs(start_ns, end_ns, unpack)

    def _records(self, start_ns: int | None, end_ns: int | None) -> Iterator[Record]:
        for block, places in self._runs(start_ns, end_ns, columns.decode):
            for start in range(0, len(places), _AT_ONCE):
                yield from block.records(places[start : start + _AT_ONCE])

    def _runs(self, start_ns: int | None, end_ns: int | None, unpack: Unpack) -> Iterator[tuple[Block, Sequence[int]]]:
        low = 0 if start_ns is None else start_ns
        high = MAX_TIME if end_ns is None else end_ns
        order = count()  # settles equal times in the order of the files, and keeps heapq from comparing further
        whole = 0
        heap: list[tuple[int, int, Segment | _Unread | _Run]] = [
            (first, next(order), segment) for segment in self.segments if (first := segment.first_ns) is not None
        ]
        heapq.heapify(heap)
        while heap:
            _, _, item = heapq.heappop(heap)
            if isinstance(item, Segment):
                for frame in item.frames():
                    if frame.first_ns < high and frame.last_ns >= low:
                        heapq.heappush(heap, (frame.first_ns, next(order), _Unread(item, frame, frame.first_ns)))
                continue
            until = heap[0][0] if heap else MAX_TIME
            if isinstance(item, _Unread):
                run = item.read(low, high, unpack)
                if whole < _WHOLE:
                    run.whole = True
                    whole += 1
                elif rest := item.shorten(run, until):
                    heapq.heappush(heap, (rest.first_ns, next(order), rest))
            else:
                run = item
            yield run.block, run.until(until)
            if (following := run.following) is not None:
                heapq.heappush(heap, (following, next(order), run))
            elif run.whole:
                whole -= 1


class _Run:
    """Records of a block, sorted by arrival, and how far they were given out."""

    def __init__(self, block: Block, places: Sequence[int], given: int = 0) -> None:
        """Of `block`, in this order, the records at `places`; `given` were given out by another run."""
        self.block = block
        self._places = places
        self._position = given
        self.whole = False

    @property
    def following(self) -> int | None:
        """When the next one arrived; None: there is none."""
        return self._at(self._position) if self._position < len(self._places) else None

    def until(self, until: int) -> Sequence[int]:
        """Give the places of what arrived up to this moment, and was not given yet."""
        start, self._position = self._position, max(self._position, self.count(until))
        return self._places[start : self._position]

    def count(self, until: int) -> int:
        """Count all that arrived up to this moment, given or not."""
        return bisect_right(self._places, until, key=self.block.arrivals.__getitem__)

    def cut(self, count: int) -> tuple[int, int] | None:
        """Keep the first so many and let the block go; say when the first of the rest arrived, and its number."""
        if count >= len(self._places):
            return None
        rest = self._at(count)
        self.block = Rows(self.block.records(self._places[self._position : count]))
        self._places, self._position = range(len(self.block.arrivals)), 0
        return rest, count

    def _at(self, position: int) -> int:
        return self.block.arrivals[self._places[position]]


class _Unread:
    """A block, without its first `given` records, that the stream has not reached."""

    __slots__ = ("first_ns", "frame", "given", "segment")

    def __init__(self, segment: Segment, frame: Frame, first_ns: int, given: int = 0) -> None:
        self.segment = segment
        self.frame = frame
        self.first_ns = first_ns
        self.given = given

    def read(self, low: int, high: int, unpack: Unpack) -> _Run:
        block = self.segment.read(self.frame, unpack)
        if block is None:
            return _Run(Rows([]), [])
        arrivals = block.arrivals
        places = sorted(range(len(arrivals)), key=arrivals.__getitem__)
        first, last = self.frame.first_ns, self.frame.last_ns
        if arrivals[places[0]] < first or arrivals[places[-1]] > last:
            # Its turn came by its head. What is not due then would come out of order.
            self.segment.misplaced(self.frame)
            low, high = max(low, first), min(high, last + 1)
        if first < low or last >= high or arrivals[places[0]] < low or arrivals[places[-1]] >= high:
            start, end = (bisect_left(places, at, key=arrivals.__getitem__) for at in (low, high))
            places = places[start:end]
        return _Run(block, places, self.given)

    def shorten(self, run: _Run, until: int) -> "_Unread | None":
        """Keep of `run` what is due, and as much as was given before; give the rest, if any, as yet unread."""
        rest = run.cut(max(self.given + 1, 2 * self.given, run.count(until)))
        return rest and _Unread(self.segment, self.frame, *rest)


def _refusal(locked: Sequence[Segment], *, given: bool) -> str:
    """Say what cannot be read, for whom it is encrypted, and what to do."""
    names = ", ".join(dict.fromkeys(name for one in locked if one.lock is not None for name in one.lock.recipients))
    count = "1 segment is" if len(locked) == 1 else f"{len(locked)} segments are"
    if problem := next((one.lock.problem for one in locked if one.lock is not None and one.lock.problem), ""):
        return f"{count} encrypted to {names}, and cannot be opened: {problem}"
    if given:
        return f"{count} encrypted to {names}, and none of the identities that were given is among them"
    return f"{count} encrypted to {names}: give --identity FILE with a secret key of one of them"


def open_segments(path: Path, identities: Identities = NOBODY) -> Iterator[tuple[Path, Segment | CaptureError]]:
    """Open each file of a capture, or say why it can't be opened. One that goes away meanwhile is no part of it."""
    for file in segment_files(path):
        try:
            yield file, Segment(file, identities)
        except GoneError:
            continue
        except CaptureError as error:
            yield file, error


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe, socket or device"


def segment_files(path: Path) -> list[Path]:
    """List the files of a capture, sorted by name, that is by time. Raises CaptureError if there are none."""
    try:
        if path.is_file():
            return [path]
        files = sorted(file for file in path.iterdir() if file.suffix == SUFFIX)
    except FileNotFoundError:
        raise CaptureError(f"no capture in {path}: there is no such folder") from None
    except OSError as error:
        raise CaptureError(f"no capture in {path}: {os.strerror(error.errno or 0)}") from None
    if not files:
        raise CaptureError(f"no capture in {path}: it holds no *{SUFFIX} files")
    return files
