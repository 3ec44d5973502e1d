"""Messages that were changed on the way, as bytes. Pure, but for mitmproxy's message objects."""

from http import HTTPStatus

from mitmproxy import http

from addons.fastlane.chunked import chunk, last_chunk
from addons.fastlane.head import CHUNKED, UNTIL_CLOSE, Fields

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


def framing_of(fields: Fields) -> int:
    """Tell how fields frame a body: its length, `CHUNKED`, or `UNTIL_CLOSE` if they say nothing of it."""
    length = UNTIL_CLOSE
    for name, value in fields:
        lower = name.lower()
        if lower == b"transfer-encoding":
            return CHUNKED
        if lower == b"content-length" and value.isdigit():
            length = int(value)
    return length


def request_head(request: http.Request, fields: Fields) -> bytes:
    """Write a request's head with other fields."""
    data = request.data
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (data.method, data.path, _lines(_for_app(fields)))


def streamed_request(request: http.Request) -> tuple[bytes, int]:
    """Write the head of a request whose body is passed on as it comes; tell how that has to be framed."""
    fields = request.headers.fields
    framing = framing_of(fields)
    if framing == UNTIL_CLOSE:
        framing = CHUNKED
        fields = (*fields, (b"Transfer-Encoding", b"chunked"))
    elif framing == CHUNKED:
        fields = _unsized(fields)
    return request_head(request, fields), framing


def whole_request(request: http.Request) -> bytes:
    """Write a request whose content is known."""
    fields, content = request.headers.fields, request.data.content or b""
    if framing_of(fields) == CHUNKED:
        return request_head(request, _unsized(fields)) + _chunked(content, request)
    if content or framing_of(fields) != UNTIL_CLOSE:
        fields = _sized(fields, len(content))
    return request_head(request, fields) + content


def response_head(response: http.Response, fields: Fields, closing: bool) -> bytes:
    """Write an answer's head with other fields; `closing`: the client's connection ends after it."""
    data = response.data
    fields = tuple(field for field in fields if field[0].lower() not in (b"connection", b"keep-alive"))
    if closing:
        fields = (*fields, (b"Connection", b"close"))
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (data.status_code, data.reason, _lines(fields))


def whole_response(response: http.Response, closing: bool, bodiless: bool) -> bytes:
    """Write an answer whose content is known."""
    fields, content = response.headers.fields, response.data.content or b""
    if bodiless:
        return response_head(response, fields, closing)
    if framing_of(fields) == CHUNKED:
        return response_head(response, _unsized(fields), closing) + _chunked(content, response)
    return response_head(response, _sized(fields, len(content)), closing) + content


def error_page(status: int, method: bytes, closing: bool) -> bytes:
    """Write an answer of our own for what went wrong. What exactly is for the log, not for users."""
    reason = HTTPStatus(status).phrase
    body = f"{status} {reason}\n".encode()
    end = b"Connection: close\r\n" if closing else b""
    return b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        reason.encode(),
        len(body),
        end,
        b"" if method == b"HEAD" else body,
    )


def _lines(fields: Fields) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _for_app(fields: Fields) -> Fields:
    """Leave out that the client wants its connection closed: the app's is another one."""
    return tuple(field for field in fields if field[0].lower() != b"connection" or field[1].lower() != b"close")


def _sized(fields: Fields, size: int) -> Fields:
    """Make the fields tell the size that the content has."""
    if framing_of(fields) == size:
        return fields
    return (*(field for field in fields if field[0].lower() not in _FRAMING), (b"Content-Length", b"%d" % size))


def _unsized(fields: Fields) -> Fields:
    """Leave out lengths: beside the chunked framing, they would let others see another end than we do."""
    return tuple([field for field in fields if field[0].lower() != b"content-length"])


def _chunked(content: bytes, message: http.Message) -> bytes:
    trailers = message.trailers.fields if message.trailers else ()
    return (chunk(content) if content else b"") + last_chunk(trailers)
