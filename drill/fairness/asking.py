"""Asks the clone, one request at a time, as a replay would ask it. Edge: the network.

It is slow on purpose: the clone rests at least as long as it took for an answer, so what is measured is an idle one.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, get_args

from captures.rendering import printable
from captures.unpacking import MOST, unpacked_as
from drill.fairness.choosing import Asked
from drill.fairness.replies import KEPT, Reply, packed_size
from drill.fairness.rows import rows
from replayer.plan import Plan
from replayer.prober import Asker
from replayer.requests.encoding import Encoder, Request
from replayer.requests.tagging import Tag
from replayer.transport import Answer, target
from replayer.transport.failures import Unconnected
from replayer.transport.tls import to_target
from rules.exits import Exit, UserError
from rules.wire import WITHHELD_HEADER, WITHHELD_STATUSES

LONGEST = 1 << 28
"""Bytes of an answer that are read at most: production's page of 50,000 products has some ten million."""

PATIENCE = 120.0
"""Seconds that all of it may take. What was not asked by then is not compared."""

GAP = 0.01
"""Seconds between two requests at least."""

_SWEEP = 0.05

_TRIES = 3
"""Connections that are tried before a clone is given up."""

UNCONNECTED = frozenset(get_args(Unconnected))

_CACHES = (b"x-cache", b"x-cache-status", b"cf-cache-status", b"cache-status", b"x-proxy-cache")
"""Fields in which caches of HTTP say that they answered."""

_LONG_FIELD = 2000


class Told(NamedTuple):
    """What came of it."""

    replies: dict[int, list[Reply]]
    """By the route's place."""
    left_out: dict[int, str]
    """Why nothing of a route was sent."""
    sent: int
    seconds: float


async def ask(
    plan: Plan,
    encoder: Encoder,
    tag: Tag,
    asked: Sequence[Asked],
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Told:
    """Ask all of it; `tell` hears how far it has come.

    Raises UserError where the way to the clone can't be set up, and where there are real users.
    """
    asker = Asker(
        target(plan, to_target(plan)),
        time.monotonic_ns,
        lambda: tag.token(time.time()),
        lambda _: None,
        lambda: True,
        kept=KEPT,
        longest=LONGEST,
    )
    begun = time.monotonic()
    told = Told(defaultdict(list), {}, 0, 0.0)
    try:
        async with asyncio.timeout(PATIENCE):
            sweeping = asyncio.create_task(_sweep(asker))
            try:
                for number, each in enumerate(asked):
                    tell(number, len(asked))
                    await _one(plan.to, asker, encoder, each, told)
                    _is_there(plan, asker, told)
            finally:
                sweeping.cancel()
    except TimeoutError:
        for each in asked:
            if each.route not in told.replies:
                told.left_out.setdefault(
                    each.route, f"not asked: the clone took longer than {PATIENCE:.0f} s for the rest"
                )
    finally:
        asker.close()
    for route in told.replies:
        told.left_out.pop(route, None)
    return told._replace(sent=asker.count, seconds=time.monotonic() - begun)


async def _one(to: str, asker: Asker, encoder: Encoder, each: Asked, told: Told) -> None:
    request = encoder.encode(each.record)
    if not isinstance(request, Request):
        told.left_out[each.route] = f"not sent: {request}"
        return
    sent = time.monotonic()
    answer = await asker.ask(request)
    while answer == "backoff":  # a connection has just failed; the next one is tried a moment later
        await asyncio.sleep(GAP)
        answer = await asker.ask(request)
    guarded(to, answer)
    took = time.monotonic() - sent
    told.replies[each.route].append(_reply(each, answer))
    await asyncio.sleep(max(GAP, took))


def _is_there(plan: Plan, asker: Asker, told: Told) -> None:
    """Give up on a clone to which there has never been a connection. Raises UserError."""
    got = [reply for replies in told.replies.values() for reply in replies]
    if len(got) == _TRIES and all(reply.failure in UNCONNECTED for reply in got):
        why = next(iter(asker.reasons.values()), "") or got[0].failure
        raise UserError(f"{plan.to} does not answer ({why}): is the clone up, and is that its URL?", Exit.FAILED)


async def _sweep(asker: Asker) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            asker.sweep()
            await asyncio.sleep(_SWEEP)


def guarded(to: str, answer: Answer | str) -> None:
    """Give up where a sidecar's guard answered: it stands before real users. Raises UserError."""
    if not isinstance(answer, Answer) or answer.body is None:
        return
    told = dict(answer.body.fields).get(WITHHELD_HEADER.encode())
    if told is not None and answer.status in WITHHELD_STATUSES:
        raise UserError(
            f"{to}: the guard of a sidecar answered there ({printable(told[:20].decode('latin-1'))}), and where a "
            "sidecar is, there are real users: a drill is for an idle clone, so nothing more was sent",
            Exit.LEVER if told == b"lever" else Exit.FAILED,
        )


def _reply(each: Asked, answer: Answer | str) -> Reply:
    if not isinstance(answer, Answer):
        return Reply(each.record, each.purpose, failure=answer)
    body = answer.body
    fields = {} if body is None else dict(body.fields)
    size, start, coding = (0, b"", b"") if body is None else (body.size, body.start, body.coding)
    plain = packed = list_ = None
    if coding and size <= len(start):
        unpacked = unpacked_as(start, coding)
        plain = None if unpacked is start or len(unpacked) >= MOST else len(unpacked)
    elif not coding:
        packed = packed_size(start, size)
        list_ = rows(start) if size <= len(start) else None
    return Reply(
        each.record,
        each.purpose,
        "",
        answer.status,
        size,
        plain,
        packed,
        fields.get(b"location", b"")[:_LONG_FIELD].decode("latin-1"),
        (answer.ended_ns - answer.sent_ns) / 1e9,
        list_,
        _cached(fields),
    )


def _cached(fields: dict[bytes, bytes]) -> str:
    for name in _CACHES:
        if b"hit" in fields.get(name, b"")[:_LONG_FIELD].lower():
            return f"{name.decode()}: {fields[name][:100].decode('latin-1')}"
    age = fields.get(b"age", b"")
    return f"age: {age[:20].decode('latin-1')}" if age[:20].isdigit() and int(age[:20]) > 0 else ""
