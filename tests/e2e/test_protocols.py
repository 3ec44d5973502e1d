"""TLS, HTTP/2 and WebSocket with real clients: whatever carries them, each request is counted and recorded once."""

import asyncio
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterable

import httpx
import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, StreamEnded, StreamReset
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from tests.support.lanes import LANES, Lane, flags
from tests.support.origin import certificate
from tests.support.processes import Process, answers, eventually, reamp, resident
from tests.support.stack import Stack
from tests.support.websocket import Echo, WebSocket

OWN, MADE = "own certificate", "made certificate"


class _Browser(ssl.SSLContext):
    """Offers what browsers offer, in their order: mitmproxy takes the first that it knows, and httpx names h2 last."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(sorted(alpn_protocols))


class Secured:
    """A sidecar that is reached by TLS: with a certificate of its own, or with one that mitmproxy makes up."""

    def __init__(self, site: Stack, tls: str, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
        self.site = site
        self._flags = flags(lane)
        self.trust = _Browser(ssl.PROTOCOL_TLS_CLIENT)
        if tls == OWN:
            trusted, _ = certificate(site.folder, "127.0.0.1")
            self._flags += ["--tls-certificate", str(site.folder / "server.pem")]
            self.trust.load_verify_locations(trusted)
        else:
            monkeypatch.setenv("HOME", str(site.folder))  # where mitmproxy keeps its authority
            self.trust.check_hostname = False
            self.trust.verify_mode = ssl.CERT_NONE

    def sidecar(self, **changes: str) -> Process:
        process = Process(reamp("sidecar", *self.site.options(**changes), *self._flags), self.site.folder / "out")
        process.ready(self.site.control_port)
        eventually(answers(self.site.listen))
        return process

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.site.listen}"


@pytest.fixture(params=[OWN, MADE])
def tls(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest) -> Lane:
    chosen: Lane = request.param
    return chosen


@pytest.fixture
def secured(site: Stack, tls: str, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> Secured:
    return Secured(site, tls, lane, monkeypatch)


async def _shop(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """One of the things that users do."""
    marked = {"x-request-id": f"real-{number}"}
    if number % 5 == 1:
        answer = await client.post("/cart", content=b"x" * (number * 1000), headers=marked)
        assert answer.json() == {"received": number * 1000}
    elif number % 5 == 2:
        answer = await client.get(f"/large?size={number * 5000}", headers=marked)
        assert answer.content == b"x" * (number * 5000)
    elif number % 5 == 3:
        answer = await client.head("/item/1", headers=marked)
        assert not answer.content
    elif number % 5 == 4:
        answer = await client.get("/events", headers=marked)
        assert answer.content.count(b"data:") == 3
    else:
        answer = await client.get(f"/item/{number}", headers=marked)
        assert answer.json()["id"] == f"real-{number}"
    return answer


@pytest.mark.parametrize(("http2", "version"), [(True, "HTTP/2"), (False, "HTTP/1.1")])
async def test_requests_over_tls(secured: Secured, http2: bool, version: str) -> None:
    count, site = 60, secured.site
    with secured.sidecar() as sidecar:
        async with httpx.AsyncClient(
            base_url=secured.url, verify=secured.trust, http2=http2, trust_env=False, timeout=30
        ) as client:
            got = await asyncio.gather(*(_shop(client, number) for number in range(count)))
        assert {answer.http_version for answer in got} == {version}
        assert {answer.status_code for answer in got} == {200, 201}
        eventually(lambda: site.state().accounting.written == count)
        state = site.state()
        assert state.requests["real"]["2xx"] == sum(state.requests["real"].values()) == count
        assert state.accounting.reconciles()
        assert state.accounting.seen == count
        assert sidecar.stop() == 0
    once = Counter(f"real-{number}" for number in range(count))
    assert Counter(line[2] for line in site.seen_by_app()) == once
    records = site.records()
    assert Counter(dict(record.headers)[b"x-request-id"].decode() for record in records) == once
    assert {record.scheme for record in records} == {"https"}
    assert {record.http_version for record in records} == {"HTTP/2.0" if http2 else "HTTP/1.1"}


async def test_synthetic_requests_over_http2_need_credit(
    site: Stack, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secured = Secured(site, tls, "fast", monkeypatch)
    with secured.sidecar(**{"max-extra": "50%"}):
        async with httpx.AsyncClient(base_url=secured.url, verify=secured.trust, http2=True, trust_env=False) as client:
            real = [(await client.get("/")).status_code for _ in range(2)]
            synthetic = [(await client.get("/", headers=dict(site.tagged()))).status_code for _ in range(2)]
            assert (real, synthetic) == ([200, 200], [200, 429])
        assert site.state().requests["synthetic"]["withheld"] == 1
    assert Counter(run for _, run, *_ in site.seen_by_app()) == {"-": 2, "run-1": 1}


async def _upload(secured: Secured, method: str, most: int) -> tuple[int, int | None, int]:
    """Send a body of `most` bytes without credit. Give the status, the error of a reset, and the bytes sent."""
    context = secured.trust
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.site.listen, ssl=context)
    connection = H2Connection()
    connection.initiate_connection()
    fields = [(":method", method), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", "/item/1")]
    connection.send_headers(1, [*fields, *secured.site.tagged()])
    status, reset, sent, over, moved = 0, None, 0, False, asyncio.Event()

    async def listen() -> None:
        nonlocal status, reset, over
        while not over:
            data = await reader.read(65_536)
            over = not data
            for event in connection.receive_data(data):
                if isinstance(event, ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, StreamReset):
                    reset = event.error_code
                over = over or isinstance(event, StreamReset | StreamEnded)
            moved.set()

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(30):
        while not over:
            moved.clear()
            if part := min(connection.local_flow_control_window(1) if sent < most else 0, 16_384, most - sent):
                connection.send_data(1, bytes(part), end_stream=sent + part == most)
                sent += part
            writer.write(connection.data_to_send())
            await writer.drain()
            await asyncio.sleep(0)  # as long as the other side takes all of it, nobody else here would have a turn
            if not part:
                await moved.wait()
        await listening
    writer.close()
    return status, reset, sent


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_request_of_http2_is_not_collected_in_memory(
    site: Stack, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Not even of a method that has no body, by a client that takes no answer for one."""
    secured = Secured(site, OWN, "fast", monkeypatch)
    with secured.sidecar():
        (worker,) = site.state().workers
        before = resident(worker.pid)
        if method == "GET":  # a short one is answered
            assert (await _upload(secured, method, 10_000))[:2] == (429, None)
        status, reset, sent = await _upload(secured, method, 100 << 20)
        assert (status, reset) == (0, ErrorCodes.INTERNAL_ERROR)
        assert sent < 100 << 20
        assert resident(worker.pid) - before < 30 << 20
        state = site.state()
        assert state.requests["synthetic"]["withheld"] == 1 + (method == "GET")
        assert state.accounting.reconciles()
    assert site.seen_by_app() == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
async def test_curl(site: Stack, tls: str, monkeypatch: pytest.MonkeyPatch, flag: str, version: str) -> None:
    secured = Secured(site, tls, "fast", monkeypatch)
    body = site.folder / "body"
    body.write_bytes(b"y" * 100_000)
    with secured.sidecar():
        command = ["curl", "-sk", flag, "--noproxy", "*", "-w", " %{http_version}", "-T", str(body), "-X", "POST"]
        done = subprocess.run([*command, f"{secured.url}/cart"], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout == f'{{"received":100000}} {version}'
        eventually(lambda: secured.site.state().accounting.written == 1)


async def _converse(socket: WebSocket) -> None:
    """Use what a WebSocket has: text, bytes, long messages, messages in pieces, pings, a farewell."""
    await socket.send(TextMessage(data="héllo"))
    assert await socket.message() == "héllo"
    await socket.send(BytesMessage(data=bytes(range(256)) * 1200))
    assert await socket.message() == bytes(range(256)) * 1200
    await socket.send(BytesMessage(data=b"one ", message_finished=False))
    await socket.send(BytesMessage(data=b"message"))
    assert await socket.message() == b"one message"
    await socket.send(Ping(payload=b"still there?"))
    assert await socket.pong() == b"still there?"
    await socket.send(CloseConnection(code=4321, reason="that was all"))
    assert await socket.closed() == 4321


async def _counted_once(site: Stack) -> None:
    async with asyncio.timeout(15):
        while site.state().accounting.written != 1:
            await asyncio.sleep(0.05)
    state = site.state()
    assert state.requests["real"]["1xx"] == sum(state.requests["real"].values()) == 1
    assert state.accounting.reconciles()
    (record,) = site.records()
    assert (record.method, record.path, record.status) == ("GET", "/socket?room=7", 101)


async def test_a_websocket(site: Stack, lane: Lane) -> None:
    async with Echo().running() as echo:
        process = Process(reamp("sidecar", *site.options(upstream=echo.url), *flags(lane)), site.folder / "out")
        with process.ready(site.control_port):
            socket = await WebSocket.connect(site.listen, "/socket?room=7", [(b"x-user", b"7")])
            await _converse(socket)
            socket.close()
            await _counted_once(site)
    assert [(request.target, request.host) for request in echo.requests] == [("/socket?room=7", "shop.example")]
    assert (b"x-user", b"7") in echo.requests[0].extra_headers
    assert echo.ended == [4321]


async def test_a_websocket_over_tls(secured: Secured) -> None:
    async with Echo().running() as echo:
        with secured.sidecar(upstream=echo.url):
            socket = await WebSocket.connect(secured.site.listen, "/socket?room=7", tls=secured.trust)
            await _converse(socket)
            socket.close()
            await _counted_once(secured.site)
    assert echo.ended == [4321]


@pytest.mark.parametrize("who", ["app", "client"])
async def test_a_websocket_that_breaks(site: Stack, lane: Lane, who: str) -> None:
    """Either end learns of the other's (mitmproxy makes a farewell of it), and the sidecar's account is settled."""
    async with Echo().running() as echo:
        process = Process(reamp("sidecar", *site.options(upstream=echo.url), *flags(lane)), site.folder / "out")
        with process.ready(site.control_port):
            socket = await WebSocket.connect(site.listen, "/socket?room=7")
            if who == "app":
                await socket.send(TextMessage(data="hang up"))
                await asyncio.wait_for(socket.closed(), 10)
            socket.close()
            async with asyncio.timeout(10):
                while not echo.ended:
                    await asyncio.sleep(0.01)
            await _counted_once(site)


async def test_websockets_after_other_requests_and_many_at_once(site: Stack, lane: Lane) -> None:
    """On connections that have carried plain requests before, as browsers do not but proxies may."""
    async with Echo().running() as echo:
        process = Process(reamp("sidecar", *site.options(upstream=echo.url), *flags(lane)), site.folder / "out")
        with process.ready(site.control_port):
            sockets = await asyncio.gather(*(WebSocket.connect(site.listen, f"/socket/{n}") for n in range(20)))
            for number, socket in enumerate(sockets):
                await socket.send(TextMessage(data=f"number {number}"))
            heard = await asyncio.gather(*(socket.message() for socket in sockets))
            assert heard == [f"number {number}" for number in range(20)]
            for socket in sockets:
                await socket.send(CloseConnection(code=1000))
                assert await socket.closed() == 1000
                socket.close()
            async with asyncio.timeout(15):
                while site.state().accounting.written != 20:
                    await asyncio.sleep(0.05)
    assert Counter(record.path for record in site.records()) == Counter(f"/socket/{n}" for n in range(20))
