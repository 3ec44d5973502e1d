"""What a block holds: records, stored column by column. Pure.

Requests of one block are alike in their columns, not in their rows: the same paths, the same few browsers, times that
are close together. Stored by columns, each kind of thing lies beside its like, equal things are stored once, and zstd
finds what is left. `docs/capture-format.md` describes the layout in prose and what each part of it gives.

    records -> columns -> parts -> (joined, compressed) ...  unpacked -> Block -> records, any of them, in any order
"""

import math
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, count, islice, repeat
from operator import add, itemgetter, sub
from typing import Any, NamedTuple, Protocol, cast

import msgpack

from captures.errors import CaptureError
from captures.records import Headers, Record

MAX_RECORDS = 1 << 16
"""The most records in a block."""

MAX_BLOCK = 16 << 20
"""The most bytes in a block, before compression."""

MAX_EXPANDED = 64 << 20
"""The most bytes of requests that a block may stand for: what is stored once may be meant many times over. Each header
field counts as `FIELD` more than its bytes."""

FIELD = 128
"""A field without a byte takes its place in memory too. Less than writers reckon with, so they stay within it."""

MAX_HEADERS = 4096
MAX_TIME = 1 << 63

_SAMPLE = 256
"""Header sets that are looked at to tell which headers vary."""

_FEW = 16
"""A header with at most so many values in the sample does not vary."""

_MOST_HOLES = 1024

_TURN = 64
"""Header sets that are stored in one step."""

# What msgpack raises over broken bytes: its own exceptions, ValueError for bounds and text, TypeError for odd keys.
_UNPACKING = (msgpack.UnpackException, ValueError, TypeError, OverflowError)

# A record from checked fields, at half the price of the call with thirteen arguments.
_make = tuple.__new__

Pack = Callable[[Any], bytes]


def packer() -> Pack:
    """Make a function that packs one value. It keeps a buffer: one for each thread."""
    return msgpack.Packer(use_bin_type=True, buf_size=1 << 18).pack  # type: ignore[no-any-return]


class Block(Protocol):
    """Records of one block, in the order in which they were written; made when they are asked for."""

    @property
    def arrivals(self) -> Sequence[int]:
        """Unix time of each, nanoseconds."""
        ...

    def records(self, places: Sequence[int]) -> list[Record]:
        """Make the records at these places."""
        ...


Unpack = Callable[[bytes, int], Block]
"""Makes a block of its bytes and the number of records that it promises. Raises CaptureError."""


class Rows:
    """A block of records that are there already."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self.arrivals = [record.arrival_ns for record in records]

    def records(self, places: Sequence[int]) -> list[Record]:
        """Give the records at these places."""
        return list(map(self._records.__getitem__, places))


# --- writing ---

_LEAST = {"arrival_ns": 0, "body_size": 0, "status": 0, "response_size": 0, "ttfb_ns": -1, "duration_ns": 0}
"""The fields that are numbers, and the least that each may be; none reaches `MAX_TIME`."""


def check(record: Record) -> None:
    """Look whether the format can hold a record. Raises ValueError if it cannot."""
    arrival, method, scheme, authority, path, version, headers, body, body_size, status, size, ttfb, duration = record
    numbers = (arrival, body_size, status, size, ttfb, duration)
    if {*map(type, numbers)} != {int} or not (min(numbers) >= -1 and max(numbers) < MAX_TIME):
        raise ValueError(f"a number is out of range: {numbers}")
    if min(arrival, body_size, status, size, duration) < 0:
        raise ValueError(f"a number is out of range: {numbers}")
    texts = (method, scheme, authority, path, version)
    if {*map(type, texts)} != {str}:
        raise ValueError(f"a text is none: {texts}")
    "".join(texts).encode("utf-8", "surrogateescape")
    if type(headers) is not tuple or len(headers) > MAX_HEADERS:
        raise ValueError(f"{len(headers)} headers are more than the format allows")
    if headers and ({*map(type, headers)} != {tuple} or {*map(len, headers)} != {2}):
        raise ValueError("a header is no pair")
    if {*map(type, chain.from_iterable(headers)), type(body)} != {bytes}:
        raise ValueError("headers and body have to be bytes")


Steps = Generator[None, None, list[bytes]]
"""Work in steps of a fraction of a millisecond, so that somebody else gets his turn in between; it gives parts."""


def encode(pack: Pack, records: Sequence[Record]) -> list[bytes]:
    """Store `records`, at least one, as parts that joined are the block's bytes. Each part is of one kind of thing.

    Raises ValueError, TypeError or OverflowError for what the format cannot hold.
    """
    return finished(encoding(pack, records))


def finished[T](steps: Generator[None, None, T]) -> T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)


def encoding(pack: Pack, records: Sequence[Record]) -> Steps:
    """Do what `encode` does, step by step."""
    if not 0 < len(records) <= MAX_RECORDS:
        raise ValueError(f"a block holds 1 to {MAX_RECORDS} records, not {len(records)}")
    columns: list[Any] = list(zip(*records, strict=True))
    arrivals, methods, schemes, authorities, paths, versions, headers, bodies = columns[:8]
    body_sizes, statuses, response_sizes, ttfbs, durations = columns[8:]
    yield
    for name, column in zip(Record._fields, columns, strict=True):
        if name in _LEAST and not _LEAST[name] <= min(column) <= max(column) < MAX_TIME:
            raise ValueError(f"{name} is out of range")
    # msgpack's mark of an array of twelve, then its items
    start = b"\x9c" + pack(len(records)) + pack(_whole(arrivals[0]))
    parts = [start + _numbers(pack, list(map(sub, arrivals[1:], arrivals)))]
    yield
    parts.append(_numbers(pack, _marked(ttfbs)))
    yield
    parts.append(_numbers(pack, list(map(sub, durations, map(max, ttfbs, repeat(0))))))
    yield
    parts.append(_either(pack, statuses))
    yield
    parts.append(_either(pack, response_sizes))
    yield
    parts.append(_numbers(pack, list(map(sub, body_sizes, map(len, bodies)))))
    yield
    parts += _choices(pack, list(zip(methods, schemes, authorities, versions, strict=True)), _exact_line)
    yield
    parts += _choices(pack, paths, _exact)
    yield
    parts += yield from _headers(pack, headers)
    yield
    parts += _choices(pack, bodies, _bytes)
    if sum(map(len, parts)) > MAX_BLOCK:
        raise ValueError("the records are larger than a block may be")
    return parts


def _numbers(pack: Pack, values: Sequence[int]) -> bytes:
    """Store integers as ``[base, unit, planes]``: value = base + unit x what the bytes in the planes make."""
    base = _whole(min(values, default=0))
    steps = [value - base for value in values]
    unit = math.gcd(*steps) or 1
    if unit > 1:
        steps = [step // unit for step in steps]
    return pack((base, unit, _planes(steps)))


def _planes(values: Sequence[int]) -> bytes:
    """Give the lowest byte of each value, then the next lowest of each, as far as any value reaches."""
    raw = array("Q", values).tobytes()
    width = (max(values, default=0).bit_length() + 7) // 8
    return b"".join(raw[plane::8] for plane in range(width))


def _marked(ttfbs: Sequence[int]) -> Sequence[int]:
    """Let "no answer" (-1) be minus the unit of the others, or it would spoil their common divisor."""
    if min(ttfbs) >= 0:
        return ttfbs
    unit = math.gcd(*(ttfb for ttfb in ttfbs if ttfb >= 0)) or 1
    return [ttfb if ttfb >= 0 else -unit for ttfb in ttfbs]


def _either(pack: Pack, values: Sequence[int]) -> bytes:
    """Store integers as choices if they repeat enough, else as numbers."""
    if 4 * len(set(values)) <= len(values):
        return b"".join(_choices(pack, values, _whole))
    return _numbers(pack, values)


def _choices(pack: Pack, values: Sequence[Any], exact: Callable[[Any], Any]) -> tuple[bytes, bytes]:
    """Store values as ``[planes, distinct values]`` in two parts."""
    numbers = dict(zip(dict.fromkeys(values), count(1)))
    return _chosen(pack, map(numbers.__getitem__, values), list(map(exact, numbers)))


def _chosen(pack: Pack, numbers: Iterable[int], distinct: list[Any]) -> tuple[bytes, bytes]:
    """Store which of the distinct values, counted from 1 as they come, stand where.

    0 stands for the next one that was not there yet: to count up to it would cost more than to say that it is new.
    """
    planes = _planes(list(_renumbered(numbers))) if len(distinct) > 1 else b""
    return b"\x92" + pack(planes), pack(distinct)


def _renumbered(numbers: Iterable[int]) -> Iterator[int]:
    known = 0
    for number in numbers:
        if number > known:
            known = number
            yield 0
        else:
            yield number


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a number is no integer")
    return value


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise TypeError("a body is no bytes")
    return value


def _exact(text: Any) -> str | bytes:
    """Give text as it is stored: what is not UTF-8 goes in as the bytes that it was."""
    if type(text) is not str:
        raise TypeError("a text is no text")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def _exact_line(line: tuple[Any, ...]) -> tuple[str | bytes, ...]:
    return tuple(map(_exact, line))


def _headers(pack: Pack, column: Sequence[Headers]) -> Steps:
    """Store header sets as ``[fields, templates, holes]``.

    A template lists fields by number. A field without a value is a hole: its values stand in a column of their own, or
    every new referer would make a new template.
    """
    holes = _varying(column)
    fields: dict[tuple[bytes, ...], int] = {}
    templates: dict[tuple[int | None, ...], int] = {}
    fillings: dict[bytes, list[bytes]] = {}
    numbers: list[int] = []
    known = fields.get
    yield
    for turn, headers in enumerate(column, 1):
        if not turn % _TURN:
            yield
        template = list(map(known, headers))
        for place in [place for place, field in enumerate(template) if field is None]:
            name, value = headers[place]
            if name in holes:
                template[place] = fields.setdefault((name,), len(fields))
                fillings.setdefault(name, []).append(value)
            else:
                template[place] = fields.setdefault((name, value), len(fields))
        numbers.append(templates.setdefault(tuple(template), len(templates) + 1))
    if any(len(template) > MAX_HEADERS for template in templates):
        raise ValueError("there are more headers than the format allows")
    if not all(type(text) is bytes for field in fields for text in field):
        raise TypeError("a header is no bytes")
    parts = [b"\x93" + pack(list(fields)), *_chosen(pack, numbers, list(templates))]
    parts.append(b"\xdc" + len(fillings).to_bytes(2))
    for values in fillings.values():
        yield
        parts += _choices(pack, values, _bytes)
    return parts


def _varying(column: Iterable[Headers]) -> frozenset[bytes]:
    """Tell which headers have so many values that they are better stored apart."""
    values: dict[bytes, set[bytes]] = {}
    for headers in islice(column, _SAMPLE):
        for name, value in headers:
            values.setdefault(name, set()).add(value)
    return frozenset(islice((name for name, found in values.items() if len(found) > _FEW), _MOST_HOLES))


# --- reading ---


class Columns:
    """A block that was unpacked but for its records."""

    def __init__(self, arrivals: list[int], columns: tuple[Sequence[Any], ...]) -> None:
        self.arrivals = arrivals
        self._columns = columns

    def records(self, places: Sequence[int]) -> list[Record]:
        """Make the records at these places."""
        if isinstance(places, range) and places.step == 1:
            picked: Iterable[Sequence[Any]] = [column[places.start : places.stop] for column in self._columns]
        elif len(places) > 1:
            picked = map(itemgetter(*places), self._columns)
        else:
            picked = [[column[place] for place in places] for column in self._columns]
        return [_make(Record, row) for row in zip(*picked, strict=True)]


class _Parts:
    """A block's bytes, read item by item, each as what has to stand there.

    Unpacked in one go, three thousand bytes of arrays in arrays would take half a gigabyte before anybody could look at
    them. So arrays are only entered, and what is unpacked is never one.
    """

    def __init__(self, content: bytes) -> None:
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=max(1, len(content)), max_array_len=0, max_map_len=0, max_ext_len=0
        )
        self._unpacker.feed(content)
        self.array: Callable[[], int] = self._unpacker.read_array_header
        """Enter an array: give the number of its items, which is not checked."""
        self.tell: Callable[[], int] = self._unpacker.tell

    def items(self, number: int) -> list[Any]:
        """Give the next items; none of them is an array that holds anything."""
        items = list(islice(self._unpacker, number))
        if len(items) != number:
            raise CaptureError("it is cut off")
        return items

    def enter(self, *lengths: int) -> int:
        """Enter an array that has one of these lengths; give it."""
        if (length := self.array()) not in lengths:
            raise CaptureError("an array is not as long as it has to be")
        return length

    def up_to(self, most: int, what: str) -> int:
        """Enter an array of at most so many items; give their number."""
        if (length := self.array()) > most:
            raise CaptureError(f"it has more {what} than there may be")
        return length


class Numbers(NamedTuple):
    """A column of integers as it is stored: each is ``base + unit * step``; `planes` hold the bytes of the steps."""

    base: int
    unit: int
    planes: bytes

    def read(self, number: int, least: int = -MAX_TIME, end: int = 2 * MAX_TIME) -> list[int]:
        """Give them all. Raises CaptureError if they are not in ``[least, end)``, or not so many."""
        base, unit = self.base, self.unit
        steps = _read_planes(self.planes, number)
        if not least <= base <= base + unit * max(steps, default=0) < end:
            raise CaptureError("a number is out of range")
        return steps if base == 0 and unit == 1 else [base + unit * step for step in steps]


class Choices(NamedTuple):
    """A column of values that repeat as it is stored: the distinct ones, and which of them stands where."""

    planes: bytes
    values: list[Any]

    @property
    def one(self) -> bool:
        """Whether it is the same value everywhere, and nothing says where."""
        return not self.planes and len(self.values) == 1

    def read(self, number: int) -> list[Any]:
        """Give them all. Raises LookupError if one refers to what is not there."""
        return self.values * number if self.one else list(map(self.values.__getitem__, self.places(number)))

    def places(self, number: int) -> list[int]:
        """Give the places, from 0, of the distinct values that were chosen."""
        return [0] * number if self.one else _read_chosen(self.planes, number)


class Layout(NamedTuple):
    """A block taken apart, and nothing of it unfolded yet: what is stored once is here once."""

    number: int
    first: int
    gaps: Numbers
    """From each arrival to the next one; `first` is the first one."""
    waits: Numbers
    """Time to the first byte; below zero: there was no answer."""
    rests: Numbers
    """The duration less the wait."""
    statuses: Numbers | Choices
    response_sizes: Numbers | Choices
    missing: Numbers
    """By how much a body was larger than what was kept of it."""
    lines: Choices
    """Method, scheme, authority, version, and how long they are together."""
    paths: Choices
    fields: list[tuple[bytes, ...]]
    """Header fields: name and value, or the name alone if its values stand in `fillings`."""
    sets: Choices
    """Header sets: each lists fields by their place."""
    fillings: dict[int, Choices]
    """For each field without a value, its values in the order in which the records use them."""
    bodies: Choices


def take_apart(content: bytes, promised: int) -> Layout:
    """Read a block that promises so many records, and unfold nothing. Raises CaptureError.

    What is here is of the right types. How much it stands for, and whether places and numbers are in range, is for
    whoever unfolds it to check.
    """
    with _unpacking():
        return _take_apart(content, promised)


@contextmanager
def _unpacking() -> Iterator[None]:
    try:
        yield
    except _UNPACKING as error:
        raise CaptureError(f"its records do not unpack ({error or type(error).__name__})") from None
    except (LookupError, StopIteration):
        raise CaptureError("its records do not unpack (one refers to what is not there)") from None


def _take_apart(content: bytes, promised: int) -> Layout:
    if not 0 < promised <= MAX_RECORDS:
        raise CaptureError(f"it promises {promised} records, and a block holds 1 to {MAX_RECORDS}")
    parts = _Parts(content)
    parts.enter(12)
    number, first = parts.items(2)
    if not type(number) is type(first) is int or number != promised:
        raise CaptureError(f"it holds {number} records and promised {promised}")
    gaps, waits, rests = _take_numbers(parts), _take_numbers(parts), _take_numbers(parts)
    statuses, response_sizes = _take_either(parts, number), _take_either(parts, number)
    missing = _take_numbers(parts)
    lines = _take_choices(parts, number, _lines)
    paths = _take_choices(parts, number, _each(_text))
    parts.enter(3)
    fields = [tuple(parts.items(parts.enter(1, 2))) for _ in range(parts.up_to(MAX_RECORDS, "header fields"))]
    if not {*map(type, chain.from_iterable(fields))} <= {bytes}:
        raise CaptureError("a header is not bytes")
    parts.enter(2)
    (planes,) = parts.items(1)
    sets = Choices(planes, _shapes(parts, parts.up_to(number, "header sets"), len(fields)))
    holes = [place for place, field in enumerate(fields) if len(field) == 1]
    parts.enter(len(holes))
    most = min(number * MAX_HEADERS, MAX_EXPANDED // FIELD)
    fillings = {hole: _take_choices(parts, most, _all_bytes) for hole in holes}
    bodies = _take_choices(parts, number, _all_bytes)
    if parts.tell() != len(content):
        raise CaptureError("there is more in it than records")
    return Layout(
        number, first, gaps, waits, rests, statuses, response_sizes, missing, lines, paths, fields, sets, fillings,
        bodies,
    )  # fmt: skip


def decode(content: bytes, promised: int) -> Columns:
    """Unpack a block that promises so many records. Raises CaptureError."""
    with _unpacking():
        return unfold(_take_apart(content, promised))


def unfolded(layout: Layout) -> Columns:
    """Give a block's columns. Raises CaptureError."""
    with _unpacking():
        return unfold(layout)


def unfold(layout: Layout) -> Columns:
    """Give a block's columns. Raises CaptureError, or LookupError if something refers to what is not there."""
    number = layout.number
    arrivals = list(accumulate(layout.gaps.read(number - 1), initial=layout.first))
    if not 0 <= min(arrivals) <= max(arrivals) < MAX_TIME:
        raise CaptureError("an arrival is out of range")
    waits, rests = layout.waits.read(number, end=MAX_TIME), layout.rests.read(number)
    if min(waits) < 0:
        waits = [wait if wait >= 0 else -1 for wait in waits]
        durations = list(map(add, map(max, waits, repeat(0)), rests))
    else:
        durations = list(map(add, waits, rests))
    statuses, response_sizes = _read_either(layout.statuses, number), _read_either(layout.response_sizes, number)
    missing = layout.missing.read(number)
    line, paths = layout.lines.read(number), layout.paths.read(number)
    sets, size = _read_headers(layout)
    bodies = layout.bodies.read(number)
    sizes = list(map(len, bodies))
    if size + sum(sizes) + sum(map(len, paths)) + sum(map(itemgetter(4), line)) > MAX_EXPANDED:
        raise CaptureError("its records are larger than the format allows")
    body_sizes = list(map(add, sizes, missing))
    for column in (durations, body_sizes):
        if not 0 <= min(column) <= max(column) < MAX_TIME:
            raise CaptureError("a number is out of range")
    columns = (
        arrivals,
        *(list(map(itemgetter(place), line)) for place in range(3)),
        paths,
        list(map(itemgetter(3), line)),
        sets,
        bodies,
        body_sizes,
        statuses,
        response_sizes,
        waits,
        durations,
    )
    return Columns(arrivals, columns)


def _take_numbers(parts: _Parts) -> Numbers:
    parts.enter(3)
    return _numbers_of(*parts.items(3))


def _numbers_of(base: Any, unit: Any, planes: Any) -> Numbers:
    if not type(base) is type(unit) is int or type(planes) is not bytes:
        raise CaptureError("a column of numbers is wrong")
    return Numbers(base, unit, planes)


def _read_planes(planes: Any, number: int) -> list[int]:
    if type(planes) is not bytes or len(planes) > 8 * number or (number and len(planes) % number):
        raise CaptureError("a column is not as long as the others")
    width = len(planes) // number if number else 0
    if width <= 1:
        return list(planes) if width else [0] * number
    code, stride = ("H", 2) if width == 2 else ("I", 4) if width <= 4 else ("Q", 8)
    raw = bytearray(stride * number)
    for plane in range(width):
        raw[plane::stride] = planes[plane * number : (plane + 1) * number]
    values = array(code, bytes(raw))
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


Read = Callable[[_Parts, int], list[Any]]
"""Reads so many distinct values."""


def _take_choices(parts: _Parts, number: int, read: Read) -> Choices:
    parts.enter(2)
    return _choices_of(parts, number, read)


def _choices_of(parts: _Parts, number: int, read: Read) -> Choices:
    (planes,) = parts.items(1)
    return Choices(planes, read(parts, parts.up_to(number, "different values")))


def _read_chosen(planes: Any, number: int) -> list[int]:
    """Give the places, from 0, of the distinct values that were chosen."""
    fresh = count(1)
    return [(known or next(fresh)) - 1 for known in _read_planes(planes, number)]


def _take_either(parts: _Parts, number: int) -> Numbers | Choices:
    if parts.enter(2, 3) == 3:
        return _numbers_of(*parts.items(3))
    return _choices_of(parts, number, _each(_amount))


def _read_either(column: Numbers | Choices, number: int) -> list[int]:
    return column.read(number, least=0, end=MAX_TIME) if isinstance(column, Numbers) else column.read(number)


def _amount(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_TIME:
        raise CaptureError("a number is out of range")
    return value


def _each(exact: Callable[[Any], Any]) -> Read:
    return lambda parts, number: list(map(exact, parts.items(number)))


def _all_bytes(parts: _Parts, number: int) -> list[bytes]:
    values: list[bytes] = parts.items(number)
    if not {*map(type, values)} <= {bytes}:
        raise CaptureError("what has to be bytes is of a wrong type")
    return values


def _lines(parts: _Parts, number: int) -> list[tuple[str, str, str, str, int]]:
    """Give method, scheme, authority, version, and how long they are together."""
    lines = []
    for _ in range(number):
        method, scheme, authority, version = map(_text, parts.items(parts.enter(4)))
        lines.append((method, scheme, authority, version, len(method) + len(scheme) + len(authority) + len(version)))
    return lines


def _text(text: Any) -> str:
    if type(text) is str:
        return text
    if type(text) is not bytes:
        raise CaptureError("a text is of a wrong type")
    return text.decode("utf-8", "surrogateescape")


def _read_headers(layout: Layout) -> tuple[list[Headers], int]:
    """Give the header set of each record, and how much they are in all, as `MAX_EXPANDED` counts it."""
    fields, shapes = layout.fields, layout.sets.values
    chosen = layout.sets.places(layout.number)
    uses = Counter(chosen)
    lengths = [FIELD + sum(map(len, field)) for field in fields]
    # All that follows costs as much as the sets stand for, so that has to be known first.
    size = sum(uses[place] * sum(map(lengths.__getitem__, shape)) for place, shape in enumerate(shapes))
    if size > MAX_EXPANDED:
        raise CaptureError("its headers are larger than the format allows")
    holes = dict.fromkeys(layout.fillings, 0)
    for place, shape in enumerate(shapes):
        for field in filter(holes.__contains__, shape):
            holes[field] += uses[place]
    following: dict[int, Callable[[], tuple[bytes, bytes]]] = {}
    for hole, wanted in holes.items():
        filling = layout.fillings[hole]
        if len(filling.values) > wanted:
            raise CaptureError("it has more different values than there may be")
        values = filling.read(wanted)
        size += sum(map(len, values))
        following[hole] = zip(repeat(fields[hole][0]), values).__next__
    # What has no holes is one tuple for all its records.
    templates = [
        (
            [fields[field] for field in shape],
            [(at, following[field]) for at, field in enumerate(shape) if field in following],
        )
        for shape in shapes
    ]
    whole = [tuple(headers) for headers, _ in templates]
    sets: list[Headers] = []
    for place in chosen:
        headers, filled = templates[place]
        if filled:
            for at, follow in filled:
                headers[at] = follow()
            sets.append(tuple(headers))
        else:
            sets.append(whole[place])
    return sets, size


def _shapes(parts: _Parts, number: int, fields: int) -> list[list[int]]:
    shapes: list[list[int]] = []
    room = MAX_EXPANDED // FIELD
    for _ in range(number):
        shape = parts.items(parts.up_to(MAX_HEADERS, "headers"))
        if (room := room - len(shape)) < 0:
            raise CaptureError("its headers are larger than the format allows")
        if shape and ({*map(type, shape)} != {int} or not 0 <= min(shape) <= max(shape) < fields):
            raise CaptureError("a header set is wrong")
        shapes.append(shape)
    return shapes
