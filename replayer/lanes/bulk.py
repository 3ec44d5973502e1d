"""Requests made of whole blocks, as they are stored. Edge: reads the recording.

A block holds each distinct line, path, header field, header set and body once (`captures.columns`). The rules of
`replayer.requests.encoding` are applied once to each of those, and C puts the pieces together. A record of which any
piece needs a closer look (a load tag, an upgrade, a body, a method that is not on the list, ...) goes through
`Encoder.encode` like any other, so there is one set of rules and this is only a quicker way through it.
"""

import ctypes
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from ctypes import Structure, byref, c_uint32, c_void_p
from functools import partial
from itertools import accumulate
from typing import Any, cast

from captures.columns import (
    FIELD,
    MAX_EXPANDED,
    MAX_TIME,
    Block,
    Choices,
    Columns,
    Layout,
    Numbers,
    take_apart,
    unfolded,
)
from captures.errors import CaptureError
from captures.records import Record
from replayer.counting.accounts import Accounts
from replayer.lanes.loading import HEAD, SAFE_TO_REPEAT, Batches, Loader
from replayer.plan import Plan
from replayer.requests.encoding import SAFE, Encoder, Request, Skip
from replayer.requests.fields import Kind
from replayer.schedule.demand import SECOND_NS, Demand
from replayer.selection import Selection
from replayer.stock import Stock, Supply, unreadable
from rules.units import MILLION

AT_ONCE = 512
"""Records loaded at a time: some tenths of a millisecond."""

AT_A_TIME = 64
"""Routes found in a step."""

_HOLE, _SKIP = 0x80000000, 0x40000000
_POINTERS = (
    *("arrivals", "waits", "durations", "sizes", "statuses", "line", "path", "set", "set_at", "parts", "values"),
    *("filled", "fillings", "slow", "text", "text_at", "line_head", "line_tail", "path_text", "line_method"),
    *("line_flags", "routes"),
)


class _Block(Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("number", "paths", "before", "after", "fillings_room")),
        *((name, c_void_p) for name in _POINTERS),
    )


type _Field = bytes | Kind | None
"""A line that is sent as it is; what is done with a field; or None: it needs a closer look."""


_SENT = (Kind.KEEP, Kind.COOKIE)


class Packed:
    """A block, ready to be loaded. Raises CaptureError if it is damaged, for the same reasons as any other reader."""

    def __init__(
        self, content: bytes, promised: int, encoder: Encoder, code: Any, rest: Callable[[], None] = lambda: None
    ) -> None:
        """`rest` is called between the steps of this, some tenths of a millisecond each."""
        self._code, self._rest = code, rest
        self._layout = layout = take_apart(content, promised)
        rest()
        self._columns: Columns | None = None
        self._texts: list[bytes] = []
        self._held: dict[str, Any] = {}
        number = layout.number
        gaps, waits = self._numbers(layout.gaps, number - 1), self._numbers(layout.waits, number)
        rests, missing = self._numbers(layout.rests, number), self._numbers(layout.missing, number)
        at = array("q", bytes(8 * number))
        if not (0 <= layout.first < MAX_TIME) or not code.unfold_times(
            number, layout.first, _at(gaps), _at(at), _at(waits), _at(rests)
        ):
            raise CaptureError("a number is out of range")
        rest()
        self._hold(arrivals=at, waits=waits, durations=rests)
        self._hold(statuses=self._either(layout.statuses), sizes=self._either(layout.response_sizes))
        self.arrivals = at.tolist()
        """Unix time of each record, nanoseconds."""
        rest()
        self._lay_out(layout, encoder, missing)

    def records(self, places: Sequence[int]) -> list[Record]:
        """Make the records at these places."""
        if self._columns is None:
            self._columns = unfolded(self._layout)
        return self._columns.records(places)

    def slow(self, places: Sequence[int]) -> list[int]:
        """Tell which of these records need `Encoder.encode`."""
        slow = self._held["slow"]
        return [place for place in places if slow[place]] if self.any_slow else []

    def load(self, loader: Loader, places: Sequence[int], shift_ns: int) -> None:
        """Load the requests of records that are not slow, due so long after they arrived."""
        chosen = array("I", places)
        loader.push(partial(self._code.block_load, byref(self._block)), _at(chosen), len(chosen), shift_ns)

    def prefix(self, place: int) -> bytes:
        """Give what is sent before the token of a record that is not slow."""
        for size in (1 << 12, 1 << 20):  # the large one takes longer to make than a request
            room = ctypes.create_string_buffer(size)
            if length := self._code.block_prefix(byref(self._block), place, room, size):
                return room.raw[:length]
        return b""

    def route(self, place: int) -> int:
        """Give the number of the route of a record that is not slow."""
        held = self._held
        method: int = held["line_method"][held["line"][place]]
        return int(held["routes"][method * self._block.paths + held["path"][place]])

    # --- unfolding, each column checked as `captures.columns` checks it ---

    def _hold(self, **columns: Any) -> None:
        self._held |= columns

    def _numbers(self, column: Numbers, number: int, least: int = -MAX_TIME) -> "array[int]":
        base, unit, planes = column
        width = _width(planes, number)
        if not -MAX_TIME <= base < MAX_TIME:
            raise CaptureError("a number is out of range")
        out = array("q", bytes(8 * number))
        if not -MAX_TIME <= unit < MAX_TIME or not self._code.unfold_numbers(
            planes, width, number, base, unit, least, _at(out)
        ):
            raise CaptureError("a number is out of range")
        return out

    def _places(self, column: Choices, number: int, add: int = 0) -> "array[int]":
        out = array("I", bytes(4 * number))
        width = 0 if column.one else _width(column.planes, number)
        if column.one and not add:
            return out
        if column.one:
            return array("I", [add]) * number
        if not self._code.unfold_places(column.planes, width, number, len(column.values), add, _at(out)):
            raise CaptureError("its records do not unpack (one refers to what is not there)")
        return out

    def _either(self, column: Numbers | Choices) -> "array[int]":
        number = self._layout.number
        if isinstance(column, Numbers):
            return self._numbers(column, number, 0)
        return array("q", map(column.values.__getitem__, self._places(column, number)))

    def _total(self, places: "array[int]", lengths: "array[int]") -> int:
        return int(self._code.unfold_total(_at(places), len(places), _at(lengths)))

    # --- what is stored once, encoded once ---

    def _text(self, texts: Sequence[bytes]) -> "array[int]":
        """Keep texts; give their numbers."""
        first = len(self._texts)
        self._texts += texts
        return array("I", range(first, len(self._texts)))

    def _lay_out(self, layout: Layout, encoder: Encoder, missing: "array[int]") -> None:
        number = layout.number
        line, path = self._places(layout.lines, number), self._places(layout.paths, number)
        chosen, body = self._places(layout.sets, number), self._places(layout.bodies, number)
        self._hold(line=line, path=path, set=chosen)
        size = self._total(line, array("I", [item[4] for item in layout.lines.values]))
        size += self._total(path, array("I", map(len, layout.paths.values)))
        size += self._total(body, array("I", map(len, layout.bodies.values)))
        if any(missing):
            lengths = list(map(len, layout.bodies.values))
            if not all(0 <= lengths[at] + more < MAX_TIME for at, more in zip(body, missing, strict=True)):
                raise CaptureError("a number is out of range")
        self._rest()
        size += self._lay_out_sets(layout, encoder, chosen)
        self._rest()
        if size > MAX_EXPANDED:
            raise CaptureError("its records are larger than the format allows")
        starts = [encoder.plain_start(item[0], item[2]) for item in layout.lines.values]
        # Of those that are sent from here, so a few; a recording may hold any number of others.
        methods = sorted({item[0] for item, start in zip(layout.lines.values, starts, strict=True) if start})
        numbers = {method: number for number, method in enumerate(methods)}
        self._hold(
            line_head=self._text([start[0] if start else b"" for start in starts]),
            line_tail=self._text([start[1] if start else b"" for start in starts]),
            line_method=bytes(numbers.get(item[0], 0) for item in layout.lines.values),
            line_flags=bytes(
                HEAD * (item[0] == "HEAD") + SAFE_TO_REPEAT * (item[0] in SAFE) for item in layout.lines.values
            ),
        )
        slow_line = bytes(start is None for start in starts)
        targets = encoder.plain_targets(layout.paths.values)
        self._rest()
        self._hold(path_text=self._text(_encoded([target or "" for target in targets])))
        before, after = encoder.plain_tag
        ends = self._text([before, after])
        self._hold(text=b"".join(self._texts), text_at=array("I", accumulate(map(len, self._texts), initial=0)))
        paths = len(targets)
        used, slow = bytearray(paths * len(methods)), bytearray(number)
        self._hold(slow=slow, routes=array("H", bytes(2 * len(used))))
        self._block = _Block(number=number, paths=paths, before=ends[0], after=ends[1], fillings_room=self._room)
        for name, column in self._held.items():
            setattr(self._block, name, _at(column))
        slow_path, slow_body = bytes(target is None for target in targets), bytes(map(bool, layout.bodies.values))
        self._code.block_mark(
            byref(self._block), slow_line, slow_path, self._slow_set, _at(body), slow_body, _at(missing), _at(used)
        )
        self.any_slow = any(slow)
        if not self._code.block_fill(byref(self._block), _at(self._cursors), _at(self._ends)):
            raise CaptureError("its records do not unpack (one refers to what is not there)")
        self._rest()
        self._find_routes(encoder, methods, targets, used)

    def _find_routes(
        self, encoder: Encoder, methods: Sequence[str], targets: Sequence[str | None], used: bytearray
    ) -> None:
        """Fill in the routes of what is made here; of other records `Encoder.encode` finds them."""
        routes, paths = self._held["routes"], len(targets)
        known: dict[tuple[str, str], int] = {}
        bare = [(target or "").partition("?")[0] for target in targets]  # a query makes no other route
        place = used.find(1)
        while place >= 0:
            name = methods[place // paths], bare[place % paths]
            number = known.get(name)
            if number is None:
                number = known[name] = encoder.routes.number(*name)
                if not len(known) % AT_A_TIME:
                    self._rest()
            routes[place] = number
            place = used.find(1, place + 1)

    def _lay_out_sets(self, layout: Layout, encoder: Encoder, chosen: "array[int]") -> int:
        """Give how much the header sets are in all."""
        sets: list[list[int]] = layout.sets.values
        uses = array("I", bytes(4 * len(sets)))
        self._code.unfold_uses(_at(chosen), len(chosen), _at(uses))
        lengths = [FIELD + sum(map(len, field)) for field in layout.fields]
        size = sum(count * sum(map(lengths.__getitem__, shape)) for shape, count in zip(sets, uses, strict=True))
        if size > MAX_EXPANDED:
            raise CaptureError("its headers are larger than the format allows")
        self._rest()
        wanted = dict.fromkeys(layout.fillings, 0)
        for shape, count in zip(sets, uses, strict=True):
            for field in filter(wanted.__contains__, shape):
                wanted[field] += count
        # Every field: its text or its hole, or neither if it is not sent; or None if it needs a closer look.
        fields = [_field(encoder, field) for field in layout.fields]
        self._rest()
        values, cursors, ends = array("I"), array("I"), array("I")
        for field, filling in layout.fillings.items():
            count, name = wanted[field], layout.fields[field][0]
            if len(filling.values) > count:
                raise CaptureError("it has more different values than there may be")
            places = self._places(filling, count, len(self._texts))
            size += self._total(places, self._lengths(filling.values))
            if not _are_lines(filling.values):
                fields[field] = None
            start = b"\r\n" + name + b": "
            self._texts += [start + value for value in filling.values]
            cursors.append(len(values))
            values += places
            ends.append(len(values))
        self._cursors, self._ends = cursors, ends
        self._hold(values=values)
        self._rest()
        self._lay_out_parts(layout, fields, uses)
        return size

    def _lengths(self, values: Sequence[bytes]) -> "array[int]":
        """Give the lengths of texts that will be kept next, by the numbers that they will have."""
        return array("I", bytes(4 * len(self._texts))) + array("I", map(len, values))

    def _lay_out_parts(self, layout: Layout, fields: list[_Field], uses: "array[int]") -> None:
        number = layout.number
        texts = self._text([field if isinstance(field, bytes) else b"" for field in fields])
        parts, slow, set_at = array("I"), bytearray(), array("I", [0])
        sets = _Sets(layout, fields, texts)
        room = 0
        for shape, count in zip(layout.sets.values, uses, strict=True):
            found = sets.parts(shape)
            slow.append(found is None)
            found = sets.skipped(shape) if found is None else found
            parts.extend(found)
            room += count * sum(_HOLE <= part < _HOLE | _SKIP for part in found)
            set_at.append(len(parts))
        self._slow_set, self._room = bytes(slow), room
        filled, fillings = array("I", bytes(4 * number)), array("I", bytes(4 * max(1, room)))
        self._hold(parts=parts, set_at=set_at, filled=filled, fillings=fillings)


class _Sets:
    """Makes of a header set what C puts together: texts, and holes that are filled or skipped, as `bulk.c` has them."""

    def __init__(self, layout: Layout, fields: list[_Field], texts: Sequence[int]) -> None:
        self._fields = layout.fields
        holes = {field: _HOLE | number for number, field in enumerate(layout.fillings)}
        self._skipped = [holes[field] | _SKIP if field in holes else None for field in range(len(fields))]
        self._sent: list[int | None] = [
            texts[place]
            if isinstance(field, bytes)
            else holes[place]
            if field in _SENT and place in holes
            else self._skipped[place]
            for place, field in enumerate(fields)
        ]
        self._odd = {place for place, field in enumerate(fields) if field is None}
        self._connection = {place for place, field in enumerate(fields) if field is Kind.CONNECTION}
        self._cookie = [field[0].lower() == b"cookie" for field in layout.fields]

    def parts(self, shape: Sequence[int]) -> list[int] | None:
        """Give the parts of a set; None: it needs a closer look."""
        if not self._odd.isdisjoint(shape) or sum(map(self._cookie.__getitem__, shape)) > 1:
            return None
        if self._connection.isdisjoint(shape):
            return [part for part in map(self._sent.__getitem__, shape) if part is not None]
        options = b",".join(self._fields[field][1] for field in shape if field in self._connection).split(b",")
        named = {option.strip().lower() for option in options}
        chosen = ((self._skipped if self._fields[field][0].lower() in named else self._sent)[field] for field in shape)
        return [part for part in chosen if part is not None]

    def skipped(self, shape: Sequence[int]) -> list[int]:
        """Give the holes of a set whose records are made one by one: their values are passed over."""
        return [part for part in map(self._skipped.__getitem__, shape) if part is not None]


def _field(encoder: Encoder, field: tuple[bytes, ...]) -> _Field:
    kind = encoder.plain_kind(field[0])
    if kind is Kind.DROP:
        return kind
    whole = len(field) == 2
    if kind is Kind.CONNECTION and whole and _are_lines(field[1:]):
        return kind
    if kind not in _SENT or not (not whole or _are_lines(field[1:])):
        return None
    return b"\r\n" + field[0] + b": " + field[1] if whole else kind


def _encoded(texts: Sequence[str]) -> list[bytes]:
    """Encode texts as records are decoded; none of them holds a line break."""
    return "\n".join(texts).encode("utf-8", "surrogateescape").split(b"\n")


def _are_lines(values: Sequence[bytes]) -> bool:
    whole = b"".join(values)
    return not (10 in whole or 13 in whole or 0 in whole)


def _width(planes: bytes, number: int) -> int:
    if len(planes) > 8 * number or (number and len(planes) % number):
        raise CaptureError("a column is not as long as the others")
    return len(planes) // number if number else 0


def _at(column: Any) -> int:
    """Give the address of what an array or bytes hold."""
    if isinstance(column, array):
        return column.buffer_info()[0]
    if isinstance(column, bytearray):
        return ctypes.addressof((ctypes.c_char * len(column)).from_buffer(column)) if column else 0
    return ctypes.cast(ctypes.c_char_p(column), c_void_p).value or 0


class Bulk(Batches):
    """The recorded times of a whole recording, loaded block by block, once or over and over.

    It is what `stock.stocked` gives for the same plan: the same requests at the same times.
    """

    def __init__(
        self,
        plan: Plan,
        selection: Selection,
        encoder: Encoder,
        accounts: Accounts,
        code: Any,
        start_ns: int,
        part: tuple[int, int] = (0, 1),
        judge: Encoder | None = None,
    ) -> None:
        """For a plan that `fits`; the recording begins at `start_ns`. Of `part` (k, N), make every Nth record.

        `judge` encodes, in vain, those of other parts that count here: where there is an end after so many, or a next
        round. What it counts is theirs.
        """
        super().__init__()
        self._first, self._of = part
        self._encoder, self._judge = encoder, judge or encoder
        self._accounts = accounts
        self._path = selection.path
        self._shift = start_ns - (selection.first_ns or 0)
        self._loader: Loader | None = None
        self._begin = partial(self._read, selection, code)
        self._runs = self._begin()
        self._run: tuple[Block, Sequence[int], int] | None = None
        self._loops, self._most = plan.loop, plan.max_requests
        self._counts = self._loops or self._most is not None
        self._usable = self._before = 0  # by all parts: in all, and before this round
        self._round: tuple[int, int] | None = None  # when the first and the last of this round arrived
        self._ended = False

    def supply(self) -> Supply:
        """Stand for a run's supply."""
        return Supply(cast("Demand[Request]", self), cast("Stock[Any]", self), None, self._most)

    @property
    def exhausted(self) -> bool:
        """Whether everything was loaded."""
        return self._ended

    def load(self, loader: Loader, until_ns: int) -> bool:
        """Load some of what is due until then; False: there is no more of that. Raises CaptureError."""
        try:
            return self._load_more(loader, until_ns)
        except CaptureError:
            raise
        except Exception as error:
            raise unreadable(error) from error

    def _load_more(self, loader: Loader, until_ns: int) -> bool:
        if self._ended:
            return False
        self._loader = loader
        if self._run is None:
            found = next(self._runs, None)
            if found is None:
                self._ended = not self._loops
                if self._loops:
                    self._again()
                return not self._ended
            self._run = (*found, 0)
        block, places, start = self._run
        end = min(len(places), start + AT_ONCE)
        if end > start and block.arrivals[places[end - 1]] + self._shift > until_ns:
            end = start + bisect_right(places[start:end], until_ns - self._shift, key=block.arrivals.__getitem__)
            if end == start:
                return False
        self._run = None if end == len(places) else (block, places, end)
        self._load(loader, block, places[start:end])
        return True

    def _load(self, loader: Loader, block: Block, places: Sequence[int]) -> None:
        slow: Sequence[int] = block.slow(places) if isinstance(block, Packed) else places
        outcomes = self._outcomes(block, places, slow) if slow else {}
        if self._counts:
            places = self._counted(block, places, outcomes)
        mine = places[self._first :: self._of]
        self._first = (self._first - len(places)) % self._of
        self._accounts.read += len(mine)
        made: list[tuple[int, Request]] = []
        if slow:
            apart = set(slow)
            for place in filter(apart.__contains__, mine):
                outcome = outcomes[place]
                if isinstance(outcome, Request):
                    made.append((block.arrivals[place] + self._shift, outcome))
                else:
                    self._accounts.skipped[outcome] += 1
            mine = [place for place in mine if place not in apart]
        if mine:
            cast("Packed", block).load(loader, mine, self._shift)
        if made:
            loader.load(made)
        self.wanted += len(mine) + len(made)

    def _outcomes(self, block: Block, places: Sequence[int], slow: Sequence[int]) -> dict[int, Request | Skip]:
        """Encode those of this part that need a closer look; where it counts, of all, up to the last there is to be."""
        mine = set(places[self._first :: self._of])
        if not self._counts:
            chosen = [place for place in slow if place in mine]
            return dict(zip(chosen, map(self._encoder.encode, block.records(chosen)), strict=True))
        ranks = {place: rank for rank, place in enumerate(places, self._usable)}
        found: dict[int, Request | Skip] = {}
        skipped = 0
        for place, record in zip(slow, block.records(slow), strict=True):
            if self._most is not None and ranks[place] - skipped >= self._most:
                break
            found[place] = (self._encoder if place in mine else self._judge).encode(record)
            skipped += not isinstance(found[place], Request)
        return found

    # --- an end after so many, and rounds ---

    def _counted(self, block: Block, places: Sequence[int], outcomes: dict[int, Request | Skip]) -> Sequence[int]:
        """Count what is replayed, of all parts; give the places up to the last one that there is to be."""
        skipped = {place for place, outcome in outcomes.items() if not isinstance(outcome, Request)}
        usable = [place for place in places if place not in skipped] if skipped else places
        if self._most is not None and self._usable + len(usable) >= self._most:
            self._ended = True
            usable = usable[: self._most - self._usable]
            places = places[: places.index(usable[-1]) + 1]
        if usable:
            last = block.arrivals[usable[-1]]
            self._round = self._round[0] if self._round else block.arrivals[usable[0]], last
            self._usable += len(usable)
        return places

    def _again(self) -> None:
        """Begin another round, as `stock.rounds` does."""
        if self._round is None:
            raise CaptureError(f"{self._path} holds nothing that can be replayed any more")
        first, last = self._round
        count = self._usable - self._before
        self._shift += last - first + ((last - first) // (count - 1) or 1 if last > first else SECOND_NS)
        self._round, self._before = None, self._usable
        self._accounts.rounds += 1
        self._encoder.round = self._judge.round = self._accounts.rounds
        self._runs = self._begin()

    def _read(self, selection: Selection, code: Any) -> Iterator[tuple[Block, Sequence[int]]]:
        unpack = partial(Packed, encoder=self._encoder, code=code, rest=self._let_send)
        return selection.capture.runs(*selection.span, unpack)

    def _let_send(self) -> None:
        if self._loader is not None:
            self._loader.rest()


def fits(plan: Plan, selection: Selection, encoder: Encoder) -> bool:
    """Tell whether each record is replayed once in a round, at its own time, and nobody has to see it before."""
    return (
        plan.of == "recording"
        and plan.rate is None
        and not plan.squeeze
        and not plan.stage
        and plan.sessions is None
        and plan.loudness.most == MILLION
        and selection.chosen is None
        and not encoder.hooked
        and encoder.offer is None
    )
