"""Who of several senders gets what: which requests, and whose credit. Pure.

Requests are dealt one by one and in turn, so that every sender has its part of each burst; those of one session
(`Request.lot`) all go to one sender, which keeps them in order. Credit is dealt in whole credits, in turn: each to one
sender only. So together they never send what one would not have been allowed to: every credit that is spent was granted
to all of them once, and each sender's window, own check and silence are no wider than those of one.

What follows live traffic has about as many requests as there is credit for, so it goes where credit was dealt to.
"""

from collections.abc import Sequence
from typing import NamedTuple

from captures.errors import CaptureError
from replayer.permission.ceiling import SPENDABLE_NS, Earned
from replayer.requests.encoding import Request
from replayer.stock import Supply
from rules.credit import CREDIT, Bucket


class Hand(NamedTuple):
    """What was dealt."""

    parts: list[list[tuple[int, Request]]]
    """For each sender its requests, with when they are due, in that order."""
    more: bool
    """Whether there may be more to deal at once."""

    def take_late(self, awake_ns: int) -> list[Request]:
        """Take out what fell due before `awake_ns` (`pacing.awake`), while nobody dealt: not all at once now."""
        late = [request for part in self.parts for due, request in part if due < awake_ns]
        if late:
            self.parts[:] = [[taken for taken in part if taken[0] >= awake_ns] for part in self.parts]
        return late


class Dealer:
    """Deals for so many senders, and so many sidecars that grant."""

    def __init__(self, count: int, sources: int = 0) -> None:
        self._count = count
        self._turn = 0
        self._turns = [0] * sources
        # What each sender was dealt and has a request for, as far as is known here.
        self._purses = [[Bucket(SPENDABLE_NS) for _ in range(sources)] for _ in range(count)]
        self._kept: tuple[int, Request] | None = None
        self._trouble: CaptureError | None = None

    def credit(self, place: int, earned: Earned) -> list[int]:
        """Share out what the sidecar at `place` granted, in millionths of a credit.

        Whole credits only. The fraction of one that is left of a line that came late is let go.
        """
        each, over = divmod(earned.amount // CREDIT, self._count)
        first = self._turns[place]
        shares = []
        for sender in range(self._count):
            share = (each + ((sender - first) % self._count < over)) * CREDIT
            purse = self._purses[sender][place]
            if earned.cleared:
                purse.clear()
            purse.earn(share, earned.at_ns)
            shares.append(share)
        self._turns[place] = (first + over) % self._count
        return shares

    def allowances(self, allowance: int) -> list[int]:
        """Share out a sidecar's own check (`Source.allowance`): together they may have spent what one may."""
        each, over = divmod(allowance // CREDIT, self._count)
        return [(each + (sender < over)) * CREDIT for sender in range(self._count)]

    def deal(
        self,
        supply: Supply,
        rooms: Sequence[int],
        now_ns: int,
        until_ns: int,
        most: int = 128,
        most_bytes: int = 4 << 20,
    ) -> Hand:
        """Deal what is due until then: `rooms` requests at most to each sender, `most` in all. Raises CaptureError."""
        if self._trouble is not None:
            raise self._trouble
        stock, demand = supply.stock, supply.demand
        left = list(rooms)
        parts: list[list[tuple[int, Request]]] = [[] for _ in left]
        count = size = 0
        try:
            stock.fill(most)
            while count < most and size < most_bytes:
                if self._kept is None:
                    due = demand.due()
                    if due is None or due > until_ns or not any(left):
                        break
                    self._kept = due, demand.take()
                _, request = self._kept
                sender = self._whose(request, left, now_ns if supply.echo is not None else None)
                if sender is None:
                    break
                left[sender] -= 1
                parts[sender].append(self._kept)
                self._kept = None
                count += 1
                size += len(request)
        except CaptureError as error:
            self._trouble = error  # for the next time: what was dealt before is somebody's
        return Hand(parts, count == most or size >= most_bytes or stock.low or self._trouble is not None)

    @property
    def keeping(self) -> bool:
        """Whether a request was taken from the supply that its sender has no room for yet."""
        return self._kept is not None

    def _whose(self, request: Request, left: Sequence[int], now_ns: int | None) -> int | None:
        """Tell who gets a request; None: who should has no room. At `now_ns`, if credit matters."""
        if request.lot is not None:
            sender = request.lot % self._count
            return sender if left[sender] else None
        turns = [(self._turn + k) % self._count for k in range(self._count)]
        able = [sender for sender in turns if left[sender]]
        if not able:
            return None
        chosen = able[0]
        if now_ns is not None:
            chosen = next((one for one in able if any(purse.spend(now_ns) for purse in self._purses[one])), chosen)
        self._turn = (chosen + 1) % self._count
        return chosen
