"""The sidecars' grant streams. Edge: keeps a subscription to each, and feeds what it says to the ceiling.

Nothing here decides anything. If a stream ends, stalls or talks nonsense, no grant arrives, and without fresh grants
the ceiling lets nothing pass (`replayer.permission.ceiling`).

Every subscription bears a fresh load tag. A sidecar that does not know the key would not know the run's requests for
load tests either, but take them for those of real users: so it refuses, and nothing is sent.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import httpx
from pydantic import ValidationError

from loadtag import headers
from replayer.permission.ceiling import Heard, Source
from replayer.permission.streaming import FIRST_PAUSE, LONGEST_PAUSE, whole_lines
from rules.clocks import Steps
from rules.units import Share
from rules.wire import SIGNAL_TIMEOUT, Grant, Problem

logger = logging.getLogger(__name__)

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
            raise RefusedError(detail(await _beginning(response)))
        response.raise_for_status()
        async with aclosing(whole_lines(response, MAX_LINE)) as pieces:
            async for lines in pieces:
                yield Grant.model_validate_json(lines[-1])  # counters are cumulative, so nothing is lost


async def follow(
    client: httpx.AsyncClient,
    source: Source,
    run_id: str,
    token: Callable[[], str],
    clock: Callable[[], int],
    hear: Callable[[Source, Heard], None],
    wall: Callable[[], float] = time.time,
) -> None:
    """Subscribe to one sidecar until cancelled; subscribe anew, with a new token, whenever that ends.

    Also when the clock on the wall here was set: the sidecar may take the tags made by it for expired. It says so when
    it is asked; else the run would go on sending what is refused for its tag.
    """
    pause = FIRST_PAUSE
    while True:
        source.subscribed()
        steps = Steps(wall(), clock())
        try:
            async with aclosing(grants(client, source.url, source.ceiling, run_id, token())) as stream:
                async for grant in stream:
                    if step := steps.look(wall(), clock()):
                        source.refuse(f"the clock of this machine was set by {step:+.0f} s: it is asked again")
                        break
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


def detail(body: bytes) -> str:
    """Give what a refusal says, as one short line."""
    try:
        detail = Problem.model_validate_json(body).detail
    except ValidationError:
        detail = body.decode("utf-8", "replace")
    printable = "".join(letter if letter.isprintable() else " " for letter in detail)
    return " ".join(printable.split())[:MAX_DETAIL] or "it gives no reason"
