"""HTTP/1 bytes read straight from RFC 9112, apart from every parser that is tested with it.

`read_requests` says how many requests some bytes can hold at most, and where the first ends and the second begins:
the yardstick for smuggling. It takes what the RFC lets a recipient take (bare LF, leading blank lines, equal lengths
repeated) and stops where the length of a message can't be told. `read_answers` does the same for a client.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Fields = tuple[tuple[bytes, bytes], ...]

End = Literal["complete", "incomplete", "invalid", "closing"]
"""After the last request: the connection goes on; more bytes have to come; what follows can't be trusted; the
connection ends with the last answer, and no byte after it counts."""

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/1\.\d")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})( [^\r\n]*)?")


@dataclass(frozen=True)
class Request:
    """One request."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes = b""
    odd: frozenset[str] = frozenset()
    """What a strict recipient would refuse it for, although its length is clear."""
    stop: int = field(default=0, compare=False)
    """Where in the bytes it ends."""

    def values(self, name: bytes) -> list[bytes]:
        return values(self.fields, name)


@dataclass(frozen=True)
class Reading:
    """What bytes hold."""

    requests: tuple[Request, ...]
    end: End
    why: str = ""


@dataclass(frozen=True)
class Answer:
    """One final answer as a client sees it."""

    status: int
    fields: Fields
    body: bytes
    interim: tuple[int, ...] = ()
    whole: bool = True
    """Whether it can be told that nothing is missing (or no length was announced and the connection ended well)."""
    until_close: bool = False


class _Stop(Exception):  # noqa: N818 - not an error: how reading ends
    def __init__(self, end: End, why: str = "") -> None:
        self.end: End = end
        self.why = why


def values(fields: Fields, name: bytes) -> list[bytes]:
    """All values of a header field, in order."""
    return [value for its_name, value in fields if its_name.lower() == name]


class _Bytes:
    """Bytes with a place in them."""

    def __init__(self, data: bytes, *, cr_ends: bool = False) -> None:
        self.data, self.at, self.cr_ends = data, 0, cr_ends

    def line(self) -> bytes:
        """Take a line that LF or CRLF ends (or a bare CR, for a recipient that is that careless)."""
        end = self.data.find(b"\n", self.at)
        cr = self.data.find(b"\r", self.at) if self.cr_ends else -1
        if cr >= 0 and (end < 0 or cr < end - 1):
            line, self.at = self.data[self.at : cr], cr + 1
            return line
        if end < 0:
            raise _Stop("incomplete", "no end of line")
        line, self.at = self.data[self.at : end], end + 1
        return line.removesuffix(b"\r")

    def strict_line(self) -> bytes:
        """Take a line that CRLF ends and that has no other CR or LF in it."""
        end = self.data.find(b"\n", self.at)
        line = self.data[self.at : end] if end >= 0 else self.data[self.at :]
        if b"\r" in line[:-1] or (end >= 0 and not line.endswith(b"\r")):
            raise _Stop("invalid", "a chunk's line does not end with CRLF")
        if end < 0:
            raise _Stop("incomplete", "no end of line")
        self.at = end + 1
        return line[:-1]

    def exactly(self, count: int) -> bytes:
        if len(self.data) - self.at < count:
            raise _Stop("incomplete", "the body is short")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def blank_lines(self) -> None:
        while self.data[self.at : self.at + 1] in (b"\r", b"\n"):
            self.at += 1

    @property
    def over(self) -> bool:
        return self.at >= len(self.data)


Mistake = Literal["CR ends a line", "length before coding", "folded lines are fields"]
"""What servers got wrong: to end a line at a bare CR, to believe Content-Length where there is Transfer-Encoding too,
to take the second half of a folded line for a field of its own."""

MISTAKES: tuple[Mistake, ...] = get_args(Mistake)


def read_requests(data: bytes, mistake: Mistake | None = None) -> Reading:
    """Read what a client sent; with a `mistake`, as a server does that makes it."""
    source, found = _Bytes(data, cr_ends=mistake == "CR ends a line"), list[Request]()
    try:
        while True:
            source.blank_lines()
            if source.over:
                return Reading(tuple(found), "complete")
            request, last = _request(source, mistake)
            found.append(request)
            if last:
                return Reading(tuple(found), "closing")
    except _Stop as stop:
        return Reading(tuple(found), stop.end, stop.why)


def _request(source: _Bytes, mistake: Mistake | None) -> tuple[Request, bool]:
    """Take one request, and say whether it is the last of its connection."""
    odd: set[str] = set()
    first = source.line()
    parts = first.split()
    if len(parts) == 2 and parts[0].isalpha() and parts[1].startswith(b"/"):
        return Request(parts[0], parts[1], b"", (), odd=frozenset(["HTTP/0.9"]), stop=source.at), True
    if len(parts) < 3:
        raise _Stop("invalid", "not a request line")
    method, target, version = parts[0], b" ".join(parts[1:-1]), parts[-1]
    if not _VERSION.fullmatch(version):
        raise _Stop("invalid", "not a version of HTTP/1")
    if first != b" ".join((method, target, version)) or len(parts) > 3:
        odd.add("blanks in the request line")
    if not TOKEN.fullmatch(method):
        odd.add("method")
    if re.search(rb"[\x00-\x20\x7f-\xff]", target):
        odd.add("target")
    fields = _fields(source, odd, unfold=mistake == "folded lines are fields")
    if method == b"CONNECT":
        raise _Stop("invalid", "a tunnel")
    body, last = _body(source, version, fields, length_first=mistake == "length before coding")
    tokens = {token.strip().lower() for value in values(fields, b"connection") for token in value.split(b",")}
    last = last or b"close" in tokens or (version == b"HTTP/1.0" and b"keep-alive" not in tokens)
    return Request(method, target, version, fields, body, frozenset(odd), source.at), last


def _fields(source: _Bytes, odd: set[str], *, unfold: bool = False) -> Fields:
    fields: list[tuple[bytes, bytes]] = []
    while line := source.line():
        if b"\r" in line:
            odd.add("bare CR")
        if unfold:
            line = line.strip(b" \t")
        if line[:1] in b" \t":
            if not fields:
                raise _Stop("invalid", "a blank before the first header field")
            odd.add("folded line")
            fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip(b" \t"))
            continue
        name, colon, value = line.partition(b":")
        if name != name.rstrip(b" \t"):
            raise _Stop("invalid", "a blank before the colon")
        if not colon or not TOKEN.fullmatch(name):
            odd.add("header name")
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value):
            odd.add("header value")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def _body(source: _Bytes, version: bytes, fields: Fields, *, length_first: bool) -> tuple[bytes, bool]:
    """Take the body, and say whether the connection has to end with it."""
    codings, lengths = values(fields, b"transfer-encoding"), values(fields, b"content-length")
    if codings and not (length_first and lengths):
        named = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
        if version == b"HTTP/1.0" or named.count(b"chunked") != 1 or named[-1] != b"chunked":
            raise _Stop("invalid", "a Transfer-Encoding that tells no length")
        return _chunks(source, []), bool(lengths)
    if not lengths:
        return b"", False
    told = {value.strip(b" \t") for line in lengths for value in line.split(b",")}
    if len(told) != 1 or not re.fullmatch(rb"[0-9]{1,18}", length := told.pop()):
        raise _Stop("invalid", "a Content-Length that tells no length")
    return source.exactly(int(length)), False


def _chunks(source: _Bytes, taken: list[bytes]) -> bytes:
    while True:
        size = _CHUNK_SIZE.fullmatch(source.strict_line())
        if not size:
            raise _Stop("invalid", "not the size of a chunk")
        if not (count := int(size[1], 16)):
            break
        taken.append(source.exactly(count))
        if source.exactly(2) != b"\r\n":
            raise _Stop("invalid", "a chunk does not end where it has to")
    while source.line():  # trailers are fields: a bare LF may end them
        pass
    return b"".join(taken)


def read_answers(data: bytes, methods: Sequence[bytes], *, over: bool) -> list[Answer]:
    """Read what a client got for requests with these `methods`; `over` says that the connection has ended.

    Raises ValueError if it is no HTTP/1.
    """
    source, found = _Bytes(data), list[Answer]()
    while not source.over:
        method = methods[len(found)] if len(found) < len(methods) else b"GET"
        try:
            answer = _answer(source, method, over=over)
        except _Stop as stop:
            if stop.end == "invalid":
                raise ValueError(stop.why) from None
            break
        found.append(answer)
        if not answer.whole or answer.until_close:
            break
    return found


def _answer(source: _Bytes, method: bytes, *, over: bool) -> Answer:
    interim: list[int] = []
    while True:
        line = source.line()
        match = _STATUS.fullmatch(line)
        if not match:
            raise _Stop("invalid", f"not a status line: {line[:80]!r}")
        status, fields = int(match[1]), _fields(source, set())
        if status >= 200 or status == 101:
            break
        interim.append(status)
    seen = tuple(interim)
    if method == b"HEAD" or status in (101, 204, 304):
        return Answer(status, fields, b"", seen)
    begun, taken = source.at, list[bytes]()
    try:
        codings = b",".join(values(fields, b"transfer-encoding")).lower()
        if codings.rpartition(b",")[2].strip() == b"chunked":
            return Answer(status, fields, _chunks(source, taken), seen)
        if not codings and (lengths := values(fields, b"content-length")):
            return Answer(status, fields, source.exactly(int(lengths[0])), seen)
    except _Stop:
        if not over:
            raise
        source.at = len(source.data)
        return Answer(status, fields, b"".join(taken) or source.data[begun:], seen, whole=False)
    if not over:
        raise _Stop("incomplete")
    return Answer(status, fields, source.exactly(len(source.data) - source.at), seen, until_close=True)
