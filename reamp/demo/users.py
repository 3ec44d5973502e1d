"""The people: an open population that asks for an uneven mix of pages at a rate that changes."""

import asyncio
import math
import random
import time
from collections import Counter

import httpx

from reamp.demo.shop import CATEGORIES, PRODUCTS

_BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.7,de;q=0.3",
    "accept-encoding": "gzip, deflate",
    "cache-control": "no-cache",
    "sec-fetch-mode": "navigate",
}


class Users:
    """Real users of the shop. `rate` is the mean number of requests a second, around which it swings.

    They come whatever the shop does (an open population), and each request bears an id, so that what they sent can be
    compared with what the app and the disk hold.
    """

    def __init__(self, url: str, rate: float, seed: int) -> None:
        self.rate = rate
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        self.timeouts = 0
        self.latencies: list[tuple[float, float]] = []  # (unix time of the start, seconds)
        self._choice = random.Random(seed)
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=_BROWSER,
            timeout=20,
            trust_env=False,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
        )
        self._requests: set[asyncio.Task[None]] = set()

    async def come(self) -> None:
        """Come and go until cancelled."""
        began = due = time.monotonic()
        while True:
            # A Poisson process whose rate swings by a third in 12 seconds.
            rate = self.rate * (1 + math.sin((due - began) / 12 * math.tau) / 3)
            due += self._choice.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._ask(self._page(), self.sent))
            self.sent += 1
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)

    async def leave(self) -> None:
        """Wait for the last answers and close the connections."""
        await asyncio.gather(*self._requests)
        await self._client.aclose()

    async def _ask(self, page: str, number: int) -> None:
        headers = {"x-request-id": f"real-{number}", "cookie": f"session=s{number % 40:04}; theme=dark"}
        began, clock = time.time(), time.monotonic()
        try:
            response = await self._client.get(page, headers=headers)
            self.statuses[response.status_code] += 1
        except httpx.HTTPError as error:
            self.statuses[0] += 1
            self.timeouts += isinstance(error, httpx.TimeoutException)
        self.latencies.append((began, time.monotonic() - clock))

    def _page(self) -> str:
        kind, pick = self._choice.random(), self._choice
        product = min(PRODUCTS, int(pick.paretovariate(0.7)))
        if kind < 0.45:
            return f"/shop/products/{product}.json"
        if kind < 0.65:
            return f"/shop/reviews.json?product_id={product}&_size=20"
        if kind < 0.8:
            return f"/shop/products.json?category_id={pick.randint(1, len(CATEGORIES))}&_sort=price&_size=10"
        if kind < 0.9:
            return f"/shop/products/{product}"
        if kind < 0.96:
            return "/shop.json"
        return f"/shop/orders?_sort_desc=total&_size=10&_next={pick.randrange(100)}"
