"""What requests get, as counts that can be merged: over time, over sidecars, over both. Pure.

Percentiles of percentiles mean nothing, so none travel: what is sent, kept and added are counts (`Tally`), and only
who judges makes numbers of them (`slo`). `Recent` keeps the last minutes of every source.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted in a span of time."""

    seconds: float = 0.0
    """How long the span was."""
    arrived: int = 0
    """Requests that came."""
    finished: int = 0
    """Requests that ended, whenever they came: answered, or given up on. What the sidecar refused is none of them."""
    errors: int = 0
    """Those of the finished that were answered with 5xx or not at all."""
    latency: Mapping[int, int] = field(default_factory=dict)
    """How long the answered ones took: cells of `latency`, and how many."""
    together: float | None = field(default=None, compare=False)
    """Of several sources that told of different spans: how many came a second at all of them."""

    @property
    def rate(self) -> float | None:
        """How many came a second; None if nothing was counted."""
        if not self.seconds:
            return None
        return self.arrived / self.seconds if self.together is None else self.together

    def __add__(self, later: Self) -> "Tally":
        """Merge with what was counted in another span of the same source."""
        return self._merged(later, self.seconds + later.seconds)

    def beside(self, other: Self) -> "Tally":
        """Merge with what another source counted at the same time: counts add up, and time does not.

        Rates add up, too: a source that came back just now has told of a second, and its requests are not spread over
        the whole window of the others.
        """
        merged = self._merged(other, max(self.seconds, other.seconds))
        if not (self.seconds and other.seconds):
            return replace(merged, together=(self if self.seconds else other).together)
        if self.seconds == other.seconds and self.together is None and other.together is None:
            return merged
        return replace(merged, together=self._per_second() + other._per_second())

    def _per_second(self) -> float:
        if self.together is not None:
            return self.together
        # Of less than a second, one request alone would make a rate of thousands.
        return self.arrived / max(self.seconds, 1.0)

    def _merged(self, other: Self, seconds: float) -> "Tally":
        latency = dict(self.latency)
        for cell, count in other.latency.items():
            latency[cell] = latency.get(cell, 0) + count
        return Tally(
            seconds,
            self.arrived + other.arrived,
            self.finished + other.finished,
            self.errors + other.errors,
            latency,
        )


class Recent:
    """The last minutes of what several sources count. Times are the reader's monotonic nanoseconds.

    A window reaches back by the sources' clocks, so that a reader that was held up and finds a pile of lines counts
    them as the time that they stand for; and never further than that by the reader's, so that what was counted before
    a source fell silent does not pass for new.
    """

    def __init__(self, sources: Iterable[str], longest: float = 600.0) -> None:
        """Expect to hear of these `sources`, by name, and keep what they say for the `longest` seconds.

        That is no longer than need be: what a busy source says is some 60 KB a second.
        """
        self.sources = tuple(sources)
        self._longest = longest
        self._windows: dict[tuple[str, str], dict[float, _Window]] = {}
        self._heard: dict[str, int] = {}

    def keep(self, longest: float) -> None:
        """Keep it for so many seconds from now on, if that is longer than before."""
        if longest <= self._longest:
            return
        for windows in self._windows.values():
            windows[longest] = _Window(longest)
            for at_ns, tally in windows[self._longest].spans:
                windows[longest].add(at_ns, tally)
        self._longest = longest

    def add(self, source: str, now_ns: int, tallies: Mapping[str, Tally]) -> None:
        """Take what a source counted since it last told, by kind. Spans of one source follow each other."""
        self._heard[source] = now_ns
        for kind, tally in tallies.items():
            for window in self._of(source, kind).values():
                window.add(now_ns, tally)

    def silent(self, now_ns: int, bound: float) -> dict[str, float | None]:
        """Tell which sources were not heard of for more than `bound` seconds, and for how long: None is never."""
        heard = {source: self._heard.get(source) for source in self.sources}
        ages = {source: None if at is None else (now_ns - at) / SECOND_NS for source, at in heard.items()}
        return {source: age for source, age in ages.items() if age is None or age > bound}

    def last(self, kind: str, seconds: float, now_ns: int) -> Tally:
        """Sum up what all sources counted in the last `seconds`, and up to one span more.

        Raises ValueError if that is longer than anything is kept.
        """
        if seconds > self._longest:
            raise ValueError(f"{self._longest:g} seconds are kept, not {seconds:g}")
        total = Tally()
        for source in self.sources:
            total = total.beside(self._window(source, kind, seconds).sum(now_ns))
        return total

    def _window(self, source: str, kind: str, seconds: float) -> "_Window":
        windows = self._of(source, kind)
        if seconds not in windows:
            windows[seconds] = _Window(seconds)
            for at_ns, tally in windows[self._longest].spans:
                windows[seconds].add(at_ns, tally)
        return windows[seconds]

    def _of(self, source: str, kind: str) -> "dict[float, _Window]":
        return self._windows.setdefault((source, kind), {self._longest: _Window(self._longest)})


class _Window:
    """A sum that slides: what comes in is added and what falls out taken off, so that its length costs nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.spans: deque[tuple[int, Tally]] = deque()
        """What lies in it: when it was heard of, and what."""
        self._arrived = self._finished = self._errors = 0
        self._latency: dict[int, int] = {}
        self._covered_ns = 0  # whole nanoseconds: a sum of floats would drift

    def add(self, at_ns: int, tally: Tally) -> None:
        self._expire(at_ns)  # also where nobody asks: of spans that stand for no time there may be any number
        self.spans.append((at_ns, tally))
        self._count(tally, 1)
        while self._covered_ns - _ns(self.spans[0][1].seconds) >= _ns(self._seconds):
            self._drop()

    def sum(self, now_ns: int) -> Tally:
        self._expire(now_ns)
        return Tally(self._covered_ns / SECOND_NS, self._arrived, self._finished, self._errors, dict(self._latency))

    def _expire(self, now_ns: int) -> None:
        while self.spans and self.spans[0][0] <= now_ns - _ns(self._seconds):
            self._drop()

    def _drop(self) -> None:
        self._count(self.spans.popleft()[1], -1)

    def _count(self, tally: Tally, sign: int) -> None:
        self._covered_ns += sign * _ns(tally.seconds)
        self._arrived += sign * tally.arrived
        self._finished += sign * tally.finished
        self._errors += sign * tally.errors
        for cell, count in tally.latency.items():
            left = self._latency.get(cell, 0) + sign * count
            if left:
                self._latency[cell] = left
            else:
                self._latency.pop(cell, None)


def _ns(seconds: float) -> int:
    return round(seconds * SECOND_NS)
