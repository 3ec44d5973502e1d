"""The incident's routes beside the clone's answers: what differs, and what that means for the verdict. Pure.

How grave a difference is, `weighing` says; `sizing` compares sizes, `overall` looks at all routes together.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from drill.fairness.fairness import Direction, Finding, Kind, RouteSeen, Sizes
from drill.fairness.overall import together
from drill.fairness.population import Heard, Population
from drill.fairness.replies import Difference, Reply, difference
from drill.fairness.sizing import size_findings
from drill.fairness.weighing import about_route, at_least, gravest, severity_of


class Finished(NamedTuple):
    """What a comparison came to."""

    findings: tuple[Finding, ...]
    routes: tuple[RouteSeen, ...]
    compared_share: float


def compare(
    known: Population,
    replies: Mapping[int, Sequence[Reply]],
    left_out: Mapping[int, str],
    changed: Collection[str] = (),
) -> Finished:
    """Compare. `replies` and `left_out` (why a route was not asked) by the route's place among those of `known`.

    `changed` names routes (`GET /products`, or a path alone) whose answers the fix has changed on purpose.
    """
    findings: list[Finding] = []
    routes: list[RouteSeen] = []
    compared = 0.0
    for number, route in enumerate(known.routes):
        told = replies.get(number, ())
        got = [reply for reply in told if reply.purpose != "again"]
        if not got:
            routes.append(_unseen(known, route, left_out.get(number, "it was not asked")))
            continue
        own = [*_statuses(known, route, got), *size_findings(known, route, told)]
        if {f"{route.method} {route.template}", route.template} & set(changed):
            own = [_on_purpose(finding) for finding in own]
        compared += known.share(route)
        findings += own
        routes.append(_seen(known, route, got, own))
    findings += together(known, findings, routes, replies, compared)
    return Finished(gravest(findings), tuple(routes), min(1.0, compared))


def _on_purpose(finding: Finding) -> Finding:
    if finding.kind not in ("size", "status", "missing", "compression"):
        return finding
    return finding.model_copy(
        update={
            "severity": "doubt" if finding.severity == "unfair" else finding.severity,
            "what": f"{finding.what} It is said that the fix changed that (--changed).",
            "means": "Whether the clone has production's data can't be told by this route.",
            "advice": "",
            "on_purpose": True,
        }
    )


# --- statuses ---


def _statuses(known: Population, route: Heard, got: Sequence[Reply]) -> list[Finding]:
    by_kind: dict[tuple[Kind, Direction], list[tuple[Reply, Difference]]] = defaultdict(list)
    for reply in got:
        if found := difference(reply):
            by_kind[found.kind, found.direction].append((reply, found))
    findings = []
    for (kind, direction), found_ in by_kind.items():
        words = Counter(each.words for _, each in found_)
        said = "; ".join(f"{count} with {what}" for what, count in words.most_common(3))
        then = Counter(reply.record.status for reply, _ in found_ if 0 < reply.record.status < 500)
        if unknown := not then:
            before = "how production answered is not known" if known.statuses or not route.known else "it only failed"
        else:
            before = "answered with " + ", ".join(str(status) for status, _ in then.most_common(3)) + " in production"
        severity = severity_of(known, route, len(found_), len(got))
        if kind == "failing" and unknown and route.known:
            severity = "doubt"  # as it did in the incident: that it does so without load may be the fault itself
        if unknown and severity == "unfair" and kind != "failing" and not _odd(known, route, kind, found_, len(got)):
            severity = "doubt"
        what = f"of {len(got)} requests, {before}, the clone answers {said}"
        findings.append(about_route(known, route, kind, severity, direction, what))
    return findings


def _odd(known: Population, route: Heard, kind: Kind, found: Sequence[tuple[Reply, Difference]], asked: int) -> bool:
    """Whether answers are wrong on a route of which nobody knows how production answered it.

    Production can't have answered so where there were not so many answers of that class in all. Where not even that is
    known: a route that people asked for is hardly one that leads nowhere, or to a login.
    """
    if known.statuses:
        classes = {f"{reply.status // 100}XX" for reply, _ in found}
        return sum(known.statuses.get(each, 0.0) for each in classes) < known.share(route) / 2
    return kind in ("missing", "login") and at_least(len(found), asked) > 0.5


# --- routes, for the table ---


def _unseen(known: Population, route: Heard, why: str) -> RouteSeen:
    return RouteSeen(
        method=route.method,
        template=route.template,
        share=known.share(route),
        time_share=known.time_share(route),
        recorded=_counted(route),
        recorded_sizes=_of(route.sizes),
        why=why,
    )


def _seen(known: Population, route: Heard, got: Sequence[Reply], own: Sequence[Finding]) -> RouteSeen:
    severities = {finding.severity for finding in own}
    whole = [reply.size for reply in got if not reply.failure and 200 <= reply.status < 300]
    return RouteSeen(
        method=route.method,
        template=route.template,
        share=known.share(route),
        time_share=known.time_share(route),
        asked=len(got),
        recorded=_counted(route),
        clone=dict(Counter(reply.failure or str(reply.status) for reply in got)),
        recorded_sizes=_of(route.sizes) or _mean(route.mean_bytes),
        clone_sizes=_of(whole),
        outcome="unfair" if "unfair" in severities else "doubt" if "doubt" in severities else "alike",
    )


def _counted(route: Heard) -> dict[str, int]:
    return {str(status) if status else "no answer": count for status, count in route.statuses.most_common()}


def _of(sizes: Sequence[int]) -> Sizes | None:
    if not sizes:
        return None
    return Sizes(smallest=min(sizes), median=round(median(sizes)), largest=max(sizes), mean=sum(sizes) / len(sizes))


def _mean(mean: float | None) -> Sizes | None:
    return None if mean is None else Sizes(smallest=round(mean), median=round(mean), largest=round(mean), mean=mean)
