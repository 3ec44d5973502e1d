"""The shop of docs/incident-drill.md: what is left of its bad evening, and a clone to try the fix on.

Run the clone as ``python -m uvicorn tests.support.worked:app``; with ``RELEASE=last-night`` it has the fault: all
shelves wait for one lock.
"""

import asyncio
import json
import os
import random
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from captures.batch import BatchWriter
from captures.records import Record
from tests.captures.making import record

HOST, PORT = "staging.shop.example", 8000
"""Where the clone is in the document."""

BEGIN_NS = round(datetime(2026, 11, 21, 14, 1, 58, tzinfo=UTC).timestamp()) * 10**9
"""Two seconds before the time that the document asks for."""

SECONDS = 5

RATES = {"/": 95.0, "/product/{id}": 120.0, "/category/{id}": 95.0, "/search": 95.0}
"""Requests per second of each: as many as it takes to say something of each after a few seconds."""

SIZES = {"/": 6_000, "/product/{id}": 4_000, "/category/{id}": 24_000, "/search": 9_000}
WORDS = ("lamp", "chair", "table", "rug", "sofa", "shelf", "mirror", "clock")

HELD = 0.1
"""Seconds that the fault holds the lock: ten shelves a second are all that goes, and ninety-five are asked for."""

PATIENT = 4
"""Requests that wait for it; more are sent away."""

_lock = asyncio.Lock()
_waiting: list[Request] = []


def size(route: str, path: str) -> int:
    """How large an answer is: alike on one route, and always the same for one path."""
    return SIZES[route] * (90 + zlib.crc32(path.encode()) % 21) // 100


async def _page(request: Request) -> Response:
    route = next(each for each in SIZES if each.split("/")[1] == request.url.path.split("/")[1])
    if route == "/category/{id}":
        if os.environ.get("RELEASE") == "last-night":
            if len(_waiting) > PATIENT:
                return HTMLResponse("there is nobody to serve you", 503)
            _waiting.append(request)
            async with _lock:
                await asyncio.sleep(HELD)
                _waiting.remove(request)
        else:
            await asyncio.sleep(0.005)
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return HTMLResponse("x" * size(route, target))


app = Starlette(routes=[Route(path, _page) for path in SIZES])


def evening(seed: int = 1) -> list[Record]:
    """Give what users asked for, and what they got: an evening in five seconds."""
    return sorted(_requests(random.Random(seed)), key=lambda one: one.arrival_ns)


def _requests(draw: random.Random) -> Iterator[Record]:
    for route, rate in RATES.items():
        at = 0.0
        while (at := at + draw.expovariate(rate)) < SECONDS:
            path = route.replace("{id}", str(min(500, int(draw.paretovariate(0.6)))))
            if route == "/search":
                path = f"/search?q={draw.choice(WORDS)}"
            down = at > 2.5
            failed = down and draw.random() < (0.4 if "category" in route else 0.1)
            took = draw.uniform(0.6, 1.9) if down else draw.lognormvariate(-4.0, 0.4)
            yield record(
                BEGIN_NS + round(at * 1e9),
                path=path,
                authority="shop.example",
                scheme="https",
                headers=((b"host", b"shop.example"), (b"user-agent", b"Mozilla/5.0")),
                status=503 if failed else 200,
                response_size=180 if failed else size(route, path),
                duration_ns=round(took * 1e9),
                ttfb_ns=round(took * 9e8),
            )


def left_behind(folder: Path, overview: Any) -> None:
    """Write what is left of it: a capture, nginx's access logs, and Upsun's figures as `overview` makes them."""
    requests = evening()
    with BatchWriter(folder / "recordings") as out:
        for one in requests:
            out.write(one)
    (folder / "access.log").write_text("".join(map(_line, _ended(requests))))
    (folder / "timed.log").write_text("".join(map(_timed, _ended(requests))))
    asked = [one for one in requests if one.arrival_ns >= BEGIN_NS + 2 * 10**9]
    (folder / "overview.json").write_text(json.dumps(overview(asked, grain=1, top=40)))


def _ended(requests: Sequence[Record]) -> list[Record]:
    """Put them into the order in which nginx writes them: that of their ends."""
    return sorted(requests, key=lambda one: one.arrival_ns + one.duration_ns)


def _line(one: Record) -> str:
    """Write a request as nginx's `combined` does, which says when it ended."""
    ended = datetime.fromtimestamp((one.arrival_ns + one.duration_ns) // 10**9, UTC)
    request = f"{one.method} {one.path} HTTP/1.1"
    answer = f'{one.status} {one.response_size} "-" "Mozilla/5.0"'
    return f'192.0.2.7 - - [{ended:%d/%b/%Y:%H:%M:%S +0000}] "{request}" {answer}\n'


def _timed(one: Record) -> str:
    """Write it with how long it took, and when it ended to the millisecond."""
    ended = f"{(one.arrival_ns + one.duration_ns) / 1e9:.3f}"
    return f"{_line(one).rstrip()} {one.duration_ns / 1e9:.3f} {ended} {one.authority}\n"
