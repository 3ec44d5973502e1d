"""Chunked bodies taken apart as they come (RFC 9112, 7.1). Pure.

They are put together anew on the way out, so no reader behind this one can see other borders than it did.
"""

import re
from collections.abc import Callable

from addons.fastlane.head import ODD, Fields, read_trailers

MAX_SIZE_LINE = 4096
"""Bytes that a chunk's size may have with its extensions."""

LAST_CHUNK = b"0\r\n\r\n"

# Extensions are dropped: nobody uses them, and no recipient has to understand them.
_size_line = re.compile(rb"([0-9A-Fa-f]{1,15}+)[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n").match

_partial_size_line = re.compile(rb"(?:[0-9A-Fa-f]{1,15}+[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?\Z").match


class ChunkError(ValueError):
    """The body is not chunked the way it has to be."""


class ChunkedReader:
    """Reads one chunked body."""

    __slots__ = ("_at", "_buffer", "_left", "_pieces", "_seen", "_step", "trailers")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._left = 0
        self._seen = 0
        self._pieces: list[bytes] = []
        self._step: Callable[[], bool] | None = self._size
        self.trailers: Fields = ()

    @property
    def done(self) -> bool:
        """Whether the body has come to its end."""
        return self._step is None

    def rest(self) -> bytes:
        """Give the bytes after the body, once it is done."""
        rest, self._buffer = self._buffer, b""
        return rest

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes, give what they hold of the content. Raises ChunkError."""
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        while self._step is not None and self._step():
            pass
        self._buffer = self._buffer[self._at :]
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # Each step takes its part of the buffer, and gives False if that has not come whole.

    def _size(self) -> bool:
        line = _size_line(self._buffer, self._at)
        if line is None:
            if len(self._buffer) - self._at > MAX_SIZE_LINE or not _partial_size_line(self._buffer, self._at):
                raise ChunkError("a chunk has no size")
            return False
        if line.end() - self._at > MAX_SIZE_LINE:  # come at once, it is no better than in pieces
            raise ChunkError("a chunk has no size")
        self._at = line.end()
        self._left = int(line[1], 16)
        self._step = self._data if self._left else self._trailers
        return True

    def _data(self) -> bool:
        piece = self._buffer[self._at : self._at + self._left]
        self._pieces.append(piece)
        self._at += len(piece)
        self._left -= len(piece)
        if self._left:
            return False
        self._step = self._end
        return True

    def _end(self) -> bool:
        end = self._buffer[self._at : self._at + 2]
        if not b"\r\n".startswith(end):
            raise ChunkError("a chunk is longer than it says")
        if len(end) < 2:
            return False
        self._at += 2
        self._step = self._size
        return True

    def _trailers(self) -> bool:
        fields = self._buffer[self._at :]
        found = read_trailers(fields, self._seen)
        if found is ODD:
            raise ChunkError("the trailers are malformed")
        if not isinstance(found, tuple):
            self._seen = len(fields)
            return False
        self.trailers = found[0]
        self._at += found[1]
        self._step = None
        return True


def chunk(data: bytes) -> bytes:
    """Make one chunk. `data` must not be empty: that would be the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    """Make the last chunk with the trailers after it."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
