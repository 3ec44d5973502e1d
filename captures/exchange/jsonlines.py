"""One JSON object a line, with everything that a record has: for pipes, scripts and data frames. Pure but for files.

Text and header bytes that are not UTF-8 stand as ``{"base64": "..."}``, and so does a body that is not.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from captures.columns import MAX_TIME
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.exchange.streams import lines
from captures.moments import iso
from captures.records import Record

_NUMBERS = ("body_size", "status", "response_size", "ttfb_ns", "duration_ns")
_TEXTS = ("method", "scheme", "authority", "path", "http_version")


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like one of ours."""
    return start.startswith(b"{") and b'"arrival_ns"' in start


def as_object(record: Record) -> dict[str, Any]:
    """Give a record as what JSON can hold. `time` is for people; `arrival_ns` counts."""
    return {
        "time": iso(record.arrival_ns),
        "arrival_ns": record.arrival_ns,
        **{name: _text(getattr(record, name).encode("utf-8", "surrogateescape")) for name in _TEXTS},
        "headers": [[_text(name), _text(value)] for name, value in record.headers],
        "body": _text(record.body),
        **{name: getattr(record, name) for name in _NUMBERS},
    }


def from_object(value: Any) -> Record:
    """Read such an object. Raises ValueError."""
    try:
        fields: dict[str, Any] = {
            "arrival_ns": _number(value["arrival_ns"]),
            "headers": tuple((_bytes(name), _bytes(content)) for name, content in value["headers"]),
            "body": _bytes(value["body"]),
            **{name: _bytes(value[name]).decode("utf-8", "surrogateescape") for name in _TEXTS},
            **{name: _number(value[name], -1 if name == "ttfb_ns" else 0) for name in _NUMBERS},
        }
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]!r}") from None
    except (TypeError, AttributeError):
        raise ValueError("it is no record: a field has a wrong type") from None
    return Record(**fields)


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:  # noqa: ARG001 - it is all there
    """Read records, one a line."""
    for number, line in lines(file, notes):
        if not line.strip():
            continue
        try:
            yield from_object(json.loads(line))
        except (ValueError, RecursionError) as error:
            notes.broken(f"line {number}", _why(error))


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:  # noqa: ARG001
    """Write records, one a line. Nothing is lost."""
    file.writelines(
        json.dumps(as_object(record), ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for record in records
    )


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"it is no JSON ({error})" if isinstance(error, json.JSONDecodeError) else str(error)


def _text(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(raw).decode()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return b64decode(value["base64"], validate=True)
    text: str = value
    return text.encode()


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < MAX_TIME:
        raise ValueError(f"{str(value)[:40]!r} is no such number")
    return value
