"""The transport against an origin that behaves, and one that does not: each with the right outcome, nothing hanging."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from replayer.requests.encoding import Request
from replayer.transport import Answer, Pool, Target
from tests.support.frames import Peer
from tests.support.origin import Connection, Origin, Script, answering, certificate, once, origin
from tests.support.outcomes import Outcomes
from tests.support.processes import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def get(method: str = "GET") -> Request:
    return Request(f"{method} / HTTP/1.1\r\nHost: x\r\nbaggage: loadtest=".encode(), b"\r\n\r\n", method)


class Sender:
    """A pool with its sweep, and one request at a time."""

    def __init__(self, port: int, **options: Any) -> None:
        self.outcomes = Outcomes()
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "connect_timeout": 2.0,
            "timeout": 5.0,
            "max_connections": 4,
        } | options
        self.pool = Pool(Target(port=port, **settings), self.outcomes, time.monotonic_ns)

    async def send(self, request: Request | None = None) -> int | str:
        now = time.monotonic_ns()
        assert self.pool.shortage(now) is None
        self.pool.send(request or get(), now, now, now)
        return await self.next()

    async def next(self) -> int | str:
        async with asyncio.timeout(4):
            while self.outcomes.seen.empty():
                self.pool.sweep(time.monotonic_ns())
                await asyncio.sleep(0.005)
            return self.outcomes.seen.get_nowait()


def run[T](main: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await main()

    return uvloop.run(bounded())


def exchange(script: Script, *requests: Request, **options: Any) -> tuple[list[int | str], int, int]:
    """Send one after the other: (outcomes, connections that the origin saw, connections left open)."""

    async def main() -> tuple[list[int | str], int, int]:
        async with origin(script) as here:
            sender = Sender(here.port, **options)
            outcomes = [await sender.send(request) for request in requests]
            left = sender.pool.connections
            assert sender.pool.in_flight == 0
            sender.pool.close()
            return outcomes, here.connections, left

    return run(main)


# --- when it was sent ---


class Ticking:
    """A clock that goes on by a millisecond with each look at it, and by a second while a token is made."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


class Slow(Outcomes):
    """Takes its time for a token. Keeps when requests were sent."""

    def __init__(self, clock: Ticking) -> None:
        super().__init__()
        self.clock = clock
        self.times: list[tuple[int, int, int]] = []

    def sent(self, due: int, ready: int, sent: int) -> None:
        super().sent(due, ready, sent)
        self.times.append((due, ready, sent))

    def token(self) -> bytes:
        self.clock.now += 1_000_000_000
        return b"token"


@pytest.mark.parametrize("http2", ["never", "always"])
def test_what_the_sender_takes_for_itself_until_the_system_call_is_its_lag(http2: Any) -> None:
    async def main() -> None:
        async with origin(answering(EMPTY) if http2 == "never" else greeted) as here:
            clock = Ticking()
            outcomes = Slow(clock)
            pool = Pool(Target("127.0.0.1", here.port, http2=http2), outcomes, clock)
            pool.send(get(), 0, 5, 5)  # there is no connection yet
            await outcomes.seen.get()
            begun = clock.now
            pool.send(get(), begun, begun + 7, begun + 7)
            await outcomes.seen.get()
            pool.close()
        (due, ready, sent), (later, alone, at_once) = outcomes.times
        assert 1_000_000_000 < ready - due < 1_100_000_000  # the token
        assert 0 < sent - ready < 100_000_000  # it waited for a connection
        assert later == begun
        assert alone == at_once > begun + 1_000_000_000  # it waited for nothing, so all of it is lag
        assert [answer.sent_ns for answer in outcomes.answers] == [sent, at_once]

    run(main)


async def greeted(connection: Connection, _here: Origin) -> None:
    peer = Peer(connection)
    await peer.greet()
    await peer.answer()


# --- answers ---


@pytest.mark.parametrize(
    "answer",
    [
        [OK],
        [EMPTY],
        [CHUNKED],
        [CHUNKED[:-5], b"0\r\nTrailer: x\r\n\r\n"],
        [bytes([byte]) for byte in OK],  # a byte at a time
        [b"HTTP/1.1 100 Continue\r\n\r\n", OK],
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", b"x" * 300_000],
        [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"],
    ],
    ids=["length", "empty", "chunked", "trailers", "dribble", "continue", "hints", "large", "old-keep-alive"],
)
def test_answered_over_one_kept_connection(answer: list[bytes]) -> None:
    assert exchange(answering(*answer), get(), get(), get()) == ([200, 200, 200], 1, 1)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n", 304),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 429 Slow Down\r\nContent-Length: 25\r\n\r\nreamp-withheld: credit\r\n\r\n"[:-1], 429),
    ],
)
def test_statuses_are_the_targets_own(answer: bytes, status: int) -> None:
    assert exchange(answering(answer), get(), get()) == ([status, status], 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_an_answer_to_head_has_no_body(answer: bytes) -> None:
    assert exchange(answering(answer), get("HEAD"), get("HEAD"), get("HEAD")) == ([200, 200, 200], 1, 1)


def test_a_body_after_head_never_becomes_the_next_answer() -> None:
    assert exchange(answering(OK), get("HEAD"), get("HEAD"))[0] == [200, 200]
    assert exchange(answering(CHUNKED[:-5]), get("HEAD"), get("HEAD")) == ([200, 200], 2, 0)


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b" of the connection"],
        [b"HTTP/1.0 200 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody"],
    ],
    ids=["close-delimited", "1.0", "close", "continue-close-delimited"],
)
def test_an_answer_that_ends_the_connection(answer: list[bytes]) -> None:
    assert exchange(once(*answer), get(), get()) == ([200, 200], 2, 0)


@pytest.mark.parametrize(
    ("reason", "status"), [("credit", b"429 No Credit"), ("lever", b"503 Stopped"), ("tag", b"403 Refused")]
)
@pytest.mark.parametrize("cut", [0, 40])
def test_the_sidecars_answer_is_withheld_and_no_error_of_the_target(reason: str, status: bytes, cut: int) -> None:
    body = b'{"type":"urn:reamp"}'
    head = b"HTTP/1.1 %b\r\ncontent-length: %d\r\nReamp-Withheld: %b\r\n\r\n" % (status, len(body), reason.encode())
    answer = head + body
    pieces = [answer[:cut], answer[cut:]] if cut else [answer]
    assert exchange(answering(*pieces), get()) == ([f"withheld:{reason}"], 1, 1)


def test_what_follows_an_answer_costs_the_connection() -> None:
    assert exchange(answering(OK + OK), get(), get()) == ([200, 200], 2, 0)
    assert exchange(answering(OK + b"garbage"), get(), get()) == ([200, 200], 2, 0)


def test_the_token_is_spliced_in() -> None:
    async def main() -> None:
        async with origin(answering(OK)) as here:
            sender = Sender(here.port)
            await sender.send()
            sender.outcomes.tag = b"renewed"
            await sender.send()
            assert [request.split(b"loadtest=")[1].strip() for request in here.requests] == [b"token", b"renewed"]
            sender.pool.close()

    run(main)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-encoding:br\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, br\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Encoding: gzip, br\r\nConnection: close\r\n\r\nhello",
    ],
    ids=["length", "chunked", "close-delimited"],
)
def test_bodies_are_kept_where_that_is_wanted(method: str, answer: bytes) -> None:
    async def main() -> list[Answer]:
        async with origin(once(answer, end="close")) as here:
            sender = Sender(here.port, kept=3)
            assert [await sender.send(get(method)) for _ in range(2)] == [200, 200]
            sender.pool.close()
            return sender.outcomes.answers

    for told in run(main):
        assert told.body is not None
        assert told.body[:3] == ((0, b"", b"gzip, br") if method == "HEAD" else (5, b"hel", b"gzip, br"))
        packed = [value for name, value in told.body.fields if name == b"content-encoding"]
        assert b", ".join(packed) == b"gzip, br"


def test_a_kept_body_is_one_answers_own() -> None:
    """On a kept connection each body is by itself, and what follows an answer unasked belongs to none."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000

    async def script(connection: Connection, _here: Origin) -> None:
        for answer in (long, EMPTY, OK, OK + OK):
            await connection.request()
            await connection.say(answer)
        await connection.hang()

    async def main() -> list[Answer]:
        async with origin(script) as here:
            sender = Sender(here.port, kept=1000)
            assert [await sender.send() for _ in range(4)] == [200] * 4
            sender.pool.close()
            return sender.outcomes.answers

    found = [(told.body.size, told.body.start) for told in run(main) if told.body is not None]
    assert found == [(200_000, b"x" * 1000), (0, b""), (5, b"hello"), (5, b"hello")]


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"])
def test_an_answer_may_be_bounded(head: bytes) -> None:
    assert exchange(once(head + b"x" * 400_000, end="hang"), get(), longest=300_000) == (["protocol"], 1, 0)
    assert exchange(once(head + b"x" * 200_000), get(), longest=300_000)[0] in ([200], ["truncated"])


# --- failures ---


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (once(), "closed"),
        (once(end="reset"), "reset"),
        (once(b"HTTP/1.1 200 OK\r\nContent-"), "truncated"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel"), "truncated"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel", end="reset"), "truncated"),
        (once(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", end="reset"), "truncated"),
        (once(CHUNKED[:-5]), "truncated"),
        (once(b"SSH-2.0-OpenSSH\r\n", end="hang"), "protocol"),
        (once(b"\x16\x03\x01\x02\x00", end="hang"), "protocol"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", end="hang"), "protocol"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", end="hang"), "protocol"),
        (once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", end="hang"), "protocol"),
        (once(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", end="hang"), "protocol"),
        (once(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, end="hang"), "protocol"),  # fields without end
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_failure_has_its_kind(script: Script, failure: str, method: str) -> None:
    outcomes, _, left = exchange(script, get(method))
    if method == "HEAD" and outcomes == [200]:
        return  # only the body was broken, and an answer to HEAD has none
    assert (outcomes, left) == ([failure], 0)


@pytest.mark.parametrize(
    "script",
    [
        once(end="hang"),
        once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel", end="hang"),
        answering(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "half", "only-continue"],
)
def test_time_out(script: Script) -> None:
    started = time.monotonic()
    assert exchange(script, get(), timeout=0.2) == (["timeout"], 1, 0)
    assert 0.2 <= time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (once(end="hang"), "first-byte-timeout"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel", end="hang"), "timeout"),
        (answering(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "timeout"),
    ],
    ids=["silence", "half", "only-hints"],
)
def test_the_first_byte_has_a_time_out_of_its_own(script: Script, failure: str) -> None:
    assert exchange(script, get(), timeout=0.3, first_byte_timeout=0.1) == ([failure], 1, 0)


@pytest.mark.parametrize("stays", [True, False])
def test_an_answer_that_comes_before_the_request_is_sent_whole(stays: bool) -> None:
    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        if stays:
            await asyncio.sleep(10)  # reads no more, and does not end either

    async def main() -> None:
        async with origin(script) as here:
            sender = Sender(here.port)
            large = Request(b"POST / HTTP/1.1\r\nbaggage: loadtest=", b"\r\n\r\n" + b"x" * (32 << 20), "POST")
            for _ in range(5):
                assert await sender.send(large) == 413
            assert here.connections == 5  # what is left of the request would be taken for the next one
            sender.pool.close()

    run(main)


@pytest.mark.parametrize("last", [b"0\r\nx: ", b"0;ext=", b"0\r\nx: y\r\n"], ids=["value", "extension", "fields"])
def test_trailers_without_end(last: bytes) -> None:
    async def script(connection: Connection, _here: Origin) -> None:
        await connection.request()
        await connection.say(CHUNKED[:-5] + last)
        while True:
            await connection.say(b"a: b\r\n" * 5000 if last.endswith(b"\n") else b"y" * 30_000)

    assert exchange(script, get()) == (["protocol"], 1, 0)


def test_a_long_chunked_answer_with_trailers_keeps_its_connection() -> None:
    pieces = [b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(40)]
    answer = [CHUNKED[:-5], *pieces, b"0\r\nexpires: never\r\n\r\n"]
    assert exchange(answering(*answer), get(), get()) == ([200, 200], 1, 1)


def test_an_answer_without_end_times_out() -> None:
    async def script(connection: Connection, _here: Origin) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.say(b"x" * 10_000)
            await asyncio.sleep(0.001)

    assert exchange(script, get(), timeout=0.2)[0] == ["timeout"]


def test_nobody_listens() -> None:
    async def main() -> None:
        sender = Sender(free_port())
        assert await sender.send() == "refused"

    run(main)


def test_a_connection_that_is_never_made_times_out() -> None:
    async def main() -> None:
        # A full backlog: the kernel answers no more handshakes.
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            address = listening.getsockname()
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            sender = Sender(address[1], connect_timeout=0.2)
            assert await sender.send() == "connect-timeout"
            sender.pool.close()
            for filler in fillers:
                filler.close()

    run(main)


def test_what_waited_for_its_connection_is_not_sent_once_the_ceiling_has_closed() -> None:
    async def main() -> None:
        async with origin(answering(OK)) as here:
            sender = Sender(here.port)
            sender.outcomes.why_not = "signal"
            assert await sender.send() == "withdrawn:signal"
            await asyncio.sleep(0.05)
            assert here.requests == []
            assert (sender.outcomes.written, sender.pool.in_flight, sender.pool.waiting) == (0, 0, 0)
            # The connection is there for the next one.
            sender.outcomes.why_not = None
            assert await sender.send() == 200
            assert (here.connections, sender.outcomes.written) == (1, 1)
            sender.pool.close()

    run(main)


def test_what_waits_for_its_connection_can_be_given_up() -> None:
    async def main() -> None:
        async with origin(answering(OK)) as here:
            sender = Sender(here.port)
            now = time.monotonic_ns()
            for _ in range(3):
                sender.pool.send(get(), now, now, now)
            assert (sender.pool.in_flight, sender.pool.waiting) == (0, 3)
            assert sender.pool.withdraw() == 3
            await asyncio.sleep(0.05)
            assert (sender.pool.in_flight, sender.pool.waiting, here.requests) == (0, 0, [])
            assert sender.pool.close() == 0

    run(main)


def test_without_a_sidecar_nobody_else_speaks_for_the_guard() -> None:
    answer = b"HTTP/1.1 503 Busy\r\nreamp-withheld: lever\r\nContent-Length: 0\r\n\r\n"
    assert exchange(answering(answer), get(), guarded=False)[0] == [503]
    assert exchange(answering(answer), get())[0] == ["withheld:lever"]


def test_a_name_without_an_address() -> None:
    async def main() -> None:
        sender = Sender(80, host="nowhere.invalid")
        assert await sender.send() == "dns"

    run(main)


# --- stale connections ---


def closing_after_one(end: str) -> Script:
    """Answer one request, and lose the next one on the same connection (as a server does that gives up idle ones)."""

    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(OK)
        await connection.request()
        connection.reset() if end == "reset" else connection.close()

    return script


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_request_lost_on_a_stale_connection_is_sent_once_more(end: str) -> None:
    assert exchange(closing_after_one(end), get(), get(), get()) == ([200, 200, 200], 3, 1)


def test_not_if_the_method_is_not_safe() -> None:
    assert exchange(closing_after_one("close"), get("POST"), get("POST"))[0] == [200, "closed"]


def test_not_without_another_credit() -> None:
    async def main() -> None:
        async with origin(closing_after_one("close")) as here:
            sender = Sender(here.port)
            sender.outcomes.retries = False
            assert [await sender.send(), await sender.send()] == [200, "closed"]
            assert sender.pool.retried == 0
            sender.pool.close()

    run(main)


def test_not_twice() -> None:
    async def script(connection: Connection, here: Origin) -> None:
        await connection.request()
        if here.connections == 1:
            await connection.say(OK)
            await connection.request()

    assert exchange(script, get(), get()) == ([200, "closed"], 2, 0)


def test_a_connection_that_ends_while_idle_is_forgotten() -> None:
    async def main() -> None:
        async with origin(once(OK)) as here:
            sender = Sender(here.port)
            assert await sender.send() == 200
            async with asyncio.timeout(2):
                while sender.pool.idle:
                    await asyncio.sleep(0.005)
            assert await sender.send() == 200
            assert (here.connections, sender.pool.retried) == (2, 0)
            sender.pool.close()

    run(main)


# --- the pool ---


def test_connections_are_bounded_and_each_has_one_request() -> None:
    async def main() -> None:
        active = most = 0

        async def script(connection: Connection, _here: Origin) -> None:
            nonlocal active, most
            while True:
                await connection.request()
                active += 1
                most = max(most, active)
                await asyncio.sleep(0.02)
                active -= 1
                await connection.say(OK)

        async with origin(script) as here:
            sender = Sender(here.port, max_connections=4)
            now = time.monotonic_ns()
            for _ in range(4):
                assert sender.pool.shortage(now) is None
                sender.pool.send(get(), now, now, now)
            assert sender.pool.shortage(now) == "connections"
            assert [await sender.next() for _ in range(4)] == [200] * 4
            assert sender.outcomes.woken >= 1
            assert sender.pool.shortage(now) is None
            assert (here.connections, most) == (4, 4)
            sender.pool.close()

    run(main)


def test_a_dead_target_is_tried_alone_and_ever_more_rarely() -> None:
    async def main() -> None:
        sender = Sender(free_port(), max_connections=64)
        attempts, end = 0, time.monotonic() + 1
        while time.monotonic() < end:
            now = time.monotonic_ns()
            if sender.pool.shortage(now) is None:
                sender.pool.send(get(), now, now, now)
                attempts += 1
            sender.pool.sweep(now)
            await asyncio.sleep(0.001)
        assert 2 <= attempts <= 64 + 8  # at most all at once before the first has failed, then 10, 20, 40, ... ms apart
        assert sender.pool.shortage(time.monotonic_ns()) == "backoff"
        sender.pool.close()

    run(main)


def test_closing_counts_what_stays_without_an_answer() -> None:
    async def main() -> None:
        async with origin(once(end="hang")) as here:
            sender = Sender(here.port)
            now = time.monotonic_ns()
            for _ in range(3):
                sender.pool.send(get(), now, now, now)
            await asyncio.sleep(0.05)
            assert sender.pool.close() == 3
            await asyncio.sleep(0.05)
            assert sender.outcomes.seen.empty()
            assert sender.pool.in_flight == 0

    run(main)


# --- TLS ---


@pytest.mark.parametrize(
    ("certified", "trusting", "name", "outcome"),
    [
        ("127.0.0.1", True, None, 200),
        ("shop.test", True, "shop.test", 200),
        ("shop.test", True, None, "certificate"),
        ("127.0.0.1", False, None, "certificate"),
    ],
    ids=["address", "name", "wrong-name", "unknown-authority"],
)
def test_tls_is_verified(tmp_path: Path, certified: str, trusting: bool, name: str | None, outcome: int | str) -> None:
    trust, serving = certificate(tmp_path, certified)
    context = ssl.create_default_context(cafile=trust if trusting else None)

    async def main() -> None:
        async with origin(answering(OK), serving) as here:
            sender = Sender(here.port, tls=context, server_name=name)
            assert await sender.send() == outcome
            if outcome == 200:
                assert await sender.send() == 200
                assert here.connections == 1
            sender.pool.close()
            await asyncio.sleep(0.02)

    run(main)


def test_plain_http_where_tls_is_expected_and_the_other_way_round(tmp_path: Path) -> None:
    _, serving = certificate(tmp_path, "127.0.0.1")

    async def greeting(connection: Connection, _here: Origin) -> None:
        await connection.reader.read(1)
        await connection.say(b"HTTP/1.1 400 Plain HTTP\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with origin(greeting) as here:
            sender = Sender(here.port, tls=ssl.create_default_context())
            assert await sender.send() == "tls"
            sender.pool.close()
        async with origin(answering(OK), serving) as here:
            sender = Sender(here.port)
            assert await sender.send() in {"closed", "reset", "protocol"}
            sender.pool.close()

    run(main)
