"""What a load script needs of a recording: the rate of each route over time, and what is asked of it. Pure.

Of each route, which is a method and the template of a path, a bounded number of requests is kept, drawn with a fixed
seed so that each one had the same chance, with the headers and bodies that they had; together they stand for all of
the route's. So the rates of routes are exact, and within a route what was asked for is drawn.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from captures.errors import CaptureError
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.exchange.schedule import Stage, scaled, stages
from captures.exchange.vegeta import NOWHERE
from captures.moments import SECOND
from captures.records import Record
from captures.templates import template
from rules.units import MILLION

MAX_STAGES = 360
"""So an hour has stages of ten seconds."""
MAX_CELLS = 100_000
"""Numbers that tell how often a route comes in a stage. With more, two stages become one."""
MAX_ENDPOINTS = 2000
EXAMPLES = 40
"""Requests kept of one route, as long as all of them fit into `MAX_SIZE`."""
MAX_SIZE = 8 << 20

MARK = "synthetic_request=true"
"""Member of a request's baggage by which OpenTelemetry's demo tells load from users; for whoever looks at traces."""

_HOP = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"te"),
        *(b"proxy-connection", b"expect", b"trailer"),
    }
)
"""Headers that are about one connection, or that whoever sends has to make anew."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Example(NamedTuple):
    """One request of the recording that stands for `weight` of them."""

    weight: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Route(NamedTuple):
    """A method and the template of a path, and what is asked of it."""

    name: str
    """``GET /item/{id}``"""
    requests: int
    """How often it comes in all."""
    examples: list[Example]


class Mix(NamedTuple):
    """What is to be sent."""

    base: str
    """Where: ``http://shop.example``. Empty: nobody has said."""
    stage: float
    """Seconds that each stage lasts."""
    table: list[dict[int, int]]
    """For each stage, how often each route comes, by its number in `routes`."""
    routes: list[Route]
    """The most frequent first."""
    mean_seconds: float
    """Mean duration of the answered requests; 0 if none is known."""
    unsafe: int
    """Requests that may change something: anything but GET, HEAD and OPTIONS."""

    @property
    def stages(self) -> list[int]:
        """Requests in each stage."""
        return [sum(row.values()) for row in self.table]

    @property
    def total(self) -> int:
        """Requests in all."""
        return sum(self.stages)

    @property
    def peak(self) -> float:
        """Most requests per second that a stage asks for."""
        return max(self.stages) / self.stage


class _Endpoint:
    __slots__ = ("count", "examples", "key", "number")

    def __init__(self, key: tuple[str, str], number: int) -> None:
        self.key = key
        self.number = number
        self.count = 0
        self.examples: list[Record] = []


class _Timeline:
    """How often each route came in each stage. Stages get longer rather than too many of these numbers."""

    def __init__(self, options: WriteOptions) -> None:
        self._first_ns = options.first_ns
        self._span, count = _grid(options)
        self.rows: list[Counter[int]] = [Counter() for _ in range(count)]
        self._cells = 0

    @property
    def stage(self) -> float:
        """Seconds that each stage lasts."""
        return max(0.001, self._span / SECOND / len(self.rows))

    def add(self, arrival_ns: int, route: int) -> None:
        """Count a request."""
        rows = self.rows
        row = rows[min(max(0, arrival_ns - self._first_ns) * len(rows) // self._span, len(rows) - 1)]
        self._cells += route not in row
        row[route] += 1
        while self._cells > MAX_CELLS and len(self.rows) > 1:
            self._halve()

    def _halve(self) -> None:
        if len(self.rows) % 2:
            self._span += self._span // len(self.rows)
            self.rows.append(Counter())
        self.rows = [one + other for one, other in zip(self.rows[::2], self.rows[1::2], strict=True)]
        self._cells = sum(map(len, self.rows))


def mixed(records: Iterable[Record], options: WriteOptions, notes: Notes) -> Mix:
    """Take a recording in. Raises CaptureError if nothing of it can be sent."""
    gathered = _Gathered(options)
    for record in records:
        if why := _unsendable(record) or gathered.add(record):
            notes.skip(why)
    if not gathered.endpoints:
        raise CaptureError("nothing was written: there is no request that a script could send")
    known = sorted(gathered.endpoints.values(), key=lambda one: -one.count)
    number = {endpoint.number: place for place, endpoint in enumerate(known)}
    rows = [{number[one]: count for one, count in row.items()} for row in gathered.timeline.rows]
    table = scaled(rows, options.amplify)
    counts = sum(map(Counter, table), Counter[int]())
    if not counts:
        raise CaptureError(f"nothing was written: at {options.amplify} no request is left")
    if options.amplify != MILLION:
        notes.say(f"{options.amplify} of what was recorded, at each moment and of each route")
    recorded = gathered.bases.most_common(1)[0][0]
    return Mix(
        options.target or ("" if options.nowhere else recorded),
        gathered.timeline.stage,
        table,
        [_route(counts[place], endpoint, recorded, options, notes) for place, endpoint in enumerate(known)],
        gathered.mean_seconds or options.mean_seconds,
        sum(counts[place] for place, one in enumerate(known) if one.key[0] not in _SAFE),
    )


class _Gathered:
    """What is known of a recording, in bounded room."""

    def __init__(self, options: WriteOptions) -> None:
        self.timeline = _Timeline(options)
        self.endpoints: dict[tuple[str, str], _Endpoint] = {}
        self.bases: Counter[str] = Counter()
        self._draw = random.Random(0)
        self._keep, self._size, self._answered, self._total_ns = EXAMPLES, 0, 0, 0

    @property
    def mean_seconds(self) -> float:
        """How long an answer took; 0 if that is not known."""
        return self._total_ns / self._answered / 1e9 if self._answered else 0.0

    def add(self, record: Record) -> str:
        """Take a request in, or say why there is no room for it."""
        key = (record.method, template(record.path))
        endpoint = self.endpoints.get(key)
        if endpoint is None:
            if len(self.endpoints) >= MAX_ENDPOINTS or self._size > MAX_SIZE:
                return f"requests to further endpoints: a script holds {MAX_ENDPOINTS}, or {MAX_SIZE >> 20} MiB"
            endpoint = self.endpoints[key] = _Endpoint(key, len(self.endpoints))
        endpoint.count += 1
        self.timeline.add(record.arrival_ns, endpoint.number)
        base = f"{record.scheme}://{record.authority or NOWHERE}"
        if len(self.bases) < MAX_ENDPOINTS or base in self.bases:
            self.bases[base] += 1
        if record.status and record.duration_ns:
            self._answered += 1
            self._total_ns += record.duration_ns
        self._size += _sample(endpoint, record, self._keep, self._draw)
        while self._size > MAX_SIZE and self._keep > 1:
            self._keep //= 2
            self._size -= sum(_shortened(one, self._keep) for one in self.endpoints.values())
        return ""


def _grid(options: WriteOptions) -> tuple[int, int]:
    """Give the nanoseconds that it takes to send the recording, and into how many stages they are cut.

    Where it is known when its time ended, stages are whole seconds, and fit into what rates are known of.
    """
    if options.end_ns > options.first_ns:
        span = options.end_ns - options.first_ns
        stage = math.ceil(span / SECOND / MAX_STAGES)
        grain = round(options.grain)
        if stage < grain:
            stage = next(one for one in range(stage, grain + 1) if not grain % one)
        elif grain > 1:
            stage = math.ceil(stage / grain) * grain
        count = math.ceil(span / SECOND / stage)
        return count * stage * SECOND, count
    span = options.last_ns - options.first_ns
    if span <= 0:
        return SECOND, 1
    # n requests take n gaps, the last one too.
    span = span * options.records // (options.records - 1) if options.records > 1 else span + 1
    return span, max(1, min(MAX_STAGES, round(span / SECOND)))


def _unsendable(record: Record) -> str:
    """Say why no other tool could send this; empty if one can."""
    if not _TOKEN.fullmatch(record.method.encode("utf-8", "surrogateescape")):
        return "methods that are no token of HTTP"
    if not re.match(r"/(?!/)", record.path) or re.search(r"[\x00-\x20\x7f#]", record.path):
        return "paths that no URL can hold"
    if re.search(r"%(?![0-9A-Fa-f]{2})", record.path.partition("?")[0]):
        return "paths with a broken percent-encoding"
    return ""


def _sample(endpoint: _Endpoint, record: Record, keep: int, draw: random.Random) -> int:
    """Keep a request so that each one of the endpoint has the same chance; give by how many bytes that grew."""
    if len(endpoint.examples) < keep:
        endpoint.examples.append(record)
        return _weight(record)
    place = draw.randrange(endpoint.count)
    if place >= len(endpoint.examples):
        return 0
    before, endpoint.examples[place] = endpoint.examples[place], record
    return _weight(record) - _weight(before)


def _shortened(endpoint: _Endpoint, keep: int) -> int:
    dropped = endpoint.examples[keep:]
    del endpoint.examples[keep:]
    return sum(map(_weight, dropped))


def _weight(record: Record) -> int:
    return 100 + len(record.path) + len(record.body) + sum(len(name) + len(value) + 8 for name, value in record.headers)


def _route(count: int, endpoint: _Endpoint, base: str, options: WriteOptions, notes: Notes) -> Route:
    method, path = endpoint.key
    return Route(f"{method} {path}", count, list(_examples(endpoint, base, options, notes)))


def _examples(endpoint: _Endpoint, base: str, options: WriteOptions, notes: Notes) -> Iterable[Example]:
    share, more = divmod(endpoint.count, len(endpoint.examples))
    for number, record in enumerate(endpoint.examples):
        weight = share + (number < more)
        headers = _headers(record, weight, notes)
        if f"{record.scheme}://{record.authority or NOWHERE}" != base and record.authority:
            headers["Host"] = record.authority
            notes.lose("another host or scheme: sent to the one place with its own Host header", weight)
        if options.mark:
            _mark(headers)
        if record.body_size > len(record.body):
            notes.lose("rest of a body that was cut: sent as the part that was kept", weight)
        path = _path(record.path)
        if path != record.path:
            notes.lose("characters of a path that no URL has: sent percent-encoded", weight)
        yield Example(weight, record.method, path, headers, record.body)


def _mark(headers: dict[str, str]) -> None:
    """Add to the baggage; what it has stays."""
    name = next((one for one in headers if one.lower() == "baggage"), "baggage")
    headers[name] = f"{headers[name]},{MARK}" if headers.get(name) else MARK


def _path(path: str) -> str:
    """Encode what these tools would refuse or encode by themselves; a query stays as odd as it is in ASCII."""
    before, mark, query = path.encode("utf-8", "surrogateescape").partition(b"?")
    return quote(before, safe=_IN_PATHS) + mark.decode() + quote(query, safe=_IN_QUERIES)


_IN_PATHS = "!$&'()*+,-./:;=@_~%"
_IN_QUERIES = "".join(map(chr, range(0x21, 0x7F)))


def _headers(record: Record, weight: int, notes: Notes) -> dict[str, str]:
    """Give the headers as these tools take them: one value for each name."""
    headers: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for raw, value in record.headers:
        if raw.lower() in _HOP or raw.startswith(b":"):
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = "\0"
        if not _TOKEN.fullmatch(raw) or not text.replace("\t", " ").isprintable():
            notes.lose("headers with bytes that these tools cannot send", weight)
            continue
        name = spelling.setdefault(raw.lower().decode(), raw.decode())
        if name in headers:
            notes.lose("repeated headers: sent as one, joined", weight)
            text = headers[name] + ("; " if name.lower() == "cookie" else ", ") + text
        headers[name] = text
    return headers


def laid_out(mix: Mix) -> list[Stage]:
    """Give the schedule. Raises CaptureError if no script could hold it."""
    try:
        return stages(mix.table)
    except ValueError as error:
        raise CaptureError(f"nothing was written: {error}") from None


def run_name(options: WriteOptions, tool: str) -> str:
    """Name a script's runs, each of which adds when it began: as a run's name may be written."""
    return f"{tool}-{re.sub(r'[^A-Za-z0-9._-]+', '-', options.mark)[:40]}".strip("-")


def in_flight(mix: Mix) -> int:
    """Give how many requests are likely under way at the peak, by Little's law, doubled."""
    return max(2, math.ceil(mix.peak * mix.mean_seconds * 2) + 1)


def say(mix: Mix, notes: Notes, what: str) -> None:
    """Tell what such a script does and does not keep of a recording."""
    kept = sum(len(route.examples) for route in mix.routes)
    notes.say(
        f"{kept:,} requests stand for {mix.total:,}, in {len(mix.stages)} stages of {mix.stage:.3g}s, in each of which "
        f"each of {len(mix.routes):,} routes has its number: {what}"
    )
    if mix.unsafe:
        notes.say(f"{mix.unsafe:,} requests are not GET, HEAD or OPTIONS, and may change what they are sent to")
