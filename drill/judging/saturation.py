"""Whether a target keeps up, whatever its times are: requests on their way that pile up. Pure.

A target that answers as fast as it is asked has as many requests on their way as its rate times its latency (Little,
Oper. Res. 9, 1961). So the backlog divided by the rate is the time that a request spends there, also of those that were
never answered; and where that grows over the whole replay, whatever the percentiles are by its end, the next minute is
worse. Growth is told from noise by Mann and Kendall's test (Econometrica 13, 1945).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from drill.judging.evidence import BLOCKS, Instant, Played

GROWTH, LONGEST = 3.0, 0.5
"""By how much the time spent there has to grow from the first third to the last, and the seconds it has to reach: a
quick target that gets a little slower is not saturated."""

Z = 2.576
"""Normal deviate of a growth that is more than noise: 0.5% on this side."""

LEFT = 0.1
"""Share of everything sent that is without an answer when a replay is stopped: the target does not keep up."""


class Pile(NamedTuple):
    """How requests piled up in a replay."""

    grows: bool
    """The time spent at the target grows, over all of the replay."""
    lost: bool
    """It answers less than it is asked: by the end a large part has no answer."""
    first: float
    """Seconds spent there, in the first third of the replay."""
    last: float
    """And in its last third."""
    left: int
    """Requests without an answer at the end."""


def pile(played: Played) -> Pile:
    """Tell how requests piled up."""
    spent = _spent(played.course)
    third = max(1, len(spent) // 3)
    first, last = (_mean(spent[:third]), _mean(spent[-third:])) if spent else (0.0, 0.0)
    grows = len(spent) >= BLOCKS // 2 and last >= LONGEST and last >= GROWTH * first and _trend(spent) > Z
    sent = sum(played.sent.values()) + played.unanswered
    lost = played.unanswered >= LEFT * sent > 0 and last >= LONGEST
    return Pile(grows, lost, first, last, played.unanswered)


def _spent(course: Sequence[Instant]) -> list[float]:
    """Give the seconds that requests spend at the target, in intervals of the replay."""
    each = max(1, math.ceil(len(course) / BLOCKS))
    found = []
    for start in range(0, len(course), each):
        part = course[start : start + each]
        seconds = part[-1].at - (course[start - 1].at if start else 0.0)
        sent = sum(instant.sent for instant in part)
        if sent and seconds > 0:
            found.append(_mean([instant.backlog for instant in part]) * seconds / sent)
    return found


def _trend(values: Sequence[float]) -> float:
    """Give Mann and Kendall's statistic as a normal deviate; 0 of too few values."""
    n = len(values)
    score = sum((b > a) - (b < a) for place, a in enumerate(values) for b in values[place + 1 :])
    variance = n * (n - 1) * (2 * n + 5) / 18
    return (score - math.copysign(1, score)) / math.sqrt(variance) if score and variance else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
