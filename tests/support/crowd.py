"""Real users in the background: a steady open population, in a thread of its own, that keeps count."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.client import Client


class Visit(NamedTuple):
    """One request as its user saw it."""

    began: int
    """Unix nanoseconds, as `ended`."""
    ended: int
    outcome: str
    """The status, or the error that came instead of one."""
    again: bool
    """Whether it was sent a second time, because its connection was lost."""

    @property
    def served(self) -> bool:
        return self.outcome == "200"


class Crowd:
    """Sends `rate` requests a second to `url` while the ``with`` block lasts. Failures are counted, not raised.

    Connections are kept and used again, unless `fresh`. With `again`, what is lost with its connection is sent once
    more on a new one, as browsers and HTTP libraries do with what only reads (RFC 9110, 9.2.2). Paths are ``/item/N``,
    with a hundred N from `first` on.
    """

    def __init__(
        self,
        url: str,
        rate: float,
        prefix: str = "real",
        headers: Sequence[tuple[str, str]] = (),
        fresh: bool = False,
        again: bool = False,
        first: int = 0,
    ) -> None:
        self.url = url
        self.fresh = fresh
        self.again = again
        self.first = first
        self.headers = headers
        self.rate = rate
        self.prefix = prefix
        self.sent = 0
        self.answered = 0
        self.failed: list[str] = []
        self.visits: list[Visit] = []
        """In the order in which they ended."""
        self._idle: deque[Client] = deque()  # each has its turn, so that none is kept for long without use
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _come(self) -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                due += 1 / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._ask(self.sent))
                self.sent += 1
        for client in self._idle:
            client.close()

    async def _ask(self, number: int) -> None:
        began, again = time.time_ns(), False
        while True:
            client = self._idle.popleft() if self._idle and not again else Client(self.url)
            try:
                async with asyncio.timeout(20):
                    answer = await client.request(
                        "GET",
                        f"/item/{self.first + number % 100}",
                        [("x-request-id", f"{self.prefix}-{number}"), ("user-agent", "crowd"), *self.headers],
                    )
            except (OSError, EOFError, TimeoutError) as error:
                client.close()
                if self.again and not again and not isinstance(error, TimeoutError):
                    again = True
                    continue
                self.failed.append(repr(error))
                self.visits.append(Visit(began, time.time_ns(), repr(error), again))
                return
            break
        self.visits.append(Visit(began, time.time_ns(), str(answer.status), again))
        if answer.status == 200:
            self.answered += 1
        else:
            self.failed.append(str(answer.status))
        if self.fresh:
            client.close()
        else:
            self._idle.append(client)
