"""HTTP/1.1: one request at a time on a connection. Callbacks only, no task, future or timer for a request.

No pipelining: an answer that never comes would take others with it. Answers are not kept: a body is parsed to find its
end and dropped, and of a head no more than `MAX_HEAD` is held.
"""

import asyncio
from typing import cast

import httptools

from replayer.requests.encoding import Request
from replayer.transport import failures
from replayer.transport.carrier import NEVER, Owner
from replayer.transport.failures import Failure
from replayer.transport.heads import HEAD_END, MAX_HEAD, Head, final_head, withheld
from replayer.transport.outcomes import Answer, Body
from rules.wire import WITHHELD_STATUSES

LARGE = 65_536
"""A request larger than this may be answered before it is sent whole: no socket's buffer is sure to take it at once."""


class Connection(asyncio.Protocol):
    """One connection and the request that is on it: None while it is idle. `up` is done when it is there."""

    __slots__ = (
        "_begun",
        "_dry",
        "_ended",
        "_head",
        "_keep",
        "_large",
        "_parser",
        "_pool",
        "_rested",
        "_retried",
        "_size",
        "_status",
        "_transport",
        "_up",
        "_watch",
        "due_ns",
        "first_ns",
        "request",
        "room",
        "sent_ns",
    )

    def __init__(self, pool: Owner, up: asyncio.Future[None]) -> None:
        self.room = False
        self.request: Request | None = None
        self.due_ns = 0
        self.sent_ns = NEVER
        self.first_ns = 0
        self._pool = pool
        self._up = up
        self._transport: asyncio.Transport | None = None
        self._retried = False
        self._rested = False  # whether it has been idle, so that the other end may have closed it meanwhile
        self._ended = False  # whether the other end has said that it sends no more
        self._large = False
        # The parser tells of bodies only if asked when it is made, which costs a copy of each.
        self._watch: _Watch | None = _Keeper(self, pool.target.kept) if pool.target.kept else None
        self._parser = httptools.HttpResponseParser(self._watch or self)
        self._dry = 0
        self._begun = 0
        self._status = 0
        self._keep = False
        self._head = b""
        self._size = 0

    # --- sending ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Come into service (with TLS, this comes after the handshake)."""
        self._transport = cast("asyncio.Transport", transport)
        if self._up.done():
            self.abort()  # it comes too late
            return
        self._up.set_result(None)
        self.room = True
        self._pool.connected(self)

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send the next request over a connection that is idle."""
        pool = self._pool
        self.room = False
        self.request = request
        self.due_ns = due_ns
        self._retried = False
        pool.in_flight += 1
        data = request.prefix + pool.outcomes.token() + request.tail
        # Looked up as late as can be: what passed since `now_ns` is the sender's own doing, so it counts as its lag.
        self.sent_ns = sent_ns = pool.clock()
        pool.outcomes.sent(due_ns, ready_ns + sent_ns - now_ns, sent_ns)
        self._write(data)

    def send_again(self, request: Request, due_ns: int, sent_ns: int) -> None:
        """Send what another connection lost; it was counted then."""
        self.room = False
        self.request = request
        self.due_ns = due_ns
        self.sent_ns = sent_ns
        self._retried = True
        self._write(request.prefix + self._pool.outcomes.token() + request.tail)

    def _write(self, data: bytes) -> None:
        self._pool.sent_bytes += len(data)
        self._large = len(data) > LARGE
        self._transport.write(data)  # type: ignore[union-attr]

    # --- receiving ---

    def data_received(self, data: bytes) -> None:
        """Parse what came, and finish if the answer is whole."""
        request = self.request
        if request is None:
            # Nobody asked: a parting message of a server that closes, or garbage. Either way it is of no more use.
            self.drop()
            self._pool.forget(self)
            return
        if not self._size:
            self.first_ns = self._pool.clock()
        self._size += len(data)
        if len(self._head) < MAX_HEAD:
            self._head += data  # as good as free for an answer that comes in one piece
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._status:
                self.fail("protocol", error)
                return
            self._keep = False  # the answer is whole; what follows it is not HTTP
        if self._status:
            self._finish(request, self._status)
        elif request.head:
            self._finish_head(request)
        elif len(self._head) >= MAX_HEAD:
            self._look_after_long(data)

    def eof_received(self) -> None:
        """Take note that no more will come; with TLS, that nobody has cut it short."""
        self._ended = True

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

    @property
    def whole(self) -> bool:
        """Whether the answer is there; what follows it is nobody's."""
        return bool(self._status)

    def _look_after_long(self, data: bytes) -> None:
        """See that a long answer leads somewhere: to its body, and of that to more of it."""
        longest = self._pool.target.longest
        if longest is not None and self._size > longest:
            self.fail("protocol", f"an answer of more than {longest} bytes")
            return
        if self._watch is None:
            if final_head(self._head) is None:
                self.fail("protocol", f"more than {MAX_HEAD} bytes of fields")
                return
            self._watch = _Watch(self)
            self._parser = httptools.HttpResponseParser(self._watch)
            self._begun = 0
            self._parser.feed_data(self._head)  # it is all that came so far
            return
        self._dry = 0 if self._watch.fed else self._dry + len(data)
        self._watch.fed = False
        if self._dry > MAX_HEAD:
            # An extension of a chunk, or a trailer, that never ends. The parser would hold it.
            self.fail("protocol", f"more than {MAX_HEAD} bytes between two chunks, or of trailers")

    def _finish_head(self, request: Request) -> None:
        # The parser can't know that an answer to HEAD has no body (RFC 9110, 9.3.2). It is given up for a new one.
        head = final_head(self._head)
        if head is None:
            if len(self._head) >= MAX_HEAD:
                self.fail("protocol", f"more than {MAX_HEAD} bytes of fields")
            return
        whole = self._head.endswith(HEAD_END) and self._head.count(HEAD_END) == self._begun
        self._keep = whole and self._parser.should_keep_alive()
        self._finish(request, head.status)
        self._begin_anew()

    def _finish(self, request: Request, status: int) -> None:
        pool = self._pool
        guards = withheld(self._head) if status in WITHHELD_STATUSES and pool.target.guarded else None
        now = pool.clock()
        body = self._body(request) if pool.target.kept else None
        answer = Answer(request, self.due_ns, self.sent_ns, self.first_ns, now, status, self._size, guards, body)
        self.request = None
        self.sent_ns = NEVER
        pool.in_flight -= 1
        if self._keep and not (self._large and self._transport.get_write_buffer_size()):  # type: ignore[union-attr]
            self._rested = self.room = True
            self._status = self._size = self._begun = 0
            self._head = b""
            if self._watch is not None:
                self._begin_anew()
            pool.outcomes.answered(answer)  # before the next is sent: it may say that nothing may be sent any more
            pool.release(self)
        else:
            self.abort()
            pool.outcomes.answered(answer)
            pool.forget(self)

    def _begin_anew(self) -> None:
        """Get ready for another answer with a parser that knows nothing of the one before."""
        kept = self._pool.target.kept
        self._watch, self._dry = _Keeper(self, kept) if kept else None, 0
        self._parser = httptools.HttpResponseParser(self._watch or self)

    def _body(self, request: Request) -> Body | None:
        head, watch = final_head(self._head), self._watch
        if head is None or not isinstance(watch, _Keeper):
            return None
        if request.head:
            return Body(0, b"", head.coding, head.named)
        return Body(watch.size, bytes(watch.start), head.coding, head.named)

    # --- ending ---

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out what the end of the connection means for the request on it."""
        request, pool = self.request, self._pool
        self.room = False
        if request is None:
            pool.forget(self)
        elif not self._size:
            failure = failures.of_end(exc, begun=False)
            stale = self._rested and request.safe and not self._retried
            if failure == "tls":
                pool.hold_off(failure, exc)
            # A server may close an idle connection at the moment in which a request is sent (RFC 9112, 9.3.1).
            if stale and pool.retry(request, self.due_ns, self.sent_ns):
                self.request = None
                self.sent_ns = NEVER
                pool.forget(self)
            else:
                self.fail(failure, exc)
        elif exc is None and (head := final_head(self._head)) is not None and self._ends_here(head):
            self._keep = False
            self._finish(request, head.status)
        else:
            self.fail(failures.of_end(exc, begun=True), exc)

    def _ends_here(self, head: Head) -> bool:
        """Whether the answer is one that ends with its connection (RFC 9112, 6.3).

        With TLS the other end has to say so (9.8): anybody on the way can end a connection.
        """
        return not head.framed and (self._ended or self._pool.target.tls is None)

    def fail(self, failure: Failure, why: object = None) -> None:
        """Give up the request and the connection."""
        pool, request, sent_ns = self._pool, self.request, self.sent_ns
        self.request = None
        self.sent_ns = NEVER
        self.abort()
        if request is not None:
            pool.in_flight -= 1
            pool.explain(failure, why)
            pool.outcomes.failed(request, sent_ns, failure)
        pool.forget(self)

    def expire(self, whole_ns: int, first_ns: int) -> None:
        """Give up what was sent before `whole_ns`, or before `first_ns` and has brought no byte yet."""
        if self.sent_ns < whole_ns:
            self.fail("timeout")
        elif self.sent_ns < first_ns and not self._size:
            self.fail("first-byte-timeout")

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self) -> None:
        """Close at once, and say nothing of the request."""
        self.room = False
        self.request = None
        self.sent_ns = NEVER
        self.abort()


class _Watch:
    """Stands between the parser and a connection, to see whether a body goes on."""

    def __init__(self, connection: Connection) -> None:
        self.fed = True
        self.on_message_begin = connection.on_message_begin
        self.on_message_complete = connection.on_message_complete

    def on_body(self, _body: bytes) -> None:
        self.fed = True  # and no more: a body may come in a million chunks


class _Keeper(_Watch):
    """Keeps some of the body, too."""

    def __init__(self, connection: Connection, kept: int) -> None:
        super().__init__(connection)
        self.size = 0
        self.start = bytearray()
        self._connection = connection
        self._kept = kept

    def on_body(self, body: bytes) -> None:
        self.fed = True
        if self._connection.whole:
            return
        self.size += len(body)
        if len(self.start) < self._kept:
            self.start += body[: self._kept - len(self.start)]
