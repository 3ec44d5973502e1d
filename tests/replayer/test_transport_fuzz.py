"""Whatever bytes come, in whatever pieces: a request has one outcome, nothing is raised, and nothing stays."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replayer.requests.encoding import Request
from replayer.transport import Answer, Failure, Target, http1, http2
from replayer.transport.carrier import Carrier
from replayer.transport.fields import FORBIDDEN, of_request
from tests.support import frames
from tests.support.frames import frame


class Wire:
    """The transport of a connection that nobody is at the other end of."""

    def __init__(self) -> None:
        self.written = b""
        self.open = True

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.open = False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Owner:
    """A pool of one connection; its own outcomes, too."""

    def __init__(self) -> None:
        self.target = Target("x", 1)
        self.outcomes = self
        self.idle: dict[Carrier, None] = {}
        self.sent_bytes = self.in_flight = 0
        self.found: list[int | Failure] = []
        self.time = 0
        self.forgotten = False

    def clock(self) -> int:
        self.time += 1
        return self.time

    def answered(self, answer: Answer) -> None:
        assert answer.sent_ns < answer.first_ns < answer.ended_ns
        assert 200 <= answer.status <= 999
        self.found.append(answer.status)

    def failed(self, _request: Request, sent_ns: int | None, failure: Failure) -> None:
        assert sent_ns is not None
        self.found.append(failure)

    def forget(self, _connection: Carrier) -> None:
        self.forgotten = True

    def retry(self, *_: object) -> bool:
        return False

    def token(self) -> bytes:
        return b"token"

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


def request(method: str = "GET") -> Request:
    return Request(f"{method} / HTTP/1.1\r\nHost: x\r\nbaggage: loadtest=".encode(), b"\r\n\r\n", method)


def feed(
    speaks: type[http1.Connection] | type[http2.Connection], greeting: bytes, pieces: list[bytes], method: str
) -> Owner:
    """Send one request over a new connection, and let pieces come until there is an outcome; then the end."""

    async def main() -> Owner:
        owner, wire = Owner(), Wire()
        connection = speaks(cast("Any", owner), asyncio.get_running_loop().create_future())
        connection.connection_made(cast("asyncio.Transport", wire))
        if greeting:
            connection.data_received(greeting)
        owner.clock()
        connection.send(request(method), 0, 0, 0)
        for piece in pieces:
            if owner.found:
                break
            connection.data_received(piece)
            await asyncio.sleep(0)
        if wire.open:
            connection.eof_received()
        connection.connection_lost(None)
        assert len(owner.found) == 1
        assert owner.in_flight == 0
        assert owner.forgotten
        return owner

    return asyncio.run(main())


LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 204 None\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"hello",
    ]
)


@given(st.lists(LINES | st.binary(max_size=20)), st.sampled_from(["GET", "HEAD"]))
@example([b"HTTP/1.1 200 OK\r\n", b"\r\n"], "GET")
def test_http_1(pieces: list[bytes], method: str) -> None:
    feed(http1.Connection, b"", pieces, method)


@given(st.binary(max_size=200), st.data())
def test_how_it_is_cut_makes_no_difference(noise: bytes, data: st.DataObject) -> None:
    chunks = b"%x\r\n%b\r\n0\r\na: b\r\n\r\n" % (len(noise) + 1, noise + b"x")
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if b > a]
    assert feed(http1.Connection, b"", pieces, "GET").found == [200]


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3]),
    st.binary(max_size=30) | st.sampled_from([b"\x88", b"\x88\x82", bytes(4), bytes(8)]),
)


@given(st.lists(FRAMES | st.binary(max_size=20)))
@example([frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"hello")])
def test_http_2(pieces: list[bytes]) -> None:
    feed(http2.Connection, frames.settings(), pieces, "GET")


def test_http_2_is_answered_however_it_is_cut() -> None:
    whole = frame(1, 4, 1, b"\x88") + frame(0, 1, 1, b"hello")
    assert feed(http2.Connection, frames.settings(), [whole[i : i + 1] for i in range(len(whole))], "GET").found == [
        200
    ]


NAMES = st.from_regex(rb"[A-Za-z-]{1,12}", fullmatch=True) | st.sampled_from(
    [b"Host", b"Cookie", b"TE", b"Connection", b"Keep-Alive", b"Upgrade", b"Transfer-Encoding", b"Proxy-Connection"]
)
VALUES = st.from_regex(rb"[ -~]{0,20}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_fields_are_those_of_http_2(given_fields: list[tuple[bytes, bytes]]) -> None:
    head = b"\r\n".join([b"GET /p HTTP/1.1", b"Host: x", *(name + b": " + value for name, value in given_fields)])
    pseudo, found = of_request(head, b"http")[:4], of_request(head, b"http")[4:]
    assert [name for name, _ in pseudo] == [b":method", b":scheme", b":authority", b":path"]
    for name, value in found:
        assert name == name.lower()
        assert name not in FORBIDDEN | {b"host"}
        assert value == value.strip(b" \t")
        assert name != b"te"
    plain = [name.lower() for name, _ in given_fields if name.lower() not in FORBIDDEN | {b"host", b"te", b"cookie"}]
    assert [name for name, _ in found if name != b"cookie"] == plain
    assert of_request(head, b"http", trailers=True) == [*pseudo, *found, (b"te", b"trailers")]


@pytest.mark.parametrize("speaks", [http1.Connection, http2.Connection])
def test_a_connection_that_comes_too_late_is_closed(speaks: Any) -> None:
    async def main() -> None:
        owner, wire, up = Owner(), Wire(), asyncio.get_running_loop().create_future()
        up.cancel()
        connection = speaks(cast("Any", owner), up)
        connection.connection_made(cast("asyncio.Transport", wire))
        assert not wire.open
        assert not connection.room

    asyncio.run(main())
