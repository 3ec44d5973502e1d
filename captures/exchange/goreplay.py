"""GoReplay's text files: requests, with the answers that were recorded beside them. Pure but for the files it is given.

An entry is a line (``1 <id> <Unix ns> <latency>``; 1 is a request, 2 its answer, 3 the answer to a replay), then the
message as it was on the wire, then a line of three monkeys. See GoReplay's `input_file.go` and `protocol.go`; what the
numbers of an answer mean has changed over its versions:

- three words: the last one is how long the request took, in nanoseconds;
- four words: when the answer began (in some versions: the request), and how long the request took.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import BinaryIO, NamedTuple

from captures.columns import MAX_TIME
from captures.exchange import http1
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.exchange.streams import CHUNK, MAX_LINE
from captures.records import Record

SEPARATOR = "\n🐵🙈🙉\n".encode()

_HEAD = re.compile(rb"([123]) ([0-9A-Za-z_-]{1,128}) (\d{1,19})(?: (-?\d{1,19}))?[^\n]{0,128}\n")
_NEXT = re.compile(rb"[123] [0-9A-Za-z_-]{1,128} \d{1,19}(?: -?\d{1,19})?[ \r]*\n")
_LOOK_AHEAD = 1024

LOSES = {
    "scheme": "scheme https (import with --scheme https)",
    "authority": "host that is not the Host header's",
    "path": "path",
    "http_version": "HTTP version (written as HTTP/1.1)",
    "headers": "headers as they were: Host or Content-Length was added or put right, or blanks around a value went",
    "body_size": "size of a body that was cut",
    "status": "status",
    "response_size": "size of the answer",
    "ttfb_ns": "time to the first byte, where GoReplay's numbers cannot say it",
    "duration_ns": "duration of a request without an answer",
}


class _Entry(NamedTuple):
    kind: int
    id: bytes
    number: int
    latency: int | None
    message: bytes


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like one of GoReplay's."""
    return bool(_NEXT.match(start))


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read requests and join their answers to them."""
    waiting = _Waiting(options, notes)
    for where, entry in _entries(file, notes):
        try:
            yield from waiting.request(entry) if entry.kind == 1 else waiting.answer(entry)
        except ValueError as error:
            notes.broken(where, str(error))
        yield from waiting.too_long()
    yield from waiting.rest()


class _Waiting:
    """Requests whose answers have not come yet. A bounded number: in GoReplay's files they follow within moments."""

    _MOST = 10_000
    _MOST_SIZE = 64 << 20

    def __init__(self, options: ReadOptions, notes: Notes) -> None:
        self._options = options
        self._notes = notes
        self._size = 0
        self._held: OrderedDict[bytes, tuple[Record, bool]] = OrderedDict()
        """By id, and whether what answered it was the target of a replay."""

    def request(self, entry: _Entry) -> Iterator[Record]:
        """Take a request in; give the one that had its id, if any. Raises ValueError."""
        record = _request(entry, self._options)
        if before := self._held.pop(entry.id, None):
            yield before[0]
        self._held[entry.id] = (record, False)
        self._size += len(entry.message)

    def answer(self, entry: _Entry) -> Iterator[Record]:
        """Join an answer to its request, and give it unless a better answer may come. Raises ValueError."""
        known = self._held.get(entry.id)
        if known is None:
            self._notes.skip("answers without their request, or a second one")
        elif entry.kind == 2:
            del self._held[entry.id]
            self._size -= len(known[0].body)
            yield _answered(known[0], entry)
        elif not known[1]:
            self._held[entry.id] = (_answered(known[0], entry), True)
            self._notes.say("where no original answer follows, the answer to GoReplay's own replay is taken")

    def too_long(self) -> Iterator[Record]:
        """Give the older half if there are too many."""
        if len(self._held) > self._MOST or self._size > self._MOST_SIZE:
            for _ in range((len(self._held) + 1) // 2):
                yield self._held.popitem(last=False)[1][0]
            self._size = sum(len(record.body) + 1000 for record, _ in self._held.values())

    def rest(self) -> Iterator[Record]:
        """Give all that are left."""
        for record, _ in self._held.values():
            yield record


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:  # noqa: ARG001
    """Write each request and, if there was one, the outline of its answer."""
    plain = ReadOptions(iter(()))
    for number, record in enumerate(records):
        id_ = b"%016x%08x" % (record.arrival_ns, number)
        try:
            entries = [_written_request(record, id_)]
        except http1.UnwritableError as error:
            notes.skip(str(error))
            continue
        if 0 < record.status <= 999:
            entries.append(_written_answer(record, id_))
        if SEPARATOR in entries[0].message:
            notes.say(
                "bodies that hold GoReplay's separator: reamp reads them, GoReplay itself takes them for two entries"
            )
        back = _request(entries[0], plain)
        for entry in entries[1:]:
            back = _answered(back, entry)
        notes.compare(record, back, LOSES)
        for entry in entries:
            file.write(b"%d %b %d %d\n" % (entry.kind, entry.id, entry.number, entry.latency or 0))
            file.write(entry.message + SEPARATOR)


# --- entries ---


def _entries(file: BinaryIO, notes: Notes) -> Iterator[tuple[str, _Entry]]:
    """Cut the file into entries. A separator counts only where the next entry begins, so a body may hold one."""
    buffer, searched, number = b"", 0, 0
    skipping = False
    while True:
        at = buffer.find(SEPARATOR, searched)
        after = at + len(SEPARATOR)
        # What follows a separator has to be in sight, or to be the end of the file.
        if at < 0 or len(buffer) < after + _LOOK_AHEAD:
            more = file.read(CHUNK)
            if more:
                searched = at if at >= 0 else max(0, len(buffer) - len(SEPARATOR))
                if searched > MAX_LINE:
                    if not skipping:
                        notes.broken(f"entry {number + 1}", f"it is larger than {MAX_LINE >> 20} MiB")
                    skipping, buffer, searched = True, buffer[searched:], 0
                buffer += more
                continue
        if at < 0:
            if buffer.strip():
                notes.broken(f"entry {number + 1}", "the file ends within it")
            return
        if not _NEXT.match(buffer, after) and (len(buffer) >= after + _LOOK_AHEAD or buffer[after:].strip(b"\n")):
            searched = at + 1
            continue
        number += 1
        if not skipping and (entry := _entry(buffer[:at], f"entry {number}", notes)):
            yield f"entry {number}", entry
        skipping = False
        buffer, searched = buffer[after:], 0


def _entry(data: bytes, where: str, notes: Notes) -> _Entry | None:
    match = _HEAD.match(data)
    if not match:
        notes.broken(where, f"{data[:60]!r} is no head of an entry")
        return None
    latency = None if match[4] is None else int(match[4])
    return _Entry(int(match[1]), match[2], int(match[3]), latency, data[match.end() :])


def _request(entry: _Entry, options: ReadOptions) -> Record:
    message = http1.parse(entry.message)
    asked = http1.target(message.start)
    host = http1.header(message.headers, b"host").decode("utf-8", "surrogateescape")
    if message.beyond:
        raise ValueError(f"{message.beyond} bytes follow the end of its body")
    if entry.number >= MAX_TIME:
        raise ValueError("its time is out of range")
    return Record(
        arrival_ns=entry.number,
        method=asked.method,
        scheme=asked.scheme or options.scheme,
        authority=asked.authority or host or options.authority,
        path=asked.path,
        http_version=asked.version,
        headers=message.headers,
        body=message.body,
        body_size=message.announced,
        status=0,
        response_size=0,
        ttfb_ns=-1,
        duration_ns=0,
    )


def _answered(record: Record, entry: _Entry) -> Record:
    """Add what an answer says. Raises ValueError."""
    head, _, body = entry.message.partition(b"\r\n\r\n")
    start, _, _ = head.partition(b"\r\n")
    code = http1.status(start)
    size = len(body)
    if record.method == "HEAD" or code in {204, 304}:
        size = 0
    elif head:
        size = http1.parse(head + b"\r\n\r\n" + body).announced
    if entry.latency is None:
        ttfb = duration = entry.number
    else:
        duration = max(0, entry.latency)
        ttfb = entry.number - record.arrival_ns
        if ttfb <= 0:
            ttfb = duration
        duration = max(duration, ttfb)
    if duration >= MAX_TIME:
        raise ValueError("its duration is out of range")
    return record._replace(status=code, response_size=size, ttfb_ns=ttfb, duration_ns=duration)


def _written_request(record: Record, id_: bytes) -> _Entry:
    headers = record.headers
    if record.authority and not any(name.lower() == b"host" for name, _ in headers):
        headers = ((b"Host", record.authority.encode("utf-8", "surrogateescape")), *headers)
    message = http1.write(record.method, record.path, record.http_version, headers, record.body)
    return _Entry(1, id_, record.arrival_ns, -1, message)


def _written_answer(record: Record, id_: bytes) -> _Entry:
    try:
        phrase = HTTPStatus(record.status).phrase
    except ValueError:
        phrase = ""
    message = f"HTTP/1.1 {record.status:03d} {phrase}\r\nContent-Length: {record.response_size}\r\n\r\n".encode()
    return _Entry(2, id_, record.arrival_ns + max(0, record.ttfb_ns), record.duration_ns, message)
