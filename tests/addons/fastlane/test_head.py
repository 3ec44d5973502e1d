"""The reader of heads: what it takes, and what it leaves to others."""

import pytest

from addons.fastlane.head import (
    CHUNKED,
    INCOMPLETE,
    MAX_HEAD,
    ODD,
    UNTIL_CLOSE,
    RequestHead,
    ResponseHead,
    _meanings,
    read_request,
    read_response,
    read_trailers,
)

PLAIN = b"GET /a?b=%20c HTTP/1.1\r\nHost: shop:80\r\nX-Empty:\r\nX-Tab:\ta b\r\nX-High: \xe9\r\n\r\n"


def test_a_plain_request() -> None:
    assert read_request(PLAIN + b"rest") == RequestHead(
        b"GET",
        b"/a?b=%20c",
        ((b"Host", b"shop:80"), (b"X-Empty", b""), (b"X-Tab", b"a b"), (b"X-High", b"\xe9")),
        0,
        "",
        len(PLAIN),
    )


@pytest.mark.parametrize(
    ("fields", "length", "connection"),
    [
        (b"Content-Length: 0\r\n", 0, ""),
        (b"CONTENT-LENGTH:17\r\n", 17, ""),
        (b"transfer-encoding: Chunked\r\n", CHUNKED, ""),
        (b"Connection: Close\r\n", 0, "close"),
        (b"Connection: keep-alive\r\n", 0, "keep-alive"),
        (b"Authorization: Bearer x\r\n", 0, ""),
    ],
)
def test_how_a_request_is_framed(fields: bytes, length: int, connection: str) -> None:
    head = read_request(b"POST / HTTP/1.1\r\nHost: shop\r\n" + fields + b"\r\n")
    assert isinstance(head, RequestHead)
    assert (head.length, head.connection) == (length, connection)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT shop:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD,
    ],
)
def test_requests_that_are_left_to_others(data: bytes) -> None:
    assert read_request(data) is ODD


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked\x0b\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 05\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 9999999999999999999\r\n",
        b"Content_Length : 5\r\n",
        b"Connection: close, x\r\n",
        b"Connection: upgrade\r\n",
        b"Connection: close\r\nConnection: keep-alive\r\n",
        b"Upgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"Authorization: NTLM x\r\n",
        b"authorization: Negotiate x\r\n",
    ],
)
def test_ways_to_be_carried_that_are_left_to_others(fields: bytes) -> None:
    assert read_request(b"POST / HTTP/1.1\r\nHost: shop\r\n" + fields + b"\r\n") is ODD


def test_a_head_that_has_not_come_whole() -> None:
    for size in range(len(PLAIN)):
        assert read_request(PLAIN[:size]) is INCOMPLETE
        assert read_request(PLAIN, size) == read_request(PLAIN)


def test_a_plain_answer() -> None:
    head = b"HTTP/1.1 200 Very OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    fields = ((b"Content-Length", b"3"), (b"Connection", b"close"))
    assert read_response(head + b"abc") == ResponseHead(b"HTTP/1.1", 200, b"Very OK", fields, 3, "close", len(head))


@pytest.mark.parametrize("line", [b"HTTP/1.1 404\r\n", b"HTTP/1.1 404 \r\n", b"HTTP/1.0 404 Not Found\r\n"])
def test_an_answer_whose_end_is_that_of_its_connection(line: bytes) -> None:
    head = read_response(line + b"\r\n")
    assert isinstance(head, ResponseHead)
    assert (head.status, head.length, head.connection) == (404, UNTIL_CLOSE, "")


@pytest.mark.parametrize(
    "data",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\n\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close, x\r\n\r\n",
    ],
)
def test_answers_that_are_read_leniently(data: bytes) -> None:
    assert read_response(data) is ODD


def test_many_spellings_of_a_name_do_not_fill_the_memory() -> None:
    for number in range(20_000):
        read_request(b"GET / HTTP/1.1\r\nHost: a\r\nX-%d: b\r\n\r\n" % number)
    assert len(_meanings) < 20_000
    assert isinstance(read_request(b"GET / HTTP/1.1\r\nhOsT: a\r\n\r\n"), RequestHead)


def test_long_names_do_not_fill_the_memory() -> None:
    for number in range(2000):
        read_request(b"GET / HTTP/1.1\r\nHost: a\r\n%b-%d: b\r\n\r\n" % (b"x" * 60_000, number))
    assert sum(map(len, _meanings)) < 1_000_000


def test_trailers_in_drops() -> None:
    """64 KiB of them, byte by byte, cost no more than their bytes: looked through anew each time, many seconds."""
    trailers = b"X: yyyyyyyyyy\r\n" * 4000 + b"Host: b\r\n\r\n"
    for size in range(len(trailers)):
        assert read_trailers(trailers[:size], max(0, size - 1)) is INCOMPLETE
    found = read_trailers(trailers + b"rest", len(trailers) - 1)
    assert found == (((b"X", b"yyyyyyyyyy"),) * 4000, len(trailers))
