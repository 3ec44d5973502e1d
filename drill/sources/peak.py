"""Where rate and errors are worst, by counts in equal intervals. Pure.

A failed request weighs as ten: an incident is where users get errors, and a higher rate that all went well under is
none. So what a moment weighs is its requests, and nine times its failures on top; where no failure is known, the rate
alone decides. Fewer requests than usual make it no better, if there are failures of some number among them: those of a
site that is down, or of a night, weigh on top of the usual rate. Counts are summed over a few intervals around each
moment, so that chance does not decide.

When it is bad for long, the incident is where that began: what was asked before it is what took the site down. So the
peak is the *first* moment that is about as bad as the worst one: as bad but for a tenth, or for three standard
deviations of such a count (a sum of independent arrivals, of which each failure counts ten times, has the variance
``succeeded + 100 x failed``), whichever is more; worse than half the way from the usual to the worst; and with half as
many failures at least. Where nothing is worse than the usual by more than chance, but the site fell silent, that is it.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import sqrt
from statistics import median
from typing import NamedTuple

from captures.moments import iso

WEIGHT = 10
"""Requests that a failed one weighs."""

_MISSING = 100
"""Requests at most of those that are fewer than usual for which a failed one stands: one alone is none of an outage."""

_AS_BAD = 0.9
_DEVIATIONS = 3.0

_CLEARLY = 5.0
"""Deviations that are more than chance, though the worst of many moments was looked for: of 100,000 independent ones
one is above 4.3."""


_CERTAIN = 25.0
"""So many expected requests that all fail to come are no chance: exp(-25)."""


class Peak(NamedTuple):
    """When it gets worst."""

    at: int
    """The interval in which that begins."""
    requests: int
    failed: int
    """Counts in the intervals around the worst moment, and..."""
    usual: float
    """...how many requests so many intervals have usually (the median)."""
    usual_failed: float
    clear: bool
    """Whether it is worse than the usual by more than chance."""
    silent: int = 0
    """Intervals after it without any request; only where nothing was worse by more than chance."""


def find(requests: Sequence[int], failed: Sequence[int], reach: int) -> Peak | None:
    """Find the peak; `reach` intervals before and after a moment are looked at with it. None: there is no request.

    `failed` are among `requests`.
    """
    if not any(requests):
        return None
    summed, broken = _around(requests, reach), _around(failed, reach)
    busy = [number for number, count in enumerate(requests) if count]
    typical = median(summed[number] for number in busy), median(broken[number] for number in busy)
    weights = [
        max(count, min(typical[0], _MISSING * bad)) + (WEIGHT - 1) * bad
        for count, bad in zip(summed, broken, strict=True)
    ]
    usual = median(weights[number] for number in busy)
    worst = max(busy, key=weights.__getitem__)
    most = weights[worst]
    noise = _DEVIATIONS * _deviation(summed[worst], broken[worst])
    enough = max(min(_AS_BAD * most, most - noise), (most + usual) / 2)
    # Of as many failures, too: a rush before it that went well is another thing.
    at = next(number for number in busy if weights[number] >= enough and 2 * broken[number] >= broken[worst])
    clear = most - usual > _CLEARLY * max(_deviation(*typical), _deviation(summed[worst], broken[worst]) / 2)
    if not clear and (silence := _silence(requests, busy, summed, typical[0], reach)) is not None:
        before, after = silence
        return Peak(before, summed[before], broken[before], *typical, clear=False, silent=after - before - 1)
    return Peak(
        at=at,
        requests=summed[worst],
        failed=broken[worst],
        usual=typical[0],
        usual_failed=typical[1],
        clear=clear,
    )


def _silence(
    requests: Sequence[int], busy: Sequence[int], summed: Sequence[int], usual: float, reach: int
) -> tuple[int, int] | None:
    """Find the longest time in which no request came to a site that was as busy as usual just before.

    It is told by the intervals before and after it. None: there is none that chance could not make.
    """
    spans = [span for span in pairwise([*busy, len(requests)]) if 2 * summed[span[0]] >= usual]
    before, after = max(spans, key=lambda span: span[1] - span[0], default=(0, 1))
    length = after - before - 1
    expected = usual * length / min(2 * reach + 1, len(requests))
    return (before, after) if length >= max(1, reach) and expected >= _CERTAIN else None


def described(peak: Peak, at_ns: int, seconds: float, width: float) -> str:
    """Say of a peak what was found; `seconds` is how long the intervals are whose counts it has, `width` each one."""
    failed = f", {peak.failed / peak.requests:.1%} of them failed" if peak.failed else ""
    usually = f", {peak.usual_failed / peak.usual:.1%} failed" if peak.usual_failed else ""
    found = f"the peak is about {iso(at_ns)}: {peak.requests / seconds:,.3g}/s{failed}"
    than = f"as a rule {peak.usual / seconds:,.3g}/s{usually}"
    if peak.silent:
        return (
            f"nothing stands out but that no request came for {peak.silent * width:,.0f} s after {iso(at_ns)} "
            f"({than}): that is taken for the incident. Say with --from and --until if another time is meant"
        )
    doubt = "" if peak.clear else ". It does not stand out: say with --from and --until which time is meant"
    return f"{found} ({than}){doubt}"


def around(at_ns: int, length_ns: int, first_ns: int, end_ns: int) -> tuple[int, int]:
    """Give the time of this length that has a moment in its middle, moved to lie within `first_ns` to `end_ns`."""
    begin = max(first_ns, min(at_ns - length_ns // 2, end_ns - length_ns))
    return begin, min(end_ns, begin + length_ns)


def _around(counts: Sequence[int], reach: int) -> list[int]:
    """Give for each interval the sum over it and `reach` on both sides; near the ends, over the nearest so many."""
    sums = [0, *accumulate(counts)]
    width = min(2 * reach + 1, len(counts))
    starts = (max(0, min(number - reach, len(counts) - width)) for number in range(len(counts)))
    return [sums[start + width] - sums[start] for start in starts]


def _deviation(requests: float, failed: float) -> float:
    return sqrt(requests - failed + WEIGHT * WEIGHT * failed)
