"""WebSockets on both ends, by wsproto: an app that sends back what it gets, and a client."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Self

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)


class _End:
    """One end of a WebSocket."""

    def __init__(self, kind: ConnectionType, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ws = WSConnection(kind)
        self._reader, self._writer = reader, writer
        self._waiting: list[Event] = []

    async def send(self, event: Event) -> None:
        self._writer.write(self._ws.send(event))
        await self._writer.drain()

    async def event(self) -> Event | None:
        """Give what comes next; None at the end of the connection."""
        while not self._waiting:
            data = await self._reader.read(65536)
            self._ws.receive_data(data or None)
            self._waiting = list(self._ws.events())
            if not data and not self._waiting:
                return None
        return self._waiting.pop(0)

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self._writer.close()


class Echo:
    """An app that accepts every WebSocket and sends each message back. It hangs up when it is told ``hang up``."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.ended: list[int | None] = []
        """Close codes; None if the connection broke."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = _End(ConnectionType.SERVER, reader, writer)
        try:
            self.ended.append(await self._talk(end))
        except OSError:
            self.ended.append(None)
        finally:
            writer.close()

    async def _talk(self, end: _End) -> int | None:
        pieces: list[bytes] = []
        while (event := await end.event()) is not None:
            if isinstance(event, Request):
                self.requests.append(event)
                await end.send(AcceptConnection(subprotocol=event.subprotocols[0] if event.subprotocols else None))
            elif isinstance(event, TextMessage):
                if event.data == "hang up":
                    return None
                await end.send(event)
            elif isinstance(event, BytesMessage):
                pieces.append(bytes(event.data))
                if event.message_finished:
                    await end.send(BytesMessage(data=b"".join(pieces)))
                    pieces.clear()
            elif isinstance(event, Ping):
                await end.send(event.response())
            elif isinstance(event, CloseConnection):
                await end.send(event.response())
                return event.code
        return None


class WebSocket(_End):
    """A client's end."""

    @classmethod
    async def connect(
        cls, port: int, path: str, fields: list[tuple[bytes, bytes]] | None = None, tls: ssl.SSLContext | None = None
    ) -> "WebSocket":
        """Connect. Raises ConnectionRefusedError if the other end declines."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="127.0.0.1" if tls else None
        )
        here = cls(ConnectionType.CLIENT, reader, writer)
        await here.send(Request("shop.example", path, extra_headers=fields or [], subprotocols=["echo"]))
        answer = await here.event()
        if not isinstance(answer, AcceptConnection):
            here.close()
            raise ConnectionRefusedError(answer.status_code if isinstance(answer, RejectConnection) else answer)
        assert answer.subprotocol == "echo"
        return here

    async def message(self) -> str | bytes:
        """Wait for a whole message."""
        pieces: list[str | bytes] = []
        while True:
            event = await self.event()
            assert isinstance(event, Message), event
            pieces.append(event.data if isinstance(event.data, str) else bytes(event.data))
            if event.message_finished:
                empty = pieces[0][:0]
                return empty.join(pieces)  # type: ignore[arg-type]

    async def pong(self) -> bytes:
        """Wait for the answer to a ping."""
        event = await self.event()
        assert isinstance(event, Pong), event
        return bytes(event.payload)

    async def closed(self) -> int | None:
        """Wait for the end; give its code, None if the connection broke."""
        with contextlib.suppress(ConnectionError):
            while (event := await self.event()) is not None:
                if isinstance(event, CloseConnection):
                    return event.code if event.code != 1006 else None
        return None
