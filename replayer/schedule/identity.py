"""Whose request it is: taken for somebody else's, in the same shape. Pure.

A copy of a session is a session of its own only if the app can't take it for the first one. So what makes the session
(`captures.sampling.session_of` says what that is) is replaced by a pseudonym: a keyed hash of what was recorded and of
the copy's number, so that all requests of a copy agree, no two copies do, and the same seed gives the same. Digits stay
digits, hexadecimal digits stay such, letters stay letters of their case, everything else stays.

| known by | replaced |
| --- | --- |
| `header:NAME`, `cookie:NAME` | the values of that header, of that cookie |
| `auto` | credentials in `Authorization` (not their scheme), cookies that look like sessions; else all cookies |
| `address`, `auto` without these | the first of `X-Forwarded-For`, by an address for tests (RFC 2544, RFC 5180) |

What carries the session in a path or a body is not found. A cookie against forged forms (CSRF) stays as it is, unless
there are only such.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from captures.records import Headers
from captures.sampling import SessionBy, is_session_cookie

_PURPOSE = b"reamp session"
"""Keeps these hashes apart from all others (BLAKE2b's ``person``, RFC 7693)."""

_HEX = re.compile(rb"[0-9a-f-]+|[0-9A-F-]+")
_LONG = 1024
"""Of a longer value only so many bytes are replaced: enough to be another one, and quick."""

_IPV4 = ipaddress.ip_network("198.18.0.0/15")
_IPV6 = ipaddress.ip_network("2001:2::/48")


class Disguise:
    """Makes others of what identifies a session."""

    def __init__(self, by: SessionBy, seed: int) -> None:
        self._by = by
        self._key = blake2b(b"%d" % seed, person=_PURPOSE).digest()
        self._known = lru_cache(maxsize=4096)(self._made)

    def headers(self, headers: Headers, number: int) -> Headers:
        """Give the headers as the copy with this `number` (not 0) sends them."""
        kind, name = self._by
        has = {field.lower() for field, _ in headers}
        if kind == "header" and name in has:
            return self._each(headers, name, lambda value: self.pseudonym(value, number))
        if kind == "cookie" and b"cookie" in has:
            made = self._cookies(headers, number, lambda cookie: cookie == name)
            if made != headers:
                return made
        if kind != "address":
            made = self._each(headers, b"authorization", lambda value: self._credentials(value, number))
            made = self._cookies(made, number, is_session_cookie)
            if made == headers:
                made = self._cookies(headers, number, lambda _: True)
            if made != headers:
                return made
        return self._each(headers, b"x-forwarded-for", lambda value: self._forwarded(value, number))

    def pseudonym(self, value: bytes, number: int) -> bytes:
        """Give another value of the same shape."""
        return self._known(value[:_LONG], number) + value[_LONG:]

    def _each(self, headers: Headers, wanted: bytes, change: Callable[[bytes], bytes]) -> Headers:
        return tuple((name, change(value) if name.lower() == wanted else value) for name, value in headers)

    def _cookies(self, headers: Headers, number: int, is_one: Callable[[bytes], bool]) -> Headers:
        def line(value: bytes) -> bytes:
            return b";".join(cookie(part) for part in value.split(b";"))

        def cookie(part: bytes) -> bytes:
            name, sign, value = part.partition(b"=")
            return name + sign + self.pseudonym(value, number) if is_one(name.strip()) else part

        return self._each(headers, b"cookie", line)

    def _credentials(self, value: bytes, number: int) -> bytes:
        scheme, blank, credentials = value.strip().partition(b" ")
        return scheme + blank + self.pseudonym(credentials, number) if blank else self.pseudonym(scheme, number)

    def _forwarded(self, value: bytes, number: int) -> bytes:
        first, comma, others = value.partition(b",")
        try:
            address = ipaddress.ip_address(first.strip().decode("ascii"))
        except ValueError:
            return self.pseudonym(first, number) + comma + others
        within = _IPV4 if address.version == 4 else _IPV6
        place = int.from_bytes(self._hash(first.strip(), number)[:16]) % within.num_addresses
        return str(within[place]).encode() + comma + others

    def _hash(self, value: bytes, number: int, block: int = 0) -> bytes:
        place = number.to_bytes(8) + block.to_bytes(8)
        return blake2b(value, digest_size=64, key=self._key, salt=place, person=_PURPOSE).digest()

    def _made(self, value: bytes, number: int) -> bytes:
        stream = b"".join(self._hash(value, number, block) for block in range(-(-len(value) // 64)))
        digits = b"0123456789"
        lower, upper = b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        if _HEX.fullmatch(value) and re.search(rb"[0-9]", value):
            lower, upper = lower[:6], upper[:6]
        made = bytearray(value)
        kept = 0  # of the two characters after a percent sign, which stand for another one
        for place, character in enumerate(value):
            if kept:
                kept -= 1
            elif character == 0x25:
                kept = 2
            elif letters := _class(character, digits, lower, upper):
                made[place] = letters[stream[place] % len(letters)]
        return bytes(made)


def _class(character: int, *classes: bytes) -> bytes:
    kind = 0 if 0x30 <= character <= 0x39 else 1 if 0x61 <= character <= 0x7A else 2
    return classes[kind] if kind < 2 or 0x41 <= character <= 0x5A else b""
