"""The ceiling: only what sidecars granted may be sent, and only while it is fresh. Pure.

Each sidecar has a `Source`, and what it grants goes into a bucket of its own (`rules.credit`). Two more rules stand
beside the grants, so that a sidecar that granted too much, or an old line read late, can't raise the load:

- own check: spent so far never passes the agreed ceiling times the real requests that the sidecar reported;
- credit ages by the sidecar's clock (`Grant.elapsed_ns`). A line that was held up counts as much less as it is old.

The guard in the sidecar keeps credit for a second; here it lasts half of that, so what is sent arrives while the
guard still has it, and the guard refuses next to nothing.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rules.credit import CREDIT, WINDOW_NS, Bucket
from rules.units import Share
from rules.wire import SIGNAL_TIMEOUT, Grant, Lever, Signal

SPENDABLE_NS = WINDOW_NS // 2
"""How long granted credit stays spendable here."""

STALE_NS = int(SIGNAL_TIMEOUT * 1e9)

DRIFT = 1000
"""The offset between two clocks may creep by one part in this many: more than clocks drift, far less than a stall."""

_MOST, _MOST_AT_ONCE = 1 << 62, 1 << 50
"""No number grows larger than this, the second one no credit of a single grant (some thousand million requests): the
native lane counts in 64 bits, and a sidecar that talks nonsense must mean the same to it."""

Refusal = Literal["credit", "signal", "lever"]


class Heard(NamedTuple):
    """What one grant told about real traffic since the one before."""

    real: int
    since_ns: int
    """When the interval that it tells about began and ended, by the replayer's own clock."""
    until_ns: int


class Earned(NamedTuple):
    """What one grant did to the bucket, for whoever keeps another one like it."""

    cleared: bool
    """Whether all that was there before counts no more."""
    amount: int
    """Millionths of a credit."""
    at_ns: int


class Source:
    """What one sidecar granted and what was spent of it. Times are the replayer's monotonic nanoseconds."""

    def __init__(self, url: str, ceiling: Share) -> None:
        self.url = url
        self.ceiling = ceiling
        self.real = 0  # reported since the start, over all subscriptions
        self.granted = 0  # whole credits
        self.spent = 0
        self.signal: Signal | None = None
        self.lever = Lever()
        self.ratio = ceiling  # in force now
        self.heard_ns: int | None = None  # when the newest grant was made
        self.refused = ""  # why the sidecar grants this run nothing, in its words
        self.earned = Earned(cleared=False, amount=0, at_ns=0)  # by the newest grant
        self.allowance = 0  # own check: what may have been spent since the start, in millionths of a credit
        self._bucket = Bucket(SPENDABLE_NS)
        self._last: Grant | None = None
        self._offset = 0  # own clock minus the sidecar's

    def subscribed(self) -> None:
        """Begin a new subscription: its counters start again from zero."""
        self._last = None

    def refuse(self, why: str) -> None:
        """Take in that the sidecar won't have this run: from now on nothing is sent on its account."""
        self.refused = why
        self.heard_ns = None

    def take(self, grant: Grant, now_ns: int) -> Heard:
        """Take in a grant that was read at `now_ns`."""
        made_ns = self._made(grant, now_ns)
        last = self._last or Grant(real=0, granted=0, ratio=grant.ratio, lever=grant.lever, signal=grant.signal)
        # Counters never fall within a subscription. If they do, nothing is believed but the new beginning.
        real, granted = max(0, grant.real - last.real), max(0, grant.granted - last.granted)
        span = max(0, grant.elapsed_ns - last.elapsed_ns)
        self._last = grant
        self.refused = ""
        silent = not self.fresh(now_ns)
        if silent:
            self._bucket.clear()  # what was granted before the silence counts no more
        self.signal, self.lever, self.heard_ns = grant.signal, grant.lever, made_ns
        self.ratio = min(self.ceiling, grant.ratio)
        self.real += real
        self.granted += granted
        self.allowance = min(_MOST, self.allowance + real * self.ratio)
        fresh = max(0, SPENDABLE_NS - (now_ns - made_ns))
        credit = granted * CREDIT
        aged = credit * fresh // span if span > fresh else credit
        self.earned = Earned(silent, min(_MOST_AT_ONCE, aged), now_ns)
        self._bucket.earn(self.earned.amount, now_ns)
        return Heard(real, made_ns - span, made_ns)

    def spend(self, now_ns: int) -> Refusal | None:
        """Spend one credit, or tell why not."""
        if self.lever.engaged:
            return "lever"
        if not self.fresh(now_ns):
            return "signal"
        if (self.spent + 1) * CREDIT > self.allowance or not self._bucket.spend(now_ns):
            return "credit"
        self.spent += 1
        return None

    def fresh(self, now_ns: int) -> bool:
        """Tell whether the sidecar was heard of within `SIGNAL_TIMEOUT`."""
        return self.heard_ns is not None and now_ns - self.heard_ns <= STALE_NS

    def _made(self, grant: Grant, now_ns: int) -> int:
        """Tell when the grant was made, by the own clock: the fastest line so far had no way to go at all."""
        offset = now_ns - grant.elapsed_ns
        if self._last is None:
            self._offset = offset
        else:
            creep = max(0, grant.elapsed_ns - self._last.elapsed_ns) // DRIFT
            self._offset = min(offset, self._offset + creep)
        return max(-_MOST, min(now_ns, grant.elapsed_ns + self._offset))


class Ceiling:
    """All sidecars of one run. Credit adds up; one pulled lever stops everything."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._turn = list(self.sources)

    def spend(self, now_ns: int) -> Refusal | None:
        """Spend one credit of whichever sidecar has one, or tell why nothing may be sent."""
        if self.lever:
            return "lever"
        refusals = set[Refusal | None]()
        for source in self._turn:
            refusal = source.spend(now_ns)
            if refusal is None:
                # Turn by turn, so that one sidecar's users do not carry everything.
                self._turn.append(self._turn.pop(0))
                return None
            refusals.add(refusal)
        return "credit" if "credit" in refusals else "signal"

    @property
    def lever(self) -> Source | None:
        """The sidecar whose lever is pulled."""
        return next((source for source in self.sources if source.lever.engaged), None)

    def open(self, now_ns: int) -> bool:
        """Tell whether anything may be sent at all: no lever is pulled, and at least one signal is fresh."""
        return self.lever is None and any(source.fresh(now_ns) for source in self.sources)

    def lost(self, now_ns: int) -> list[Source]:
        """Tell from which sidecars nothing fresh has come."""
        return [source for source in self.sources if not source.fresh(now_ns)]

    @property
    def real(self) -> int:
        """Real requests reported by all sidecars."""
        return sum(source.real for source in self.sources)

    @property
    def granted(self) -> int:
        """Whole credits granted by all sidecars."""
        return sum(source.granted for source in self.sources)


class Unbounded:
    """The ceiling of an idle target: there are no real users to keep a share for."""

    sources: tuple[Source, ...] = ()
    lever: Source | None = None
    real = granted = 0

    def spend(self, _now_ns: int) -> Refusal | None:
        """Allow it."""
        return None

    def open(self, _now_ns: int) -> bool:
        """Allow it."""
        return True

    def lost(self, _now_ns: int) -> list[Source]:
        """Tell that no signal is needed."""
        return []
