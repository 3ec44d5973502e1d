"""What a source of rates knows: how many requests there were to each route, in each grain of time. Pure.

A grain is the step in which a source counts: a minute, ten seconds. Nobody knows when within its grain a request came,
and how well a count itself is known differs (`Known`). Traffic that a source counts without telling its route is
*outside*: Upsun names the top URLs only, a label of Prometheus may be empty.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

from drill.story import RouteFigures
from rules.exits import UserError

MOST_REQUESTS = 20_000_000
"""Requests of one incident that are drawn. An hour of more than 5,000/s."""

MOST_ROUTES = 5_000
MOST_GRAINS = 100_000
MOST_CELLS = 5_000_000
"""Routes times grains: what fits into memory."""

Known = Literal["grain", "sum", "rate"]
"""Whether each grain's count is known, only the sum of them (the counts tell its shape over time), or neither: the
counts are expected ones."""

OUTSIDE = "(outside)"
"""The path of the route that stands for requests of which nobody knows the route."""


class Route(NamedTuple):
    """One route, and what a source tells of it. Times are seconds."""

    method: str
    scheme: str
    authority: str
    """Empty if the source names no host."""
    path: str
    """As the source writes it, with parameters (``/product/{id}``) or without."""
    counts: tuple[float, ...]
    """Requests in each grain."""
    known: Known = "grain"
    mean: float | None = None
    quantiles: tuple[tuple[str, float], ...] = ()
    """Like (("p50", 0.1), ("p96", 1.2)): of all of the source's time."""
    busy: tuple[float, ...] | None = None
    """Sum of the response times in each grain."""
    failed: tuple[float, ...] | None = None
    """Requests answered with 5xx in each grain."""

    @property
    def name(self) -> str:
        """Name it for people."""
        return f"{self.method} {self.authority}{self.path}"

    @property
    def requests(self) -> float:
        """All of its requests."""
        return math.fsum(self.counts)


class Rates(NamedTuple):
    """All that a source tells, grain by grain."""

    begin_ns: int
    grain_ns: int
    routes: tuple[Route, ...]
    totals: tuple[float, ...] = ()
    """All requests of each grain, those outside too; empty if the source knows all routes."""
    codes: tuple[Mapping[str, float], ...] = ()
    """Answers of each grain by class: ``5XX``. Empty if the source tells none."""
    notes: tuple[str, ...] = ()
    sizes: tuple[float, ...] = ()
    """Bytes of all answers of each grain. Empty if the source tells none."""

    @property
    def grains(self) -> int:
        """How many there are."""
        return len(self.routes[0].counts) if self.routes else len(self.totals)

    @property
    def end_ns(self) -> int:
        """When its time ends, exclusive."""
        return self.begin_ns + self.grains * self.grain_ns

    @property
    def requests(self) -> tuple[float, ...]:
        """All requests of each grain: what a peak is found by."""
        return self.totals or self.inside

    @property
    def inside(self) -> tuple[float, ...]:
        """Requests of each grain whose route is known."""
        return tuple(map(math.fsum, zip(*(route.counts for route in self.routes), strict=True)))

    @property
    def errors(self) -> tuple[float, ...]:
        """Answers with 5xx of each grain; nothing if the source tells none."""
        return tuple(codes.get("5XX", 0) for codes in self.codes)


def ensure_room(routes: int, grains: int) -> None:
    """Raise UserError if there are more of them than can be drawn."""
    if routes > MOST_ROUTES or grains > MOST_GRAINS or routes * grains > MOST_CELLS:
        raise UserError(
            f"it tells of {routes:,} routes in {grains:,} steps of time: at most {MOST_ROUTES:,} in {MOST_GRAINS:,} "
            f"can be drawn, and {MOST_CELLS:,} counts in all. Ask for a shorter time, a longer step or fewer routes"
        )


def checked(rates: Rates) -> Rates:
    """Give rates that can be drawn from. Raises UserError if there is nothing, or too much, in them."""
    if not rates.routes:
        raise UserError("it names no route to which a request can go")
    ensure_room(len(rates.routes), rates.grains)
    every = math.fsum(rates.requests)
    if not 0 < every < math.inf:
        raise UserError("it counts no request" if not every else "a count in it is no number")
    return rates


def as_one(parts: Sequence[Rates]) -> Rates:
    """Make one of what a source told of several times, one after the other, with the same grain. Raises UserError.

    A route that one of them does not tell of had no request in its time that is known: if it had any, they are outside.
    """
    parts = sorted(parts, key=lambda one: one.begin_ns)
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return first
    if any(one.grain_ns != first.grain_ns for one in parts):
        raise UserError("their grains differ: ask for each part of the time with the same length")
    starts = [(one.begin_ns - first.begin_ns) // first.grain_ns for one in parts]
    if any(before.end_ns > after.begin_ns for before, after in pairwise(parts)) or any(
        (one.begin_ns - first.begin_ns) % first.grain_ns for one in parts
    ):
        raise UserError("their times overlap: give each part of the time once")
    grains = starts[-1] + last.grains
    same: dict[tuple[str, ...], list[tuple[int, Route]]] = {}
    for start, one in zip(starts, parts, strict=True):
        for route in one.routes:
            key = (route.method, route.scheme, route.authority, route.path, route.known)
            same.setdefault(key, []).append((start, route))
    ensure_room(len(same), grains)
    gap = grains - sum(one.grains for one in parts)
    notes = (
        [f"{gap} grains between the files are told of by none: no request is taken to have come in them"] if gap else []
    )
    return Rates(
        begin_ns=first.begin_ns,
        grain_ns=first.grain_ns,
        routes=tuple(_one_route(found, grains) for found in same.values()),
        totals=tuple(_laid(zip(starts, (one.requests for one in parts), strict=True), grains)),
        codes=_codes(parts, starts, grains),
        sizes=tuple(_laid(zip(starts, (one.sizes for one in parts), strict=True), grains))
        if all(one.sizes for one in parts)
        else (),
        notes=tuple(dict.fromkeys([*(note for one in parts for note in one.notes), *notes])),
    )


def _one_route(found: Sequence[tuple[int, Route]], grains: int) -> Route:
    """Make one of what was told of a route at several times, each from a grain on."""
    told = [route for _, route in found]
    every = math.fsum(route.requests for route in told)
    mean = None
    if every and all(route.mean is not None for route in told):
        mean = math.fsum((route.mean or 0.0) * route.requests for route in told) / every
    alone = len({route.quantiles for route in told}) == 1
    return told[0]._replace(
        counts=tuple(_laid([(start, route.counts) for start, route in found], grains)),
        mean=mean,
        quantiles=told[0].quantiles if alone else tuple(_quantiles([(one.requests, one) for one in told]).items()),
        busy=_laid_if_all([(start, route.busy) for start, route in found], grains),
        failed=_laid_if_all([(start, route.failed) for start, route in found], grains),
    )


def _laid(found: Iterable[tuple[int, Sequence[float]]], grains: int) -> list[float]:
    laid = [0.0] * grains
    for start, counts in found:
        laid[start : start + len(counts)] = counts
    return laid


def _laid_if_all(found: Sequence[tuple[int, Sequence[float] | None]], grains: int) -> tuple[float, ...] | None:
    there = [(start, counts) for start, counts in found if counts is not None]
    return tuple(_laid(there, grains)) if len(there) == len(found) else None


def _codes(parts: Sequence[Rates], starts: Sequence[int], grains: int) -> tuple[Mapping[str, float], ...]:
    laid: list[Mapping[str, float]] = [{}] * grains
    for start, one in zip(starts, parts, strict=True):
        laid[start : start + len(one.codes)] = one.codes
    return tuple(laid) if any(one.codes for one in parts) else ()


def cut(rates: Rates, begin_ns: int, end_ns: int) -> Rates:
    """Leave out what is not within a part of the time, but for one grain on both sides, by which slopes are found."""
    first = max(0, (begin_ns - rates.begin_ns) // rates.grain_ns - 1)
    last = min(rates.grains, -(-(end_ns - rates.begin_ns) // rates.grain_ns) + 1)
    kept = slice(first, last)
    routes = (
        route._replace(
            counts=route.counts[kept],
            busy=None if route.busy is None else route.busy[kept],
            failed=None if route.failed is None else route.failed[kept],
        )
        for route in rates.routes
    )
    return rates._replace(
        begin_ns=rates.begin_ns + first * rates.grain_ns,
        routes=tuple(routes),
        totals=rates.totals[kept],
        codes=rates.codes[kept],
        sizes=rates.sizes[kept],
    )


# --- what is outside ---


def outside(rates: Rates) -> tuple[int, ...]:
    """Give the requests of each grain that are to no known route: whole ones, that add up to the whole of their sum."""
    if not rates.totals:
        return (0,) * rates.grains
    inside = rates.inside or (0.0,) * rates.grains
    upto = [
        0,
        *map(round, accumulate(max(0.0, every - known) for every, known in zip(rates.totals, inside, strict=True))),
    ]
    return tuple(after - before for before, after in pairwise(upto))


def with_outside(rates: Rates) -> Rates:
    """Add a route that stands for all that is outside."""
    more = outside(rates)
    if not any(more):
        return rates
    route = Route("*", "", "", OUTSIDE, tuple(map(float, more)))
    return rates._replace(routes=(*rates.routes, route))


def scaled_to_total(rates: Rates) -> Rates:
    """Scale the known routes up to the total of each grain, in the proportions that they have there.

    Counts stay whole where they are: what is left after rounding down goes to the largest remainders. In a grain
    without a request to a known route, the proportions are those of all the time.
    """
    if not any(outside(rates)):
        return rates
    columns = list(zip(*(route.counts for route in rates.routes), strict=True))
    sums = [route.requests for route in rates.routes]
    scaled = [
        _apportioned(column if math.fsum(column) else sums, max(math.fsum(column), float(round(every))))
        for column, every in zip(columns, rates.totals, strict=True)
    ]
    rows = list(zip(*scaled, strict=True))
    routes = [
        route._replace(counts=tuple(map(float, row)), busy=None, failed=None)
        for route, row in zip(rates.routes, rows, strict=True)
    ]
    return rates._replace(routes=tuple(routes))


def _apportioned(weights: Sequence[float], total: float) -> list[int]:
    """Share a whole number out in these proportions (Hamilton's method)."""
    every, whole = math.fsum(weights), round(total)
    shares = [weight / every * whole if every else 0.0 for weight in weights]
    counts = [math.floor(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda place: (counts[place] - shares[place], place))
    for place in order[: max(0, whole - sum(counts)) if every else 0]:
        counts[place] += 1
    return counts


# --- what is told of a part of the time ---


def overlaps(rates: Rates, begin_ns: int, end_ns: int) -> list[float]:
    """Give the share of each grain that lies in [begin_ns, end_ns)."""
    found = []
    for number in range(rates.grains):
        low = rates.begin_ns + number * rates.grain_ns
        inside = min(end_ns, low + rates.grain_ns) - max(begin_ns, low)
        found.append(max(0.0, inside / rates.grain_ns))
    return found


def statuses(rates: Rates, begin_ns: int, end_ns: int) -> dict[str, int]:
    """Add up the answers by class within a part of the time."""
    found: Counter[str] = Counter()
    sums: dict[str, float] = {}
    for share, codes in zip(overlaps(rates, begin_ns, end_ns), rates.codes, strict=False):
        for name, count in codes.items():
            sums[name] = sums.get(name, 0.0) + share * count
    found.update({name: round(count) for name, count in sums.items() if round(count)})
    return dict(sorted(found.items()))


def mean_bytes(rates: Rates, begin_ns: int, end_ns: int) -> float | None:
    """Give the mean size of all answers within a part of the time; None if the source tells of no size."""
    shares = overlaps(rates, begin_ns, end_ns)
    sizes, requests = (_within(each, shares) for each in (rates.sizes or (0.0,) * rates.grains, rates.requests))
    return sizes / requests if sizes and requests else None


def figures(rates: Rates, templates: Sequence[str], begin_ns: int, end_ns: int) -> tuple[RouteFigures, ...]:
    """Tell of each route within a part of the time; most impact first, then most requests.

    `templates` has for each of the rates' routes the one that its requests are counted under; routes that share one
    are one. Its mean is that of its time where the source tells response times by grain, else of all its time; its
    percentiles are always those of all time, and if they are made of several URLs', an estimate (`mixture`).
    """
    shares = overlaps(rates, begin_ns, end_ns)
    found: dict[tuple[str, str], list[tuple[float, Route]]] = {}
    for route, template in zip(rates.routes, templates, strict=True):
        count = _within(route.counts, shares)
        if route.path != OUTSIDE and count > 0:
            found.setdefault((route.method, template), []).append((count, route))
    told = []
    for (method, template), parts in found.items():
        count = math.fsum(one for one, _ in parts)
        mean = _mean(parts, shares)
        figure = RouteFigures(
            method=method,
            template=template,
            count=round(count),
            failed=_failed(parts, shares),
            mean=mean,
            quantiles=_quantiles(parts),
        )
        told.append((-(mean or 0.0) * count, -count, method, template, figure))
    return tuple(figure for *_, figure in sorted(told, key=lambda one: one[:4]) if figure.count)


def _within(counts: Iterable[float], shares: Iterable[float]) -> float:
    return math.fsum(count * share for count, share in zip(counts, shares, strict=True))


def _mean(parts: Sequence[tuple[float, Route]], shares: Sequence[float]) -> float | None:
    sums, counts = [], []
    for count, route in parts:
        if route.busy is not None:
            sums.append(_within(route.busy, shares))
        elif route.mean is not None:
            sums.append(route.mean * count)
        else:
            return None
        counts.append(count)
    return math.fsum(sums) / math.fsum(counts)


def _failed(parts: Sequence[tuple[float, Route]], shares: Sequence[float]) -> float | None:
    if any(route.failed is None for _, route in parts):
        return None
    bad = math.fsum(_within(route.failed or (), shares) for _, route in parts)
    return min(1.0, bad / math.fsum(count for count, _ in parts))


def _quantiles(parts: Sequence[tuple[float, Route]]) -> dict[str, float]:
    if len(parts) == 1:
        return dict(parts[0][1].quantiles)
    if any(not {"p50", "p96"} <= dict(route.quantiles).keys() for _, route in parts):
        return {}
    known = [(count, dict(route.quantiles)) for count, route in parts]
    return {
        name: mixture([(count, one["p50"], one["p96"]) for count, one in known], share)
        for name, share in (("p50", 0.5), ("p96", 0.96))
    }


def mixture(parts: Sequence[tuple[float, float, float]], share: float) -> float:
    """Estimate a percentile of requests to several URLs, of each of which (count, p50, p96) are known.

    Each one's times are taken as even up to its p50, and beyond it as thinning out exponentially so that its p96 is
    right. Exact where all are alike.
    """
    every = math.fsum(count for count, _, _ in parts)

    def below(at: float) -> float:
        return math.fsum(count * _below(at, p50, max(p96, p50)) for count, p50, p96 in parts) / every

    low, high = 0.0, max(max(p50, p96) for _, p50, p96 in parts)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < share else (low, middle)
    return high


def _below(at: float, p50: float, p96: float) -> float:
    if at < p50:
        return 0.5 * at / p50
    if p96 <= p50:
        return 0.96 if at <= p50 else 1.0
    return 1 - 0.5 * math.exp(-(at - p50) / (p96 - p50) * math.log(0.5 / 0.04))
