"""The connections to one place: bounded, kept alive, and opened ever more rarely while they come to nothing.

A request that has to wait for a new connection is decided about again once it is there (`Outcomes.withdrawal`): what is
too late by then, or not allowed any more, is not sent, and the connection is kept for the next one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from replayer.encoding import Request
from replayer.transport import failures
from replayer.transport.failures import Failure
from replayer.transport.http1 import Connection
from replayer.transport.outcomes import Outcomes, Shortage, Target

FIRST_PAUSE_NS = 10_000_000
LONGEST_PAUSE_NS = 1_000_000_000
"""After a connection that failed, the next one is tried alone after the first pause, doubled each time."""


class _Waiting(NamedTuple):
    """A request that waits for a connection."""

    request: Request
    due_ns: int
    ready_ns: int
    sent_ns: int | None
    """When it was sent over a connection that lost it; None: never yet."""


class Pool:
    """The connections to one target. One event loop owns it; `clock` gives monotonic nanoseconds."""

    def __init__(self, target: Target, outcomes: Outcomes, clock: Callable[[], int]) -> None:
        self.target = target
        self.outcomes = outcomes
        self.clock = clock
        self.idle: dict[Connection, None] = {}  # last in, first out: few connections stay warm, the others run out
        self.opened = 0
        self.retried = 0
        self.sent_bytes = 0
        self.in_flight = 0  # requests that were sent and have no outcome yet
        self.waiting = 0  # requests that wait for a connection and were never sent
        self.turned_away = False  # whether somebody was, and wants to hear of `ready`
        self.reasons: dict[Failure, str] = {}  # the first reason of each kind of failure, in words
        self._all: set[Connection] = set()
        self._queue: deque[_Waiting] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._attempts = 0  # connections that are being opened
        self._failures = 0  # connections that failed in a row
        self._not_before_ns = 0
        self._closed = False

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
        if self.connections >= self.target.max_connections:
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
        if self._queue and now_ns >= self._not_before_ns:
            self._open_enough()
        if self.turned_away and self.shortage(now_ns) is None:
            self._announce()

    def withdraw(self) -> int:
        """Give up what waits for a connection; tell how many these were."""
        given_up, self.waiting = self.waiting, 0
        self._queue = deque(item for item in self._queue if item.sent_ns is not None)
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

    # --- called by connections ---

    def connected(self, connection: Connection) -> None:
        """Take a connection that is there."""
        self._attempts -= 1
        if self._closed:
            connection.drop()
            return
        self._failures = 0
        self.opened += 1
        self._all.add(connection)
        self.release(connection)
        self._open_enough()

    def release(self, connection: Connection) -> None:
        """Take back a connection that can serve again, and give it to whoever waits for one."""
        if self._closed:
            return
        while self._queue:
            if self._hand_over(self._queue.popleft(), connection):
                return
        self.idle[connection] = None
        if self.turned_away:
            self._announce()

    def forget(self, connection: Connection) -> None:
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
        # Not over one that is idle now: whatever ended the one may have ended them all.
        self._queue.appendleft(_Waiting(request, due_ns, self.clock(), sent_ns))
        self._open_enough()
        return True

    def explain(self, failure: Failure, why: object) -> None:
        """Keep the first reason of each kind of failure, in words."""
        if failure not in self.reasons and why is not None:
            self.reasons[failure] = (str(why) or type(why).__name__)[:500]

    def hold_off(self, failure: Failure, why: object) -> None:
        """Wait before the next connection is tried: this one came to nothing."""
        self._failures += 1
        pause = min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << min(self._failures - 1, 10))
        self._not_before_ns = self.clock() + pause
        self.explain(failure, why)

    # --- inside ---

    def _hand_over(self, item: _Waiting, connection: Connection) -> bool:
        """Send what waited; False if it must not be sent any more."""
        request, due_ns, ready_ns, sent_ns = item
        again = sent_ns is not None
        withdrawal = self.outcomes.withdrawal(ready_ns if again else due_ns)
        self.waiting -= not again
        if withdrawal is not None:
            if again:
                self.in_flight -= 1
                self.outcomes.failed(request, sent_ns, "closed")  # as it was when it was lost
            else:
                self.outcomes.withdrawn(withdrawal)
            return False
        if sent_ns is not None:
            connection.send_again(request, due_ns, sent_ns)
        else:
            connection.send(request, due_ns, ready_ns, self.clock())
        return True

    def _announce(self) -> None:
        self.turned_away = False
        self.outcomes.ready()

    def _open_enough(self) -> None:
        """Open a connection for each request that waits for one."""
        while len(self._queue) > self._attempts and self.connections < self.target.max_connections:
            self._attempts += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        target = self.target
        connection = Connection(self)
        try:
            async with asyncio.timeout(target.connect_timeout):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    target.host,
                    target.port,
                    ssl=target.tls,
                    server_hostname=(target.server_name or target.host) if target.tls else None,
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is an outcome of the request, not of the run
            if not connection.made:
                self._missed(error)

    def _missed(self, error: Exception) -> None:
        """Take note that a connection failed, and give up the request that it was for."""
        failure = failures.to_connect(error)
        self._attempts -= 1
        self.hold_off(failure, error)
        while len(self._queue) > self._attempts:
            item = self._queue.popleft()
            if item.sent_ns is None:
                self.waiting -= 1
            else:
                self.in_flight -= 1
            self.outcomes.failed(item.request, item.sent_ns, failure)
        if self.turned_away and self.shortage(self.clock()) is None:
            self._announce()
