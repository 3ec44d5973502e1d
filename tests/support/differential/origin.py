"""An app that keeps the very bytes that reach it. It answers with what it understood, or with what a case tells it to.

So a client can see which request its answer belongs to, and a test which requests there were.
"""

import asyncio
import hashlib
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from tests.support.wire import Reading, Request, read_requests

SCRIPTED = b"/scripted/"


@dataclass(frozen=True)
class Script:
    """An answer of a case, byte for byte."""

    pieces: tuple[bytes, ...]
    end: Literal["keep", "close", "reset"] = "keep"
    early: bool = False
    """Sent when the head has come, whatever is missing of the body."""


@dataclass(frozen=True)
class Seen:
    """A request that arrived, and the bytes it was made of."""

    request: Request
    raw: bytes


def echo(request: Request) -> bytes:
    """What the app says of a request: nobody else's answer looks like it."""
    digest = hashlib.sha256(request.body).hexdigest()[:16].encode()
    return b" ".join((b"saw", request.method, request.target, b"%d" % len(request.body), digest))


class RecordingOrigin:
    """Listens on loopback in a thread of its own. Use it as a context manager."""

    def __init__(self, scripts: Mapping[bytes, Script] | None = None) -> None:
        self.scripts = scripts or {}
        self.port = 0
        self._seen: list[Seen] = []
        self._broken: list[bytes] = []
        self._transports: set[asyncio.Transport] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def take(self) -> tuple[list[Seen], list[bytes]]:
        """Give what has arrived since the last call: requests, and bytes that are none and can't become one."""
        seen, self._seen = self._seen, []
        broken, self._broken = self._broken, []
        return seen, broken

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end(server))
        self._loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        """Leave no connection open, not even one that was accepted a moment ago and has no protocol yet."""
        server.close()
        accepting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*accepting, return_exceptions=True)
        while self._transports:
            for transport in list(self._transports):
                transport.abort()
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, origin: RecordingOrigin) -> None:
        self._origin = origin
        self._buffer = b""
        self._answered_early = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._origin._transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport:
            self._origin._transports.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and self._transport and not self._transport.is_closing():
            reading = read_requests(self._buffer)
            if not reading.requests:
                self._unfinished(reading)
                return
            request = reading.requests[0]
            raw, self._buffer = self._buffer[: request.stop], self._buffer[request.stop :]
            self._origin._seen.append(Seen(request, raw))
            self._answer(request, last=len(reading.requests) == 1 and reading.end == "closing")

    def _unfinished(self, reading: Reading) -> None:
        assert self._transport
        if reading.end == "invalid":
            self._origin._broken.append(self._buffer)
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 6\r\nconnection: close\r\n\r\nbroken")
            self._transport.close()
        elif b"\r\n\r\n" in self._buffer and not self._answered_early:
            head = read_requests(self._buffer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", "length before coding")
            target = head.requests[0].target if head.requests else self._buffer.split(b" ")[1]
            script = self._origin.scripts.get(target)
            if script and script.early:
                self._answered_early = True
                self._play(script)

    def _answer(self, request: Request, *, last: bool) -> None:
        assert self._transport
        script = self._origin.scripts.get(request.target)
        if script:
            if not self._answered_early:
                self._play(script)
            self._answered_early = False
            return
        body = echo(request)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n" % len(body)
        if last:
            head += b"connection: close\r\n"
        self._transport.write(head + b"\r\n" + (b"" if request.method == b"HEAD" else body))
        if last:
            self._transport.close()

    def _play(self, script: Script) -> None:
        assert self._transport
        for piece in script.pieces:
            self._transport.write(piece)
        if script.end == "close":
            self._transport.close()
        elif script.end == "reset":
            # What was written has to leave first, and a little later: a reset throws away what is not read yet.
            asyncio.get_running_loop().call_later(0.03, self._reset)

    def _reset(self) -> None:
        if self._transport and not self._transport.is_closing():
            here = self._transport.get_extra_info("socket")
            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
