r"""What a request asks for of which only the route is known: parameters of its path, its query, headers and body. Pure.

A route may have parameters, in the notations that frameworks and monitoring write them in: ``/product/{id}``,
``/product/:id``, ``/product/<int:id>``, ``/product/[id]``, ``/product/*``. They are filled from examples, which are
real requests: each draw takes one of those that fit the route, so values come as often as they were asked for. A sample
of the examples is kept in which each had the same chance (reservoir sampling: Vitter 1985, algorithm R). Where there
are no examples, a table of values fills them, one row a request, by its weights.

A route without parameters takes an example's query, headers and body too, if there is one with the same path. One
without a method takes an example's method, and is GET where there is none.
"""

import random
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import quote

import re2

from captures.records import Headers, Record
from captures.templates import SLUG, template
from drill.sources.rates import OUTSIDE, Route

EXAMPLES = 10_000
"""Examples kept of one route..."""
ROOM = 128 << 20
"""...and bytes that those of all routes may take together. A route keeps fewer when it is full, never none."""

_PROBES = 200
"""Draws by which it is told under which template the requests of a route are counted."""

_PARAMETER = re.compile(
    r"""
    \(\.:format\)                                                    # Rails: an optional suffix
    | \{ (?P<braces> [^{}/]* ) \}                                    # OpenAPI, Spring, Flask's cousins
    | < (?P<angles> [^<>/]* ) >                                      # Flask, Django
    | (?<=/) \[ (?P<squares> [^\[\]/]+ ) \] (?=[/?]|$)               # Next.js
    | (?<=/) : (?P<colon> [A-Za-z_]\w* ) (?: \( [^()/]* \) )? \??    # Express, Rails
    | (?<=/) (?P<star> \*\*? ) \w* (?=[/?]|$)
    """,
    re.VERBOSE,
)


class Piece(NamedTuple):
    """A piece of a path: plain text, or a parameter."""

    text: str
    """The text itself, or the parameter's name; ``*`` if it has none."""
    parameter: bool = False
    deep: bool = False
    """It may stand for several parts of a path."""


def pieces(path: str) -> tuple[Piece, ...]:
    """Take a path apart."""
    found, done = [], 0
    for match in _PARAMETER.finditer(path):
        if plain := path[done : match.start()]:
            found.append(Piece(plain))
        done = match.end()
        if match.lastgroup is None:
            continue
        found.append(_parameter(match, last=done == len(path.partition("?")[0])))
    if rest := path[done:]:
        found.append(Piece(rest))
    return tuple(found)


def _parameter(match: re.Match[str], *, last: bool) -> Piece:
    said = match[match.lastgroup or 0]
    if match.lastgroup == "star":
        return Piece("*", parameter=True, deep=said == "**" or last)
    name = said.removeprefix("...").removeprefix("*")
    deep = name != said or said.endswith(("...", "+")) or said.startswith("path:") or said == "rest"
    name = name.removesuffix("...").removesuffix("+")
    kind, colon, rest = name.partition(":")
    name = (rest if match.lastgroup == "angles" else kind) if colon else name
    return Piece(name.strip() or "*", parameter=True, deep=deep)


class Values(NamedTuple):
    """A table of values for parameters."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    weights: tuple[float, ...]
    """One for each row, upwards: the sums of the weights so far."""
    route: str = ""
    """The path of the one route that it is for; empty: for all."""

    @classmethod
    def of(
        cls, columns: Sequence[str], rows: Sequence[Sequence[str]], weights: Iterable[float], route: str = ""
    ) -> "Values":
        """Make one of rows and their weights."""
        return cls(tuple(columns), tuple(map(tuple, rows)), tuple(accumulate(weights)), route)

    def column(self, parameter: str) -> int | None:
        """Find the column of a parameter; one without a name takes the only one."""
        if parameter in self.columns:
            return self.columns.index(parameter)
        return 0 if parameter == "*" and len(self.columns) == 1 else None

    def row(self, draw: random.Random) -> tuple[str, ...]:
        """Draw one by the weights."""
        return self.rows[min(bisect(self.weights, draw.random() * self.weights[-1]), len(self.rows) - 1)]


class Filled(NamedTuple):
    """What a request asks for."""

    method: str
    scheme: str
    authority: str
    path: str
    http_version: str
    headers: Headers
    body: bytes
    body_size: int


class _Examples:
    """A bounded sample of the requests to one route."""

    __slots__ = ("kept", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.kept: list[Filled] = []


class Filling:
    """Fills the requests of routes. Learn the examples first, then ask.

    `authority` and `scheme` are those of requests of which neither route nor example tells them.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        values: Sequence[Values] = (),
        *,
        seed: int = 1,
        authority: str = "",
        scheme: str = "http",
    ) -> None:
        self._routes = routes
        self._pieces = [pieces(route.path) for route in routes]
        self._authority, self._scheme = authority, scheme
        self._examples = [_Examples() for _ in routes]
        self._values = [
            _table(parts, [one for one in values if one.route in {"", route.path}])
            for route, parts in zip(routes, self._pieces, strict=True)
        ]
        self._room, self._keep = ROOM, EXAMPLES
        self._draw = random.Random(f"{seed}\nexamples")
        self._finder = _Finder(routes, self._pieces)
        self._outside = next((place for place, route in enumerate(routes) if route.path == OUTSIDE), None)

    def learn(self, record: Record) -> None:
        """Take an example in. One that fits no route is an example of what is outside."""
        places = self._finder.find(record.method, record.path)
        if len(places) > 1 and any(self._routes[place].authority == record.authority for place in places):
            places = tuple(place for place in places if self._routes[place].authority == record.authority)
        if not places and self._outside is not None:
            places = (self._outside,)
        for place in places:
            self._sample(self._examples[place], record)

    def _sample(self, examples: _Examples, record: Record) -> None:
        examples.seen += 1
        filled = Filled(
            record.method,
            record.scheme,
            record.authority,
            record.path,
            record.http_version,
            record.headers,
            record.body,
            record.body_size,
        )
        if len(examples.kept) < self._keep:
            examples.kept.append(filled)
            self._room -= _weight(filled)
        elif (place := self._draw.randrange(examples.seen)) < len(examples.kept):
            self._room += _weight(examples.kept[place]) - _weight(filled)
            examples.kept[place] = filled
        while self._room < 0 and self._keep > 1:
            self._keep //= 2
            for one in self._examples:
                # Which ones are kept so far does not depend on when they came, so any of them may go.
                if len(one.kept) > self._keep:
                    self._draw.shuffle(one.kept)
                    self._room += sum(map(_weight, one.kept[self._keep :]))
                    del one.kept[self._keep :]
        if self._room < 0:
            self._room += sum(map(_weight, examples.kept))
            examples.kept.clear()

    def how(self, place: int) -> str:
        """Say what a route's requests are filled from: ``example``, ``values``, ``plain``; empty if nothing does."""
        if self._examples[place].kept:
            return "example"
        if self._routes[place].path == OUTSIDE:
            return ""
        if not any(piece.parameter for piece in self._pieces[place]):
            return "plain"
        return "values" if self._values[place] is not None else ""

    def seen(self, place: int) -> int:
        """Count the examples that fit a route."""
        return self._examples[place].seen

    def parameters(self, place: int) -> tuple[str, ...]:
        """Name a route's parameters."""
        return tuple(piece.text for piece in self._pieces[place] if piece.parameter)

    def counted(self, place: int) -> tuple[str, str]:
        """Tell under which method and template most requests of a route are counted; it must be one that is filled."""
        draw = random.Random(0)
        drawn = (self.request(place, draw) for _ in range(1 if self.how(place) == "plain" else _PROBES))
        found = Counter((one.method, template(one.path)) for one in drawn)
        (method, most), count = found.most_common(1)[0]
        if 2 * count < found.total():  # words, that show only by their number to be no names
            words = "".join(SLUG if piece.parameter else piece.text for piece in self._pieces[place])
            return method, template(words)
        return method, most

    def request(self, place: int, draw: random.Random) -> Filled:
        """Draw what a request to a route asks for. Raises ValueError where nothing fills it (`how`)."""
        route, kept = self._routes[place], self._examples[place].kept
        if kept:
            return self._aimed(kept[int(draw.random() * len(kept))], route)
        path, table = _plain(self._pieces[place]), self._values[place]
        if table is not None:
            path = _joined(self._pieces[place], table, draw)
        elif self.how(place) != "plain":
            raise ValueError(f"nothing fills {route.name}")
        plain = Filled(route.method or "GET", route.scheme, "", path or "/", "HTTP/1.1", (), b"", 0)
        return self._aimed(plain, route)

    def _aimed(self, filled: Filled, route: Route) -> Filled:
        """Have a request go to the host that the route names."""
        authority = route.authority or filled.authority or self._authority
        scheme = route.scheme or (filled.scheme if filled.authority else "") or self._scheme
        headers = filled.headers
        if authority and (b"Host", authority.encode("utf-8", "surrogateescape")) not in headers:
            rest = (field for field in headers if field[0].lower() != b"host")
            headers = ((b"Host", authority.encode("utf-8", "surrogateescape")), *rest)
        return filled._replace(authority=authority, scheme=scheme, headers=headers)


def _weight(filled: Filled) -> int:
    fields = sum(len(name) + len(value) + 100 for name, value in filled.headers)
    return 300 + len(filled.path) + len(filled.body) + fields


def _table(parts: Sequence[Piece], values: Sequence[Values]) -> Values | None:
    """Find the table that has all parameters of a route, one that is for it alone if there is one."""
    names = [piece.text for piece in parts if piece.parameter]
    if not names:
        return None
    fitting = [one for one in values if all(one.column(name) is not None for name in names)]
    return next(iter(sorted(fitting, key=lambda one: not one.route)), None)


def _plain(parts: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in parts)


def _joined(parts: Iterable[Piece], table: Values, draw: random.Random) -> str:
    row = table.row(draw)
    found = []
    for piece in parts:
        column = table.column(piece.text) if piece.parameter else None
        if column is None:
            found.append(piece.text)
        else:
            found.append(quote(row[column], safe="/" if piece.deep else ""))
    return "".join(found)


# --- which route a request belongs to ---


class _Finder:
    """Finds the routes of a request: those of the most specific path that fits it.

    Several fit if they differ in the host alone, or are named twice.
    """

    def __init__(self, routes: Sequence[Route], parts: Sequence[Sequence[Piece]]) -> None:
        self._plain: dict[tuple[str, str], tuple[int, ...]] = {}
        self._patterns: dict[_Key, list[_Pattern]] = {}
        grouped: dict[tuple[str, str], list[int]] = {}
        for place, route in enumerate(routes):
            if route.path != OUTSIDE:
                grouped.setdefault((route.method, route.path), []).append(place)
        ordered = sorted(grouped.items(), key=lambda item: _specific(parts[item[1][0]]))
        found: list[tuple[_Pattern, list[_Key]]] = []
        for rank, ((method, path), places) in enumerate(ordered):
            if any(piece.parameter for piece in parts[places[0]]):
                if (pattern := _compiled(parts[places[0]])) is not None:
                    made = _Pattern(pattern, (not method, rank), "?" in path, tuple(places))
                    found.append((made, _keys(method, parts[places[0]])))
            else:
                key = method, _plain(parts[places[0]])
                self._plain[key] = (*self._plain.get(key, ()), *places)
        # A pattern is looked for by the one of its parts that the fewest others have, so few are tried on a path.
        often = Counter(key for _, keys in found for key in keys)
        for made, keys in found:
            self._patterns.setdefault(min(keys, key=often.__getitem__), []).append(made)
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}

    def find(self, method: str, path: str) -> tuple[int, ...]:
        """Give the places of the routes, none if there is no such route."""
        key = (method, path)
        found = self._known.get(key)
        if found is None:
            found = self._plainly(method, path) or self._matched(method, path)
            if len(self._known) < _REMEMBERED and len(path) < _SHORT:
                self._known[key] = found
        return found

    def _plainly(self, method: str, path: str) -> tuple[int, ...]:
        asked = [(one, whole) for whole in (path, path.partition("?")[0]) for one in (method, "")]
        return next((self._plain[key] for key in asked if key in self._plain), ())

    def _matched(self, method: str, path: str) -> tuple[int, ...]:
        if len(path) > _LONGEST:
            return ()
        whole = path.encode("utf-8", "surrogateescape")
        plain = whole.partition(b"?")[0]
        for one in self._likely(method, path):
            if one.pattern.fullmatch(whole if one.with_query else plain):
                return one.places
        return ()

    def _likely(self, method: str, path: str) -> list["_Pattern"]:
        """Give the patterns that may fit a path, those of its method first, and then the most specific."""
        split = path.partition("?")[0].split("/")
        parts = [(_NO_PART, ""), *enumerate(split)]
        keys = ((one, count, *part) for one in {method, ""} for count in (len(split), _DEEP) for part in parts)
        found = [pattern for key in keys for pattern in self._patterns.get(key, ())]
        return sorted(found, key=lambda one: one.rank)


_Key = tuple[str, int, int, str]
"""What the paths have in common that a pattern may fit: method, number of parts between slashes (`_DEEP`: any), and
one part with its place (`_NO_PART`: none)."""

_DEEP, _NO_PART = -1, -1


class _Pattern(NamedTuple):
    """A path with parameters."""

    pattern: Any
    rank: tuple[bool, int]
    with_query: bool
    places: tuple[int, ...]


def _keys(method: str, parts: Sequence[Piece]) -> list[_Key]:
    """Give all keys that a pattern may be looked for by; what fits it has each of them."""
    deep = next((place for place, piece in enumerate(parts) if piece.deep), None)
    text = "".join("\0" if piece.parameter else piece.text for piece in parts[:deep])
    split = text.partition("?")[0].split("/")
    count = len(split) if deep is None else _DEEP
    if deep is not None:
        split.pop()  # the parameter's own part
    plain = [(place, part) for place, part in enumerate(split) if "\0" not in part]
    return [(method, count, *part) for part in plain or [(_NO_PART, "")]]


_PATTERNS = re2.Options()
_PATTERNS.encoding = re2.Options.Encoding.LATIN1
_PATTERNS.dot_nl = True
_PATTERNS.log_errors = False

_REMEMBERED = 1 << 16
_SHORT = 200
_LONGEST = 8192
"""Characters: what is longer is no request to a route with parameters, and would only cost time."""


def _specific(parts: Sequence[Piece]) -> tuple[int, int, int]:
    """Order by how specific a path is, the most specific first."""
    parameters = [piece for piece in parts if piece.parameter]
    plain = sum(len(piece.text) for piece in parts if not piece.parameter)
    return sum(piece.deep for piece in parameters), len(parameters), -plain


def _compiled(parts: Sequence[Piece]) -> Any:
    """Give what matches a path; None if it is too large: then nothing does."""
    try:
        return re2.compile(b"".join(map(_as_pattern, parts)), _PATTERNS)
    except re2.error:
        return None


def _as_pattern(piece: Piece) -> bytes:
    if not piece.parameter:
        return re.escape(piece.text.encode("utf-8", "surrogateescape"))
    return b".+" if piece.deep else b"[^/?]+"
