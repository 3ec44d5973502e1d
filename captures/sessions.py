"""How many sessions there are, and how large and long. Pure.

What belongs together is what `sampling` keeps together: whoever sends the same `Authorization` or session cookies is
one (captures hold pseudonyms of both, which are equal for equal secrets). Clients that send neither are told apart by
the address that a proxy before the sidecar named, and by what they say of themselves (user agent, languages, client
hints): without such an address, all that have the same browser count as one.

Counting takes bounded memory, by adaptive sampling (Flajolet, On adaptive sampling, Computing 34, 1990): all sessions
are kept until there are too many; then one in two of them, chosen by hash and so whole, one in four, and so on.
"""

from hashlib import blake2b
from typing import Literal

from pydantic import BaseModel, Field

from captures.distribution import Distribution, Quantiles
from captures.records import Headers
from captures.sampling import SessionBy, session_of

Kind = Literal["cookie", "authorization", "hints", "none"]
KINDS: tuple[Kind, ...] = ("cookie", "authorization", "hints", "none")

MOST = 50_000
"""Sessions kept."""

_AUTO = SessionBy("auto")
_HINTS = frozenset({b"accept-language", b"sec-ch-ua", b"sec-ch-ua-platform", b"sec-ch-ua-mobile"})
_LENGTHS = frozenset(map(len, _HINTS))


def session(headers: Headers) -> tuple[Kind, int]:
    """Say by what a request's session is known, and give a 64-bit hash of it; 0 if it is not known."""
    found = session_of(headers, "", _AUTO)
    if found.startswith(b"authorization\0"):
        return "authorization", _hash(found)
    if found.startswith(b"cookies\0"):
        return "cookie", _hash(found)
    hints = b"\n".join(value for name, value in headers if len(name) in _LENGTHS and name.lower() in _HINTS)
    if not hints and not found.removeprefix(b"address").strip(b"\0"):
        return "none", 0
    return "hints", _hash(found + b"\n" + hints)


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
