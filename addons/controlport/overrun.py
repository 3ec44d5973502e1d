"""Whether somebody sends synthetic requests that nobody granted. Pure: time and totals come in.

A tap can't refuse a request, so there the ceiling is held by those who send: they send what was granted to them, and
each request once. Whoever does not is noticed here, a few seconds late: much more arrives than was granted.
"""

from collections import deque

from rules.experience import SECOND_NS

WINDOW_NS = 10 * SECOND_NS
"""Arrivals of so long are held against grants."""

LATE_NS = 2 * SECOND_NS
"""Grants of so much longer. What was granted is void after a second; then it has to be sent, answered and copied."""

HALF_AS_MUCH_AGAIN = 1.5
"""So many times what was granted may come: a load balancer gives one tap more of a run's requests than another."""

SOME = 20
"""And so many besides: those with which `reamp preflight` and people try whether a tag arrives."""


class Overrun:
    """The memory of the last seconds. Times are monotonic nanoseconds, totals are since the start."""

    def __init__(self) -> None:
        self._notes: deque[tuple[int, int, int]] = deque()

    def begin(self, now_ns: int, granted: int, arrived: int) -> None:
        """Begin anew, while nothing is granted: what came until now has had its consequence."""
        self._notes.clear()
        self._notes.append((now_ns, granted, arrived))

    def look(self, now_ns: int, granted: int, arrived: int) -> str:
        """Give the reason to pull the lever; empty: there is none."""
        notes = self._notes
        notes.append((now_ns, granted, arrived))
        while len(notes) > 1 and notes[1][0] <= now_ns - WINDOW_NS - LATE_NS:
            notes.popleft()
        came = arrived - next((note[2] for note in reversed(notes) if note[0] <= now_ns - WINDOW_NS), notes[0][2])
        allowed = granted - notes[0][1]
        if came <= HALF_AS_MUCH_AGAIN * allowed + SOME:
            return ""
        seconds = min(WINDOW_NS, now_ns - notes[0][0]) / SECOND_NS
        return (
            f"{came} synthetic requests came in {seconds:.1f} s and {allowed} were granted: somebody sends without "
            "grants, or the proxy copies each request more than once"
        )
