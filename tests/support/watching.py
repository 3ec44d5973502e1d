"""What add-ons see of a conversation, the same one in each lane: every hook call, and what came of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.flow import Flow
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from tests.support.differential.origin import RecordingOrigin, Script, Seen
from tests.support.inprocess import Sidecar, sidecar
from tests.support.lanes import Lane
from tests.support.wire import Answer, read_answers

Facts = dict[str, Any]


def _of_request(request: http.Request) -> Facts:
    return {
        "request": (request.method, request.scheme, request.host, request.port, request.path, request.http_version),
        "authority": request.authority,
        "url": request.pretty_url,
        "request fields": request.headers.fields,
        "request body": request.raw_content,
        "request trailers": getattr(request.trailers, "fields", ()),
        "request streams": bool(request.stream),
        "request ended": request.timestamp_end is not None,
    }


def _of_response(response: http.Response | None) -> Facts:
    if response is None:
        return {"response": None}
    return {
        "response": (response.http_version, response.status_code, response.reason),
        "response fields": response.headers.fields,
        "response body": response.raw_content,
        "response streams": bool(response.stream),
        "response ended": response.timestamp_end is not None,
    }


def _of_flow(flow: http.HTTPFlow) -> Facts:
    return {
        **_of_request(flow.request),
        **_of_response(flow.response),
        "error": flow.error is not None,
        "killed": flow.error is not None and flow.error.msg == flow.error.KILLED_MESSAGE,
        "live": flow.live,
        "intercepted": flow.intercepted,
        "is replay": flow.is_replay,
        "client is connected": flow.client_conn.connected,
        "client": (len(flow.client_conn.peername), len(flow.client_conn.sockname)),
        "mode": flow.client_conn.proxy_mode.full_spec.partition(":")[0],
        "TLS": (flow.client_conn.tls, flow.server_conn.tls),
        "server address": flow.server_conn.address,
        "marks": dict(flow.metadata),
    }


@dataclass
class Watcher:
    """An add-on that notes each hook call. Put it first and it sees what others get, last and it sees what they did."""

    calls: list[tuple[str, int, Facts]] = field(default_factory=list)
    """(hook, number of the flow, what it looked like)"""
    connections: list[tuple[str, str]] = field(default_factory=list)
    """(hook, id of the connection)"""
    updates: list[int] = field(default_factory=list)
    """How many flows each update was of."""
    _flows: list[http.HTTPFlow] = field(default_factory=list)
    announced: list[bool] = field(default_factory=list)
    """For each answer: whether its connection to the app had been announced, or there was none."""

    def _note(self, name: str, flow: http.HTTPFlow) -> None:
        number = next((at for at, known in enumerate(self._flows) if known is flow), None)
        if number is None:
            number = len(self._flows)
            self._flows.append(flow)
        self.calls.append((name, number, _of_flow(flow)))

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._note("requestheaders", flow)

    def request(self, flow: http.HTTPFlow) -> None:
        self._note("request", flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        self._note("responseheaders", flow)

    def response(self, flow: http.HTTPFlow) -> None:
        self._note("response", flow)
        server = flow.server_conn
        self.announced.append(("server_connected", server.id) in self.connections or server.timestamp_start is None)

    def error(self, flow: http.HTTPFlow) -> None:
        self._note("error", flow)

    def update(self, flows: Sequence[Flow]) -> None:
        self.updates.append(len(flows))

    def client_connected(self, client: Client) -> None:
        self.connections.append(("client_connected", client.id))

    def client_disconnected(self, client: Client) -> None:
        assert client.timestamp_end
        self.connections.append(("client_disconnected", client.id))

    def server_connect(self, data: ServerConnectionHookData) -> None:
        self._server("server_connect", data.server)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        assert data.server.peername
        self._server("server_connected", data.server)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        assert data.server.timestamp_end
        self._server("server_disconnected", data.server)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        assert data.server.error
        self._server("server_connect_error", data.server)

    def _server(self, name: str, server: Server) -> None:
        self.connections.append((name, server.id))

    def life_of(self, connection: str) -> list[str]:
        """What was announced of one connection, in order."""
        return [name for name, one in self.connections if one == connection]


@dataclass
class Conversation:
    """What came of some requests in one lane."""

    answers: list[Answer | None]
    """None: the connection ended without one."""
    seen: list[Seen]
    watcher: Watcher
    ports: dict[int, str]

    def anonymous(self, value: Any) -> Any:
        """Give facts without ports: they are others in the other lane."""
        return _anonymous(value, self.ports)


AddOns = Callable[[int, int], Sequence[Any]]
"""Makes add-ons, from the ports of the app and of another one."""


@contextlib.asynccontextmanager
async def serve_with(lane: Lane, upstream: int, *addons: Any, **settings: Any) -> AsyncIterator[Sidecar]:
    """Run a proxy with these add-ons that carries everything in `lane`, if it can."""
    async with sidecar(upstream, *addons, reamp_fast_lane=lane == "fast", **settings) as running:
        yield running


async def converse(
    lane: Lane,
    addons: AddOns,
    requests: Sequence[bytes],
    scripts: dict[bytes, Script] | None = None,
    **settings: Any,
) -> Conversation:
    """Send requests one after the other, on one connection as long as it lasts; a call for each."""
    with RecordingOrigin(scripts) as origin, RecordingOrigin(scripts) as other:
        watcher = Watcher()
        watched = tuple(addons(origin.port, other.port))
        async with serve_with(lane, origin.port, *watched, watcher, **settings) as running:
            answers = await _talk(running, requests)
            await _quiet(watcher)
        seen = [*origin.take()[0], *other.take()[0]]
    made = Conversation(answers, seen, watcher, {origin.port: "app", other.port: "other app"})
    watcher.calls = [(name, number, made.anonymous(facts)) for name, number, facts in watcher.calls]
    return made


def _anonymous(value: Any, names: dict[int, str]) -> Any:
    if isinstance(value, dict):
        return {key: _anonymous(inner, names) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_anonymous(inner, names) for inner in value)
    if isinstance(value, int) and value in names and not isinstance(value, bool):
        return names[value]
    if isinstance(value, str):
        for port, name in names.items():
            value = value.replace(f":{port}", f":{name}")
    elif isinstance(value, bytes) and len(value) < 1000:
        for port, name in names.items():
            value = value.replace(b":%d" % port, b":" + name.encode())
    return value


async def _talk(running: Sidecar, requests: Sequence[bytes]) -> list[Answer | None]:
    answers: list[Answer | None] = []
    reader, writer = await running.connect()
    for request in requests:
        if reader.at_eof() or writer.is_closing():
            writer.close()
            reader, writer = await running.connect()
        answer, over = await _ask(reader, writer, request)
        answers.append(answer)
        if over:
            writer.close()
            reader, writer = await running.connect()
    writer.close()
    return answers


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[Answer | None, bool]:
    """Give the answer, and whether the connection has ended with it."""
    method, received = request.partition(b" ")[0], b""
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
    async with asyncio.timeout(10):
        while True:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = await reader.read(1 << 20)
            received += data
            answers = read_answers(received, [method], over=not data)
            if answers or not data:
                break
    last = answers[0] if answers else None
    over = not data or last is None or b"close" in b"".join(v for n, v in last.fields if n.lower() == b"connection")
    return last, over


async def _quiet(watcher: Watcher) -> None:
    """Wait until every client that came has gone: then the hooks of all exchanges have been called."""
    async with asyncio.timeout(10):
        while True:
            names = [name for name, _ in watcher.connections]
            if names.count("client_connected") == names.count("client_disconnected"):
                return
            await asyncio.sleep(0.005)
