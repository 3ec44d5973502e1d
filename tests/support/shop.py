"""A real app that keeps its own account of what reached it: one line per request, with the time and the kind.

Run it as ``SHOP_LOG=FILE python -m uvicorn tests.support.shop:app``.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loadtag import current_run
from loadtag.asgi import LoadTagMiddleware

_log = open(os.environ["SHOP_LOG"], "a", buffering=1)  # noqa: SIM115, PTH123 - open as long as the app runs


class AccessLog:
    """Writes ``<unix ns> <run id or -> <x-request-id or -> <method> <path>``."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            request_id = headers.get(b"x-request-id", b"-").decode()
            _log.write(f"{time.time_ns()} {current_run() or '-'} {request_id} {scope['method']} {scope['path']}\n")
        await self.app(scope, receive, send)


async def home(_request: Request) -> Response:
    return PlainTextResponse("welcome")


_mood: dict[str, Any] = {"seconds": 0, "status": 200, "load": "0.5"}


async def mood(request: Request) -> Response:
    """Say how items are served from now on: after so many seconds, with which status; and the load that is told of."""
    _mood.update(await request.json())
    return PlainTextResponse("as you like")


async def metrics(_request: Request) -> Response:
    return Response(f"shop_load {_mood['load']}\n", media_type="text/plain; version=0.0.4")


async def item(request: Request) -> Response:
    if _mood["seconds"]:
        await asyncio.sleep(_mood["seconds"])
    if _mood["status"] != 200:
        return PlainTextResponse("out of order", _mood["status"])
    return JSONResponse({"item": request.path_params["number"], "id": request.headers.get("x-request-id")})


async def cart(request: Request) -> Response:
    return JSONResponse({"received": len(await request.body())}, 201)


async def headers(request: Request) -> Response:
    return JSONResponse([[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw])


async def broken(_request: Request) -> Response:
    return PlainTextResponse("out of order", 500)


async def slow(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params.get("seconds", "0.2")))
    return PlainTextResponse("at last")


async def large(request: Request) -> Response:
    return Response(b"x" * int(request.query_params.get("size", "300000")), media_type="application/octet-stream")


async def events(_request: Request) -> Response:
    async def stream() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {json.dumps(number)}\n\n".encode()
            await asyncio.sleep(0.05)

    return StreamingResponse(stream(), media_type="text/event-stream")


app = LoadTagMiddleware(
    AccessLog(
        Starlette(
            routes=[
                Route("/", home),
                Route("/item/{number:int}", item),
                Route("/metrics", metrics),
                Route("/mood", mood, methods=["POST"]),
                Route("/cart", cart, methods=["POST"]),
                Route("/headers", headers),
                Route("/broken", broken),
                Route("/slow", slow),
                Route("/large", large),
                Route("/events", events),
            ]
        )
    )
)
