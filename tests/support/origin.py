"""A hand-driven origin: it answers with the very bytes that a test gives it, and ends connections as told."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Connection:
    """One connection, as the origin sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Wait for the head of a request. Raises EOFError if none comes."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def say(self, *pieces: bytes) -> None:
        """Send bytes, each piece in a segment of its own."""
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.005)
            self.writer.write(piece)
            await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say no more until the other side ends."""
        while await self.reader.read(65536):
            pass


@dataclass
class Origin:
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


Script = Callable[[Connection, Origin], Awaitable[None]]


@asynccontextmanager
async def origin(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serve on loopback; `script` drives each connection."""
    here = Origin()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        try:
            await script(Connection(reader, writer), here)
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()


def answering(*pieces: bytes) -> Script:
    """Answer every request of every connection with the same bytes."""

    async def script(connection: Connection, here: Origin) -> None:
        while True:
            here.requests.append(await connection.request())
            await connection.say(*pieces)

    return script


def once(*pieces: bytes, end: str = "close") -> Script:
    """Answer the first request of each connection, then ``close``, ``reset`` or ``hang``."""

    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(*pieces)
        if end == "reset":
            await asyncio.sleep(0.01)  # a reset throws away what the other side has not read yet
            connection.reset()
        elif end == "hang":
            await connection.hang()

    return script
