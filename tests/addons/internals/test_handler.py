"""Connections carried by our handler, with real sockets: hooks in place, hooks that wait, flows that are held."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mitmproxy import ctx, http, options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.master import Master
from mitmproxy.proxy import commands, events, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.tcp import TcpStartHook
from mitmproxy.proxy.mode_servers import AsyncioServerInstance
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.tcp import TCPFlow
from mitmproxy.test import taddons
from mitmproxy.utils import asyncio_utils

from addons.internals.dispatch import hooks_of
from addons.internals.handler import MAX_JOINED, Handler
from addons.internals.mending import mend
from addons.internals.modes import SidecarInstance, SidecarMode, as_reverse, as_sidecar, serve_through
from addons.internals.quickening import carried
from addons.processes.doors import Doors


class Seen:
    """An add-on that notes what it is called for, and does with a request what its path says."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.held: list[http.HTTPFlow] = []
        self.clients: list[Client] = []
        self.on_request: Callable[[http.HTTPFlow], Any] = lambda _: None
        self.on_connect: Callable[[ServerConnectionHookData], Any] = lambda _: None
        self.disconnected = asyncio.Event()

    def server_connect(self, data: ServerConnectionHookData) -> None:
        self.on_connect(data)

    def client_connected(self, client: Client) -> None:
        self.names.append("client_connected")
        self.clients.append(client)

    def client_disconnected(self, client: Client) -> None:
        self.names.append("client_disconnected")
        self.clients.append(client)
        self.disconnected.set()

    def requestheaders(self, _flow: http.HTTPFlow) -> None:
        self.names.append("requestheaders")

    def request(self, flow: http.HTTPFlow) -> Any:
        self.names.append("request")
        return self.on_request(flow)

    def responseheaders(self, _flow: http.HTTPFlow) -> None:
        self.names.append("responseheaders")

    def response(self, _flow: http.HTTPFlow) -> None:
        self.names.append("response")

    def error(self, _flow: http.HTTPFlow) -> None:
        self.names.append("error")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
    writer.close()


class Site:
    """An app, and a proxy before it in this very process."""

    def __init__(self, master: Master, proxy: Proxyserver, seen: Seen) -> None:
        self.master, self.proxy, self.seen = master, proxy, seen

    async def get(self, *paths: str) -> list[bytes]:
        reader, writer = await asyncio.open_connection(*self.proxy.listen_addrs()[0][:2])
        answers = []
        try:
            for path in paths:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                answers.append(head.split(b" ")[1] + b" " + await reader.readexactly(size))
        finally:
            writer.close()
            await self.seen.disconnected.wait()
        return answers


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    app = await asyncio.start_server(answer, "127.0.0.1", 0)
    master = Master(options.Options())
    hooks_of(master)
    proxy, seen = Proxyserver(), Seen()
    master.addons.add(Core(), proxy, NextLayer(), seen)
    mode = f"reverse:http://127.0.0.1:{app.sockets[0].getsockname()[1]}"
    settings = carried({"mode": [mode], "listen_host": "127.0.0.1", "listen_port": 0})
    assert settings["mode"] == as_sidecar([mode])
    master.options.update(**settings, connection_strategy="lazy", keep_host_header=True)
    assert await proxy.setup_servers()
    proxy.running()
    with asyncio_utils.set_eager_task_factory():  # as the master does while it runs
        yield Site(master, proxy, seen)
    await proxy.servers.update([])
    master._legacy_log_events.uninstall()
    app.close()


ONCE = ["requestheaders", "request", "responseheaders", "response"]


async def test_hooks_are_called_in_order_and_connections_are_kept(site: Site) -> None:
    assert await site.get("/1", "/2") == [b"200 hello"] * 2
    assert site.seen.names == ["client_connected", *ONCE, *ONCE, "client_disconnected"]
    (server,) = site.proxy.servers
    assert isinstance(server, SidecarInstance)
    assert isinstance(server.mode, mode_specs.ReverseMode)


async def test_a_request_can_be_answered_in_a_hook(site: Site) -> None:
    def refuse(flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(429, b"no")

    site.seen.on_request = refuse
    assert await site.get("/1", "/2") == [b"429 no"] * 2
    assert site.seen.names == ["client_connected", *ONCE, *ONCE, "client_disconnected"]


async def test_a_hook_may_wait_and_the_watchdog_waits_with_it(site: Site) -> None:
    go_on = asyncio.Event()
    armed: list[bool] = []

    async def wait(flow: http.HTTPFlow) -> None:
        (handler,) = site.proxy.connections.values()
        armed.append(handler.timeout_watchdog.can_timeout.is_set())
        await asyncio.sleep(0)
        armed.append(handler.timeout_watchdog.can_timeout.is_set())
        go_on.set()
        flow.response = http.Response.make(418, b"tea")

    site.seen.on_request = wait
    assert await site.get("/1", "/2") == [b"418 tea"] * 2
    assert go_on.is_set()
    assert armed[1] is armed[3] is False
    assert site.seen.names == ["client_connected", *ONCE, *ONCE, "client_disconnected"]


async def test_a_flow_can_be_held_and_let_go(site: Site) -> None:
    held: asyncio.Queue[http.HTTPFlow] = asyncio.Queue()

    def hold(flow: http.HTTPFlow) -> None:
        flow.intercept()
        held.put_nowait(flow)

    site.seen.on_request = hold
    getting = asyncio.ensure_future(site.get("/1"))
    flow = await held.get()
    (handler,) = site.proxy.connections.values()
    while handler.timeout_watchdog.can_timeout.is_set():
        await asyncio.sleep(0)
    assert site.seen.names == ["client_connected", *ONCE[:2]]
    flow.resume()
    assert await getting == [b"200 hello"]
    assert handler.timeout_watchdog.can_timeout.is_set()


async def test_a_flow_can_be_killed(site: Site) -> None:
    site.seen.on_request = lambda flow: flow.kill()
    with pytest.raises(asyncio.IncompleteReadError):
        await site.get("/1")
    assert site.seen.names == ["client_connected", *ONCE[:2], "error", "client_disconnected"]


@pytest.mark.parametrize("carried_by", [as_sidecar, as_reverse])
async def test_a_server_that_resets_a_connection_in_the_moment_in_which_it_is_made_costs_nobody_an_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, carried_by: Callable[[list[str]], list[str]]
) -> None:
    """In mitmproxy's own reverse proxy neither."""
    assert mend()

    async def reset(host: str, port: int, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        near = socket.create_connection((host, port))
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        monkeypatch.undo()
        made = await asyncio.open_connection(sock=near)
        given.append(made[1])
        return made

    given: list[asyncio.StreamWriter] = []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        site.master.options.update(mode=carried_by([f"reverse:http://127.0.0.1:{listener.getsockname()[1]}"]))
        assert await site.proxy.setup_servers()
        reader, writer = await asyncio.open_connection(*site.proxy.listen_addrs()[0][:2])
        monkeypatch.setattr(asyncio, "open_connection", reset)
        writer.write(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        writer.close()
        await site.seen.disconnected.wait()
    assert site.seen.names == ["client_connected", *ONCE[:2], "error", "client_disconnected"]
    (made,) = given
    assert made.get_extra_info("peername") is None  # it was connected, and nobody knew to whom any more
    assert made.transport.is_closing()


@pytest.mark.parametrize("carried_by", [as_sidecar, as_reverse])
async def test_an_address_that_can_not_be_one_costs_nobody_an_answer(
    site: Site, carried_by: Callable[[list[str]], list[str]]
) -> None:
    assert mend()
    site.seen.on_connect = lambda data: setattr(data.server, "address", ("127.0.0.1", 99_999))
    site.master.options.update(mode=carried_by(as_reverse(site.master.options.mode)))
    assert await site.proxy.setup_servers()
    async with asyncio.timeout(10):
        (answered,) = await site.get("/")
    assert answered.startswith(b"502 ")
    assert site.seen.names == ["client_connected", *ONCE[:2], "error", "client_disconnected"]


async def test_a_connection_that_was_announced_is_not_announced_again(site: Site) -> None:
    """Somebody else has accepted it, and read its first bytes."""
    (server,) = site.proxy.servers
    assert isinstance(server, SidecarInstance)
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    client = Client(
        peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2), state=ConnectionState.OPEN, proxy_mode=server.mode
    )
    reader.feed_data(b"GET / HTTP/1.1\r\n")
    handler = Handler(site.master, reader, writer, ctx.options, server.mode, client)
    handler.layer = server.make_top_layer(handler.layer.context)
    running = asyncio.ensure_future(handler.handle_client())
    far_reader, far_writer = await asyncio.open_connection(sock=far)
    far_writer.write(b"host: shop\r\nconnection: close\r\n\r\n")
    assert (await far_reader.read()).endswith(b"hello")
    far_writer.close()
    await running
    assert site.seen.names == [*ONCE, "client_disconnected"]
    assert site.seen.clients == [client]
    assert site.seen.clients[0] is client


async def test_a_socket_that_was_inherited_is_served(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        monkeypatch.setattr(SidecarInstance, "doors", None)
        monkeypatch.setattr(AsyncioServerInstance, "listen", AsyncioServerInstance.listen)
        doors = Doors([[os.dup(inherited.fileno())]], 0)
        serve_through(doors)
        await site.proxy.servers.update([])
        mode = SidecarMode.parse(site.master.options.mode[0])
        assert await site.proxy.servers.update([mode])
        assert site.proxy.listen_addrs() == []  # not before all is ready
        await doors.open()
        assert site.proxy.listen_addrs() == [inherited.getsockname()]
        assert await site.get("/1") == [b"200 hello"]
        doors.close()
        assert site.proxy.listen_addrs() == []


class Script(Layer):
    """Layers that do what they are told."""

    def __init__(self, context: Context, *given: Any) -> None:
        super().__init__(context)
        self.given = given

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        for command in self.given:
            if isinstance(command, Exception):
                raise command
            yield command


async def handled(*given: Any) -> list[tuple[str, bytes]]:
    """What a handler writes of what its layers give."""
    written: list[tuple[str, bytes]] = []

    class Writer:
        def __init__(self, name: str) -> None:
            self.name = name

        def is_closing(self) -> bool:
            return False

        def write(self, data: bytes) -> None:
            written.append((self.name, data))

    with taddons.context(Proxyserver()) as context:
        mode = mode_specs.ProxyMode.parse("regular")
        handler = Handler(context.master, None, Writer("client"), context.options, mode, CLIENT)
        handler.transports[SERVER] = type(handler.transports[CLIENT])(writer=Writer("server"))  # type: ignore[arg-type]
        handler.layer = Script(handler.layer.context, *given)
        await handler.server_event(events.Start())
    return written


CLIENT = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
SERVER = Client(peername=("127.0.0.1", 3), sockname=("127.0.0.1", 4))


async def test_what_is_sent_in_pieces_leaves_as_one_and_in_order() -> None:
    def send(to: Client, data: bytes) -> commands.SendData:
        return commands.SendData(to, data)

    assert await handled(send(CLIENT, b"1"), send(CLIENT, b"2")) == [("client", b"12")]
    given = [send(CLIENT, b"1"), send(SERVER, b"2"), commands.Log("x"), send(SERVER, b"3"), send(SERVER, b"4")]
    assert await handled(*given) == [("client", b"1"), ("server", b"2"), ("server", b"34")]
    long = b"x" * MAX_JOINED
    assert await handled(send(CLIENT, long), send(CLIENT, b"2")) == [("client", long), ("client", b"2")]
    assert await handled() == []


async def test_what_was_sent_before_a_fault_is_sent_and_what_was_completed_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = TcpStartHook(TCPFlow(CLIENT, SERVER))  # type: ignore[arg-type]
    hook.blocking = False
    assert await handled(hook, commands.SendData(CLIENT, b"1"), ValueError("a fault")) == [("client", b"1")]
    assert "mitmproxy has crashed!" in caplog.text


def test_modes_are_shown_as_people_know_them() -> None:
    given = ["reverse:http://127.0.0.1:8000", "reverse:http://h:1@:80", "regular", "reversed:x"]
    served = as_sidecar(given)
    assert served == ["sidecar:http://127.0.0.1:8000", "sidecar:http://h:1@:80", "regular", "reversed:x"]
    assert as_reverse(served) == given
    mode = SidecarMode.parse(served[0])
    assert (mode.scheme, mode.address) == ("http", ("127.0.0.1", 8000))
    assert mode.description == "reverse proxy to http://127.0.0.1:8000"
    assert SidecarMode.type_name == "sidecar"
