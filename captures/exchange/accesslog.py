"""Access logs of Apache, nginx and others: what a line says of a request becomes a record. Pure but for the files.

Most logs know the time to a second only. Requests of the same second (or millisecond) are spread evenly over it in the
order of their lines, or drawn within it (`ReadOptions.seed`); the same log always gives the same times. Lines of one
second need not stand together: up to ten seconds later they are still counted in. A log that tells how long requests
took, and when they ended, gives when they began.
"""

import calendar
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from random import Random
from typing import BinaryIO

from captures.columns import MAX_TIME
from captures.errors import CaptureError
from captures.exchange import http1
from captures.exchange.logformats import GUESSED, NAMED, Field, Format, Values, compiled
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from captures.exchange.streams import GLANCE, lines
from captures.moments import SECOND
from captures.records import Headers, Record

MAX_LOG_LINE = 1 << 20

_UNITS = {"s": SECOND, "ms": 1_000_000, "us": 1000, "ns": 1}
_NUMBER = re.compile(r"(\d{1,19})(?:\.(\d{1,18})\d{0,60})?(?:[eE]([+-]?\d{1,2}))?")
"""A number as programs write it: 0.0034537489342514574 and 1.57e-05, too."""
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_CLF = re.compile(r"\[?(\d\d)/(\w{3})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})\]?")
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_GOOD_PART = 0.05
"""Of the lines of a log. More than the tenth of a tenth that has two zeros at the end."""


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins with a line of a format that needs not be named."""
    return _guess(start) is not None


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read lines. Raises CaptureError if the format is not one, or has to be named."""
    format_ = _format(file, options)
    cut_short = not options.log_format and format_.name == "common"

    def said() -> Iterator[tuple[int, Values]]:
        for number, line in lines(file, notes, MAX_LOG_LINE):
            if not line.strip():
                continue
            values = format_.read(line)
            if values is None:
                notes.broken(f"line {number}", f"it is not in the format {format_.name}")
                continue
            if cut_short and any(field.what == "size" and not text.isdigit() for field, text in values):
                notes.say("its lines tell more than format common: give --log-format to have that, too")
            yield number, values

    return records_of(said(), options, notes)


def records_of(said: Iterable[tuple[int, Values]], options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Make records of what lines say, each with its number."""
    spread = _Spread(options.seed)
    steps: Counter[int] = Counter()
    for number, values in said:
        try:
            record, at, resolution, ended = _record(values, options, notes)
        except (ValueError, OverflowError) as error:
            notes.broken(f"line {number}", str(error))
            continue
        steps[resolution] += 1
        yield from spread.add(record, at, resolution, ended=ended)
    notes.step_ns = _step(steps)
    yield from spread.rest()


def _step(steps: Mapping[int, int]) -> int:
    """Give the coarsest step in which a good part of the times counts.

    Programs leave zeros at the end out: a clock of milliseconds says 12.5 in one line of a hundred, and 12 in one of a
    thousand.
    """
    enough = sum(steps.values()) * _GOOD_PART
    return max((step for step, count in steps.items() if count >= enough), default=0)


def _format(file: BinaryIO, options: ReadOptions) -> Format:
    if options.log_format:
        return compiled(options.log_format)
    peek = getattr(file, "peek", None)
    found = _guess(peek(GLANCE)[:GLANCE]) if peek else None
    if found is None:
        raise CaptureError(
            f"its first line is in none of the formats {', '.join(NAMED)} and json: "
            "say which with --log-format and the format string from the server's configuration"
        )
    return found


def _guess(start: bytes) -> Format | None:
    rows = [line.rstrip(b"\r") for line in start.split(b"\n") if line.strip()]
    line = rows[0] if rows else b""
    if line.startswith(b"{"):
        found = compiled("json").read(line) if b"\n" in start or line.endswith(b"}") else None
        wanted = {"request", "target", "path"} & {field.what for field, _ in found or []}
        return compiled("json") if wanted else None
    return next((one for one in map(compiled, GUESSED) if _fits(one, line)), None)


def _fits(one: Format, line: bytes) -> bool:
    values = one.read(line)
    return bool(values) and any(field.form == "clf" and _CLF.fullmatch(text) for field, text in values or [])


# --- one line ---


def _record(values: Values, options: ReadOptions, notes: Notes) -> tuple[Record, int, int, bool]:
    """Make a record; give the time of the line, the step in which it counts, and whether it is that of the end.

    Raises ValueError.
    """
    said: dict[str, str] = {}
    headers: list[tuple[bytes, bytes]] = []
    for field, text in values:
        if field.what == "header":
            headers.append((field.form.encode("utf-8", "replace"), text.encode("utf-8", "surrogateescape")))
        else:
            said.setdefault(field.what, text)
    method, path, version, authority, scheme = _asked(said, options)
    at, resolution, ended = _time(values)
    duration, ttfb = _durations(values)
    status = said.get("status", "0")
    if not re.fullmatch(r"\d{1,3}", status):
        raise ValueError(f"{status[:20]!r} is no status")
    length = _count(said.get("length"))
    if authority:
        headers.insert(0, (b"Host", authority.encode("utf-8", "surrogateescape")))
    if not any(field.what in {"duration", "upstream", "ttfb"} for field, _ in values):
        notes.lose("duration: the log tells none, it counts as 0")
        if ended:
            notes.lose("time of arrival: the log tells when requests ended, and that stands in its place")
    if method in _WITH_BODY and not length:
        notes.lose("bodies of POST, PUT and PATCH: a log holds none")
    record = Record(
        arrival_ns=at,
        method=method,
        scheme=scheme,
        authority=authority,
        path=path,
        http_version=version,
        headers=_unique(headers),
        body=b"",
        body_size=length,
        status=int(status),
        response_size=_count(said.get("size")),
        ttfb_ns=-1 if not int(status) else duration if ttfb is None else min(ttfb, duration),
        duration_ns=duration,
    )
    return record, at, resolution, ended


def _unique(headers: list[tuple[bytes, bytes]]) -> Headers:
    """Leave out what two variables of one format say twice."""
    return tuple(dict.fromkeys(headers))


def _asked(said: dict[str, str], options: ReadOptions) -> tuple[str, str, str, str, str]:
    """Give method, path, version, authority and scheme. Raises ValueError."""
    scheme, authority = said.get("scheme", options.scheme).lower(), said.get("host", "")
    if not authority and (server := said.get("server")):
        port = said.get("port", "")
        authority = f"{server}:{port}" if port not in {"", "80", "443"} else server
    if (request := said.get("request")) is not None:
        asked = http1.target(request.encode("utf-8", "surrogateescape"))
        method, path, version = asked.method, asked.path, asked.version
        scheme, authority = asked.scheme or scheme, asked.authority or authority
    else:
        method, version = said.get("method", "GET"), said.get("protocol", "HTTP/1.1")
        path = said.get("target") or said.get("path") or ""
        query = said.get("query", "").removeprefix("?")
        if query and "?" not in path:
            path = f"{path}?{query}"
        if path.startswith(("http://", "https://")):
            scheme, authority, path = http1.split_url(path)
    if not path or re.search(r"[\r\n]", path) or not re.fullmatch(r"[!-~]{1,64}", method):
        raise ValueError(f"{f'{method} {path}'[:60]!r} is no request")
    version = {"h2": "HTTP/2.0", "http/2": "HTTP/2.0", "http/3": "HTTP/3.0"}.get(version.lower(), version)
    return method, path, version, authority or options.authority, scheme


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def _time(values: Values) -> tuple[int, int, bool]:
    """Give the finest time that a line tells, its resolution, and whether it is that of the end. Raises ValueError."""
    found: list[tuple[int, int, bool]] = []
    added, step = 0, 0
    for field, text in values:
        if field.what not in {"begin", "end"}:
            continue
        if field.form.startswith("+"):
            step = _UNITS[field.form[1:]]
            added = int(text) * step if text.isdigit() else 0
            continue
        found.append((*_moment(text, field), field.what == "end"))
    if not found:
        raise ValueError("it tells no time")
    # An earlier time is worth more than a finer one of the end only if it is as fine.
    at, resolution, ended = min(found, key=lambda one: (one[1], one[2]))
    if step and resolution == SECOND:
        at, resolution = at + added, step
    if not 0 <= at < MAX_TIME:
        raise ValueError("its time is out of range")
    return at, resolution, ended


def _moment(text: str, field: Field) -> tuple[int, int]:
    """Read a time; give it in nanoseconds, with its resolution. Raises ValueError."""
    form = field.form
    if form == "auto":
        form = "clf" if _CLF.fullmatch(text) else "iso" if _ISO.fullmatch(text) else _magnitude(text)
    if form == "clf":
        match = _CLF.fullmatch(text)
        if not match or match[2] not in _MONTHS:
            raise ValueError(f"{text[:40]!r} is no time")
        at = datetime.fromisoformat(f"{match[3]}-{_MONTHS[match[2]]:02d}-{match[1]}T{match[4]}{match[5]}")
        return int(at.timestamp()) * SECOND, SECOND
    if form == "iso":
        match = _ISO.fullmatch(text)
        if not match:
            raise ValueError(f"{text[:40]!r} is no time")
        zone = "+00:00" if match[3] is None or match[3] in {"Z", "z"} else match[3]
        at = datetime.fromisoformat(match[1].replace(" ", "T").upper() + zone)
        return int(at.timestamp()) * SECOND + int((match[2] or "").ljust(9, "0")), 10 ** (9 - len(match[2] or ""))
    if form in _UNITS:
        return _exact(text, _UNITS[form])
    at = datetime.strptime(text, form)  # noqa: DTZ007 - without a zone in the format it is the server's own, and unknown
    return int(at.timestamp()) * SECOND + at.microsecond * 1000, 1000 if "%f" in form else SECOND


def _magnitude(text: str) -> str:
    whole = len(text.partition(".")[0])
    return "s" if whole <= 11 else "ms" if whole <= 14 else "us" if whole <= 17 else "ns"


def _exact(text: str, unit: int) -> tuple[int, int]:
    """Read a decimal number of units; give nanoseconds and how fine it is written. Raises ValueError."""
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{text[:40]!r} is no number")
    fraction = match[2] or ""
    digits, power = int(match[1] + fraction) * unit, int(match[3] or 0) - len(fraction)
    if power >= 0:
        return digits * 10**power, unit
    return digits // 10**-power, min(unit, max(1, unit // 10**-power))


def _durations(values: Values) -> tuple[int, int | None]:
    """Give duration and time to first byte, the finest told; of several upstreams the sum. Raises ValueError."""
    durations, upstream, ttfb = [], 0, None
    for field, text in values:
        if field.what == "duration":
            value, resolution = _exact(text, _UNITS[field.form])
            durations.append((resolution, value))
        elif field.what in {"upstream", "ttfb"}:
            total = sum(_exact(part, _UNITS[field.form])[0] for part in re.split(r"[, :]+", text) if part != "-")
            if field.what == "ttfb":
                ttfb = total
            else:
                upstream = total
    duration = min(durations)[1] if durations else max(upstream, ttfb or 0)
    if duration >= MAX_TIME:
        raise ValueError("its duration is out of range")
    return duration, ttfb


# --- times within a second ---


class _Spread:
    """Holds the requests of the last seconds, and spreads those of one moment over it."""

    _HORIZON = 10 * SECOND
    _MOST = 100_000

    def __init__(self, seed: int | None) -> None:
        self._drawn = None if seed is None else Random(seed)
        self._moments: dict[tuple[int, int], _Moment] = {}
        self._newest = 0
        self._held = 0

    def add(self, record: Record, at: int, resolution: int, *, ended: bool) -> Iterator[Record]:
        """Take one in, and give those whose moment is over."""
        key = (at, resolution)
        moment = self._moments.get(key)
        if moment is None:
            self._newest = max(self._newest, at)
            while self._moments:
                oldest = next(iter(self._moments))
                if oldest[0] >= self._newest - self._HORIZON:
                    break
                yield from self._end(oldest)
            moment = self._moments[key] = _Moment(at, resolution, self._drawn)
        moment.held.append((record, ended))
        self._held += 1
        if self._held >= self._MOST:
            if len(self._moments) > 1:
                yield from self._end(next(iter(self._moments)))
            else:
                self._held = 0
                yield from moment.give(last=False)

    def rest(self) -> Iterator[Record]:
        """Give all that is left."""
        for key in list(self._moments):
            yield from self._end(key)

    def _end(self, key: tuple[int, int]) -> Iterator[Record]:
        moment = self._moments.pop(key)
        self._held -= len(moment.held)
        yield from moment.give(last=True)


class _Moment:
    """A second, or whatever step a log counts in, and the requests that are told to be in it."""

    __slots__ = ("_begun", "_drawn", "at", "held", "resolution")

    def __init__(self, at: int, resolution: int, drawn: Random | None) -> None:
        self._drawn = drawn
        self.at = at
        self.resolution = resolution
        self.held: list[tuple[Record, bool]] = []
        self._begun = 0

    def give(self, *, last: bool) -> Iterator[Record]:
        """Spread what is held over what is left of the moment; if more may come, over half of that."""
        left = self.resolution - self._begun
        span = left if last else left // 2
        for (record, ended), offset in zip(self.held, self._offsets(span), strict=True):
            at = self.at + self._begun + offset
            yield record._replace(arrival_ns=max(0, at - record.duration_ns if ended else at))
        self._begun += span
        self.held = []

    def _offsets(self, span: int) -> list[int]:
        count = len(self.held)
        if self._drawn is None:
            return [span * number // count for number in range(count)]
        return sorted(int(span * self._drawn.random()) for _ in range(count))
