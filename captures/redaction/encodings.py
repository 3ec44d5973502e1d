"""What a body is wrapped in: content encodings and character sets that do not hold ASCII. Pure, and bounded."""

import re
import zlib
from typing import NamedTuple

import brotli
import zstandard

MAX_UNPACKED = 1 << 20
"""Bytes that a compressed body may unpack to. A larger one is not looked into, and so not kept."""

MAX_ENCODINGS = 3

_WIDE = {
    b"utf-16": "utf-16",
    b"utf-16le": "utf-16-le",
    b"utf-16be": "utf-16-be",
    b"utf-32": "utf-32",
    b"utf-32le": "utf-32-le",
    b"utf-32be": "utf-32-be",
    b"ucs-2": "utf-16",
    b"utf-7": "utf-7",
    b"cp037": "cp037",
    b"ibm037": "cp037",
    b"cp500": "cp500",
    b"ibm500": "cp500",
    b"cp1047": "cp1140",
    b"cp1140": "cp1140",
}
_BOMS = (  # the longer ones first
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xff\xfe", "utf-16-le"),
)
_CHARSET = re.compile(rb"charset=\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


class CannotUnpackError(Exception):
    """A body says it is compressed, and is not, or to too much, or in an unknown way."""


class Text(NamedTuple):
    """A body as bytes that hold ASCII, and how it was written."""

    text: bytes
    bom: bytes
    charset: str
    """Empty: as it is."""

    def written(self, text: bytes) -> bytes:
        """Write another text in the same way."""
        if not self.charset:
            return text
        return self.bom + text.decode("utf-8", "surrogatepass").encode(self.charset, "surrogatepass")


def as_text(body: bytes, content_type: bytes, *, truncated: bool = False) -> Text:
    """Read a body in its character set. One that holds ASCII, or none that is known, is left as it is."""
    bom, charset = _charset(body, content_type)
    if not charset:
        return Text(body, b"", "")
    raw = body[len(bom) :]
    if truncated:
        raw = raw[: len(raw) - len(raw) % (4 if "32" in charset else 2 if "16" in charset else 1)]
    try:
        text = raw.decode(charset, "surrogatepass")
        if text.encode(charset, "surrogatepass") != raw:
            return Text(body, b"", "")
        return Text(text.encode("utf-8", "surrogatepass"), bom, charset)
    except UnicodeError:
        return Text(body, b"", "")


def _charset(body: bytes, content_type: bytes) -> tuple[bytes, str]:
    for bom, charset in _BOMS:
        if body.startswith(bom):
            return bom, charset
    match = _CHARSET.search(content_type)
    named = _WIDE.get(match[1].lower().replace(b"_", b"-")) if match else None
    if named:
        # Without a mark it is big endian (RFC 2781), but what is sent is what the zeros say.
        if named in ("utf-16", "utf-32"):
            return b"", _by_zeros(body) or f"{named}-be"
        return b"", named
    return b"", _by_zeros(body)


def _by_zeros(body: bytes) -> str:
    """Tell wide characters by where the zeros are in ASCII (RFC 4627, section 3)."""
    head = body[:64]
    if b"\x00" not in head or len(head) < 4:
        return ""
    zeros = (not head[0], not head[1], not head[2], not head[3])
    return {
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
        (True, False, True, False): "utf-16-be",
        (False, True, False, True): "utf-16-le",
    }.get(zeros, "")


def names_of(value: bytes) -> list[bytes]:
    """Give the content encodings in the order in which they were applied, `identity` left out. Raises CannotUnpack."""
    found = [name.strip().lower() for name in value.split(b",")]
    found = [_SAME.get(name, name) for name in found if name not in (b"", b"identity")]
    if len(found) > MAX_ENCODINGS or any(name not in _KNOWN for name in found):
        raise CannotUnpackError(value)
    return found


_SAME = {b"x-gzip": b"gzip", b"x-deflate": b"deflate"}
_KNOWN = frozenset((b"gzip", b"deflate", b"raw-deflate", b"br", b"zstd"))


def unpack(body: bytes, encodings: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Undo all encodings, the last one first; give the body and the encodings to apply again. Raises CannotUnpack."""
    exact = list(encodings)
    for number in range(len(encodings) - 1, -1, -1):
        name = encodings[number]
        try:
            if name == b"deflate" and not _has_zlib_header(body):
                exact[number] = name = b"raw-deflate"  # wrong, and done by many
            body = _unpack_one(body, name)
        except (zlib.error, brotli.error, zstandard.ZstdError, MemoryError, EOFError) as error:
            raise CannotUnpackError(str(error)) from None
    return body, exact


def pack(body: bytes, encodings: list[bytes]) -> bytes:
    """Apply encodings in order."""
    for name in encodings:
        if name == b"br":
            body = brotli.compress(body, quality=4)
        elif name == b"zstd":
            body = zstandard.ZstdCompressor().compress(body)
        else:
            packer = zlib.compressobj(6, zlib.DEFLATED, _WINDOWS[name])
            body = packer.compress(body) + packer.flush()
    return body


_WINDOWS = {b"gzip": 31, b"deflate": 15, b"raw-deflate": -15}


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _unpack_one(body: bytes, name: bytes) -> bytes:
    """Undo one encoding, all of it. Raises what the library raises, or EOFError."""
    if name == b"br":
        brotli_decoder = brotli.Decompressor()
        plain: bytes = brotli_decoder.process(body, output_buffer_limit=MAX_UNPACKED + 1)
        finished = brotli_decoder.is_finished()
    elif name == b"zstd":
        zstd_decoder = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
        with zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(body) as reader:
            plain = reader.read(MAX_UNPACKED + 1)
        if len(plain) <= MAX_UNPACKED:
            zstd_decoder.decompress(body)  # it fits: find out whether it is whole
        finished = zstd_decoder.eof and not zstd_decoder.unused_data
    else:
        plain, finished = b"", False
        rest = body
        while rest:  # gzip may have several members
            decoder = zlib.decompressobj(_WINDOWS[name])
            plain += decoder.decompress(rest, MAX_UNPACKED + 1 - len(plain))
            finished = decoder.eof
            rest = decoder.unused_data
            if not finished or len(plain) > MAX_UNPACKED or name != b"gzip":
                finished = finished and not rest
                break
    if len(plain) > MAX_UNPACKED or not finished:
        raise EOFError("cut, or too large")
    return plain
