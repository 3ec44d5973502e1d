"""What real users get at the moment: a sliding window over the last seconds. Pure: time and totals come in.

Nobody keeps a window but who reads it. Workers only ever count up, each into its `Row`: who came, how it ended, and
a histogram of how long it took. The reader notes these totals down once in a while, and the window is the difference
between now and its note from then. So a request costs three counters, whatever the window's length, nothing has to
be reset while others read, and several readers may have windows of their own.

The histogram's cells are those of `rules.latency`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hdrh.histogram import HdrHistogram

from rules.latency import LONGEST, UNIT, value
from rules.wire import Signal

NOTES = 15
"""A long window has at most this many notes: it is up to one fifteenth longer than it has to be."""

REUSE = 0.1
"""Seconds for which an answer serves. To sum it up costs the better part of a millisecond."""


class Totals(NamedTuple):
    """Everything since the beginning, of one kind of requests."""

    arrived: int
    finished: int
    errors: int
    latency: Sequence[int]
    unknown: int = 0
    """Came as copies: they have arrived, and are not among the finished."""


class SlidingSignal:
    """Rate, errors and latency over the last `seconds` and up to a `step` more. Times are monotonic seconds."""

    def __init__(self, seconds: float, now: float, totals: Totals) -> None:
        self.seconds = seconds
        self.step = max(1.0, seconds / NOTES)
        """Seconds between two notes, at least."""
        self._notes = deque([(now, totals)])
        self._cached: tuple[float, Signal] | None = None

    def due(self, now: float) -> bool:
        """Whether it is time for a new note."""
        return now - self._notes[-1][0] >= self.step

    def fresh(self, now: float) -> Signal | None:
        """Give the last answer if it still serves."""
        return self._cached[1] if self._cached and 0 <= now - self._cached[0] < REUSE else None

    def note(self, now: float, totals: Totals) -> None:
        """Note the totals down if it is time to, and throw away what no window needs any more."""
        if self.due(now):
            self._notes.append((now, totals))
        while len(self._notes) > 1 and self._notes[1][0] <= now - self.seconds:
            self._notes.popleft()

    def signal(self, now: float, totals: Totals) -> Signal:
        """Sum the window up."""
        self.note(now, totals)
        then, before = self._notes[0]
        looked_back = max(now - then, 1e-3)
        finished = totals.finished - before.finished
        latency = _histogram(zip(totals.latency, before.latency, strict=True))
        percentiles = latency.get_percentile_to_value_dict([50, 95, 99]) if latency.get_total_count() else {}
        signal = Signal(
            window=round(looked_back, 3),
            rate=(totals.arrived - before.arrived) / looked_back,
            error_ratio=(totals.errors - before.errors) / finished if finished else None,
            **{f"p{point}": steps * UNIT for point, steps in percentiles.items()},
        )
        self._cached = (now, signal)
        return signal


def _histogram(cells: Iterable[tuple[int, int]]) -> HdrHistogram:
    histogram = HdrHistogram(1, LONGEST, 2)
    for at, (after, before) in enumerate(cells):
        if after > before:
            histogram.record_value(value(at), after - before)
    return histogram
