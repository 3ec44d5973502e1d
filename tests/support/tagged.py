"""An app that shows whether it is told of load tags: in headers, in metrics, in an echo; and one behind it, if told so.

Run it as ``python -m uvicorn tests.support.tagged:app``. ``DOWNSTREAM=URL``: every request is passed on there, with its
baggage, and ``X-Downstream-Run`` tells which run that one saw. ``UNREAL=1``: it sets ``X-Run`` in every answer.
"""

import asyncio
import os

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from loadtag import current_run
from loadtag.asgi import LoadTagMiddleware

DOWNSTREAM, ALWAYS = os.environ.get("DOWNSTREAM", ""), "UNREAL" in os.environ
client = httpx.AsyncClient(trust_env=False)
counts = {"load": 0, "all": 0}


async def echo(request: Request) -> Response:
    return JSONResponse([[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw])


async def metrics(_request: Request) -> Response:
    lines = [f'# TYPE {name}_requests counter\n{name}_requests_total{{app="x"}} {n}\n' for name, n in counts.items()]
    return PlainTextResponse("".join(lines))


async def anything(request: Request) -> Response:
    run = current_run()
    counts["all"] += 1
    headers = {}
    if run is not None:
        counts["load"] += 1
    if run is not None or ALWAYS:
        headers["x-run"] = "some" if ALWAYS else str(run)
    if DOWNSTREAM:
        passed = {"baggage": request.headers["baggage"]} if "baggage" in request.headers else {}
        behind = await client.get(DOWNSTREAM, headers=passed)
        if "x-run" in behind.headers:
            headers["x-downstream-run"] = behind.headers["x-run"]
    await asyncio.sleep(0.001)
    return PlainTextResponse("welcome", headers=headers)


app = LoadTagMiddleware(
    Starlette(routes=[Route("/echo", echo), Route("/metrics", metrics), Route("/{rest:path}", anything)])
)
