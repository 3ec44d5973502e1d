"""Credit shared out to the replayers that listen. Pure.

The guard's bucket is the authority; grants only tell each replayer how much of it is meant for it, so that a healthy
run is never refused. Everything that real traffic earns between two ticks is split evenly over those who listen.
"""

from rules.credit import grant
from rules.units import Share
from rules.wire import GRANT_INTERVAL, SIGNAL_TIMEOUT

TICK_NS = int(GRANT_INTERVAL * 1e9 / 2)
STALE_NS = int(SIGNAL_TIMEOUT * 1e9)


class Subscription:
    """One replayer on the grant stream. `granted` is cumulative, in whole credits."""

    __slots__ = ("carry", "granted", "joined_ns", "ratio", "read_ns", "real")

    def __init__(self, ratio: Share, joined_ns: int) -> None:
        self.ratio = ratio
        self.joined_ns = self.read_ns = joined_ns
        self.granted = 0
        self.real = 0
        self.carry = 0


class Granter:
    """Splits what real requests earn over the subscriptions. Times are monotonic nanoseconds.

    The sum of all grants never passes ``max_extra * real``, whoever joins and leaves in between. Who has not read for
    `STALE_NS` (a replayer that hangs with its connection open) gets no part, so that it takes none from the others.
    """

    def __init__(self, max_extra: Share) -> None:
        self.max_extra = max_extra
        self.subscriptions: set[Subscription] = set()
        self.granted = 0
        """Whole credits given to anybody since the beginning."""
        self._real = 0
        self._shared_ns = 0

    def join(self, asked: Share | None, real: int, now_ns: int, paused: bool = False) -> Subscription:
        """Add a replayer. It may ask for less than the owner allows, never for more."""
        self.advance(real, now_ns, paused)
        ratio = self.max_extra if asked is None else min(asked, self.max_extra)
        subscription = Subscription(ratio, now_ns)
        self.subscriptions.add(subscription)
        return subscription

    def leave(self, subscription: Subscription, real: int, now_ns: int, paused: bool = False) -> None:
        """Remove a replayer; what it was granted until now stays granted."""
        self.advance(real, now_ns, paused)
        self.subscriptions.discard(subscription)

    def read(self, subscription: Subscription, real: int, now_ns: int, paused: bool = False) -> None:
        """Bring a subscription up to date for its reader. All are, once for each tick and not once for each reader."""
        subscription.read_ns = now_ns
        if now_ns - self._shared_ns >= TICK_NS:
            self.advance(real, now_ns, paused)

    def advance(self, real: int, now_ns: int, paused: bool = False) -> None:
        """Share out what the real requests up to the total `real` earned; `paused`: they earn nothing."""
        self._shared_ns = now_ns
        new, self._real = real - self._real, real
        reading = [one for one in self.subscriptions if now_ns - one.read_ns <= STALE_NS]
        for subscription in self.subscriptions:
            subscription.real += new
        for subscription in reading:
            if paused:
                subscription.carry = 0
                continue
            credits_, subscription.carry = grant(
                new, min(subscription.ratio, self.max_extra), len(reading), subscription.carry
            )
            subscription.granted += credits_
            self.granted += credits_
