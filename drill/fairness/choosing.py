"""Which requests the clone is asked. Pure.

The heaviest routes come first, in turns, so that each has its answers should the time run out. What is asked of a route
stands for it: requests drawn by their popularity, the one with the largest answer, and the first one twice, which shows
what differs by itself and what the clone's caches do.
"""

from collections.abc import Iterator
from typing import NamedTuple

from captures.records import Record
from drill.fairness.population import Heard, Population
from drill.fairness.replies import Purpose
from drill.fairness.weighing import MATTERS, reads

MOST = 240
"""Requests in all."""

DRAWN, FEWEST, FEW = 6, 3, 2
"""Requests drawn of a route that matters, how often it is asked at least, and of any other route."""


class Asked(NamedTuple):
    """One request that the clone is to be asked."""

    route: int
    """Its place among the routes of the population."""
    record: Record
    purpose: Purpose


def chosen(known: Population, most: int = MOST) -> list[Asked]:
    """Choose. Requests that change things are never among them."""
    order = sorted(range(len(known.routes)), key=lambda number: -_weight(known, known.routes[number]))
    turns: dict[bool, list[list[Asked]]] = {True: [], False: []}
    for number in order:
        route = known.routes[number]
        matters = _weight(known, route) >= MATTERS
        if reads(route.method) and (turn := list(_of(number, route, matters))):
            turns[matters].append(turn)
    first = _in_turns(turns[True])
    rest = _in_turns(turns[False])
    kept = max(most - len(rest), most * 3 // 4)  # many that matter leave something for those that do not
    return (first[:kept] + rest)[:most]


def _in_turns(turns: list[list[Asked]]) -> list[Asked]:
    """Put them in order: the first request of each and its repetition in a row, then each route's next one."""
    asked = [each for turn in turns for each in turn[:2]]
    for place in range(2, max(map(len, turns), default=0)):
        asked += [turn[place] for turn in turns if len(turn) > place]
    return asked


def _weight(known: Population, route: Heard) -> float:
    return max(known.share(route), known.time_share(route) or 0.0)


def _of(number: int, route: Heard, matters: bool) -> Iterator[Asked]:
    pool = [*route.examples, *route.others]
    distinct: dict[str, Record] = {}
    for record in pool:
        distinct.setdefault(record.path, record)
    drawn = list(distinct.values())[: DRAWN if matters else FEW]
    if matters and drawn:
        drawn += [drawn[n % len(drawn)] for n in range(FEWEST - len(drawn))]
    for place, record in enumerate(drawn):
        yield Asked(number, record, "drawn")
        if place == 0:
            yield Asked(number, record, "again")
            if matters and route.largest is not None and route.largest.path not in {each.path for each in drawn}:
                yield Asked(number, route.largest, "largest")
