"""Where mitmproxy's HTTP/1 would harm a real user, mended. The only module that changes mitmproxy itself.

- An answer or a request with trailers crashes its connection ("not implemented"). The trailers are left out instead,
  which any recipient may do (RFC 9110, 6.5.1).
- A 1xx answer such as 103 Early Hints is taken for the final one, and the real answer is lost. It is left out instead.
- A request head that never ends is buffered without bound. It is answered 431 and closed (RFC 6585, 5).

Tested with mitmproxy 12.2. Where a later version looks different, nothing is changed and a warning says so.
"""

import logging
from collections.abc import Callable
from typing import Any

import h11
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import _http1

logger = logging.getLogger(__name__)

MAX_HEAD = 128 * 1024
"""Bytes that a request head may have: twice what any common server takes."""


def mend() -> bool:
    """Mend this process's mitmproxy, once. Gives False, after a warning, if it is not the one that is known here."""
    if getattr(_http1, "_reamp_mended", False):
        return True
    try:
        from h11._receivebuffer import ReceiveBuffer  # noqa: PLC0415 - if it is not there, that is found here

        body_reader = _http1.make_body_reader
        client_head, server_head = _http1.Http1Client.read_headers, _http1.Http1Server.read_headers
        body_reader(None)
        _is_interim(ReceiveBuffer())
    except (AttributeError, ImportError, TypeError, ValueError):
        logger.warning("This mitmproxy is not known here: requests with trailers and 1xx answers may fail in it.")
        return False
    setattr(_http1, "make_body_reader", _without_trailers(body_reader))  # noqa: B010 - a function of a typed module
    setattr(_http1.Http1Client, "read_headers", _past_interim(client_head))  # noqa: B010
    setattr(_http1.Http1Server, "read_headers", _bounded(server_head))  # noqa: B010
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

    return read_headers


def _bounded(read: Any) -> Any:
    def read_headers(self: _http1.Http1Server, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        yield from read(self, event)
        if isinstance(event, events.DataReceived) and self.state == self.read_headers and len(self.buf) > MAX_HEAD:
            yield commands.SendData(self.conn, _http1.make_error_response(431, "The request head is too long."))
            yield commands.CloseConnection(self.conn)
            self.state = self.done

    return read_headers
