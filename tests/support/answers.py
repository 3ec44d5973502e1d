"""The native lane's parser of answers on its own (`native/answer.c`), and answers to feed it with, good and bad."""

import random
from collections.abc import Iterable
from ctypes import POINTER, Structure, c_bool, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_void_p
from itertools import pairwise
from typing import Any, NamedTuple

STARTS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 404", b"HTTP/1.1 503 \xe9", b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 101 Switching",
    b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 2x0 OK",
)  # fmt: skip
INTERIM = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
FIELDS = (
    b"Content-Length: 5", b"Content-Length: 0", b"content-length:5", b"Content-Length: 00005 ", b"Content-Length:",
    b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length : 5", b"Content-Length: 0x5",
    b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: CHUNKED ", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: keep-alive",
    b"Connection: closed", b"Connection: Keep-Alive, x", b"Connection: keep-alive, close", b"Connection: x,,close",
    b"X: y", b"X:\ta\tb\xff", b"X:\x01", b"X: \x7f", b" folded", b"X", b"X y: z", b"X\t: z", b": z", b"X: y\rz",
    b"X: \0", b"Keep-Alive: timeout=5",
)  # fmt: skip
BODIES = (
    b"hello", b"hell", b"", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0;c\r\nT: x\r\nU:\r\n\r\n", b"0\r\n\r\n",
    b"05\r\nhello\r\n000\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r\n0\r\n", b"g\r\n",
    b"5\r\nhello\r\n0\r\n: x\r\n\r\n", b"fffffffffffffffff\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
)  # fmt: skip


class Parsed(NamedTuple):
    """What came of the bytes: a status, or how they failed, and whether the connection may be used again."""

    outcome: int | str
    keep: bool


class _Answer(Structure):
    _fields_ = (
        *((name, c_uint8) for name in ("phase", "minor", "withheld")),
        *((name, c_bool) for name in ("keep", "chunked", "coded", "sized")),
        ("status", c_uint16),
        ("line", c_uint32),
        *((name, c_int64) for name in ("left", "size")),
        ("held", c_void_p),
        *((name, c_uint32) for name in ("held_length", "held_room")),
    )


def parse(code: Any, pieces: Iterable[bytes], *, head: bool = False) -> Parsed:
    """Feed pieces to the parser, and then tell it that the connection ended. `head`: they answer a HEAD request."""
    code.answer_begin.argtypes, code.answer_begin.restype = (POINTER(_Answer),), None
    code.answer_feed.argtypes = POINTER(_Answer), c_void_p, c_size_t, c_bool
    code.answer_closed.argtypes = (POINTER(_Answer),)
    code.answer_feed.restype = code.answer_closed.restype = c_int32
    answer = _Answer()
    try:
        for piece in pieces:
            exact = (c_uint8 * len(piece)).from_buffer_copy(piece)  # so that a sanitizer knows where it ends
            fed = code.answer_feed(answer, exact, len(piece), head)
            assert answer.held_room <= 4 * 65_536
            if fed == 1:
                return Parsed(answer.status, answer.keep)
            if fed == 2:
                return Parsed("protocol", keep=False)
        if not answer.size:
            return Parsed("closed", keep=False)
        return Parsed(answer.status if code.answer_closed(answer) == 1 else "truncated", keep=False)
    finally:
        code.answer_begin(answer)  # frees what it holds


def cut(draw: random.Random, whole: bytes) -> list[bytes]:
    """Cut bytes into pieces, none of them empty."""
    places = sorted({draw.randrange(len(whole) + 1) for _ in range(draw.choice((0, 1, 3, 40)))} | {0, len(whole)})
    return [whole[a:b] for a, b in pairwise(places)]


def broken(draw: random.Random) -> bytes:
    """Give what might have been an answer."""
    fields = [draw.choice(FIELDS) for _ in range(draw.randrange(4))]
    parts = [draw.choice(INTERIM) for _ in range(draw.choice((0, 0, 1, 2)))]
    parts += [b"\r\n".join((draw.choice(STARTS), *fields, b"", b"")), draw.choice(BODIES)]
    if draw.random() < 0.02:
        parts.insert(draw.randrange(len(parts)), draw.choice((b"x: y\r\n", b"x", b"1;")) * draw.randrange(80_000))
    content = bytearray(b"".join(parts))
    for _ in range(draw.choice((0, 0, 1, 3))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)
