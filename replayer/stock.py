"""Requests read and encoded ahead of need, and the demand that a plan makes of them. Edge: reads the recording.

Records are read in the event loop, some at a time, when it is idle. A thread would take the interpreter from the loop
for milliseconds at a time, which is just what the schedule can't stand.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from captures.errors import CaptureError
from captures.records import Record
from captures.sampling import SessionBy, session_of
from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.requests.encoding import Encoder, Request, Skip
from replayer.schedule.amplification import PATIENCE, amplify, squeeze
from replayer.schedule.demand import SECOND_NS, Demand, Echo, Raise, Steady, Timeline, TopUp
from replayer.schedule.identity import Disguise
from replayer.schedule.sessions import Visitors, amplify_sessions
from replayer.selection import Selection

AHEAD = 1024
"""Requests to hold at most."""

AHEAD_BYTES = 16 << 20
"""Bytes of them to hold at most."""

SKIPPED = 16
"""What "nothing yet" counts for, in requests: the source has read `PATIENCE` records in vain."""

REFILL = 16
"""Requests read ahead at a time: a fraction of a millisecond."""

LOW = 64
"""With fewer requests than this, reading goes on at once."""


def usable(
    records: Iterable[Record | None], encoder: Encoder, accounts: Accounts
) -> Iterator[tuple[int, Request] | None]:
    """Give the requests of records with their arrival. None: nothing yet, but there is more to read."""
    return (pair and (pair[0].arrival_ns, pair[1]) for pair in encoded(records, encoder.encode, accounts))


def encoded(
    records: Iterable[Record | None], encode: Callable[[Record], Request | Skip], accounts: Accounts
) -> Iterator[tuple[Record, Request] | None]:
    """Encode records; leave out and count what can't be replayed, and what was not chosen (a record that is None).

    None: nothing yet, but there is more to read.
    """
    left_out = 0
    for record in records:
        accounts.read += 1
        request = "filtered" if record is None else encode(record)
        if record is not None and isinstance(request, Request):
            left_out = 0
            yield record, request
        else:
            accounts.skipped[str(request)] += 1
            left_out += 1
            if left_out % PATIENCE == 0:
                yield None


def rounds[T](
    one: Callable[[], Iterator[tuple[int, T] | None]], accounts: Accounts, path: Path
) -> Iterator[tuple[int, T] | None]:
    """Give the arrivals that `one` round has, over and over.

    A round begins one mean gap between two arrivals after the last arrival of the one before, so that at the seam
    there is neither a clash nor a pause (with fewer than two instants to tell by: a second). Raises CaptureError if a
    whole round gives none.
    """
    begin: int | None = None
    while True:
        first: int | None = None
        last = shift = count = 0
        for arrival in one():
            if arrival is None:
                yield None
                continue
            last, item = arrival
            if first is None:
                first = last
                shift = 0 if begin is None else begin - first
            count += 1
            yield last + shift, item
        if first is None:
            raise CaptureError(f"{path} holds nothing that can be replayed any more")
        begin = last + shift + ((last - first) // (count - 1) or 1 if last > first else SECOND_NS)
        accounts.rounds += 1


def at_most[T](source: Iterator[T | None], count: int) -> Iterator[T | None]:
    """Give the first so many items of a source, and the Nones between them."""
    while count > 0:
        try:
            item = next(source)
        except StopIteration:
            return
        count -= item is not None
        yield item


def unreadable(error: Exception) -> CaptureError:
    """Give what ends the run when requests can't be made any more for a reason that nobody thought of: no success.

    An iterator that raised once says that it has come to its end when it is asked again.
    """
    return CaptureError(f"the recording can't be read on: {error!r}")


class Stock[T]:
    """A source read ahead. `size` tells the bytes of an item. The source gives None for "nothing yet"."""

    def __init__(self, source: Iterator[T | None], size: Callable[[T], int]) -> None:
        self._source = source
        self._size = size
        self._items: deque[T] = deque()
        self._bytes = 0
        self._read = False  # to its end
        self._trouble: CaptureError | None = None

    @property
    def ended(self) -> bool:
        """Whether there will never be another item."""
        return self._read and not self._items

    @property
    def low(self) -> bool:
        """Whether reading should go on at once."""
        return not self._read and len(self._items) < LOW and self._bytes < AHEAD_BYTES

    def peek(self) -> T | None:
        """Give the next item without taking it; None: there is none at hand."""
        if not self._items:
            self.fill(1)
        return self._items[0] if self._items else None

    def take(self) -> T:
        """Take the next item; there has to be one."""
        item = self._items.popleft()
        self._bytes -= self._size(item)
        return item

    def fill(self, count: int) -> None:
        """Ask the source up to `count` times; what it skips in between is bounded too, so this takes a moment only.

        Raises CaptureError, whatever went wrong.
        """
        while count > 0 and not self._read and len(self._items) < AHEAD and self._bytes < AHEAD_BYTES:
            if self._trouble is not None:
                raise self._trouble
            try:
                item = next(self._source)
            except StopIteration:
                self._read = True
            except CaptureError as error:
                self._trouble = error
                raise
            except Exception as error:
                self._trouble = unreadable(error)
                raise self._trouble from error
            else:
                if item is None:
                    count -= SKIPPED
                else:
                    count -= 1
                    self._items.append(item)
                    self._bytes += self._size(item)


def stocked(plan: Plan, selection: Selection, encoder: Encoder, accounts: Accounts) -> Stock[Any]:
    """Build what a plan takes its requests from: with their times for a recorded timeline, without for any other."""
    one = partial(_once, selection, encoder, accounts)
    arrivals = rounds(one, accounts, selection.path) if plan.loops else one()
    if plan.of == "live" or plan.rate is not None:
        return Stock(_limited(plan, (arrival and arrival[1] for arrival in arrivals)), len)
    begin_ns = selection.first_ns or 0
    if plan.sessions is not None:
        louder = _in_sessions(plan, selection, encoder, accounts)
    elif plan.squeeze:
        louder = squeeze(arrivals, plan.loudness.most, begin_ns)
    else:
        louder = amplify(arrivals, plan.loudness, plan.seed, begin_ns, len, Request.another)
    return Stock(_limited(plan, louder), lambda arrival: len(arrival[1]))


def _once(selection: Selection, encoder: Encoder, accounts: Accounts) -> Iterator[tuple[int, Request] | None]:
    encoder.round = accounts.rounds
    return usable(selection.sifted(), encoder, accounts)


_ROUND_BITS = 32
"""Rounds and copies are told apart by one number: some four thousand million of either."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """A request of a session, and what copies of it are made from."""

    request: Request
    record: Record
    round: int
    key: bytes
    """Which session it is."""

    def __len__(self) -> int:
        return 2 * len(self.request)  # the record is about as large


def _in_sessions(
    plan: Plan, selection: Selection, encoder: Encoder, accounts: Accounts
) -> Iterator[tuple[int, Request] | None]:
    """Multiply whole sessions. In every round after the first one, all of them are somebody else's."""
    by = SessionBy.parse(plan.sessions or "")
    disguise = Disguise(by, plan.seed)

    def one(record: Record, round_: int, copy: int = 0) -> Request | Skip:
        number = round_ + (copy << _ROUND_BITS)
        encoder.round = number  # idempotency keys, too, are those of this copy
        return encoder.encode(record._replace(headers=disguise.headers(record.headers, number)) if number else record)

    def lot(key: bytes, round_: int, copy: int) -> int:
        return int.from_bytes(key[:8]) + round_ + copy

    def once() -> Iterator[tuple[int, tuple[tuple[int, bytes], _Visit]] | None]:
        round_ = accounts.rounds
        for pair in encoded(selection.sifted(), partial(one, round_=round_), accounts):
            if pair is None:
                yield None
            else:
                record, request = pair
                key = blake2b(session_of(record.headers, "", by), digest_size=16).digest()
                request.lot = lot(key, round_, 0)
                yield record.arrival_ns, ((round_, key), _Visit(request, record, round_, key))

    def another(visit: _Visit, copy: int) -> _Visit | None:
        request = one(visit.record, visit.round, copy)
        if not isinstance(request, Request):
            return None
        request.lot = lot(visit.key, visit.round, copy)
        return replace(visit, request=request)

    visitors = Visitors[tuple[int, bytes], _Visit](plan.loudness, plan.seed, selection.first_ns or 0, another, len)
    arrivals = rounds(once, accounts, selection.path) if plan.loops else once()
    found = amplify_sessions(arrivals, visitors)
    return (arrival and (arrival[0], arrival[1].request) for arrival in found)


def _limited[T](plan: Plan, source: Iterator[T | None]) -> Iterator[T | None]:
    return source if plan.max_requests is None else at_most(source, plan.max_requests)


class Supply(NamedTuple):
    """What a plan wants, and the stock that it is taken from."""

    demand: Demand[Request]
    stock: Stock[Any]
    echo: Echo[Request] | None
    """The demand once more if it follows live traffic, and has to be told of it."""
    most: int | None = None
    """Requests that there are to be at most."""

    @property
    def ending(self) -> str:
        """Why nothing more will ever be due, for people."""
        return ending(self.demand.wanted, self.most)


def ending(wanted: int, most: int | None) -> str:
    """Why no more is wanted than there was, for people."""
    if most is not None and wanted >= most:
        return f"{most} requests were asked for at most (--max-requests)"
    return "the recording was played to its end"


def supply(plan: Plan, stock: Stock[Any], first_ns: int, start_ns: int) -> Supply:
    """Build the demand on what `stocked` gave: a recorded timeline that began at `first_ns` begins at `start_ns`."""
    if plan.of == "live":
        wants = TopUp(plan.top_up) if plan.top_up is not None else Raise(plan.loudness, start_ns)
        echo = Echo(wants, stock, int(plan.max_lag * 1e9), plan.max_requests)
        return Supply(echo, stock, echo, plan.max_requests)
    if plan.rate is not None:
        return Supply(
            Steady(stock, plan.rate, start_ns, None if plan.even else plan.seed), stock, None, plan.max_requests
        )
    return Supply(Timeline(stock, first_ns, start_ns), stock, None, plan.max_requests)
