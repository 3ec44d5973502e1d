"""Prometheus' answer to a range query: requests by route over time, from counters or rates. Pure.

The JSON of ``/api/v1/query_range`` (https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries): a matrix
of series, each with labels and ``[unix seconds, "value"]`` pairs, one a step. What a series is made of is told by its
name, which functions of PromQL take away: a counter still has one that ends in ``_total`` or ``_count``. Without a
name, whole numbers that only rise are taken for a counter (``sum by (route) (x_total)``), and all else for a rate.

- A counter's requests between two steps are what it rose by; from a step at which it is lower than before it began
  anew (a restart), and counts from 0, as it does when it appears in the middle of the time: a label is counted from its
  first request on.
- A rate (``rate(x[1m])``, per second) is taken to have held for the step before its moment.
- An increase (``increase(x[1m])`` with the step as its range) is what it says.

A step that no series has a value for is a gap in what was measured, not in the traffic: rates are taken to have changed
evenly over it, and what counters rose by is spread over it. Series that differ in other labels only (``instance``,
``pod``) are added up.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, FailFast

from captures.exchange.http1 import split_url
from captures.moments import SECOND
from drill.sources import documents
from drill.sources.rates import MOST_GRAINS, OUTSIDE, Known, Rates, Route, ensure_room
from rules.exits import UserError

Meaning = Literal["counter", "rate", "increase"]

ROUTES = (
    *("route", "http_route", "http_target", "path", "path_template", "uri", "url", "url_path", "handler", "endpoint"),
    *("view", "resource"),
)
METHODS = ("method", "http_method", "http_request_method", "request_method", "verb")
STATUSES = (
    *("code", "status", "status_code", "http_status_code", "http_response_status_code", "http_status"),
    *("response_code", "status_class"),
)
"""Names of labels, in the order in which they are looked for."""

_WHOLE = re.compile(r"\d{1,15}")
_RISES, _FALLS = 3, 0.1
"""So many steps at least have to rise, and such a share may fall, for series to be taken for counters."""

_SMALLEST = 1e-9
"""Requests in a step that are none: what is left when rates are subtracted."""


class _Series(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    metric: dict[str, str]
    values: Annotated[list[tuple[float, str]], FailFast()] = []


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    resultType: str  # noqa: N815 - so it is called there
    result: Annotated[list[_Series], FailFast()]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    status: str = "success"
    error: str = ""
    data: _Data | None = None


class Labels(NamedTuple):
    """Which labels say what; empty: the one that there is of the usual names."""

    route: str = ""
    method: str = ""
    status: str = ""


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like an answer of Prometheus."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return head[:1] in {b"{", b"["} and (b'"resultType"' in head or (b'"metric"' in head and b'"values"' in head))


def read(text: bytes, labels: Labels = Labels(), meaning: Meaning | None = None) -> Rates:  # noqa: B008 - immutable
    """Read an answer. Raises UserError."""
    series = _series(text)
    if any(one.metric.get("__name__", "").endswith("_bucket") for one in series):
        raise UserError("its series are the buckets of a histogram: ask for the one that ends in _count")
    grid = _grid(series)
    names = Labels(
        _label("--route-label", labels.route, ROUTES, series, needed=True),
        _label("--method-label", labels.method, METHODS, series),
        _label("--status-label", labels.status, STATUSES, series),
    )
    notes = _named(labels, names)
    what = _meaning(series, notes) if meaning is None else meaning
    laid = _Laid(grid, what)
    for one in series:
        laid.add(one, names)
    return laid.rates(notes)


def _series(text: bytes) -> list[_Series]:
    """Read the series. Raises UserError."""
    plain = text.removeprefix(b"\xef\xbb\xbf").strip()
    if plain.startswith(b"["):  # promtool leaves out what stands around it
        plain = b'{"data":{"resultType":"matrix","result":' + plain + b"}}"
    answer = documents.read(plain, _Answer, "Prometheus'")
    if answer.status != "success" or answer.data is None:
        raise UserError(f"it is no result, but an error: {answer.error[:200] or answer.status[:50]}")
    if answer.data.resultType != "matrix":
        raise UserError(
            f"it is no result of a range query, but a {answer.data.resultType[:20]}: ask /api/v1/query_range"
        )
    series = [one for one in answer.data.result if one.values]
    if not series:
        raise UserError("it has no series with values: does the query match any in that time?")
    return series


class _Grid(NamedTuple):
    """The steps that there are values for."""

    first: int
    """Of all values, unix milliseconds."""
    step: int
    """Milliseconds."""
    steps: int
    """After the first moment."""
    before: Sequence[int]
    """For each step the last one, not after it, at which any series has a value; 0 is the first moment..."""
    after: Sequence[int]
    """...and the next one, not before it."""


def _grid(series: Iterable[_Series]) -> _Grid:
    """Find the steps. Raises UserError."""
    moments = {round(at * 1000) for one in series for at, _ in one.values if math.isfinite(at) and 0 <= at < 1e12}
    if len(moments) < 2:
        raise UserError("its series have values at fewer than two moments: ask for a longer time or a shorter step")
    ordered = sorted(moments)
    gaps = Counter(after - before for before, after in pairwise(ordered))
    step = min(gaps)
    first, last = ordered[0], ordered[-1]
    if any((at - first) % step for at in ordered):
        raise UserError("the moments of its values are not in equal steps: it is no result of one range query")
    count = (last - first) // step
    if count > MOST_GRAINS:
        raise UserError(f"it has {count:,} steps: at most {MOST_GRAINS:,} can be drawn")
    seen = {(at - first) // step for at in ordered}
    before = list(accumulate((at if at in seen else 0 for at in range(count + 1)), max))
    after = list(accumulate((at if at in seen else count for at in range(count, -1, -1)), min))[::-1]
    return _Grid(first, step, count, before, after)


def _label(option: str, said: str, usual: Collection[str], series: Sequence[_Series], *, needed: bool = False) -> str:
    """Find a label's name; empty if there is none. Raises UserError."""
    there = {name for one in series for name in one.metric} - {"__name__"}
    listed = ", ".join(sorted(there)[:20]) or "none"
    if said:
        if said not in there:
            raise UserError(f"{option}: no series has a label {said!r}; there are: {listed}")
        return said
    found = next((name for name in usual if name in there), "")
    if needed and not found:
        raise UserError(f"which label names the route is not clear: say it with {option}; there are: {listed}")
    return found


def _named(said: Labels, found: Labels) -> list[str]:
    """Say which labels were found."""
    parts = [
        f"{what} by the label {name!r}"
        for what, before, name in zip(("routes", "methods", "statuses"), said, found, strict=True)
        if name and not before
    ]
    notes = [f"taken: {', '.join(parts)}"] if parts else []
    return notes if found.method else [*notes, "no label tells methods: GET, unless an example shows another one"]


def _meaning(series: Sequence[_Series], notes: list[str]) -> Meaning:
    """Tell what the values mean. Raises UserError if that differs."""
    named = {one.metric.get("__name__", "").endswith(("_total", "_count")) for one in series}
    if len(named) > 1:
        raise UserError("some of its series are counters, and some are not: ask for one kind")
    if named == {True}:
        return "counter"
    if _only_rise(series):
        notes.append("its series have no name, but are taken for counters: whole numbers that only rise (--series)")
        return "counter"
    notes.append(
        "its series are taken for rates per second: they have no name that ends in _total or _count (--series)"
    )
    return "rate"


def _only_rise(series: Sequence[_Series]) -> bool:
    """Whether all values are whole and hardly any is less than the one before it: no rate is like that for long."""
    rises = falls = steps = 0
    for one in series:
        values = [text for _, text in one.values]
        if not all(map(_WHOLE.fullmatch, values)):
            return False
        for before, after in pairwise(map(float, values)):
            rises, falls, steps = rises + (after > before), falls + (after < before), steps + 1
    return rises >= _RISES and falls <= steps * _FALLS


class _Laid:
    """Requests by method, route and step."""

    def __init__(self, grid: _Grid, meaning: Meaning) -> None:
        self._grid = grid
        self._meaning = meaning
        self._counts: defaultdict[tuple[str, str], list[float]] = defaultdict(self._nothing)
        self._failed: defaultdict[tuple[str, str], list[float]] = defaultdict(self._nothing)
        self._codes: defaultdict[str, list[float]] = defaultdict(self._nothing)
        self._holes = 0
        self._resets = 0
        self._coded = False
        self._nowhere: Counter[str] = Counter()

    def _nothing(self) -> list[float]:
        return [0.0] * self._grid.steps

    def add(self, one: _Series, names: Labels) -> None:
        """Add a series. Raises UserError."""
        rises = self._rises(_values(one, self._grid))
        status = _status(one.metric.get(names.status, "")) if names.status else ""
        self._coded |= bool(status)
        key = _method(one.metric.get(names.method, "")), one.metric.get(names.route, "")
        if key not in self._counts:
            ensure_room(len(self._counts) + 1, self._grid.steps)
        counts = self._counts[key]
        for at, rise in enumerate(rises):
            counts[at] += rise
        if status:
            for sums in (self._codes[status], *([self._failed[key]] if status == "5XX" else [])):
                for at, rise in enumerate(rises):
                    sums[at] += rise

    def _rises(self, values: Mapping[int, float]) -> list[float]:
        """Give the requests of a series in each step."""
        if self._meaning == "counter":
            return self._of_counter(values)
        found = self._nothing()
        scale = self._grid.step / 1000 if self._meaning == "rate" else 1.0
        for at in range(1, self._grid.steps + 1):
            if self._grid.before[at] == at:
                found[at - 1] = values.get(at, 0.0) * scale
            else:
                self._holes += 1
                found[at - 1] = _between(values, at, self._grid) * scale
        return found

    def _of_counter(self, values: Mapping[int, float]) -> list[float]:
        found = self._nothing()
        moments = sorted(values)
        if moments and moments[0]:  # it was not there from the first moment on, so it counted from nothing
            found[moments[0] - 1] += values[moments[0]]
        for before, after in pairwise(moments):
            rise = values[after] - values[before]
            if rise < 0:
                rise = values[after]
                self._resets += 1
            if after - before > 1:
                self._holes += after - before - 1
            for at, part in enumerate(_spread(rise, after - before), before):
                found[at] += part
        return found

    def rates(self, notes: list[str]) -> Rates:
        """Give all that was added."""
        routes, nowhere = [], [0.0] * self._grid.steps
        known: Known = "rate" if self._meaning == "rate" else "grain"
        for (method, name), counts in sorted(self._counts.items()):
            place = _place(name)
            if place is None:
                self._nowhere[name or "(empty)"] += round(math.fsum(counts))
                nowhere = [one + more for one, more in zip(nowhere, counts, strict=True)]
                continue
            if math.fsum(counts) <= _SMALLEST:
                continue
            whole = all(count.is_integer() for count in counts)
            failed = tuple(self._failed[method, name]) if self._coded else None
            routes.append(
                Route(method, *place, tuple(counts), known=known if whole else "rate", failed=failed, quantiles=())
            )
        if self._holes:
            notes.append("what lies in steps without a value is taken to have changed evenly over them")
        if self._resets:
            notes.append(
                f"counters began anew {self._resets} times: what they had counted since their last step is lost"
            )
        notes += self._left_out()
        inside = [math.fsum(column) for column in zip(*(route.counts for route in routes), strict=True)]
        totals = [one + more for one, more in zip(inside or self._nothing(), nowhere, strict=True)]
        return Rates(
            begin_ns=self._grid.first * SECOND // 1000,
            grain_ns=self._grid.step * SECOND // 1000,
            routes=tuple(routes),
            totals=tuple(totals) if any(nowhere) else (),
            codes=tuple(
                {name: sums[at] for name, sums in self._codes.items() if sums[at]} for at in range(self._grid.steps)
            )
            if self._coded
            else (),
            notes=tuple(notes),
        )

    def _left_out(self) -> list[str]:
        if not self._nowhere:
            return []
        named = ", ".join(repr(name[:40]) for name, _ in self._nowhere.most_common(3))
        return [f"{len(self._nowhere)} values of the route's label are no paths, and count as outside: {named}"]


def _values(one: _Series, grid: _Grid) -> dict[int, float]:
    """Read a series' values by their step. Those that are no number (0/0 in PromQL) are not there. Raises UserError."""
    found = {}
    for at, text in one.values:
        try:
            value = float(text)
        except ValueError:
            raise UserError(f"a value is no number: {text[:20]!r}") from None
        if not math.isfinite(at) or math.isnan(value):
            continue
        if not 0 <= value < 1e18:
            raise UserError(f"a value is no count and no rate of requests: {text[:20]!r}")
        found[(round(at * 1000) - grid.first) // grid.step] = value
    return found


def _between(values: Mapping[int, float], at: int, grid: _Grid) -> float:
    """Interpolate where nothing was measured."""
    before, after = grid.before[at], grid.after[at]
    low, high = values.get(before, 0.0), values.get(after, 0.0)
    return low + (high - low) * (at - before) / max(1, after - before)


def _spread(rise: float, steps: int) -> list[float]:
    """Share a rise out over steps: whole requests, as even as they can be."""
    if steps == 1:
        return [rise]
    if not rise.is_integer():
        return [rise / steps] * steps
    whole = int(rise)
    return [float(whole * (step + 1) // steps - whole * step // steps) for step in range(steps)]


def _status(text: str) -> str:
    """Give the class of a status: ``200``, ``2xx`` and ``2XX`` are ``2XX``."""
    return f"{text[0]}XX" if text[:1] in "12345" and text[:1] else "UNKNOWN" if text else ""


def _method(text: str) -> str:
    return text.upper() if text.isalpha() and len(text) <= 20 else ""


def _place(name: str) -> tuple[str, str, str] | None:
    """Give scheme, host and path of a route by its label; None if it names no path."""
    if re.search(r"[\x00-\x20\x7f]", name):  # no request has that in its first line
        return None
    if "://" in name:
        try:
            return split_url(name)
        except ValueError:
            return None
    if name.startswith("/") and name != OUTSIDE and len(name) <= 8192:
        return "", "", name
    return None
