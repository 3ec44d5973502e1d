"""How evenly requests came: counts in windows of several widths, as one pass over arrivals. Pure.

The measure is the index of dispersion of counts: variance over mean of the number of arrivals in a window (Cox and
Lewis, The Statistical Analysis of Series of Events, 1966). Many users who know nothing of each other give 1 at every
width (a Poisson process); a metronome gives less; bursts give more, and the width at which it rises tells how long they
are.
"""

from pydantic import BaseModel, Field

MS = 1_000_000
WIDTHS_MS = (10, 100, 1_000, 10_000)

_ENOUGH = 10
"""Whole windows below which a variance says nothing."""

_MOST = 2_048
"""Buckets of the picture over time: when they are full, two become one."""


class Window(BaseModel):
    """Counts in windows of one width."""

    seconds: float = Field(description="width of a window")
    windows: int = Field(description="whole ones, empty ones too")
    mean: float | None = Field(description="requests in a window; null: there was no whole window")
    peak: int = Field(description="most requests in a window")
    dispersion: float | None = Field(description="variance over mean; null: too few windows to tell")


class Rate(BaseModel):
    """Requests over time."""

    bucket_seconds: float
    counts: list[int]


class _Counter:
    """Counts in windows of one width, of which one is open."""

    def __init__(self, width_ms: int) -> None:
        self.width_ns = width_ms * MS
        self.windows = self.sum = self.squares = self.peak = 0
        self.index = self.count = 0

    def close(self) -> None:
        """Add the window that is over."""
        self.sum += self.count
        self.squares += self.count * self.count
        self.peak = max(self.peak, self.count)

    def result(self, span_ns: int) -> Window:
        """Sum up. The open window, in which the last request came, was cut short and counts for the peak only."""
        whole = span_ns // self.width_ns
        mean = self.sum / whole if whole else None
        dispersion = None
        if mean and whole >= _ENOUGH:
            dispersion = max(0.0, self.squares / whole - mean * mean) / mean
        peak = max(self.peak, self.count)
        return Window(seconds=self.width_ns / 1e9, windows=whole, mean=mean, peak=peak, dispersion=dispersion)


class Bursts:
    """Takes arrivals, earliest first, and keeps four windows and a picture of at most 2,048 buckets."""

    def __init__(self) -> None:
        self.first_ns: int | None = None
        self.last_ns = 0
        self._counters = [_Counter(width) for width in WIDTHS_MS]
        self._finest = self._counters[0]
        self._bucket_ns = self._finest.width_ns
        self._buckets: list[int] = []

    def add(self, arrival_ns: int) -> None:
        """Count one arrival, not earlier than the one before."""
        if self.first_ns is None:
            self.first_ns = arrival_ns
        self.last_ns = arrival_ns
        finest = self._finest
        index = (arrival_ns - self.first_ns) // finest.width_ns
        if index != finest.index:
            self._over()
            finest.index, finest.count = index, 0
        finest.count += 1

    def _over(self) -> None:
        """Close the finest window."""
        self._finest.close()
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the wider windows what the finest one held."""
        finest = self._finest
        for counter in self._counters[1:]:
            index = finest.index * finest.width_ns // counter.width_ns
            if index != counter.index:
                counter.close()
                counter.index, counter.count = index, 0
            counter.count += finest.count
        self._draw(finest.index * finest.width_ns, finest.count)

    def _draw(self, at_ns: int, count: int) -> None:
        while at_ns // self._bucket_ns >= _MOST:
            self._bucket_ns *= 2
            self._buckets = [sum(self._buckets[at : at + 2]) for at in range(0, len(self._buckets), 2)]
        bucket = at_ns // self._bucket_ns
        self._buckets += [0] * (bucket + 1 - len(self._buckets))
        self._buckets[bucket] += count

    def result(self) -> tuple[list[Window], Rate]:
        """Sum up. Nothing may be added afterwards."""
        if self.first_ns is None:
            return [], Rate(bucket_seconds=self._bucket_ns / 1e9, counts=[])
        self._hand_on()
        windows = [counter.result(self.last_ns - self.first_ns) for counter in self._counters]
        return windows, Rate(bucket_seconds=self._bucket_ns / 1e9, counts=self._buckets)
