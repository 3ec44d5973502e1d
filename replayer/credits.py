"""The sidecars' grant streams. Edge: keeps a subscription to each, and feeds what it says to the ceiling.

Nothing here decides anything. If a stream ends, stalls or talks nonsense, no grant arrives, and without fresh grants
the ceiling lets nothing pass (`replayer.ceiling`).

Every subscription bears a fresh load tag. A sidecar that does not know the key would not know the run's requests for
load tests either, but take them for those of real users: so it refuses, and nothing is sent.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import httpx
from pydantic import ValidationError

from loadtag import headers
from replayer.ceiling import Heard, Source
from rules.units import Share
from rules.wire import SIGNAL_TIMEOUT, Grant, Problem

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two attempts to subscribe: doubled each time, until a grant comes."""

MAX_LINE = 1 << 16
"""Bytes that a line may have. A grant has some hundred."""

MAX_DETAIL = 500
"""Characters of a refusal that are shown."""


class RefusedError(Exception):
    """The sidecar grants this run nothing, and says why."""


async def grants(client: httpx.AsyncClient, url: str, ratio: Share, run_id: str, token: str) -> AsyncGenerator[Grant]:
    """Subscribe once, and give each time the newest grant there is.

    Raises RefusedError, httpx.HTTPError, or ValueError for what is no grant stream.
    """
    asked = {"run": run_id, "ratio": str(int(ratio))}
    fields = [(b"accept-encoding", b"identity"), *headers.put([], token, run_id)]
    # A stream that is silent for longer than its signal is worth is given up.
    timeout = httpx.Timeout(SIGNAL_TIMEOUT, pool=None)
    async with client.stream("GET", f"{url}/v1/credits", params=asked, headers=fields, timeout=timeout) as response:
        if response.status_code in (401, 403):
            raise RefusedError(_detail(await _beginning(response)))
        response.raise_for_status()
        async with aclosing(_newest_lines(response)) as lines:
            async for line in lines:
                yield Grant.model_validate_json(line)


async def follow(
    client: httpx.AsyncClient,
    source: Source,
    run_id: str,
    token: Callable[[], str],
    clock: Callable[[], int],
    hear: Callable[[Source, Heard], None],
) -> None:
    """Subscribe to one sidecar until cancelled; subscribe anew, with a new token, whenever that ends."""
    pause = FIRST_PAUSE
    while True:
        source.subscribed()
        try:
            async with aclosing(grants(client, source.url, source.ceiling, run_id, token())) as stream:
                async for grant in stream:
                    hear(source, source.take(grant, clock()))
                    pause = FIRST_PAUSE
        except RefusedError as refusal:
            source.refuse(str(refusal))
        except (httpx.HTTPError, httpx.StreamError, ValidationError, ValueError) as error:
            logger.debug("%s: %r", source.url, error)
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


async def _beginning(response: httpx.Response) -> bytes:
    """Give what a refusal begins with. It is one whatever follows, and be that without end."""
    body = b""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(SIGNAL_TIMEOUT):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= MAX_LINE:
                    break
    return body[:MAX_LINE]


def _detail(body: bytes) -> str:
    try:
        detail = Problem.model_validate_json(body).detail
    except ValidationError:
        detail = body.decode("utf-8", "replace")
    printable = "".join(letter if letter.isprintable() else " " for letter in detail)
    return " ".join(printable.split())[:MAX_DETAIL] or "it gives no reason"


async def _newest_lines(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Give the newest whole line of what there is to read. Counters are cumulative, so nothing is lost."""
    rest = b""
    async for chunk in response.aiter_raw():
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise ValueError("this is not a grant stream")
        if whole:
            yield whole[-1]
