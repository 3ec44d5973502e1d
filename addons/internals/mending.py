"""Where mitmproxy would harm a real user, mended. The only module that changes mitmproxy itself.

- An answer or a request with trailers crashes its connection ("not implemented"). The trailers are left out instead,
  which any recipient may do (RFC 9110, 6.5.1).
- A 1xx answer such as 103 Early Hints is taken for the final one, and the real answer is lost. It is left out instead.
- A request head that never ends is buffered without bound. It is answered 431 and closed (RFC 6585, 5).
- An answer's head that never ends is buffered without bound. The client is told 502.
- A request head in which another server would see other borders (folded lines, bare CRs, NULs, blanks that are none,
  versions of other protocols) is passed on as it is. It is answered 400 and closed (RFC 9112, 2.2, 2.3, 5.2, 11.2).
- A request of HTTP/2 with a body whose length it does not tell is passed on in HTTP/1 without any: the app takes its
  body for further requests, which nobody has judged, counted or refused (request smuggling). It is sent in chunks
  instead (RFC 9112, 6.1), of which none is empty, as that would be the last one. Its trailers are left out: to HTTP/1
  they crash the connection, and to HTTP/2 they would come when everything has been judged already.
- HTTP/2 may have blanks and control characters in its method and its path, which tear the request line of HTTP/1 apart.
  Such a request is malformed (RFC 9113, 8.2.1, 8.3.1).
- A request of HTTP/2 that an add-on has refused is answered once its body is there, and may have one without any end,
  whatever its method: it would be collected in memory without bound. It is reset as soon as its body gets long.
- A request that is answered by an add-on, and whose body another one wants to have as it comes, crashes its connection
  ("can't set a response and enable streaming at the same time"). The body is taken in piece by piece, then the answer
  is given: so a tap can have bodies of any length.
- A server that resets a connection in the moment in which it is made leaves the client waiting for ever: mitmproxy
  takes it for certain that such a connection has an address, fails, and tells nobody. An address that can't be one,
  which an add-on has set, does the same. The client is told 502.
- Blank lines before a request keep it waiting until more bytes come. They are left out at once (RFC 9112, 2.2).

Tested with mitmproxy 12.2. Where a later version looks different, nothing is changed and a warning says so.
"""

import logging
import re
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import h11
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer, server_hooks
from mitmproxy.proxy.layers.http import HttpStream, _http1, _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestHeaders,
    RequestTrailers,
    ResponseProtocolError,
)
from mitmproxy.proxy.server import ConnectionHandler

logger = logging.getLogger(__name__)

MAX_HEAD = 128 * 1024
"""Bytes that a request's head may have: twice what any common server takes."""

MAX_ANSWER_HEAD = 1024 * 1024
"""Bytes that the head of an answer may have: the app is trusted to know its clients, but not with all our memory."""

MAX_REFUSED = 64 * 1024
"""Bytes that the body of a request may have that is refused and still gets an answer."""

_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\x00-\x20\x7f]+ HTTP/1\.[0-9]\r?\n")
_AMBIGUOUS = re.compile(
    rb"[\x00\x0b\x0c]|\r(?!\n)|\n[ \t]"
    rb"|\ncontent-length[ \t]*:[ \t]*[0-9]{19}",  # more than 64 bits hold: some servers count on with what is left
    re.IGNORECASE,
)
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH = re.compile(rb"[^\x00-\x20\x7f]+")
_END = re.compile(rb"\n\r?\n")


def mend() -> bool:
    """Mend this process's mitmproxy, once. Gives False, after a warning, if it is not the one that is known here."""
    if getattr(_http1, "_reamp_mended", False):
        return True
    try:
        from h11._receivebuffer import ReceiveBuffer  # noqa: PLC0415 - if it is not there, that is found here

        body_reader = _http1.make_body_reader
        client_head, server_head = _http1.Http1Client.read_headers, _http1.Http1Server.read_headers
        second_send = _http2.Http2Client._handle_event  # noqa: SLF001
        consume, _ = HttpStream.state_consume_request_body, HttpStream.check_killed
        start_stream = HttpStream.start_request_stream
        open_connection = ConnectionHandler.open_connection
        client_send, pseudo_headers = _http1.Http1Client.send, _http2.parse_h2_request_headers
        body_reader(None)
        _is_interim(ReceiveBuffer())
    except (AttributeError, ImportError, TypeError, ValueError):
        logger.warning("This mitmproxy is not known here: requests with trailers and 1xx answers may fail in it.")
        return False
    setattr(_http1, "make_body_reader", _without_trailers(body_reader))  # noqa: B010 - a function of a typed module
    setattr(_http1.Http1Client, "read_headers", _past_interim(client_head))  # noqa: B010
    setattr(_http1.Http1Server, "read_headers", _strict(server_head))  # noqa: B010
    setattr(_http1.Http1Client, "send", _framed(client_send))  # noqa: B010
    setattr(_http2.Http2Client, "_handle_event", _untrailed(second_send))  # noqa: B010
    setattr(_http2, "parse_h2_request_headers", _plain(pseudo_headers))  # noqa: B010
    setattr(HttpStream, "state_consume_request_body", _bounded(consume))  # noqa: B010
    setattr(HttpStream, "start_request_stream", _swallowing(start_stream))  # noqa: B010
    setattr(ConnectionHandler, "open_connection", _never_silent(open_connection))  # noqa: B010
    setattr(_http1, "_reamp_mended", True)  # noqa: B010
    return True


class _BodyReader:
    """A body reader that drops trailers."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.read_eof = getattr(reader, "read_eof", None)

    def __call__(self, buffer: Any) -> Any:
        event = self._reader(buffer)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


def _without_trailers(make: Callable[[int | None], Any]) -> Callable[[int | None], Any]:
    def make_body_reader(expected_size: int | None) -> Any:
        reader = make(expected_size)
        return _BodyReader(reader) if expected_size is None else reader  # only a chunked body can have trailers

    return make_body_reader


def _framed(send: Any) -> Any:
    def framed(self: _http1.Http1Client, event: Any) -> layer.CommandGenerator[None]:
        if isinstance(event, RequestTrailers) or (isinstance(event, RequestData) and not event.data):
            return
        if isinstance(event, RequestHeaders) and not event.end_stream:
            request = event.request
            if not {"content-length", "transfer-encoding"} & {name.lower() for name in request.headers}:
                request = request.copy()
                request.headers["Transfer-Encoding"] = "chunked"
                event = RequestHeaders(event.stream_id, request, event.end_stream, event.replay_flow)
        yield from send(self, event)

    return framed


def _untrailed(handle: Any) -> Any:
    def handle_event(self: _http2.Http2Client, event: Any) -> layer.CommandGenerator[None]:
        if not isinstance(event, RequestTrailers):
            yield from handle(self, event)

    return handle_event


def _bounded(consume: Any) -> Any:
    @wraps(consume)
    def state_consume_request_body(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
        refused = self.flow.response is not None  # nobody but an add-on can have answered before the body is there
        if refused and isinstance(event, RequestData) and len(self.request_body_buf) + len(event.data) > MAX_REFUSED:
            self.request_body_buf.clear()
            self.flow.kill()
            yield from self.check_killed(True)
            return
        yield from consume(self, event)

    return state_consume_request_body


def _swallowing(start: Any) -> Any:
    @wraps(start)
    def start_request_stream(self: HttpStream) -> layer.CommandGenerator[None]:
        if self.flow.response is None:
            yield from start(self)
            return
        self.client_state = MethodType(_state_swallow, self)

    return start_request_stream


def _never_silent(opened: Any) -> Any:
    @wraps(opened)
    async def open_connection(self: ConnectionHandler, command: commands.OpenConnection) -> None:
        try:
            await opened(self, command)
        except Exception as error:
            server = command.connection
            if server.peername:
                raise  # it was made: what fails from there on is no failure to connect
            words = str(error) or type(error).__name__
            transport = self.transports.get(server)
            if transport is not None and transport.writer is not None:
                transport.writer.close()
                del self.transports[server]
                words = "Connection reset by peer"
            self.log(f"error establishing server connection: {words}", logging.WARNING)
            server.state, server.error = ConnectionState.CLOSED, words
            facts = server_hooks.ServerConnectionHookData(server, self.client)
            await self.handle_hook(server_hooks.ServerConnectErrorHook(facts))
            await self.server_event(events.OpenConnectionCompleted(command, server.error))

    return open_connection


def _state_swallow(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    stream = self.flow.request.stream
    if not isinstance(event, RequestData):
        self.client_state = self.state_consume_request_body  # of which there is nothing
        yield from self.state_consume_request_body(event)
    elif callable(stream):
        stream(event.data)


def _plain(parse: Any) -> Any:
    def parsed(fields: Any) -> Any:
        found = parse(fields)
        _, _, method, scheme, _, path, _ = found
        if not (_METHOD.fullmatch(method) and _PATH.fullmatch(path) and scheme in (b"http", b"https")):
            raise ValueError("A pseudo-header is malformed.")
        return found

    return parsed


def _is_interim(buffer: Any) -> bool:
    """Whether an answer 1xx begins here. 101 is final: it switches protocols."""
    begin = bytes(buffer._data[:12])  # noqa: SLF001 - its public face would copy all of it
    return begin.startswith(b"HTTP/1.") and begin[9:10] == b"1" and begin[9:12] != b"101"


def _past_interim(read: Any) -> Any:
    def read_headers(self: _http1.Http1Client, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        while _is_interim(self.buf) and self.buf.maybe_extract_lines():
            pass
        if self.buf or not isinstance(event, events.DataReceived):
            yield from read(self, event)
        if self.stream_id is not None and self.response is None and len(self.buf) > MAX_ANSWER_HEAD:
            self.state = self.done
            yield commands.CloseConnection(self.conn)
            told = "The head of the answer is too long."
            yield ReceiveHttp(ResponseProtocolError(self.stream_id, told, ErrorCode.GENERIC_SERVER_ERROR))

    return read_headers


def _strict(read: Any) -> Any:
    def read_headers(self: _http1.Http1Server, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        if not isinstance(event, events.DataReceived):
            yield from read(self, event)
            return
        while self.buf and self.buf._data.startswith((b"\n", b"\r\n")):  # noqa: SLF001
            self.buf.maybe_extract_lines()
        data = self.buf._data  # noqa: SLF001
        end = _END.search(data, max(0, getattr(self, "_reamp_seen", 0) - 3))
        setattr(self, "_reamp_seen", len(data) if end is None else 0)  # noqa: B010 - mitmproxy knows nothing of it
        refused = None
        if (end.end() if end else len(data)) > MAX_HEAD:
            refused = _http1.make_error_response(431, "The request head is too long.")
        elif end is not None and (not _LINE.match(data) or _AMBIGUOUS.search(data, 0, end.end())):
            refused = _http1.make_error_response(400, "The request head can be read in more than one way.")
        if refused is not None:
            yield commands.SendData(self.conn, refused)
            yield commands.CloseConnection(self.conn)
            self.state = self.done
        elif data:
            yield from read(self, event)

    return read_headers
