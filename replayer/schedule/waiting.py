"""Waits for a start that was announced ahead. Edge: the clock, and the levers of the sidecars meanwhile.

It asks for their state now and then, and does not subscribe to grants: whoever only waits takes no part of the credit.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import httpx
from pydantic import ValidationError

from rules.wire import Lever, State

EVERY = 1.0
"""Seconds between two looks."""


async def countdown(
    until_ns: int, clock: Callable[[], int], over: asyncio.Event, tick: Callable[[float], None]
) -> None:
    """Wait until `clock` shows `until_ns`, or the run is over; tell the seconds that are left, about once a second."""
    while not over.is_set() and (left := (until_ns - clock()) / 1e9) > 0:
        tick(left)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(EVERY, left)):
                await over.wait()


async def watch_levers(
    client: httpx.AsyncClient, urls: Iterable[str], pulled: Callable[[str, Lever], None], every: float = EVERY
) -> None:
    """Tell of each lever that is pulled, until cancelled. A sidecar that does not answer is asked again."""

    async def look(url: str) -> None:
        with suppress(httpx.HTTPError, ValidationError, TimeoutError):
            async with asyncio.timeout(5 * every):
                response = await client.get(f"{url}/v1/state")
                response.raise_for_status()
                if (lever := State.model_validate_json(response.content).lever).engaged:
                    pulled(url, lever)

    named = list(urls)
    while named:
        await asyncio.gather(*map(look, named))
        await asyncio.sleep(every)
