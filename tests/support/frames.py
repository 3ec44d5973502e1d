"""The server's end of HTTP/2 frame by frame, right or wrong as a test wants it."""

import struct

import hpack

from tests.support.origin import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4

Fields = list[tuple[str, str]]
OK: Fields = [(":status", "200"), ("content-type", "text/plain")]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """SETTINGS with values by the names above."""
    return frame(SETTINGS, payload=b"".join(struct.pack("!HI", globals()[key], value) for key, value in values.items()))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack("!I", code))


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, payload=struct.pack("!II", last, code))


class Peer:
    """One connection of HTTP/2, as the origin sees it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.say = connection.say
        self.window = 65_535
        """Bytes of bodies that may be sent, on the whole connection."""
        self.streams: dict[int, int] = {}
        """The same by stream."""
        self._initial = 65_535
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()

    async def greet(self, **values: int) -> None:
        """Take the other end's greeting, and give one with these settings."""
        assert await self.connection.reader.readexactly(len(PREFACE)) == PREFACE
        await self.say(settings(**values), frame(SETTINGS, ACK))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Wait for a frame: kind, flags, stream, payload. Keeps account of the windows. Raises EOFError."""
        head = await self.connection.reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
        payload = await self.connection.reader.readexactly(int.from_bytes(head[:3]))
        if kind == WINDOW_UPDATE and not stream:
            self.window += int.from_bytes(payload)
        elif kind == WINDOW_UPDATE and stream in self.streams:
            self.streams[stream] += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            found = dict(struct.iter_unpack("!HI", payload))
            self._initial = found.get(INITIAL_WINDOW_SIZE, self._initial)
        elif kind == HEADERS:
            self.streams[stream] = self._initial
        return kind, flags, stream, payload

    async def request(self) -> tuple[int, Fields]:
        """Wait for the head of a request: its stream and its fields."""
        while True:
            kind, flags, stream, payload = await self.frame()
            if kind == HEADERS:
                assert flags & END_HEADERS
                return stream, [(str(name), str(value)) for name, value in self._decoder.decode(payload)]

    def headers(self, stream: int, fields: Fields = OK, *, end: bool = False) -> bytes:
        """HEADERS, compressed as they should be."""
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self._encoder.encode(fields))

    async def answer(self) -> None:
        """Answer every request, for as long as they come."""
        while True:
            stream, _ = await self.request()
            await self.say(self.headers(stream), frame(DATA, END_STREAM, stream, b"hello"))

    async def body(self, stream: int, size: int) -> None:
        """Send a body as fast as the windows allow."""
        piece = bytes(16_384)
        while size:
            while min(self.window, self.streams[stream]) < len(piece):
                await self.frame()
            size -= len(piece)
            self.window -= len(piece)
            self.streams[stream] -= len(piece)
            await self.say(frame(DATA, 0 if size else END_STREAM, stream, piece))
