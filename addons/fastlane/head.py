"""Heads of HTTP/1.1 messages: bytes in, fields and framing out, or the verdict that this is for somebody else. Pure.

One pattern takes a whole head or nothing, so there is no second opinion about where a field ends. It knows the plain
form that every common client writes. Whatever is merely unusual (HTTP/1.0, upgrades, folded lines, a blank before a
colon, two lengths) is `ODD` just as what is hostile: mitmproxy's own stack takes it from there, or refuses it.
What is accepted here is a subset of what RFC 9112 allows, and of what mitmproxy's ``validate_inbound_headers`` allows.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, NamedTuple

from addons.glance import mark

Fields = tuple[tuple[bytes, bytes], ...]

MAX_HEAD = 64 * 1024
"""Bytes that a head may have here: more than any common server takes. Longer ones are `ODD`."""


class Verdict(Enum):
    """What a buffer is if it is not a whole plain head."""

    INCOMPLETE = "incomplete"
    """The beginning of a plain head, as far as it goes."""
    ODD = "odd"
    """Not a plain head, whatever may follow."""


INCOMPLETE: Final = Verdict.INCOMPLETE
ODD: Final = Verdict.ODD

CHUNKED = -1
"""In place of a length: the body says itself where it ends."""

UNTIL_CLOSE = -2
"""In place of a length: an answer that ends with its connection."""

Close = Literal["", "close", "keep-alive"]


class RequestHead(NamedTuple):
    """A plain request."""

    method: bytes
    target: bytes
    """Origin form: it begins with a slash."""
    fields: Fields
    """(name, value) in the order received, values without the blanks around them."""
    length: int
    """Bytes of the body, or `CHUNKED`."""
    connection: Close
    """What the client says of the connection, if anything."""
    size: int
    """Bytes of the head itself."""


class ResponseHead(NamedTuple):
    """A plain answer."""

    version: bytes
    """``HTTP/1.0`` or ``HTTP/1.1``."""
    status: int
    reason: bytes
    fields: Fields
    length: int
    """Bytes of the body if the head says so and it has one (`bodiless`), `CHUNKED` or `UNTIL_CLOSE`."""
    connection: Close
    size: int
    plain: bool = True
    """Whether its bytes can be passed on as they are."""


# Possessive quantifiers (`*+`): a head that does not match fails in one pass, however it was made.
_FIELDS = rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[ \t]*+[\t\x20-\x7e\x80-\xff]*+(?<![ \t])\r\n)*+)\r\n"
_REQUEST_LINE = rb"([A-Z]{1,32}+) (/[\x21-\x7e\x80-\xff]*+) HTTP/1\.1\r\n"
_STATUS_LINE = rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n"

_request = re.compile(_REQUEST_LINE + _FIELDS).match
_request_line = re.compile(_REQUEST_LINE).match
_response = re.compile(_STATUS_LINE + _FIELDS).match
_response_line = re.compile(_STATUS_LINE).match
_split = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n").findall  # only of what `_FIELDS` has taken
_whole_fields = re.compile(_FIELDS).match
_bare = re.compile(rb"(?<!\r)\n|\r(?=[^\n])").search
_length = re.compile(rb"0|[1-9][0-9]{0,17}").fullmatch

# What a field's name means for the way that a message is carried. Everything else is only passed on.
_HOST, _LENGTH, _CODING, _CONNECTION, _HANDSHAKE, _AUTHORIZATION = range(1, 7)
_MEANINGS = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"upgrade": _HANDSHAKE,
    b"expect": _HANDSHAKE,
    b"http2-settings": _HANDSHAKE,
    b"authorization": _AUTHORIZATION,
}

# Of the fields that add-ons judge (`mark`), none may come when they have judged already.
_NO_TRAILERS = frozenset(_MEANINGS) | {
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"forwarded",
    b"keep-alive",
    b"max-forwards",
    b"range",
    b"set-cookie",
    b"te",
    b"trailer",
    b"via",
    b"www-authenticate",
    b"x-real-ip",
}

_options: dict[bytes, Close] = {b"close": "close", b"keep-alive": "keep-alive"}

_FOR_CONNECTIONS = frozenset((b"ntlm", b"nego"))
"""How the schemes begin that prove who somebody is once for a whole connection (NTLM, Negotiate): that connection
must never carry somebody else's requests."""

_KNOWN_NAMES = 4096
_KNOWN_LENGTH = 64


class _Meanings(dict[bytes, int]):
    """Learns each spelling of a name once: names repeat all day. Bounded, because clients choose them."""

    def __missing__(self, name: bytes) -> int:
        meaning = _MEANINGS.get(name.lower(), 0)
        if len(name) <= _KNOWN_LENGTH:
            if len(self) >= _KNOWN_NAMES:
                self.clear()
            self[name] = meaning
        return meaning


_meanings = _Meanings()


def read_request(data: bytes, seen: int = 0) -> RequestHead | Verdict:
    """Read the request head at the start of `data`.

    `seen` bytes of it were `INCOMPLETE` before: they are not looked through again.
    """
    # Whatever comes in drops is looked through only once it can be whole.
    whole = _request(data) if not seen or data.find(b"\r\n\r\n", max(0, seen - 3)) >= 0 else None
    if whole is None:
        return _partly(data, seen, _request_line, b"A", b"Z")
    method, target, block = whole.groups()
    fields = tuple(_split(block))
    found = _scan(fields)
    if found is None or whole.end() > MAX_HEAD or method == b"CONNECT":
        return ODD
    length, connection, hosts, bound = found
    if hosts != 1 or bound:
        return ODD
    return RequestHead(method, target, fields, 0 if length == UNTIL_CLOSE else length, connection, whole.end())


def read_response(data: bytes, seen: int = 0) -> ResponseHead | Verdict:
    """Read the response head at the start of `data`; `seen` as for `read_request`."""
    whole = _response(data) if not seen or data.find(b"\r\n\r\n", max(0, seen - 3)) >= 0 else None
    if whole is None:
        return _partly(data, seen, _response_line, b"H", b"H")
    version, status, reason, block = whole.groups()
    fields = tuple(_split(block))
    found = _scan(fields)
    if found is None or whole.end() > MAX_HEAD:
        return ODD
    length, connection, _, _ = found
    if length == CHUNKED and (version == b"HTTP/1.0" or status == b"204" or status < b"200"):
        return ODD
    return ResponseHead(version, int(status), reason or b"", fields, length, connection, whole.end())


def _scan(fields: Fields) -> tuple[int, Close, int, bool] | None:
    """Find what fields say of the way that their message is carried.

    Gives the length, what is said of the connection, the number of hosts, and whether the message asks for a
    connection of its own. None if that is said twice, or in a way that is not plain.
    """
    length = UNTIL_CLOSE
    connection: Close = ""
    hosts = 0
    bound = False
    for name, value in fields:
        meaning = _meanings[name]
        if not meaning:
            continue
        if meaning == _HOST:
            hosts += 1
        elif meaning == _CONNECTION:
            option = _options.get(value.lower(), "")
            if connection or not option:
                return None
            connection = option
        elif meaning in (_LENGTH, _CODING):
            framing = _framing(meaning, value)
            if framing is None or length != UNTIL_CLOSE:
                return None
            length = framing
        elif meaning == _HANDSHAKE or value[:4].lower() in _FOR_CONNECTIONS:
            bound = True
    return length, connection, hosts, bound


def _framing(meaning: int, value: bytes) -> int | None:
    if meaning == _CODING:
        return CHUNKED if value.lower() == b"chunked" else None
    return int(value) if _length(value) else None


def read_trailers(data: bytes, seen: int = 0) -> tuple[Fields, int] | Verdict:
    """Read trailer fields and the empty line after them: the fields and their bytes; `seen` as for `read_request`."""
    ended = data.find(b"\r\n\r\n", max(0, seen - 3)) >= 0
    whole = _whole_fields(data) if ended or data[:2] == b"\r\n" else None
    if whole is not None:
        return tuple([field for field in _split(whole[1]) if _may_trail(field[0])]), whole.end()
    if len(data) > MAX_HEAD or ended or _bare(data, max(0, seen - 1)):
        return ODD
    return INCOMPLETE


def _may_trail(name: bytes) -> bool:
    """Whether a field may come after the body: not if it has to be known before (RFC 9110, 6.5.1)."""
    lower = name.lower()
    return not (mark(lower) or lower in _NO_TRAILERS or lower.startswith((b"proxy-", b"x-forwarded-", b"if-")))


def bodiless(method: bytes, status: int) -> bool:
    """Whether an answer has no body whatever its fields say (RFC 9112, 6.3)."""
    return method == b"HEAD" or status in (204, 304) or status < 200


def _partly(data: bytes, seen: int, line: Callable[[bytes], object], first: bytes, last: bytes) -> Verdict:
    """Tell whether more bytes could still make a plain head of `data`."""
    if not data:
        return INCOMPLETE
    if not first <= data[:1] <= last or len(data) > MAX_HEAD or data.find(b"\r\n\r\n", max(0, seen - 3)) >= 0:
        return ODD
    if _bare(data, max(0, seen - 1)):
        return ODD
    end = data.find(b"\r\n")
    if end >= 0 and seen <= end + 1 and not line(data):
        return ODD
    return INCOMPLETE
