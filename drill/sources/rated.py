"""An incident from sources that know rates only: Upsun's JSON, Prometheus, tables of counts. Edge.

source -> rates -> (window, outside) -> filling, from examples -> arrivals, drawn -> records with a story
"""

import csv
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from captures import codec
from captures.errors import CaptureError
from captures.exchange.streams import told_as_broken, uncompressed
from captures.lineage import joined
from captures.moments import SECOND, iso_ns, span
from captures.reader import Capture
from captures.records import Record
from captures.redaction import Redactor
from captures.rendering import printable
from drill.drawing import arrivals, stream
from drill.filling import Filling, Values
from drill.incident import write_incident
from drill.sources import counts, foreign, prometheus, upsun
from drill.sources.captured import chosen
from drill.sources.peak import around, described, find
from drill.sources.rates import (
    MOST_REQUESTS,
    OUTSIDE,
    Rates,
    Route,
    as_one,
    checked,
    cut,
    figures,
    mean_bytes,
    outside,
    overlaps,
    scaled_to_total,
    statuses,
    with_outside,
)
from drill.sources.wanted import Wanted
from drill.sources.window import OPTIONS, Window, asked
from drill.story import Outside, Source, Story
from loadtag.headers import find as find_tag
from rules.exits import UserError

MOST_BYTES = 32 << 20
"""Of a source's file, unpacked. Values of JSON take up to thirty times that in memory."""

_MOST_ROWS = 1_000_000
"""Rows of a table of values."""

_WEIGHTS = ("weight", "count")
_LARGEST_WEIGHT = 1e15

_NAMED = 5
"""Routes that are named in a sentence."""

_PEAK_PARTS = 20
"""A peak is looked for in such a part of the time around it that is asked for, on both sides of each grain."""

_BEYOND = "went to other URLs than those that the source tells of"

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def take_upsun(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident of Upsun's JSON. Raises UserError."""
    _refuse_duration(wanted)
    return _take(files, wanted, output, upsun.read, "upsun", "Upsun's observability JSON")


def take_prometheus(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident of the result of a range query. Raises UserError."""
    _refuse_duration(wanted)
    drawing = wanted.drawing
    labels = prometheus.Labels(drawing.route_label, drawing.method_label, drawing.status_label)
    read = partial(prometheus.read, labels=labels, meaning=drawing.series)
    return _take(files, wanted, output, read, "prometheus", "Prometheus' range query")


def take_counts(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident of a table of counts. Raises UserError."""
    if wanted.around_peak is not None:
        raise UserError("--around-peak: a table of counts tells no times, so there is no peak in it")
    if len(files) > 1:
        raise UserError(f"{files[1]}: a table of counts is one file: give one, of all of the incident's time")
    begin_ns, length_ns = _said(wanted)
    read = partial(counts.read, begin_ns=begin_ns, length_ns=length_ns)
    return _take(files, wanted._replace(from_=None, to=None), output, read, "csv", "a table of counts")


def _refuse_duration(wanted: Wanted) -> None:
    if wanted.drawing.duration is not None:
        raise UserError("--duration is for a table of counts: the source tells when its requests came")


def _said(wanted: Wanted) -> tuple[int, int]:
    """Give when the requests of a table came, as it was said. Raises UserError."""
    duration = wanted.drawing.duration
    if wanted.to is not None and duration is not None:
        raise UserError("--until and --duration both say when it ends: leave one of them out")
    try:
        begin = span(wanted.from_, None, _NO_TIME, _NO_TIME, OPTIONS).start_ns
        if begin is not None and wanted.to is not None:
            begin, end = span(iso_ns(begin), wanted.to, begin, begin, OPTIONS)
            return begin or 0, (end or 0) - (begin or 0)
    except ValueError as error:
        raise UserError(str(error)) from None
    if duration is None or duration <= 0:
        raise UserError("a table of counts tells no times: say how long it counted with --duration 30m")
    return _NO_TIME if begin is None else begin, round(duration * SECOND)


_NO_TIME = 1_577_836_800 * SECOND
"""When requests are put of which nobody knows the day: 2020-01-01. It has to be the same each time."""


def _take(
    files: Sequence[Path],
    wanted: Wanted,
    output: Path,
    read: Callable[[bytes], Rates],
    source: Source,
    title: str,
) -> Story:
    """Write the incident. Raises UserError."""
    rates = checked(as_one([_read(path, read) for path in files]))
    window = _window(rates, wanted)
    rates = cut(rates, window.begin_ns, window.end_ns)
    redactor = wanted.redactor()
    with ExitStack() as stack:
        examples = _examples(wanted, output, stack)
        drawn = _Drawn(rates, wanted, window, examples)
        story = drawn.story(source, f"{_names(files)} ({title})")
        write_incident(
            output,
            story,
            drawn.records(redactor),
            source=examples,
            redacted=None if redactor is None else redactor.describe(),
            recipients=wanted.recipients,
            force=wanted.force,
        )
    return story


def _read(path: Path, read: Callable[[bytes], Rates]) -> Rates:
    """Read a file. Raises UserError."""
    text = contents(path)
    try:
        return checked(read(text))
    except UserError as error:
        raise UserError(f"{path}: {error}", error.code) from None


def contents(path: Path) -> bytes:
    """Give what is in a file, unpacked. Raises UserError if it is too much, CaptureError and OSError."""
    with path.open("rb") as raw, told_as_broken():
        text = uncompressed(raw).read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise UserError(f"{path}: it is larger than {MOST_BYTES >> 20} MiB: ask for a shorter time or fewer series")
    return text


def _window(rates: Rates, wanted: Wanted) -> Window:
    """Find the incident's time. Raises UserError."""
    window = asked(wanted.from_, wanted.to, rates.begin_ns, rates.end_ns - 1)
    if wanted.around_peak is None:
        return window
    length_ns = round(wanted.around_peak * SECOND)
    if length_ns <= 0:
        raise UserError("--around-peak: in no time there is no request: give it like 10m")
    first = (window.begin_ns - rates.begin_ns) // rates.grain_ns
    last = -(-(window.end_ns - rates.begin_ns) // rates.grain_ns)
    requests = [round(count) for count in rates.requests[first:last]]
    failed = [round(count) for count in rates.errors[first:last]] or [0] * len(requests)
    reach = round(length_ns / _PEAK_PARTS / rates.grain_ns)
    peak = find(requests, [min(pair) for pair in zip(requests, failed, strict=True)], reach)
    if peak is None:
        raise UserError("--around-peak: there is no request in the time that was asked for")
    at_ns = rates.begin_ns + (first + peak.at) * rates.grain_ns + rates.grain_ns // 2
    # In whole grains: a part of one of which only the count is known would be no part of it.
    length_ns = -(-length_ns // rates.grain_ns) * rates.grain_ns
    begin, _ = around(at_ns, length_ns, window.begin_ns, window.end_ns)
    begin = max(window.begin_ns, begin - (begin - rates.begin_ns) % rates.grain_ns)
    end = min(window.end_ns, begin + length_ns)
    seconds = rates.grain_ns * min(2 * reach + 1, len(requests)) / SECOND
    return Window(begin, end, (*window.notes, described(peak, at_ns, seconds, rates.grain_ns / SECOND)))


def _examples(wanted: Wanted, output: Path, stack: ExitStack) -> Capture | None:
    """Open what requests are filled from. Raises UserError."""
    files = wanted.drawing.fill_from
    if not files:
        return None
    try:
        if all(path.is_dir() or _is_capture(path) for path in files):
            capture, _ = joined([Capture(file, wanted.identities) for file in files])
            capture.unlock()
            return capture
        return stack.enter_context(foreign.as_capture(files, wanted, output.resolve().parent)).capture
    except (CaptureError, UserError) as error:
        raise UserError(f"--fill-from: {error}", error.code) from None


def _fit_to_fill(records: Iterable[Record]) -> Iterator[Record]:
    """Leave out what no user sent."""
    return (record for record in records if find_tag(record.headers) is None)


def values_of(text: str) -> Values:
    """Read a table of values: ``ids.csv``, or for one route ``/product/{id}=ids.csv``. Raises UserError.

    Its first row names the columns as parameters are; a column `weight` or `count` says how often a row is drawn.
    """
    route, equals, name = text.rpartition("=") if not Path(text).exists() else ("", "", text)
    if equals and not route.startswith("/"):
        raise UserError(f"--values: there is no file {text}")
    path = Path(name)
    try:
        table = list(islice(counts.rows(contents(path)), _MOST_ROWS + 2))
    except OSError as error:
        raise UserError(f"--values: {path}: {error.strerror}") from None
    except (csv.Error, CaptureError, UserError) as error:
        raise UserError(f"--values: {path}: {error}") from None
    if len(table) < 2 or len(table) > _MOST_ROWS + 1:
        raise UserError(f"--values: {path}: it has to have a row of names, and 1 to {_MOST_ROWS:,} rows of values")
    names = [name.strip() for name in table[0]]
    columns = [place for place, name in enumerate(names) if name not in _WEIGHTS]
    weight = next((place for place, name in enumerate(names) if name in _WEIGHTS), None)
    rows, weights = [], []
    for number, row in enumerate(table[1:], 2):
        if len(row) < len(names) or not all(row[place].strip() for place in columns):
            raise UserError(f"--values: {path}: row {number} has an empty value, or too few")
        rows.append([row[place].strip() for place in columns])
        weights.append(1.0 if weight is None else _weight(row[weight], path, number))
    if not columns or not any(weights):
        raise UserError(f"--values: {path}: there is no value that could be drawn")
    return Values.of([names[place] for place in columns], rows, weights, route)


def _weight(text: str, path: Path, number: int) -> float:
    try:
        weight = float(text.strip())
    except ValueError:
        weight = -1.0
    if not 0 <= weight < _LARGEST_WEIGHT:  # not a number, too
        raise UserError(f"--values: {path}: row {number}: {text[:20]!r} is no weight")
    return weight


def _names(files: Sequence[Path]) -> str:
    names = [path.resolve().name for path in files]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _is_capture(path: Path) -> bool:
    try:
        with path.open("rb") as raw:
            return codec.looks_like_ours(raw.read(64))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


class _Counted(NamedTuple):
    """A share of an incident's requests."""

    requests: float
    every: float

    def __str__(self) -> str:
        return f"{self.requests / self.every:.1%} of requests ({round(self.requests):,})" if self.every else "none"


class _Drawn:
    """The requests of an incident, drawn from rates, and what is to be told of them.

    Making one raises UserError if parameters are not filled, and if there are no requests, or too many.
    """

    def __init__(self, rates: Rates, wanted: Wanted, window: Window, examples: Capture | None) -> None:
        self._told, self._wanted, self._window = rates, wanted, window
        self._shares = overlaps(rates, window.begin_ns, window.end_ns)
        self._every = self._within(rates.requests)
        self._notes = [*rates.notes, *window.notes]
        self._outside: Outside | None = None
        drawn = self._with_outside(rates, examples)
        options = wanted.asked.options
        tables = [values_of(text) for text in wanted.drawing.values]
        self._filling = Filling(
            drawn.routes, tables, seed=wanted.seed, authority=options.authority, scheme=options.scheme
        )
        if examples is not None:
            for record in _fit_to_fill(examples.records()):
                self._filling.learn(record)
        self._places = self._filled(drawn)
        self._rates = drawn._replace(routes=tuple(drawn.routes[place] for place in self._places))
        self._say_filled(drawn, examples)
        if not self._within(self._rates.inside):
            raise UserError("no request of the incident is left: there is none in the time asked for")
        count = math.fsum(self._rates.inside)
        if count > MOST_REQUESTS:
            raise UserError(
                f"these are {round(count):,} requests, and at most {MOST_REQUESTS:,} are drawn: take a part of the "
                "time with --from and --until, or --around-peak 10m"
            )

    def _within(self, counted: Iterable[float]) -> float:
        return math.fsum(count * share for count, share in zip(counted, self._shares, strict=True))

    def _with_outside(self, rates: Rates, examples: Capture | None) -> Rates:
        """Say what is outside, and do with it what was asked for."""
        beyond = _Counted(self._within(outside(rates)), self._every)
        share = min(1.0, beyond.requests / beyond.every) if beyond.every else 0.0
        if not beyond.requests:
            if self._wanted.drawing.scale_to_total:
                self._notes.append("--scale-to-total: there is nothing to scale up to, all routes are known")
            return rates
        of = f"{beyond} {_BEYOND}"
        if self._wanted.drawing.scale_to_total:
            self._outside = Outside(share=share, filled="scaled", by="the known routes")
            self._notes.append(f"{of}: the known routes are scaled up to the total of each grain (--scale-to-total)")
            return scaled_to_total(rates)
        if examples is not None:
            self._outside = Outside(share=share, filled="example", by=_names(self._wanted.drawing.fill_from))
            return with_outside(rates)
        self._outside = Outside(share=share, filled="left-out")
        self._notes.append(
            f"{of}: they are left out (fill them with --fill-from, a capture or a log, or with --scale-to-total)"
        )
        return rates

    def _filled(self, drawn: Rates) -> list[int]:
        """Find the routes whose requests can be filled. Raises UserError if one cannot, unless that is to be so."""
        found, lacking = [], []
        for place, route in enumerate(drawn.routes):
            if filled := bool(self._filling.how(place)):
                found.append(place)
            if route.path == OUTSIDE:
                self._say_outside(route, self._filling.seen(place) if filled else 0)
            elif not filled:
                lacking.append((self._within(route.counts), route.name.strip(), self._filling.parameters(place)))
        if lacking:
            self._lacking(lacking)
        return found

    def _say_outside(self, route: Route, seen: int) -> None:
        """Say what became of what is outside: `seen` examples were to such URLs."""
        of = f"{_Counted(self._within(route.counts), self._every)} {_BEYOND}"
        if seen:
            name = _names(self._wanted.drawing.fill_from)
            self._notes.append(f"{of}: they are filled with the {seen:,} requests of {name} that were to others")
            return
        self._outside = Outside(share=self._outside.share if self._outside else 0.0, filled="left-out")
        self._notes.append(f"{of}: they are left out, for no example was to such a URL")

    def _lacking(self, lacking: list[tuple[float, str, tuple[str, ...]]]) -> None:
        """Tell of routes whose parameters nothing fills. Raises UserError unless they are to be left out."""
        lacking.sort(reverse=True)
        named = ", ".join(printable(name) for _, name, _ in lacking[:_NAMED])
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        counted = _Counted(math.fsum(count for count, _, _ in lacking), self._every)
        what = f"nothing fills the parameters of {named}{more}: {counted}"
        if not self._wanted.drawing.leave_out_unfilled:
            example = ",".join(dict.fromkeys(lacking[0][2]))
            raise UserError(
                f"{what}. Give real requests with --fill-from (a capture or a log), or a table with the column "
                f"{printable(example)} with --values, or leave them out with --leave-out-unfilled"
            )
        self._notes.append(f"{what}: they are left out (--leave-out-unfilled)")

    def _say_filled(self, drawn: Rates, examples: Capture | None) -> None:
        """Say how what the source does not tell was filled in."""
        seconds = self._told.grain_ns / SECOND
        way = "sloped as the neighbouring ones suggest" if self._wanted.drawing.smooth else "even"
        self._notes.append(
            f"counts are known in steps of {seconds:g} s: arrivals are drawn (a Poisson process, {way} within a step, "
            f"seed {self._wanted.seed})"
        )
        by: dict[str, list[int]] = {}
        for place in self._places:
            by.setdefault(self._filling.how(place), []).append(place)
        if examples is not None:
            name = _names(self._wanted.drawing.fill_from)
            count = self._within_all(drawn, by.get("example", []))
            seen = sum(self._filling.seen(place) for place in by.get("example", []))
            self._notes.append(
                f"{count} are filled with paths, headers and bodies of {seen:,} requests of {name}, "
                "by how often they came"
            )
            if plain := by.get("plain"):
                self._notes.append(
                    f"{self._within_all(drawn, plain)} have no example: they have no query and no header"
                )
        if tabled := by.get("values"):
            self._notes.append(f"{self._within_all(drawn, tabled)} are filled with values of a table (--values)")
        empty = [
            place
            for place in self._places
            if drawn.routes[place].method in _WITH_BODY and self._filling.how(place) != "example"
        ]
        if empty:
            self._notes.append(f"{self._within_all(drawn, empty)} have no body: the source tells none")

    def _within_all(self, drawn: Rates, places: Iterable[int]) -> _Counted:
        return _Counted(math.fsum(self._within(drawn.routes[place].counts) for place in places), self._every)

    def story(self, source: Source, told: str) -> Story:
        """Tell it."""
        begin, end = self._window.begin_ns, self._window.end_ns
        known = [
            (route, self._filling.counted(place))
            for place, route in zip(self._places, self._told_routes(), strict=True)
        ]
        inside = [(route._replace(method=method), template) for route, (method, template) in known]
        told_of = self._told._replace(routes=tuple(route for route, _ in inside))
        routes = figures(told_of, [template for _, template in inside], begin, end)
        codes = statuses(self._told, begin, end)
        says = any(route.mean is not None or route.failed is not None or route.quantiles for route in routes)
        notes = list(self._notes)
        if any(route.quantiles for route in routes) and (begin, end) != (self._told.begin_ns, self._told.end_ns):
            notes.append("percentiles of routes are those of all of the source's time")
        if len(told_of.routes) > len(routes) and any(route.quantiles for route in routes):
            notes.append("percentiles of routes with several URLs are estimated from those of their URLs")
        notes += chosen(self._wanted)
        if self._wanted.matches is not None and (says or codes):
            notes.append("figures of routes, statuses and shares are those of all requests, of those left out so, too")
        return Story(
            source=source,
            told=told,
            begin_ns=begin,
            end_ns=end,
            times="drawn",
            grain=self._told.grain_ns / SECOND,
            seed=self._wanted.seed,
            outcomes="routes" if says or codes else "none",
            routes=routes if says else (),
            statuses=codes,
            mean_bytes=mean_bytes(self._told, begin, end),
            outside=self._outside,
            notes=tuple(notes),
        )

    def _told_routes(self) -> Iterator[Route]:
        """Give for each drawn route what the source told of it; what is outside has no figures."""
        for place, route in zip(self._places, self._rates.routes, strict=True):
            yield route if route.path == OUTSIDE else self._told.routes[place]

    def records(self, redactor: Redactor | None) -> Iterator[Record]:
        """Draw them, by arrival."""
        draws = [stream(self._wanted.seed, route, "values") for route in self._rates.routes]
        matches = self._wanted.matches
        # Examples have lost their secrets where they are from.
        examples = {number for number, place in enumerate(self._places) if self._filling.how(place) == "example"}
        for at, number in arrivals(self._rates, self._wanted.seed, sloped=self._wanted.drawing.smooth):
            if at >= self._window.end_ns:
                return
            record = self._record(at, number, draws[number])
            if at < self._window.begin_ns or (matches is not None and not matches(record)):
                continue
            yield record if redactor is None or number in examples else redactor.record(record)

    def _record(self, at: int, number: int, draw: random.Random) -> Record:
        filled = self._filling.request(self._places[number], draw)
        return Record(
            arrival_ns=at,
            method=filled.method,
            scheme=filled.scheme,
            authority=filled.authority,
            path=filled.path,
            http_version=filled.http_version,
            headers=filled.headers,
            body=filled.body,
            body_size=filled.body_size,
            status=0,
            response_size=0,
            ttfb_ns=-1,
            duration_ns=0,
        )
