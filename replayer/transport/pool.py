"""The connections to one place: bounded, kept alive, and opened ever more rarely while they come to nothing.

A request that has to wait for a new connection is decided about again once it is there (`Outcomes.withdrawal`): what is
too late by then, or not allowed any more, is not sent, and the connection is kept for the next one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from replayer.requests.encoding import Request
from replayer.transport import failures
from replayer.transport.carrier import NEVER, Carrier
from replayer.transport.failures import Failure
from replayer.transport.greeter import Greeter
from replayer.transport.http2 import Connection as Http2
from replayer.transport.outcomes import Outcomes, Shortage
from replayer.transport.target import Target

FIRST_PAUSE_NS = 10_000_000
LONGEST_PAUSE_NS = 1_000_000_000
"""After a connection that failed, the next one is tried alone after the first pause, doubled each time."""


EXPECTED_STREAMS = 100
"""Requests that may wait for one connection of HTTP/2: no other end should allow fewer streams (RFC 9113, 6.5.2)."""


class _Waiting(NamedTuple):
    """A request that waits for a connection."""

    request: Request
    due_ns: int
    ready_ns: int
    sent_ns: int | None
    """When it was sent over a connection that lost it; None: never yet."""


class Pool:
    """The connections to one target. One event loop owns it; `clock` gives monotonic nanoseconds."""

    def __init__(
        self,
        target: Target,
        outcomes: Outcomes,
        clock: Callable[[], int],
        full: Callable[[], bool] | None = None,
    ) -> None:
        """`full` tells whether no connection may be opened any more; None: by the target's bound alone."""
        self.target = target
        self.outcomes = outcomes
        self.clock = clock
        self.idle: dict[Carrier, None] = {}  # last in, first out: few connections stay warm, the others run out
        self.opened = 0
        self.retried = 0
        self.sent_bytes = 0
        self.in_flight = 0  # requests that were sent and have no outcome yet
        self.waiting = 0  # requests that wait for a connection and were never sent
        self.turned_away = False  # whether somebody was, and wants to hear of `ready`
        self.reasons: dict[Failure, str] = {}  # the first reason of each kind of failure, in words
        self._all: set[Carrier] = set()
        self._queue: deque[_Waiting] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._tried = 0  # connections, in all
        self._attempts = 0  # connections that are being opened
        self._failures = 0  # connections that failed in a row
        self._turned_down = 0  # connections in a row that the other end gave up as soon as something was asked of it
        self._not_before_ns = 0
        self._closed = False
        self._full = full or self._has_all
        self._addresses = target.resolve.get((target.host, target.port), (target.host,))
        # How many may wait for one connection. Where nobody knows yet what will be spoken, one is opened to find out.
        unknown = target.http2 == "always" or (target.http2 == "auto" and target.tls is not None)
        self._each = EXPECTED_STREAMS if unknown else 1

    @property
    def connections(self) -> int:
        """Connections that are there or being opened."""
        return len(self._all) + self._attempts

    def shortage(self, now_ns: int) -> Shortage | None:
        """Tell what stands against sending a request now."""
        if self.idle:
            return None
        if self._failures and (self._attempts or now_ns < self._not_before_ns):
            self.turned_away = True
            return "backoff"
        if len(self._queue) < self._attempts * self._each:
            return None
        if self._full():
            self.turned_away = True
            return "connections"
        return None

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send a request, or wait for a connection with it; only while there is no `shortage`."""
        if self.idle:
            self.idle.popitem()[0].send(request, due_ns, ready_ns, now_ns)
        else:
            self.waiting += 1
            self._queue.append(_Waiting(request, due_ns, ready_ns, None))
            self._open_enough()

    def sweep(self, now_ns: int) -> None:
        """Give up what has waited too long. Called some times a second, in place of a timer for each request."""
        target = self.target
        whole = now_ns - int(target.timeout * 1e9)
        first = whole if target.first_byte_timeout is None else now_ns - int(target.first_byte_timeout * 1e9)
        limit = max(whole, first)
        for connection in [c for c in self._all if c.sent_ns < limit]:
            connection.expire(whole, first)
        patience = now_ns - int(target.connect_timeout * 1e9)
        while self._queue and self._queue[0].ready_ns < patience:
            self._give_up("connect-timeout")
        if self._queue and now_ns >= self._not_before_ns:
            self._open_enough()
        if self.turned_away and self.shortage(now_ns) is None:
            self._announce()

    def withdraw(self) -> int:
        """Give up what waits for a connection; tell how many of them were never sent. The others have failed."""
        given_up, self.waiting = self.waiting, 0
        lost = [item for item in self._queue if item.sent_ns is not None]
        self._queue.clear()
        for item in lost:
            self.in_flight -= 1
            self.outcomes.failed(item.request, item.sent_ns, "closed")  # as it was when it was lost
        return given_up

    def close(self) -> int:
        """Close every connection at once; give the number of requests that stay without an outcome."""
        self._closed = True
        unanswered, self.in_flight, self.waiting = self.in_flight, 0, 0
        self._queue.clear()
        for task in self._opening:
            task.cancel()
        for connection in self._all:
            connection.drop()
        self._all.clear()
        self.idle.clear()
        return unanswered

    def give_up_idle(self) -> bool:
        """Close a connection that carries nothing, the one that has been idle longest; False if there is none."""
        connection = next((idle for idle in self.idle if idle.sent_ns == NEVER), None)
        if connection is None:
            return False
        connection.drop()
        self._all.discard(connection)
        self.idle.pop(connection, None)
        return True

    # --- called by connections ---

    def connected(self, connection: Carrier) -> None:
        """Take a connection that is there."""
        self._attempts -= 1
        if self._closed:
            connection.drop()
            return
        self._failures = 0
        self.opened += 1
        self._each = EXPECTED_STREAMS if isinstance(connection, Http2) else 1
        self._all.add(connection)
        self.release(connection)
        self._open_enough()

    def release(self, connection: Carrier) -> None:
        """Take back a connection that can serve again, and give it to whoever waits for one."""
        if self._closed:
            return
        while self._queue and connection.room:
            self._hand_over(self._queue.popleft(), connection)
        if connection.room:
            self.idle[connection] = None
            if self.turned_away:
                self._announce()

    def forget(self, connection: Carrier) -> None:
        """Drop a connection that can't serve any more."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        self.idle.pop(connection, None)
        if self._closed:
            return
        self._open_enough()
        if self.turned_away:
            self._announce()

    def retry(self, request: Request, due_ns: int, sent_ns: int) -> bool:
        """Send again, over another connection, what a stale one lost."""
        if self._closed or self._failures or not self.outcomes.may_retry():
            return False
        self.retried += 1
        # Of HTTP/1.1 not over one that is idle now: whatever ended the one may have ended them all.
        self._queue.appendleft(_Waiting(request, due_ns, self.clock(), sent_ns))
        if self._each > 1 and self.idle:
            self.release(next(reversed(self.idle)))  # of HTTP/2: it carries others, and they get answers
        self._open_enough()
        return True

    def explain(self, failure: Failure, why: object) -> None:
        """Keep the first reason of each kind of failure, in words."""
        if failure in self.reasons or why is None:
            return
        if told := str(why) or ("" if isinstance(why, TimeoutError) else type(why).__name__):
            self.reasons[failure] = told[:500]  # a time-out has no more to say than its kind

    def hold_off(self, failure: Failure, why: object) -> None:
        """Wait before the next connection is tried: this one came to nothing."""
        self._failures += 1
        pause = min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << min(self._failures - 1 + self._turned_down, 10))
        self._not_before_ns = self.clock() + pause
        self.explain(failure, why)

    def turned_down(self, failure: Failure, why: object) -> None:
        """Take note that a connection was given up by the other end, and nothing was answered on it.

        The first one may be about to restart. From the second in a row on, ever longer is waited before the next.
        """
        if self._turned_down:
            self.hold_off(failure, why)
        self._turned_down += 1

    def served(self) -> None:
        """Take note that a connection brought an answer."""
        self._turned_down = 0

    # --- inside ---

    def _hand_over(self, item: _Waiting, connection: Carrier) -> None:
        """Send what waited, if it still may be sent."""
        request, due_ns, ready_ns, sent_ns = item
        again = sent_ns is not None
        withdrawal = self.outcomes.withdrawal(ready_ns if again else due_ns, again=again)
        self.waiting -= not again
        if withdrawal is not None:
            if again:
                self.in_flight -= 1
                self.outcomes.failed(request, sent_ns, "closed")  # as it was when it was lost
            else:
                self.outcomes.withdrawn(request, withdrawal)
        elif sent_ns is not None:
            connection.send_again(request, due_ns, sent_ns)
        else:
            connection.send(request, due_ns, ready_ns, self.clock())

    def _give_up(self, failure: Failure) -> None:
        """Give up the request that has waited longest."""
        item = self._queue.popleft()
        if item.sent_ns is None:
            self.waiting -= 1
        else:
            self.in_flight -= 1
        self.outcomes.failed(item.request, item.sent_ns, failure)

    def _announce(self) -> None:
        self.turned_away = False
        self.outcomes.ready()

    def _has_all(self) -> bool:
        return self.connections >= self.target.max_connections

    def _open_enough(self) -> None:
        """Open connections for the requests that wait for one."""
        while len(self._queue) > self._attempts * self._each and not self._full():
            self._attempts += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        target, loop = self.target, asyncio.get_running_loop()
        up: asyncio.Future[None] = loop.create_future()
        greeter = Greeter(self, up)
        address = self._addresses[self._tried % len(self._addresses)]
        self._tried += 1
        why: Exception | None = None
        try:
            async with asyncio.timeout(target.connect_timeout):
                await loop.create_connection(
                    lambda: greeter,
                    address,
                    target.port,
                    ssl=target.tls,
                    server_hostname=(target.server_name or target.host) if target.tls else None,
                )
                await up
        except Exception as error:  # noqa: BLE001 - whatever it is, it is an outcome of the request, not of the run
            why = error
        finally:
            there = up.done() and not up.cancelled() and up.exception() is None
            up.cancel()
            if not there and greeter.carrier is not None:
                greeter.carrier.drop()
        if not there and why is not None:
            self._missed(why)

    def _missed(self, error: Exception) -> None:
        """Take note that a connection failed, and give up the requests that it was for."""
        failure = failures.to_connect(error)
        self._attempts -= 1
        self.hold_off(failure, error)
        while len(self._queue) > self._attempts * self._each:
            self._give_up(failure)
        if self.turned_away and self.shortage(self.clock()) is None:
            self._announce()
