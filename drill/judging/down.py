"""Whether the target went down in a replay, and for good: nothing was answered any more to its end, nor after it. Pure.

What a criterion needs is many intervals of time, for one slow spell may be chance. Of a target that is down there is
one spell only, which does not end; so this is told from what followed: it was asked one request at a time, without any
load, for as long as a drill waits for a clone to come to rest, and answered none. Where it may be the way to it that is
gone, nothing of this is said (`evidence.Played.cut`).
"""

from typing import NamedTuple

from drill.judging.evidence import Played

FEWEST = 10
"""Requests that got no answer at the end of a replay. If every second one fails, an end like that is chance in one of
a thousand."""


class Down(NamedTuple):
    """How a target went down."""

    second: int
    """Of the replay, from 1: the last one in which something was answered."""
    at: float
    """Seconds after the begin of the pattern at which that one began."""
    lost: int
    """Requests of that second and of all after it that failed, or were due and found nobody."""
    why: str
    """How those failed that were sent afterwards."""

    @property
    def shown(self) -> bool:
        """Whether it was under the load, and not when it was over, that it went down."""
        return self.lost >= FEWEST


def down(played: Played) -> Down | None:
    """Tell whether the target went down and stayed so."""
    if not played.silence or played.cut is not None:
        return None
    last = max((place for place, instant in enumerate(played.course) if instant.good), default=0)
    begun = played.course[last - 1].at if last else 0.0
    lost = sum(instant.lost for instant in played.course[last:])
    return Down(last + 1, played.begin + begun, lost, played.silence)
