"""A table of how often each URL was asked for: CSV with `url,count`. Pure.

The columns are found by their names (`url`, `path` or `route`; `count`, `requests` or `hits`; `method`), whatever else
there is; without a head, the first column is the URL and the second one the count. A URL is whole (``https://shop.example/``)
or a path, and may begin with a method (``GET /cart``). What came when is not known: requests are taken to have come
evenly over a time that has to be said.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from captures.exchange.http1 import split_url
from drill.sources.rates import MOST_REQUESTS, Rates, Route, ensure_room
from rules.exits import UserError

URLS = ("url", "path", "route", "uri", "page", "request")
COUNTS = ("count", "requests", "hits", "number", "total")
METHODS = ("method", "verb")
TIMES = ("timestamp", "time", "ts", "date", "datetime", "@timestamp", "start", "begin")
"""A table with such a column is one of requests, with the time of each."""

_HEAD = 10_000
"""Bytes by which the separator is told."""

_MOST = 1e15


class _Columns(NamedTuple):
    url: int
    number: int
    """Where the count is."""
    method: int | None
    head: bool
    """Whether the first row names them."""


def looks_like(name: str, start: bytes) -> bool:
    """Tell whether a file is a table of counts, by its name and its first bytes."""
    try:
        first = next(rows(start[:_HEAD]), [])
        columns = _columns(first)
    except (UserError, csv.Error):
        return False
    if any(cell.strip().lower() in TIMES for cell in first):
        return False
    plain = name.removesuffix(".gz").removesuffix(".zst")
    # Without a head, a number that is too large to be a count is a time.
    return columns.head or (plain.endswith((".csv", ".tsv")) and float(first[1]) <= MOST_REQUESTS)


def rows(text: bytes) -> Iterator[list[str]]:
    """Give the rows that are not empty, separated by comma, semicolon or tab. Raises csv.Error and UserError."""
    try:
        plain = text.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        plain = text.decode("latin-1")
    head = plain.partition("\n")[0]
    separator = max(",;\t", key=lambda one: (head.count(one), one == ","))
    yield from (row for row in csv.reader(io.StringIO(plain), delimiter=separator) if any(cell.strip() for cell in row))


def read(text: bytes, begin_ns: int, length_ns: int) -> Rates:
    """Read a table; its requests came from `begin_ns` on, for `length_ns`. Raises UserError."""
    counts: dict[tuple[str, str, str, str], float] = {}
    try:
        table = rows(text)
        first = next(table, None)
        if first is None:
            raise UserError("it is empty")
        columns = _columns(first)
        for number, row in enumerate(table if columns.head else _with(first, table), 2 if columns.head else 1):
            key, count = _row(row, number, columns)
            counts[key] = counts.get(key, 0.0) + count
            ensure_room(len(counts), 1)
    except csv.Error as error:
        raise UserError(f"it does not read as CSV: {error}") from None
    routes = tuple(
        Route(method, scheme, authority, path, (count,), known="grain" if count.is_integer() else "rate")
        for (method, scheme, authority, path), count in counts.items()
        if count
    )
    notes = ["the table does not tell when its requests came: they are taken to have come evenly"]
    if any(not route.method for route in routes):
        notes.append("where the table tells no method it is GET, unless an example shows another one")
    return Rates(begin_ns, length_ns, routes, notes=tuple(notes))


def _with(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def _columns(first: Sequence[str]) -> _Columns:
    """Find the columns by the first row. Raises UserError."""
    names = [cell.strip().lower() for cell in first]
    url = next((names.index(name) for name in URLS if name in names), None)
    count = next((names.index(name) for name in COUNTS if name in names), None)
    method = next((names.index(name) for name in METHODS if name in names), None)
    if url is not None and count is not None:
        return _Columns(url, count, method, head=True)
    if len(first) >= 2 and _counted(first):
        return _Columns(0, 1, None, head=False)
    raise UserError("it has no columns named url and count, and its first row is no URL with a number")


def _counted(row: Sequence[str]) -> bool:
    return len(row) >= 2 and "/" in row[0] and re.fullmatch(r"\s*\d+(\.\d+)?\s*", row[1]) is not None


def _row(row: Sequence[str], number: int, columns: _Columns) -> tuple[tuple[str, str, str, str], float]:
    """Read a row. Raises UserError."""
    if len(row) <= max(columns.url, columns.number):
        raise UserError(f"row {number}: it has too few columns")
    try:
        count = float(row[columns.number].strip())
    except ValueError:
        count = -1.0
    if not 0 <= count < _MOST:  # not a number, too
        raise UserError(f"row {number}: {row[columns.number][:20]!r} is no count")
    said = row[columns.method].strip().upper() if columns.method is not None and len(row) > columns.method else ""
    url = row[columns.url].strip()
    if match := re.match(r"([A-Z]{3,20})\s+(?=\S)", url):
        said, url = match[1], url[match.end() :]
    if re.search(r"[\x00-\x20\x7f]", url) or not re.fullmatch(r"[!-~]{0,64}", said):
        raise UserError(f"row {number}: {url[:60]!r} is no URL")
    if url.startswith("/"):
        return (said, "", "", url.partition("#")[0]), count
    try:
        return (said, *split_url(url if "://" in url else f"https://{url}")), count
    except ValueError:
        raise UserError(f"row {number}: {url[:60]!r} is no URL and no path") from None
