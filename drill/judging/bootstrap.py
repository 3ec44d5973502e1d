"""How far a share can be from the one that was measured: a block bootstrap over intervals of time and repeats. Pure.

Requests come in spells, so those of one interval say much the same and do not count as independent; intervals of time
do, and so do replays. A share (of requests that failed, or took longer than a bound) is a ratio of two sums over
clusters, the clusters being the intervals of all replays.

- *How bad it may be at most*: the studentised bootstrap (bootstrap-t) of that ratio: replays are drawn with
  replacement, and then intervals of each; of every draw it is told by how many standard errors it lies off. Trouble
  comes in few intervals, so shares of it are skewed: a sample that met little of it looks good and sure of itself. The
  studentised bootstrap is the one that follows the skew (Hall, Annals of Statistics 16, 1988; Davison and Hinkley,
  Bootstrap Methods and their Application, 1997, 2.4 and 5.2; 3.8 for two levels).
- *How bad it is at least*: Student's bound, which the same skew makes err on the careful side (Johnson, J. Am. Stat.
  Assoc. 73, 1978).
- The standard error is that of a ratio over clusters (Cochran, Sampling Techniques, 1977, 11.12 ff.), and never below
  that of as many independent requests.
- Nobody who saw no failure knows that there are none, and a bootstrap of nothing but good intervals has no spread. So a
  bound is never narrower than Clopper and Pearson's exact binomial one (Biometrika 26, 1934), nor than Student's.

Whatever is measured at several cutoffs is drawn with the same weights, so that bounds of it never cross by chance.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtr, stdtrit

from drill.judging.verdict import CONFIDENCE

Floats = NDArray[np.float64]

DRAWS = 2000
SEED = 20261122
"""Of the draws. The same evidence gives the same verdict, whoever asks and whenever."""

TAIL = (1 - CONFIDENCE) / 2

FEWEST = 5
"""Intervals with requests in them: of fewer nothing is said."""


class Bounds(NamedTuple):
    """Shares, one for each cutoff, and how far off they can be."""

    share: Floats
    low: Floats
    high: Floats
    error: Floats
    """Standard error."""
    freedom: int
    """Degrees of freedom of it; 0: too few intervals, and the bounds are 0 and 1."""
    size: float
    """Requests."""


@lru_cache(maxsize=64)
def weights(blocks: tuple[int, ...], draws: int = DRAWS) -> Floats:
    """Draw replays, and intervals of each: how often each interval is in each draw.

    `blocks` is the number of intervals of each replay; those of the first replay come first.
    """
    random = np.random.default_rng(SEED)
    runs = len(blocks)
    often = random.multinomial(runs, [1 / runs] * runs, size=draws)
    drawn = [random.multinomial(often[:, run] * count, [1 / count] * count) for run, count in enumerate(blocks)]
    found: Floats = np.concatenate(drawn, axis=1).astype(np.float64)
    found.setflags(write=False)
    return found


def bounds(bad: Floats, size: Floats, blocks: tuple[int, ...]) -> Bounds:
    """Bound shares. `bad`: intervals x cutoffs, `size`: requests of each interval, `blocks` as for `weights`."""
    total, filled = float(size.sum()), int((size > 0).sum())
    nothing = np.zeros(bad.shape[1])
    if filled < FEWEST:
        share = bad.sum(axis=0) / total if total else nothing
        return Bounds(share, nothing, np.ones(bad.shape[1]), nothing, 0, total)
    share, error = _ratio(np.ones((1, len(size))), bad, size, filled)
    share, error = share[0], error[0]
    drawn, errors = _ratio(weights(blocks), bad, size, filled)
    off = (drawn - share) / errors
    low_t = np.quantile(off, TAIL, axis=0)
    student = float(stdtrit(filled - 1, 1 - TAIL))
    low = share - student * error
    high = share + np.maximum(-low_t, student) * error
    exact_low, exact_high = exact(bad.sum(axis=0), total)
    low = np.clip(np.minimum(low, exact_low), 0, 1)
    high = np.clip(np.maximum(high, exact_high), 0, 1)
    return Bounds(share, low, high, error, filled - 1, total)


def mean_bounds(sums: Floats, size: Floats, blocks: tuple[int, ...]) -> tuple[float, float, float] | None:
    """Give a mean and the bounds of it; `sums` of each interval. None: too few intervals."""
    filled = int((size > 0).sum())
    if filled < FEWEST:
        return None
    column = sums[:, None]
    mean, error = _ratio(np.ones((1, len(size))), column, size, filled, floor=False)
    drawn, errors = _ratio(weights(blocks), column, size, filled, floor=False)
    known = errors[:, 0] > 0
    if not error[0, 0] or not known.any():
        return float(mean[0, 0]), float(mean[0, 0]), float(mean[0, 0])
    low_t, high_t = np.quantile((drawn[known, 0] - mean[0, 0]) / errors[known, 0], [TAIL, 1 - TAIL])
    student = float(stdtrit(filled - 1, 1 - TAIL))
    value, one = float(mean[0, 0]), float(error[0, 0])
    return value, max(0.0, value - max(float(high_t), student) * one), value + max(-float(low_t), student) * one


def exact(bad: Floats, size: float, tail: float = TAIL) -> tuple[Floats, Floats]:
    """Give Clopper and Pearson's bounds of a share of independent requests."""
    with np.errstate(invalid="ignore"):
        low = np.where(bad > 0, betaincinv(np.maximum(bad, 1e-300), size - bad + 1, tail), 0.0)
        high = np.where(bad < size, betaincinv(bad + 1, np.maximum(size - bad, 1e-300), 1 - tail), 1.0)
    return low, high


def worse_than(found: Bounds, place: int, allowed: float) -> float:
    """Give how often chance alone would do as much, if no more than the `allowed` share were bad (one-sided p)."""
    share, error = float(found.share[place]), float(found.error[place])
    if not found.freedom or share <= allowed:
        return 1.0
    return float(stdtr(found.freedom, -(share - allowed) / error))


def needed(allowed: float) -> int:
    """Give the requests, not one of them bad, that it takes to show that less than the `allowed` share is."""
    return int(np.ceil(np.log(TAIL) / np.log1p(-allowed))) if 0 < allowed < 1 else 0


def _ratio(often: Floats, bad: Floats, size: Floats, filled: int, *, floor: bool = True) -> tuple[Floats, Floats]:
    """Give ratios of sums over clusters, draws x cutoffs, and their standard errors."""
    total = (often @ size)[:, None]
    total = np.maximum(total, 1.0)
    share = (often @ bad) / total
    # The squares of (bad - share x size), summed up over the clusters that were drawn.
    spread = often @ (bad**2) - 2 * share * (often @ (bad * size[:, None])) + share**2 * (often @ size**2)[:, None]
    variance = np.maximum(spread, 0.0) * filled / (filled - 1) / total**2
    if floor:
        seen = (share * total + 1) / (total + 2)
        variance = np.maximum(variance, seen * (1 - seen) / (total + 2))
    return share, np.sqrt(variance)
