"""What no proxy may do, whatever nginx does: held against the bytes that the client sent."""

from typing import Literal
from urllib.parse import urlsplit

from tests.support.differential.corpus import CASES, Case
from tests.support.differential.origin import Seen, echo
from tests.support.differential.running import Outcome
from tests.support.wire import MISTAKES, Request, read_requests

Hazard = Literal["smuggled", "mixed up", "twice", "ambiguous", "unreadable"]
"""A request that the client did not send reached the app; an answer belongs to another request; a request was
executed twice; what reached the app reads differently to a careless app; it can't be read at all."""


def hazards(case: Case, outcome: Outcome) -> set[Hazard]:
    """Find them all."""
    reading = read_requests(case.data)
    found: set[Hazard] = set()
    if outcome.broken:
        found.add("unreadable")
    if any(_ambiguous(seen) for seen in outcome.seen):
        found.add("ambiguous")
    if outcome.probed > 1:
        found.add("twice")
    if outcome.probed and (reading.end != "complete" or case.then):
        found.add("smuggled")
    allowed = list(map(_meaning, reading.requests))
    seen = [_meaning(seen.request) for seen in outcome.seen]
    if case.then:
        # The client may be gone before its request has come, or before the answer to what it sent last: what is late is
        # found in the case after it.
        cases = (read_requests(other.data).requests for other in CASES if other.then)
        return found if set(seen) <= {_meaning(one) for requests in cases for one in requests} else found | {"smuggled"}
    if not _in_order(seen, allowed):
        found.add("twice" if set(seen) <= set(allowed) else "smuggled")
    if not _answered_in_turn(outcome, reading.requests):
        found.add("mixed up")
    return found


def _ambiguous(seen: Seen) -> bool:
    """Whether a careless app finds something else in the bytes than one request with this body."""
    for mistake in MISTAKES:
        reading = read_requests(seen.raw, mistake)
        if len(reading.requests) != 1 or reading.end not in ("complete", "closing"):
            return True
        if reading.requests[0].body != seen.request.body or reading.requests[0].stop != len(seen.raw):
            return True
    return False


def _meaning(request: Request) -> tuple[bytes, bytes, bytes]:
    """What makes a request this one; a proxy may turn an absolute target into its path."""
    target = request.target
    if b"://" in target.partition(b"/")[0] + b"//":
        parts = urlsplit(target.decode("latin-1"))
        if parts.scheme:
            target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}".encode("latin-1")
    return request.method, target, request.body


def _in_order(seen: list[tuple[bytes, bytes, bytes]], allowed: list[tuple[bytes, bytes, bytes]]) -> bool:
    rest = iter(allowed)
    return all(any(one == other for other in rest) for one in seen)


def _answered_in_turn(outcome: Outcome, requests: tuple[Request, ...]) -> bool:
    """Whether each answer of the app is that of the request in the same place."""
    if len(outcome.answers) > len(requests) + 1:
        return False
    for answer, request in zip(outcome.answers, requests, strict=False):
        if answer.status != 200 or request.method == b"HEAD":
            continue
        own = [echo(one.request) for one in outcome.seen if _meaning(one.request) == _meaning(request)]
        if answer.body not in own or not answer.whole:
            return False
    return True
