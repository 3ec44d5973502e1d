"""HTTP/1.1 over a bounded pool of connections: callbacks only, no task, future or timer for a request.

One request at a time on a connection (no pipelining: an answer that never comes would take others with it). Answers
are not kept: a body is parsed to find its end and dropped.

What can go wrong, as `Failure` names it:

    dns               the target's name has no address
    refused           nobody listens there
    connect           any other reason not to get a connection
    connect-timeout   no connection in time
    tls               no handshake, or a certificate that does not verify
    closed            the connection ended before any byte of the answer
    reset             the connection was reset before any byte of the answer
    truncated         the connection ended or was reset inside the answer
    timeout           no whole answer in time
    protocol          what came is not HTTP/1.1

A request that has to wait for a new connection is decided about again once it is there (`Outcomes.withdrawal`): what is
too late by then, or not allowed any more, is not sent, and the connection is kept for the next one.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, cast

import httptools

from replayer.encoding import Request
from rules.wire import WITHHELD_HEADER, Withheld

Failure = Literal[
    "dns",
    "refused",
    "connect",
    "connect-timeout",
    "tls",
    "closed",
    "reset",
    "truncated",
    "timeout",
    "protocol",
]
Shortage = Literal["connections", "backoff"]
Withdrawal = Literal["signal", "lever", "connecting"]

MAX_HEAD = 65_536
"""Bytes of fields that an answer may have. nginx and Apache stop at a fraction of it."""

FIRST_PAUSE_NS = 10_000_000
LONGEST_PAUSE_NS = 1_000_000_000
"""After a connection that failed, the next one is tried alone after the first pause, doubled each time."""

_HEAD_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
_WITHHELD = re.compile(rb"\r\n" + WITHHELD_HEADER.encode() + rb":[ \t]*(credit|lever)[ \t]*\r\n", re.IGNORECASE)
_FRAMED = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)


class Answer(NamedTuple):
    """A request that was answered. Times are those of the pool's clock."""

    request: Request
    due_ns: int
    sent_ns: int
    first_ns: int
    """When the first bytes of the answer came."""
    ended_ns: int
    status: int
    size: int
    """Bytes of the whole answer, head and 1xx too."""
    withheld: Withheld | None
    """Set if the answer is the guard's and not the target's."""


class Outcomes(Protocol):
    """Whom the pool tells what became of a request."""

    def answered(self, answer: Answer) -> None:
        """Take a whole answer."""

    def sent(self, due_ns: int, ready_ns: int, sent_ns: int) -> None:
        """Take the news that a request is written, `sent_ns`; `ready_ns` is when nothing but a connection lacked."""

    def withdrawal(self, due_ns: int) -> Withdrawal | None:
        """Tell why a request that waited for its connection must not be sent any more."""

    def withdrawn(self, why: Withdrawal) -> None:
        """Take the news that a request was not sent."""

    def failed(self, request: Request, sent_ns: int | None, failure: Failure) -> None:
        """Take the news that `request` gets no answer; `sent_ns` is None if there was not even a connection."""

    def token(self) -> bytes:
        """Give the token that is put into a request at the moment of sending."""

    def may_retry(self) -> bool:
        """Tell whether a request that a stale connection lost may be sent once more (it spends credit again)."""

    def ready(self) -> None:
        """Take the news that a connection is free again, or may be opened again."""


class Target(NamedTuple):
    """Where to connect to, and how."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connect_timeout: float = 5.0
    timeout: float = 30.0
    max_connections: int = 256
    guarded: bool = True
    """Whether a sidecar stands before it, so that an answer may be the guard's."""


class Pool:
    """The connections to one target. One event loop owns it; `clock` gives monotonic nanoseconds."""

    def __init__(self, target: Target, outcomes: Outcomes, clock: Callable[[], int]) -> None:
        self.target = target
        self.outcomes = outcomes
        self.clock = clock
        self.idle: list[Connection] = []  # last in, first out: few connections stay warm, the others run out
        self.opened = 0
        self.retried = 0
        self.sent_bytes = 0
        self.turned_away = False  # whether somebody was, and wants to hear of `ready`
        self.waiting = 0  # requests that wait for a connection of their own
        self.reasons: dict[Failure, str] = {}  # the first error of each kind of connection that failed, in words
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._failures = 0  # connections that failed in a row
        self._not_before_ns = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""
        return len(self._all) - len(self.idle) - self.waiting

    def shortage(self, now_ns: int) -> Shortage | None:
        """Tell what stands against sending a request now."""
        if self.idle:
            return None
        if self._failures and (self._opening or now_ns < self._not_before_ns):
            self.turned_away = True
            return "backoff"
        if len(self._all) >= self.target.max_connections:
            self.turned_away = True
            return "connections"
        return None

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send a request, or wait for a connection with it; only while there is no `shortage`."""
        if self.idle:
            self.idle.pop().send(request, due_ns, ready_ns, now_ns)
        else:
            self.waiting += 1
            self._open(Connection(self, request, due_ns, ready_ns, now_ns))

    def sweep(self, now_ns: int) -> None:
        """Give up what has waited too long. Called some times a second, in place of a timer for each request."""
        limit = now_ns - int(self.target.timeout * 1e9)
        for connection in [c for c in self._all if c.request is not None and c.sent_ns < limit]:
            connection.fail("timeout")
        if self.turned_away and self.shortage(now_ns) is None:
            self._announce()

    def withdraw(self) -> int:
        """Give up what waits for a connection; tell how many these were."""
        given_up = [connection for connection in self._all if connection.waits]
        for connection in given_up:
            connection.request = None
            self.forget(connection)
        self.waiting = 0
        return len(given_up)

    def close(self) -> int:
        """Close every connection at once; give the number of requests that stay without an outcome."""
        self._closed = True
        unanswered, self.waiting = self.in_flight, 0
        for task in self._opening:
            task.cancel()
        for connection in self._all:
            connection.request = None
            connection.abort()
        self._all.clear()
        self.idle.clear()
        return unanswered

    def release(self, connection: "Connection") -> None:
        """Take back a connection that can serve again."""
        self.idle.append(connection)
        if self.turned_away:
            self._announce()

    def forget(self, connection: "Connection") -> None:
        """Drop a connection that can't."""
        self._all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if self.turned_away and not self._closed:
            self._announce()

    def retry(self, request: Request, due_ns: int, sent_ns: int) -> bool:
        """Send again, over a new connection, what a stale one lost."""
        if self._closed or self._failures or not self.outcomes.may_retry():
            return False
        self.retried += 1
        self._open(Connection(self, request, due_ns, self.clock(), sent_ns, retried=True))
        return True

    def _announce(self) -> None:
        self.turned_away = False
        self.outcomes.ready()

    def _open(self, connection: "Connection") -> None:
        self._all.add(connection)
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, connection: "Connection") -> None:
        target = self.target
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
            self._failures += 1
            pause = min(LONGEST_PAUSE_NS, FIRST_PAUSE_NS << min(self._failures - 1, 10))
            self._not_before_ns = self.clock() + pause
            failure = _failure_to_connect(error)
            self.reasons.setdefault(failure, str(error) or type(error).__name__)
            if connection.request is not None:  # else it was given up meanwhile
                connection.fail(failure)
        else:
            self._failures = 0
            self.opened += 1


def _failure_to_connect(error: Exception) -> Failure:
    match error:
        case TimeoutError():
            return "connect-timeout"
        case ssl.SSLError():
            return "tls"
        case socket.gaierror():
            return "dns"
        case ConnectionRefusedError():
            return "refused"
    return "connect"


class Connection(asyncio.Protocol):
    """One connection and the request that is on it. `request` is None while it is idle."""

    __slots__ = (
        "_begun",
        "_head",
        "_keep",
        "_parser",
        "_pool",
        "_rested",
        "_retried",
        "_size",
        "_status",
        "_transport",
        "due_ns",
        "first_ns",
        "ready_ns",
        "request",
        "sent_ns",
    )

    def __init__(
        self, pool: Pool, request: Request, due_ns: int, ready_ns: int, sent_ns: int, *, retried: bool = False
    ) -> None:
        self.request: Request | None = request
        self.due_ns = due_ns
        self.ready_ns = ready_ns
        self.sent_ns = sent_ns
        self._pool = pool
        self._retried = retried
        self._rested = False  # whether it has been idle, so that the other end may have closed it meanwhile
        self._transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._begun = 0
        self._status = 0
        self._keep = False
        self._head = b""
        self._size = 0
        self.first_ns = 0

    # --- sending ---

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send the next request over a connection that is idle."""
        self.request = request
        self.due_ns = due_ns
        self.sent_ns = now_ns
        self._retried = False
        self._pool.outcomes.sent(due_ns, ready_ns, now_ns)
        self._write(request)

    def _write(self, request: Request) -> None:
        pool = self._pool
        data = request.prefix + pool.outcomes.token() + request.tail
        pool.sent_bytes += len(data)
        self._transport.write(data)  # type: ignore[union-attr]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what the connection was opened for (with TLS, this comes after the handshake)."""
        waits, self._transport = self.waits, cast("asyncio.Transport", transport)
        pool, request = self._pool, self.request
        if request is None:
            self._transport.abort()
            return
        withdrawal = pool.outcomes.withdrawal(self.due_ns if waits else self.ready_ns)
        pool.waiting -= waits
        if withdrawal is None:
            if waits:
                self.sent_ns = pool.clock()
                pool.outcomes.sent(self.due_ns, self.ready_ns, self.sent_ns)
            self._write(request)
        elif waits:
            self.request = None
            self._rested = True
            pool.outcomes.withdrawn(withdrawal)
            pool.release(self)
        else:
            self.fail("closed")  # it was sent before, over a connection that lost it

    @property
    def waits(self) -> bool:
        """Whether there is a request that was never written."""
        return self._transport is None and self.request is not None and not self._retried

    # --- receiving ---

    def data_received(self, data: bytes) -> None:
        """Parse what came, and finish if the answer is whole."""
        request = self.request
        if request is None:
            # Nobody asked: a parting message of a server that closes, or garbage. Either way it is of no more use.
            self.abort()
            self._pool.forget(self)
            return
        if not self._size:
            self.first_ns = self._pool.clock()
        self._size += len(data)
        if len(self._head) < MAX_HEAD:
            self._head += data  # as good as free for an answer that comes in one piece
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._status:
                self.fail("protocol")
                return
            self._keep = False  # the answer is whole; what follows it is not HTTP
        if self._status:
            self._finish(request, self._status)
        elif request.head:
            self._finish_head(request)
        elif len(self._head) >= MAX_HEAD and _final_head(self._head) is None:
            self.fail("protocol")

    def on_message_begin(self) -> None:
        """Count what begins (called by the parser): after the answer nothing may."""
        self._begun += 1
        if self._status:
            self._keep = False

    def on_message_complete(self) -> None:
        """Take note that a message is whole (called by the parser); 1xx is not the answer yet (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if status >= 200 and not self._status:
            self._status = status
            self._keep = self._parser.should_keep_alive()

    def _finish_head(self, request: Request) -> None:
        # The parser can't know that an answer to HEAD has no body (RFC 9110, 9.3.2). It is given up for a new one.
        head = _final_head(self._head)
        if head is None:
            if len(self._head) >= MAX_HEAD:
                self.fail("protocol")
            return
        whole = self._head.endswith(_HEAD_END) and self._head.count(_HEAD_END) == self._begun
        self._keep = whole and self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        self._finish(request, head.status)

    def _finish(self, request: Request, status: int) -> None:
        pool = self._pool
        withheld = _withheld(self._head) if status in (429, 503) and pool.target.guarded else None
        now = pool.clock()
        answer = Answer(request, self.due_ns, self.sent_ns, self.first_ns, now, status, self._size, withheld)
        self.request = None
        if self._keep:
            self._rested = True
            self._status = self._size = self._begun = 0
            self._head = b""
            pool.release(self)
        else:
            self.abort()
            pool.forget(self)
        pool.outcomes.answered(answer)

    # --- ending ---

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out what the end of the connection means for the request on it."""
        request, pool = self.request, self._pool
        if request is None:
            pool.forget(self)
        elif not self._size:
            stale = self._rested and request.safe and not self._retried
            self.request = None
            pool.forget(self)
            # A server may close an idle connection at the moment in which a request is sent (RFC 9112, 9.3.1).
            if not (stale and pool.retry(request, self.due_ns, self.sent_ns)):
                pool.outcomes.failed(request, self.sent_ns, "closed" if exc is None else "reset")
        elif exc is None and (head := _final_head(self._head)) is not None and not _FRAMED.search(head.fields):
            self._keep = False  # an answer that ends with its connection (RFC 9112, 6.3)
            self._finish(request, head.status)
        else:
            self.fail("truncated")

    def fail(self, failure: Failure) -> None:
        """Give up the request and the connection."""
        waited, request = self.waits, self.request
        self._pool.waiting -= waited
        self.request = None
        self.abort()
        self._pool.forget(self)
        if request is not None:
            self._pool.outcomes.failed(request, None if waited else self.sent_ns, failure)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class _Head(NamedTuple):
    status: int
    fields: bytes
    """With the status line and the blank line."""


def _final_head(data: bytes) -> _Head | None:
    """Find the final answer's head, after any 1xx; None if it is not whole yet."""
    start = 0
    while (end := data.find(_HEAD_END, start)) >= 0:
        fields = data[start : end + len(_HEAD_END)]
        status = _STATUS.match(fields)
        if status is None:
            return None
        if int(status[1]) >= 200:
            return _Head(int(status[1]), fields)
        start = end + len(_HEAD_END)
    return None


def _withheld(data: bytes) -> Withheld | None:
    """Tell whether an answer is the guard's own."""
    head = _final_head(data)
    match = _WITHHELD.search(head.fields) if head else None
    if match is None:
        return None
    return "lever" if match[1].lower() == b"lever" else "credit"
