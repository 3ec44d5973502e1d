"""A record becomes the bytes to send, or a reason why it must not be sent. Pure.

A request is encoded once, when it is read ahead, and not when it is due. Only the token of its load tag is put in at
the moment of sending, because tokens are renewed: ``request.prefix + tag + request.tail``.

| recorded | sent |
| --- | --- |
| `Host`, `:authority` | by plan: the target's, the recorded one, or a name |
| hop-by-hop fields (RFC 9110, 7.6.1) and what `Connection` names | left out |
| `Content-Length`, `Transfer-Encoding` | `Content-Length` of the body at hand |
| `Expect` | left out: the body follows at once |
| several `Cookie` fields (HTTP/2 splits them) | joined to one (RFC 9113, 8.2.3) |
| `baggage` | the tag as its last member, within the limits of W3C Baggage |
| everything else, `If-None-Match` and the like too | as recorded, in its order |
"""

import re
from collections.abc import Container
from typing import Literal

import loadtag.headers
from captures.records import Record

Skip = Literal["tagged", "unsafe", "connect", "upgrade", "truncated", "malformed"]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings".split()
)
"""Fields between two neighbours on the way, never for the far end (RFC 9110, 7.6.1; RFC 9113, 8.2.2)."""

REPLACED = frozenset((b"host", b"content-length", b"expect"))

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""May be sent twice without harm (RFC 9110, 9.2.1), so a lost one may be sent again."""

# What would end a line early and so begin another field or another request (RFC 9112, 11.1).
_BREAKS = re.compile(rb"[\r\n\0]")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[^\x00-\x20\x7f]*|\*")
_AUTHORITY = re.compile(r"[^\x00-\x20\x7f/]*")
_TOKEN_LENGTH = 300
"""A token of the longest fields has 297 characters."""


class Request:
    """A request ready to be sent, but for its token."""

    __slots__ = ("head", "prefix", "safe", "tail")

    def __init__(self, prefix: bytes, tail: bytes, method: str) -> None:
        self.prefix = prefix
        self.tail = tail
        self.head = method == "HEAD"  # its answer has no body, whatever the fields say
        self.safe = method in SAFE

    def __len__(self) -> int:
        """Tell the bytes it holds."""
        return len(self.prefix) + len(self.tail)


class Encoder:
    """Encodes the records of one run."""

    def __init__(self, run_id: str, methods: Container[str], host: str, recorded_host: bool = False) -> None:
        """`host` goes into `Host`; with `recorded_host` only where none was recorded."""
        self._run_id = run_id
        self._methods = methods
        self._host = host
        self._recorded_host = recorded_host
        # Stands for the token while a request is encoded. Nothing recorded can hold it: it names this run.
        self._place = run_id.ljust(_TOKEN_LENGTH, ".")

    def encode(self, record: Record) -> Request | Skip:
        """Give the request to send, or why it must not be sent."""
        skip = self._skip(record)
        return self._request(record) if skip is None else skip

    def _skip(self, record: Record) -> Skip | None:
        if loadtag.headers.find(record.headers):
            return "tagged"  # synthetic traffic must never feed on itself
        if record.method == "CONNECT":
            return "connect"
        if record.method not in self._methods:
            return "unsafe"
        if any(name.lower() == b"upgrade" for name, _ in record.headers):
            return "upgrade"
        if record.body_size > len(record.body):
            return "truncated"
        return None if self._well_formed(record) else "malformed"

    def _well_formed(self, record: Record) -> bool:
        """Tell whether the request stays one request when it is written out."""
        return bool(
            _TARGET.fullmatch(record.path)
            and _AUTHORITY.fullmatch(record.authority)
            and all(_NAME.fullmatch(name) and not _BREAKS.search(value) for name, value in record.headers)
        )

    def _request(self, record: Record) -> Request:
        host = (record.authority if self._recorded_host else "") or self._host
        fields = [(b"Host", _bytes(host)), *_end_to_end(record.headers)]
        if record.body or record.method in ("POST", "PUT", "PATCH"):
            fields.append((b"Content-Length", b"%d" % len(record.body)))
        fields = loadtag.headers.put(fields, self._place, self._run_id)
        lines = [_bytes(f"{record.method} {record.path} HTTP/1.1"), *(name + b": " + value for name, value in fields)]
        member = f"{loadtag.headers.BAGGAGE_KEY}={self._place}".encode()
        before, after = (b"\r\n".join(lines) + b"\r\n\r\n").split(member)
        return Request(before + member[: -len(self._place)], after + record.body, record.method)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as records are decoded


def _end_to_end(fields: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    named = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    kept: list[tuple[bytes, bytes]] = []
    cookie: int | None = None
    for name, value in fields:
        lower = name.lower()
        if lower in HOP_BY_HOP or lower in REPLACED or lower in named:
            continue
        if lower == b"cookie" and cookie is not None:
            kept[cookie] = (kept[cookie][0], kept[cookie][1] + b"; " + value)
            continue
        if lower == b"cookie":
            cookie = len(kept)
        kept.append((name, value))
    return kept
