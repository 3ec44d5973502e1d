"""What the incident asked for, by route, and which of its requests stand for each. Pure.

Of each route a few requests are kept that every request had the same chance to be (reservoir sampling, Vitter 1985), so
they come by their popularity; and the one with the largest answer, because a page of 50,000 products may be one in a
hundred requests and most of the work. Requests that were answered then are preferred: what failed in the incident tells
nothing of how it should be answered.
"""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from captures.records import Record
from captures.rendering import printable
from captures.templates import generalised, template
from drill.story import Story

EXAMPLES = 8
"""Requests of each kind that are kept of a route."""

SIZES = 400
"""Sizes of answers that are kept of a route."""

MOST_ROUTES = 2_000
"""Routes told apart; what comes after them is counted only."""

OTHERS = ("*", "(others)")

_PATHS, _TIMES = 64, 8
"""Paths of a route whose sizes are kept, and how many of each: how much they differ by themselves."""

_LARGE = 8 << 10
"""Bytes of an example, that the sum of all of them is bounded. Requests that read are hardly ever as large."""


@dataclass(slots=True)
class Heard:
    """What is known of one route. Sizes are bytes of bodies as they were sent."""

    method: str
    template: str
    count: int = 0
    known: int = 0
    """Requests of which it is known what became of them."""
    statuses: Counter[int] = field(default_factory=Counter)
    """0: there was no answer."""
    total_ns: int = 0
    """Time that all its answers took."""
    sizes: list[int] = field(default_factory=list)
    """Of answers of 2xx, a sample of them."""
    sized: int = 0
    """How many such answers there were."""
    examples: list[Record] = field(default_factory=list)
    """Of requests that were answered, not with 5xx."""
    answered: int = 0
    others: list[Record] = field(default_factory=list)
    """Of all others."""
    rest: int = 0
    largest: Record | None = None
    """The one with the largest answer of 2xx."""
    by_path: dict[str, list[int]] = field(default_factory=dict)
    """Sizes of answers of 2xx to the same request."""
    mean_bytes: float | None = None
    """Where only the mean is known."""

    def add(self, record: Record, draw: random.Random) -> None:
        """Take in a request."""
        self.count += 1
        if not record.unknown:
            self.known += 1
            self.statuses[record.status] += 1
            self.total_ns += record.duration_ns
        small = len(record.path) + len(record.body) + sum(len(a) + len(b) for a, b in record.headers) <= _LARGE
        if small and 0 < record.status < 500:
            self.answered += 1
            _keep(self.examples, record, self.answered, EXAMPLES, draw)
        elif small:
            self.rest += 1
            _keep(self.others, record, self.rest, EXAMPLES, draw)
        if 200 <= record.status < 300:
            self.sized += 1
            _keep(self.sizes, record.response_size, self.sized, SIZES, draw)
            if small and (self.largest is None or record.response_size > self.largest.response_size):
                self.largest = record
            same = self.by_path.get(record.path)
            if same is not None:
                if len(same) < _TIMES:
                    same.append(record.response_size)
            elif small and len(self.by_path) < _PATHS:
                self.by_path[record.path] = [record.response_size]

    def merge(self, other: "Heard", draw: random.Random) -> None:
        """Take in what another one heard: its template turned out to be the same."""
        self.examples = _merged(self.examples, self.answered, other.examples, other.answered, EXAMPLES, draw)
        self.others = _merged(self.others, self.rest, other.others, other.rest, EXAMPLES, draw)
        self.sizes = _merged(self.sizes, self.sized, other.sizes, other.sized, SIZES, draw)
        self.count += other.count
        self.known += other.known
        self.answered += other.answered
        self.rest += other.rest
        self.sized += other.sized
        self.statuses.update(other.statuses)
        self.total_ns += other.total_ns
        mine, theirs = self.largest, other.largest
        if theirs is not None and (mine is None or theirs.response_size > mine.response_size):
            self.largest = theirs
        for path, same in other.by_path.items():
            if len(self.by_path) < _PATHS:
                self.by_path[path] = same


@dataclass(slots=True)
class Population:
    """All of an incident's requests, by route, the busiest first."""

    routes: list[Heard]
    count: int
    total_ns: float
    """Time that all answers took; 0: not known."""
    statuses: dict[str, float] = field(default_factory=dict)
    """Shares of answers by class (2XX), where routes do not tell them."""
    mean_bytes: float | None = None
    """Of all answers, where routes do not tell them."""
    unnamed: float = 0.0
    """Share of the incident's traffic that is none of these requests: outside of what its source names."""

    def share(self, route: Heard) -> float:
        """Give a route's share of the requests."""
        return route.count / self.count if self.count else 0.0

    def time_share(self, route: Heard) -> float | None:
        """Give its share of the time that answers took; None: not known."""
        return min(1.0, route.total_ns / self.total_ns) if self.total_ns else None


class Listening:
    """Takes in an incident's requests, some at a time. The same seed keeps the same ones."""

    def __init__(self, seed: int = 1) -> None:
        self._draw = random.Random(seed)
        self._found: dict[tuple[str, str], Heard] = {}
        self._full = False

    def add(self, records: Iterable[Record]) -> None:
        """Take in the next ones."""
        for record in records:
            name = (record.method, printable(template(record.path)))
            route = self._found.get(name) or self._new(name)
            route.add(record, self._draw)

    def _new(self, name: tuple[str, str]) -> Heard:
        if len(self._found) >= MOST_ROUTES and not self._full:
            self._settle(pressed=True)
            self._full = len(self._found) > MOST_ROUTES // 2  # it would not pay to try again soon
        name = name if len(self._found) < MOST_ROUTES else OTHERS
        return self._found.setdefault(name, Heard(*name))

    def _settle(self, *, pressed: bool = False) -> None:
        """Make one of the routes whose paths differ by words that stand for things."""
        changed = generalised(((route.method, route.template, route.count) for route in self._found.values()), pressed)
        settled: dict[tuple[str, str], Heard] = {}
        for (method, path), route in self._found.items():
            name = (method, changed.get((method, path), path))
            known = settled.get(name)
            if known is None:
                route.template = name[1]
                settled[name] = route
            else:
                known.merge(route, self._draw)
        self._found = settled

    def end(self, story: Story) -> Population:
        """Say what they were, with what is told of them beside."""
        self._settle()
        _told(self._found, story)
        routes = sorted(self._found.values(), key=lambda route: (-route.count, route.template, route.method))
        known = sum(story.statuses.values())
        outside = story.outside
        return Population(
            routes,
            sum(route.count for route in routes),
            sum(route.total_ns for route in routes),
            {kind: count / known for kind, count in story.statuses.items()} if known else {},
            story.mean_bytes,
            outside.share if outside is not None and outside.filled != "example" else 0.0,
        )


def population(records: Iterable[Record], story: Story, seed: int = 1) -> Population:
    """Take in all of an incident's requests."""
    listening = Listening(seed)
    listening.add(records)
    return listening.end(story)


def _told(found: dict[tuple[str, str], Heard], story: Story) -> None:
    """Add what the story tells of routes whose records tell nothing."""
    for told in story.routes:
        route = found.get((told.method, told.template))
        if route is not None and not route.known:
            route.total_ns = round((told.mean or 0.0) * 1e9 * route.count)
            route.mean_bytes = told.bytes


def _keep[T](kept: list[T], new: T, seen: int, most: int, draw: random.Random) -> None:
    """Keep each of `seen` with the same chance (algorithm R)."""
    if len(kept) < most:
        kept.append(new)
    elif (place := draw.randrange(seen)) < most:
        kept[place] = new


def _merged[T](mine: list[T], of_mine: int, theirs: list[T], of_theirs: int, most: int, draw: random.Random) -> list[T]:
    """Draw from two samples, each of so many, as if from all of them."""
    if len(mine) + len(theirs) <= most:
        return mine + theirs
    mine, theirs = draw.sample(mine, len(mine)), draw.sample(theirs, len(theirs))
    merged: list[T] = []
    while len(merged) < most and (mine or theirs):
        first = not theirs or (bool(mine) and draw.random() * (of_mine + of_theirs) < of_mine)
        merged.append((mine if first else theirs).pop())
    return merged
