"""A request of HTTP/1.1 becomes the fields of HTTP/2, and what those of an answer have to be like. Pure.

Requests are encoded once, for HTTP/1.1. What HTTP/2 makes of them (RFC 9113, 8.2 and 8.3):

| HTTP/1.1 | HTTP/2 |
| --- | --- |
| the request line | `:method`, `:scheme`, `:path` |
| `Host` | `:authority` |
| names as they are | in small letters |
| `Connection`, `Keep-Alive`, `Proxy-Connection`, `TE`, `Transfer-Encoding`, `Upgrade` | left out |
| nothing; it was recorded with `TE: trailers` | `te: trailers`, which gRPC asks for |
| one `Cookie` field | one for each cookie, so that those that stay are compressed |
"""

import re
from collections.abc import Iterable

Fields = list[tuple[bytes, bytes]]

FORBIDDEN = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding upgrade http2-settings".split(),
)
"""Fields of a connection of HTTP/1.1, which are an error in HTTP/2 (RFC 9113, 8.2.2)."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_STATUS = re.compile(rb"[1-9]\d\d")
_BAD_IN_VALUE = re.compile(rb"[\x00\r\n]")


def of_request(head: bytes, scheme: bytes, *, trailers: bool = False) -> Fields:
    """Give the fields of a request; `head` is all of it before the blank line, `trailers` if they are understood."""
    lines = head.split(b"\r\n")
    method, path, _ = lines[0].split(b" ", 2)
    authority = b""
    fields: Fields = []
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"host":
            authority = value
        elif name == b"cookie":
            fields += [(name, part) for part in value.split(b"; ") if part]
        elif name not in FORBIDDEN and name != b"te":
            fields.append((name, value))
    if trailers:
        fields.append((b"te", b"trailers"))
    return [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path), *fields]


def size(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Tell the bytes that fields would have in HTTP/1.1."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def fault(fields: Fields) -> str | None:
    """Tell what is wrong with the fields of an answer; such an answer is no answer (RFC 9113, 8.1.1 and 8.2)."""
    if not fields or fields[0][0] != b":status" or not _STATUS.fullmatch(fields[0][1]):
        return "an answer without a :status"
    return _fault_of_fields(fields[1:])


def fault_of_trailers(fields: Fields) -> str | None:
    """Tell what is wrong with trailers."""
    return _fault_of_fields(fields)


def _fault_of_fields(fields: Fields) -> str | None:
    for name, value in fields:
        if not _NAME.fullmatch(name):
            return f"{name[:50]!r} is no name of a field in HTTP/2"
        if name in FORBIDDEN:
            return f"{name.decode()} is no field of HTTP/2"
        if _BAD_IN_VALUE.search(value):
            return f"a line break in {name[:50].decode()}"
    return None


def length(fields: Fields) -> int | None:
    """Give the length that an answer announces. Raises ValueError if it is none, or there are several."""
    values = {value for name, value in fields if name == b"content-length"}
    if not values:
        return None
    (value,) = values
    if not value.isdigit():
        raise ValueError(value)
    return int(value)
