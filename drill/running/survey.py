"""What of an incident can be sent, by route and over time: which part of it is the heaviest, and whom to probe. Pure.

A request's weight is what its route takes: not the time that this one took, which in an outage is mostly waiting for
others, but a low quantile of all of its route's.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

from drill.story import Story
from replayer.comparing.routes import Route, rounded
from replayer.requests.encoding import Request

SECOND_NS = 1_000_000_000

FINE = 60
"""Parts of a step's length in which its begin is looked for."""

MOST_PLACES = 20_000
"""Places in time that are told apart: for two thousand routes 160 MB at the very most."""

LOW = 0.25
"""The quantile of a route's times that counts as its work."""


class Example(NamedTuple):
    """A request that stands for its route."""

    name: str
    """``GET /search``."""
    request: Request


class Survey:
    """Takes in the requests of an incident, in the order of their arrival."""

    def __init__(self, step: float, lasts: float = 0.0) -> None:
        """`step`: how long the part is that will be looked for, in seconds; `lasts`: the incident, about."""
        self.count = 0
        self.first_ns = self.last_ns = 0
        self._step_ns = round(step * SECOND_NS)
        self._grain_ns = max(1, ceil(self._step_ns / FINE), ceil(lasts * SECOND_NS / MOST_PLACES))
        self._counts: dict[int, array[int]] = {}  # of each route, by place in time
        self._times: dict[int, Counter[int]] = {}
        self._examples: dict[int, Request] = {}
        self._requests: Counter[int] = Counter()

    @property
    def end_ns(self) -> int:
        """When its time ends, exclusive. It is a second at least: of less, a rate says nothing."""
        return max(self.last_ns + 1, self.first_ns + SECOND_NS)

    def add(self, arrival_ns: int, request: Request) -> None:
        """Take in a request."""
        if not self.count:
            self.first_ns = arrival_ns
        self.count += 1
        self.last_ns = arrival_ns
        route = request.route
        self._count(route, (arrival_ns - self.first_ns) // self._grain_ns)
        self._requests[route] += 1
        told = request.recorded
        if told is not None and told.status and told.duration_ns > 0:
            self._times.setdefault(route, Counter())[rounded(told.duration_ns // 1000)] += 1
        if request.safe and not request.head and route not in self._examples:
            self._examples[route] = request

    def _count(self, route: int, place: int) -> None:
        counts = self._counts.setdefault(route, array("I"))
        if place >= len(counts):
            counts.extend([0] * (place + 1 - len(counts)))
        counts[place] += 1

    def work(self, routes: list[Route], story: Story) -> dict[int, float]:
        """Give what a request of each route takes, in seconds where times are known; all 1 where none are."""
        told = {(each.method, each.template): each.mean for each in story.routes if each.mean}
        found: dict[int, float] = {}
        for route in self._requests:
            name = routes[route].method, routes[route].template
            if route in self._times:
                found[route] = _low(self._times[route]) / 1e6
            elif name in told:
                found[route] = told[name] or 0.0
        usual = sorted(found.values())[len(found) // 2] if found else 1.0
        return {route: found.get(route, usual) for route in self._requests}

    def heaviest(self, work: Mapping[int, float]) -> tuple[int, int]:
        """Give the begin and the end of the part that is the most work, in unix ns; all, if it is no longer than that.

        Its begin is looked for in sixtieths of its length, so what is found may be a little less than the most.
        """
        end_ns = self.end_ns
        if end_ns - self.first_ns <= self._step_ns:
            return self.first_ns, end_ns
        weights: dict[int, float] = {}
        for route, counts in self._counts.items():
            for place, count in enumerate(counts):
                if count:
                    weights[place] = weights.get(place, 0.0) + count * work[route]
        places, length = sorted(weights), max(1, self._step_ns // self._grain_ns)
        best, most, within, tail = 0, -1.0, 0.0, 0
        for place in places:
            within += weights[place]
            while places[tail] <= place - length:
                within -= weights[places[tail]]
                tail += 1
            if within > most:
                best, most = max(0, place - length + 1), within
        begin = min(self.first_ns + best * self._grain_ns, end_ns - self._step_ns)
        return begin, begin + self._step_ns

    def examples(self, routes: list[Route], work: Mapping[int, float], most: int) -> list[Example]:
        """Give a request of each of the routes that are the most work, and that only read."""
        order = sorted(self._examples, key=lambda route: -self._requests[route] * work[route])
        return [Example(f"{routes[n].method} {routes[n].template}", self._examples[n]) for n in order[:most]]


def _low(times: Counter[int]) -> int:
    rank, seen = max(1, ceil(LOW * times.total())), 0
    for value in sorted(times):
        seen += times[value]
        if seen >= rank:
            return value
    return 0
