"""The sidecars' grant streams. Edge: keeps a subscription to each, and feeds what it says to the ceiling.

Nothing here decides anything. If a stream ends, stalls or talks nonsense, no grant arrives, and without fresh grants
the ceiling lets nothing pass (`replayer.ceiling`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import httpx
from pydantic import ValidationError

from replayer.ceiling import Heard, Source
from rules.wire import SIGNAL_TIMEOUT, Grant

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two attempts to subscribe: doubled each time, until a grant comes."""

MAX_LINE = 1 << 16
"""Bytes that a line may have. A grant has some hundred."""


async def follow(
    client: httpx.AsyncClient,
    source: Source,
    run_id: str,
    clock: Callable[[], int],
    hear: Callable[[Source, Heard], None],
) -> None:
    """Subscribe to one sidecar until cancelled; subscribe anew whenever that ends."""
    pause = FIRST_PAUSE
    asked = {"run": run_id, "ratio": str(int(source.ceiling))}
    while True:
        try:
            # A stream that is silent for longer than its signal is worth is given up.
            timeout = httpx.Timeout(SIGNAL_TIMEOUT, pool=None)
            url, plain = f"{source.url}/v1/credits", {"accept-encoding": "identity"}
            async with client.stream("GET", url, params=asked, headers=plain, timeout=timeout) as response:
                response.raise_for_status()
                source.subscribed()
                async for line in _newest_lines(response):
                    hear(source, source.take(Grant.model_validate_json(line), clock()))
                    pause = FIRST_PAUSE
        except (httpx.HTTPError, httpx.StreamError, ValidationError, ValueError) as error:
            logger.debug("%s: %r", source.url, error)
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


async def _newest_lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Give the newest whole line of what there is to read. Counters are cumulative, so nothing is lost."""
    rest = b""
    async for chunk in response.aiter_raw():
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise ValueError("this is not a grant stream")
        if whole:
            yield whole[-1]
