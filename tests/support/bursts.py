"""Arrivals of known intensity, what people do to make them more, and how evenly the outcome comes.

Every kind of traffic is a Poisson process whose rate follows a path (a Cox process). So what factor times as many users
would have sent is known: another draw along the same path, times the factor. Seeded, and without any clock.
"""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from replayer.schedule.amplification import STRETCH, amplify, squeeze
from replayer.schedule.sessions import Visitors, amplify_sessions
from replayer.schedule.stages import Loudness
from rules.units import MILLION, Factor

SECOND = 1_000_000_000
MS = 1_000_000


class Stretch(NamedTuple):
    """A time with one rate."""

    begin: float
    end: float
    rate: float


Path = list[Stretch]


def steady(seconds: float, rate: float = 200.0) -> Path:
    """Many users who know nothing of each other."""
    return [Stretch(0.0, seconds, rate)]


def on_off(seconds: float, seed: int = 5, high: float = 600.0, low: float = 20.0) -> Path:
    """Bursts of 300 ms on average, with 700 ms on average between them, both of exponential length."""
    draw, path, at, on = random.Random(seed), [], 0.0, True
    while at < seconds:
        length = draw.expovariate(1 / (0.3 if on else 0.7))
        path.append(Stretch(at, min(seconds, at + length), high if on else low))
        at, on = at + length, not on
    return path


def diurnal(seconds: float, mean: float = 200.0, period: float = 300.0) -> Path:
    """A day, compressed to five minutes: a sine between a tenth and nearly twice the mean."""
    steps = [n / 4 for n in range(round(seconds * 4))]
    return [Stretch(at, at + 0.25, mean * (1 + 0.9 * math.sin(2 * math.pi * at / period))) for at in steps]


def drawn(path: Path, seed: int, factor: float = 1.0) -> list[int]:
    """Draw arrivals (ns) along a path, `factor` times as many."""
    draw, found = random.Random(seed), []
    for begin, end, rate in path:
        at = begin + draw.expovariate(rate * factor)
        while at < end:
            found.append(int(at * SECOND))
            at += draw.expovariate(rate * factor)
    return found


def pages(seconds: float, seed: int, rate: float = 20.0, more: int = 9) -> list[int]:
    """Pages at random times, each with some requests more within 100 ms: clusters that overlap."""
    draw, found = random.Random(seed), []
    for page in drawn(steady(seconds, rate), seed):
        found += [page, *(page + draw.randrange(100 * MS) for _ in range(more))]
    return sorted(at for at in found if at < seconds * SECOND)


def visits(path: Path, seed: int, factor: float = 1.0, requests: int = 8) -> list[tuple[int, int]]:
    """Sessions that begin along a path, each of some requests 250 ms apart on average: (ns, whose)."""
    draw, found = random.Random(seed + 1000), []
    for visitor, begin in enumerate(drawn(path, seed, factor)):
        at = begin
        for _ in range(requests):
            found.append((at, visitor))
            at += int(draw.expovariate(4.0) * SECOND)
    return sorted(found)


# --- ways to make it more ---


def _times(arrivals: Iterator[tuple[int, int] | None]) -> list[int]:
    return [arrival[0] for arrival in arrivals if arrival is not None]


def amplified(at: Sequence[int], factor: Factor, seed: int, stretch: int = STRETCH) -> list[int]:
    """Ours."""
    numbered = zip(at, range(len(at)), strict=True)
    return _times(amplify(numbered, Loudness.steady(factor), seed, stretch=stretch))


def amplified_visits(found: Sequence[tuple[int, int]], factor: Factor, seed: int) -> list[int]:
    """Ours, in whole sessions."""
    visitors = Visitors[int, int](Loudness.steady(factor), seed, 0, lambda item, _: item, lambda _: 1)
    return _times(amplify_sessions(((at, (visitor, visitor)) for at, visitor in found), visitors))


def squeezed(at: Sequence[int], factor: Factor) -> list[int]:
    """Times divided by the factor."""
    return _times(squeeze(zip(at, range(len(at)), strict=True), factor, 0))


def duplicated(at: Sequence[int], factor: Factor, seed: int) -> list[int]:
    """Each sent k times at once; a fraction by chance."""
    draw = random.Random(seed)
    whole, fraction = divmod(factor, MILLION)
    return [one for one in at for _ in range(whole + (draw.random() * MILLION < fraction))]


# --- how evenly it comes ---


def counted(at: Sequence[int], width_ns: int, length_ns: int) -> list[int]:
    """Count arrivals in each whole window of `width_ns` up to `length_ns`."""
    counts = [0] * (length_ns // width_ns)
    for one in at:
        if (window := one // width_ns) < len(counts):
            counts[window] += 1
    return counts


def dispersion(counts: Sequence[int]) -> float:
    """Variance over mean: the index of dispersion of counts (Cox and Lewis, 1966)."""
    mean = sum(counts) / len(counts)
    return sum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / mean


def autocorrelation(counts: Sequence[int]) -> float:
    """How much a window tells of the next one: the correlation at lag one."""
    mean = sum(counts) / len(counts)
    whole = sum((count - mean) ** 2 for count in counts)
    return sum((one - mean) * (two - mean) for one, two in pairwise(counts)) / whole


def in_theory(path: Path, width_ns: int, length_ns: int, factor: float) -> tuple[float, float]:
    """Give index of dispersion and autocorrelation to be expected of arrivals along a path, `factor` times as many.

    Exact, from the path alone: with L the integral of the rate over a window, the index is 1 + f Var[L] / E[L], and
    the autocorrelation f Cov[L, next L] / (E[L] + f Var[L]).
    """
    width, count = width_ns / SECOND, length_ns // width_ns
    whole = [0.0] * (count + 1)
    for begin, end, rate in path:
        at = begin
        while at < end:
            window = min(count, int((at + 1e-9) / width))
            until = min(end, (window + 1) * width)
            whole[window] += rate * (until - at)
            at = until
    integrals = whole[:count]
    mean = sum(integrals) / count
    variance = sum((one - mean) ** 2 for one in integrals) / (count - 1)
    covariance = sum((one - mean) * (two - mean) for one, two in pairwise(integrals)) / (count - 1)
    return 1 + factor * variance / mean, factor * covariance / (mean + factor * variance)


def expected_dispersion(before: float, factor: float) -> float:
    """Give the index of dispersion of a Cox process whose intensity was multiplied.

    Of a count in a window with (random) integrated intensity L the variance is E[L] + Var[L], so the index is
    1 + Var[L] / E[L]; with f L instead of L it is 1 + f (I - 1).
    """
    return 1 + factor * (before - 1)


def expected_autocorrelation(before: float, dispersion_before: float, factor: float) -> float:
    """Give the autocorrelation of counts of a Cox process whose intensity was multiplied.

    The covariance of two windows is that of their intensities, so it grows by f squared; the variance is
    f E[L] + f^2 Var[L].
    """
    return before * factor * dispersion_before / expected_dispersion(dispersion_before, factor)
