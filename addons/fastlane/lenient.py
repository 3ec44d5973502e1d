"""Answers that are not plain: read the way mitmproxy's own stack reads them, and put into a plain form.

What an app has always sent must not stop working because a sidecar stands before it. A request can be left to
mitmproxy when it is odd; an answer comes when the add-ons have already seen its request.
"""

import re

from mitmproxy import http
from mitmproxy.net.http import http1, validate

from addons.fastlane.head import CHUNKED, INCOMPLETE, UNTIL_CLOSE, Close, Fields, ResponseHead, Verdict

MAX_ANSWER_HEAD = 256 * 1024

_end = re.compile(rb"\n\r?\n").search


def read_odd_response(data: bytes, request: http.Request) -> ResponseHead | Verdict:
    """Read an answer's head. `INCOMPLETE` if it has no end yet. Raises ValueError for what is not HTTP."""
    end = _end(data)
    if end is None:
        if len(data) > MAX_ANSWER_HEAD or not b"HTTP/".startswith(data[:5]):
            raise ValueError("the head of the answer has no end")
        return INCOMPLETE
    lines = [line.removesuffix(b"\r") for line in data[: end.start()].split(b"\n")]
    response = http1.read_response_head(lines)
    response.headers.fields = _tidy(response.headers.fields)
    validate.validate_headers(response)
    size = http1.expected_http_body_size(request, response)
    length = CHUNKED if size is None else UNTIL_CLOSE if size < 0 else size
    if length == UNTIL_CLOSE:
        response.headers.fields = _chunkable(response.headers.fields)
    if length == 0 and "content-length" in response.headers:
        length = int(response.headers["content-length"])  # of an answer without body, as to HEAD
    return ResponseHead(
        response.data.http_version,
        response.status_code,
        response.data.reason,
        response.headers.fields,
        length,
        _connection(response),
        end.end(),
        plain=False,
    )


def _tidy(fields: Fields) -> Fields:
    """Unfold folded lines, and keep one of several equal lengths (RFC 9112, 5.2; RFC 9110, 8.6)."""
    tidy: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        field = (name, b" ".join(value.split(b"\r\n ")))
        repeated = name.lower() == b"content-length" and any(
            (other.lower(), known) == (b"content-length", value) for other, known in tidy
        )
        if not repeated:
            tidy.append(field)
    return tuple(tidy)


def _chunkable(fields: Fields) -> Fields:
    """Say that a body which is coded, and ends with its connection, is passed on in chunks (RFC 9112, 6.1)."""
    return tuple(
        (name, value + b", chunked") if name.lower() == b"transfer-encoding" else (name, value)
        for name, value in fields
        if (name.lower(), value.lower()) != (b"transfer-encoding", b"identity")
    )


def _connection(response: http.Response) -> Close:
    options = {option.strip().lower() for option in response.headers.get("connection", "").split(",")}
    return "close" if "close" in options else "keep-alive" if "keep-alive" in options else ""
