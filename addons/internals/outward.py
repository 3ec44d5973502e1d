"""The proxy mode of the egress: ``egress``, an explicit proxy that sees calls which mitmproxy's own does not.

- A tunnel that is not looked into is connected before the app is told that it stands, so that the app learns of a host
  that is not there as it would without a proxy between, and protocols in which the server speaks first work.
- HTTP/2 in clear text within a tunnel, which is how gRPC goes through a proxy: told by its preface (RFC 9113, 3.4), and
  spoken to the server as well.
- A call that is answered here may have a body of any length, which is not kept.
- A server may end a connection that it keeps just when the next call is on its way. One that is safe is then sent again
  on a new one (RFC 9110, 9.2.2), as many clients do by themselves, if they have no proxy whose connection goes on.
- What is carried without being looked into is not kept: mitmproxy would hold every byte of it in memory.
- Connections to servers that have ended, or could not be made, are forgotten. mitmproxy holds them until the client's
  ends, which with HTTP/2 may be never, and answers all later calls with the error that the first one met.

Tested with mitmproxy 12.2.
"""

from collections.abc import Callable
from typing import Any

from mitmproxy import ctx
from mitmproxy.addons.next_layer import NeedsMoreData, NextLayer
from mitmproxy.http import Response
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import commands, events, layers, mode_servers, mode_specs, tunnel
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.http import GetHttpConnection, HTTPMode, SendHttp
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.fastlane.exchange import SAFE
from addons.internals import handler
from addons.passage import CALL, HELD_BACK, KEPT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client begins HTTP/2 (RFC 9113, 3.4). No other protocol begins so."""

_CLOSED = "server closed connection"
"""How mitmproxy says that a connection ended before there was anything of an answer."""

LooksInto = Callable[[str, int], bool]
"""Whether a tunnel to a host and port is looked into."""


class EgressMode(mode_specs.RegularMode):
    """An explicit proxy, for everything in mitmproxy that asks."""


class EgressInstance(mode_servers.AsyncioServerInstance[EgressMode]):
    """One such server."""

    def make_top_layer(self, context: Context) -> Layer:
        """Start like any explicit proxy."""
        return layers.modes.HttpProxy(context)

    async def handle_stream(self, reader: Any, writer: Any = None) -> None:
        """Carry one connection."""
        if not handler.known():
            await super().handle_stream(reader, writer)
            return
        carrier = handler.Handler(ctx.master, reader, writer or reader, ctx.options, self.mode)
        carrier.layer = self.make_top_layer(carrier.layer.context)
        with self.manager.register_connection(carrier.client.id, carrier):
            await carrier.handle_client()


class Protocols(NextLayer):
    """Add-on: says which protocol comes next on a connection, for which mitmproxy asks one called ``nextlayer``."""

    name = "nextlayer"

    def __init__(self, looks_into: LooksInto) -> None:
        self._looks_into = looks_into

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """Speak HTTP/2 to the server of a client that has begun to, where no TLS is there to negotiate it."""
        if data.client.alpn == b"h2" and not data.client.tls and not data.server.tls:
            data.server.alpn = b"h2"

    def _next_layer(self, context: Context, data_client: bytes, data_server: bytes) -> Layer | None:
        if len(context.layers) == 1:
            stack = tunnel.LayerStack()
            if starts_like_tls_record(data_client):
                stack /= layers.ClientTLSLayer(context)
            stack /= _Http(context, HTTPMode.regular, self._looks_into)
            return stack[0]
        if not context.client.tls and not data_server:
            if data_client.startswith(PREFACE):
                context.client.alpn = b"h2"
                return _Http(context, HTTPMode.transparent, self._looks_into)
            if PREFACE.startswith(data_client):
                raise NeedsMoreData
        chosen = super()._next_layer(context, data_client, data_server)
        if isinstance(chosen, layers.TCPLayer):
            chosen.flow = None
        elif isinstance(chosen, layers.HttpLayer):
            return _Http(context, chosen.mode, self._looks_into)
        return chosen


class _Http(layers.HttpLayer):
    """HTTP whose streams are `_Stream`."""

    def __init__(self, context: Context, mode: HTTPMode, looks_into: LooksInto) -> None:
        super().__init__(context, mode)
        self._looks_into = looks_into
        self._used: set[str] = set()
        """Ids of connections to servers that a call has gone through."""

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        """Hand an event on. What still comes of a connection that is forgotten is for nobody."""
        if isinstance(event, events.ConnectionEvent):
            connection = event.connection
            if connection not in self.connections and connection != self.context.server:
                return
        yield from super()._handle_event(event)

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> CommandGenerator[None]:
        """Give a stream a connection to a server."""
        ended = [
            one
            for one in self.connections
            if not one.connected and one not in self.waiting_for_establishment and one is not self.context.client
        ]
        if ended:
            needed = {stream.context.server for stream in self.streams.values()}
            for one in ended:
                if one not in needed:
                    del self.connections[one]
                    self._used.discard(one.id)
        yield from super().get_connection(event, reuse=reuse)

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        """Begin a request."""
        self.streams[stream_id] = stream = _Stream(self.context.fork(), stream_id)
        stream.looks_into, stream.used = self._looks_into, self._used
        yield from self.event_to_child(stream, events.Start())


class _Stream(layers.http.HttpStream):
    """One request, or one tunnel."""

    looks_into: LooksInto
    used: set[str]
    """Shared by all streams of a client's connection."""
    _kept = False
    """Whether the connection to the server was kept from an earlier call. One that is sent again gets a new one."""

    def make_server_connection(self) -> CommandGenerator[bool]:
        """Get a connection to the server."""
        made = yield from super().make_server_connection()
        if made:
            self._kept = self.context.server.id in self.used
            self.used.add(self.context.server.id)
        return made

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> CommandGenerator[None]:
        """End a call that has failed, or send it again."""
        if not (isinstance(event, ResponseProtocolError) and self._may_go_again(event)):
            yield from super().handle_protocol_error(event)
        elif (yield from self.make_server_connection()):
            yield SendHttp(RequestHeaders(self.stream_id, self.flow.request, end_stream=True), self.context.server)
            yield SendHttp(RequestEndOfMessage(self.stream_id), self.context.server)

    def _may_go_again(self, event: ResponseProtocolError) -> bool:
        request = self.flow.request
        return (
            self._kept
            and event.message == _CLOSED
            and self.client_state == self.state_done
            and self.server_state == self.state_wait_for_response_headers
            and request.data.method in SAFE
            and not request.stream
            and not request.raw_content
            and self.flow.metadata.get(CALL) not in HELD_BACK
        )

    def handle_connect_regular(self) -> CommandGenerator[None]:
        """Open a tunnel."""
        address = self.context.server.address
        if not self.flow.response and address and not self.looks_into(address[0], address[1]):
            error = yield commands.OpenConnection(self.context.server)
            if error:
                words = f"{address[0]}:{address[1]} can't be connected to: {error}"
                self.flow.response = Response.make(502, words, {"content-type": "text/plain; charset=utf-8"})
            else:
                self.child_layer = layers.TCPLayer(self.context, ignore=True)
        yield from self.handle_connect_finish()  # type: ignore[no-untyped-call]

    def state_wait_for_request_headers(self, event: events.Event) -> CommandGenerator[None]:
        """Begin a request. One of HTTP/2 whose body nobody wants is answered now: its sender may wait for that."""
        yield from super().state_wait_for_request_headers(event)
        unwanted = isinstance(event, RequestHeaders) and not event.end_stream and self.flow.request.is_http2
        if unwanted and self.flow.metadata.get(KEPT) == 0 and self.client_state == self.state_consume_request_body:
            yield from super().state_consume_request_body(RequestEndOfMessage(self.stream_id))

    def state_done(self, _: events.Event) -> CommandGenerator[None]:
        """Have what still comes of a request that was answered before its end."""
        yield from ()

    def state_consume_request_body(self, event: events.Event) -> CommandGenerator[None]:
        """Read the body of a request that is not streamed. Of one that is answered here, only the beginning is kept."""
        kept = self.flow.metadata.get(KEPT)
        if kept is None or not isinstance(event, RequestData):
            yield from super().state_consume_request_body(event)
        elif (room := kept - len(self.request_body_buf)) > 0:
            self.request_body_buf += event.data[:room]

    def state_wait_for_response_headers(self, event: events.Event) -> CommandGenerator[None]:
        """Take an answer. The length of a body that comes in chunks does not count, and goes (RFC 9112, 6.3)."""
        if isinstance(event, ResponseHeaders):
            fields = event.response.headers
            if fields.get("transfer-encoding", "").strip().lower().endswith("chunked") and "content-length" in fields:
                del fields["content-length"]
        yield from super().state_wait_for_response_headers(event)

    def flow_done(self) -> CommandGenerator[None]:
        """End a request; what a switch of protocols leads to is passed through."""
        if self.flow.response is None or self.flow.response.status_code != 101:
            yield from super().flow_done()
            return
        self.flow.live = False
        self.child_layer = layers.TCPLayer(self.context, ignore=True)
        self._handle_event = self.passthrough
        yield from self.child_layer.handle_event(events.Start())
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
