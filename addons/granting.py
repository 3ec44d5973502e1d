"""Credit shared out to the replayers that listen. Pure.

The guard's bucket is the authority; grants only tell each replayer how much of it is meant for it, so that a healthy
run is never refused. Everything that real traffic earns between two ticks is split evenly over those who listen.
"""

from rules.credit import grant
from rules.units import Share


class Subscription:
    """One replayer on the grant stream. `granted` is cumulative, in whole credits."""

    __slots__ = ("carry", "granted", "joined_ns", "ratio", "real")

    def __init__(self, ratio: Share, joined_ns: int) -> None:
        self.ratio = ratio
        self.joined_ns = joined_ns
        self.granted = 0
        self.real = 0
        self.carry = 0


class Granter:
    """Splits what real requests earn over the subscriptions.

    The sum of all grants never passes ``max_extra * real``, whoever joins and leaves in between.
    """

    def __init__(self, max_extra: Share) -> None:
        self.max_extra = max_extra
        self.subscriptions: set[Subscription] = set()
        self._real = 0

    def join(self, asked: Share | None, real: int, now_ns: int) -> Subscription:
        """Add a replayer. It may ask for less than the owner allows, never for more."""
        self.advance(real)
        ratio = self.max_extra if asked is None else min(asked, self.max_extra)
        subscription = Subscription(ratio, now_ns)
        self.subscriptions.add(subscription)
        return subscription

    def leave(self, subscription: Subscription, real: int) -> None:
        """Remove a replayer; what it was granted until now stays granted."""
        self.advance(real)
        self.subscriptions.discard(subscription)

    def advance(self, real: int, paused: bool = False) -> None:
        """Share out what the real requests up to the total `real` earned; `paused`: they earn nothing."""
        new, self._real = real - self._real, real
        for subscription in self.subscriptions:
            subscription.real += new
            if paused:
                subscription.carry = 0
                continue
            credits_, subscription.carry = grant(
                new, min(subscription.ratio, self.max_extra), len(self.subscriptions), subscription.carry
            )
            subscription.granted += credits_
