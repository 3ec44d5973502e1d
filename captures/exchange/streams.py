"""Files as they come: compressed or not, in lines or chunks, never more than a bounded piece in memory. Edge."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import zstandard

from captures.errors import CaptureError
from captures.exchange.notes import Notes

MAX_LINE = 16 << 20
"""Bytes of one line, and of one request with its body: twice what a record has room for."""

CHUNK = 256 << 10
GLANCE = 4096
"""First bytes that a format is guessed by."""


def uncompressed(file: BinaryIO) -> io.BufferedReader:
    """Give what is in a gzip or zstd file, and any other file as it is. Told by content: names lie."""
    plain = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", file))
    start = plain.peek(4)[:4]
    if start[:2] == b"\x1f\x8b":
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=plain)), CHUNK)
    if start == b"\x28\xb5\x2f\xfd":
        # A hostile frame may ask for a window of gigabytes: 128 MiB is the most that zstd itself gives without asking.
        decompressor = zstandard.ZstdDecompressor(max_window_size=128 << 20)
        return io.BufferedReader(decompressor.stream_reader(plain, read_across_frames=True), CHUNK)
    return plain


@contextmanager
def told_as_broken() -> Iterator[None]:
    """Turn what decompressors raise over a damaged file into a CaptureError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise CaptureError(f"its compression is damaged or torn off ({error})") from None


def lines(file: BinaryIO, notes: Notes, limit: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    """Give lines with their numbers, from 1, without their ends. One of more than `limit` bytes is told, not given."""
    number = 0
    while line := file.readline(limit + 2):
        number += 1
        if len(line) >= limit + 2 and not line.endswith(b"\n"):
            notes.broken(f"line {number}", f"it is longer than {limit >> 20} MiB")
            while (rest := file.readline(CHUNK)) and not rest.endswith(b"\n"):
                pass
            continue
        yield number, line.rstrip(b"\r\n")
