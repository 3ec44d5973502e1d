"""Clones of which the truth is known, drawn: as good as production, older, smaller, or broken. Pure.

The shop has pages that are always the same, pages that differ by the thing on them, one that is another every time
it is asked for, and a list whose rare pages with everything on them are most of what it sends.
"""

import math
import random
from collections.abc import Callable, Mapping
from typing import NamedTuple
from zlib import crc32

from captures.records import Record
from drill.fairness.choosing import chosen
from drill.fairness.comparing import Finished, compare
from drill.fairness.population import Population, population
from drill.fairness.replies import Reply
from drill.story import Story
from tests.support.recording import START_NS, record

STORY = Story(source="capture", told="", begin_ns=START_NS, end_ns=START_NS + 10**12, times="kept", outcomes="records")

PAGES = ("/", "/help", "/product/{}", "/review/{}", "/search?q={}", "/list?page={}", "/account/{}", "/feed")
SHARES = (0.2, 0.05, 0.3, 0.1, 0.15, 0.1, 0.08, 0.02)
THINGS = 3000
FAILED = 0.2
"""Share of the incident's requests that failed: it was one."""

Answer = tuple[int, int]
"""Status and size."""

Clone = Callable[[random.Random, str, Answer], Answer]
"""What a clone answers to a path, given what production would answer now."""


def spread(path: str, sigma: float) -> float:
    """Give a factor that belongs to a path, with a deviation of `sigma` in its logarithm."""
    return math.exp(random.Random(crc32(path.encode())).gauss(0, sigma))


def production(draw: random.Random, path: str) -> Answer:
    """What production answers, if it does."""
    if path.startswith("/search"):
        return 200, round(8000 * math.exp(draw.gauss(0, 0.6)))  # as much as there is just now
    if path.startswith("/list"):
        return 200, 2_000_000 if path.endswith("=0") else round(30_000 * spread(path, 0.2))
    if path.startswith(("/product", "/review")):
        return (200, round(20_000 * spread(path, 0.8))) if spread(path, 1) > 0.1 else (404, 200)
    return 200, round({"/feed": 50_000}.get(path, 9000) * math.exp(draw.gauss(0, 0.05)))


def _same(draw: random.Random, _path: str, now: Answer) -> Answer:
    return now[0], round(now[1] * math.exp(draw.gauss(0, 0.02)))


def _older(draw: random.Random, path: str, now: Answer) -> Answer:
    if path.startswith(("/product", "/review")) and draw.random() < 0.02:
        return 404, 200
    return now[0], round(now[1] * math.exp(draw.gauss(0, 0.12)))


def _shaky(draw: random.Random, path: str, now: Answer) -> Answer:
    return (502, 0) if draw.random() < 0.01 else _same(draw, path, now)


def _less(share: float) -> Clone:
    """Only so much of the data: lists, searches and feeds are shorter, other things are not there."""

    def answer(draw: random.Random, path: str, now: Answer) -> Answer:
        if path.startswith(("/list", "/search", "/feed")):
            return now[0], round(now[1] * share)
        if path.startswith(("/product", "/review")) and crc32(path.encode()) % 1000 >= share * 1000:
            return 404, 200
        return _same(draw, path, now)

    return answer


def _short_lists(share: float) -> Clone:
    """All things are there, but nothing that is in lists: what a look at single pages does not show."""

    def answer(draw: random.Random, path: str, now: Answer) -> Answer:
        return (now[0], round(now[1] * share)) if path.startswith("/list") else _same(draw, path, now)

    return answer


def _to_login(draw: random.Random, path: str, now: Answer) -> Answer:
    return (302, 0) if path.startswith("/account") else _same(draw, path, now)


def _failing(draw: random.Random, path: str, now: Answer) -> Answer:
    return (500, 100) if path.startswith("/list") else _same(draw, path, now)


class Truth(NamedTuple):
    """A kind of clone."""

    answer: Clone
    fair: bool
    """Whether it stands in for production."""


TRUTHS: Mapping[str, Truth] = {
    "the same": Truth(_same, True),
    "some weeks older: 2% of things gone, sizes 12% apart": Truth(_older, True),
    "1% of answers fail": Truth(_shaky, True),
    "half of the data": Truth(_less(0.5), False),
    "a tenth of the data": Truth(_less(0.1), False),
    "12 things of 50,000": Truth(_less(0.00024), False),
    "a tenth on lists only": Truth(_short_lists(0.1), False),
    "accounts behind a login": Truth(_to_login, False),
    "lists fail without load": Truth(_failing, False),
}


def incident(draw: random.Random, requests: int = 1500) -> Population:
    """Draw an incident, and take it in."""
    return population([_request(draw, n) for n in range(requests)], STORY, draw.randrange(1 << 30))


def _request(draw: random.Random, number: int) -> Record:
    (page,) = draw.choices(PAGES, SHARES)
    thing = 0 if page.startswith("/list") and draw.random() < 0.05 else min(THINGS, int(draw.paretovariate(0.4)))
    path = page.format(thing)
    status, size = (503, 150) if draw.random() < FAILED else production(draw, path)
    return record(number / 10, path, status=status, response_size=size, duration_ns=draw.randrange(10**6, 10**9))


def asked(draw: random.Random, known: Population, clone: Clone) -> Finished:
    """Have the clone checked."""
    replies: dict[int, list[Reply]] = {}
    for each in chosen(known):
        status, size = clone(draw, each.record.path, production(draw, each.record.path))
        location = "/login" if status == 302 else ""
        seconds = draw.uniform(0.01, 0.05)
        reply = Reply(each.record, each.purpose, status=status, size=size, location=location, seconds=seconds)
        replies.setdefault(each.route, []).append(reply)
    return compare(known, replies, {})
