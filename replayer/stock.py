"""Requests read and encoded ahead of need, and the demand that a plan makes of them. Edge: reads the recording.

Records are read in the event loop, some at a time, when it is idle. A thread would take the interpreter from the loop
for milliseconds at a time, which is just what the schedule can't stand.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from replayer.accounts import Accounts
from replayer.amplification import amplify, squeeze
from replayer.demand import Demand, Echo, Raise, Timeline, TopUp
from replayer.encoding import Encoder, Request
from replayer.plan import Plan
from rules.units import MILLION, Factor, Share

AHEAD = 1024
"""Requests to hold at most."""

AHEAD_BYTES = 16 << 20
"""Bytes of them to hold at most."""


def usable(records: Iterable[Record], encoder: Encoder, accounts: Accounts) -> Iterator[tuple[int, Request]]:
    """Encode records; leave out and count what can't be replayed."""
    for record in records:
        accounts.read += 1
        request = encoder.encode(record)
        if isinstance(request, Request):
            yield record.arrival_ns, request
        else:
            accounts.skipped[request] += 1


def looped(capture: Capture, encoder: Encoder, accounts: Accounts, again: Callable[[], None]) -> Iterator[Request]:
    """Give the recording's requests in order, over and over; `again` is told of each new beginning.

    Raises CaptureError if a whole round gives none.
    """
    while True:
        empty = True
        for _, request in usable(capture.records(), encoder, accounts):
            empty = False
            yield request
        if empty:
            raise CaptureError(f"{capture.path} holds nothing that can be replayed any more")
        again()


class Stock[T]:
    """An iterator that is read ahead. `size` tells the bytes of an item."""

    def __init__(self, source: Iterator[T], size: Callable[[T], int]) -> None:
        self._source = source
        self._size = size
        self._items: deque[T] = deque()
        self._bytes = 0
        self._ended = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._items:
            self.fill(1)
        if not self._items:
            raise StopIteration
        item = self._items.popleft()
        self._bytes -= self._size(item)
        return item

    def fill(self, count: int) -> bool:
        """Read up to `count` more; tell whether more could be held."""
        for _ in range(count):
            if self._ended or len(self._items) >= AHEAD or self._bytes >= AHEAD_BYTES:
                return False
            item = next(self._source, None)
            if item is None:
                self._ended = True
                return False
            self._items.append(item)
            self._bytes += self._size(item)
        return True


class Supply(NamedTuple):
    """What a plan wants, and the stock that it is taken from."""

    demand: Demand[Request]
    stock: Stock[Any]
    echo: Echo[Request] | None
    """The demand once more if it follows live traffic, and has to be told of it."""


def supply(
    plan: Plan, capture: Capture, encoder: Encoder, accounts: Accounts, start_ns: int, again: Callable[[], None]
) -> Supply:
    """Build it. `start_ns` is when the recorded timeline begins; `again` is told when the recording begins anew."""
    if plan.of == "live":
        requests = Stock(looped(capture, encoder, accounts, again), len)
        wants = TopUp(plan.top_up) if plan.top_up is not None else Raise(plan.extra or Share(0))
        echo = Echo(wants, requests, int(plan.max_lag * 1e9))
        return Supply(echo, requests, echo)
    first_ns = capture.first_ns or 0
    arrivals = usable(capture.records(), encoder, accounts)
    factor = plan.amplify or Factor(MILLION)
    louder = squeeze(arrivals, factor, first_ns) if plan.squeeze else amplify(arrivals, factor, plan.seed)
    timed = Stock(louder, lambda arrival: len(arrival[1]))
    return Supply(Timeline(timed, first_ns, start_ns), timed, None)
