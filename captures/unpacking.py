"""Bodies as they were meant: out of gzip, deflate, zstd or Brotli, for people and filters to look at. Pure.

A few kilobytes could unpack to gigabytes, so only the beginning of such a body is unpacked.
"""

import zlib

import brotli
import zstandard

from captures.records import Record

MOST = 16 << 20
"""Bytes that come out of a body at most."""


def unpacked(record: Record, most: int = MOST) -> bytes:
    """Give the body as it was meant, or as it came if it is not packed, or not in a way that is known."""
    if not record.body:
        return b""
    encodings = b", ".join([value for name, value in record.headers if name.lower() == b"content-encoding"])
    return unpacked_as(record.body, encodings, most)


def unpacked_as(body: bytes, encodings: bytes, most: int = MOST) -> bytes:
    """Do the same with a body whose `Content-Encoding` is given."""
    unpack = _UNPACKING.get(encodings.lower()) if encodings and body else None
    if unpack is None:
        return body
    try:
        return unpack(body, most)
    except (zlib.error, zstandard.ZstdError, brotli.error):
        return body


def _gunzip(body: bytes, most: int) -> bytes:
    return zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(body, most)  # 32: gzip or zlib, as mitmproxy does


def _inflate(body: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, most)
    except zlib.error:  # without the wrapper that it should have
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, most)


def _unzstd(body: bytes, most: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)  # as much as RFC 9659 allows in HTTP
    with decompressor.stream_reader(body, read_across_frames=True) as reader:
        return reader.read(most)


def _unbrotli(body: bytes, most: int) -> bytes:
    unpacker = brotli.Decompressor()
    found: bytes = unpacker.process(body, output_buffer_limit=most)
    if len(found) < most and not unpacker.is_finished():
        raise brotli.error("it is cut off")
    return found


_UNPACKING = {
    b"gzip": _gunzip,
    b"deflate": _inflate,
    b"zstd": _unzstd,
    b"br": _unbrotli,
}
