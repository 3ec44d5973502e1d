"""The fast lane's readers against h11, llhttp (httptools) and the letter of RFC 9112, on heads of all kinds.

They may be stricter than these, never laxer: what they take, all take, and all find the same in it.
"""

import re
from collections.abc import Callable
from itertools import pairwise

import h11
import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from addons.fastlane.chunked import ChunkedReader, ChunkError
from addons.fastlane.head import (
    CHUNKED,
    INCOMPLETE,
    ODD,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    Verdict,
    read_request,
    read_response,
)
from tests.support import heads
from tests.support.wire import MISTAKES, Fields, read_answers, read_requests

often = settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

BODY = b"3\r\nabc\r\n0\r\n\r\n"
AFTER = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

# llhttp knows the methods that there are; for any other one it has no opinion.
_METHODS = set(b"DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PATCH PURGE".split())


def low(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in fields]


def as_h11_has_them(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in low(fields)]


def ascii_only(target: bytes) -> bytes:
    """The one liberty that is taken: high bytes in a target, as nginx takes them, and the full lane."""
    return re.sub(rb"[\x80-\xff]", b"x", target)


class Llhttp:
    """What llhttp finds in some bytes."""

    def __init__(self) -> None:
        self.target = self.reason = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_status(self, status: bytes) -> None:
        self.reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


def body_for(length: int) -> tuple[bytes, bytes]:
    """A body as it is framed, and its content."""
    return (BODY, b"abc") if length == CHUNKED else (b"x" * max(0, length),) * 2


def check_request_with_h11(head: RequestHead, data: bytes, wire: bytes, content: bytes) -> None:
    target = ascii_only(head.target)
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(data[: head.size].replace(head.target, target, 1) + wire + AFTER)
    request = reader.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target, request.http_version) == (head.method, target, b"1.1")
    assert list(request.headers) == as_h11_has_them(head.fields)
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert (body, reader.trailing_data[0]) == (content, AFTER)


def check_request_with_llhttp(head: RequestHead, data: bytes, wire: bytes, content: bytes) -> None:
    if head.method not in _METHODS:
        return
    found, target = Llhttp(), ascii_only(head.target)
    parser = httptools.HttpRequestParser(found)
    parser.feed_data(data[: head.size].replace(head.target, target, 1) + wire)
    assert (parser.get_method(), found.target, parser.get_http_version()) == (head.method, target, "1.1")
    assert found.fields == low(head.fields)
    assert (found.body, found.complete) == (content, 1)


def check_request_with_the_rfc(head: RequestHead, data: bytes, wire: bytes, content: bytes) -> None:
    """Also as a careless server reads it."""
    for mistake in (None, *MISTAKES):
        (request,) = read_requests(data[: head.size] + wire, mistake).requests
        assert (request.method, request.target, request.body) == (head.method, head.target, content)
        assert request.fields == head.fields
        assert request.stop == head.size + len(wire)
        assert request.odd <= {"target"}


@often
@given(heads.requests, heads.afterwards)
@example(b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", b"")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t5\r\n\r\n", b"")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", b"")
def test_a_request_that_is_taken_is_one_to_everybody(data: bytes, after: bytes) -> None:
    head = read_request(data + after)
    if not isinstance(head, RequestHead) or head.length > 100_000:
        return
    wire, content = body_for(head.length)
    for check in (check_request_with_h11, check_request_with_llhttp, check_request_with_the_rfc):
        check(head, data + after, wire, content)


@often
@given(heads.plain_requests)
def test_plain_requests_are_taken(data: bytes) -> None:
    """Else all of the above says nothing."""
    framing = re.findall(rb"content-length|transfer-encoding|connection", data.lower())
    assert isinstance(read_request(data), RequestHead) == (
        len([name for name in framing if name != b"connection"]) < 2 and framing.count(b"connection") < 2
    )


def check_answer_with_h11(head: ResponseHead, data: bytes, wire: bytes, content: bytes) -> None:
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data[: head.size] + wire)
    answer = reader.next_event()
    assert isinstance(answer, h11.Response | h11.InformationalResponse)
    assert (answer.status_code, answer.reason, b"HTTP/" + answer.http_version) == (
        head.status,
        head.reason,
        head.version,
    )
    assert list(answer.headers) == as_h11_has_them(head.fields)
    if head.status < 200 or head.status in (204, 304):
        return
    if head.length == UNTIL_CLOSE:
        reader.receive_data(b"")
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert body == content


def check_answer_with_llhttp(head: ResponseHead, data: bytes, wire: bytes, content: bytes) -> None:
    found = Llhttp()
    parser = httptools.HttpResponseParser(found)
    try:
        parser.feed_data(data[: head.size] + wire)
    except httptools.HttpParserUpgrade:
        assert head.status == 101 or b"upgrade" in dict(low(head.fields))
        return
    assert (parser.get_status_code(), "HTTP/" + parser.get_http_version()) == (head.status, head.version.decode())
    assert found.fields == low(head.fields)
    if head.status >= 200 and head.status not in (204, 304):
        assert (found.body, found.complete) == (content, int(head.length != UNTIL_CLOSE))


def check_answer_with_the_rfc(head: ResponseHead, data: bytes, wire: bytes, content: bytes) -> None:
    if head.status < 200 or head.status in (204, 304):
        return
    (answer,) = read_answers(data[: head.size] + wire, [b"GET"], over=True)
    assert (answer.status, answer.fields, answer.body) == (head.status, head.fields, content)


@often
@given(heads.answers, heads.afterwards)
def test_an_answer_that_is_taken_is_one_to_everybody(data: bytes, after: bytes) -> None:
    head = read_response(data + after)
    if not isinstance(head, ResponseHead) or head.length > 100_000 or head.status == 101:
        return  # a 101 that was not asked for is refused later
    wire, content = (b"until the end",) * 2 if head.length == UNTIL_CLOSE else body_for(head.length)
    if head.status < 200 or head.status in (204, 304):
        wire = content = b""
    for check in (check_answer_with_h11, check_answer_with_llhttp, check_answer_with_the_rfc):
        check(head, data + after, wire, content)


def in_pieces(
    read: Callable[[bytes, int], RequestHead | ResponseHead | Verdict], data: bytes, places: list[int]
) -> RequestHead | ResponseHead | Verdict:
    """Read as a connection does, whenever some more bytes have come."""
    seen, found = 0, None
    for size in sorted({1 + place % len(data) for place in places} | {len(data)}):
        found = read(data[:size], seen)
        if found is not INCOMPLETE:
            return found
        seen = size
    assert found is INCOMPLETE
    return found


@often
@given(st.one_of(heads.requests, heads.answers), heads.afterwards, st.lists(st.integers(0, 10_000), max_size=6))
@pytest.mark.parametrize("read", [read_request, read_response])
def test_it_does_not_matter_how_a_head_arrives(
    read: Callable[[bytes, int], RequestHead | ResponseHead | Verdict], data: bytes, after: bytes, places: list[int]
) -> None:
    data += after
    if data:
        whole = read(data, 0)
        assert in_pieces(read, data, places) == whole
        if not isinstance(whole, Verdict):
            assert read(data[: whole.size], 0) == whole
            assert all(read(data[:size], 0) is INCOMPLETE for size in range(whole.size))


def content_of(wire: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Content and rest of a chunked body as the fast lane reads it; None if there is no end or no sense."""
    reader, content = ChunkedReader(), b""
    edges = [0, *sorted({place % (len(wire) + 1) for place in cuts}), len(wire)]
    try:
        for first, last in pairwise(edges):
            content += reader.feed(wire[first:last]) if not reader.done else b""
            if reader.done:
                return content, reader.rest() + wire[last:]
    except ChunkError:
        pass
    return None


@often
@given(heads.chunked_bodies, heads.afterwards, st.lists(st.integers(0, 10_000), max_size=6))
@example(b"5 ;a\r\nhello\r\n0\r\n\r\n", b"", [])
def test_a_chunked_body_that_is_taken_is_one_to_everybody(wire: bytes, after: bytes, cuts: list[int]) -> None:
    found = content_of(wire + after, [])
    assert content_of(wire + after, cuts) == found
    if found is None:
        return
    content, rest = found
    size = len(wire + after) - len(rest)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = read_requests(head + wire + after).requests[0]
    assert (request.body, request.stop) == (content, len(head) + size)

    # The RFC allows blanks before an extension. Trailers that frame are dropped by the lane, which h11 would believe.
    unlike_h11 = re.search(rb"(?i)[ \t];|content-length|transfer-encoding", wire)
    # h11 allows blanks at the end of the line. What extensions are made of matters to nobody who drops them.
    unlike_llhttp = re.search(rb"(?i)[ \t]\r\n|;|content-length|transfer-encoding", wire)
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(head + (wire + after)[:size])
    body = b""
    try:
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            assert event is not h11.NEED_DATA
            body += bytes(event.data) if isinstance(event, h11.Data) else b""
    except h11.RemoteProtocolError:
        assert unlike_h11
    else:
        assert (body, reader.trailing_data[0]) == (content, b"")

    seen = Llhttp()
    try:
        httptools.HttpRequestParser(seen).feed_data(head + (wire + after)[:size])
    except httptools.HttpParserError:
        assert unlike_llhttp
    else:
        assert (seen.body, seen.complete) == (content, 1)


def test_the_strategies_come_up_with_all_verdicts() -> None:
    """Else the tests above would be too easy."""
    seen: dict[object, int] = {}

    @settings(max_examples=400, database=None, derandomize=True)
    @given(heads.requests)
    def look(data: bytes) -> None:
        found = read_request(data)
        kind = found if isinstance(found, Verdict) else ("head", found.length == CHUNKED, found.length > 0)
        seen[kind] = seen.get(kind, 0) + 1

    look()
    taken = sum(count for kind, count in seen.items() if isinstance(kind, tuple))
    assert taken > 40
    assert seen[ODD] > 40
    assert seen[INCOMPLETE] > 0
