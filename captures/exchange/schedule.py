"""Which request is sent as the n-th, so that each route has its rate over time. Pure.

A schedule is cut into stages, and of each stage it is known how often each route comes. Within a stage the routes are
mixed by a walk that steps by about the golden section of the stage's length, and on from its end to its beginning. The
step has no divisor in common with the length, so the walk comes by each place once: each route has exactly its number,
and comes about as evenly as can be, without a list of all requests. Within a route the examples are mixed likewise, by
their weights. (Such walks are rank-1 lattices: Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods",
1992, chapter 5.)

It is so little arithmetic that each script does it anew in its own language: Python, JavaScript.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from rules.units import MILLION, Factor

GOLDEN = 0.6180339887498949

CYCLE = 1 << 20
"""Requests to a route after which its examples begin anew. Small enough for numbers of JavaScript: a product of two
such, and of two places in a stage, has to be exact."""

LARGEST = 1 << 26
"""Requests of a stage at most, for the same reason."""


class Stage(NamedTuple):
    """A piece of time, and what is sent within it. The lists are for its routes."""

    first: int
    """Number of its first request, from 0 for the first of all."""
    requests: int
    step: int
    routes: list[int]
    up_to: list[int]
    """Requests of this route and those before it in the list."""
    before: list[int]
    """Requests of this route in the stages before."""


class Share(NamedTuple):
    """How the examples of a route share its requests."""

    step: int
    cycle: int
    up_to: list[int]
    """Weights of this example and those before it."""


def stages(table: Iterable[Mapping[int, int]]) -> list[Stage]:
    """Lay out how often each route (by its number) comes in each stage. Raises ValueError if that is too often."""
    made, first = [], 0
    sent: dict[int, int] = {}
    for row in table:
        routes = sorted(route for route, count in row.items() if count)
        up_to = list(accumulate(row[route] for route in routes))
        count = up_to[-1] if up_to else 0
        if count > LARGEST:
            raise ValueError(f"{count:,} requests in one stage are more than a script can tell apart")
        made.append(Stage(first, count, step(count), routes, up_to, [sent.get(route, 0) for route in routes]))
        first += count
        for route in routes:
            sent[route] = sent.get(route, 0) + row[route]
    return made


def share(weights: Iterable[int], requests: int) -> Share:
    """Lay out how examples share the requests of their route."""
    cycle = max(1, min(requests, CYCLE))
    return Share(step(cycle), cycle, list(accumulate(weights)))


def step(length: int) -> int:
    """Give how far to go each time, to come by each of so many places once, evenly.

    How unevenly a walk can come by a part of the places is bounded by the sum of the partial quotients of
    ``step / length`` (Niederreiter, theorem 5.17): the golden section's are all 1. So the best is taken near to it.
    """
    wanted = round(length * GOLDEN)
    near = [one for one in range(wanted - _NEAR, wanted + _NEAR + 1) if 0 < one < length and math.gcd(one, length) == 1]
    return min(near, key=lambda one: (_quotients(one, length), abs(one - wanted)), default=1)


_NEAR = 20


def _quotients(numerator: int, denominator: int) -> int:
    """Give the sum of the partial quotients of a fraction's continued fraction."""
    total = 0
    while denominator:
        quotient, rest = divmod(numerator, denominator)
        numerator, denominator = denominator, rest
        total += quotient
    return total


def routed(stage: Stage, place: int) -> tuple[int, int]:
    """Give the route of a stage's request, and the how manieth of the route's it is. `place` is from 0 within it."""
    at = place * stage.step % stage.requests
    row = bisect_right(stage.up_to, at)
    return stage.routes[row], stage.before[row] + at - (stage.up_to[row - 1] if row else 0)


def example(share: Share, number: int) -> int:
    """Give which example stands for the n-th request to a route."""
    at = number % share.cycle * share.step % share.cycle
    return bisect_right(share.up_to, at * share.up_to[-1] // share.cycle)


def scaled(table: Sequence[Mapping[int, int]], factor: Factor) -> list[dict[int, int]]:
    """Multiply. What is rounded is carried into the next stage: a route's sum is at no time off by a whole request.

    Where routes begin to round differs, evenly: they do not all get their next request in the same stage.
    """
    if factor == MILLION:
        return [dict(row) for row in table]
    sums: dict[int, int] = {}
    scaled: list[dict[int, int]] = []
    for row in table:
        found = {}
        for route, count in row.items():
            start = int((route + 1) * GOLDEN % 1 * MILLION)
            before = sums.get(route, 0)
            sums[route] = before + count
            added = (sums[route] * factor + start) // MILLION - (before * factor + start) // MILLION
            if added:
                found[route] = added
        scaled.append(found)
    return scaled
