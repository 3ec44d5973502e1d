"""Blocks of format version 1: a run of records, each an array of its own. Read for ever, written no more. Pure."""

from typing import Any

import msgpack

from captures.bounds import MAX_ROW_ITEMS, Budget
from captures.columns import MAX_BLOCK, MAX_HEADERS, MAX_TIME, Rows
from captures.errors import CaptureError
from captures.records import Record

# What msgpack raises over broken bytes: its own exceptions, ValueError for bounds and text, TypeError for odd keys.
_UNPACKING = (msgpack.UnpackException, ValueError, TypeError, OverflowError)

# A record from checked fields, at half the price of the call with thirteen arguments.
_make = tuple.__new__


def decode(content: bytes, promised: int) -> Rows:
    """Unpack a block that promises so many records. Raises CaptureError."""
    return Rows(unpack_records(content, promised))


def unpack_records(data: bytes, count: int) -> list[Record]:
    """Unpack a block's records in the order in which they were written. Raises CaptureError."""
    budget = Budget(MAX_ROW_ITEMS)
    unpacker = msgpack.Unpacker(
        use_list=False,
        max_buffer_size=MAX_BLOCK,
        max_array_len=MAX_HEADERS,
        max_map_len=0,
        max_ext_len=0,
        object_pairs_hook=budget.map,
        list_hook=budget.array,
    )
    # One that makes nothing goes ahead: see `bounds.first_length`.
    ahead = msgpack.Unpacker(max_buffer_size=MAX_BLOCK)
    records: list[Record] = []
    arrival = 0
    try:
        ahead.feed(data)
        unpacker.feed(data)
        while ahead.tell() < len(data):
            ahead.skip()
            row = unpacker.unpack()
            budget.check()
            delta, method, scheme, authority, path, version, headers, body, body_size, status, size, ttfb, dur = row
            arrival += delta
            if not (
                type(method) is type(scheme) is type(authority) is type(path) is type(version) is str
                and type(body) is bytes
                and type(headers) is tuple
                and type(delta) is type(body_size) is type(status) is type(size) is type(ttfb) is type(dur) is int
                and 0 <= arrival < MAX_TIME
                and 0 <= body_size < MAX_TIME
                and 0 <= status < MAX_TIME
                and 0 <= size < MAX_TIME
                and -1 <= ttfb < MAX_TIME
                and 0 <= dur < MAX_TIME
            ):
                records.append(_odd_record(arrival, row))
                continue
            for name, value in headers:
                if type(name) is not bytes or type(value) is not bytes:
                    raise CaptureError("a header is not bytes")
            records.append(_make(Record, (arrival, *row[1:])))
    except _UNPACKING as error:
        raise CaptureError(f"its records do not unpack ({error or type(error).__name__})") from None
    if len(records) != count or unpacker.tell() != len(data):
        raise CaptureError(f"it holds {len(records)} records and promised {count}")
    return records


def _odd_record(arrival: int, row: tuple[Any, ...]) -> Record:
    """Read a record whose texts may be bytes (not UTF-8). Raises CaptureError for anything else."""
    texts, (headers, body, *numbers) = row[1:6], row[6:]
    if (
        type(body) is not bytes
        or any(type(number) is not int for number in (row[0], *numbers))
        or not (0 <= arrival < MAX_TIME and numbers[3] >= -1 and max(numbers) < MAX_TIME)
        or min(*numbers[:3], numbers[4]) < 0
        or type(headers) is not tuple
        or any(type(part) is not bytes for name, value in headers for part in (name, value))
    ):
        raise CaptureError("a record has a field of a wrong type, or beyond its bounds")
    decoded = []
    for text in texts:
        if type(text) not in {str, bytes}:
            raise CaptureError("a record has a text of a wrong type")
        decoded.append(text if isinstance(text, str) else text.decode("utf-8", "surrogateescape"))
    return Record._make((arrival, *decoded, headers, body, *numbers))
