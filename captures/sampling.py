"""Whose requests are recorded, if not everybody's. Pure.

A session is recorded whole or not at all. A keyed hash of what makes it a session decides, so every worker, every
sidecar with the same key and every restart decides alike, nobody outside can tell who is recorded, and a session that
is in a sample of 10 % is also in any larger one.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Self

from captures.records import Headers
from rules.units import MILLION, Share

_PURPOSE = b"reamp sampling"
"""Keeps these hashes apart from all others under the same key (BLAKE2b's ``person``, RFC 7693)."""

_SESSION_COOKIE = re.compile(
    rb"(?:^|[._-])(?:sid|ssid|auth|login|jwt|uid)(?:$|[._-])|sess|token|remember|identity|aspxauth", re.IGNORECASE
)
_NOT_SESSION_COOKIE = re.compile(rb"csrf|xsrf", re.IGNORECASE)
"""A token of that kind may change with every page."""

_SHORT = 128
"""Longer names are nobody's, and are not remembered: a client must not be able to fill the memory."""

_ADDRESS, _USER_AGENT, _FORWARDED_FOR = b"address", b"user-agent", b"x-forwarded-for"


class SessionBy(NamedTuple):
    """What makes requests belong together: ``auto``, ``address``, ``cookie:NAME`` or ``header:NAME``."""

    kind: str
    name: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it. Raises ValueError."""
        kind, colon, name = text.strip().partition(":")
        name = name.strip()
        plain = kind in ("auto", "address") and not colon
        named = kind in ("cookie", "header") and re.fullmatch(r"[!-~]{1,200}", name) and not set(name) & set(';,="')
        if not plain and not named:
            raise ValueError(f"{text!r} names no session: write auto, address, cookie:NAME or header:NAME")
        # A header's name may be written in any case, a cookie's may not.
        return cls(kind, (name.lower() if kind == "header" else name).encode())

    def __str__(self) -> str:
        return f"{self.kind}:{self.name.decode()}" if self.name else self.kind


class Sampler:
    """Decides for each request, by its headers and the address that it came from."""

    def __init__(self, key: bytes, share: Share, by: SessionBy) -> None:
        """`key`: at most 64 bytes."""
        self._hash = blake2b(key=key, digest_size=8, person=_PURPOSE)
        # The share of all hashes that are below the bound is the share asked for, to one in 2^64.
        self._bound = (int(share) << 64) // MILLION
        self._by = by

    def takes(self, headers: Headers, address: str) -> bool:
        """Say whether the session that this request belongs to is recorded."""
        hashed = self._hash.copy()
        hashed.update(session_of(headers, address, self._by))
        return int.from_bytes(hashed.digest()) < self._bound


def session_of(headers: Headers, address: str, by: SessionBy) -> bytes:
    """Give what requests of one session have in common; by how it was found, so that no two ways are confused.

    What is asked for counts if the request has it. Otherwise the first of these that it has: an authorization, the
    cookies that look like sessions, all cookies, the address (the first that `X-Forwarded-For` names) with the user
    agent.
    """
    kind, name = by
    if kind == "header" and (found := _values(headers, name)):
        return b"header\0" + b"\0".join(found)
    if kind != "address":
        pairs = _cookies(_values(headers, b"cookie"))
        if kind == "cookie" and (found := [value for cookie, value in pairs if cookie == name]):
            return b"cookie\0" + found[0]
        if found := _values(headers, b"authorization"):
            return b"authorization\0" + found[0].strip()
        if pairs:
            sessions = [pair for pair in pairs if is_session_cookie(pair[0])]
            return b"cookies\0" + b";".join(b"%b=%b" % pair for pair in sorted(sessions or pairs))
    hops = _values(headers, _FORWARDED_FOR)
    origin = hops[0].partition(b",")[0].strip() if hops else address.encode("utf-8", "surrogateescape")
    return b"\0".join((_ADDRESS, origin, *_values(headers, _USER_AGENT)))


def is_session_cookie(cookie: bytes) -> bool:
    """Say whether a cookie of this name tells sessions apart, by what such cookies are called."""
    return _looks_like_one(cookie) if len(cookie) <= _SHORT else False


@lru_cache(maxsize=1024)
def _looks_like_one(cookie: bytes) -> bool:
    return bool(_SESSION_COOKIE.search(cookie)) and not _NOT_SESSION_COOKIE.search(cookie)


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    length = len(wanted)
    return [value for name, value in headers if len(name) == length and name.lower() == wanted]


def _cookies(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Take cookies apart: they may come in any order, and in several headers (HTTP/2)."""
    pairs = []
    for line in lines:
        for part in line.split(b";"):
            name, _, value = part.partition(b"=")
            if name := name.strip():
                pairs.append((name, value.strip()))
    return pairs
