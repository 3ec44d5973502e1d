"""What is known of all routes together: what adds up, what was not compared, and how warm the caches are. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from drill.fairness.fairness import Direction, Finding, RouteSeen, Severity
from drill.fairness.population import Population
from drill.fairness.replies import FAR, NEAR, Reply
from drill.fairness.weighing import ADVICE, DOUBTS, MATTERS, MEANS, reads, times
from replayer.reporting.figures import share as percent
from replayer.reporting.figures import size_of
from replayer.reporting.figures import time as seconds_of

TAIL = 0.05
"""Share of requests from which on differences on routes that do not matter one by one are unfair together."""

WRITES = 0.02
"""Share of requests that change things from which on it is said that nothing is known of them."""

MOST_OF_IT = 0.8
"""Share of the incident's requests that have to be compared for a mean over all to say something."""

COLD = 2.0
"""Factor between the first answer and the second one from which on caches were cold."""

_COLDEST = 0.005
"""Seconds that are no difference."""


def together(
    known: Population,
    findings: Sequence[Finding],
    routes: Sequence[RouteSeen],
    replies: Mapping[int, Sequence[Reply]],
    compared: float,
) -> list[Finding]:
    """Say what is to be said beside the `findings` about single routes; `compared`: the share of those compared."""
    return [
        *_tails(findings),
        *_writes(known),
        *_mean_of_all(known, routes, compared),
        *_caches(replies),
        *_coverage(known, routes, compared),
    ]


def _tails(findings: Iterable[Finding]) -> list[Finding]:
    """Add up what differs on routes that do not matter one by one."""
    found = []
    for direction in ("easy", "hard"):
        rest = {
            finding.route: finding
            for finding in findings
            if finding.severity == "doubt"
            and finding.direction in (direction, "either")
            and finding.kind != "compression"
            and finding.share < MATTERS
            and not finding.on_purpose
        }
        share = sum(finding.share for finding in rest.values())
        if share >= TAIL:
            towards: Direction = "easy" if direction == "easy" else "hard"
            found.append(
                Finding(
                    kind="status",
                    severity="unfair",
                    direction=towards,
                    what=f"{len(rest)} routes with few requests each answer otherwise than production, together "
                    f"{percent(share)} of the requests.",
                    means=MEANS[towards],
                    advice="See what is said of each of them.",
                    share=min(1.0, share),
                )
            )
    return found


def _writes(known: Population) -> list[Finding]:
    share = sum(known.share(route) for route in known.routes if not reads(route.method))
    if not share:
        return []
    return [
        Finding(
            kind="not-compared",
            severity="doubt" if share >= WRITES else "says nothing",
            what=f"{percent(share)} of the requests change things (POST and the like); a check sends none of them.",
            means="How the clone answers them is not known before the run.",
            share=min(1.0, share),
        )
    ]


def _mean_of_all(known: Population, routes: Sequence[RouteSeen], compared: float) -> list[Finding]:
    """Compare the mean over all routes, where that is all there is to compare with."""
    if known.mean_bytes is None or compared < MOST_OF_IT / 2:
        return []
    seen = [(route.share, route.clone_sizes) for route in routes if route.clone_sizes is not None]
    weight = sum(share for share, _ in seen)
    if not weight:
        return []
    now, then = sum(share * sizes.mean for share, sizes in seen) / weight, known.mean_bytes
    # Answers that failed are small, and they are in the incident's mean. So those that did not had more in the mean,
    # but no more than if the others had been empty.
    most = then / max(0.01, known.statuses.get("2XX", 1.0))
    if (then + NEAR) / FAR <= now + NEAR <= (most + NEAR) * FAR:
        return []
    direction: Direction = "easy" if now < then else "hard"
    # Where many requests are of routes that nobody knows, those may be the large ones.
    whole = compared * (1 - known.unnamed) >= MOST_OF_IT
    severity: Severity = "unfair" if direction == "easy" and whole else "doubt"
    return [
        Finding(
            kind="size",
            severity=severity,
            direction=direction,
            what=f"An answer of the clone has {size_of(round(now))} in the mean over all routes, one of production had "
            f"{size_of(round(then))} ({times(then, now)}).",
            means=(MEANS if severity == "unfair" else DOUBTS)[direction],
            advice=f"{ADVICE['size']}.",
            share=min(1.0, weight),
        )
    ]


def _caches(replies: Mapping[int, Sequence[Reply]]) -> list[Finding]:
    """See by answers to the same request, twice in a row, whether the clone's caches were cold."""
    twice = [
        (first.seconds, second.seconds)
        for got in replies.values()
        for first, second in pairwise(got)
        if second.purpose == "again" and not first.failure and first.status == second.status
    ]
    slower = [(a, b) for a, b in twice if a > COLD * b and a - b > _COLDEST]
    quicker = [(a, b) for a, b in twice if b > COLD * a and b - a > _COLDEST]
    findings = []
    if slower and _sign(len(slower), len(quicker)) < 0.01:
        factor = median(a / max(b, 1e-6) for a, b in slower)
        first = seconds_of(median(a for a, _ in slower))
        findings.append(
            Finding(
                kind="cache",
                severity="doubt",
                direction="hard",
                what=f"{len(slower)} of {len(twice)} requests took {factor:.2g} times as long ({first}) as the same "
                "once more: the clone's caches were cold.",
                means="Production's may have been warm: a clone that gives way in the first minutes proves less.",
                advice="Play some minutes of the incident first: --warm 5m.",
            )
        )
    cached = Counter(reply.from_cache for got in replies.values() for reply in got if reply.from_cache)
    asked = sum(len(got) for got in replies.values())
    if cached:
        (field, _), *_ = cached.most_common(1)
        findings.append(
            Finding(
                kind="shared-cache",
                severity="doubt",
                direction="easy",
                what=f"A cache before the clone answered {sum(cached.values())} of {asked} requests itself ({field}).",
                means="What it answers, the clone does not. If the incident's requests are those that such a cache had "
                "let through, the clone gets fewer of them.",
                advice="Name the clone's own address as --to, or --resolve it.",
            )
        )
    return findings


def _sign(more: int, fewer: int) -> float:
    """Give the one-sided p of the sign test."""
    total = more + fewer
    return math.fsum(math.comb(total, k) / 2**total for k in range(more, total + 1))


def _coverage(known: Population, routes: Sequence[RouteSeen], compared: float) -> list[Finding]:
    """Say what is not known, so that nobody takes silence for consent."""
    findings = []
    sized = sum(route.share for route in routes if route.asked and route.recorded_sizes is not None)
    if compared and sized < compared / 2 and known.mean_bytes is None:
        findings.append(
            Finding(
                kind="not-compared",
                severity="doubt",
                direction="easy",
                what=f"How large production's answers were is known of {percent(sized)} of the requests only.",
                means="Whether the clone has as much data as production is not known: HOLDS is told with this doubt.",
                advice="A capture, or a log with sizes, would tell.",
                share=min(1.0, max(0.0, compared - sized)),
            )
        )
    readable = sum(known.share(route) for route in known.routes if reads(route.method))
    if readable and compared < 0.9 * readable:
        findings.append(
            Finding(
                kind="not-compared",
                severity="doubt",
                direction="either",
                what=f"Routes with {percent(compared)} of the requests were compared, {percent(readable)} read.",
                means="Of the rest it is not known whether the clone stands in for production.",
                share=min(1.0, readable - compared),
            )
        )
    return findings
