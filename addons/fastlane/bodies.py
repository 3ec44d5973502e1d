"""Bodies: taken apart by the framing they came in, passed on in the one they leave by. Pure."""

from collections.abc import Callable, Iterable

from addons.fastlane.chunked import ChunkedReader, chunk, last_chunk
from addons.fastlane.head import CHUNKED, UNTIL_CLOSE, Fields

Transform = Callable[[bytes], Iterable[bytes] | bytes]


class Body:
    """One body on its way. `length` as in a head: bytes, `CHUNKED` or `UNTIL_CLOSE`."""

    __slots__ = ("_chunks", "_framing", "_left", "_passed", "_rest", "_transform")

    def __init__(self, length: int) -> None:
        self._chunks = ChunkedReader() if length == CHUNKED else None
        self._left = length
        self._rest = b""
        self._framing = length
        self._transform: Transform | None = None
        self._passed = 0

    @property
    def until_close(self) -> bool:
        """Whether it ends with its connection."""
        return self._left == UNTIL_CLOSE

    @property
    def done(self) -> bool:
        """Whether all of it has come."""
        return self._chunks.done if self._chunks is not None else self._left == 0

    @property
    def trailers(self) -> Fields:
        """The fields after a chunked body."""
        return self._chunks.trailers if self._chunks is not None else ()

    def rest(self) -> bytes:
        """Give the bytes that came after its end."""
        if self._chunks is not None:
            return self._chunks.rest() if self._chunks.done else b""
        rest, self._rest = self._rest, b""
        return rest

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, give the content in them. Raises ChunkError."""
        if self._chunks is not None:
            return self._chunks.feed(data)
        if self._left == UNTIL_CLOSE:
            return data
        if len(data) > self._left:
            data, self._rest = data[: self._left], data[self._left :]
        self._left -= len(data)
        return data

    # --- passing on ---

    def send_as(self, framing: int, stream: Transform | bool) -> None:
        """Say how it leaves: in which framing, and through which of an add-on's functions."""
        self._framing = framing
        self._transform = stream if callable(stream) else None

    def pass_on(self, data: bytes) -> bytes:
        """Take the next bytes, give those to send on. Raises ChunkError."""
        content = self.feed(data)
        if self._transform is None or not content:
            return self._framed(content)
        return self._transformed(self._transform, content)

    def flush(self) -> bytes:
        """Give what an add-on's function still held back, once all has come."""
        return self._transformed(self._transform, b"") if self._transform is not None else b""

    def end(self, trailers: Fields) -> bytes:
        """Give the bytes that mark the end."""
        return last_chunk(trailers) if self._framing == CHUNKED else b""

    @property
    def short(self) -> bool:
        """Whether other bytes were passed on than the head has promised."""
        return self._framing >= 0 and self._passed != self._framing

    def _transformed(self, transform: Transform, content: bytes) -> bytes:
        out = transform(content)
        return b"".join(map(self._framed, [out] if isinstance(out, bytes) else out))

    def _framed(self, content: bytes) -> bytes:
        self._passed += len(content)
        return chunk(content) if content and self._framing == CHUNKED else content
