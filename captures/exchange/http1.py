"""The wire form of HTTP/1 messages as files of other tools hold them. Pure.

Lenient as such files are: a body may be shorter than was announced, because the tool that recorded it lost or cut
the rest.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from captures.records import Headers

_REQUEST = re.compile(rb"([!-~]+) (.+) (HTTP/\d(?:\.\d)?)", re.DOTALL)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: .*)?", re.DOTALL)
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")


class Message(NamedTuple):
    """One message, taken apart."""

    start: bytes
    """The request or status line."""
    headers: Headers
    body: bytes
    """Without its chunks."""
    announced: int
    """Bytes of the body by what the headers say; as many as there are if they don't say or can't be understood."""
    beyond: int
    """Bytes after the end of the body."""


class Target(NamedTuple):
    """What a request line asks for."""

    method: str
    scheme: str
    """Empty unless the target was in absolute form."""
    authority: str
    path: str
    version: str


class UnwritableError(ValueError):
    """Such a request cannot be written in this form. The message says why."""


def parse(message: bytes) -> Message:
    """Take a message apart. Raises ValueError."""
    head, found, rest = message.partition(b"\r\n\r\n")
    if not found:
        head, found, rest = message.partition(b"\n\n")
    if not found:
        raise ValueError("its headers do not end")
    start, *rows = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    headers = tuple(map(_field, rows))
    coding, length = b"", b""
    for name, value in headers:
        lower = name.lower()
        if lower == b"transfer-encoding":
            coding = value.lower()
        elif lower == b"content-length":
            length = value
    if coding.rpartition(b",")[2].strip() == b"chunked":
        body, whole = _unchunked(rest)
        return Message(start, headers, body, len(body) if whole else len(body) + 1, 0)
    if length.isdigit() and len(length) < 16:
        announced = int(length)
        return Message(start, headers, rest[:announced], announced, max(0, len(rest) - announced))
    return Message(start, headers, rest, len(rest), 0)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name[:1] in b" \t":
        raise ValueError(f"{line[:80]!r} is no header")
    return name, value.strip(b" \t")


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """Join chunks; say whether the last one was there."""
    pieces: list[bytes] = []
    position = 0
    while match := _CHUNK.match(data, position):
        size = int(match[1], 16)
        if not size:
            return b"".join(pieces), True
        pieces.append(data[match.end() : match.end() + size])
        position = match.end() + size
        if data[position : position + 2] == b"\r\n":
            position += 2
        elif data[position : position + 1] == b"\n":
            position += 1
    return b"".join(pieces), False


def target(line: bytes) -> Target:
    """Read a request line. Raises ValueError."""
    match = _REQUEST.fullmatch(line)
    if not match:
        raise ValueError(f"{line[:80]!r} is no request line of HTTP/1")
    method, asked, version = (part.decode("utf-8", "surrogateescape") for part in match.groups())
    if asked.startswith(("http://", "https://")):
        return Target(method, *split_url(asked), version)
    return Target(method, "", "", asked, version)


def split_url(url: str) -> tuple[str, str, str]:
    """Split a URL into scheme, authority and path with query. Raises ValueError.

    Without its fragment, which is never sent, and otherwise exactly as it was written: what is odd about a URL is what
    a load test is to send.
    """
    match = re.fullmatch(r"(https?|wss?)://([^/?#]*)([^#]*)(?:#.*)?", url, re.DOTALL | re.IGNORECASE)
    if not match:
        raise ValueError(f"{url[:80]!r} is no URL with http:// or https://")
    scheme = {"ws": "http", "wss": "https"}.get(match[1].lower(), match[1].lower())
    path = match[3]
    return scheme, match[2], path if path.startswith("/") else f"/{path}"


def status(line: bytes) -> int:
    """Read the code of a status line. Raises ValueError."""
    match = _STATUS.fullmatch(line)
    if not match:
        raise ValueError(f"{line[:80]!r} is no status line of HTTP/1")
    return int(match[1])


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Give the value of the first header of that name (lower case), b"" if there is none."""
    return next((value for key, value in headers if key.lower() == name), b"")


def write(method: str, path: str, version: str, headers: Headers, body: bytes) -> bytes:
    """Write a request that parsers of HTTP/1.1 can read, its length framed by the headers that it has if they do.

    Raises UnwritableError for what would be another request: a line end in a header, a blank in the method.
    """
    if not re.fullmatch(r"[!-~]+", method):
        raise UnwritableError("methods that are no token of HTTP/1")
    if not path or path != path.strip() or re.search(r"[\r\n]", path):
        raise UnwritableError("paths that no request line can hold")
    if not re.fullmatch(r"HTTP/1\.[01]", version):
        version = "HTTP/1.1"
    rows, framed = [], False
    for name, value in headers:
        if not name or b":" in name or name[:1] in b" \t" or re.search(rb"[\r\n]", name + value):
            raise UnwritableError("headers that no line can hold")
        lower = name.lower()
        if lower == b"transfer-encoding" and value.lower().rpartition(b",")[2].strip() == b"chunked":
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
            framed = True
        rows.append((name, value))
    if not framed:
        rows = _framed(rows, len(body))
    start = f"{method} {path} {version}".encode("utf-8", "surrogateescape")
    return b"\r\n".join([start, *(b"%b: %b" % row for row in rows), b"", body])


def _framed(rows: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    """Have the content length say how long the body is that is there."""
    number, found, made = b"%d" % length, False, []
    for name, value in rows:
        if name.lower() == b"content-length":
            found = True
            made.append((name, value if value.isdigit() and int(value[:18]) == length else number))
        else:
            made.append((name, value))
    if length and not found:
        made.append((b"Content-Length", number))
    return made
