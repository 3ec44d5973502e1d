"""Reading a file of another tool the way that `captures import` does."""

import io
from collections.abc import Iterator
from itertools import count
from typing import Any, BinaryIO

from captures.exchange.formats import FORMATS
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, evenly
from captures.exchange.streams import told_as_broken, uncompressed
from captures.records import Record
from tests.captures.making import NOON


def read(format_: str, data: bytes | str, **options: Any) -> tuple[list[Record], Notes]:
    """Read it all; requests without times arrive a tenth of a second apart, from noon on. Raises CaptureError."""
    notes = Notes()
    reader = FORMATS[format_].read
    assert reader
    raw = data.encode() if isinstance(data, str) else data
    with told_as_broken():
        file = uncompressed(io.BytesIO(raw))
        return list(reader(file, ReadOptions(evenly(NOON, 10), **options), notes)), notes


def packed(data: bytes) -> bool:
    """Whether data looks like a file that is compressed."""
    return not isinstance(uncompressed(io.BytesIO(data)).raw, io.BytesIO)


class _Endless(io.RawIOBase):
    """A file that never ends, and counts what was taken of it."""

    def __init__(self, start: bytes, more: bytes, size: int) -> None:
        self._pieces: Iterator[bytes] = (start if number == 0 else more for number in count())
        self.left = size
        self._ahead = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while self._ahead == b"" and self.left > 0:
            self._ahead = next(self._pieces)
        piece, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        piece = piece[: max(0, self.left)]
        self.left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def endless(start: bytes, more: bytes, size: int) -> BinaryIO:
    """A file of `size` bytes that begins with `start` and goes on with `more`, again and again."""
    return io.BufferedReader(_Endless(start, more, size))  # type: ignore[type-var]
