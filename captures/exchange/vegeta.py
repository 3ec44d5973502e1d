"""vegeta's targets: the http format (read) and JSON, one a line (read and written). Pure but for the files given.

See `lib/targets.go` and `lib/target.schema.json` of vegeta. A target is a request and nothing else: no time, no answer.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from captures.exchange import http1
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.exchange.streams import lines
from captures.records import Headers, Record

_METHOD = re.compile(rb"[A-Z]+\s")

NOWHERE = "unknown.invalid"
"""Stands where a URL needs a host and the record has none."""

LOSES = {
    "arrival_ns": "time of arrival (vegeta has a rate of its own)",
    "scheme": "scheme and host that were recorded (another target was asked for)",
    "authority": "host that was recorded (another target was asked for, or there was none)",
    "path": "path that no URL can hold as it was",
    "http_version": "HTTP version",
    "headers": "order of headers whose name is repeated, or header bytes that are not UTF-8",
    "body_size": "size of a body that was cut",
    "status": "status",
    "response_size": "size of the answer",
    "ttfb_ns": "time to the first byte",
    "duration_ns": "duration",
    "method": "method that is not UTF-8",
}


class _Target(BaseModel):
    """One target, as vegeta's schema has it."""

    model_config = ConfigDict(strict=True)

    method: str = "GET"
    url: str
    body: str = ""
    header: dict[str, list[str]] = {}


_KEYS = frozenset({"method", "url", "header", "body"})


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like targets in either format."""
    if start.startswith(b"{"):
        line = start.partition(b"\n")[0]
        try:
            keys = set(json.loads(line))
        except (ValueError, RecursionError):  # its beginning only: a body is long
            begins = re.match(rb'\{\s*"(?:method|url|header|body)"\s*:', line)
            return bool(begins) and b'"method"' in line and b'"url"' in line
        return {"method", "url"} <= keys <= _KEYS  # what has a time or a status, too, is a log
    rows = [line.strip() for line in start.splitlines()]
    first = next((line for line in rows if line and not line.startswith(b"#")), b"")
    return bool(re.match(rb"[A-Z]+ +https?://\S+$", first))


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read targets of either format; both may stand in one file."""
    block: list[tuple[int, bytes]] = []
    for number, line in lines(file, notes):
        stripped = line.strip()
        starts = stripped.startswith(b"{") or bool(_METHOD.match(stripped + b" "))
        if block and (starts or not stripped):
            yield from _one(block, options, notes)
            block = []
        if stripped and (block or not stripped.startswith(b"#")):
            if stripped.startswith(b"{"):
                yield from _one([(number, stripped)], options, notes)
            elif len(block) < 10_000:
                block.append((number, stripped))
    if block:
        yield from _one(block, options, notes)


def _one(block: list[tuple[int, bytes]], options: ReadOptions, notes: Notes) -> Iterator[Record]:
    number, first = block[0]
    try:
        if first.startswith(b"{"):
            yield _from_json(json.loads(first), options)
        else:
            yield _from_text(first, [line for _, line in block[1:]], options)
    except ValidationError as error:
        wrong = error.errors()[0]
        notes.broken(f"line {number}", f"it is no target: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"[:200])
    except (ValueError, RecursionError) as error:
        odd = isinstance(error, (json.JSONDecodeError, RecursionError))
        notes.broken(f"line {number}", f"it is no JSON ({error})" if odd else str(error))


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write targets in JSON. vegeta sends them in turn at a rate of its own; the mix is the recording's."""
    for record in records:
        made = _as_json(record, options.target)
        # Its time is the one thing that reading gives anew: every record's is lost.
        notes.compare(record, _from_json(made, ReadOptions(iter((-1,)))), LOSES)
        file.write(json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def url(record: Record, target: str) -> str:
    """Give the URL of a request, at `target` if that is named."""
    path = record.path if record.path.startswith("/") else f"/{record.path}"
    base = target.rstrip("/") or f"{record.scheme}://{record.authority or NOWHERE}"
    return utf8((base + path).encode("utf-8", "surrogateescape"))


def utf8(raw: bytes) -> str:
    """Give text that JSON can hold."""
    return raw.decode("utf-8", "replace")


def _as_json(record: Record, target: str) -> dict[str, Any]:
    header: dict[str, list[str]] = {}
    for name, value in record.headers:
        header.setdefault(utf8(name), []).append(utf8(value))
    made: dict[str, Any] = {
        "method": utf8(record.method.encode("utf-8", "surrogateescape")),
        "url": url(record, target),
    }
    if record.body:
        made["body"] = b64encode(record.body).decode()
    if header:
        made["header"] = header
    return made


def _from_json(value: Any, options: ReadOptions) -> Record:
    """Read a target in JSON. Raises ValueError (pydantic's is one)."""
    target = _Target.model_validate(value)
    rows = tuple((_encoded(name), _encoded(one)) for name, several in target.header.items() for one in several)
    return request(target.method, target.url, rows, b64decode(target.body, validate=True), options)


def _from_text(first: bytes, rest: list[bytes], options: ReadOptions) -> Record:
    """Read a target of several lines. Raises ValueError."""
    method, _, where = first.partition(b" ")
    if not re.fullmatch(rb"[A-Z]+", method):
        raise ValueError(f"{first[:60]!r} is no target: it does not start with a method")
    headers = []
    for line in rest:
        if line.startswith(b"@"):
            raise ValueError("its body lies in another file, which is not read: use vegeta's JSON format")
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise ValueError(f"{line[:60]!r} is no header")
        headers.append((name.strip(), value.strip()))
    return request(method.decode(), where.strip().decode("utf-8", "surrogateescape"), tuple(headers), b"", options)


def request(method: str, url: str, headers: Headers, body: bytes, options: ReadOptions) -> Record:
    """Make the record of a request that has no time and no answer. Raises ValueError."""
    scheme, authority, path = http1.split_url(url)
    return Record(
        arrival_ns=next(options.times),
        method=method,
        scheme=scheme,
        authority=authority,
        path=path,
        http_version="HTTP/1.1",
        headers=headers,
        body=body,
        body_size=len(body),
        status=0,
        response_size=0,
        ttfb_ns=-1,
        duration_ns=0,
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
