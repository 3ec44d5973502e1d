"""Where a capture is silent for longer than its traffic explains. Pure. Times in nanoseconds.

A **hole** is a span of at least a second in which no record arrived. A **gap** is a hole that the traffic does not
explain:

- it is at least 20 times as long as the mean time between two records. Of requests that come independently of each
  other at a steady rate, one pause in 500 million is that long (e to the power of -20);
- and if there are ten or more of those, so that bursts and pauses are how this traffic is, it is at least three times
  as long as the middle one.

A gap is no damage. It says where to look: was the sidecar stopped, were records dropped, or did nobody send anything?
"""

import itertools
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from captures.moments import SECOND

_TIMES_THE_MEAN = 20
_RHYTHM = 10  # so many long holes are no exception any more
_TIMES_THE_MIDDLE = 3
_MOST = 4096  # spans that are remembered: what a longer capture loses are its shortest holes

Span = tuple[int, int]
Cause = Literal["stopped", "dropped", "quiet", "unknown"]


class Gap(NamedTuple):
    """A span without any record."""

    first_ns: int
    """The last record before it."""
    last_ns: int
    """The first record after it."""
    cause: Cause
    """`stopped`: no segment was open in (a part of) it. `dropped`: one was, and records were dropped while it was.
    `quiet`: one was, and nothing came. `unknown`: copies were looked at, which do not know when they were recorded."""


class Watch(NamedTuple):
    """A time in which a segment was open, and what it holds."""

    opened_ns: int
    closed_ns: int
    last_ns: int | None
    """Its latest record; None if it has none."""
    dropped: int
    """Records that were dropped meanwhile."""


class Coverage:
    """The spans in which records arrived. Holes of less than a second count as none; memory stays bounded."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, arrivals: Sequence[int]) -> None:
        """Add the arrivals of some records, sorted."""
        if not arrivals:
            return
        first = before = arrivals[0]
        if arrivals[-1] - first >= SECOND:
            for at in arrivals:
                if at - before >= SECOND:
                    self._spans.append((first, before))
                    first = at
                before = at
        self.add_span(first, arrivals[-1])

    def add_span(self, first_ns: int, last_ns: int) -> None:
        """Add a span of which no more is known than that records came from its beginning to its end."""
        self._spans.append((first_ns, last_ns))
        if len(self._spans) > 2 * _MOST:
            self._spans = _thinned(_joined(self._spans))

    def holes(self) -> list[Span]:
        """Give what lies between the spans, in order of time."""
        spans = _joined(self._spans)
        return [(last, first) for (_, last), (first, _) in itertools.pairwise(spans)]


def gaps(coverage: Coverage, records: int, span_ns: int, watches: Iterable[Watch] = ()) -> list[Gap]:
    """Give the holes that are gaps, in order of time. `records` arrived within `span_ns`."""
    threshold = max(SECOND, _TIMES_THE_MEAN * span_ns / max(records - 1, 1))
    long = [hole for hole in coverage.holes() if hole[1] - hole[0] >= threshold]
    if len(long) >= _RHYTHM:
        middle = median(last - first for first, last in long)
        long = [(first, last) for first, last in long if last - first >= _TIMES_THE_MIDDLE * middle]
    watched = list(watches)
    return [Gap(first, last, _cause(first, last, watched)) for first, last in long]


def _cause(first_ns: int, last_ns: int, watches: Sequence[Watch]) -> Cause:
    if any(watch.last_ns is not None and watch.last_ns < watch.opened_ns for watch in watches):
        return "unknown"  # it was written after all that it holds: an import, a slice, a merge
    within = [watch for watch in watches if watch.opened_ns < last_ns and watch.closed_ns > first_ns]
    covered = _joined([(watch.opened_ns, watch.closed_ns) for watch in within])
    if not any(opened - SECOND <= first_ns and last_ns <= closed + SECOND for opened, closed in covered):
        return "stopped"
    return "dropped" if any(watch.dropped > 0 for watch in within) else "quiet"


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap or are less than a second apart; give them sorted."""
    joined: list[Span] = []
    for first, last in sorted(spans):
        if joined and first - joined[-1][1] < SECOND:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _thinned(spans: list[Span]) -> list[Span]:
    """Close the shortest holes between sorted spans until few enough are left."""
    if len(spans) <= _MOST:
        return spans
    holes = sorted(range(1, len(spans)), key=lambda n: spans[n][0] - spans[n - 1][1])
    closed = set(holes[: len(spans) - _MOST])
    kept: list[Span] = []
    for number, (first, last) in enumerate(spans):
        if number in closed:
            kept[-1] = (kept[-1][0], last)
        else:
            kept.append((first, last))
    return kept
