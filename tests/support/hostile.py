# ruff: noqa: E501 - a case is one line of a table, however long
"""A hostile origin: misbehaviours by name, each with what has to become of the request that meets it.

Each takes the first `attacks` connections; on those that come after, the origin behaves.
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support import frames
from tests.support.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OK,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    goaway,
    reset,
)
from tests.support.origin import Connection, Origin, Script
from tests.support.secured import Secured

GIB = 1 << 30
SHORT = 0.1
"""Seconds of a time-out where it is the point."""

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"

Outcome = int | str


@dataclass(frozen=True)
class Case:
    name: str
    script: Script
    outcomes: tuple[Outcome, ...]
    """Of each request in turn; ``closed|reset``: either, where the kernel decides."""
    method: str = "GET"
    body: int = 0
    """Bytes of the body of each request."""
    attacks: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    """Of the target."""
    serving: Callable[[Any], ssl.SSLContext] | None = None
    """Makes what the origin serves TLS with (from an `Authority`), if asyncio is to do it."""
    tls: bool = False
    """Whether the client speaks TLS."""
    size: int = 0
    """Bytes that the first answer has at least."""


def _late(**options: float) -> dict[str, Any]:
    return {"timeout": 2 * SHORT, "first_byte_timeout": SHORT, **options}


LATE = _late()


async def forever(connection: Connection, piece: bytes, pause: float = 0.0) -> None:
    while True:
        await connection.say(piece)
        await asyncio.sleep(pause)  # be it none: without a turn of its own the end of the connection is never seen


# --- HTTP/1.1 ---


async def fine(connection: Connection) -> None:
    """Answer whatever comes."""
    while True:
        await connection.request()
        await connection.say(FINE)


def said(*pieces: bytes, then: str = "answer", pause: float = 0.0) -> Script:
    """Take a request, say something, then ``close``, ``reset``, ``answer`` others, or say the last piece for ever."""

    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        endless = pieces[-1:] if then == "endless" else ()
        await connection.say(*pieces[: len(pieces) - len(endless)])
        if endless:
            await forever(connection, endless[0], pause)
        elif then == "reset":
            await asyncio.sleep(0.01)  # a reset throws away what the other side has not read yet
            connection.reset()
        elif then == "answer":
            await fine(connection)

    return script


def untold(then: str) -> Script:
    """End a new connection before anything was said over it."""

    async def script(connection: Connection, _here: Origin) -> None:
        if then == "reset":
            connection.reset()

    return script


def repeatedly(first: bytes, second: bytes | None, then: str = "close") -> Script:
    """Answer the first request with one thing and the second with another, or not at all."""

    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(first)
        here.requests.append(await connection.request())
        if second is not None:
            await connection.say(second)
        if then == "reset":
            connection.reset()

    return script


async def _unasked(connection: Connection, _here: Origin) -> None:
    await connection.say(FINE)
    await connection.request()
    await connection.say(FINE)
    await connection.hang()


async def _pushed(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await connection.say(FINE)
    await asyncio.sleep(0.01)
    await connection.say(FINE)
    await connection.hang()


async def _half_closed(connection: Connection, _here: Origin) -> None:
    await connection.request()
    connection.writer.write_eof()
    await connection.hang()


async def _answered_and_half_closed(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await connection.say(FINE)
    connection.writer.write_eof()
    await connection.hang()


def early(then: str) -> Script:
    """Answer before a large request was sent whole, and read no more of it."""

    async def script(connection: Connection, _here: Origin) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        if then == "hang":
            await asyncio.sleep(60)
        elif then == "reset":
            await asyncio.sleep(0.01)
            connection.reset()

    return script


async def _deaf(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await asyncio.sleep(60)


async def _gigabyte(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await connection.say(LENGTH % GIB)
    for _ in range(GIB >> 20):
        await connection.say(bytes(1 << 20))
    await fine(connection)


async def _gigabyte_in_chunks(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await connection.say(CHUNKED)
    for _ in range(GIB >> 20):
        await connection.say(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
    await connection.say(b"0\r\n\r\n")
    await fine(connection)


async def _gigabyte_to_the_end(connection: Connection, _here: Origin) -> None:
    await connection.request()
    await connection.say(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(GIB >> 20):
        await connection.say(bytes(1 << 20))


BEFORE = [
    Case("accepts and closes", untold("close"), ("closed|reset",)),
    Case("accepts and resets", untold("reset"), ("closed|reset",)),
    Case("reads and closes", said(then="close"), ("closed",)),
    Case("reads and resets", said(then="reset"), ("reset",)),
    Case("reads and says nothing", said(), ("first-byte-timeout",), options=_late()),
    Case("says nothing, and no first byte is asked for", said(), ("timeout",), options={"timeout": SHORT}),
    Case("reads and half-closes", _half_closed, ("closed",)),
    Case("never reads a large request", _deaf, ("first-byte-timeout",), "POST", 16 << 20, options=_late()),
    Case("says one byte", said(b"H"), ("timeout",), options=_late()),
    # To one of our parsers an empty line before an answer is nothing, to the other it is wrong. Both may be (RFC 9112, 2.2).
    Case("drips empty lines", said(b"\r\n", then="endless", pause=0.01), ("timeout|protocol",), options=_late()),
    Case("empty lines without end", said(b"\r\n" * 4096, then="endless"), ("protocol",)),
]

LINES = [
    Case("half a status line, then closes", said(b"HTTP/1.1 20", then="close"), ("truncated",)),
    Case("half a status line, then resets", said(b"HTTP/1.1 20", then="reset"), ("truncated",)),
    Case("half a status line, then nothing", said(b"HTTP/1.1 20"), ("timeout",), options=_late()),
    Case("garbage", said(bytes(range(128, 256))), ("protocol",)),
    Case("another protocol", said(b"SSH-2.0-OpenSSH_9.9\r\n"), ("protocol",)),
    Case("TLS where none was asked for", said(b"\x15\x03\x01\x00\x02\x02\x46"), ("protocol",)),
    Case("HTTP/2 where none was asked for", said(frames.settings()), ("protocol",)),
    Case("no status line", said(b"<html>hello</html>", then="close"), ("protocol",)),
    Case("a version that there is not", said(b"HTTP/9.9 200 OK\r\n\r\n"), ("protocol",)),
    Case("a request for an answer", said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("protocol",)),
    Case("a status of four digits", said(b"HTTP/1.1 2000 OK\r\n\r\n"), ("protocol",)),
    Case("a status of letters", said(b"HTTP/1.1 abc OK\r\n\r\n"), ("protocol",)),
    Case("a reason without end", said(b"HTTP/1.1 200 ", b"x" * 9999, then="endless"), ("protocol",)),
]

FIELDS = [
    Case("closes in the fields", said(b"HTTP/1.1 200 OK\r\nContent-", then="close"), ("truncated",)),
    Case("resets in the fields", said(b"HTTP/1.1 200 OK\r\nContent-", then="reset"), ("truncated",)),
    Case(
        "drips fields",
        said(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", then="endless", pause=0.01),
        ("timeout",),
        options=_late(),
    ),
    Case("fields without end", said(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 2000, then="endless"), ("protocol",)),
    Case("a field without end", said(b"HTTP/1.1 200 OK\r\na: ", b"x" * 9999, then="endless"), ("protocol",)),
    Case("a name without end", said(b"HTTP/1.1 200 OK\r\n", b"x" * 9999, then="endless"), ("protocol",)),
    Case("fields without end, to HEAD", said(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 2000, then="endless"), ("protocol",), "HEAD"),
    Case("a zero byte in a field", said(b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n"), ("protocol",)),
    Case("a blank in a name", said(b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n"), ("protocol",)),
    Case("two lengths", said(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), ("protocol",)),
    Case("a negative length", said(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), ("protocol",)),
    Case("a length of letters", said(b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"), ("protocol",)),
    Case("a length beyond all bounds", said(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"), ("protocol",)),
    Case(
        "a length and chunks",
        said(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("protocol",),
    ),
    Case("interim answers without end", said(b"HTTP/1.1 100 Continue\r\n\r\n" * 999, then="endless"), ("protocol",)),
    Case("interim answers, then closes", said(b"HTTP/1.1 103 Early\r\n\r\n" * 3, then="close"), ("truncated",)),
    Case("interim answers, then nothing", said(b"HTTP/1.1 100 Continue\r\n\r\n"), ("timeout",), options=_late()),
    Case("switches protocols unasked", said(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), ("protocol",)),
]  # fmt: skip

BODIES = [
    Case("a body cut short", said(LENGTH % 10 + b"hel", then="close"), ("truncated",)),
    Case("a body cut short by a reset", said(LENGTH % 10 + b"hel", then="reset"), ("truncated",)),
    Case("a body that stops", said(LENGTH % 10 + b"hel"), ("timeout",), options=_late()),
    Case("a body in drips", said(LENGTH % GIB, b"x", then="endless", pause=0.01), ("timeout",), options=_late()),
    Case("a body without end", said(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16), then="endless"), ("timeout",), options=_late()),
    Case("a body longer than announced", said(LENGTH % 3 + b"hello"), (200,)),
    Case("a body that ends with a reset", said(b"HTTP/1.1 200 OK\r\n\r\nhello", then="reset"), ("truncated",)),
    Case("an unknown coding to the end", said(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", then="close"), (200,)),
    Case("a chunk that is none", said(CHUNKED + b"ZZ\r\n"), ("protocol",)),
    Case("a chunk beyond all bounds", said(CHUNKED + b"fffffffffffffffff\r\n"), ("protocol",)),
    Case("a chunk longer than announced", said(CHUNKED + b"2\r\nhello\r\n0\r\n\r\n"), ("protocol",)),
    Case("closes in a chunk", said(CHUNKED + b"5\r\nhe", then="close"), ("truncated",)),
    Case("closes between chunks", said(CHUNKED, then="close"), ("truncated",)),
    Case("an extension without end", said(CHUNKED + b"5;", b"x" * 9999, then="endless"), ("protocol",)),
    Case("trailers without end", said(CHUNKED + b"0\r\n", b"a: b\r\n" * 2000, then="endless"), ("protocol",)),
    Case("a trailer without end", said(CHUNKED + b"0\r\na: ", b"x" * 9999, then="endless"), ("protocol",)),
    Case("closes in the trailers", said(CHUNKED + b"0\r\na: b\r\n", then="close"), ("truncated",)),
    Case("a million chunks", said(CHUNKED, b"1\r\nx\r\n" * 1_000_000, b"0\r\n\r\n"), (200,)),
    Case("a gigabyte", _gigabyte, (200,), size=GIB),
    Case("a gigabyte in chunks", _gigabyte_in_chunks, (200,), size=GIB),
    Case("a gigabyte to the end", _gigabyte_to_the_end, (200,), size=GIB),
    Case("a body after HEAD", said(FINE), (200,), "HEAD"),
    Case("a body after 204", said(b"HTTP/1.1 204 No Content\r\n\r\nhello"), (204,)),
    Case("a length with 304", said(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"), (304,)),
]  # fmt: skip

AGAIN = [
    Case("two answers for one request", said(FINE + FINE), (200, 200)),
    Case("garbage after the answer", said(FINE + b"garbage"), (200, 200)),
    Case("an answer before the request", _unasked, (200, 200)),
    Case("an answer while nobody asks", _pushed, (200, 200)),
    Case("says close, and stays", said(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), (200, 200)),
    Case("says keep-alive, and closes", said(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", then="close"), (200, 200)),
    Case("answers and half-closes", _answered_and_half_closed, (200, 200)),
    Case("gives up an idle connection in words", said(FINE, b"HTTP/1.1 408 Timeout\r\nConnection: close\r\n\r\n", then="close"), (200, 200)),
    Case("loses the second request", repeatedly(FINE, None), (200, 200)),
    Case("resets at the second request", repeatedly(FINE, None, "reset"), (200, 200)),
    Case("loses the second request, which writes", repeatedly(FINE, None), (200, "closed"), "POST"),
    Case("loses each second request", repeatedly(FINE, None), (200, 200, 200), attacks=2),
    Case("half an answer to the second request", repeatedly(FINE, b"HTTP/1.1 2"), (200, "truncated")),
    Case("answers early, and hangs", early("hang"), (413,), "POST", 16 << 20),
    Case("answers early, and closes", early("close"), (413,), "POST", 16 << 20),
    Case("answers early, and resets", early("reset"), (413,), "POST", 16 << 20),
]  # fmt: skip

# --- TLS ---


def _certified(*names: str, **validity: Any) -> Callable[[Any], ssl.SSLContext]:
    return lambda authority: authority.serving(authority.issue("served", *names, **validity))


def raw(*pieces: bytes, then: str = "hang", pause: float = 0.0) -> Script:
    """Say something in the place of a handshake."""

    async def script(connection: Connection, _here: Origin) -> None:
        await connection.reader.read(1)
        if pause:
            await forever(connection, pieces[0], pause)
        await connection.say(*pieces)
        if then == "reset":
            connection.reset()
        elif then == "hang":
            await connection.hang()

    return script


def secured(act: Callable[[Secured], Awaitable[None]], asks: bool = False) -> Script:
    """Do the handshake, and then something."""

    async def script(connection: Connection, here: Origin) -> None:
        context = here.context
        assert context is not None
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
        tls = Secured(connection, context)
        try:
            await tls.handshake()
            await act(tls)
        except ssl.SSLError:
            pass

    return script


async def _garbles(tls: Secured) -> None:
    await tls.request()
    await tls.raw.say(b"\x17\x03\x03\x00\x20" + bytes(32))
    await tls.raw.hang()


async def _garbles_inside(tls: Secured) -> None:
    await tls.request()
    await tls.say(LENGTH % 10 + b"hel")
    await tls.raw.say(b"\x17\x03\x03\x00\x20" + bytes(32))
    await tls.raw.hang()


async def _cut(tls: Secured) -> None:
    await tls.request()
    await tls.say(b"HTTP/1.1 200 OK\r\n\r\nhello")


async def _ended(tls: Secured) -> None:
    await _cut(tls)
    await tls.goodbye()


async def _reads(tls: Secured) -> None:
    await tls.request()


async def _resets(tls: Secured) -> None:
    await tls.request()
    tls.raw.reset()


_DAY = dt.timedelta(days=1)

TLS = [
    Case("no TLS at all", raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), ("tls",), tls=True),
    Case("closes in the handshake", raw(then="close"), ("tls",), tls=True),
    Case("resets in the handshake", raw(then="reset"), ("tls",), tls=True),
    Case("no handshake in time", raw(), ("connect-timeout",), tls=True, options={"connect_timeout": SHORT}),
    Case("a handshake in drips", raw(b"\x16", pause=0.03), ("tls|connect-timeout",), tls=True, options={"connect_timeout": SHORT}),
    Case("garbage for a handshake", raw(bytes(range(255))), ("tls",), tls=True),
    Case("a handshake that fails", raw(b"\x15\x03\x03\x00\x02\x02\x28"), ("tls",), tls=True),
    Case("a version that is too old", raw(b"\x15\x03\x03\x00\x02\x02\x46"), ("tls",), tls=True),
    Case("a certificate that has expired", said(FINE), ("certificate",), tls=True, serving=_certified("127.0.0.1", begins=-3 * _DAY, ends=-_DAY)),
    Case("a certificate that begins tomorrow", said(FINE), ("certificate",), tls=True, serving=_certified("127.0.0.1", begins=_DAY, ends=2 * _DAY)),
    Case("a certificate for another host", said(FINE), ("certificate",), tls=True, serving=_certified("other.example")),
    Case("a client certificate is missing", secured(_reads, asks=True), ("tls",), tls=True),
    Case("garbles an answer", secured(_garbles), ("tls",), tls=True),
    Case("garbles the middle of an answer", secured(_garbles_inside), ("tls",), tls=True),
    Case("a body that ends without a word", secured(_cut), ("truncated",), tls=True),
    Case("a body that ends with a word", secured(_ended), (200,), tls=True),
    Case("reads over TLS and closes", secured(_reads), ("closed",), tls=True),
    Case("reads over TLS and resets", secured(_resets), ("reset",), tls=True),
    Case("HTTP/2 demanded, none offered", said(FINE), ("alpn",), tls=True, serving=_certified("127.0.0.1"), options={"http2": "always"}),
]  # fmt: skip

# --- HTTP/2 ---


def greeted(
    act: Callable[[Peer, int], Awaitable[None]], then: str = "answer", values: dict[str, int] | None = None
) -> Script:
    """Greet with settings, take a request, do something about its stream, and ``answer`` what follows (or end)."""

    async def script(connection: Connection, here: Origin) -> None:
        peer = Peer(connection)
        await peer.greet(**(values or {}))
        stream, _ = await peer.request()
        here.requests.append(b"")
        await act(peer, stream)
        if then == "answer":
            await peer.answer()
        elif then == "reset":
            await asyncio.sleep(0.01)
            connection.reset()

    return script


def saying(make: Callable[[Peer, int], bytes], then: str = "answer", **values: int) -> Script:
    """Greet, take a request, and say something."""

    async def act(peer: Peer, stream: int) -> None:
        await peer.say(make(peer, stream))

    return greeted(act, then, values)


def flooding(make: Callable[[Peer, int], bytes], answer: bool = False, **values: int) -> Script:
    """Greet, take a request, and say something for ever."""

    async def act(peer: Peer, stream: int) -> None:
        if answer:
            await peer.say(peer.headers(stream))
        await forever(peer.connection, make(peer, stream))

    return greeted(act, values=values)


def instead(*pieces: bytes, then: str = "hang") -> Script:
    """Say something in the place of settings."""

    async def script(connection: Connection, _here: Origin) -> None:
        await connection.reader.readexactly(len(frames.PREFACE))
        await connection.say(*pieces)
        if then == "reset":
            connection.reset()
        elif then == "hang":
            await connection.hang()

    return script


def _with(*fields: tuple[str, str], end: bool = True) -> Callable[[Peer, int], bytes]:
    return lambda peer, stream: peer.headers(stream, list(fields), end=end)


def _bomb(_peer: Peer, stream: int) -> bytes:
    # One large field is remembered, and then named again and again: some bytes become megabytes.
    large = b"\x40\x01x" + b"\x7f\x81\x1e" + b"y" * 4000
    return frame(HEADERS, END_HEADERS, stream, b"\x88" + large + b"\xbe" * 12_000)


def _continuations(piece: bytes) -> Callable[[Peer, int], bytes]:
    return lambda _peer, stream: frame(CONTINUATION, 0, stream, piece) * 16


async def _starts_a_head(peer: Peer, stream: int) -> None:
    await peer.say(frame(HEADERS, 0, stream, b"\x88"))
    await forever(peer.connection, _continuations(b"")(peer, stream))


async def _head_without_end(peer: Peer, stream: int) -> None:
    await peer.say(frame(HEADERS, 0, stream, b"\x88"))
    await forever(peer.connection, _continuations(b"\x40\x01x\x01y" * 3000)(peer, stream))


async def _until_reset(peer: Peer, piece: bytes) -> None:
    """Say something again and again, until the other end gives the stream up."""

    async def wait() -> None:
        while (await peer.frame())[0] != RST_STREAM:
            pass

    waiting = asyncio.ensure_future(wait())
    while not waiting.done():
        await peer.say(piece)
        await asyncio.sleep(0.01)
    waiting.result()


async def _drips(peer: Peer, stream: int) -> None:
    await peer.say(peer.headers(stream))
    await _until_reset(peer, frame(DATA, 0, stream, b"x"))


async def _gigabyte_of_data(peer: Peer, stream: int) -> None:
    await peer.say(peer.headers(stream))
    await peer.body(stream, GIB)
    await peer.answer()


async def _goes_away_and_answers(peer: Peer, stream: int) -> None:
    await peer.say(goaway(stream), peer.headers(stream), frame(DATA, END_STREAM, stream, b"hello"))


async def _answers_early(peer: Peer, stream: int) -> None:
    await peer.say(peer.headers(stream, [(":status", "413")], end=True) + reset(stream, 0))
    await peer.answer()


async def _takes_drips(peer: Peer, stream: int) -> None:
    await _until_reset(peer, frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"))


async def _two_answers(peer: Peer, stream: int) -> None:
    await peer.say(peer.headers(stream, end=True) + peer.headers(stream, end=True))


async def _refuses(peer: Peer, stream: int) -> None:
    await peer.say(reset(stream, 7))


async def _refuses_twice(peer: Peer, stream: int) -> None:
    await peer.say(reset(stream, 7))
    stream, _ = await peer.request()
    await peer.say(reset(stream, 7))


async def _asks_and_does_not_listen(peer: Peer, _stream: int) -> None:
    ping = frame(PING, 0, 0, bytes(8)) * 512
    data = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
    while True:
        await peer.say(ping + data)


H2 = {"http2": "always"}

BEFORE_2 = [
    Case("h2: closes at once", untold("close"), ("closed|reset",), options=H2),
    Case("h2: closes before its settings", instead(then="close"), ("closed|reset",), options=H2),
    Case("h2: resets before its settings", instead(then="reset"), ("closed|reset",), options=H2),
    Case("h2: no settings", instead(), ("connect-timeout",), options=H2 | {"connect_timeout": SHORT}),
    Case("h2: an answer in HTTP/1.1", instead(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("protocol",), options=H2),
    Case("h2: garbage", instead(bytes(range(255)) * 2), ("protocol",), options=H2),
    Case("h2: a frame of 16 MB", instead(b"\xff\xff\xff\x04\0\0\0\0\0"), ("protocol",), options=H2),
    Case("h2: no streams allowed", instead(frames.settings(MAX_CONCURRENT_STREAMS=0)), ("connect-timeout",), options=H2 | {"connect_timeout": SHORT}),
    Case("h2: settings that are none", instead(frame(SETTINGS, payload=b"12345")), ("protocol",), options=H2),
    Case("h2: settings on a stream", instead(frame(SETTINGS, 0, 1)), ("protocol",), options=H2),
    Case("h2: a window beyond all bounds", instead(frames.settings(INITIAL_WINDOW_SIZE=1 << 31)), ("protocol",), options=H2),
    Case("h2: goes away at once", instead(goaway(0)), ("closed",), options=H2),
]  # fmt: skip

STREAMS = [
    Case("h2: closes", saying(lambda *_: b"", "close"), ("closed",), options=H2),
    Case("h2: resets the connection", saying(lambda *_: b"", "reset"), ("reset",), options=H2),
    Case("h2: says nothing", saying(lambda *_: b""), ("first-byte-timeout",), options=H2 | _late()),
    Case("h2: resets the stream", saying(lambda _, s: reset(s, 2)), ("reset",), options=H2),
    Case("h2: resets the stream without a reason", saying(lambda _, s: reset(s, 0)), ("reset",), options=H2),
    Case("h2: resets with a reason that there is not", saying(lambda _, s: reset(s, 0xFFFF)), ("reset",), options=H2),
    Case("h2: refuses a stream", greeted(_refuses), (200,), options=H2),
    Case("h2: refuses it again", greeted(_refuses_twice), ("reset",), options=H2),
    Case("h2: refuses one that writes", greeted(_refuses), ("reset",), "POST", options=H2),
    Case("h2: resets inside the answer", saying(lambda p, s: p.headers(s) + reset(s, 2)), ("truncated",), options=H2),
    Case("h2: closes inside the answer", saying(lambda p, s: p.headers(s) + frame(DATA, 0, s, b"hel"), "close"), ("truncated",), options=H2),
    Case("h2: stops inside the answer", saying(lambda p, s: p.headers(s)), ("timeout",), options=H2 | _late()),
    Case("h2: closes inside a frame", saying(lambda p, s: p.headers(s) + frame(DATA, 0, s, b"hello")[:-2], "close"), ("truncated",), options=H2),
    Case("h2: a body in drips", greeted(_drips), ("timeout",), options=H2 | _late()),
    Case("h2: goes away, and will not process it", saying(lambda *_: goaway(0)), (200,), options=H2),
    Case("h2: goes away with a reason", saying(lambda *_: goaway(0, 11)), (200,), options=H2),
    Case("h2: goes away twice", saying(lambda *_: goaway(0)), ("closed",), options=H2, attacks=2),
    Case("h2: goes away from one that writes", saying(lambda *_: goaway(0)), ("closed",), "POST", options=H2),
    Case("h2: goes away, and answers", greeted(_goes_away_and_answers), (200, 200), options=H2),
    Case("h2: goes away, and closes", saying(lambda _, s: goaway(s), "close"), ("closed",), options=H2),
    Case("h2: a GOAWAY that is none", saying(lambda *_: frame(frames.GOAWAY, payload=b"1234")), ("protocol",), options=H2),
    Case("h2: two answers for one request", greeted(_two_answers), (200, 200), options=H2),
    Case("h2: an early answer", greeted(_answers_early), (413,), "POST", 1 << 20, options=H2),
    Case("h2: never opens its window", saying(lambda *_: b"", INITIAL_WINDOW_SIZE=0), ("first-byte-timeout",), "POST", 1 << 20, options=H2 | _late()),
    Case("h2: opens its window in drips", greeted(_takes_drips, values={"INITIAL_WINDOW_SIZE": 0}), ("first-byte-timeout",), "POST", 1 << 20, options=H2 | _late()),
    Case("h2: a gigabyte", greeted(_gigabyte_of_data), (200, 200), options=H2, size=GIB),
]  # fmt: skip

HEADS_2 = [
    Case("h2: no status", saying(_with(("server", "x"))), ("protocol",), options=H2),
    Case("h2: a status of letters", saying(_with((":status", "abc"))), ("protocol",), options=H2),
    Case("h2: two statuses", saying(_with((":status", "200"), (":status", "200"))), ("protocol",), options=H2),
    Case("h2: a large letter in a name", saying(_with((":status", "200"), ("Server", "x"))), ("protocol",), options=H2),
    Case("h2: a field of HTTP/1.1", saying(_with((":status", "200"), ("connection", "close"))), ("protocol",), options=H2),
    Case("h2: a line break in a value", saying(_with((":status", "200"), ("a", "b\r\nc: d"))), ("protocol",), options=H2),
    Case("h2: switches protocols", saying(_with((":status", "101"), end=False)), ("protocol",), options=H2),
    Case("h2: interim answers without end", flooding(_with((":status", "103"), ("link", "x" * 500), end=False)), ("protocol",), options=H2),
    Case("h2: a length of letters", saying(_with((":status", "200"), ("content-length", "five"))), ("protocol",), options=H2),
    Case("h2: a body longer than announced", saying(lambda p, s: p.headers(s, [*OK, ("content-length", "3")]) + frame(DATA, END_STREAM, s, b"hello")), ("protocol",), options=H2),
    Case("h2: a body shorter than announced", saying(lambda p, s: p.headers(s, [*OK, ("content-length", "9")]) + frame(DATA, END_STREAM, s, b"hello")), ("truncated",), options=H2),
    Case("h2: no body where one was announced", saying(lambda p, s: p.headers(s, [*OK, ("content-length", "9")], end=True)), ("truncated",), options=H2),
    Case("h2: a length, to HEAD", saying(lambda p, s: p.headers(s, [*OK, ("content-length", "9")], end=True)), (200,), "HEAD", options=H2),
    Case("h2: fields of 100 KB", saying(lambda _, s: b"".join(
        [frame(HEADERS, 0, s, b"\x88"), *(frame(CONTINUATION, 0, s, b"\x00\x01x\x7f\x81\x5d" + b"y" * 12_000) for _ in range(8)), frame(CONTINUATION, END_HEADERS, s)]
    )), ("protocol",), options=H2),
    Case("h2: a bomb of fields", saying(_bomb), ("protocol",), options=H2),
    Case("h2: fields that nobody can read", saying(lambda _, s: frame(HEADERS, END_HEADERS, s, b"\xff\xff\xff\xff\xff\xff\xff\xff")), ("protocol",), options=H2),
    Case("h2: a head of empty pieces without end", greeted(_starts_a_head), ("protocol",), options=H2),
    Case("h2: a head without end", greeted(_head_without_end), ("protocol",), options=H2),
    Case("h2: a frame inside a head", saying(lambda _, s: frame(HEADERS, 0, s, b"\x88") + frame(PING, 0, 0, bytes(8))), ("protocol",), options=H2),
    Case("h2: trailers that do not end", saying(lambda p, s: p.headers(s) + p.headers(s, [("a", "b")])), ("protocol",), options=H2),
    Case("h2: trailers with a status", saying(lambda p, s: p.headers(s) + p.headers(s, OK, end=True)), ("protocol",), options=H2),
]  # fmt: skip

FRAMES = [
    Case("h2: a body before the head", saying(lambda _, s: frame(DATA, END_STREAM, s, b"hello")), ("protocol",), options=H2),
    Case("h2: a body on no stream", saying(lambda *_: frame(DATA, 0, 0, b"hello")), ("protocol",), options=H2),
    Case("h2: an answer to nobody", saying(lambda p, s: p.headers(s + 98, end=True)), ("protocol",), options=H2),
    Case("h2: a stream of its own", saying(lambda p, _: p.headers(2, end=True)), ("protocol",), options=H2),
    Case("h2: a push", saying(lambda _, s: frame(PUSH_PROMISE, END_HEADERS, s, b"\0\0\0\2\x82\x84\x86")), ("protocol",), options=H2),
    Case("h2: a window opened by nothing", saying(lambda *_: frame(WINDOW_UPDATE, 0, 0, bytes(4))), ("protocol",), options=H2),
    Case("h2: a window beyond all bounds, later", saying(lambda *_: frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")), ("protocol",), options=H2),
    Case("h2: a stream's window beyond all bounds", saying(lambda _, s: frame(WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff") * 2), ("protocol",), "POST", 1 << 20, options=H2),
    Case("h2: a ping of five bytes", saying(lambda *_: frame(PING, 0, 0, b"12345")), ("protocol",), options=H2),
    Case("h2: padding longer than the frame", saying(lambda p, s: p.headers(s) + frame(DATA, PADDED, s, b"\xffhello")), ("protocol",), options=H2),
    Case("h2: a frame that is too long", saying(lambda p, s: p.headers(s) + b"\x00\x40\x01\0\0" + s.to_bytes(4)), ("protocol",), options=H2),
    Case("h2: a flood of pings", flooding(lambda *_: frame(PING, 0, 0, bytes(8)) * 99), ("protocol",), options=H2),
    Case("h2: a flood of settings", flooding(lambda *_: frames.settings() * 99), ("protocol",), options=H2),
    Case("h2: a flood of priorities", flooding(lambda _, s: frame(PRIORITY, 0, s, bytes(5)) * 99), ("protocol",), options=H2),
    Case("h2: a flood of frames that there are not", flooding(lambda *_: frame(99, 0, 0, b"x") * 99), ("protocol",), options=H2),
    Case("h2: a flood of empty data", flooding(lambda _, s: frame(DATA, 0, s) * 99, answer=True), ("protocol",), options=H2),
    Case("h2: a flood of padding", flooding(lambda _, s: frame(DATA, PADDED, s, b"\x09" + bytes(9)) * 99, answer=True), ("protocol",), options=H2),
    Case("h2: a flood of resets", flooding(lambda _, s: reset(s, 2) * 99), ("reset",), options=H2),
    Case("h2: a flood of goodbyes", flooding(lambda _, s: goaway(s) * 99), ("protocol",), options=H2),
    Case("h2: asks, and does not listen", greeted(_asks_and_does_not_listen), ("protocol",), options=H2),
]  # fmt: skip

CASES = [*BEFORE, *LINES, *FIELDS, *BODIES, *AGAIN, *TLS, *BEFORE_2, *STREAMS, *HEADS_2, *FRAMES]
