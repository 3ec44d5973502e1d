"""The sidecars' streams of experience. Edge: keeps a subscription to each, and hands on what it says.

Nothing here decides anything. If a stream ends, stalls or talks nonsense, nothing is heard, and the rules have no data.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import httpx
from pydantic import ValidationError

from loadtag import headers
from replayer.permission.streaming import FIRST_PAUSE, LONGEST_PAUSE, whole_lines
from rules.wire import EXPERIENCE_TIMEOUT, MAX_EXPERIENCE, Experience


async def follow(
    client: httpx.AsyncClient,
    url: str,
    run_id: str,
    token: Callable[[], str],
    hear: Callable[[Experience], None],
    fail: Callable[[str], None],
) -> None:
    """Listen to one sidecar until cancelled; begin anew, with a new token, whenever that ends.

    Every line goes to `hear`: each has counts of its own. `fail` is told why there are none.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            async with aclosing(_lines(client, url, run_id, token())) as lines:
                async for line in lines:
                    hear(Experience.model_validate_json(line))
                    pause = FIRST_PAUSE
            fail("the stream ended")
        except httpx.HTTPStatusError as error:
            fail(f"it answers {error.response.status_code}")
        except (httpx.HTTPError, httpx.StreamError) as error:
            fail(str(error) or type(error).__name__)
        except (ValidationError, ValueError):
            fail("what it says is no stream of experience")
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


async def _lines(client: httpx.AsyncClient, url: str, run_id: str, token: str) -> AsyncGenerator[bytes]:
    """Subscribe once, and give every line. Raises httpx.HTTPError, or ValueError for what is no such stream."""
    fields = [(b"accept-encoding", b"identity"), *headers.put([], token, run_id)]
    timeout = httpx.Timeout(EXPERIENCE_TIMEOUT, pool=None)
    async with client.stream("GET", f"{url}/v1/experience", headers=fields, timeout=timeout) as response:
        response.raise_for_status()
        async with aclosing(whole_lines(response, MAX_EXPERIENCE)) as pieces:
            async for lines in pieces:
                for line in lines:
                    yield line
