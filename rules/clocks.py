"""Whether somebody set the clock on the wall. Pure: both clocks come in.

Load tags are judged by it, at both ends; all else goes by the monotonic clock, which nobody sets. A machine that was
asleep looks the same: the clock on the wall went on meanwhile, the monotonic one did not.
"""

BOUND = 0.5
"""Seconds that a clock has to jump by. One that is only steered (NTP: 500 parts in a million) never does."""


class Steps:
    """Compares the two clocks from look to look."""

    def __init__(self, wall: float, now_ns: int) -> None:
        """`wall`: unix time at `now_ns`, monotonic nanoseconds."""
        self._apart = wall - now_ns / 1e9

    def look(self, wall: float, now_ns: int) -> float:
        """Tell by how many seconds the clock on the wall was set since the last look: back is negative, 0 is not."""
        before, self._apart = self._apart, wall - now_ns / 1e9
        step = self._apart - before
        return step if abs(step) > BOUND else 0.0
