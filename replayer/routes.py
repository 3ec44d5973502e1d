"""What came back, by route: a method and a path template as `reamp captures top` finds them. Pure.

Requests are counted under the template that their own path shows. Words that stand for things show only by their
number, so those templates are found when all is over (`Routes.settled`), and counts are merged, never averaged.
"""

from collections import Counter
from dataclasses import dataclass, field

from captures.templates import generalised, template

MOST = 2000
"""Routes told apart. What comes after them is counted together, so that made-up paths can't fill the memory."""

OTHERS = ("*", "(others)")

_KNOWN = 1 << 14
_LONG = 512
"""Paths whose route is remembered, and the characters of the longest one."""

_DIGITS = 11
"""Bits of a value that are kept: three decimal digits, as in the HdrHistograms."""


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
    bytes_received: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    """From the intended send time to the end of the answer."""
    service: Counter[int] = field(default_factory=Counter)
    """From the actual send time."""

    def merge(self, other: "Route") -> None:
        """Add the counts of another one."""
        self.sent += other.sent
        self.answered += other.answered
        self.withheld += other.withheld
        self.bytes_received += other.bytes_received
        for mine, others in (
            (self.statuses, other.statuses),
            (self.errors, other.errors),
            (self.latency, other.latency),
            (self.service, other.service),
        ):
            mine.update(others)  # type: ignore[arg-type]


class Routes:
    """All routes of a run, in the order in which they were met. The number of a route is its place."""

    def __init__(self) -> None:
        self.all: list[Route] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[str, str], int] = {}

    def number(self, method: str, path: str) -> int:
        """Give the number of the route that a request belongs to."""
        known = self._known.get((method, path))
        if known is not None:
            return known
        name = (method, template(path))
        number = self._numbers.get(name)
        if number is None:
            if len(self.all) >= MOST:
                name = OTHERS
            number = self._numbers.setdefault(name, len(self.all))
            if number == len(self.all):
                self.all.append(Route(*name))
        if len(path) <= _LONG:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[method, path] = number
        return number

    def settled(self) -> list[Route]:
        """Merge the routes whose paths differ by words that stand for things; the busiest come first."""
        names = generalised((route.method, route.template, route.sent) for route in self.all)
        merged: dict[tuple[str, str], Route] = {}
        for route in self.all:
            name = (route.method, names.get((route.method, route.template), route.template))
            merged.setdefault(name, Route(*name)).merge(route)
        return sorted(merged.values(), key=lambda route: -route.sent)


def rounded(microseconds: int) -> int:
    """Give a time to three digits, rounded down."""
    spare = max(0, microseconds.bit_length() - _DIGITS)
    return microseconds >> spare << spare
