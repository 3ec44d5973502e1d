"""How much is wanted, and when. Pure: a demand says when its next request is due and hands it out.

`Timeline` plays the recording by its own times, `Steady` at a rate of ours. `Echo` follows live traffic: every real
request that a sidecar reports makes ``factor - 1`` requests wanted (`Raise`), or real traffic is filled up to a rate
(`TopUp`), and those requests are taken from the recording in their order.
"""

import heapq
import random
from typing import Protocol

from replayer.permission.ceiling import Heard
from replayer.schedule.stages import Loudness
from rules.units import MILLION, Rate
from rules.wire import GRANT_INTERVAL

INTERVAL_NS = int(GRANT_INTERVAL * 1e9)
SECOND_NS = 1_000_000_000

MOST_DUE = 1 << 18
"""Requests that may be due at a time: more than any sender gets rid of before they are late. If a sidecar reports more
real traffic than there can be, that must cost neither memory nor time."""


class Items[T](Protocol):
    """What is taken from, in order."""

    @property
    def ended(self) -> bool:
        """Whether there will never be another one."""

    def peek(self) -> T | None:
        """Give the next one without taking it; None: there is none at hand now."""

    def take(self) -> T:
        """Take the one that `peek` gives."""


class Demand[T](Protocol):
    """What the engine asks."""

    wanted: int
    """Requests wanted so far: those handed out, those that came too late to be, and those that are due next."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing will ever be due again."""

    @property
    def pending(self) -> int:
        """How many of the wanted are not handed out yet."""

    def due(self) -> int | None:
        """Tell when the next request is due; None: nothing is, for now."""

    def take(self) -> T:
        """Hand out the request that is due next."""


class Timeline[T]:
    """The recorded times, moved to begin at `start_ns`."""

    def __init__(self, arrivals: Items[tuple[int, T]], first_ns: int, start_ns: int) -> None:
        self._arrivals = arrivals
        self._shift = start_ns - first_ns
        self.wanted = 0
        self.pending = 0  # what is not due yet is not wanted yet

    @property
    def exhausted(self) -> bool:
        """Whether the recording has been played to its end."""
        return self._arrivals.ended

    def due(self) -> int | None:
        """Tell when the next request is due; None after the last, and while none is at hand."""
        arrival = self._arrivals.peek()
        return None if arrival is None else arrival[0] + self._shift

    def take(self) -> T:
        """Hand out the next request, which is due."""
        _, item = self._arrivals.take()
        self.wanted += 1
        return item


class Steady[T]:
    """A rate of ours, whatever the recorded times were; the requests are the recording's, in its order.

    With a `seed` arrivals are those of a Poisson process, as of many users who know nothing of each other: what most
    targets get, and what queueing theory takes for granted. Without one they are evenly apart, as those of a load tool
    with a constant arrival rate: kinder to the target, since two requests never come at once.
    """

    def __init__(self, items: Items[T], rate: Rate, start_ns: int, seed: int | None) -> None:
        self._items = items
        self._start_ns = self._due_ns = start_ns
        self._millionths = max(1, round(rate * MILLION))  # requests in a million seconds: an exact schedule
        self._draw = None if seed is None else random.Random(seed)
        self._scale = SECOND_NS * MILLION / self._millionths
        self.wanted = 0
        self.pending = 0  # what is not due yet is not wanted yet
        if self._draw is not None:
            self._due_ns += int(self._draw.expovariate(1.0) * self._scale)

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left to send."""
        return self._items.ended

    def due(self) -> int | None:
        """Tell when the next request is due; None after the last, and while none is at hand."""
        return None if self._items.peek() is None else self._due_ns

    def take(self) -> T:
        """Hand out the next request of the recording."""
        item = self._items.take()
        self.wanted += 1
        if self._draw is None:
            self._due_ns = self._start_ns + self.wanted * SECOND_NS * MILLION // self._millionths
        else:
            self._due_ns += int(self._draw.expovariate(1.0) * self._scale)
        return item


class Wanted(Protocol):
    """How many requests a report of real traffic makes wanted."""

    def __call__(self, heard: Heard) -> int:
        """Tell the number for this report; fractions are carried to the next one."""


class Raise:
    """A share of real traffic on top of it: after `real` requests exactly ``floor(share * real)`` were wanted.

    `loudness` is the factor of the total, over the time since `start_ns`; the share is what it is above 1x.
    """

    def __init__(self, loudness: Loudness, start_ns: int = 0) -> None:
        self._loudness = loudness
        self._start_ns = start_ns
        self._carry = 0

    def __call__(self, heard: Heard) -> int:
        """Tell how many more are wanted."""
        share = max(0, self._loudness.at(heard.until_ns - self._start_ns) - MILLION)
        wanted, self._carry = divmod(self._carry + heard.real * share, MILLION)
        return wanted


class TopUp:
    """Real traffic filled up to `rate`.

    Arrivals scatter, so a moment with more real requests than `rate` pays for a moment with fewer, up to one second.
    """

    def __init__(self, rate: Rate) -> None:
        self._millionths = int(rate * MILLION)
        self._owed = 0  # in millionths of a request, times nanoseconds per second
        self._until_ns: int | None = None  # one clock, however many sidecars report

    def __call__(self, heard: Heard) -> int:
        """Tell how many more are wanted."""
        since = self._until_ns
        if since is None or heard.since_ns - since > INTERVAL_NS:
            since = heard.since_ns  # of the time before, while nobody reported, nothing is owed
        self._until_ns = max(since, heard.until_ns)
        span = self._until_ns - since
        self._owed += self._millionths * span - heard.real * MILLION * SECOND_NS
        self._owed = max(self._owed, -self._millionths * SECOND_NS)
        wanted = max(0, self._owed // (MILLION * SECOND_NS))
        self._owed -= wanted * MILLION * SECOND_NS
        return wanted


class Echo[T]:
    """Live traffic, answered one grant later: what came within an interval is echoed over the next one.

    So the extra traffic has the rhythm of the real one some tens of milliseconds behind it, and ends with it.
    """

    def __init__(self, wants: Wanted, items: Items[T], max_lag_ns: int, most: int | None = None) -> None:
        """`most`: requests to want at all; None: no bound."""
        self._wants = wants
        self._items = items
        self._max_lag_ns = max_lag_ns
        self._most = most
        self._dues: list[int] = []  # a heap: the reports of several sidecars overlap
        self.wanted = 0

    @property
    def exhausted(self) -> bool:
        """Whether all that there was to be was wanted and handed out."""
        return self._most is not None and self.wanted >= self._most and not self._dues

    def hear(self, heard: Heard, now_ns: int, awake_ns: int = 0) -> int:
        """Schedule what a report makes wanted. Returns how many of them are too late to be sent at all.

        `awake_ns` is since when the process has not been held up.
        """
        count = self._wants(heard)
        if self._most is not None:
            count = min(count, self._most - self.wanted)
        self.wanted += count
        span = heard.until_ns - heard.since_ns
        begin = heard.since_ns + INTERVAL_NS
        room = min(count, MOST_DUE - len(self._dues))
        late = count - room
        for k in range(room):
            due = begin + span * k // room
            if due < now_ns - self._max_lag_ns:
                late += 1
            else:
                # A report that came late is not the sender's own lag: it sends as soon as it can know. But if it could
                # not look, it is.
                heapq.heappush(self._dues, due if heard.until_ns < awake_ns else max(due, now_ns))
        return late

    @property
    def pending(self) -> int:
        """How many are due soon."""
        return len(self._dues)

    def due(self) -> int | None:
        """Tell when the next request is due."""
        return self._dues[0] if self._dues and self._items.peek() is not None else None

    def take(self) -> T:
        """Hand out the next request of the recording."""
        item = self._items.take()
        heapq.heappop(self._dues)
        return item
