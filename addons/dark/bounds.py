"""How much the aide sends: so many copies at a time, so many a second, and none while the service is down. Pure.

Times are monotonic seconds.
"""

BURST = 0.1
"""Seconds whose worth of the rate may go out at once, after a quiet while."""

TROUBLE = 5
"""Copies in a row that no answer came to, after which the service is left alone for a moment."""

REST = 0.1
LONGEST_REST = 5.0
"""Seconds: how long, the first time; each copy that fails after a rest doubles it, up to the longest."""


class Bounds:
    """Says when another copy may be sent. `begin` with each one, `end` when it is over."""

    def __init__(self, at_once: int, per_second: float | None, now: float) -> None:
        self.at_once, self._rate = at_once, per_second
        self.open = 0
        """Copies under way."""
        self._most = max(1.0, BURST * per_second) if per_second else 0.0
        self._tokens, self._refilled = self._most, now
        self._failures = 0
        self._rests_until = now
        self._rest = REST

    def wait(self, now: float) -> float | None:
        """Give the seconds until one more may be sent, 0 for at once. None: not before another one is over."""
        # A service that has been in trouble gets one copy to show whether it still is.
        if self.open >= (1 if self._failures >= TROUBLE else self.at_once):
            return None
        pause = max(0.0, self._rests_until - now)
        if self._rate:
            self._refill(now)
            pause = max(pause, (1.0 - self._tokens) / self._rate)
        return pause

    def begin(self, now: float) -> None:
        """Take note of one that is sent. To be asked for with `wait` before."""
        self.open += 1
        if self._rate:
            self._refill(now)
            self._tokens -= 1.0

    def end(self, now: float, answered: bool) -> None:
        """Take note that one is over."""
        self.open -= 1
        if answered:
            self._failures, self._rest = 0, REST
            return
        self._failures += 1
        if self._failures == TROUBLE:
            self._rests_until = now + self._rest
        elif self._failures > TROUBLE and now >= self._rests_until:  # it was sent after a rest
            self._rest = min(2 * self._rest, LONGEST_REST)
            self._rests_until = now + self._rest

    @property
    def resting(self) -> bool:
        """Whether the service is taken to be down."""
        return self._failures >= TROUBLE

    def _refill(self, now: float) -> None:
        if self._rate:
            self._tokens = min(self._most, self._tokens + max(0.0, now - self._refilled) * self._rate)
            self._refilled = now
