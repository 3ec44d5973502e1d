"""Real users in the background: a steady open population, in a thread of its own, that keeps count."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.support.client import Client


class Crowd:
    """Sends `rate` requests a second to `url` while the ``with`` block lasts. Failures are counted, not raised.

    Connections are kept and used again, unless `fresh`.
    """

    def __init__(
        self,
        url: str,
        rate: float,
        prefix: str = "real",
        headers: Sequence[tuple[str, str]] = (),
        fresh: bool = False,
    ) -> None:
        self.url = url
        self.fresh = fresh
        self.headers = headers
        self.rate = rate
        self.prefix = prefix
        self.sent = 0
        self.answered = 0
        self.failed: list[str] = []
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
        client = self._idle.popleft() if self._idle else Client(self.url)
        try:
            async with asyncio.timeout(20):
                answer = await client.request(
                    "GET",
                    f"/item/{number % 100}",
                    [("x-request-id", f"{self.prefix}-{number}"), ("user-agent", "crowd"), *self.headers],
                )
        except (OSError, EOFError, TimeoutError) as error:
            self.failed.append(repr(error))
            client.close()
            return
        if answer.status == 200:
            self.answered += 1
        else:
            self.failed.append(str(answer.status))
        if self.fresh:
            client.close()
        else:
            self._idle.append(client)
