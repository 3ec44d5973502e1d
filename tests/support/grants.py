"""A control port that grants as told, to test a replayer apart from the sidecar.

Run it as ``GRANT_RATE=400 python -m uvicorn tests.support.grants:app``: it reports so many real requests per second,
all made up. ``POST /rate/N`` changes the number. ``POST /refuse`` ends all streams and has it refuse to grant, with the
body as the reason. ``POST /users`` says what requests get, for the stream of experience: see `Users`.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from loadtag import headers
from rules.credit import grant
from rules.latency import place
from rules.units import Share
from rules.wire import (
    GRANT_INTERVAL,
    PROBLEM_JSON,
    Accounting,
    Experience,
    Grant,
    Lever,
    LeverOrder,
    Problem,
    Signal,
    State,
)

MAX_EXTRA = Share.parse(os.environ.get("GRANT_MAX_EXTRA", "25%"))


class Traffic:
    """Real requests that nobody sent."""

    def __init__(self) -> None:
        self.rate = float(os.environ.get("GRANT_RATE", "400"))
        self.lever = Lever()
        self.refusal = ""
        self._since = time.monotonic()
        self._before = 0.0

    def real(self) -> int:
        now = time.monotonic()
        self._before += (now - self._since) * self.rate
        self._since = now
        return int(self._before)

    def signal(self) -> Signal:
        return Signal(window=10, rate=self.rate, error_ratio=0.0, p50=0.001, p95=0.002, p99=0.003)


class Users(BaseModel):
    """What requests get, as far as anybody is told. ``silent``: nobody is."""

    rate: float = 100.0
    seconds: float = 0.05
    errors: float = 0.0
    synthetic: float = 0.0
    silent: bool = False


traffic = Traffic()
users = Users()
LINE = 0.2
"""Seconds between two lines of experience: more often than a sidecar tells it, for tests to be quick."""


async def state(_request: Request) -> Response:
    told = State(
        version="test",
        upstream="none",
        audience="test-shop",
        started=0,
        max_extra=MAX_EXTRA,
        credit=0,
        subscribers=0,
        requests={},
        signal=traffic.signal(),
        lever=traffic.lever,
        accounting=Accounting(),
        capturing=True,
    )
    return Response(told.model_dump_json(), media_type="application/json")


async def credits(request: Request) -> Response:  # noqa: A001 - it is called so
    found = headers.find(request.headers.raw)
    refusal = traffic.refusal or ("" if found and found.token else "the request bears no load tag")
    if refusal:
        problem = Problem(type="about:blank", title="Not granted", status=403, detail=refusal)
        return Response(problem.model_dump_json(), 403, media_type=PROBLEM_JSON)
    ratio = min(MAX_EXTRA, Share(request.query_params.get("ratio", MAX_EXTRA)))

    async def lines() -> AsyncIterator[bytes]:
        begun, base, before, granted, carry = time.monotonic_ns(), traffic.real(), 0, 0, 0
        while not traffic.refusal:
            real = traffic.real() - base
            new, carry = grant(real - before, ratio, 1, carry)
            granted, before = granted + new, real
            line = Grant(
                elapsed_ns=time.monotonic_ns() - begun,
                real=real,
                granted=granted,
                ratio=ratio,
                lever=traffic.lever,
                signal=traffic.signal(),
            )
            yield line.model_dump_json().encode() + b"\n"
            await asyncio.sleep(GRANT_INTERVAL)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def experience(request: Request) -> Response:
    found = headers.find(request.headers.raw)
    if not (found and found.token):
        return Response(status_code=403)

    async def lines() -> AsyncIterator[bytes]:
        begun = before = time.monotonic_ns()
        while not users.silent:
            await asyncio.sleep(LINE)
            now = time.monotonic_ns()
            spans = {"real": users.rate, "synthetic": users.synthetic}
            kinds = {}
            for kind, each in spans.items():
                count = round(each * (now - before) / 1e9)
                kinds[kind] = {"arrived": count, "finished": count, "errors": round(count * users.errors),
                               "latency": {place(users.seconds): count} if count else {}}  # fmt: skip
            line = Experience.model_validate({"elapsed_ns": now - begun, "span_ns": now - before, "kinds": kinds})
            yield line.model_dump_json().encode() + b"\n"
            before = now

    if users.silent:
        return Response(status_code=503)
    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def fare(request: Request) -> Response:
    told = Users.model_validate_json(await request.body())
    for name, value in told:
        setattr(users, name, value)
    return Response()


async def lever(request: Request) -> Response:
    order = LeverOrder.model_validate_json(await request.body())
    traffic.lever = Lever(engaged=order.engaged, reason=order.reason, by=order.by, at=time.time())
    return Response(traffic.lever.model_dump_json(), media_type="application/json")


async def refuse(request: Request) -> Response:
    traffic.refusal = (await request.body()).decode()
    return Response()


async def rate(request: Request) -> Response:
    traffic.real()
    traffic.rate = request.path_params["value"]
    return Response()


app = Starlette(
    routes=[
        Route("/v1/state", state),
        Route("/v1/credits", credits),
        Route("/v1/experience", experience),
        Route("/users", fare, methods=["POST"]),
        Route("/v1/lever", lever, methods=["POST"]),
        Route("/refuse", refuse, methods=["POST"]),
        Route("/rate/{value:float}", rate, methods=["POST"]),
    ]
)
