"""The fast lane on real sockets, with an app of raw bytes behind it."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import http

from addons.passage import KIND
from tests.support.inprocess import App, answering, sidecar
from tests.support.processes import free_port

GET = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Log:
    """Notes the hooks that are called, and whether the full lane carries a connection."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.seen.append(f"requestheaders {flow.request.method} {flow.request.path}")

    def request(self, flow: http.HTTPFlow) -> None:
        self.seen.append(f"request {flow.request.raw_content!r}")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        self.seen.append(f"responseheaders {flow.response.status_code}")

    def response(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        self.seen.append(f"response {flow.response.raw_content!r}")

    def error(self, flow: http.HTTPFlow) -> None:
        self.seen.append(f"error {flow.error}")


async def test_requests_one_after_the_other_share_both_connections() -> None:
    log, app = Log(), App(answering(OK))
    async with app.running() as port, sidecar(port, log) as proxy:
        reader, writer = await proxy.connect()
        for _ in range(5):
            writer.write(GET)
            assert await reader.readexactly(len(OK)) == OK
        writer.close()
    assert app.received == [GET * 5]
    assert log.seen == ["requestheaders GET /a", "request b''", "responseheaders 200", "response b'ok'"] * 5


async def test_pipelined_requests_are_answered_in_order() -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n for n in range(4)]
    app = App(answering(*answers))
    async with app.running() as port, sidecar(port) as proxy:
        got = await proxy.ask(GET * 3 + LAST)
    assert [got.index(b"\r\n\r\n%d" % n) for n in range(4)] == sorted(got.index(b"\r\n\r\n%d" % n) for n in range(4))
    assert got.endswith(b"Connection: close\r\n\r\n3")


@pytest.mark.parametrize("size", [1, 7])
async def test_a_request_that_comes_in_drops_is_the_same(size: int) -> None:
    request = b"POST /drops HTTP/1.1\r\nHost: shop\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world"

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        await app.body(reader, 11)
        writer.write(OK)

    app = App(serve)
    async with app.running() as port, sidecar(port) as proxy:
        reader, writer = await proxy.connect()
        for at in range(0, len(request), size):
            writer.write(request[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).endswith(b"ok")
        writer.close()
    assert app.received == [request.replace(b"Connection: close\r\n", b"")]


async def test_a_client_that_closes_its_half_gets_its_answers() -> None:
    app = App(answering(OK))
    async with app.running() as port, sidecar(port) as proxy:
        assert await proxy.ask(GET + GET, half_close=True) == OK + OK


async def test_an_answer_before_the_whole_request_arrives_and_ends_the_connection() -> None:
    head = b"POST /big HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n"

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read(1)

    app, log = App(serve), Log()

    class Stream:
        def requestheaders(self, flow: http.HTTPFlow) -> None:
            flow.request.stream = True

    async with app.running() as port, sidecar(port, log, Stream()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(head + b"x" * 1000)
        async with asyncio.timeout(5):
            got = await reader.readuntil(b"big")
        assert got.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        assert b"Connection: close\r\n" in got
        writer.write(b"x" * 1000)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    assert log.seen == ["requestheaders POST /big", "responseheaders 413", "response b'big'"]


async def test_a_kept_connection_that_the_app_has_closed_is_tried_anew_for_what_is_safe() -> None:
    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(OK)
        await app.head(reader)  # the second one is read, and never answered

    app, log = App(serve), Log()
    async with app.running() as port, sidecar(port, log) as proxy:
        reader, writer = await proxy.connect()
        for _ in range(3):
            writer.write(GET)
            assert await reader.readexactly(len(OK)) == OK
        writer.write(GET.replace(b"GET", b"POST"))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 502")
        writer.close()
    assert [received.count(b"POST") for received in app.received] == [0, 0, 1]
    assert log.seen[-1].startswith("error ")


async def _gone_while_it_is_answered(leave: Callable[[asyncio.StreamWriter], None]) -> list[bytes]:
    """Give what an app gets that ends its connection as soon as the client has left, on a connection it had kept."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(OK)
        await app.head(reader)
        asked.set()
        await reader.read()  # as uvicorn does: no client, no answer

    class End:
        def response(self, flow: http.HTTPFlow) -> None:
            if flow.request.path == "/last":
                ended.set()

        def error(self, flow: http.HTTPFlow) -> None:
            ended.set()

    app = App(serve)
    async with app.running() as port, sidecar(port, End()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        writer.write(LAST)
        async with asyncio.timeout(5):
            await asked.wait()
            leave(writer)
            await ended.wait()
        writer.close()
    return app.received


@pytest.mark.parametrize("leave", [asyncio.StreamWriter.close, asyncio.StreamWriter.write_eof])
async def test_what_a_client_has_given_up_is_not_sent_to_the_app_again(
    leave: Callable[[asyncio.StreamWriter], None],
) -> None:
    received = await _gone_while_it_is_answered(leave)
    assert sum(connection.count(b"/last") for connection in received) == 1


async def test_what_a_credit_was_spent_for_is_never_sent_twice() -> None:
    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(OK)
        await app.head(reader)  # the second one is read: whether it has begun to work on it, nobody can tell

    class Synthetic:
        def requestheaders(self, flow: http.HTTPFlow) -> None:
            flow.metadata[KIND] = "synthetic" if flow.request.path == "/last" else "real"

    app = App(serve)
    async with app.running() as port, sidecar(port, Synthetic()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        writer.write(LAST)
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 502")
        writer.close()
    assert sum(connection.count(b"/last") for connection in app.received) == 1


async def test_no_app_is_a_502_and_the_connection_goes_on() -> None:
    log = Log()
    async with sidecar(free_port(), log) as proxy:
        got = await proxy.ask(GET + GET + LAST)
    assert got.count(b"HTTP/1.1 502 Bad Gateway\r\n") == 3
    assert sum(line.startswith("error ") for line in log.seen) == 3


async def test_an_app_that_never_answers_is_a_504() -> None:
    async def serve(app: App, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        await reader.read()

    log = Log()
    async with App(serve).running() as port, sidecar(port, log, reamp_upstream_timeout="100ms") as proxy:
        assert (await proxy.ask(LAST)).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert log.seen[-1] == "error The app did not answer in time."


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with App(answering(OK)).running() as port, sidecar(port, reamp_client_timeout="100ms") as proxy:
        assert await proxy.ask(b"") == b""
        assert await proxy.ask(b"GET / HT") == b""
        body = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n\r\nhel"
        assert (await proxy.ask(body)).startswith(b"HTTP/1.1 408")


async def test_the_app_is_told_that_a_client_has_gone() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def serve(app: App, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            closed.set()

    log = Log()
    async with App(serve).running() as port, sidecar(port, log) as proxy:
        _, writer = await proxy.connect()
        writer.write(GET)
        await asyncio.wait_for(asked.wait(), 5)
        writer.transport.abort()
        await asyncio.wait_for(closed.wait(), 5)
        await _ends_in_error(log)


async def test_a_client_that_resets_its_connection_ends_the_wait_for_the_app() -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def serve(app: App, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            closed.set()

    log = Log()
    async with App(serve).running() as port, sidecar(port, log) as proxy:
        _, writer = await proxy.connect()
        writer.write(GET)
        await asyncio.wait_for(asked.wait(), 5)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.wait_for(closed.wait(), 5)
        await _ends_in_error(log)
    assert log.seen[-1] == "error Client disconnected."


async def _ends_in_error(log: Log) -> None:
    async with asyncio.timeout(5):
        while not log.seen[-1].startswith("error"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nSum: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n",
        ),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_answers_are_framed_for_the_next_one(answer: bytes, expected: bytes, streamed: bool) -> None:
    """Two on one connection: the second one shows that the first has ended where it should."""

    class Stream:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = streamed

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await app.head(reader)
            writer.write(answer)
            if b"Connection: close" in answer:
                return

    async with App(serve).running() as port, sidecar(port, Stream()) as proxy:
        assert await proxy.ask(GET + GET, half_close=True) == expected + expected


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_ends_with_its_connection(streamed: bool) -> None:
    class Stream:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = streamed

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    async with App(serve).running() as port, sidecar(port, Stream()) as proxy:
        got = await proxy.ask(GET, half_close=True)
    assert got.endswith(b"\r\n\r\nuntil the end")
    assert (b"Connection: close" in got) == streamed
    assert (b"Content-Length: 13" in got) != streamed


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_half_an_answer_is_never_taken_for_a_whole_one(answer: bytes, streamed: bool) -> None:
    class Stream:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = streamed

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(answer)
        await writer.drain()

    log = Log()
    async with App(serve).running() as port, sidecar(port, log, Stream()) as proxy:
        got = await proxy.ask(GET, half_close=True)
    if streamed and b"nonsense" not in answer:
        assert got.startswith(b"HTTP/1.1 200")
        assert not got.endswith(b"0\r\n\r\n")
        assert got.count(b"HTTP/1.1") == 1
    else:
        assert got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert log.seen[-1].startswith("error ")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
    ],
)
async def test_answers_that_are_no_http_are_a_502(answer: bytes) -> None:
    async with App(answering(answer)).running() as port, sidecar(port) as proxy:
        assert (await proxy.ask(LAST)).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


async def test_a_slow_reader_holds_the_app_back() -> None:
    """What a client does not read is not collected in memory."""
    size, sent = 64 << 20, 0

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await app.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            writer.write(b"x" * (1 << 16))
            await writer.drain()
            sent += 1 << 16

    class Stream:
        def responseheaders(self, flow: http.HTTPFlow) -> None:
            assert flow.response
            flow.response.stream = True

    async with App(serve).running() as port, sidecar(port, Stream()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while sent != before:  # until the app is held back
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size // 2
        async with asyncio.timeout(30):
            assert len(await reader.readexactly(size)) == size
        writer.close()


async def test_an_app_that_does_not_read_holds_the_client_back() -> None:
    go = asyncio.Event()
    size = 32 << 20

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        await go.wait()
        for _ in range(size >> 16):
            await reader.readexactly(1 << 16)
        writer.write(OK)

    class Stream:
        def requestheaders(self, flow: http.HTTPFlow) -> None:
            flow.request.stream = True

    async with App(serve).running() as port, sidecar(port, Stream()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(size >> 16):
                writer.write(b"x" * (1 << 16))
                await writer.drain()
                sent += 1 << 16

        sending = asyncio.create_task(send())
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size // 2
        go.set()
        await asyncio.wait_for(sending, 30)
        assert await asyncio.wait_for(reader.readexactly(len(OK)), 10) == OK
        writer.close()


@pytest.mark.parametrize(
    "odd",
    [
        b"GET /odd HTTP/1.0\r\nHost: shop\r\n\r\n",
        b"GET http://shop/odd HTTP/1.1\r\nHost: shop\r\n\r\n",
        b"GET /odd HTTP/1.1\r\nHost: shop\r\nX: \r\n\r\n",
        b"GET /odd HTTP/1.1\nHost: shop\n\n",
    ],
)
async def test_what_is_odd_goes_to_the_other_lane_even_in_the_middle(odd: bytes) -> None:
    """The add-ons can't tell: one client, one connection, the same hooks."""

    class Clients:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str]] = []

        def client_connected(self, client: Any) -> None:
            self.seen.append(("connected", client.id))

        def client_disconnected(self, client: Any) -> None:
            self.seen.append(("disconnected", client.id))

        def request(self, flow: http.HTTPFlow) -> None:
            self.seen.append((flow.request.path, flow.client_conn.id))

    clients, app = Clients(), App(answering(OK))
    async with app.running() as port, sidecar(port, clients) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        writer.write(odd)
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"ok")).endswith(b"\r\n\r\nok")
        writer.close()
        async with asyncio.timeout(5):
            while clients.seen[-1][0] != "disconnected":
                await asyncio.sleep(0.01)
    names, ids = zip(*clients.seen, strict=True)
    assert names == ("connected", "/a", "/odd", "disconnected")
    assert len(set(ids)) == 1


@pytest.mark.parametrize("name", ["requestheaders", "request", "responseheaders", "response"])
async def test_a_flow_may_be_intercepted_in_any_hook(name: str) -> None:
    caught: asyncio.Queue[http.HTTPFlow] = asyncio.Queue()

    def hook(flow: http.HTTPFlow) -> None:
        flow.intercept()
        caught.put_nowait(flow)

    addon = type("Intercept", (), {name: staticmethod(hook)})()
    async with App(answering(OK)).running() as port, sidecar(port, addon) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        flow = await asyncio.wait_for(caught.get(), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.05)
        flow.resume()
        assert await asyncio.wait_for(reader.readexactly(len(OK)), 5) == OK
        writer.close()


async def test_told_to_drain_answers_end_their_connections() -> None:
    app = App(answering(OK))
    async with app.running() as port, sidecar(port) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        assert await reader.readexactly(len(OK)) == OK
        idle, other = await proxy.connect()
        proxy.lanes.drain(hurried=False)
        writer.write(GET)
        assert b"Connection: close\r\n" in await asyncio.wait_for(reader.read(), 5)
        proxy.lanes.drain()
        assert await asyncio.wait_for(idle.read(), 5) == b""
        writer.close()
        other.close()
    assert proxy.lanes.busy == 0


class Replace:
    """Puts other messages in the place of those that came."""

    def __init__(self, hook: str) -> None:
        self._hook = hook
        setattr(self, hook, getattr(self, f"_in_{hook}"))

    def _in_requestheaders(self, flow: http.HTTPFlow) -> None:
        flow.request = http.Request.make("GET", flow.request.url.replace("/a", "/other"))

    _in_request = _in_requestheaders

    def _in_responseheaders(self, flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(203, b"another answer", {"X-Other": "1"})

    _in_response = _in_responseheaders


@pytest.mark.parametrize("name", ["requestheaders", "request"])
async def test_an_add_on_may_put_another_request_in_its_place(name: str) -> None:
    app = App(answering(OK))
    async with app.running() as port, sidecar(port, Replace(name)) as proxy:
        assert await proxy.ask(GET, half_close=True) == OK
    (received,) = app.received
    assert received.startswith(b"GET /other HTTP/1.1\r\n")


@pytest.mark.parametrize(("name", "content"), [("responseheaders", b"ok"), ("response", b"another answer")])
async def test_an_add_on_may_put_another_answer_in_its_place(name: str, content: bytes) -> None:
    """One that it makes while the answer's body is still to come gets that body, as in mitmproxy."""
    async with App(answering(OK)).running() as port, sidecar(port, Replace(name)) as proxy:
        got = await proxy.ask(GET + LAST)
    first, second = got.split(b"HTTP/1.1 203 ")[1:]
    for one in (first, second):
        assert b"X-Other: 1\r\n" in one
        assert b"content-length: %d\r\n" % len(content) in one.lower()
        assert one.endswith(b"\r\n\r\n" + content)
