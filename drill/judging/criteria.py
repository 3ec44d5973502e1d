"""What has to hold, held against what was measured. Pure.

A criterion about a percentile is one about a share: p(95)<1s says that less than one in twenty requests takes a second
or longer. So it is tested as a share, at the very bound, and a percentile's own interval is made of all values for
which that test has no answer (Woodruff, JASA 47, 1952): the two never contradict each other.

HOLDS asks of *every* criterion that its whole interval lies on the good side, which no number of
them makes easier (the intersection-union test: Berger, Technometrics 24, 1982). That something is bad *somewhere* gets
easier with every place that is looked at, so those tests are corrected by Holm (Scand. J. Stat. 6, 1979).
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from drill.judging.bootstrap import Bounds, Floats, bounds, mean_bounds, needed, worse_than
from drill.judging.evidence import Blocks
from drill.judging.verdict import Criterion, Estimate, Held, Judgement
from replayer.comparing.comparison import Block
from replayer.reporting.figures import share as share_text
from replayer.reporting.figures import time as time_text
from rules.slo import Expression

FALSE_ALARMS = 0.05
"""How often a verdict may say that something is bad where all is just at its bound, however many places are looked at.
(And each place by itself has to lie beyond its whole interval.)"""

_LEVELS = np.concatenate(
    [
        *(np.arange(0.1, 0.3, 0.1), np.arange(0.3, 0.7, 0.02), np.arange(0.7, 0.9, 0.04)),
        *(np.arange(0.9, 0.99, 0.005), np.arange(0.99, 1, 0.001), [1.0]),
    ]
)
"""Of the values that the end of a percentile's interval can be: densest about the median, p95 and p99."""

_FIGURES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


Tell = Callable[[float], str]


class Sample:
    """Requests of one route, or of several together, in intervals of several replays."""

    def __init__(self, runs: Sequence[Blocks]) -> None:
        blocks = [block for run in runs for block in run]
        self.shape = tuple(len(run) for run in runs)
        self.requests: Floats = np.array([block.requests for block in blocks], dtype=np.float64)
        self.failed: Floats = np.array([block.failed for block in blocks], dtype=np.float64)
        self.values: Floats = np.array([value for block in blocks for value in block.times], dtype=np.float64)
        self.counts: Floats = np.array([count for block in blocks for count in block.times.values()], dtype=np.float64)
        self.places = np.repeat(np.arange(len(blocks)), [len(block.times) for block in blocks])
        self.timed: Floats = np.bincount(self.places, self.counts, minlength=len(blocks)).astype(np.float64)
        order = np.argsort(self.values, kind="stable")
        self._sorted, self._below = self.values[order], np.cumsum(self.counts[order])

    @property
    def count(self) -> int:
        """Requests of which it is known how they ended."""
        return int(self.requests.sum())

    def late(self, cutoffs: Floats, *, least: bool) -> Floats:
        """Count by intervals x cutoffs what took longer than a cutoff; or as long (`least`)."""
        # The number of cutoffs that a value lies beyond.
        beyond = np.searchsorted(cutoffs, self.values, side="right" if least else "left")
        found = np.zeros((len(self.timed), len(cutoffs) + 1))
        np.add.at(found, (self.places, beyond), self.counts)
        late: Floats = found[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        return late

    @cached_property
    def spread(self) -> tuple[Floats, Bounds]:
        """Give values all over the distribution, and bounds of the share that took longer than each."""
        values = np.unique([self.quantile(level) for level in _LEVELS])
        return values, bounds(self.late(values, least=False), self.timed, self.shape)

    def quantile(self, share: float) -> float:
        """Give the smallest value that so large a share is at or below. Microseconds."""
        place = int(np.searchsorted(self._below, share * self._below[-1] - 1e-9))
        return float(self._sorted[min(place, len(self._sorted) - 1)])

    def sums(self) -> Floats:
        """Sum up the times of each interval. Seconds."""
        total: Floats = np.bincount(self.places, self.counts * self.values / 1e6, minlength=len(self.timed))
        return total


class Found(NamedTuple):
    """What came of a criterion on a sample, and what a verdict needs to know of it beside what it tells."""

    held: Held
    p: float = 1.0
    """Of its being bad by chance."""
    need: int = 0
    """Requests that it takes at least to tell that it holds; 0: it takes no more than there are."""
    size: int = 0
    short: bool = False
    """Whether there are too few intervals of time to tell, however many requests are in them."""
    disagree: tuple[int, ...] = ()
    """Places of replays which by themselves are on the other side than all together."""
    what: str = "latency"
    off: float = 0.0
    """By how much it is bad: the share of bad requests over the one that is allowed."""

    @property
    def judgement(self) -> Judgement:
        """How it is judged."""
        return self.held.judgement


def criterion(expression: Expression, *, given: bool) -> Criterion:
    """Describe what has to hold."""
    text = plain(expression)
    limit = expression.tell(expression.bound) if not expression.relative else f"{expression.bound:g}x the baseline's"
    than = {"<": "less than", "<=": "at most", ">": "more than", ">=": "at least", "==": "exactly"}[expression.operator]
    if expression.statistic == "error_ratio":
        words = f"{than} {limit} of the requests fail (no answer, or one with 5xx)"
    elif expression.statistic == "rate":
        words = f"{than} {limit} reach the target"
    elif expression.statistic == "value":
        words = f"what the rule measures is {than} {limit}"
    elif expression.statistic == "avg":
        words = f"the mean answer takes {than} {limit}"
    elif (part := _percentile(expression)) in (0, 100):
        words = f"the {'longest' if part else 'shortest'} answer takes {than} {limit}"
    else:
        words = f"{_plain(part)}% of the answers take {than} {limit}"
    return Criterion(text=text, given=given, words=words)


def broken_words(expression: Expression, estimate: Estimate, name: str) -> str:
    """Say that a criterion broke on a route, in words for people; empty where there is no figure to say it with."""
    if estimate.value is None or expression.relative:
        return ""
    than = {"<": "less than", "<=": "at most"}.get(expression.operator)
    if than is None:
        return ""
    limit, of = f"{than} {expression.tell(expression.bound)}", "" if name == "all requests" else f" of {name}"
    match expression.statistic:
        case "error_ratio":
            return f"{share_text(estimate.value)} of the requests{of} fail, where {limit} may"
        case "avg":
            return f"the mean answer{of} takes {time_text(estimate.value)}, where {limit} is asked for"
        case "p" | "med":
            part = _plain(_percentile(expression))
            return f"{part}% of the answers{of} take up to {time_text(estimate.value)}, where {limit} is asked for"
    return ""


def plain(expression: Expression) -> str:
    """Write an expression; that it is about synthetic requests need not be said, for a clone has no others."""
    return expression.text.removeprefix("synthetic.").removeprefix("real.")


def judge(expression: Expression, sample: Sample, baseline: Sample | None, rate: float) -> Found:
    """Hold one criterion against a sample. `rate`: requests per second that were sent."""
    match expression.statistic:
        case "error_ratio":
            return _failures(expression, sample)
        case "rate":
            holds = expression.holds(rate, expression.bound)
            return _fact(expression, rate, expression.bound, "holds" if holds else "breaks")
        case "value":
            held = _held(expression, Estimate(), expression.bound, "untold")
            return Found(held.model_copy(update={"told": "its rule watched it while the drill ran"}))
        case "avg":
            return _mean(expression, sample, baseline)
    return _latency(expression, sample, baseline)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure, in the order given."""
    found = [1.0] * len(ps)
    most = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        most = max(most, min(1.0, ps[index] * (len(ps) - place)))
        found[index] = most
    return found


def corrected(found: Sequence[Found], fine: int = 0) -> list[Found]:
    """Take back what may be bad by chance, in all that was looked at together; `fine` more of it was not bad at all."""
    breaking = holm([*(each.p for each in found), *[1.0] * fine])[: len(found)]
    return [
        each
        if each.judgement != "breaks" or p <= FALSE_ALARMS
        else each._replace(held=each.held.model_copy(update={"judgement": "unclear"}))
        for each, p in zip(found, breaking, strict=True)
    ]


def joined(judgements: Iterable[Judgement]) -> Judgement:
    """Judge several together: one that breaks is enough, and all have to hold."""
    found = set(judgements) - {"untold"}
    if not found:
        return "untold"
    return "breaks" if "breaks" in found else "unclear" if "unclear" in found else "holds"


def estimates(sample: Sample) -> dict[str, Estimate]:
    """Give percentiles and the share of failures, each with its interval."""
    size = float(sample.timed.sum())
    found = {name: Estimate() for name in _FIGURES}
    for name, share in _FIGURES.items():
        if size * (1 - share) >= 1:
            found[name] = _quantile(sample, share)
    found["failed"] = _share_of_failures(sample)
    return found


def _quantile(sample: Sample, share: float) -> Estimate:
    """Give a percentile with all values that it may be: those at which its test has no answer."""
    if not sample.timed.sum():
        return Estimate()
    values, late = sample.spread
    above, below = late.low > 1 - share, late.high < 1 - share
    value = sample.quantile(share)
    low = max((float(each) for each in values[above]), default=None)
    high = min((float(each) for each in values[below]), default=None)
    return Estimate(
        value=value / 1e6,
        low=0.0 if low is None else min(low, value) / 1e6,
        high=None if high is None else max(high, value) / 1e6,
    )


def _share_of_failures(sample: Sample) -> Estimate:
    if not sample.count:
        return Estimate()
    found = bounds(sample.failed[:, None], sample.requests, sample.shape)
    return Estimate(value=float(found.share[0]), low=float(found.low[0]), high=float(found.high[0]))


def _failures(expression: Expression, sample: Sample) -> Found:
    estimate = _share_of_failures(sample)
    return _of_share(expression, estimate, sample.failed[:, None], sample.requests, sample.shape, expression.bound)


def _latency(expression: Expression, sample: Sample, baseline: Sample | None) -> Found:
    """Test a percentile as the share of requests that are beyond the bound."""
    part = _percentile(expression)
    estimate = _quantile(sample, float(part) / 100)
    low, high = expression.bound, expression.bound
    if expression.relative:
        other = None if baseline is None else _quantile(baseline, float(part) / 100)
        if other is None or other.value is None or other.low is None or other.high is None:
            return _unknown(expression, estimate, "the baseline is not known")
        low, high = low * other.low, high * other.high
    if part in (0, 100):
        return _extreme(expression, sample, part, low, high)
    less = expression.operator in ("<", "<=")
    least = expression.operator in ("<", ">")
    cutoffs = np.array([low, high]) * 1e6
    late = sample.late(cutoffs, least=least if less else not least)
    if expression.operator == "==":
        return _unknown(expression, estimate, "no time is known so exactly")
    if less:
        return _of_share(expression, estimate, late, sample.timed, sample.shape, 1 - float(part) / 100)
    # p(95)>1s: it holds while less than 95% are quicker.
    early = sample.timed[:, None] - late
    return _of_share(expression, estimate, early[:, ::-1], sample.timed, sample.shape, float(part) / 100)


def _extreme(expression: Expression, sample: Sample, part: Fraction, low: float, high: float) -> Found:
    """Judge the longest or the shortest by what was seen: of what was not nobody knows."""
    if not sample.timed.sum():
        return _unknown(expression, Estimate(), "nothing was answered")
    value = sample.quantile(1.0 if part else 0.0) / 1e6
    good, bad = expression.holds(value, low), not expression.holds(value, high)
    return _fact(expression, value, high, "holds" if good else "breaks" if bad else "unclear")


def _mean(expression: Expression, sample: Sample, baseline: Sample | None) -> Found:
    found = mean_bounds(sample.sums(), sample.timed, sample.shape)
    low, high = expression.bound, expression.bound
    if expression.relative:
        other = None if baseline is None else mean_bounds(baseline.sums(), baseline.timed, baseline.shape)
        if other is None:
            return _unknown(expression, Estimate(), "the baseline is not known")
        low, high = low * other[1], high * other[2]
    if found is None:
        return _unknown(expression, Estimate(), "too few intervals with answers")
    value, least, most = found
    estimate = Estimate(value=value, low=least, high=most)
    ends = (least, most)
    good = all(expression.holds(end, limit) for end in ends for limit in (low, high))
    bad = not any(expression.holds(end, limit) for end in ends for limit in (low, high))
    held = _held(expression, estimate, high, "holds" if good else "breaks" if bad else "unclear")
    limit = high or 1e-9
    return Found(held, p=0.0 if bad else 1.0, size=sample.count, off=value / limit)


def _of_share(
    expression: Expression,
    estimate: Estimate,
    bad: Floats,
    size: Floats,
    shape: tuple[int, ...],
    allowed: float,
) -> Found:
    """Test the share of bad requests against the one that is allowed.

    Of two columns the first is by the stricter bound: it has to hold by that one, and to break by the other.
    """
    found = bounds(bad, size, shape)
    strict = expression.operator in ("<", ">")
    high, low = float(found.high[0]), float(found.low[-1])
    limit = None if expression.relative else expression.bound
    judgement: Judgement = "unclear"
    if found.freedom:
        # A percentile lies below a bound if at least its share of requests does; of failures there have to be fewer.
        failures = expression.statistic == "error_ratio"
        good = high < allowed if strict and failures else high <= allowed
        judgement = "holds" if good else "breaks" if low > allowed else "unclear"
    need = needed(allowed)
    return Found(
        _held(expression, estimate, limit, judgement),
        p=worse_than(found, len(found.share) - 1, allowed),
        need=need if found.size < need and judgement == "unclear" else 0,
        size=int(found.size),
        short=not found.freedom,
        disagree=_disagreeing(bad[:, 0 if judgement == "holds" else -1], size, shape, allowed, judgement),
        what="errors" if expression.statistic == "error_ratio" else "latency",
        off=float(found.share[-1]) / allowed if allowed else float("inf"),
    )


def _disagreeing(
    bad: Floats, size: Floats, shape: tuple[int, ...], allowed: float, judgement: Judgement
) -> tuple[int, ...]:
    """Give the replays whose plain figures are on the other side than what is said of all together."""
    if judgement == "unclear":
        return ()
    starts = np.cumsum([0, *shape[:-1]])
    counts, totals = np.add.reduceat(bad, starts), np.add.reduceat(size, starts)
    worse = counts > allowed * totals
    wrong = worse if judgement == "holds" else ~worse & (totals > 0)
    return tuple(int(place) for place in np.flatnonzero(wrong))


def _fact(expression: Expression, value: float, limit: float, judgement: Judgement) -> Found:
    """Judge what is known, and not estimated."""
    held = _held(expression, Estimate(value=value, low=value, high=value), limit, judgement)
    return Found(held, p=0.0 if judgement == "breaks" else 1.0, off=value / limit if limit else 0.0)


def _unknown(expression: Expression, estimate: Estimate, why: str) -> Found:
    held = _held(expression, estimate, None if expression.relative else expression.bound, "unclear")
    return Found(held.model_copy(update={"told": f"{held.told}: {why}"}))


def _held(expression: Expression, estimate: Estimate, limit: float | None, judgement: Judgement) -> Held:
    told = told_estimate(estimate, expression.tell if expression.statistic == "rate" else _teller(expression))
    return Held(criterion=plain(expression), estimate=estimate, limit=limit, judgement=judgement, told=told)


def _teller(expression: Expression) -> Tell:
    return share_text if expression.statistic == "error_ratio" else time_text


def told_estimate(estimate: Estimate, tell: Tell) -> str:
    """Write a figure with its interval: 420 ms (380 ms to 510 ms)."""
    if estimate.value is None:
        return "too few requests to tell"
    if estimate.low == estimate.high == estimate.value:
        return tell(estimate.value)
    high = "no bound" if estimate.high is None else tell(estimate.high)
    return f"{tell(estimate.value)} ({tell(estimate.low or 0.0)} to {high})"


def _percentile(expression: Expression) -> Fraction:
    return {"med": Fraction(50), "min": Fraction(0), "max": Fraction(100)}.get(
        expression.statistic, expression.percentile
    )


def _plain(part: Fraction) -> str:
    return f"{float(part):g}"


def first_bad(expression: Expression, blocks: Sequence[Block]) -> int | None:
    """Give the first interval in which a criterion did not hold, by its plain figures; None: there is none."""
    return next((place for place, block in enumerate(blocks) if seems_bad(expression, Sample([(block,)]))), None)


def seems_bad(expression: Expression, sample: Sample) -> bool:
    """Tell whether a criterion does not hold by its plain figure. Of a multiple of a baseline: whether it may not."""
    if expression.statistic == "error_ratio":
        return sample.count > 0 and not expression.holds(
            float(sample.failed.sum()) / float(sample.requests.sum()), expression.bound
        )
    if expression.statistic in ("rate", "value") or not sample.timed.sum():
        return False
    if expression.relative:
        return True
    if expression.statistic == "avg":
        value = float(sample.sums().sum() / sample.timed.sum())
    else:
        value = sample.quantile(float(_percentile(expression)) / 100) / 1e6
    return not expression.holds(value, expression.bound)
