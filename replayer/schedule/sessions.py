"""Amplification of whole sessions: every visit that is added is somebody's whole visit, by somebody else. Pure.

Request by request (`amplification`), a user who comes twice as often asks twice for one page and once for the next:
fine for a cache, wrong for a cart. Here sessions (`captures.sampling.session_of`) are what is multiplied. All requests
of one come ``floor(factor)`` times, and once more with the probability of the fraction, or, below 1x, all or none.

The first copy is as recorded. Every other one begins a little later and keeps the session's own rhythm: all of its
requests are late by the same time, so none is ever due before the one before it. How much later is drawn for each copy
from the time in which `SPREAD` sessions begin (at most `LATEST_NS`), so that copies come as densely as sessions do at
that moment; bursts shorter than that time are blurred.

Whether the answer to the request before has come does not matter: requests are due when the recorded user sent them,
who had waited for what he needed. A target that is slower than it was is met by impatient users, not by fewer (the open
model; to wait would let a slow target slow the load, and leave out just what would have been slow).

A session ends when nothing came of it for `IDLE_NS`. So memory holds the sessions of that time (`MOST` at most), and
the requests whose copies are still to come: each once, whatever the factor. When those are too many (`HELD`,
`HELD_BYTES`), copies begin earlier than drawn, in the same order.
"""

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

from replayer.schedule.amplification import PATIENCE
from replayer.schedule.stages import Loudness
from rules.units import MILLION

SPREAD = 16
"""Sessions among whose beginnings a copy begins."""

LATEST_NS = 10_000_000_000
"""The longest time by which a copy begins later."""

_FIRST_SPREAD_NS = 1_000_000_000
"""The same before it is known how densely sessions begin."""

IDLE_NS = 30 * 60 * 1_000_000_000
"""A user who comes back after this long begins another session (as web analytics count them)."""

MOST = 100_000
"""Sessions remembered. More at a time, and the one that was idle longest is taken for ended."""

_FORGET = 2
"""Sessions that are over and forgotten with each arrival. After a long pause all are over, and that takes its time."""

HELD, HELD_BYTES = 50_000, 16 << 20
"""Requests whose copies are still to come, and their bytes."""


class _Session:
    __slots__ = ("copies", "draw", "last_ns", "spread_ns")

    def __init__(self, copies: int, spread_ns: int, draw: int) -> None:
        self.copies = copies
        self.spread_ns = spread_ns
        self.draw = draw
        self.last_ns = 0

    def delay(self, copy: int) -> int:
        """Tell by how much the copy with this number, 1 or more, comes later: evenly spread, at random in its part."""
        part = random.Random(self.draw + copy).random()
        return int(self.spread_ns * (copy - 1 + part) / (self.copies - 1))


class Visitors[K, T]:
    """Multiplies sessions. `another` makes the copy with a number of what arrived; `size` tells its bytes."""

    def __init__(
        self,
        loudness: Loudness,
        seed: int,
        begin_ns: int,
        another: Callable[[T, int], T | None],
        size: Callable[[T], int],
    ) -> None:
        self._loudness, self._begin_ns = loudness, begin_ns
        self._key = blake2b(b"%d" % seed).digest()
        self._another, self._size = another, size
        self._sessions: OrderedDict[K, _Session] = OrderedDict()  # the one that was idle longest comes first
        # What is due next of each arrival: due, a number that keeps order, arrival, copy, its session, the item.
        self._due: list[tuple[int, int, int, int, _Session, T]] = []
        self._bytes = 0
        self._number = 0
        self._gap_ns = _FIRST_SPREAD_NS / SPREAD  # between the beginnings of two sessions, of late
        self._began_ns: int | None = None

    def take(self, at: int, key: K, item: T) -> Iterator[tuple[int, T]]:
        """Take the next arrival, of the session `key`; give what is due up to then."""
        yield from self._until(at)
        session = self._session(at, key)
        if session.copies:
            yield at, item
        if session.copies > 1:
            self._number += 1
            self._bytes += self._size(item)
            heapq.heappush(self._due, (at + session.delay(1), self._number, at, 1, session, item))
        while len(self._due) > HELD or self._bytes > HELD_BYTES:
            yield from self._next(at)

    def rest(self) -> Iterator[tuple[int, T]]:
        """Give what is left at the end."""
        while self._due:
            yield from self._next(self._due[0][0])

    def _until(self, at: int) -> Iterator[tuple[int, T]]:
        while self._due and self._due[0][0] <= at:
            yield from self._next(self._due[0][0])

    def _next(self, at: int) -> Iterator[tuple[int, T]]:
        """Give the copy that is due first."""
        _, number, arrived, copy, session, item = self._due[0]
        made = self._another(item, copy)
        if copy + 1 < session.copies:
            due = arrived + session.delay(copy + 1)
            heapq.heapreplace(self._due, (due, number, arrived, copy + 1, session, item))
        else:
            heapq.heappop(self._due)
            self._bytes -= self._size(item)
        if made is not None:
            yield at, made

    def _session(self, at: int, key: K) -> _Session:
        sessions = self._sessions
        for _ in range(_FORGET):
            if sessions and next(iter(sessions.values())).last_ns < at - IDLE_NS:
                sessions.popitem(last=False)
        session = sessions.get(key)
        if session is None or session.last_ns < at - IDLE_NS:
            session = sessions[key] = self._new(at, key)
            if len(sessions) > MOST:
                sessions.popitem(last=False)
        sessions.move_to_end(key)
        session.last_ns = at
        return session

    def _new(self, at: int, key: K) -> _Session:
        if self._began_ns is not None:
            self._gap_ns += (at - self._began_ns - self._gap_ns) / SPREAD
        self._began_ns = at
        drawn = blake2b(repr((key, at)).encode(), digest_size=16, key=self._key).digest()
        copies, fraction = divmod(self._loudness.at(at - self._begin_ns), MILLION)
        # Exact but for one in 2^64.
        copies += int.from_bytes(drawn[:8]) * MILLION >> 64 < fraction
        return _Session(copies, min(LATEST_NS, int(self._gap_ns * SPREAD)), int.from_bytes(drawn[8:]))


def amplify_sessions[K, T](
    arrivals: Iterable[tuple[int, tuple[K, T]] | None], visitors: Visitors[K, T]
) -> Iterator[tuple[int, T] | None]:
    """Multiply the sessions of sorted `arrivals` (ns, whose, what). None: nothing yet, but there is more to read."""
    fruitless = 0
    for arrival in arrivals:
        if arrival is None:
            yield None
            continue
        at, (key, item) = arrival
        fruitless += 1
        for found in visitors.take(at, key, item):
            fruitless = 0
            yield found
        if fruitless == PATIENCE:
            fruitless = 0
            yield None
    yield from visitors.rest()
