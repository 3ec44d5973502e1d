"""People who order: so many at a time, each the next order as soon as the last one was answered."""

import asyncio
import random
import threading
from types import TracebackType
from typing import Self

from tests.support.client import Client

FORGED = "v1.AAAAAAAAAAA.forged.4102444800.test-shop." + "A" * 86


def has_a_trace(name: str) -> bool:
    """Whether an order by this name comes with a trace of its own."""
    return int(name.rpartition("-")[2]) % 3 == 0


class Users:
    """Orders by ``GET /orders/NAME-N`` while the ``with`` block lasts, each under a name of its own.

    A third of them has a trace of its own already, as behind a tracing proxy. One in 50 forges a load tag, to get away
    without being charged. All of them are real.
    """

    def __init__(self, url: str, name: str = "user", at_a_time: int = 8) -> None:
        self.url, self.name, self.at_a_time = url, name, at_a_time
        self.answered: list[str] = []
        self.failed: list[str] = []
        self._sent = 0
        self._draw = random.Random(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Order no more, and wait for what was ordered."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _come(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.at_a_time):
                group.create_task(self._order())

    async def _order(self) -> None:
        async with Client(self.url) as client:
            while not self._stop.is_set():
                number = self._sent
                self._sent += 1
                name = f"{self.name}-{number}"
                try:
                    async with asyncio.timeout(50):
                        answer = await client.request("GET", f"/orders/{name}", self._headers(name, number))
                except (OSError, EOFError, TimeoutError) as error:
                    self.failed.append(f"{name}: {error!r}")
                    client.close()
                    continue
                if answer.status == 200:
                    self.answered.append(name)
                else:
                    self.failed.append(f"{name}: {answer.status}")

    def _headers(self, name: str, number: int) -> list[tuple[str, str]]:
        headers = [("baggage", "customer=somebody")]
        if has_a_trace(name):
            trace, span = self._draw.getrandbits(128), self._draw.getrandbits(64)
            headers.append(("traceparent", f"00-{trace:032x}-{span:016x}-01"))
        if number % 50 == 7:
            headers += [("baggage", f"loadtest={FORGED}"), ("x-load-test", "forged")]
        return headers
