"""A copy: how a worker hands it over, and as what it is sent. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgpack

from addons.dark.mark import HEADER, unmarked
from addons.glance import Fields
from captures.redaction.names import HEADERS, Names

MESSAGE = 256 << 10
"""Bytes that a message may have. One that the socket can't carry counts as too long."""

_SECRETS = Names(HEADERS)
"""What proves who somebody is: what is replaced in recordings as well, if nothing else is said."""

_OF_THE_HOP = frozenset((
    b"connection",
    b"expect",
    b"host",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"content-length",
))  # fmt: skip
"""Fields about one connection (RFC 9110, 7.6.1), and those that are written anew."""


_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK = re.compile(rb"[\0\r\n]")
_VISIBLE = re.compile(rb"/[!\"$-~]*")
"""What a path and a query consist of: no blank, and no fragment."""


class Copy(NamedTuple):
    """One real request and what was answered."""

    at_ns: int
    """When it was handed over, monotonic time: of all processes of a machine."""
    method: bytes
    target: bytes
    host: bytes
    """As the client named it."""
    fields: Fields
    """As the app got them."""
    body: bytes
    status: int
    size: int
    checksum: int
    """0 if nobody compares bodies."""
    duration_ns: int


_pack = msgpack.Packer(use_bin_type=True).pack


def packed(copy: Copy) -> bytes:
    """Write it as one message."""
    return bytes(_pack(copy))


def unpacked(message: bytes) -> Copy:
    """Read what `packed` wrote. Raises ValueError if it is anything else."""
    try:
        return Copy(*msgpack.unpackb(message, use_list=False))
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"this is no copy: {error}") from None


class Asked(NamedTuple):
    """What is asked of the dark service."""

    method: str
    target: str
    """Path and query."""
    fields: list[tuple[str, str]]
    body: bytes | None


def asked(copy: Copy, mark: str, host: bytes, *, secrets: bool) -> Asked:
    """Make the request that a copy is sent as. Raises ValueError if no client can send it so.

    It has the header fields that the app got, but for what is about one connection, and the mark. `host`: instead of
    the one that the client named, if not empty. `secrets`: whether it proves who the user is, as the request did.
    """
    if not _VISIBLE.fullmatch(copy.target):
        raise ValueError(f"{copy.target[:100]!r} is no path")
    named = _named_by_connection(copy.fields)
    fields = [
        (name, value)
        for name, value in unmarked(copy.fields)
        if (lower := name.lower()) not in _OF_THE_HOP and lower not in named and (secrets or not _SECRETS.secret(lower))
    ]
    length = [(b"content-length", str(len(copy.body)).encode())] if copy.body or _has_length(copy.fields) else []
    sent = [(b"host", host or copy.host), *fields, *length, (HEADER, mark.encode())]
    return Asked(copy.method.decode("ascii"), copy.target.decode("ascii"), [*map(_written, sent)], copy.body or None)


def _written(field: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = field
    if not _TOKEN.fullmatch(name) or _BREAK.search(value):
        raise ValueError(f"{name[:100]!r} is no header field")
    return name.decode("ascii"), value.decode("utf-8")


def _named_by_connection(fields: Fields) -> set[bytes]:
    return {
        option.strip().lower()
        for name, value in fields
        if len(name) == 10 and name.lower() == b"connection"
        for option in value.split(b",")
    }


def _has_length(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(len(name) == 14 and name.lower() == b"content-length" for name, _ in fields)
