"""The ceiling is credit: a token bucket that only real requests refill, never the clock.

A bucket whose every real request earns `ratio` and whose every synthetic request spends one whole credit keeps, for
any order of events and any clock at all,

    ``admitted <= ratio * real``  over every prefix since the start,

and because the balance is cut to what the last second earned (at least one whole credit, so that a slow trickle of
real requests can still add up to one),

    ``admitted <= ratio * real + max(1, ratio * real in the second before)``  over every window.

Nothing is spendable once a whole window has passed without earning: when real traffic stops, synthetic traffic stops.
Amounts are integers in millionths of a credit, so nothing is ever rounded up.
"""

CREDIT = 1_000_000
"""One credit, in the bucket's own unit: the right to send one synthetic request."""

WINDOW_NS = 1_000_000_000
"""How long earned credit stays spendable."""

SLOTS = 20
"""The window slides in this many steps. It is therefore up to one step shorter than `WINDOW_NS`, never longer."""


class Bucket:
    """Credit earned and spent. Not thread-safe: one event loop owns it.

    Times are monotonic nanoseconds. A clock that steps back stands still until it has caught up.
    """

    __slots__ = ("_balance", "_earned", "_recent", "_slot", "_slot_ns", "_slots")

    def __init__(self, window_ns: int = WINDOW_NS, slots: int = SLOTS) -> None:
        self._slot_ns = window_ns // slots
        self._slots = slots
        self._earned = [0] * slots  # a ring: what each step of the window earned
        self._recent = 0  # the ring's sum
        self._slot = 0  # number of the step that the ring ends with
        self._balance = 0

    def earn(self, amount: int, now_ns: int) -> None:
        """Add `amount` millionths of a credit."""
        self._slide(now_ns)
        self._earned[self._slot % self._slots] += amount
        self._recent += amount
        self._balance = min(self._balance + amount, max(CREDIT, self._recent))

    def spend(self, now_ns: int) -> bool:
        """Take one whole credit if there is one to take."""
        self._slide(now_ns)
        if self._balance < CREDIT or not self._recent:
            return False
        self._balance -= CREDIT
        return True

    def balance(self, now_ns: int) -> float:
        """Tell the credits that could be spent now (the fraction of the next one included)."""
        self._slide(now_ns)
        return self._balance / CREDIT if self._recent else 0.0

    def clear(self) -> None:
        """Forget everything earned."""
        self._earned = [0] * self._slots
        self._recent = self._balance = 0

    def _slide(self, now_ns: int) -> None:
        slot = now_ns // self._slot_ns
        passed = slot - self._slot
        if passed <= 0:
            return
        self._slot = slot
        if passed >= self._slots:
            self._earned = [0] * self._slots
            self._recent = 0
        else:
            for step in range(slot - passed + 1, slot + 1):
                self._recent -= self._earned[step % self._slots]
                self._earned[step % self._slots] = 0
        self._balance = min(self._balance, max(CREDIT, self._recent))


def estimated(copies: int, share: int) -> int:
    """Tell for how many requests so many `copies` stand, if a `share` of them (millionths) is copied; never too many.

    It grows with the copies and is rounded down, also in parts: what two heaps stand for apart is never more than what
    they stand for together. So whatever is promised of real requests holds for these, too.
    """
    return copies * 1_000_000 // share


def grant(real: int, ratio: int, subscribers: int, carry: int) -> tuple[int, int]:
    """Share out what `real` new requests earned: ``(whole credits for this subscriber, carry for the next time)``.

    `ratio` is in millionths of a credit per real request (what this subscriber may have, at most the sidecar's own).
    Every subscriber gets an equal part, so the sum over all of them never passes what the guard's bucket earned.
    """
    total = carry + real * ratio // max(1, subscribers)
    return total // CREDIT, total % CREDIT
