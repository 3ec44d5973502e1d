"""CSV with a request a row: what it was, and when. Pure but for the files.

Columns are known by the names in the first row: `url` (with host or without), `timestamp`, and if there are any,
`method`, `status`, `duration` (seconds; `duration_ms`), `bytes`, `host`, `user_agent`. Without such a row, the first
column that holds a URL and the first that holds a time count. Commas, semicolons and tabs separate.

Times are as access logs have them: ISO 8601, Common Log Format, or Unix time; and in what step they are written counts
just as it does there.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from captures.errors import CaptureError
from captures.exchange.accesslog import MAX_LOG_LINE, records_of
from captures.exchange.logformats import Field, Values
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from captures.exchange.streams import lines
from captures.records import Record

_KNOWN = {
    **dict.fromkeys(("url", "uri", "path", "request_uri", "target"), Field("target")),
    "request": Field("request"),
    **dict.fromkeys(
        ("timestamp", "time", "ts", "date", "datetime", "@timestamp", "start", "begin"), Field("begin", "auto")
    ),
    **dict.fromkeys(("method", "verb", "request_method", "http_method"), Field("method")),
    **dict.fromkeys(("status", "code", "status_code"), Field("status")),
    **dict.fromkeys(("duration", "seconds", "request_time", "response_time"), Field("duration", "s")),
    **dict.fromkeys(("duration_ms", "ms", "response_time_ms", "latency_ms"), Field("duration", "ms")),
    **dict.fromkeys(("bytes", "size", "body_bytes_sent", "bytes_sent"), Field("size")),
    **dict.fromkeys(("host", "domain", "authority"), Field("host")),
    "scheme": Field("scheme"),
    "user_agent": Field("header", "User-Agent"),
}
_ASKED = frozenset({"target", "request"})
_URL = re.compile(r"(?:https?:/)?/\S*", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*|\d{9,19}(?:\.\d+)?|\[?\d\d/\w{3}/\d{4}:.*")
_SEPARATORS = ",;\t"

Columns = Sequence[Field | None]


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like such a table."""
    first = next((line for line in start.splitlines() if line.strip()), b"")
    return len(first) <= MAX_LOG_LINE and _columns(_text(first)) is not None


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read rows. Raises CaptureError if the first one tells neither what the columns are nor has a URL and a time."""
    return records_of(_rows(file, notes), options, notes)


def _rows(file: BinaryIO, notes: Notes) -> Iterator[tuple[int, Values]]:
    known: tuple[str, Columns, bool] | None = None
    for number, line in lines(file, notes, MAX_LOG_LINE):
        text = _text(line)
        if not text.strip():
            continue
        if known is None:
            known = _columns(text)
            if known is None:
                raise CaptureError("its first line names no columns url and timestamp, and holds no URL with a time")
            if known[2]:
                continue
        separator, columns, _ = known
        cells = _cells(text, separator)
        if len(cells) < len(columns):
            notes.broken(f"line {number}", f"it has {len(cells)} columns instead of {len(columns)}")
            continue
        yield (
            number,
            [
                (field, cell)
                for field, cell in zip(columns, map(str.strip, cells), strict=False)
                if field is not None and cell and cell != "-"
            ],
        )


def _columns(text: str) -> tuple[str, Columns, bool] | None:
    """Tell the separator, what each column is, and whether the row is one of names; None if it is no such table."""
    for separator in _SEPARATORS:
        cells = [cell.strip() for cell in _cells(text, separator)]
        if len(cells) < 2:
            continue
        named = [_KNOWN.get(cell.lower().replace(" ", "_").replace("-", "_")) for cell in cells]
        if _enough(named):
            return separator, _once(named), True
        guessed = [
            Field("target") if _URL.fullmatch(cell) else Field("begin", "auto") if _TIME.fullmatch(cell) else None
            for cell in cells
        ]
        if _enough(guessed):
            return separator, _once(guessed), False
    return None


def _enough(columns: Columns) -> bool:
    kinds = {field.what for field in columns if field is not None}
    return bool(kinds & _ASKED) and "begin" in kinds


def _once(columns: Columns) -> Columns:
    """Let each thing be told by the first column that has it."""
    seen: set[str] = set()
    kept: list[Field | None] = []
    for field in columns:
        kept.append(None if field is None or field.what in seen else field)
        seen |= {field.what} if field is not None else set()
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _cells(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:
        return []


def _text(line: bytes) -> str:
    return line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
