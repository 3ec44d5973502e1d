"""An app whose routes differ: some quick, some slow, some that fail, and an answer that changes with each request."""

import asyncio
import itertools
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

SLOW = float(os.environ.get("SLOW", "0.02"))
"""Seconds that /slow takes."""

VERSION = os.environ.get("VERSION", "1")

_count = itertools.count()


async def quick(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def slow(_request: Request) -> Response:
    await asyncio.sleep(SLOW)
    return PlainTextResponse("at last")


async def failing(_request: Request) -> Response:
    """Fail every third time."""
    number = next(_count)
    return PlainTextResponse("no" if number % 3 == 0 else "yes", 500 if number % 3 == 0 else 200)


async def item(request: Request) -> Response:
    """Answer with JSON of which one field is never the same, and one depends on the version."""
    number = int(request.path_params["number"])
    price = number * 2 + (1 if VERSION == "2" else 0)
    return JSONResponse({"id": number, "price": price, "served": next(_count), "tags": [{"name": "a"}]})


app = Starlette(
    routes=[
        Route("/quick/{number}", quick),
        Route("/slow/{number}", slow),
        Route("/failing/{number}", failing),
        Route("/item/{number}", item),
    ]
)
