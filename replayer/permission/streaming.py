"""What a sidecar goes on telling, line by line: how it is read, and how often it is asked for anew. Edge."""

from collections.abc import AsyncGenerator

import httpx

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between two attempts to subscribe: doubled each time, until a line comes."""


async def whole_lines(response: httpx.Response, longest: int) -> AsyncGenerator[list[bytes]]:
    """Give the whole lines that there are to read, at least one, oldest first.

    Raises httpx.HTTPError, or ValueError for a line of more than `longest` bytes.
    """
    rest = b""
    async for chunk in response.aiter_raw():
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > longest:
            raise ValueError(f"{response.url.path} tells lines without end: this is not the control port of a sidecar")
        if whole:
            yield whole
