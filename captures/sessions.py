"""Which requests belong together, and how many there are of such sessions. Pure.

Whoever sends the same session cookie or the same `Authorization` is one; captures hold pseudonyms of both, which are
equal for equal secrets. Clients that send neither are told apart only by what they say of themselves (user agent,
client hints, languages), so all that have the same browser count as one.

Counting takes bounded memory, by adaptive sampling (Flajolet, On adaptive sampling, Computing 34, 1990): all sessions
are kept until there are too many; then one in two of them, chosen by hash and so whole, one in four, and so on.
"""

import re
from hashlib import blake2b
from typing import Literal

from pydantic import BaseModel, Field

from captures.distribution import Distribution, Quantiles
from captures.records import Headers

Kind = Literal["cookie", "authorization", "hints", "none"]
KINDS: tuple[Kind, ...] = ("cookie", "authorization", "hints", "none")

MOST = 50_000
"""Sessions kept."""

_SESSION = re.compile(
    rb"sess|(?:^|[._-])s?id$|sid$|auth|token|jwt|login|user|uid|remember|visitor|client|^_ga$", re.IGNORECASE
)
_NO_SESSION = re.compile(rb"csrf|xsrf|consent", re.IGNORECASE)
_HINTS = frozenset({b"user-agent", b"accept-language", b"sec-ch-ua", b"sec-ch-ua-platform", b"sec-ch-ua-mobile"})
_LENGTHS = frozenset(map(len, (*_HINTS, b"cookie", b"authorization")))


def session(headers: Headers) -> tuple[Kind, int]:
    """Say by what a request's session is known, and give a 64-bit hash of it; 0 if it is not known."""
    cookies = authorization = hints = b""
    for name, value in headers:
        if len(name) not in _LENGTHS:
            continue
        lower = name.lower()
        if lower == b"cookie":
            cookies = cookies + b"; " + value if cookies else value
        elif lower == b"authorization":
            authorization = value
        elif lower in _HINTS:
            hints += lower + b"=" + value + b"\n"
    if cookies and (found := _of_session(cookies)):
        return "cookie", _hash(b"c" + found)
    if authorization:
        return "authorization", _hash(b"a" + authorization)
    if cookies:
        return "cookie", _hash(b"w" + cookies)
    return ("hints", _hash(b"h" + hints)) if hints else ("none", 0)


def _of_session(cookies: bytes) -> bytes:
    """Give the cookies that by their names stay the same for a session. Others change on the way, a cart for one."""
    return b";".join(
        pair
        for pair in map(bytes.strip, cookies.split(b";"))
        if _SESSION.search(name := pair.partition(b"=")[0][:64]) and not _NO_SESSION.search(name)
    )


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest())


class Sessions(BaseModel):
    """What was found out about sessions."""

    count: int = Field(description="different ones")
    exact: bool = Field(description="false: there were too many to keep, so the count is an estimate from a sample")
    standard_error: float = Field(description="of the count, as a share of it; 0: it is exact")
    requests_by: dict[str, int] = Field(description="requests, by what their session was known by")
    requests: Quantiles = Field(description="in a session")
    seconds: Quantiles = Field(description="from the first to the last request of a session")


class SessionCounter:
    """Counts sessions, their requests and how long they lasted, in bounded memory."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._mask = 0
        self._kept: dict[int, list[int]] = {}
        self._by: dict[Kind, int] = dict.fromkeys(KINDS, 0)

    def add(self, headers: Headers, arrival_ns: int) -> None:
        """Count one request; arrivals come in any order."""
        kind, key = session(headers)
        self._by[kind] += 1
        if kind == "none" or key & self._mask:
            return
        known = self._kept.get(key)
        if known is None:
            self._kept[key] = [1, arrival_ns, arrival_ns]
            while len(self._kept) > self._most:
                self._mask = self._mask << 1 | 1
                self._kept = {one: value for one, value in self._kept.items() if not one & self._mask}
            return
        known[0] += 1
        if arrival_ns > known[2]:
            known[2] = arrival_ns
        elif arrival_ns < known[1]:
            known[1] = arrival_ns

    def result(self) -> Sessions:
        """Sum up."""
        requests, lasted = Distribution(), Distribution()
        for count, first_ns, last_ns in self._kept.values():
            requests.add(count)
            lasted.add((last_ns - first_ns) // 1000)
        return Sessions(
            count=len(self._kept) * (self._mask + 1),
            exact=not self._mask,
            standard_error=1.2 / self._most**0.5 if self._mask else 0.0,
            requests_by={kind: count for kind, count in self._by.items() if count},
            requests=requests.quantiles(),
            seconds=lasted.quantiles(scale=1e-6),
        )
