"""The ceiling over all workers: credit that their real requests earn together and each of them may spend.

The rule is that of `rules.credit`, and so are the promises; here it is kept over processes, exactly.

*Earning* is every request's business and takes no lock: a worker counts the request in its own row, and again in the
cell of the ring for the slot (a twentieth of the window) in which it came.

*Spending* is for synthetic requests only and takes `Books.lock`. What all real requests earned is ``ratio * real``,
summed over the rows; what is gone of it, spent or expired, is one number, `Shared.taken`. What may be spent is the
difference, but at most what the last window earned (at least one credit), and nothing if that is nothing. To
spend is to store one number, so whoever is killed while doing it has spent one credit or none, and never gained any.
Who can't get the lock is refused: synthetic load stops at every doubt. One thing the lock can't keep out: `clear` does
not wait for it, so a worker that was stopped inside, after it had looked, may admit one request with credit from before
when it goes on.

Unlike `rules.credit.Bucket`, what expires is not cut off with each earning but when somebody spends. The promises hold
all the same, for any window: at its first spending, the balance is cut to what the second before *that* earned
(or one credit). Of these, what was earned before the window began is the promised cap, and the rest is the window's
own; all that is added later is earned later, within the window. And no prefix can hold more than was earned, for
nothing is ever taken that ``ratio * real`` does not cover. A real request counts from when its worker stores the new
`Row.real`; its ring cell is stored after that, with a slot that began before it, so the ring never makes a request
younger than it is.

At a tap, ``real`` is for how many requests its copies stand (`rules.credit.estimated`). That grows with them and is
rounded down, for the window as well, so nothing of this changes.
"""

import time
from collections.abc import Callable

from addons.books import RING, Books, Row, cell
from rules.credit import CREDIT, SLOTS, WINDOW_NS, estimated

SLOT_NS = WINDOW_NS // SLOTS
_REAL, _RING = cell("real"), cell("ring")
_COUNT_BITS = 24
_OUT_OF_REACH = 1 << 62  # more than can ever be earned, and it fits a cell
_COUNT = (1 << _COUNT_BITS) - 1


class Credit:
    """One process's access to the credit of all. `row` None: it earns none itself. `clock`: monotonic nanoseconds."""

    def __init__(self, books: Books, row: Row | None = None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._shared, self._lock = books.shared, books.lock
        self._rows = [one.cells for one in books.rows]
        self._mine = None if row is None else row.cells
        self._clock = clock

    def earn(self) -> None:
        """Count one real request of this process."""
        cells, slot = self._mine, self._clock() // SLOT_NS
        if cells is None:
            return
        cells[_REAL] += 1
        at = _RING + slot % RING
        packed = cells[at]
        cells[at] = packed + 1 if packed >> _COUNT_BITS == slot else slot << _COUNT_BITS | 1

    def spend(self) -> bool:
        """Take one whole credit if there is one to take, and if that is certain."""
        if self._earned() - self._gone() < CREDIT or not self._lock.acquire():
            return False
        try:
            gone, earned = self._gone(), self._earned()
            recent = self._recent(earned - gone)
            if self._earned() != earned:
                # Somebody earned meanwhile, and what the ring knows of it must not excuse the spending of older credit
                # while it is itself still to come. So: first the ring, all of it, then the sum, which has it too.
                recent = self._recent()
                earned = self._earned()
            left = min(earned - gone, max(CREDIT, recent))
            if left < CREDIT or not recent:
                return False
            self._shared.taken = earned - left + CREDIT
            return True
        finally:
            self._lock.release()

    def balance(self) -> float:
        """Tell the credits that could be spent now (the fraction of the next one included)."""
        left = max(0, self._earned() - self._gone())
        recent = self._recent(left)
        return min(left, max(CREDIT, recent)) / CREDIT if recent else 0.0

    def clear(self) -> None:
        """Forget everything earned. For the one process that serves the control port; takes no lock."""
        self._shared.floor = self._earned()

    def set_ratio(self, ratio: int) -> None:
        """Let a real request earn `ratio` millionths of a credit from now on; what was earned until now is void.

        For the one process that serves the control port, and with `Books.lock` held once workers have attached. If it
        is killed in between, nothing can be spent: the floor is out of reach until all else is in its place.
        """
        shared = self._shared
        if ratio != shared.ratio:
            shared.floor = _OUT_OF_REACH
            shared.ratio = ratio
            shared.taken = earned = self._earned()
            shared.floor = earned

    def _earned(self) -> int:
        shared = self._shared
        return shared.ratio * estimated(sum([cells[_REAL] for cells in self._rows]), shared.share)

    def _gone(self) -> int:
        return max(self._shared.taken, self._shared.floor)

    def _recent(self, enough: int | None = None) -> int:
        """Sum up what the last window earned: newest first, and no further than `enough`, which cuts nothing off."""
        ratio, share, count, now = self._shared.ratio, self._shared.share, 0, self._clock() // SLOT_NS
        for slot in range(now, now - SLOTS, -1):
            at = _RING + slot % RING
            for cells in self._rows:
                packed = cells[at]
                if packed >> _COUNT_BITS == slot:
                    count += packed & _COUNT
            if enough is not None and count and ratio * estimated(count, share) >= enough:
                break
        return ratio * estimated(count, share)
