"""A shop with one till: who pays waits for those before. It breaks at a rate that hardly depends on the machine."""

import asyncio
import itertools
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

SECONDS = float(os.environ.get("TILL_SECONDS", "0.01"))
"""How long the till takes for one customer, so it serves the inverse of that in a second."""

FALLS = int(os.environ.get("TILL_FALLS") or 0)
"""Visitors after whom the shop goes down, for good; 0: it does not."""

_till = asyncio.Lock()
_visitors = itertools.count(1)


async def look(_request: Request) -> Response:
    if next(_visitors) == FALLS:
        os._exit(1)
    return PlainTextResponse("nice")


async def pay(_request: Request) -> Response:
    async with _till:
        await asyncio.sleep(SECONDS)
    return PlainTextResponse("paid")


app = Starlette(routes=[Route("/look/{thing}", look), Route("/till", pay)])
