"""Whether a change is more than noise: two samples of latencies and failures, route by route. Pure.

Latencies are heavy-tailed, so nothing here trusts a mean or a normal shape: only how many requests were at or below a
value. They come in spells (a slow second makes a thousand slow requests, which say one thing and not a thousand), so
requests do not count as independent, intervals of time do. And a run has enough requests to make any difference
"significant", so a change has to be of some size as well.

- *Quantiles* (p50, p95, p99): the quantile test, which for p50 is Mood's median test. The two samples' shares of
  requests at or below one value are compared: if they do not differ, their quantiles lie together, and the value is
  (geometrically) midway between the two. The variance of a share is that of a ratio over clusters, the clusters being
  intervals of time (Cochran, Sampling Techniques, 1977, 11.12 ff.), and never below the binomial one; Student's t is
  that of the fewer intervals, by Wallace's approximation (Ann. Math. Stat. 30, 1959).
- *Their change*, a factor, with a 95% interval: Woodruff's intervals of both quantiles (JASA 47, 1952), which are
  order statistics, put together by the method of variance estimates recovery (Zou and Donner, Stat. Med. 27, 2008).
- *Shares of failures*: the two-proportion test with the same clustered variance, and Fisher's exact test,
  which few failures call for. The larger p counts. The interval of their difference is never narrower than Agresti and
  Caffo's (Am. Stat. 54, 2000).
- *Many routes*: Benjamini and Hochberg's correction over everything tested (J. R. Stat. Soc. B 57, 1995). Of the
  changes that are called more than noise, 5% are expected to be none. (Quantiles of one route depend on each
  other positively, which the correction bears: Benjamini and Yekutieli, Ann. Stat. 29, 2001.)

All of it needs four functions of the standard library. scipy would bring 100 MB for a Fisher test and a Student.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from statistics import NormalDist
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

FALSE_ALARMS = 0.05
"""Share of the changes called more than noise that may be none; and 1 - the confidence of intervals."""

SMALLEST = 0.05
"""A quantile that changed by less is not worth a word, however sure it is."""

SMALLEST_SHARE = 0.001
"""The same of the share of failures."""

MOST_BLOCKS, FEWEST_BLOCKS = 10, 5
"""Intervals that a run is cut into: ten to thirty serve (Schmeiser, Oper. Res. 30, 1982), and the longer they are, the
longer are the spells that they hold. A spell longer than a tenth of a run looks like a change. Fewer tell nothing."""

BEYOND = 10
"""Requests that have to be beyond a quantile on either side before it is spoken of."""

FEWEST = 20
"""Requests of a route, in either sample, before its failures are compared."""

_MOST_FISHER = 5000
"""Failures in all, above which Fisher's test adds nothing to the other."""

Figure = Literal["p50", "p95", "p99", "failed"]
QUANTILES: tuple[tuple[Figure, float], ...] = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))

Verdict = Literal["worse", "better", "noise", "unclear"]
"""unclear: too few requests, or too short a time, to tell."""


class Block(NamedTuple):
    """What one interval of time holds of one route."""

    times: Mapping[int, int]
    """Microseconds of the whole answers, and how often."""
    requests: int
    failed: int
    """Of the requests: no answer, or one with a 5xx status."""


class Change(BaseModel):
    """How one figure of one route changed."""

    figure: Figure = Field(description="a quantile of the latency in seconds, or the share of requests that failed")
    before: float | None = Field(None, description="in the recording, or in the other run; null: too few requests")
    after: float | None = None
    change: float | None = Field(None, description="quantiles: after / before; failed: after - before")
    low: float | None = Field(None, description="of the change, the 95% interval's lower end; null: unbounded")
    high: float | None = Field(None, description="and its upper end")
    p: float | None = Field(None, description="how often noise alone would do as much; null: untested")
    adjusted: float | None = Field(None, description="p, corrected for all that was tested (Benjamini-Hochberg)")
    verdict: Verdict = "unclear"


def compare(before: Sequence[Block], after: Sequence[Block]) -> list[Change]:
    """Compare two samples of one route, cut into intervals of time in their order. `judged` gives the verdicts."""
    a, b = _clusters(before), _clusters(after)
    return [*(_quantile(figure, p, a, b) for figure, p in QUANTILES), _failures(a, b)]


def judged(routes: Iterable[Sequence[Change]]) -> list[list[Change]]:
    """Correct for all that was tested together, and say of each change whether it is more than noise."""
    given = [list(changes) for changes in routes]
    tested = [change.p for changes in given for change in changes if change.p is not None]
    corrected = iter(adjusted(tested))
    return [[_judged(change, next(corrected) if change.p is not None else None) for change in row] for row in given]


def adjusted(ps: Sequence[float]) -> list[float]:
    """Correct p-values by Benjamini and Hochberg's step-up procedure, in the order given."""
    order = sorted(range(len(ps)), key=ps.__getitem__, reverse=True)
    found = [1.0] * len(ps)
    least = 1.0
    for place, index in enumerate(order):
        least = min(least, ps[index] * len(ps) / (len(ps) - place))
        found[index] = least
    return found


def _judged(change: Change, corrected: float | None) -> Change:
    verdict: Verdict = "unclear"
    if corrected is not None and change.change is not None:
        failures = change.figure == "failed"
        size = abs(change.change) if failures else max(change.change, 1 / change.change) - 1
        large = size >= (SMALLEST_SHARE if failures else SMALLEST)
        worse = change.change > (0 if failures else 1)
        # The test and the interval come about in different ways. A change that either doubts is none.
        none = 0 if failures else 1
        sure = (change.low is not None and change.low > none) if worse else (change.high or math.inf) < none
        verdict = "noise" if corrected > FALSE_ALARMS or not large or not sure else "worse" if worse else "better"
    return change.model_copy(update={"adjusted": corrected, "verdict": verdict})


# --- samples, in clusters ---


class _Sample:
    """One sample: everything together for the quantiles, its intervals for how sure they are."""

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        times: Counter[int] = Counter()
        for block in blocks:
            for value, count in block.times.items():
                times[value] += count
        self.values = sorted(times)
        self.below = list(accumulate(times[value] for value in self.values))  # how many are at or below each value
        self.count = self.below[-1] if self.below else 0
        self.requests = sum(block.requests for block in blocks)
        self.failed = sum(block.failed for block in blocks)

    def quantile(self, share: float) -> int:
        """Give the smallest value that so large a share is at or below."""
        rank = max(1, math.ceil(share * self.count - 1e-9))
        return self.values[min(bisect_left(self.below, rank), len(self.values) - 1)]

    def at_most(self, value: int) -> tuple[float, float]:
        """Give the share of requests at or below a value, and its variance."""
        return _ratio([(_at_most(block.times, value), sum(block.times.values())) for block in self.blocks])

    def failures(self) -> tuple[float, float]:
        """Give the share of failures and its variance."""
        return _ratio([(block.failed, block.requests) for block in self.blocks])

    def interval(self, share: float) -> tuple[float, float]:
        """Give Woodruff's 95% interval of a quantile; infinite where the sample has no end of it."""
        _, variance = self.at_most(self.quantile(share))
        half = _t(len(self.blocks) - 1) * math.sqrt(max(variance, share * (1 - share) / self.count))
        low = float(self.quantile(share - half)) if share - half > 1 / self.count else 0.0
        return low, float(self.quantile(share + half)) if share + half < 1 else math.inf


def _clusters(blocks: Sequence[Block]) -> _Sample:
    """Put neighbouring intervals together until there are not too many. Those without requests say nothing."""
    filled = [block for block in blocks if block.requests]
    each = max(1, math.ceil(len(filled) / MOST_BLOCKS))
    return _Sample([_merged(filled[start : start + each]) for start in range(0, len(filled), each)])


def _merged(blocks: list[Block]) -> Block:
    times: Counter[int] = Counter()
    for block in blocks:
        for value, count in block.times.items():
            times[value] += count
    return Block(times, sum(block.requests for block in blocks), sum(block.failed for block in blocks))


def _at_most(times: Mapping[int, int], value: int) -> int:
    return sum(count for each, count in times.items() if each <= value)


def _ratio(clusters: list[tuple[int, int]]) -> tuple[float, float]:
    """Give the ratio of two sums over clusters, and its variance, linearised."""
    size = sum(n for _, n in clusters)
    ratio = sum(k for k, _ in clusters) / size
    if len(clusters) < 2:
        return ratio, math.inf
    spread = sum((k - ratio * n) ** 2 for k, n in clusters)
    return ratio, spread * len(clusters) / (len(clusters) - 1) / size**2


# --- tests ---


def _quantile(figure: Figure, share: float, a: _Sample, b: _Sample) -> Change:
    enough = BEYOND / min(share, 1 - share)
    change = Change(
        figure=figure,
        before=a.quantile(share) / 1e6 if a.count >= enough else None,
        after=b.quantile(share) / 1e6 if b.count >= enough else None,
    )
    if min(a.count, b.count) < enough or min(len(a.blocks), len(b.blocks)) < FEWEST_BLOCKS:
        return change
    # A quantile of no microseconds has no factor; at the resolution of the clock it was one.
    before, after = max(1, a.quantile(share)), max(1, b.quantile(share))
    cut = round(math.sqrt(before * after))
    p = _difference(a.at_most(cut), b.at_most(cut), (a.count, b.count), _freedom(a, b))
    low, high = _factor(before, after, a.interval(share), b.interval(share))
    return change.model_copy(update={"change": after / before, "low": low, "high": high, "p": p})


def _factor(
    before: float, after: float, first: tuple[float, float], second: tuple[float, float]
) -> tuple[float | None, float | None]:
    """Give the interval of after / before from the intervals of both, on the scale of logarithms."""
    x, y = math.log(before), math.log(after)
    (x_low, x_high), (y_low, y_high) = ([_log(end) for end in ends] for ends in (first, second))
    low = y - x - math.hypot(y - y_low, x_high - x)
    high = y - x + math.hypot(y_high - y, x - x_low)
    return (math.exp(low) if math.isfinite(low) else None), (math.exp(high) if math.isfinite(high) else None)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _failures(a: _Sample, b: _Sample) -> Change:
    change = Change(
        figure="failed",
        before=a.failed / a.requests if a.requests else None,
        after=b.failed / b.requests if b.requests else None,
    )
    if min(a.requests, b.requests) < FEWEST or min(len(a.blocks), len(b.blocks)) < FEWEST_BLOCKS:
        return change
    first, second = a.failures(), b.failures()
    difference = second[0] - first[0]
    p = _difference(first, second, (a.requests, b.requests), _freedom(a, b))
    if a.failed + b.failed <= _MOST_FISHER:
        p = max(p, fisher(a.failed, a.requests, b.failed, b.requests))
    half = _t(_freedom(a, b)) * math.hypot(_deviation(a, first[1]), _deviation(b, second[1]))
    return change.model_copy(
        update={"change": difference, "low": max(-1.0, difference - half), "high": min(1.0, difference + half), "p": p}
    )


def _deviation(sample: _Sample, variance: float) -> float:
    """Give the standard deviation of a share of failures: of none seen it is not 0 (Agresti and Caffo, 2000)."""
    share = (sample.failed + 1) / (sample.requests + 2)
    return math.sqrt(max(variance, share * (1 - share) / (sample.requests + 2)))


def _freedom(a: _Sample, b: _Sample) -> int:
    return min(len(a.blocks), len(b.blocks)) - 1


def _difference(a: tuple[float, float], b: tuple[float, float], sizes: tuple[int, int], freedom: int) -> float:
    """Give the two-sided p of a difference of two shares."""
    share = (a[0] * sizes[0] + b[0] * sizes[1]) / sum(sizes)
    binomial = share * (1 - share) * (1 / sizes[0] + 1 / sizes[1])
    variance = max(a[1] + b[1], binomial)
    if not variance:
        return 1.0
    return 2 * NormalDist().cdf(-_normal(abs(b[0] - a[0]) / math.sqrt(variance), freedom))


def _normal(t: float, freedom: int) -> float:
    """Turn Student's t into the normal deviate of the same probability (Wallace; within 0.1% of it)."""
    return (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))


def _t(freedom: int) -> float:
    """Give the t whose two tails hold `FALSE_ALARMS`: `_normal`, the other way round."""
    z = NormalDist().inv_cdf(1 - FALSE_ALARMS / 2) * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(z * z / freedom))


def fisher(failed_a: int, of_a: int, failed_b: int, of_b: int) -> float:
    """Give the two-sided p of Fisher's exact test: all tables that are no likelier than the one seen."""
    failed = failed_a + failed_b

    def likelihood(k: int) -> float:
        return _choose(of_a, k) + _choose(of_b, failed - k) - _choose(of_a + of_b, failed)

    seen = likelihood(failed_a)
    tables = range(max(0, failed - of_b), min(failed, of_a) + 1)
    return min(1.0, math.fsum(math.exp(each) for k in tables if (each := likelihood(k)) <= seen + 1e-7))


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
