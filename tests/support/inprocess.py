"""A sidecar's proxy inside the test's own event loop, before an app of raw bytes: for what needs many small cases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mitmproxy import options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master

from addons.embedded.sidecar import CORE_OPTIONS
from addons.internals.quickening import carried, quicken
from addons.lanes import Lanes

Serve = Callable[["App", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class App:
    """An app that `serve` plays, connection by connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.received: list[bytes] = []
        """All bytes of each connection."""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Listen; gives the port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.received.append(b"")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(self, reader, writer)
        writer.close()

    async def head(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request's head."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.received[-1] += head
        return head

    async def body(self, reader: asyncio.StreamReader, size: int) -> bytes:
        """Read `size` bytes of a body."""
        body = await reader.readexactly(size)
        self.received[-1] += body
        return body


def answering(*answers: bytes) -> Serve:
    """Make an app that answers each request without body with the next of `answers`, over and over."""

    async def serve(app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while True:
            await app.head(reader)
            writer.write(answers[count % len(answers)])
            count += 1

    return serve


class Sidecar:
    """A running proxy."""

    def __init__(self, lanes: Lanes, port: int) -> None:
        self.lanes, self.port = lanes, port

    @property
    def lane(self) -> Any:
        """The fast lane."""
        return self.lanes._lanes[0]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as a client."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes, seconds: float = 5, *, half_close: bool = False) -> bytes:
        """Send bytes, and read until the connection ends."""
        reader, writer = await self.connect()
        writer.write(request)
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(seconds):
            answer = await reader.read()
        writer.close()
        return answer


@contextlib.asynccontextmanager
async def sidecar(upstream: int, *addons: Any, **settings: Any) -> AsyncIterator[Sidecar]:
    """Run a proxy with `addons` and mitmproxy's options `settings` before the app on port `upstream`."""
    opts = options.Options()
    master = Master(opts)
    quicken(master)
    proxyserver, lanes = Proxyserver(), Lanes()
    master.addons.add(Core(), proxyserver, NextLayer(), TlsConfig(), lanes, *addons)
    where = {"mode": [f"reverse:http://127.0.0.1:{upstream}"], "listen_host": "127.0.0.1", "listen_port": 0}
    opts.update(**CORE_OPTIONS, **carried({**where, **settings}))
    running = asyncio.create_task(master.run())
    async with asyncio.timeout(10):
        while not proxyserver.listen_addrs():
            assert not running.done(), running.result()
            await asyncio.sleep(0.01)
    try:
        yield Sidecar(lanes, proxyserver.listen_addrs()[0][1])
    finally:
        await proxyserver.servers.update([])
        master.shutdown()
        await running
