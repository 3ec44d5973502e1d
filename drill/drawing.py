"""When requests came of which only the rates are known: arrivals drawn as a non-homogeneous Poisson process. Pure.

Where the number of requests in a grain is known, the process is the one conditioned on it: given how many there are,
the arrivals of a Poisson process are as many independent draws from its intensity, in order (Cinlar 1975,
*Introduction to Stochastic Processes*, 4.7; Lewis and Shedler 1979). So each grain has exactly the requests that were
counted. Where counts are expected ones, the process is drawn by inversion of its cumulated intensity: the gaps of a
process of rate 1, in the time in which requests are expected (Devroye 1986, *Non-Uniform Random Variate Generation*,
VI.1).

Within a grain the rate is even, or, with `sloped`, it rises and falls as the neighbouring grains suggest: linearly,
with the smaller of both differences (minmod: van Leer 1979). That changes no grain's count and is never negative.

All is drawn one arrival after another: the memory that it takes does not grow with the requests.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import accumulate, repeat

from drill.sources.rates import Known, Rates, Route


def arrivals(rates: Rates, seed: int, *, sloped: bool = False) -> Iterator[tuple[int, int]]:
    """Give (moment in ns, number of the route) of each request, in order.

    Each route has a seed of its own, so its arrivals stay what they are when others come or go.
    """
    return merge(*(_of(number, route, rates, seed, sloped) for number, route in enumerate(rates.routes)))


def stream(seed: int, route: Route, what: str) -> random.Random:
    """Give the source of chance for one purpose and one route. Seeded by text (SHA-512), it is alike everywhere."""
    return random.Random(f"{seed}\n{what}\n{route.method} {route.scheme}://{route.authority}{route.path}")


def _of(number: int, route: Route, rates: Rates, seed: int, sloped: bool) -> Iterator[tuple[int, int]]:
    slopes = slopes_of(route.counts) if sloped else [0.0] * len(route.counts)
    last = rates.grain_ns - 1
    for grain, place in places(route.counts, route.known, stream(seed, route, "times")):
        within = min(last, int(sloped_place(place, slopes[grain]) * rates.grain_ns))
        yield rates.begin_ns + grain * rates.grain_ns + within, number


def places(counts: Sequence[float], known: Known, draw: random.Random) -> Iterator[tuple[int, float]]:
    """Give (grain, place in it from 0 to 1) of each arrival, in order; the rate within a grain is even."""
    if known == "grain":
        for grain, count in enumerate(counts):
            yield from zip(repeat(grain), ordered(round(count), draw), strict=False)
    elif known == "sum":
        every = math.fsum(counts)
        yield from _inverted(counts, (place * every for place in ordered(round(every), draw)))
    else:
        yield from _inverted(counts, _gaps(draw))


def ordered(count: int, draw: random.Random) -> Iterator[float]:
    """Give `count` independent uniform draws from [0, 1) in order, one at a time (Bentley and Saxe 1980)."""
    left = 1.0
    for remaining in range(count, 0, -1):
        left *= (1.0 - draw.random()) ** (1.0 / remaining)
        yield min(1.0 - left, _BELOW_ONE)


_BELOW_ONE = math.nextafter(1.0, 0.0)


def _gaps(draw: random.Random) -> Iterator[float]:
    """Give the arrivals of a Poisson process of rate 1, without an end."""
    at = 0.0
    while True:
        at += draw.expovariate(1.0)
        yield at


def _inverted(counts: Sequence[float], moments: Iterable[float]) -> Iterator[tuple[int, float]]:
    """Find where in the grains so many requests were expected, for each of these numbers in rising order."""
    upto = list(accumulate(counts))
    grain, begun = 0, 0.0
    for at in moments:
        while grain < len(counts) and (upto[grain] <= at or not counts[grain]):
            begun = upto[grain]
            grain += 1
        if grain == len(counts):
            return
        yield grain, min(max(0.0, (at - begun) / counts[grain]), _BELOW_ONE)


def slopes_of(counts: Sequence[float]) -> list[float]:
    """Give how much the rate rises over each grain, as a share of its mean rate: from -1 to 1."""
    found = []
    for grain, count in enumerate(counts):
        before = count - counts[grain - 1] if grain else 0.0
        after = counts[grain + 1] - count if grain + 1 < len(counts) else 0.0
        rise = math.copysign(min(abs(before), abs(after)), before) if before * after > 0 else 0.0
        found.append(rise / count if count else 0.0)
    return found


def sloped_place(place: float, slope: float) -> float:
    """Move a place that was drawn at an even rate to where it lies at one that rises by `slope` (-1 to 1).

    The inverse of F(x) = x + slope / 2 * (x * x - x), the distribution of an arrival in such a grain.
    """
    if abs(slope) < 1e-9:
        return place
    half = slope / 2
    linear = 1 - half
    return 2 * place / (linear + math.sqrt(linear * linear + 4 * half * place))
