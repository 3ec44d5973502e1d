"""What came back, by route: a method and a path template as `reamp captures top` finds them. Pure.

Requests are counted under the template that their own path shows. Words that stand for things show only by their
number, so those templates are found when all is over (`Routes.settled`), and counts are merged, never averaged.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from captures.records import Record
from captures.rendering import printable
from captures.templates import generalised, template

MOST = 2000
"""Routes told apart. What comes after them is counted together, so that made-up paths can't fill the memory."""

OTHERS = ("*", "(others)")

_KNOWN = 1 << 14
_LONG = 512
"""Paths whose route is remembered, and the characters of the longest one."""

_DIGITS = 11
"""Bits of a value that are kept: three decimal digits, as in the HdrHistograms."""


class Outline(NamedTuple):
    """What a record tells of its answer: its last fields, under their names there."""

    status: int
    response_size: int
    ttfb_ns: int
    duration_ns: int


_new = tuple.__new__  # what `Outline._make` comes to, at half the price


def outline(record: Record) -> Outline:
    """Keep of a record what its request's answer is compared with."""
    return _new(Outline, record[-4:])


@dataclass(slots=True)
class Recorded:
    """The same counts of the recording, of the very records that were sent. Times in microseconds, to three digits."""

    count: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    """0: there was no answer. Of records of which nobody knows there is none."""
    bytes: int = 0
    """Of bodies; the recording does not count heads."""
    duration: Counter[int] = field(default_factory=Counter)
    """Of answered requests, from their arrival at the sidecar to the last byte of the answer."""
    ttfb: Counter[int] = field(default_factory=Counter)
    """To its first byte."""

    def add(self, told: list[Outline]) -> None:
        """Count records. Columns at a time, which counts in C what repeats."""
        answered = [seen for seen in told if seen[0]]
        self.count += len(told)
        # Of a record without status and duration nobody knows what became of it (`Record.unknown`).
        known = told if len(answered) == len(told) else [seen for seen in told if seen[0] or seen[3]]
        self.statuses.update([seen[0] for seen in known])
        self.bytes += sum([seen[1] for seen in answered])
        self.ttfb.update(_rounded([seen[2] // 1000 for seen in answered]))
        self.duration.update(_rounded([seen[3] // 1000 for seen in answered]))

    def merge(self, other: "Recorded") -> None:
        """Add the counts of another one."""
        self.count += other.count
        self.bytes += other.bytes
        _add((self.statuses, other.statuses), (self.duration, other.duration), (self.ttfb, other.ttfb))


@dataclass(slots=True)
class Route:
    """The counts of one route. Times are in microseconds, to three digits: value by how often."""

    method: str
    template: str
    sent: int = 0
    answered: int = 0
    withheld: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    """Taken to be sent and not sent, by reason. What was shed before it was known which request it would be is not
    here, and what was on its way when the run was stopped is not in `sent`."""
    left_out: int = 0
    """Records that may not be sent because they change things. Such routes are counted apart from those that are."""
    bytes_received: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    """From the intended send time to the end of the answer."""
    service: Counter[int] = field(default_factory=Counter)
    """From the actual send time."""
    recorded: Recorded = field(default_factory=Recorded)
    told: list[Outline] = field(default_factory=list)
    """What the recording tells of requests that were sent, and is not in `recorded` yet. A lane only appends: it costs
    a tenth of counting, which `digest` does between two requests."""

    def digest(self, most: int | None = None) -> None:
        """Count what was told; of much of it, only the first `most`."""
        if most is not None and len(self.told) > most:
            told = self.told[:most]
            del self.told[:most]
            self.recorded.add(told)
        elif self.told:
            told, self.told = self.told, []
            self.recorded.add(told)

    def taken(self) -> "Route | None":
        """Take everything that came since the last time; None if nothing did."""
        self.digest()
        if not (self.sent or self.shed or self.left_out or self.recorded.count):
            return None
        taken = Route(self.method, self.template)
        for name in _COUNTS:
            fresh = getattr(taken, name)
            setattr(taken, name, getattr(self, name))
            setattr(self, name, fresh)
        return taken

    def merge(self, other: "Route") -> None:
        """Add the counts of another one."""
        self.digest()
        other.digest()
        self.sent += other.sent
        self.answered += other.answered
        self.withheld += other.withheld
        self.left_out += other.left_out
        self.bytes_received += other.bytes_received
        self.recorded.merge(other.recorded)
        _add(
            (self.statuses, other.statuses),
            (self.errors, other.errors),
            (self.shed, other.shed),
            (self.latency, other.latency),
            (self.service, other.service),
        )


_COUNTS = (
    "sent", "answered", "withheld", "statuses", "errors", "shed", "left_out", "bytes_received", "latency", "service",
    "recorded",
)  # fmt: skip


def _add(*pairs: tuple[Counter[int], Counter[int]] | tuple[Counter[str], Counter[str]]) -> None:
    for mine, others in pairs:
        mine.update(others)  # type: ignore[arg-type]


class Routes:
    """All routes of a run, in the order in which they were met. The number of a route is its place.

    `all` holds what came since it was `taken`, `totals` what was.
    """

    def __init__(self) -> None:
        self.all: list[Route] = []
        self.totals: list[Route] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, str], int] = {}

    def clear(self) -> None:
        """Begin anew."""
        for held in (self.all, self.totals, self._numbers, self._known):
            held.clear()

    def number(self, method: str, path: str) -> int:
        """Give the number of the route that a request belongs to."""
        known = self._known.get((method, path))
        if known is not None:
            return known
        number = self.named(method, printable(template(path)))
        if len(path) <= _LONG:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[method, path] = number
        return number

    def named(self, method: str, template_: str) -> int:
        """Give the number of the route of this name."""
        name = (method, template_)
        number = self._numbers.get(name)
        if number is None:
            if len(self.all) >= MOST:
                name = OTHERS
            number = self._numbers.setdefault(name, len(self.all))
            if number == len(self.all):
                self.all.append(Route(*name))
                self.totals.append(Route(*name))
        return number

    def taken(self, number: int) -> Route | None:
        """Take what came on one route since the last time; None if nothing did. It stays in the totals."""
        taken = self.all[number].taken()
        if taken is not None:
            self.totals[number].merge(taken)
        return taken

    def settled(self) -> list[Route]:
        """Give the routes of the whole run, by their final names; the busiest come first."""
        for number in range(len(self.all)):
            self.taken(number)
        return settled(self.totals)


Name = tuple[str, str]
"""A method and a template."""


def final_names(routes: Iterable[Route]) -> dict[Name, Name]:
    """Find the names of routes whose paths differ by words that stand for things: from (method, template)."""
    known = [(route.method, route.template, route.sent + route.left_out) for route in routes]
    changed = generalised(known)
    return {(method, name): (method, changed.get((method, name), name)) for method, name, _ in known}


def settled(routes: Iterable[Route], names: dict[Name, Name] | None = None) -> list[Route]:
    """Merge the routes that have one final name (of `final_names`); the busiest come first."""
    routes = list(routes)
    names = final_names(routes) if names is None else names
    merged: dict[tuple[str, str], Route] = {}
    for route in routes:
        name = names[route.method, route.template]
        merged.setdefault(name, Route(*name)).merge(route)
    return sorted(merged.values(), key=lambda route: (-route.sent - route.left_out, route.template, route.method))


def rounded(microseconds: int) -> int:
    """Give a time to three digits, rounded down."""
    spare = max(0, microseconds.bit_length() - _DIGITS)
    return microseconds >> spare << spare


def _rounded(values: list[int]) -> list[int]:
    """Do the same with many, at half the price; what is below 0 (there was no answer) counts as 0."""
    return [
        value if (spare := value.bit_length() - _DIGITS) <= 0 <= value else value >> spare << spare if value > 0 else 0
        for value in values
    ]
