"""HTTP/2 towards an origin of our own, frame by frame: streams side by side, windows, limits, and the end of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop

from replayer.requests.encoding import Request
from replayer.transport import Pool, Target
from replayer.transport.fields import of_request
from replayer.transport.outcomes import Body
from tests.support import frames
from tests.support.authority import Authority
from tests.support.frames import (
    ACK,
    DATA,
    END_STREAM,
    OK,
    PING,
    RST_STREAM,
    SETTINGS,
    Fields,
    Peer,
    frame,
    goaway,
    reset,
)
from tests.support.origin import Connection, Origin, origin
from tests.support.outcomes import Outcomes

Act = Callable[[Peer, Origin], Awaitable[None]]


def request(method: str = "GET", body: bytes = b"", path: str = "/") -> Request:
    length = b"\r\nContent-Length: %d" % len(body) if body else b""
    return Request(
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nbaggage: loadtest=".encode(), length + b"\r\n\r\n" + body, method
    )


class Sender:
    def __init__(self, port: int, **options: Any) -> None:
        self.outcomes = Outcomes()
        settings: dict[str, Any] = {"http2": "always", "timeout": 5.0, "max_connections": 4}
        self.pool = Pool(Target("127.0.0.1", port, **settings | options), self.outcomes, time.monotonic_ns)

    def send(self, *requests: Request) -> None:
        for one in requests:
            now = time.monotonic_ns()
            assert self.pool.shortage(now) is None
            self.pool.send(one, now, now, now)

    async def seen(self, count: int = 1) -> list[int | str]:
        found: list[int | str] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                while self.outcomes.seen.empty():
                    self.pool.sweep(time.monotonic_ns())
                    await asyncio.sleep(0.002)
                found.append(self.outcomes.seen.get_nowait())
        return found


def against(
    act: Act,
    test: Callable[[Sender, Origin], Awaitable[None]],
    greeting: dict[str, int] | None = None,
    **options: Any,
) -> None:
    """Run a test against an origin that does `act` on each connection, once it has greeted."""

    async def script(connection: Connection, here: Origin) -> None:
        peer = Peer(connection)
        await peer.greet(**(greeting or {}))
        await act(peer, here)

    async def main() -> None:
        async with origin(script) as here:
            sender = Sender(here.port, **options)
            await test(sender, here)
            assert (sender.pool.in_flight, sender.pool.waiting, sender.outcomes.seen.qsize()) == (0, 0, 0)
            sender.pool.close()

    uvloop.run(main())


async def answering(peer: Peer, _here: Origin) -> None:
    await peer.answer()


def test_fields_of_a_request() -> None:
    head = b"\r\n".join(
        [
            b"GET /a?b=c HTTP/1.1",
            b"Host: shop.example:8443",
            b"User-Agent: me",
            b"X-Empty:",
            b"TE: gzip",
            b"Cookie: a=1; b=2",
            b"Connection: keep-alive",
            b"Upgrade: x",
            b"baggage: loadtest=token ",
        ]
    )
    assert of_request(head, b"https", trailers=True) == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"shop.example:8443"),
        (b":path", b"/a?b=c"),
        (b"user-agent", b"me"),
        (b"x-empty", b""),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"baggage", b"loadtest=token"),
        (b"te", b"trailers"),
    ]
    assert of_request(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nTE: trailers", b"http")[3:] == [(b":path", b"*")]


def test_who_understood_trailers_says_so() -> None:
    async def act(peer: Peer, here: Origin) -> None:
        while True:
            stream, found = await peer.request()
            here.requests.append(dict(found).get("te", "").encode())
            await peer.say(peer.headers(stream, end=True))

    async def test(sender: Sender, here: Origin) -> None:
        one, other = request(), request()
        one.trailers = True
        sender.send(one, other)
        assert await sender.seen(2) == [200, 200]
        assert here.requests == [b"trailers", b""]

    against(act, test)


def test_requests_are_on_one_connection_side_by_side() -> None:
    """Answered in the reverse order, once all are there."""

    async def act(peer: Peer, here: Origin) -> None:
        streams = []
        for _ in range(50):
            stream, found = await peer.request()
            here.requests.append(dict(found)[":path"].encode())
            streams.append(stream)
        for stream in reversed(streams):
            await peer.say(peer.headers(stream), frame(DATA, END_STREAM, stream, b"hello"))
        await peer.answer()

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(*(request(path=f"/{n}") for n in range(50)))
        assert sender.pool.waiting == 50  # nothing is sent before the settings are there
        assert await sender.seen(50) == [200] * 50
        assert here.requests == [b"/%d" % n for n in range(50)]
        assert here.connections == 1
        sent = [answer.request.prefix.split()[1] for answer in sender.outcomes.answers]
        assert sent == [b"/%d" % n for n in reversed(range(50))]

    against(act, test)


def test_never_more_than_the_other_end_allows() -> None:
    open_now = most = 0

    async def act(peer: Peer, _here: Origin) -> None:
        nonlocal open_now, most

        async def later(stream: int) -> None:
            nonlocal open_now
            await asyncio.sleep(0.01)
            open_now -= 1
            await peer.say(peer.headers(stream, end=True))

        async with asyncio.TaskGroup() as group:
            while True:
                stream, _ = await peer.request()
                open_now += 1
                most = max(most, open_now)
                group.create_task(later(stream))

    async def test(sender: Sender, here: Origin) -> None:
        sent = 0
        while sent < 60:
            if sender.pool.shortage(time.monotonic_ns()) is None:
                sender.send(request())
                sent += 1
            else:
                await asyncio.sleep(0.002)
        assert await sender.seen(60) == [200] * 60
        assert here.connections == 1
        assert most == 7

    against(act, test, {"MAX_CONCURRENT_STREAMS": 7}, max_connections=1)


def test_what_is_over_the_limit_gets_another_connection() -> None:
    async def hold(peer: Peer, here: Origin) -> None:
        stream, _ = await peer.request()
        while here.connections < 3:
            await asyncio.sleep(0.002)
        await peer.say(peer.headers(stream, end=True))
        await peer.answer()

    async def test(sender: Sender, here: Origin) -> None:
        for number in range(3):
            sender.send(request())
            while here.connections < number + 1:
                await asyncio.sleep(0.002)
            while sender.pool.waiting:
                await asyncio.sleep(0.002)
        assert await sender.seen(3) == [200] * 3

    against(hold, test, {"MAX_CONCURRENT_STREAMS": 1}, max_connections=3)


def test_bodies_are_kept_where_that_is_wanted_and_answers_may_be_bounded() -> None:
    async def act(peer: Peer, _here: Origin) -> None:
        fields: Fields = [*OK, ("content-encoding", "gzip"), ("content-encoding", "br")]
        stream, _ = await peer.request()
        await peer.say(peer.headers(stream, fields), frame(DATA, 0, stream, b"he"), frame(DATA, 1, stream, b"llo"))
        stream, _ = await peer.request()
        await peer.say(peer.headers(stream), frame(DATA, 0, stream, bytes(9000)))
        while (await peer.frame())[0] != RST_STREAM:
            pass
        await peer.answer()

    async def test(sender: Sender, here: Origin) -> None:
        found: list[int | str] = []
        for _ in range(3):
            sender.send(request())
            found += await sender.seen()
        assert found == [200, "protocol", 200]
        packed, plain = (answer.body for answer in sender.outcomes.answers)
        kind = (b"content-type", b"text/plain")
        codings = ((b"content-encoding", b"gzip"), (b"content-encoding", b"br"))
        assert (packed, plain) == (Body(5, b"hell", b"gzip, br", (kind, *codings)), Body(5, b"hell", b"", (kind,)))
        assert here.connections == 1

    against(act, test, kept=4, longest=8000)


@pytest.mark.parametrize("window", [0, 1000, 65_535])
def test_a_body_is_sent_as_the_windows_open(window: int) -> None:
    body = bytes(range(256)) * 1200

    async def act(peer: Peer, here: Origin) -> None:
        stream, _ = await peer.request()
        here.requests.append(b"")
        allowed, whole = window, 65_535
        while True:
            if min(allowed, whole) <= 0:
                more = 50_000
                update = more.to_bytes(4)
                await peer.say(
                    frame(frames.WINDOW_UPDATE, 0, stream, update), frame(frames.WINDOW_UPDATE, 0, 0, update)
                )
                allowed, whole = allowed + more, whole + more
            kind, flags, _, payload = await peer.frame()
            if kind == DATA:
                assert len(payload) <= min(allowed, whole, 16_384)
                allowed, whole = allowed - len(payload), whole - len(payload)
                here.requests[0] += payload
                if flags & END_STREAM:
                    break
        await peer.say(peer.headers(stream, end=True))

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(request("POST", body))
        assert await sender.seen() == [200]
        assert here.requests == [body]

    against(act, test, {"INITIAL_WINDOW_SIZE": window})


def test_a_limit_that_is_raised_later_counts() -> None:
    async def act(peer: Peer, _here: Origin) -> None:
        first, _ = await peer.request()
        await peer.say(frames.settings(MAX_CONCURRENT_STREAMS=2))
        second, _ = await peer.request()
        await peer.say(peer.headers(second, end=True), peer.headers(first, end=True))

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(request(), request())
        assert await sender.seen(2) == [200, 200]
        assert here.connections == 1

    against(act, test, {"MAX_CONCURRENT_STREAMS": 1}, max_connections=1)


def test_pings_and_settings_are_acknowledged() -> None:
    async def act(peer: Peer, here: Origin) -> None:
        stream, _ = await peer.request()
        await peer.say(frame(PING, 0, 0, b"12345678") + frames.settings())
        while len(here.requests) < 2:
            kind, flags, _, payload = await peer.frame()
            if flags & ACK and kind in (PING, SETTINGS):
                here.requests.append(payload)
        await peer.say(peer.headers(stream, end=True))

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(request())
        assert await sender.seen() == [200]
        assert here.requests[-2:] == [b"12345678", b""]

    against(act, test)


def test_of_a_connection_that_goes_away_some_are_answered_and_some_are_sent_elsewhere() -> None:
    async def act(peer: Peer, here: Origin) -> None:
        if here.connections > 1:
            await peer.answer()
        streams = [(await peer.request())[0] for _ in range(6)]
        await peer.say(goaway(streams[2]))
        for stream in streams[:3]:
            await asyncio.sleep(0.01)
            await peer.say(peer.headers(stream, end=True))
        await peer.connection.hang()
        here.requests.append(b"it was closed by the other end")

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(*(request() for _ in range(5)), request("POST", b"x"))
        assert sorted(map(str, await sender.seen(6))) == ["200"] * 5 + ["closed"]
        assert sender.pool.retried == 2
        assert "GOAWAY" in sender.pool.reasons["closed"]
        async with asyncio.timeout(5):
            while not here.requests:
                await asyncio.sleep(0.002)

    against(act, test)


def test_a_stale_connection_loses_nothing_that_is_safe() -> None:
    async def act(peer: Peer, here: Origin) -> None:
        if here.connections > 1:
            await peer.answer()
        stream, _ = await peer.request()
        await peer.say(peer.headers(stream, end=True))
        await peer.request()

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(request())
        assert await sender.seen() == [200]
        sender.send(request("POST", b"x"), request(), request())
        assert sorted(map(str, await sender.seen(3))) == ["200", "200", "closed"]
        assert here.connections >= 2

    against(act, test)


def test_whoever_turns_connections_down_gets_fewer_and_fewer() -> None:
    async def act(peer: Peer, here: Origin) -> None:
        stream, _ = await peer.request()
        if here.connections > 4:
            await peer.say(peer.headers(stream, end=True))
            await peer.connection.hang()
        await peer.say(goaway(0, 11))  # ENHANCE_YOUR_CALM
        await peer.connection.hang()

    async def test(sender: Sender, here: Origin) -> None:
        opened: list[float] = []
        for _ in range(3):  # the first one is sent again at once
            async with asyncio.timeout(5):
                while sender.pool.shortage(time.monotonic_ns()) == "backoff":
                    await asyncio.sleep(0.002)
            opened.append(time.monotonic())
            sender.send(request())
            assert await sender.seen() == ["closed"]
        pauses = [later - sooner for sooner, later in pairwise(opened)]
        assert all(pause >= least for pause, least in zip(pauses, (0.02, 0.04), strict=True)), pauses
        assert (sender.pool.retried, here.connections) == (1, 4)
        await asyncio.sleep(0.1)  # the next pause
        sender.send(request())
        assert await sender.seen() == [200]

    against(act, test)


def test_without_credit_nothing_is_sent_again() -> None:
    async def act(peer: Peer, _here: Origin) -> None:
        await peer.request()
        await peer.say(goaway(0))

    async def test(sender: Sender, _here: Origin) -> None:
        sender.outcomes.retries = False
        sender.send(request())
        assert await sender.seen() == ["closed"]

    against(act, test)


@pytest.mark.parametrize(("reason", "status"), [("credit", "429"), ("lever", "503"), ("tag", "403")])
def test_the_sidecars_answer_is_withheld(reason: str, status: str) -> None:
    fields: Fields = [(":status", status), ("reamp-withheld", reason)]

    async def act(peer: Peer, _here: Origin) -> None:
        stream, _ = await peer.request()
        await peer.say(peer.headers(stream, fields, end=True))

    async def test(sender: Sender, _here: Origin) -> None:
        sender.send(request())
        assert await sender.seen() == [f"withheld:{reason}"]

    against(act, test)


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        (lambda _, s: reset(s, 2), "reset"),
        (lambda p, s: p.headers(s) + reset(s, 2), "truncated"),
        (lambda p, s: p.headers(s, [("server", "x")], end=True), "protocol"),
        (lambda p, s: p.headers(s, [*OK, ("Upper", "x")], end=True), "protocol"),
        (lambda p, s: p.headers(s, [*OK, ("content-length", "3")]) + frame(DATA, END_STREAM, s, b"hello"), "protocol"),
        (lambda p, s: p.headers(s, [*OK, ("content-length", "9")]) + frame(DATA, END_STREAM, s, b"hello"), "truncated"),
        (lambda *_: b"", "first-byte-timeout"),
    ],
    ids=["reset", "cut", "no status", "large letter", "too long", "too short", "nothing"],
)
def test_a_stream_that_goes_wrong_leaves_the_others_alone(wrong: Callable[[Peer, int], bytes], failure: str) -> None:
    async def act(peer: Peer, here: Origin) -> None:
        (first, _), (second, _), (third, _) = [await peer.request() for _ in range(3)]
        await peer.say(peer.headers(first), wrong(peer, second), peer.headers(third))
        if "timeout" in failure:
            while (await peer.frame())[0] != RST_STREAM:
                pass
        here.requests.append(b"")
        await peer.say(frame(DATA, END_STREAM, first, b"hello"), frame(DATA, END_STREAM, third, b"hello"))
        await peer.answer()

    async def test(sender: Sender, here: Origin) -> None:
        sender.send(request(), request(), request())
        assert sorted(map(str, await sender.seen(3))) == ["200", "200", failure]
        sender.send(request())
        assert await sender.seen() == [200]
        assert here.connections == 1

    options: dict[str, Any] = {"first_byte_timeout": 0.2} if failure == "first-byte-timeout" else {}
    against(act, test, **options)


@pytest.mark.parametrize(
    ("offered", "http2", "spoken", "connections"),
    [
        (("h2", "http/1.1"), "auto", "h2", 1),
        (("http/1.1",), "auto", "http/1.1", 4),
        ((), "auto", None, 4),
        (("h2", "http/1.1"), "always", "h2", 1),
        (("h2", "http/1.1"), "never", "http/1.1", 4),
    ],
)
def test_what_is_spoken_over_tls(
    tmp_path: Path, offered: tuple[str, ...], http2: str, spoken: str | None, connections: int
) -> None:
    """One connection is opened to find out; requests that came meanwhile share it, or get one each."""
    authority = Authority(tmp_path)
    asked = {"auto": ("h2", "http/1.1"), "always": ("h2",), "never": ("http/1.1",)}[http2]
    agreed = set()

    async def script(connection: Connection, _here: Origin) -> None:
        agreed.add(connection.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        if "h2" in agreed:
            peer = Peer(connection)
            await peer.greet()
            await peer.answer()
        while True:
            await connection.request()
            await asyncio.sleep(0.05)
            await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with origin(script, authority.serving(authority.issue("served", "127.0.0.1"), *offered)) as here:
            sender = Sender(here.port, tls=authority.trusting(*asked), http2=http2)
            sender.send(*(request() for _ in range(4)))
            assert await sender.seen(4) == [200] * 4
            assert agreed == {spoken}
            assert here.connections == connections
            sender.pool.close()

    uvloop.run(main())
