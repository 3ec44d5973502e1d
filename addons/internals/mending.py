"""Where mitmproxy's HTTP/1 would harm a real user, mended. The only module that changes mitmproxy itself.

- An answer or a request with trailers crashes its connection ("not implemented"). The trailers are left out instead,
  which any recipient may do (RFC 9110, 6.5.1).
- A 1xx answer such as 103 Early Hints is taken for the final one, and the real answer is lost. It is left out instead.
- A request head that never ends is buffered without bound. It is answered 431 and closed (RFC 6585, 5).
- A request head in which another server would see other borders (folded lines, bare CRs, NULs, blanks that are none,
  versions of other protocols) is passed on as it is. It is answered 400 and closed (RFC 9112, 2.2, 2.3, 5.2, 11.2).
- Blank lines before a request keep it waiting until more bytes come. They are left out at once (RFC 9112, 2.2).

Tested with mitmproxy 12.2. Where a later version looks different, nothing is changed and a warning says so.
"""

import logging
import re
from collections.abc import Callable
from typing import Any

import h11
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import _http1

logger = logging.getLogger(__name__)

MAX_HEAD = 128 * 1024
"""Bytes that a request head may have: twice what any common server takes."""

_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^\x00-\x20\x7f]+ HTTP/1\.[0-9]\r?\n")
_AMBIGUOUS = re.compile(
    rb"[\x00\x0b\x0c]|\r(?!\n)|\n[ \t]"
    rb"|\ncontent-length[ \t]*:[ \t]*[0-9]{19}",  # more than 64 bits hold: some servers count on with what is left
    re.IGNORECASE,
)
_END = re.compile(rb"\n\r?\n")


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
    setattr(_http1.Http1Server, "read_headers", _strict(server_head))  # noqa: B010
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
