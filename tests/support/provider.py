"""A payment provider on loopback, played by hand: it keeps every byte that it gets, and answers like the real thing."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs


@dataclass
class Provider:
    """What came."""

    port: int = 0
    connections: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Head and body of each."""

    @property
    def orders(self) -> list[str]:
        """What was charged for, in the order in which it came."""
        return [parse_qs(body.decode()).get("order", [""])[0] for _, body in self.requests]

    @property
    def heads(self) -> list[bytes]:
        return [head for head, _ in self.requests]


@asynccontextmanager
async def provider(tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """Serve on loopback, with keep-alive."""
    here = Provider()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        if (task := asyncio.current_task()) is not None:
            busy.add(task)
            task.add_done_callback(busy.discard)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await _charge(here, reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        for task in list(busy):
            task.cancel()


async def _charge(here: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length:[ \t]*([0-9]+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    while b"chunked" in head.lower() and not body.endswith(b"0\r\n\r\n"):
        body += await reader.readuntil(b"\r\n")
    here.requests.append((head, body))
    answer = json.dumps({"id": f"real_{len(here.requests)}", "paid": True}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer))
    writer.write(answer)
    await writer.drain()
