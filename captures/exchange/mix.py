"""What a load script needs of a recording: its rate over time, and which requests in which shares. Pure.

Of each endpoint a bounded number of requests is kept, drawn with a fixed seed so that each one had the same chance,
with the headers and bodies that they had; together they stand for all of the endpoint's. So the shares of endpoints
are exact, and within an endpoint what was asked for is drawn.
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
from captures.exchange.vegeta import NOWHERE
from captures.moments import SECOND
from captures.records import Record
from captures.templates import template

MAX_STAGES = 120
MAX_ENDPOINTS = 2000
EXAMPLES = 40
"""Requests kept of one endpoint, as long as all of them fit into `MAX_SIZE`."""
MAX_SIZE = 8 << 20

_HOP = frozenset(
    {
        *(b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"te"),
        *(b"proxy-connection", b"expect", b"trailer"),
    }
)
"""Headers that are about one connection, or that whoever sends has to make anew."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Example(NamedTuple):
    """One request of the recording that stands for `weight` of them."""

    weight: int
    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Mix(NamedTuple):
    """What is to be sent."""

    base: str
    """Where most of it went: ``http://shop.example``."""
    stage: float
    """Seconds that each stage lasts."""
    stages: list[int]
    """Requests in each stage."""
    examples: list[Example]
    mean_seconds: float
    """Mean duration of the answered requests."""
    unsafe: int
    """Requests that may change something: anything but GET, HEAD and OPTIONS."""

    @property
    def total(self) -> int:
        """Requests in all."""
        return sum(self.stages)

    @property
    def peak(self) -> float:
        """Most requests per second that a stage asks for."""
        return max(self.stages) / self.stage


class _Endpoint:
    __slots__ = ("count", "examples")

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[Record] = []


def mixed(records: Iterable[Record], options: WriteOptions, notes: Notes) -> Mix:
    """Take a recording in. Raises CaptureError if nothing of it can be sent."""
    draw = random.Random(0)
    first_ns, span = options.first_ns, _span(options)
    stages = [0] * max(1, min(MAX_STAGES, round(span / SECOND)))
    endpoints: dict[tuple[str, str], _Endpoint] = {}
    bases: Counter[str] = Counter()
    keep, size, answered, total_ns, unsafe = EXAMPLES, 0, 0, 0, 0
    for record in records:
        if why := _unsendable(record):
            notes.skip(why)
            continue
        key = (record.method, template(record.path))
        endpoint = endpoints.get(key)
        if endpoint is None:
            if len(endpoints) >= MAX_ENDPOINTS or size > MAX_SIZE:
                notes.skip(f"requests to further endpoints: a script holds {MAX_ENDPOINTS}, or {MAX_SIZE >> 20} MiB")
                continue
            endpoint = endpoints[key] = _Endpoint()
        endpoint.count += 1
        stages[min(max(0, record.arrival_ns - first_ns) * len(stages) // span, len(stages) - 1)] += 1
        base = f"{record.scheme}://{record.authority or NOWHERE}"
        if len(bases) < MAX_ENDPOINTS or base in bases:
            bases[base] += 1
        unsafe += record.method not in {"GET", "HEAD", "OPTIONS"}
        if record.status:
            answered += 1
            total_ns += record.duration_ns
        size += _sample(endpoint, record, keep, draw)
        while size > MAX_SIZE and keep > 1:
            keep //= 2
            size -= sum(_shortened(one, keep) for one in endpoints.values())
    if not endpoints:
        raise CaptureError("nothing was written: there is no request that a script could send")
    recorded = bases.most_common(1)[0][0]
    examples = [
        example
        for (_, name), endpoint in sorted(endpoints.items(), key=lambda item: -item[1].count)
        for example in _examples(name, endpoint, recorded, notes)
    ]
    mean = total_ns / answered / 1e9 if answered else 0.0
    return Mix(options.target or recorded, max(0.001, span / SECOND / len(stages)), stages, examples, mean, unsafe)


def _span(options: WriteOptions) -> int:
    """Give the nanoseconds that it takes to send the recording: n requests take n gaps, the last one too."""
    span = options.last_ns - options.first_ns
    if span <= 0:
        return SECOND
    return span * options.records // (options.records - 1) if options.records > 1 else span + 1


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


def _examples(name: str, endpoint: _Endpoint, base: str, notes: Notes) -> Iterable[Example]:
    share, more = divmod(endpoint.count, len(endpoint.examples))
    for number, record in enumerate(endpoint.examples):
        weight = share + (number < more)
        if not weight:
            continue
        headers = _headers(record, weight, notes)
        if f"{record.scheme}://{record.authority or NOWHERE}" != base and record.authority:
            headers["Host"] = record.authority
            notes.lose("another host or scheme: sent to the one place with its own Host header", weight)
        if record.body_size > len(record.body):
            notes.lose("rest of a body that was cut: sent as the part that was kept", weight)
        path = _path(record.path)
        if path != record.path:
            notes.lose("characters of a path that no URL has: sent percent-encoded", weight)
        yield Example(weight, f"{record.method} {name}", record.method, path, headers, record.body)


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


def in_flight(mix: Mix) -> int:
    """Give how many requests are likely under way at the peak, by Little's law, doubled."""
    return max(2, math.ceil(mix.peak * mix.mean_seconds * 2) + 1)


def say(mix: Mix, notes: Notes, what: str) -> None:
    """Tell what such a script does and does not keep of a recording."""
    notes.say(
        f"{len(mix.examples):,} of {mix.total:,} requests stand for all, in {len(mix.stages)} stages of "
        f"{mix.stage:.3g}s: {what}"
    )
    if mix.unsafe:
        notes.say(f"{mix.unsafe:,} requests are not GET, HEAD or OPTIONS, and may change what they are sent to")
