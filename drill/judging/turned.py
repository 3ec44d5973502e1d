"""Requests that the target turned away (4xx), where production answered them. Pure.

They are no failures, for production answers with 404, too; and they cost a target nothing. So one that turns users
away bears any load: its limit of requests is meant for strangers, and a replay is one; last night's sessions and forms
are not valid on it; the things that are bought are not there. Before a drill some requests of each route are compared,
one at a time, and none that changes things: what shows only under load, or only in those, shows here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from drill.fairness.weighing import RARE, at_least
from drill.judging.evidence import EMPTY, Evidence, Past, Played
from replayer.comparing.routes import Name


class Turned(NamedTuple):
    """How many were turned away."""

    share: float
    """Of the answers."""
    before: float | None
    """Of production's; None: nobody knows."""
    status: int
    """The most frequent one."""


def turned_away(evidence: Evidence, played: Sequence[Played], names: Sequence[Name]) -> Turned | None:
    """Tell whether more requests to some routes were turned away than in the incident, and more than by chance."""
    statuses: Counter[int] = Counter()
    answers = 0
    for each in played:
        for name in names:
            statuses.update(each.turned.get(name, {}))
            answers += sum(block.requests - block.failed for block in each.latency.get(name, EMPTY))
    if not statuses:
        return None
    before = _before(evidence, names)
    if at_least(statuses.total(), answers) - (before or 0.0) <= RARE:
        return None
    ((status, _),) = statuses.most_common(1)
    return Turned(statuses.total() / answers, before, status)


def _before(evidence: Evidence, names: Iterable[Name]) -> float | None:
    """Give the share of production's answers that turned somebody away: to these routes, or, if that is all, to any."""
    told = evidence.story.statuses
    if evidence.story.outcomes != "records":
        answered = sum(count for status, count in told.items() if status not in ("5XX", "none"))
        return told.get("4XX", 0) / answered if answered else None
    there = [evidence.past[name] for name in names if name in evidence.past]
    answered = sum(map(_answered, there))
    return sum(sum(past.turned.values()) for past in there) / answered if answered else None


def _answered(past: Past) -> int:
    return sum(block.requests - block.failed for block in past.blocks)
