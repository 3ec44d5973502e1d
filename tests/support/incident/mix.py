"""What users of the shop ask for: which pages, how often, and how that changes when the incident comes. Pure.

An ordinary time, and then more of everything, and much more of some pages (a newsletter, a link somewhere).
"""

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.support.incident.setting import Fault
from tests.support.incident.stock import WORDS

ORDINARY: Mapping[str, float] = {
    "/": 6.0,
    "/product/{id}": 8.0,
    "/product/{id}/also-bought": 0.8,
    "/category/{id}": 1.5,
    "/search": 4.0,
    "/sale": 1.5,
    "/news": 1.5,
    "/basket": 1.5,
    "/account/{id}/orders": 2.0,
    "/api/stock/{id}": 4.0,
    "/help": 2.0,
}
"""Requests per second of each page on an ordinary day: 32.8 in all, which every shop carries, fixed or not."""

AT_ONCE: Mapping[Fault, Mapping[str, float]] = {
    "index": {"/product/{id}/also-bought": 20.0},
    "queries": {"/category/{id}": 18.0},
    "lock": {"/sale": 10.0, "/news": 10.0, "/basket": 10.0},
}
"""Those which the incident brings too many of."""

LOUDER = 1.5
"""Times as many as on an ordinary day is what the other pages get during an incident."""

GUILTY: Mapping[Fault, frozenset[str]] = {fault: frozenset(pages) for fault, pages in AT_ONCE.items()}
"""Who is to be named."""


class Phase(NamedTuple):
    """Some time with the same rates."""

    seconds: float
    rates: Mapping[str, float]


class Arrival(NamedTuple):
    """One request. `at` is seconds from the beginning."""

    at: float
    path: str


def ordinary(seconds: float, times: float = 1.0) -> list[Phase]:
    """Make a time in which nothing happens."""
    return [Phase(seconds, _times(ORDINARY, times))]


def incident(fault: Fault, seconds: float, before: float = 0.0, after: float = 0.0, times: float = 1.0) -> list[Phase]:
    """Make the time in which a fault shows, with ordinary times around it; all of it at so many times these rates."""
    rates = _times({**_times(ORDINARY, LOUDER), **AT_ONCE[fault]}, times)
    phases = [*ordinary(before, times), Phase(seconds, rates), *ordinary(after, times)]
    return [phase for phase in phases if phase.seconds]


def _times(rates: Mapping[str, float], times: float) -> dict[str, float]:
    return {page: rate * times for page, rate in rates.items()}


def uniform(rate: float, seconds: float, page: str = "/") -> list[Phase]:
    """Make the load test that people write: one page, at the same total rate."""
    return [Phase(seconds, {page: rate})]


def peak(phases: list[Phase]) -> float:
    """Give the highest total rate, in requests per second."""
    return max(sum(phase.rates.values()) for phase in phases)


def arrivals(phases: list[Phase], seed: int = 1) -> Iterator[Arrival]:
    """Draw when which page is asked for: users come independently of each other, so it is a Poisson process."""
    draw, begin = random.Random(seed), 0.0
    for phase in phases:
        pages, rates = list(phase.rates), list(phase.rates.values())
        at, end = begin, begin + phase.seconds
        while (at := at + draw.expovariate(sum(rates))) < end:
            (page,) = draw.choices(pages, rates)
            yield Arrival(at, _filled(page, draw))
        begin = end


def _filled(page: str, draw: random.Random) -> str:
    """Put a number or a word into a page's path. The second thing of a kind is half as popular as the first, and so on.

    There are no more than 100 different URLs: that many Upsun tells of.
    """
    if page == "/search":
        return f"/search?q={draw.choice(WORDS)}"
    things, apart = _THINGS.get(page, (0, 0))
    if not things:
        return page
    (number,) = draw.choices(range(1, things + 1), [1 / rank for rank in range(1, things + 1)])
    return page.replace("{id}", str(number * apart))


_THINGS = {
    "/product/{id}": (25, 701),
    "/product/{id}/also-bought": (20, 701),
    "/category/{id}": (12, 6),
    "/account/{id}/orders": (15, 331),
    "/api/stock/{id}": (20, 701),
}
"""How many different things are asked for, and how far apart their numbers are."""
