"""Faults on every side: each flow comes to exactly one end, and nobody gets what is somebody else's."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.exceptions import OptionsError
from mitmproxy.flow import Error

from addons.fastlane.head import MAX_HEAD, read_request
from addons.fastlane.link import READ_AHEAD
from addons.fastlane.phases import Phase
from tests.support.inprocess import App, Sidecar, answering, sidecar
from tests.support.processes import free_port

GET = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Account:
    """Counts how flows begin and end."""

    def __init__(self) -> None:
        self.begun = self.answered = self.failed = 0
        self.errors: list[str] = []

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.begun += 1

    def response(self, flow: http.HTTPFlow) -> None:
        self.answered += 1

    def error(self, flow: http.HTTPFlow) -> None:
        self.failed += 1
        self.errors.append(str(flow.error))

    @property
    def open(self) -> int:
        """Flows that have begun and not ended."""
        return self.begun - self.answered - self.failed

    async def settled(self) -> None:
        """Wait until all have ended."""
        async with asyncio.timeout(5):
            while not self.begun or self.open:
                await asyncio.sleep(0.01)


class Hook:
    """An add-on of one function."""

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        self.name = name
        setattr(self, name, function)


def streaming(flow: http.HTTPFlow) -> None:
    """Stream the request."""
    flow.request.stream = True


async def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def gone(proxy: Sidecar) -> None:
    """Wait until no connection is left."""
    await until(lambda: not proxy.lane.connections)


# --- what add-ons do ---


def raises(error: BaseException) -> Callable[[Any], Any]:
    """Make a function that raises."""

    def function(_: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize("error", [TypeError("odd"), ValueError("odd"), KeyError("odd")])
@pytest.mark.parametrize("side", ["request", "response"])
async def test_a_stream_function_that_raises_ends_its_flow(error: Exception, side: str) -> None:
    account = Account()

    def requestheaders(flow: http.HTTPFlow) -> None:
        flow.request.stream = raises(error) if side == "request" else True

    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = raises(error) if side == "response" else True

    addons = Hook("requestheaders", requestheaders), Hook("responseheaders", responseheaders)

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await app.head(reader)
            await app.body(reader, 5)
            writer.write(OK)

    async with App(serve).running() as port, sidecar(port, account, *addons) as proxy:
        await proxy.ask(POST + POST, half_close=True)
        await gone(proxy)
    assert (account.open, account.answered) == (0, 0)


@pytest.mark.parametrize("name", ["requestheaders", "request", "responseheaders", "response"])
@pytest.mark.parametrize("error", [OptionsError("odd"), asyncio.CancelledError()])
async def test_a_hook_that_breaks_ends_its_flow(name: str, error: BaseException) -> None:
    account = Account()

    async def breaks(_: Any) -> None:
        await asyncio.sleep(0)
        raise error

    async with App(answering(OK)).running() as port, sidecar(port, account, Hook(name, breaks)) as proxy:
        await proxy.ask(LAST)
        await gone(proxy)
    assert (account.begun, account.open) == (1, 0)


@pytest.mark.parametrize("name", ["requestheaders", "request", "responseheaders", "response"])
async def test_a_flow_that_is_killed_while_it_is_intercepted_ends(name: str) -> None:
    account, caught = Account(), asyncio.Queue[http.HTTPFlow]()

    def intercept(flow: http.HTTPFlow) -> None:
        flow.intercept()
        caught.put_nowait(flow)

    async with App(answering(OK)).running() as port, sidecar(port, account, Hook(name, intercept)) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        flow = await asyncio.wait_for(caught.get(), 5)
        await asyncio.sleep(0)
        flow.kill()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    assert (account.begun, account.open) == (1, 0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("asked", "sent"), [("GET", "HEAD"), ("HEAD", "GET")])
async def test_an_answer_is_read_by_the_method_the_app_was_asked_with(asked: str, sent: str, streamed: bool) -> None:
    """And framed by the one that the client has used."""

    def request(flow: http.HTTPFlow) -> None:
        flow.request.method = sent

    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = streamed

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await app.head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
            if head.startswith(b"GET"):
                writer.write(b"ok")

    app = App(serve)
    addons = Hook("request", request), Hook("responseheaders", responseheaders)
    async with app.running() as port, sidecar(port, *addons, reamp_upstream_timeout="500ms") as proxy:
        got = await proxy.ask((GET + LAST).replace(b"GET", asked.encode()))
    assert len(app.received) == 1
    first, second = got.split(b"HTTP/1.1 200 OK\r\n")[1:]
    for one in (first, second):
        head, _, body = one.partition(b"\r\n\r\n")
        assert body == b""
        assert asked == "HEAD" or b"content-length: 0" in head.lower()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_an_add_on_makes_one_without_body_has_none(status: int) -> None:
    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.status_code = status
        flow.response.stream = True

    async with App(answering(OK)).running() as port, sidecar(port, Hook("responseheaders", responseheaders)) as proxy:
        got = await proxy.ask(GET + LAST)
    assert b"ok" not in got
    assert got.count(b"HTTP/1.1 %d " % status) == 2


async def test_both_framings_are_never_written_at_once() -> None:
    def requestheaders(flow: http.HTTPFlow) -> None:
        flow.request.headers["Content-Length"] = "3"
        flow.request.stream = "stream" in flow.request.path

    def response(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.headers["Content-Length"] = "3"

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await app.head(reader)
            await app.body(reader, len(b"5\r\nhello\r\n0\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    app = App(serve)
    body = b"5\r\nhello\r\n0\r\n\r\n"
    addons = Hook("requestheaders", requestheaders), Hook("response", response)
    async with app.running() as port, sidecar(port, *addons) as proxy:
        got = await proxy.ask((CHUNKED + body) + (CHUNKED.replace(b"/c", b"/stream") + body), half_close=True)
    assert b"content-length" not in got.lower()
    assert all(b"content-length" not in received.lower() for received in app.received)


# --- trailers ---


@pytest.mark.parametrize("streamed", [False, True])
async def test_trailers_carry_nothing_that_has_to_be_known_before(streamed: bool) -> None:
    forbidden = (b"Content-Length", b"transfer-encoding", b"HOST", b"Baggage", b"X-Load-Test", b"x_load_test")
    trailers = b"".join(b"%b: 1\r\n" % name for name in (*forbidden, b"Authorization", b"Connection", b"Sum"))
    body = b"5\r\nhello\r\n0\r\n"

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        await app.body(reader, len(b"5\r\nhello\r\n"))
        await app.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + trailers + b"\r\n")

    def requestheaders(flow: http.HTTPFlow) -> None:
        flow.request.stream = streamed

    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = streamed

    app = App(serve)
    addons = Hook("requestheaders", requestheaders), Hook("responseheaders", responseheaders)
    async with app.running() as port, sidecar(port, *addons) as proxy:
        got = await proxy.ask(CHUNKED + body + trailers + b"\r\n", half_close=True)
    (received,) = app.received
    for one in (received, got):
        assert one.endswith(body + b"Sum: 1\r\n\r\n")


# --- memory and time ---


async def test_a_client_that_sends_requests_without_end_is_held_back() -> None:
    sent, most = 0, 0

    class Watch:
        def response(self, flow: http.HTTPFlow) -> None:
            nonlocal most
            for connection in proxy.lane.connections:
                most = max(most, len(connection.data))

    async with App(answering(OK)).running() as port, sidecar(port, Watch()) as proxy:
        reader, writer = await proxy.connect()

        async def send() -> None:
            nonlocal sent
            while True:
                writer.write(GET * 2000)
                await writer.drain()
                sent += 1

        sending = asyncio.create_task(send())
        for _ in range(1000):
            await asyncio.wait_for(reader.readexactly(len(OK)), 5)
        sending.cancel()
        writer.transport.abort()
        await gone(proxy)
    assert READ_AHEAD < most <= 3 * READ_AHEAD


async def test_error_pages_that_nobody_reads_are_not_collected() -> None:
    account = Account()
    async with sidecar(free_port(), account) as proxy:
        reader, writer = await proxy.connect()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
        (connection,) = proxy.lane.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.write(GET * 4000)
        before = -1
        while account.failed != before:
            before = account.failed
            await asyncio.sleep(0.2)
        assert account.failed < 4000
        assert connection.transport.get_write_buffer_size() < 100_000
        writer.transport.resume_reading()  # type: ignore[attr-defined] # as above
        writer.write_eof()
        got = await asyncio.wait_for(reader.read(), 20)
        assert got.count(b"HTTP/1.1 502 ") == 4000
        writer.close()


def test_a_head_in_drops_costs_no_more_than_its_bytes() -> None:
    """64 KiB, byte by byte: looked through anew each time, this takes many seconds."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: yyyyyyyyyy\r\n" * 4000
    assert len(head) < MAX_HEAD
    began = time.process_time()
    for size in range(1, len(head)):
        read_request(head[:size], size - 1)
    assert time.process_time() - began < 3


# --- connections that break ---


@pytest.mark.parametrize("body", ["whole", "streamed"])
async def test_a_body_that_was_not_read_is_never_taken_for_a_request(body: str) -> None:
    """The app can't be reached, or a hook fails, before any of it was asked for."""
    account = Account()
    inner = b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"

    async def requestheaders(flow: http.HTTPFlow) -> None:
        await asyncio.sleep(0)
        flow.request.stream = body == "streamed"
        if body == "whole":
            raise asyncio.CancelledError

    async with sidecar(free_port(), account, Hook("requestheaders", requestheaders)) as proxy:
        got = await proxy.ask(POST.replace(b"5", b"%d" % len(inner)).replace(b"hello", inner) + LAST)
    assert got.count(b"HTTP/1.1 ") == got.count(b"HTTP/1.1 502 ") == 1
    assert b"Connection: close\r\n" in got
    assert (account.begun, account.failed) == (1, 1)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_without_length_that_is_reset_is_not_a_whole_one(streamed: bool) -> None:
    account = Account()

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = streamed

    async with App(serve).running() as port:
        async with sidecar(port, account, Hook("responseheaders", responseheaders)) as proxy:
            with contextlib.suppress(ConnectionError):
                got = await proxy.ask(LAST)
                assert got.startswith(b"HTTP/1.1 200") == streamed
            await gone(proxy)
    assert (account.failed, account.answered) == (1, 0)


async def test_an_app_that_goes_while_an_add_on_is_asked_about_its_connection_is_a_502() -> None:
    account, closed = Account(), asyncio.Event()

    async def serve(_app: App, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)
        closed.set()

    async def server_connected(_: Any) -> None:
        await closed.wait()
        await asyncio.sleep(0.05)

    async with App(serve).running() as port:
        async with sidecar(port, account, Hook("server_connected", server_connected)) as proxy:
            assert (await proxy.ask(LAST)).startswith(b"HTTP/1.1 502")
    assert (account.failed, account.open) == (1, 0)


async def test_an_app_that_is_gone_when_the_client_ends_its_half_is_a_502() -> None:
    account, asked = Account(), asyncio.Event()
    apps: list[asyncio.StreamWriter] = []

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        apps.append(writer)
        asked.set()
        await asyncio.Event().wait()

    async with App(serve).running() as port, sidecar(port, account) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        await asked.wait()
        writer.write_eof()
        reset(apps[0])
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 502")
        writer.close()
    assert (account.failed, account.open) == (1, 0)


async def test_a_long_answer_that_waits_for_an_add_on_leaves_its_connection_usable() -> None:
    size = READ_AHEAD + 50_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    app = App(answering(answer))

    async def responseheaders(_: http.HTTPFlow) -> None:
        await asyncio.sleep(0.1)

    addon = Hook("responseheaders", responseheaders)
    async with app.running() as port, sidecar(port, addon, reamp_upstream_timeout="1s") as proxy:
        for _ in range(3):
            reader, writer = await proxy.connect()
            writer.write(GET)
            assert await asyncio.wait_for(reader.readexactly(len(answer)), 5) == answer
            writer.close()


async def test_a_client_that_has_ended_its_half_is_answered_by_the_other_lane_too() -> None:
    async def request(_: http.HTTPFlow) -> None:
        await asyncio.sleep(0)

    async with App(answering(OK)).running() as port, sidecar(port, Hook("request", request)) as proxy:
        got = await proxy.ask(GET + b"nonsense\r\n\r\n", half_close=True)
    assert got.startswith(OK + b"HTTP/1.1 400 ")


async def test_a_client_that_never_reads_its_last_answer_is_let_go() -> None:
    async def response(_: http.HTTPFlow) -> None:
        await asyncio.sleep(0)

    big = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000
    async with App(answering(big)).running() as port:
        async with sidecar(port, Hook("response", response), reamp_client_timeout="200ms") as proxy:
            narrow = socket.socket()
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            narrow.connect(("127.0.0.1", proxy.port))
            _, writer = await asyncio.open_connection(sock=narrow)
            writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
            await until(lambda: proxy.lane.connections)
            (connection,) = proxy.lane.connections
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
            writer.write(LAST)
            await until(lambda: connection.phase.name != "IDLE")
            await gone(proxy)
            writer.close()


async def test_a_server_may_be_chosen_when_it_is_connected_to() -> None:
    app = App(answering(OK))
    async with app.running() as port:

        def server_connect(data: Any) -> None:
            data.server.address = ("127.0.0.1", port)

        async with sidecar(9, Hook("server_connect", server_connect)) as proxy:
            assert (await proxy.ask(LAST)).endswith(b"ok")


async def test_a_host_that_can_t_be_one_is_a_502() -> None:
    account = Account()

    def request(flow: http.HTTPFlow) -> None:
        flow.request.host = "a" * 80 + ".example"

    failed: list[str] = []
    addons = Hook("request", request), Hook("server_connect_error", lambda data: failed.append(data.server.error))
    async with App(answering(OK)).running() as port, sidecar(port, account, *addons) as proxy:
        assert (await proxy.ask(LAST)).startswith(b"HTTP/1.1 502")
    assert (account.failed, account.open, len(failed)) == (1, 0, 1)


async def test_a_204_can_t_be_chunked() -> None:
    answer = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with App(answering(answer)).running() as port, sidecar(port) as proxy:
        assert (await proxy.ask(LAST)).startswith(b"HTTP/1.1 502")


async def test_draining_tells_the_client_in_the_answer_that_is_under_way() -> None:
    go, asked = asyncio.Event(), asyncio.Event()

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        asked.set()
        await go.wait()
        writer.write(OK)

    async with App(serve).running() as port, sidecar(port) as proxy:
        reader, writer = await proxy.connect()
        writer.write(GET)
        await asked.wait()
        proxy.lanes.drain()
        go.set()
        assert b"Connection: close\r\n" in await asyncio.wait_for(reader.read(), 5)
        writer.close()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("coding", "end"),
    [
        (b"identity", b"\r\n\r\nbody"),
        (b"gzip", b"Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
    ],
)
async def test_codings_other_than_chunked(coding: bytes, end: bytes, streamed: bool) -> None:
    def responseheaders(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = streamed

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: %b\r\n\r\nbody" % coding)

    async with App(serve).running() as port, sidecar(port, Hook("responseheaders", responseheaders)) as proxy:
        got = await proxy.ask(LAST)
    assert got.endswith(end)


async def test_an_early_answer_of_an_app_that_goes_is_not_lost() -> None:
    account = Account()

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await app.head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read(1)

    async with App(serve).running() as port, sidecar(port, account, Hook("requestheaders", streaming)) as proxy:
        for _ in range(10):
            reader, writer = await proxy.connect()
            writer.write(b"POST /big HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    writer.write(b"x" * 16384)
                    await writer.drain()
            assert (await asyncio.wait_for(reader.readuntil(b"big"), 5)).startswith(b"HTTP/1.1 413 ")
            writer.transport.abort()
        await gone(proxy)
    assert (account.answered, account.open) == (10, 0)


async def test_an_odd_answer_before_the_answer_is_tidied() -> None:
    async with App(answering(b"HTTP/1.1 103 Early\nLink: a\n\n" + OK)).running() as port, sidecar(port) as proxy:
        got = await proxy.ask(GET, half_close=True)
    assert got == b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + OK


async def test_an_error_that_an_add_on_notes_kills_nothing() -> None:
    account = Account()

    def request(flow: http.HTTPFlow) -> None:
        flow.error = Error("a note")

    async with App(answering(OK)).running() as port, sidecar(port, account, Hook("request", request)) as proxy:
        assert (await proxy.ask(LAST)).endswith(b"ok")
    assert (account.answered, account.failed) == (1, 0)


async def test_a_slow_reader_gets_its_last_answer_even_if_it_sends_more() -> None:
    """What comes after it is listened to for a short time only; the answer itself may take longer."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000
    async with App(answering(big)).running() as port, sidecar(port) as proxy:
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        narrow.connect(("127.0.0.1", proxy.port))
        reader, writer = await asyncio.open_connection(sock=narrow)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a socket's
        await until(lambda: proxy.lane.connections)
        (connection,) = proxy.lane.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        writer.write(LAST + GET)
        await until(lambda: connection.phase is Phase.LINGER)
        connection.expire()
        writer.transport.resume_reading()  # type: ignore[attr-defined] # as above
        assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"x" * 60000)
        writer.close()
