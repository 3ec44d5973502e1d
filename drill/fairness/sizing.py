"""Sizes of answers: does the clone send about as much as production did? Pure.

Sizes differ by themselves: no two pages with the time of day are the same. How much, the answers to the same request
tell, in the incident and of the clone (`_Noise`). So a size is a difference only if it is half as large again (or two
thirds) by more than `NEAR` bytes, and by more than chance would do (1%, for one answer); and it is unfair only from a
factor of two on.

Where all answers of a route are a bit smaller than chance would have each one of them, their mean shows it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

from drill.fairness.fairness import Direction, Finding, Severity
from drill.fairness.population import Heard, Population
from drill.fairness.replies import APART, FAR, NEAR, Reply, Sized, sized
from drill.fairness.weighing import RARE, about_route, matters, severity_of, times
from replayer.reporting.figures import size_of

_RESTLESS = 0.2
"""Deviation of the logarithm of a size from which on the largest answer of many was the largest by chance."""

_RARELY, _SELDOM = 2.33, 1.64
"""Normal deviates that 1% and 5% lie above."""


class _Noise(NamedTuple):
    """How much sizes of answers to the same request differ."""

    deviation: float
    """Of the logarithm of the size."""
    freedom: int
    """Answers that this rests on, but for one of each request."""

    def chance(self, deviates: float) -> float:
        """Give the logarithm of a factor that is passed by chance so rarely; of few answers it is more (Student)."""
        return deviates * (1 + 2 / max(1, self.freedom)) * self.deviation


def size_findings(known: Population, route: Heard, got: Sequence[Reply]) -> list[Finding]:
    """Tell what is to be said of the sizes on a route."""
    asked = [reply for reply in got if reply.purpose != "again"]
    if route.mean_bytes is not None and not route.sized:
        return _mean_size(known, route, asked)
    noise = _noise(route, got)
    calm = noise.deviation < _RESTLESS
    pairs = [pair for reply in asked if (pair := sized(reply)) and (calm or not pair.largest)]
    if not pairs:
        return []
    bound = max(math.log(APART), noise.chance(_RARELY) * math.sqrt(2))
    findings = _packing(known, route, pairs)
    for direction, sign in (("easy", -1), ("hard", 1)):
        apart = [pair for pair in pairs if sign * math.log(pair.factor) > bound]
        towards: Direction = "easy" if direction == "easy" else "hard"
        if finding := _several(known, route, pairs, apart, towards) or _all(known, route, pairs, noise, sign):
            findings.append(finding)
    return findings


def _several(
    known: Population, route: Heard, pairs: Sequence[Sized], apart: Sequence[Sized], direction: Direction
) -> Finding | None:
    """Judge answers that differ one by one."""
    if not apart:
        return None
    severity = severity_of(known, route, len(apart), len(pairs))
    if severity == "doubt" and any(pair.largest for pair in apart) and _heavy(route, apart) and matters(known, route):
        severity = "unfair"
    if 1 / FAR < _total(apart) < FAR:
        severity = "doubt"
    what = f"{len(apart)} of {len(pairs)} answers are of another size: {_sizes(apart)}"
    return about_route(known, route, "size", severity, direction, what)


def _all(known: Population, route: Heard, pairs: Sequence[Sized], noise: _Noise, sign: int) -> Finding | None:
    """Judge the mean of all answers, which differ by more than chance together even if none does alone."""
    mean = sign * fmean(math.log(pair.factor) for pair in pairs)
    surely = mean - noise.chance(_SELDOM) * math.sqrt(2 / len(pairs))
    if surely <= math.log(APART):
        return None
    severity: Severity = "unfair" if surely >= math.log(FAR) and matters(known, route) else "doubt"
    what = f"{len(pairs)} answers are of another size in the mean: {_sizes(pairs)}"
    return about_route(known, route, "size", severity, "easy" if sign < 0 else "hard", what)


def _noise(route: Heard, got: Sequence[Reply]) -> _Noise:
    """Learn from the answers to the same request how much they differ by themselves."""
    groups: list[list[int]] = [same for same in route.by_path.values() if len(same) > 1]
    for before, reply in pairwise(got):
        if reply.purpose == "again" and not (before.failure or reply.failure) and before.status == reply.status:
            groups.append([before.size, reply.size])
    squares, freedom = 0.0, 0
    for same in groups:
        logarithms = [math.log(size + NEAR) for size in same]
        middle = fmean(logarithms)
        squares += math.fsum((each - middle) ** 2 for each in logarithms)
        freedom += len(same) - 1
    return _Noise(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


def _total(pairs: Iterable[Sized]) -> float:
    sizes = [(pair.now, pair.then) for pair in pairs]
    return (sum(now for now, _ in sizes) + NEAR) / (sum(then for _, then in sizes) + NEAR)


def _heavy(route: Heard, found: Sequence[Sized]) -> bool:
    """Whether answers as large as the largest that differs make up a tenth of what the route sent."""
    largest = max(pair.then for pair in found)
    total = sum(route.sizes)
    return bool(total) and sum(size for size in route.sizes if size >= largest / FAR) >= RARE * total


def _sizes(found: Sequence[Sized]) -> str:
    then, now = median(pair.then for pair in found), median(pair.now for pair in found)
    told = f"{size_of(round(now))} on the clone, where production sent {size_of(round(then))} ({times(then, now)})"
    return told + _in_rows(max(found, key=lambda pair: pair.then))


def _in_rows(pair: Sized) -> str:
    """Say it by the rows of a list, if the answer is one."""
    if pair.rows is None or not (filling := pair.rows.filling(pair.now, pair.then)) or filling == pair.rows.number:
        return ""
    return f": {pair.rows.number:,} rows, where production's answer had room for some {filling:,}"


def _packing(known: Population, route: Heard, pairs: Sequence[Sized]) -> list[Finding]:
    findings = []
    ways: dict[str, tuple[Direction, str, str]] = {
        "clone-packs": (
            "hard",
            "the clone packs its answers, and production sent them as they are",
            "Have the clone pack as production does; or --remove-header Accept-Encoding",
        ),
        "clone-does-not": (
            "easy",
            "production packed its answers (gzip or the like), and the clone sends them as they are",
            "Have the clone pack as production does, or ask it to: --set-header 'Accept-Encoding: gzip'",
        ),
    }
    for way, (direction, words, advice) in ways.items():
        count = sum(pair.packing == way for pair in pairs)
        if count:
            what = f"{count} of {len(pairs)} sizes fit if {words}"
            findings.append(about_route(known, route, "compression", "doubt", direction, what, advice))
    return findings


def _mean_size(known: Population, route: Heard, got: Sequence[Reply]) -> list[Finding]:
    """Compare where only the mean is known of the incident, its failures included."""
    sizes = [reply.size for reply in got if not reply.failure and 200 <= reply.status < 300]
    if not sizes or route.mean_bytes is None:
        return []
    now, then = sum(sizes) / len(sizes), route.mean_bytes
    factor = (now + NEAR) / (then + NEAR)
    if 1 / FAR <= factor <= FAR:
        return []
    direction: Direction = "easy" if factor < 1 else "hard"
    severity: Severity = "unfair" if matters(known, route) and direction == "easy" and len(sizes) > 2 else "doubt"
    what = f"{len(sizes)} answers have {size_of(round(now))} in the mean, those of production {size_of(round(then))}"
    return [about_route(known, route, "size", severity, direction, f"{what} ({times(then, now)})")]
