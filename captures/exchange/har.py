"""HAR 1.2, as browsers and proxies write it. Pure but for the files given.

One JSON document, however large: it is read in pieces, and no more of it is held than one entry. Times in a HAR are
those of the client: a request leaves it after ``blocked + dns + connect`` (`ssl` is part of `connect`), and that is
what counts as its arrival here. See http://www.softwareishard.com/blog/har-12-spec/. mitmproxy's are those of the
proxy: a request starts when it arrives there, and `connect` is of the connection to the server, made at any time.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode

import ijson

from captures.columns import MAX_TIME
from captures.errors import CaptureError
from captures.exchange import http1
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.exchange.streams import CHUNK
from captures.exchange.vegeta import url, utf8
from captures.moments import SECOND
from captures.records import Record

MAX_VALUE = 64 << 20
"""Bytes of one JSON value, and of one entry without its answer's body."""

_DEPTH = 64
_ENTRY = "log.entries.item"
_LARGE = frozenset(f"{_ENTRY}.response.content.{name}" for name in ("text", "_text", "comment"))
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_VERSIONS = {
    "h2": "HTTP/2.0",
    "http/2": "HTTP/2.0",
    "http/2.0": "HTTP/2.0",
    "h3": "HTTP/3.0",
    "http/3": "HTTP/3.0",
    "http/3.0": "HTTP/3.0",
}

_LEAVING = ("blocked", "dns", "connect")
"""What a client spends on an entry before its request leaves."""
_PROXIES = ("mitmproxy",)
"""What the names of creators begin with whose entries start when the request arrives (of old: ``mitmproxy har_dump``).
A creator that is named after its entries is not known in time."""

LOSES = {
    "arrival_ns": "time that ISO 8601 cannot say (after the year 9999)",
    "scheme": "scheme that is neither http nor https",
    "authority": "host that no URL can hold, or none",
    "path": "path that no URL can hold as it was (a fragment, none at all, bytes that are not UTF-8)",
    "http_version": "spelling of the HTTP version",
    "headers": "header bytes that are not UTF-8, pseudo-headers",
    "method": "method that is not UTF-8",
    "body_size": "size that is less than the body's",
    "ttfb_ns": "time to the first byte of a request without a whole answer",
    "duration_ns": "duration beyond what a HAR's milliseconds can say",
    "response_size": "size of an answer beyond what JSON can say",
}


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like a HAR."""
    return bool(re.match(rb'\s*\{\s*"log"\s*:', start.removeprefix(b"\xef\xbb\xbf")))


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read requests. Raises CaptureError if the document is no JSON or no HAR; what came before was given."""
    for number, (creator, entry) in enumerate(_entries(file, notes), 1):
        where = f"entry {number}"
        if isinstance(entry, str):
            notes.broken(where, entry)
            continue
        try:
            record = _record(entry, options, notes, () if creator.startswith(_PROXIES) else _LEAVING)
        except KeyError as error:
            notes.broken(where, f"it has no {error.args[0]!r}")
        except (ValueError, OverflowError) as error:
            notes.broken(where, str(error))
        except (TypeError, AttributeError, IndexError):
            notes.broken(where, "a field has a wrong type")
        else:
            if record is not None:
                yield record


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:  # noqa: ARG001
    """Write one document, an entry a line. What answers there were is told without their bodies."""
    creator = {"name": "reamp", "version": "1"}
    head = json.dumps({"version": "1.2", "creator": creator, "pages": []})[:-1]
    file.write(f'{{"log": {head}, "entries": ['.encode())
    separator = b"\n"
    plain, scratch = ReadOptions(iter(())), Notes()
    for record in records:
        try:
            entry = _entry(record)
        except (ValueError, OverflowError, OSError):
            notes.skip("records whose time ISO 8601 cannot say")
            continue
        back = _record(entry, plain, scratch)
        if back is None:
            raise AssertionError("what was written is a request")
        notes.compare(record, back, LOSES)
        file.write(separator + json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode())
        separator = b",\n"
    file.write(b"\n]}}\n")


# --- reading ---


def _entries(file: BinaryIO, notes: Notes) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Give entries, or what is wrong with one, each with its creator's name, without ever holding more than one."""
    assembly, creator, pages, seen_log = _Assembly(), "", 0, False
    for prefix, event, value in _events(file):
        if prefix == _ENTRY or prefix.startswith(_ENTRY + "."):
            if done := assembly.add(prefix, event, value):
                yield creator, done
        elif prefix == "log.creator.name" and isinstance(value, str):
            creator = value
        elif prefix == "log.entries" and event == "start_array":
            seen_log = True
        elif prefix == "log.pages.item" and event == "start_map":
            pages += 1
    if not seen_log:
        raise CaptureError("it is no HAR: it has no log with entries")
    if pages:
        notes.lose("pages of a HAR, with the times of their loading", pages)


def _events(file: BinaryIO) -> Iterator[tuple[str, str, Any]]:
    """Parse the document in pieces."""
    events = ijson.sendable_list()
    parser = ijson.parse_coro(events, use_float=True)
    chunk = file.read(CHUNK).removeprefix(b"\xef\xbb\xbf")  # what some Windows tools begin with
    since = 0
    while chunk:
        since += len(chunk)
        _send(parser, chunk)
        if events:
            since = 0
        elif since > MAX_VALUE:
            raise CaptureError(f"it holds a value of more than {MAX_VALUE >> 20} MiB")
        yield from events
        del events[:]
        chunk = file.read(CHUNK)
    _send(parser, b"")


def _send(parser: Any, chunk: bytes) -> None:
    """Feed the parser; nothing more is the end of the document."""
    try:
        if chunk:
            parser.send(chunk)
        else:
            parser.close()
    except ijson.JSONError as error:
        words = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise CaptureError(f"it is no JSON ({words})") from None


class _Assembly:
    """Puts one entry together from events; of a hostile one only that it is."""

    def __init__(self) -> None:
        self._depth = self._size = 0
        self._why = ""
        self._builder: Any = ijson.ObjectBuilder()

    def add(self, prefix: str, event: str, value: Any) -> dict[str, Any] | str | None:
        """Add an event; give the entry if that ended it."""
        if event in {"start_map", "start_array"}:
            if not self._depth:
                self._size, self._why, self._builder = 0, "", ijson.ObjectBuilder()
            self._depth += 1
        elif event in {"end_map", "end_array"}:
            self._depth -= 1
        elif event == "string" and prefix in _LARGE:
            value = ""
        self._take(event, value)
        if self._depth:
            return None
        made = None if self._why else self._builder.value
        return made if isinstance(made, dict) else self._why or "it is no object"

    def _take(self, event: str, value: Any) -> None:
        self._size += 64 + (len(value) if isinstance(value, str) else 0)
        if self._depth > _DEPTH:
            self._why = "it is nested too deep"
        elif self._size > MAX_VALUE:
            self._why = f"it is larger than {MAX_VALUE >> 20} MiB"
        if self._why:
            self._builder = None  # with what was held of it
        else:
            self._builder.event(event, value)


def _record(
    entry: Mapping[str, Any], options: ReadOptions, notes: Notes, leaving: tuple[str, ...] = _LEAVING
) -> Record | None:
    """Read one entry; None for one that was never sent. Raises whatever a wrong field leads to.

    `leaving` names the timings that passed between the entry's start and its request's.
    """
    request, response = entry["request"], entry.get("response") or {}
    address = _words(request["url"])
    if not re.match(r"(?:http|ws)s?:", address, re.IGNORECASE):
        notes.skip(f"URLs of another kind ({address.partition(':')[0][:20]}:)")
        return None
    if entry.get("_fromCache"):
        notes.skip("requests that the browser answered from its cache")
        return None
    scheme, authority, path = http1.split_url(address)
    headers = tuple(
        (name.encode("utf-8", "replace"), value.encode("utf-8", "replace"))
        for name, value in map(_pair, request.get("headers") or ())
        if not name.startswith(":")
    )
    arrival, timings = _time(_words(entry["startedDateTime"])), entry.get("timings") or {}
    arrival += sum(_nanoseconds(timings.get(name)) for name in leaving)
    body, size = _body(request, notes)
    status = _whole(response.get("status"))
    ttfb = _nanoseconds(timings.get("send")) + _nanoseconds(timings.get("wait"))
    receive = _nanoseconds(timings.get("receive"))
    duration = ttfb + receive if timings else _nanoseconds(entry.get("time"))
    if entry.get("_webSocketMessages"):
        notes.lose("WebSocket messages after the upgrade")
    if response.get("headers") or (response.get("content") or {}).get("text") is not None:
        notes.lose("headers and bodies of answers: a capture keeps status, size and times")
    if not 0 <= arrival < MAX_TIME or duration >= MAX_TIME:
        raise ValueError("its time is out of range")
    return Record(
        arrival_ns=arrival,
        method=_words(request["method"]),
        scheme=scheme,
        authority=authority or options.authority,
        path=path,
        http_version=_version(_words(request.get("httpVersion") or "")),
        headers=headers,
        body=body,
        body_size=size,
        status=status,
        response_size=_answer_size(response),
        # Without an answer, and with nothing received, all of the time was spent waiting for its first byte.
        ttfb_ns=-1 if not status and not receive else ttfb,
        duration_ns=duration,
    )


def _pair(field: Any) -> tuple[str, str]:
    """Give a header's name and value; most tools write objects, some pairs."""
    if isinstance(field, dict):
        return _words(field["name"]), _words(field["value"])
    return _words(field[0]), _words(field[1])


def _body(request: Mapping[str, Any], notes: Notes) -> tuple[bytes, int]:
    """Give the body and the size that was sent."""
    told = _whole(request.get("bodySize"))
    posted = request.get("postData")
    if not posted:
        if told:
            notes.lose("bodies that the HAR does not hold")
        return b"", told
    text, body = posted.get("text"), b""
    if text:
        body = (
            b64decode(_words(text), validate=True)
            if posted.get("encoding") == "base64"
            else _words(text).encode("utf-8", "replace")
        )
    elif params := posted.get("params"):
        kind = _words(posted.get("mimeType") or "").partition(";")[0].strip().lower()
        if kind not in {"", "application/x-www-form-urlencoded"}:
            notes.lose(f"bodies that stand as parameters only ({kind[:60]})")
            return b"", max(told, 1)
        body = urlencode([(_words(p["name"]), _words(p.get("value") or "")) for p in params]).encode()
    return body, max(told, len(body))


def _answer_size(response: Mapping[str, Any]) -> int:
    """Give the bytes on the wire, or if the HAR does not say, those of the content."""
    sent = response.get("bodySize")
    if isinstance(sent, (int, float)) and sent >= 0:
        return _whole(sent)
    return _whole((response.get("content") or {}).get("size"))


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    """Give a number, 0 for what a HAR does not know (-1)."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    number = int(value)
    if number >= MAX_TIME:
        raise ValueError("a number is out of range")
    return max(0, number)


def _nanoseconds(milliseconds: Any) -> int:
    if milliseconds is None:
        return 0
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        raise TypeError
    return round(max(0.0, milliseconds) * 1e6)


def _version(text: str) -> str:
    lower = text.strip().lower()
    if lower in _VERSIONS:
        return _VERSIONS[lower]
    if lower in {"", "unknown"}:
        return "HTTP/1.1"
    return text.upper() if lower.startswith("http/") else text


def _time(text: str) -> int:
    """Read a moment down to nanoseconds, of which `datetime` keeps but microseconds."""
    match = _MOMENT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:40]!r} is no time of ISO 8601")
    zone = "+00:00" if match[3] is None or match[3] in {"Z", "z"} else match[3]
    at = datetime.fromisoformat(match[1].replace(" ", "T").upper() + zone)
    return int(at.timestamp()) * SECOND + int((match[2] or "").ljust(9, "0"))


# --- writing ---


def _entry(record: Record) -> dict[str, Any]:
    seconds, rest = divmod(record.arrival_ns, SECOND)
    started = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    headers = [{"name": utf8(name), "value": utf8(value)} for name, value in record.headers]
    path = utf8(record.path.encode("utf-8", "surrogateescape"))
    ttfb = record.duration_ns if record.ttfb_ns < 0 else record.ttfb_ns
    version = utf8(record.http_version.encode("utf-8", "surrogateescape"))
    request: dict[str, Any] = {
        "method": utf8(record.method.encode("utf-8", "surrogateescape")),
        "url": url(record, ""),
        "httpVersion": version,
        "cookies": _cookies(headers),
        "headers": headers,
        "queryString": [{"name": n, "value": v} for n, v in _query(path)],
        "headersSize": -1,
        "bodySize": record.body_size,
    }
    if record.body:
        request["postData"] = _posted(record)
    return {
        "startedDateTime": started,
        "time": record.duration_ns / 1e6,
        "request": request,
        "response": {
            "status": record.status,
            "statusText": _phrase(record.status),
            "httpVersion": version,
            "cookies": [],
            "headers": [],
            "content": {"size": record.response_size, "mimeType": ""},
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": record.response_size,
        },
        "cache": {},
        "timings": {"send": 0, "wait": ttfb / 1e6, "receive": max(0, record.duration_ns - ttfb) / 1e6},
    }


def _query(path: str) -> list[tuple[str, str]]:
    return parse_qsl(path.partition("#")[0].partition("?")[2], keep_blank_values=True)


def _cookies(headers: list[dict[str, str]]) -> list[dict[str, str]]:
    pairs = (
        pair.strip().partition("=")
        for header in headers
        if header["name"].lower() == "cookie"
        for pair in header["value"].split(";")
    )
    return [{"name": name, "value": value} for name, equals, value in pairs if equals]


def _posted(record: Record) -> dict[str, Any]:
    kind = utf8(http1.header(record.headers, b"content-type"))
    try:
        return {"mimeType": kind, "params": [], "text": record.body.decode()}
    except UnicodeDecodeError:
        # The specification knows `encoding` for answers only; what reads HARs takes it here as well.
        return {"mimeType": kind, "params": [], "text": b64encode(record.body).decode(), "encoding": "base64"}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
