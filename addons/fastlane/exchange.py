"""One request and its answer, and everything that add-ons may do to them on the way.

The hooks come in the order and with the facts that mitmproxy's own stack gives them:

    requestheaders -> (body) -> request -> (app) -> responseheaders -> (body) -> response
                                                                          or: error, at any point

What no add-on has changed goes on as the very bytes that came in. What one has changed is put together anew.
"""

import logging
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

from mitmproxy import flow as mitmflow
from mitmproxy import http

from addons.books import Kind
from addons.fastlane.bodies import Body
from addons.fastlane.errors import AppFailed, BadRequest, ClientGone, Ended
from addons.fastlane.head import (
    INCOMPLETE,
    ODD,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    bodiless,
    read_response,
)
from addons.fastlane.lenient import read_odd_response
from addons.fastlane.phases import Phase
from addons.fastlane.upstream import Upstream
from addons.fastlane.wire import error_page, framing_of, response_head, streamed_request, whole_request, whole_response
from addons.passage import KIND

if TYPE_CHECKING:
    from addons.fastlane.connection import Connection

logger = logging.getLogger(__name__)

SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
"""Requests that may be sent again if a kept connection breaks before anything was answered (RFC 9110, 9.2.2).

Not once the app was told that its client sends no more: an app that ends the connection then has not lost the request,
it has given it up. To send it again would double the load of every client that runs out of patience.
"""

ONCE = frozenset((Kind.SYNTHETIC.value,))
"""Kinds whose requests are never sent twice: an app that was killed may have begun with what it did not answer, and
one credit is the right to one request."""


def _nothing(_: bytes) -> bytes:
    """Stream nothing."""
    return b""


class Exchange:
    """Carries one request of a client whose head has been read, but not taken from the buffer."""

    __slots__ = (
        "_answered",
        "_app",
        "_body",
        "_client",
        "_closing",
        "_ended",
        "_flow",
        "_head",
        "_lane",
        "_pending",
        "_raw",
        "_told",
    )

    def __init__(self, client: "Connection", head: RequestHead) -> None:
        self._client = client
        self._lane = client.lane
        self._head = head
        self._app: Upstream | None = None
        self._answered = False
        """Bytes of an answer have been sent to the client."""
        self._closing = head.connection == "close" or client.lane.draining
        """The client's connection ends after this answer."""
        self._ended = False
        """The add-ons have seen the end of the flow."""
        self._body: Body | None = None
        """The request's body, as long as it is passed on while it comes in."""
        self._pending = head.length != 0
        """Not all of the request's body has come: whatever comes next on the connection is no head."""
        self._told = False
        """The app knows that no more will come on its connection."""

    async def run(self) -> bool:
        """Carry it. True: the connection can take another one."""
        client, head, lane = self._client, self._head, self._lane
        data = client.take()
        if len(data) == head.size:
            self._raw = data
        else:
            self._raw = data[: head.size]
            client.keep(data[head.size :])
        self._flow = lane.new_flow(
            client.client, client.server, head.method, head.target, head.fields, *lane.address, time()
        )
        try:
            await self._carry()
        except Ended as end:
            await self._fail(end)
        except Exception as error:
            # Ours or an add-on's (its function that streams a body): the flow has to come to an end all the same.
            logger.exception("A request in the fast lane has failed")
            await self._fail(AppFailed(502, f"Internal error: {error!r}"))
        finally:
            if self._app is not None:
                self._app.drop()
            self._flow.live = False
        client.unread = client.unread or self._pending
        return not (self._closing or self._pending or client.lost)

    # --- the way there ---

    async def _carry(self) -> None:
        head, flow = self._head, self._flow
        if await self._killed("requestheaders"):
            return
        request = flow.request  # only now: an add-on may have put another one in its place
        if request.stream and head.length:
            await (self._upload() if flow.response is None else self._swallow())
            return
        content = b""
        if head.length:
            body = Body(head.length)
            content = await self._whole_request_body(body)
            if body.trailers:
                request.trailers = http.Headers(body.trailers)
        request.data.content = content
        request.data.timestamp_end = time()
        if await self._killed("request"):
            return
        if flow.response is not None:
            await self._answer_of_addon(flow.response)
            return
        request = flow.request
        data = request.data
        untouched = (
            data.method is head.method
            and data.path is head.target
            and data.headers.fields is head.fields
            and data.content is content
            and head.connection != "close"
            and head.length >= 0
        )
        wire = self._raw + content if untouched and content else self._raw if untouched else whole_request(request)
        repeatable = data.method in SAFE and flow.metadata.get(KIND) not in ONCE and not self._client.eof
        app = await self._connect(repeatable)
        app.transport.write(wire)
        if repeatable and app.reused:
            while not (app.data or app.lost):
                await self._more_of_app()
            if not (app.data or self._told):
                app = await self._connect(repeatable=False, fresh=True)
                app.transport.write(wire)
        await self._answer(app)

    async def _swallow(self) -> None:
        """Take a body in as it comes, for nobody but the add-on's function, then give the answer that is there."""
        client, head, request = self._client, self._head, self._flow.request
        body = Body(head.length)
        body.send_as(head.length, request.stream)
        while not body.done:
            if client.data:
                try:
                    body.pass_on(client.take())
                except ValueError as error:
                    raise BadRequest(f"The request's body is malformed: {error}.") from None
            elif client.eof:
                raise ClientGone("The client ended within a request's body.")
            else:
                await client.more(Phase.CLIENT)
        self._pending = False
        client.keep(body.rest())
        body.flush()
        if body.trailers:
            request.trailers = http.Headers(body.trailers)
        request.data.timestamp_end = time()
        if not await self._killed("request") and self._flow.response is not None:
            await self._answer_of_addon(self._flow.response)

    async def _whole_request_body(self, body: Body) -> bytes:
        client = self._client
        pieces = []
        while True:
            if client.data:
                try:
                    pieces.append(body.feed(client.take()))
                except ValueError as error:
                    raise BadRequest(f"The request's body is malformed: {error}.") from None
                if body.done:
                    self._pending = False
                    client.keep(body.rest())
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if client.eof:
                raise ClientGone("The client ended within a request's body.")
            if not client.data:
                await client.more(Phase.CLIENT)

    async def _upload(self) -> None:
        """Pass a body on as it comes. The app may answer before it has all of it."""
        client, head, request = self._client, self._head, self._flow.request
        app = await self._connect(repeatable=False)
        touched = (
            request.data.method is not head.method
            or request.data.path is not head.target
            or request.headers.fields is not head.fields
            or head.connection == "close"
        )
        wire, framing = streamed_request(request) if touched else (self._raw, head.length)
        app.transport.write(wire)
        body = self._body = Body(head.length)
        body.send_as(framing, request.stream)
        while not (app.data or app.lost):
            self._pump()
            if body.done:
                if await self._uploaded(app, body):
                    return
                break
            if client.eof and not client.data:
                raise ClientGone("The client ended within a request's body.")
            await client.more(Phase.APP if app.full else Phase.CLIENT)
        self._closing = self._closing or self._body is not None
        await self._answer(app)

    def _pump(self) -> None:
        """Pass on what has come of the body, if the app takes it. Raises BadRequest."""
        client, app, body = self._client, self._app, self._body
        if body is None or app is None or app.full or body.done or not client.data:
            return
        try:
            out = body.pass_on(client.take())
        except ValueError as error:
            raise BadRequest(f"The request's body is malformed: {error}.") from None
        if out and not app.lost:
            app.transport.write(out)
        client.keep(body.rest())

    async def _uploaded(self, app: Upstream, body: Body) -> bool:
        """All of the body has come; before the app gets its very end, the add-ons are asked. True: killed."""
        request = self._flow.request
        self._body = None
        self._pending = False
        rest = body.flush()
        if body.trailers:
            request.trailers = http.Headers(body.trailers)
        request.data.timestamp_end = time()
        if await self._killed("request"):
            return True
        rest += body.end(request.trailers.fields if request.trailers else ())
        if rest and not app.lost:
            app.transport.write(rest)
        if body.short:
            raise AppFailed(502, "An add-on has changed the length of the request's body.")
        return False

    async def _more_of_app(self) -> None:
        """Wait for the app; what the client still sends of its body is passed on meanwhile.

        A client that will send no more may have left, or may be waiting: nobody can tell. So the app is told the same,
        and does what it would have done without a sidecar.
        """
        client, app = self._client, self._app
        if client.eof and app is not None and not (client.data or self._body or self._told or app.lost):
            self._told = True
            app.end_writing()
        await client.more(Phase.APP)
        self._pump()

    async def _connect(self, repeatable: bool, fresh: bool = False) -> Upstream:
        """Get a connection to where the request goes. Raises AppFailed."""
        client, lane, request = self._client, self._lane, self._flow.request
        if request.data.scheme != b"http" or self._flow.server_conn.via:
            raise AppFailed(502, "An add-on sends this request where only --no-fast-lane can: by TLS or another proxy.")
        address = (request.data.host, request.data.port)
        app = None if fresh else lane.pool.take(address, client, repeatable)
        if app is None:
            app = await client.finished(lane.pool.connect(address, client.client, client))
        self._app = app
        self._told = False
        self._flow.server_conn = app.server
        if client.lost:
            raise ClientGone
        if app.lost:
            raise AppFailed(502, "The app closed the connection before it was asked.")
        return app

    # --- the way back ---

    async def _answer(self, app: Upstream) -> None:
        head = await self._answer_head(app)
        method = self._flow.request.data.method  # what the app was asked with
        data = app.take()
        received = data[: head.size]
        app.data = data[head.size :] if len(data) > head.size else b""
        response = self._lane.new_response(head.version, head.status, head.reason, head.fields, time())
        self._flow.response = response
        if await self._killed("responseheaders"):
            return
        response = self._flow.response  # an add-on may have put another one in its place
        length = 0 if bodiless(method, head.status) else head.length
        if self._lane.draining:
            self._closing = True
        if response.stream and length:
            await self._download(app, head, response, received)
            return
        content = b""
        if length > 0 and len(app.data) == length:
            content = app.take()
        elif length:
            body = Body(length)
            content = await self._whole(app, body)
            if body.trailers:
                response.trailers = http.Headers(body.trailers)
        response.data.content = content
        response.data.timestamp_end = time()
        self._ended = True
        if await self._killed("response", error=False):
            return
        response = self._flow.response
        if (
            length >= 0
            and not self._closing
            and response.data.content is content
            and method is self._head.method
            and self._untouched(head, response)
        ):
            wire = data if len(data) == head.size + len(content) else received + content
        else:
            wire = whole_response(response, self._closing, bodiless(self._head.method, response.data.status_code))
        self._release(app, head)
        await self._send(wire)

    async def _answer_head(self, app: Upstream) -> ResponseHead:
        """Read the head of the final answer. 1xx answers before it are passed on as they are."""
        seen = 0
        while True:
            head = read_response(app.data, seen) if len(app.data) > seen else INCOMPLETE
            if head is ODD:
                try:
                    head = read_odd_response(app.data, self._flow.request)
                except ValueError as error:
                    raise AppFailed(502, f"The app's answer is no HTTP: {error}.") from None
            if isinstance(head, ResponseHead):
                if head.status >= 200:
                    return head
                if head.status == 101:
                    raise AppFailed(502, "The app switches protocols unasked.")
                data = app.take()
                app.keep(data[head.size :])
                early = self._lane.new_response(head.version, head.status, head.reason, head.fields, time())
                await self._send(data[: head.size] if head.plain else response_head(early, head.fields, closing=False))
                self._answered = False  # that was not the answer
                seen = 0
                continue
            if app.lost:
                raise AppFailed(502, "The app closed the connection before its answer had come.")
            seen = len(app.data) if head is INCOMPLETE else 0
            await self._more_of_app()

    async def _piece(self, app: Upstream, body: Body, read: Callable[[bytes], bytes]) -> bytes | None:
        """Give what `read` makes of the next bytes of an answer's body; None at its end."""
        while not body.done:
            if app.data:
                try:
                    return read(app.take())
                except ValueError as error:
                    raise AppFailed(502, f"The body of the app's answer is malformed: {error}.") from None
            if app.lost:
                if body.until_close and not app.broken:
                    break
                raise AppFailed(502, "The app closed the connection within its answer.")
            await self._more_of_app()
        app.data = body.rest() + app.data
        return None

    async def _whole(self, app: Upstream, body: Body) -> bytes:
        """Collect an answer's body."""
        pieces = []
        while (piece := await self._piece(app, body, body.feed)) is not None:
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _download(self, app: Upstream, head: ResponseHead, response: http.Response, received: bytes) -> None:
        """Pass an answer's body on as it comes."""
        fields = response.headers.fields
        framing = head.length if head.plain and fields is head.fields else framing_of(fields)
        bare = bodiless(self._head.method, response.data.status_code)
        if bare:  # an add-on has made it so: of another method than the client's, or by the status
            framing = 0
        self._closing = self._closing or framing == UNTIL_CLOSE
        untouched = self._untouched(head, response) and not self._closing
        body = Body(head.length)
        body.send_as(framing, _nothing if bare else response.stream)
        first = received if untouched else response_head(response, fields, self._closing)
        if app.data:
            first += await self._piece(app, body, body.pass_on) or b""
        await self._send(first)
        while (out := await self._piece(app, body, body.pass_on)) is not None:
            if out:
                await self._send(out)
        if rest := body.flush():
            await self._send(rest)
        if body.trailers:
            response.trailers = http.Headers(body.trailers)
        response.data.timestamp_end = time()
        self._ended = True
        if await self._killed("response", error=False):
            return
        self._closing = self._closing or body.short
        self._release(app, head)
        if end := body.end(response.trailers.fields if response.trailers else ()):
            await self._send(end)

    @staticmethod
    def _untouched(head: ResponseHead, response: http.Response) -> bool:
        """Whether an answer's head can go on as it came."""
        return (
            head.plain
            and head.connection != "close"
            and head.version == b"HTTP/1.1"
            and response.headers.fields is head.fields
            and response.data.status_code == head.status
            and response.data.reason is head.reason
        )

    async def _answer_of_addon(self, response: http.Response) -> None:
        """Give the answer that an add-on has set, as if an app had given it."""
        flow = self._flow
        response.timestamp_start = time()
        if await self._killed("responseheaders"):
            return
        if flow.response is not None:
            flow.response.timestamp_end = time()
        self._ended = True
        if await self._killed("response", error=False) or flow.response is None:
            return
        bare = bodiless(self._head.method, flow.response.data.status_code)
        await self._send(whole_response(flow.response, self._closing, bare))

    def _release(self, app: Upstream, head: ResponseHead) -> None:
        """Let go of the app's connection: its answer has come to its end."""
        self._app = None
        persistent = head.connection != "close" if head.version == b"HTTP/1.1" else head.connection == "keep-alive"
        framed = head.length != UNTIL_CLOSE or bodiless(self._head.method, head.status)
        if persistent and framed and self._body is None and not self._told:
            self._lane.pool.give(app)
        else:
            app.drop()

    async def _send(self, data: bytes) -> None:
        """Send to the client, and wait as long as it does not read."""
        client = self._client
        if client.lost:
            raise ClientGone
        self._answered = True
        client.transport.write(data)
        while client.full:
            await client.more(Phase.CLIENT)
            self._pump()

    # --- ends ---

    async def _killed(self, hook: str, error: bool = True) -> bool:
        """Run a hook. True: an add-on has killed the flow, and nothing more of it goes anywhere."""
        flow = self._flow
        waiting = self._lane.hooks.run(hook, flow)
        if waiting is not None or flow.intercepted:
            await self._client.settle(waiting, flow)
        if flow.error is None or flow.error.msg != mitmflow.Error.KILLED_MESSAGE:
            return False  # what else an add-on notes there is no business of ours
        if error:
            self._ended = True
            await self._hook_error()
        self._closing = True
        self._client.data = b""
        self._client.transport.close()
        return True

    async def _fail(self, end: Ended) -> None:
        """Tell the add-ons and, if there is still somebody to tell, the client."""
        client, flow = self._client, self._flow
        self._closing = self._closing or self._answered or end.status not in (502, 504)
        if self._pending or isinstance(end, BadRequest | ClientGone):
            self._closing = client.unread = True
        if isinstance(end, AppFailed):
            logger.warning("%s %s: %s", flow.request.method, flow.request.path, end.reason)
        if not self._ended:
            self._ended = True
            flow.error = mitmflow.Error(end.reason)
            await self._hook_error()
        if client.lost:
            return
        if self._answered or not end.status:
            client.transport.close()  # cut off before its end, so that nobody takes it for whole
        else:
            await self._send(error_page(end.status, self._head.method, self._closing))

    async def _hook_error(self) -> None:
        waiting = self._lane.hooks.run("error", self._flow)
        if waiting is not None or self._flow.intercepted:
            await self._client.settle(waiting, self._flow)
