"""Which share of the demand back-off leaves: additive increase, multiplicative decrease, and a band in between. Pure.

    a rule breached or without data -> less, at once, but once per reaction time
    all rules well inside their limits, and that for a while -> a little more, once per reaction time
    anything else -> hold

Additive increase with multiplicative decrease is what lets many senders share a bottleneck that none of them knows
(D.-M. Chiu and R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer
Networks", 1989), and what TCP does: at most one decrease per round trip (RFC 5681, section 3.1). Our round trip is the
*reaction time*: a rule looks back over a window, so for that long it still shows what was before the last change; who
decreases again meanwhile answers the same news twice, and who increases meanwhile does so without having seen what the
last step did. It is therefore longer than the window, always.

Two more ideas keep the cycle between too much and too little small, as a queue near its capacity answers little causes
with large effects. A decrease is the smaller the nearer the value is to its limit (as in DCTCP, RFC 8257); and an
increase is the smaller the nearer the gain is to the level at which things went wrong last (as in CUBIC, RFC 9438), and
grows again beyond that, for what broke may have been mended.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rules.units import MILLION

SECOND_NS = 1_000_000_000

LEAST_LEFT, MOST_LEFT = MILLION // 2, MILLION * 17 // 20
"""Bounds of what one decrease leaves; between them, one over how much of its limit the value uses."""

FLOOR = MILLION // 100
"""What would be less than this is nothing: a decrease that only multiplies never arrives."""

LEAST_STEP, MOST_STEP = MILLION // 100, MILLION // 20
"""Bounds of one increase. It is an eighth of the way to where things went wrong last."""

SETTLE_NS = 2 * SECOND_NS
"""By how much the reaction time is longer than what the rule looks back over: answers on their way, a queue that has to
drain, the readings' own interval."""

BLIND_NS = 1 * SECOND_NS
"""The reaction time where there is no data: there is nothing to wait for."""

CALM_NS = 3 * SECOND_NS
"""For how long all rules have to be well inside their limits before more is asked for."""

WELL_INSIDE = 0.9
"""What share of its limit a value may use and be well inside it."""

LOOK_NS = 3 * SECOND_NS
"""Whoever did not look for longer than this does not know that all was calm meanwhile."""

Standing = Literal["breached", "blind", "near", "easy"]
"""Beyond the limit; without data, where some should be; inside the limit, but not by much; well inside it."""


class Push(NamedTuple):
    """What one rule says now."""

    rule: str
    """As it could be written for ``--slo``: two of them may have the same expression."""
    standing: Standing
    load: float = 0.0
    """How much of its limit the value uses: 1 at the limit, 2 for twice as bad."""
    delay_ns: int = 0
    """How far the rule looks back."""


class Change(NamedTuple):
    """A new gain."""

    before: int
    after: int
    cause: Push | None
    """The rule that asked for less; None: all of them were well inside their limits."""


class Gain:
    """The share of the demand that may go on, in millionths. Begins with all of it."""

    def __init__(self, value: int = MILLION) -> None:
        self.value = value
        self._knee: int | None = None  # where things went wrong last
        self._cut_ns: int | None = None
        self._changed_ns: int | None = None
        self._easy_ns: int | None = None  # since when all is easy
        self._looked_ns: int | None = None

    def look(self, pushes: Sequence[Push], now_ns: int) -> Change | None:
        """Take in what the rules say at `now_ns`; give the new gain, if it is one. Without rules all may go on."""
        stood_still = self._looked_ns is not None and now_ns - self._looked_ns > LOOK_NS
        self._looked_ns = now_ns
        if not pushes or any(push.standing != "easy" for push in pushes):
            self._easy_ns = None
        elif self._easy_ns is None or stood_still:
            self._easy_ns = now_ns
        causes = [push for push in pushes if self._may_cut(push, now_ns)]
        if causes:
            return self._cut(min(causes, key=_left), now_ns)
        if self._may_rise(pushes, now_ns):
            return self._set(min(MILLION, self.value + self._step()), None, now_ns)
        return None

    def offset(self, factor: float, cause: Push, now_ns: int) -> Change | None:
        """Take back what a demand that rose by `factor` (more than 1) would add to the load. That is no decrease."""
        if not self.value:
            return None
        left = int(self.value / factor)
        return self._set(left if left >= FLOOR else 0, cause, now_ns)

    def _may_cut(self, push: Push, now_ns: int) -> bool:
        if push.standing not in {"breached", "blind"} or not self.value:
            return False
        return self._cut_ns is None or now_ns - self._cut_ns >= reaction_ns(push)

    def _may_rise(self, pushes: Sequence[Push], now_ns: int) -> bool:
        if self._easy_ns is None or self.value == MILLION or now_ns - self._easy_ns < CALM_NS:
            return False
        return self._changed_ns is None or now_ns - self._changed_ns >= max(map(reaction_ns, pushes))

    def _cut(self, push: Push, now_ns: int) -> Change:
        if push.standing == "breached":
            self._knee = self.value
        self._cut_ns = now_ns
        left = self.value * _left(push) // MILLION
        return self._set(left if left >= FLOOR else 0, push, now_ns)

    def _step(self) -> int:
        if self._knee is None:
            return MOST_STEP
        return min(MOST_STEP, max(LEAST_STEP, abs(self._knee - self.value) // 8))

    def _set(self, value: int, cause: Push | None, now_ns: int) -> Change:
        change = Change(self.value, value, cause)
        self.value, self._changed_ns = value, now_ns
        return change


def reaction_ns(push: Push) -> int:
    """Tell how long after a change it is seen in what a rule says."""
    return BLIND_NS if push.standing == "blind" else SETTLE_NS + push.delay_ns


def standing(load: float | None) -> Standing:
    """Tell how a value stands to its limit, by how much of it is used; None: there is no data."""
    if load is None or load != load:  # noqa: PLR0124 - not a number
        return "blind"
    if load > 1:
        return "breached"
    return "near" if load > WELL_INSIDE else "easy"


def _left(push: Push) -> int:
    """Tell which share one decrease leaves."""
    if push.standing == "blind" or not push.load < 2:
        return LEAST_LEFT
    return min(MOST_LEFT, max(LEAST_LEFT, int(MILLION / max(1.0, push.load))))
