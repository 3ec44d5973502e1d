"""Blocks of format version 1 as they were written once: to read them for ever, and to compare with."""

from collections.abc import Sequence

import msgpack

from captures.records import Record


def row(one: Record, previous_ns: int = 0) -> bytes:
    """Pack a record as version 1 did: an array of its fields, text that is not UTF-8 as bytes."""
    _, *texts, headers, body, body_size, status, size, ttfb, duration = one
    stored: list[str | bytes] = []
    for text in texts:
        try:
            str(text).encode()
            stored.append(text)
        except UnicodeEncodeError:
            stored.append(str(text).encode("utf-8", "surrogateescape"))
    fields = (one.arrival_ns - previous_ns, *stored, headers, body, body_size, status, size, ttfb, duration)
    packed: bytes = msgpack.packb(fields)
    return packed


def content(block: Sequence[Record]) -> bytes:
    """Pack a block."""
    befores = [0, *(one.arrival_ns for one in block)]
    return b"".join(row(one, before) for one, before in zip(block, befores, strict=False))
