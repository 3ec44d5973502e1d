"""How much the demand rises while the load is to be held. Pure.

The gain is a share. While a ramp climbs, or while real traffic grows, a gain that stays the same lets ever more
through, and to hold it is not to hold the load. So as long as not all rules are well inside their limits, what the
demand gains the gain has to lose.
"""

from collections import deque

from replayer.safety.gain import SECOND_NS

SPAN_NS, LEAST_NS = 5 * SECOND_NS, 2 * SECOND_NS
"""Over how long a demand is measured, and of how much at least."""

CHANCE, LEAST = 4.0, 0.1
"""A rise counts that is greater than so many standard deviations of a count, and than this share."""


class Rise:
    """Watches the demand of one run. Times are monotonic nanoseconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()
        self._held: float | None = None

    def look(self, now_ns: int, wanted: int, *, hold: bool) -> float:
        """Tell by which factor the demand has risen since it is to be held, or since it was told; 1 if it has not.

        `wanted`: requests that the demand has asked for so far; `hold`: whether the load is to be held now.
        """
        self._seen.append((now_ns, wanted))
        while len(self._seen) > 2 and self._seen[1][0] <= now_ns - SPAN_NS:
            self._seen.popleft()
        begun_ns, before = self._seen[0]
        span, count = now_ns - begun_ns, wanted - before
        if not hold or span < LEAST_NS:
            self._held = None
            return 1.0
        rate = count / span
        if not self._held:
            self._held = rate or None
            return 1.0
        if rate <= self._held * (1 + max(LEAST, CHANCE / max(1, count) ** 0.5)):
            return 1.0
        factor, self._held = rate / self._held, rate
        return factor
