"""Users of the shop: they come by the clock, whether or not those before them were served, and give up some time."""

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from captures.templates import template
from tests.support.client import Client
from tests.support.incident.mix import Arrival

PATIENCE = 10.0
"""Seconds after which a user gives up."""

AGENT = "Mozilla/5.0 (X11; Linux x86_64) shopper"


class Visit(NamedTuple):
    """One request as its user saw it."""

    page: str
    """As a template: ``/product/{id}``."""
    at: float
    """Seconds from the beginning to when it was due."""
    seconds: float
    """From when it was due to the end of the answer, or to when the user gave up."""
    status: int
    """0: there was no answer."""

    @property
    def failed(self) -> bool:
        """Whether the user got nothing, or a page that says that it is broken."""
        return not self.status or self.status >= 500


class Figures(NamedTuple):
    """What users got, summed up."""

    requests: int
    failed: float
    """Share of all."""
    p50: float
    """Seconds; who got nothing counts with the time that was waited."""
    p95: float

    @property
    def well(self) -> bool:
        """Whether a load test with the usual limits passes: p(95) below a second, below 1% of errors."""
        return self.p95 < 1 and self.failed < 0.01


def send(url: str, arrivals: Iterable[Arrival]) -> list[Visit]:
    """Send them all, and give what became of each, in the order in which they were due."""
    return asyncio.run(_Users(url).come(list(arrivals)))


def figures(visits: Sequence[Visit]) -> Figures:
    """Sum up. Raises ValueError if there is nothing."""
    times = sorted(visit.seconds for visit in visits)
    if not times:
        raise ValueError("nobody came")
    failed = sum(visit.failed for visit in visits) / len(visits)
    return Figures(len(visits), failed, *(times[math.ceil(len(times) * q) - 1] for q in (0.5, 0.95)))


def by_page(visits: Iterable[Visit]) -> dict[str, list[Visit]]:
    """Sort them by page."""
    found: dict[str, list[Visit]] = {}
    for visit in visits:
        found.setdefault(visit.page, []).append(visit)
    return found


class _Users:
    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Client] = []

    async def come(self, arrivals: Sequence[Arrival]) -> list[Visit]:
        begin, tasks = time.monotonic() + 0.1, []
        async with asyncio.TaskGroup() as group:
            for one in arrivals:
                await asyncio.sleep(max(0.0, begin + one.at - time.monotonic()))
                tasks.append(group.create_task(self._ask(one, begin)))
        for client in self._idle:
            client.close()
        return [task.result() for task in tasks]

    async def _ask(self, one: Arrival, begin: float) -> Visit:
        client = self._idle.pop() if self._idle else Client(self._url)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + PATIENCE):
                status = (await client.request("GET", one.path, [("user-agent", AGENT), ("accept", "*/*")])).status
            self._idle.append(client)
        except (OSError, EOFError, TimeoutError):
            client.close()
            status = 0
        return Visit(template(one.path), one.at, time.monotonic() - begin - one.at, status)
