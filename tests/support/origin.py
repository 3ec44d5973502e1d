"""A hand-driven origin: it answers with the very bytes that a test gives it, and ends connections as told."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Connection:
    """One connection, as the origin sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Wait for the head of a request. Raises EOFError if none comes."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def say(self, *pieces: bytes) -> None:
        """Send bytes, each piece in a segment of its own. Raises OSError if nobody takes them any more."""
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.005)
            if self.writer.is_closing():
                raise ConnectionAbortedError
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
    context: ssl.SSLContext | None = None
    """What a script may serve TLS with by its own hand."""


Script = Callable[[Connection, Origin], Awaitable[None]]


@asynccontextmanager
async def origin(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serve on loopback; `script` drives each connection."""
    here = Origin()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        if (task := asyncio.current_task()) is not None:
            busy.add(task)
            task.add_done_callback(busy.discard)
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
        # Whoever is still connected may not even have shaken hands. What is left open is told of in another test.
        server.close()
        left = list(busy)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if abort := getattr(server, "abort_clients", None):  # neither uvloop's server has it nor that of Python 3.12
            abort()
        await asyncio.sleep(0)


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


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate that vouches for itself: what to trust, and what to serve with."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    alternative: x509.GeneralName = x509.DNSName(name)
    if name[0].isdigit():
        alternative = x509.IPAddress(ipaddress.ip_address(name))
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trust, whole = folder / "ca.pem", folder / "server.pem"
    pem = made.public_bytes(serialization.Encoding.PEM)
    trust.write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    whole.write_bytes(private + pem)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(whole)
    return trust, serving
