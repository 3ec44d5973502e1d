"""Add-on: the control port. Tells the state, streams grants, moves the lever."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version

import uvicorn
from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from addons.access import refusal
from addons.capture import Capture
from addons.guard import Guard
from addons.internals.modes import as_reverse
from addons.meter import Meter
from addons.tag import Tag
from rules.units import Share, parse_address
from rules.wire import GRANT_INTERVAL, PROBLEM_JSON, Grant, LeverOrder, Message, Problem, State

logger = logging.getLogger(__name__)


MAX_SUBSCRIBERS = 32
"""Replayers on the grant stream at once. Each costs the proxy's loop a little, fifty times a second."""

MAX_ORDER = 8192
"""Bytes that a lever order may have."""

SEND_BUFFER = 16 * 1024
"""Bytes that the kernel may hold back for a reader of the control port: a reader that hangs shall be noticed soon."""


class _Server(uvicorn.Server):
    """uvicorn inside somebody else's process: the signals belong to the proxy."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Control:
    """Serves the control port in the proxy's own event loop, so that its answers need no locks to be exact."""

    def __init__(self, tag: Tag, meter: Meter, guard: Guard, capture: Capture) -> None:
        self.tag, self.meter, self.guard, self.capture = tag, meter, guard, capture
        self.address = ""
        self._token = ""
        self._started = time.time()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._persisting = asyncio.Lock()
        self._registry = CollectorRegistry()
        for collector in (meter, guard, capture):
            self._registry.register(collector)

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_control", str, "127.0.0.1:8901", "HOST:PORT of the control port. Empty: none.")
        loader.add_option(
            "reamp_control_token", str, "", "Token that changes from another machine need. Empty: none are allowed."
        )

    def configure(self, updated: set[str]) -> None:
        """Check the address."""
        self._token = ctx.options.reamp_control_token
        if "reamp_control" in updated and ctx.options.reamp_control:
            try:
                parse_address(ctx.options.reamp_control)
            except ValueError as error:
                raise exceptions.OptionsError(f"reamp_control: {error}") from error

    async def running(self) -> None:
        """Open the port."""
        if not ctx.options.reamp_control or self._server:
            return
        host, port = parse_address(ctx.options.reamp_control)
        try:
            listening = _listen(host, port)
        except OSError as error:
            # As with any other port that can't be had: said at start, and the proxy does not come up half.
            logger.error("The control port %s can't be opened: %s", ctx.options.reamp_control, error)  # noqa: TRY400
            return
        self.address = "{}:{}".format(*listening.getsockname()[:2])
        config = uvicorn.Config(self.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listening]))

    async def done(self) -> None:
        """Close the port; grant streams end, and with them the replayers' credit."""
        if self._server and self._serving:
            self._server.should_exit = self._server.force_exit = True
            with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._serving, 2)

    def app(self) -> Starlette:
        """Build the ASGI app."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/state", self._state),
                Route("/v1/credits", self._credits),
                Route("/v1/lever", self._lever, methods=["GET"]),
                Route("/v1/lever", self._move_lever, methods=["POST"]),
            ]
        )

    def state(self) -> State:
        """Sum up what the sidecar is doing."""
        return State(
            version=version("reamp"),
            upstream=" ".join(as_reverse(ctx.options.mode)),
            audience=ctx.options.reamp_audience,
            started=self._started,
            max_extra=self.guard.max_extra,
            credit=self.guard.credit(),
            subscribers=len(self.guard.granter.subscriptions),
            requests={kind.value: dict(outcomes) for kind, outcomes in self.meter.ended.items()},
            signal=self.meter.signal(),
            lever=self.guard.lever.state,
            accounting=self.capture.counts.snapshot(),
            capturing=bool(self.capture.writer and self.capture.writer.healthy),
        )

    async def _health(self, _request: Request) -> Response:
        return Response('{"status":"ok"}', media_type="application/json")

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _state(self, _request: Request) -> Response:
        return _json(self.state())

    async def _lever(self, _request: Request) -> Response:
        return _json(self.guard.lever.state)

    async def _move_lever(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        headers = request.headers
        problem = refusal(
            client,
            headers.get("host", ""),
            headers.get("authorization", ""),
            headers.get("content-type", ""),
            self._token,
        )
        if problem:
            return _problem(problem)
        try:
            order = LeverOrder.model_validate_json(await _short_body(request))
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return _problem(Problem(type="urn:reamp:malformed", title="Not a lever order", status=400, detail=details))
        lever = self.guard.lever
        self.guard.granter.advance(self.meter.real, time.monotonic_ns(), paused=lever.engaged)
        if lever.engaged and not order.engaged:
            self.guard.bucket.clear()  # what was earned while all stood still is not spent at once
        lever.move(order.engaged, order.reason, order.by or client, time.time())
        logger.warning("Lever %s by %s: %s", "pulled" if order.engaged else "reset", lever.state.by, order.reason)
        async with self._persisting:  # one at a time, each writing what holds by then
            await asyncio.get_running_loop().run_in_executor(None, lever.persist)
        return _json(lever.state)

    async def _credits(self, request: Request) -> Response:
        asked = request.query_params.get("ratio", "")
        if asked and not (asked.isdecimal() and len(asked) < 12):
            return _problem(
                Problem(
                    type="urn:reamp:malformed",
                    title="Not a ratio",
                    status=400,
                    detail="ratio is a whole number of millionths of a credit per real request.",
                )
            )
        if len(self.guard.granter.subscriptions) >= MAX_SUBSCRIBERS:
            detail = f"{MAX_SUBSCRIBERS} replayers listen already."
            return _problem(Problem(type="urn:reamp:busy", title="Too many replayers", status=503, detail=detail))
        # Whose tag is not valid here would be sending what nobody counts: better that it gets no credit at all.
        judged = self.tag.judge(request.headers.raw)
        if isinstance(judged, str):
            return _problem(Problem(type="urn:reamp:tag", title="Load tag refused", status=403, detail=judged))
        stream = self._grants(Share(asked) if asked else None, judged.run_id)
        return StreamingResponse(stream, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    async def _grants(self, asked: Share | None, run: str) -> AsyncIterator[bytes]:
        granter = self.guard.granter
        mine = granter.join(asked, self.meter.real, time.monotonic_ns())
        logger.info("Run %s listens for credit, at most %s of real traffic", run, mine.ratio)
        try:
            while True:
                now, lever = time.monotonic_ns(), self.guard.lever
                granter.read(mine, self.meter.real, now, lever.engaged)
                grant = Grant(
                    elapsed_ns=now - mine.joined_ns,
                    real=mine.real,
                    granted=mine.granted,
                    ratio=mine.ratio,
                    lever=lever.state,
                    signal=self.meter.signal(),
                )
                yield grant.model_dump_json().encode() + b"\n"
                await asyncio.sleep(GRANT_INTERVAL)
        finally:
            granter.leave(mine, self.meter.real, time.monotonic_ns())
            logger.info("Run %s listens no more", run)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listening.bind((host, port))
        listening.listen(128)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


async def _short_body(request: Request) -> bytes:
    """Read a body, but no more of it than an order can have: a longer one fails to parse."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_ORDER:
            break
    return body[:MAX_ORDER]


def _json(message: Message) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")


def _problem(problem: Problem) -> Response:
    return Response(problem.model_dump_json(), problem.status, media_type=PROBLEM_JSON)
