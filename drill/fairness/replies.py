"""One request of the incident and how the clone answered it, and in what the two differ. Pure."""

import re
import zlib
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from captures.records import Record
from drill.fairness.fairness import Direction, Kind
from drill.fairness.rows import Rows

KEPT = 1 << 20
"""Bytes of a body that are looked at, for what packing would make of it."""

LOGIN = re.compile(r"(?i)(^|[/_.-])(log-?in|log_in|sign-?in|sign_in|auth|oauth2?|sso|saml2?|authorize|session/new)\b")
"""Paths to which somebody without a session is sent."""

NEAR = 256
"""Bytes that no difference is made of: a number more in a page of JSON."""

APART, FAR = 1.5, 2.0
"""Factors between sizes: what is a difference at all, and what is another page."""


Purpose = Literal["drawn", "largest", "again"]
"""Drawn among the route's requests; the one with the largest answer; or the one before it once more."""


class Reply(NamedTuple):
    """What the clone answered."""

    record: Record
    """What was asked."""
    purpose: Purpose
    failure: str = ""
    """Why there was no answer; empty: there was one."""
    status: int = 0
    size: int = 0
    """Bytes of the body as it was sent."""
    plain: int | None = None
    """Bytes of it unpacked; None: it is not packed, or too long to tell."""
    packed: int | None = None
    """Bytes that gzip would make of it, about; None: it is packed, or there is too little of it."""
    location: str = ""
    seconds: float = 0.0
    rows: Rows | None = None
    """The list that it consists of; None: of none that could be seen."""
    from_cache: str = ""
    """The field by which a cache of HTTP before the clone says that it answered; empty: none said so."""


class Difference(NamedTuple):
    """In what a status is another one."""

    kind: Kind
    direction: Direction
    words: str


def difference(reply: Reply) -> Difference | None:
    """Tell in what the clone's status is another than that of the incident, or what is wrong by itself. None: alike."""
    then, now = reply.record.status, reply.status
    if failing := _failing(reply):
        return failing
    if then == now:
        return None
    expected = 0 < then < 500
    if then < 400 or not expected:  # 0 and 5xx: how it should have been answered is not known
        if now in (404, 410):
            return Difference("missing", "easy", str(now))
        if now in (401, 403, 407):
            return Difference("login", "easy", str(now))
        if _redirect(now) and not _redirect(then):
            return _redirected(reply)
    return _otherwise(then, now) if expected else Difference("status", "easy", str(now)) if now >= 400 else None


def _failing(reply: Reply) -> Difference | None:
    if reply.failure:
        return Difference("failing", "hard", f"no answer ({reply.failure})")
    if reply.status == 429:
        return Difference("failing", "either", "429: something before the clone limits how often it may be asked")
    return Difference("failing", "hard", f"{reply.status}, without any load") if reply.status >= 500 else None


def _redirect(status: int) -> bool:
    return 300 <= status < 400 and status != 304


def _redirected(reply: Reply) -> Difference:
    place = urlsplit(reply.location) if _reads(reply.location) else urlsplit("")
    if LOGIN.search(place.path):
        return Difference("login", "easy", f"{reply.status}, to a login")
    if place.netloc and place.path == reply.record.path.partition("?")[0]:
        return Difference("status", "easy", f"{reply.status}, to the same path at {place.scheme}://{place.netloc}")
    return Difference("status", "easy", f"{reply.status}, to another place")


def _reads(location: str) -> bool:
    try:
        urlsplit(location)
    except ValueError:
        return False
    return True


def _otherwise(then: int, now: int) -> Difference | None:
    """Tell of statuses that are neither a failure nor the usual signs of missing data."""
    if 304 in (then, now):
        return Difference("status", "hard" if then == 304 else "easy", str(now))
    if (then < 300) == (now < 300):  # one short answer in place of another
        return None
    return Difference("status", "easy" if then < 300 else "hard", str(now))


class Sized(NamedTuple):
    """Two sizes of answers to the same request, and what packing has to do with it."""

    then: int
    now: int
    """As if the clone packed as production did, if packing is what differs."""
    packing: Literal["", "clone-packs", "clone-does-not"] = ""
    largest: bool = False
    rows: Rows | None = None

    @property
    def factor(self) -> float:
        """How many times as large the clone's is. Differences of some bytes are none."""
        return (self.now + NEAR) / (self.then + NEAR)


def sized(reply: Reply) -> Sized | None:
    """Give the sizes that can be compared; None: there are none."""
    record = reply.record
    if reply.failure or record.method == "HEAD" or not (_whole(record.status) and _whole(reply.status)):
        return None
    then, now, largest = record.response_size, reply.size, reply.purpose == "largest"
    if _alike(now, then):
        return Sized(then, now, largest=largest)
    if reply.plain is not None and _alike(reply.plain, then):
        return Sized(then, reply.plain, "clone-packs", largest)
    if reply.packed is not None and now > APART * then and 0.6 <= (reply.packed + NEAR) / (then + NEAR) <= APART:
        return Sized(then, then, "clone-does-not", largest)
    return Sized(then, now, largest=largest, rows=None if reply.plain is not None else reply.rows)


def _whole(status: int) -> bool:
    return 200 <= status < 300 and status != 206


def _alike(a: int, b: int) -> bool:
    return 1 / 1.1 <= (a + NEAR) / (b + NEAR) <= 1.1


def packed_size(body: bytes, whole: int) -> int | None:
    """Tell about how many bytes gzip would make of a body that is `whole` bytes long and begins so."""
    if len(body) < NEAR:
        return None
    return round(len(zlib.compress(body, 6)) * whole / len(body))
