"""Distributions of sizes and times in bounded memory: HdrHistograms, exact to three digits. Pure."""

from collections import Counter

from hdrh.histogram import HdrHistogram
from pydantic import BaseModel, Field

HIGHEST = 1 << 50
"""Largest value told apart; larger ones count as this, but for sum and maximum."""

PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_AT_ONCE = 1 << 15
"""Values counted together. A histogram takes each different value once, at half a microsecond."""


class Quantiles(BaseModel):
    """A distribution in short; null without values."""

    count: int = 0
    sum: float = 0
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p99_9: float | None = Field(None, description="p99.9")
    max: float | None = None


class Distribution:
    """Takes integers, not negative; what is below counts as 0."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, HIGHEST, 3)
        self._waiting: list[int] = []
        self._sum = 0
        self._max = 0

    def add(self, value: int) -> None:
        """Add one value."""
        self._waiting.append(value)
        if len(self._waiting) >= _AT_ONCE:
            self._digest()

    def _digest(self) -> None:
        for value, count in Counter(self._waiting).items():
            exact = max(0, value)
            self._histogram.record_value(min(exact, HIGHEST), count)
            self._sum += exact * count
            self._max = max(self._max, exact)
        self._waiting.clear()

    def quantiles(self, scale: float = 1) -> Quantiles:
        """Sum up, every value times `scale`."""
        self._digest()
        count = self._histogram.total_count
        if not count:
            return Quantiles()
        found = self._histogram.get_percentile_to_value_dict(list(PERCENTILES))
        p50, p90, p99, p99_9 = (min(found[p], self._max) * scale for p in PERCENTILES)
        return Quantiles(
            count=count,
            sum=self._sum * scale,
            mean=self._sum / count * scale,
            p50=p50,
            p90=p90,
            p99=p99,
            p99_9=p99_9,
            max=self._max * scale,
        )
