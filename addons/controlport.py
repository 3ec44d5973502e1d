"""The control port: tells the state, streams grants, moves the lever.

It knows the books and not the proxy, so it can be served from another process than those that carry the traffic,
and answers at once while they are busy; it never imports mitmproxy.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import loadtag
from addons import reckoning
from addons.access import refusal
from addons.books import Books
from addons.credit import Credit
from addons.exposition import Exposition
from addons.granting import Granter
from addons.judging import judge
from addons.lever import LatchingLever
from addons.window import SlidingSignal
from captures.worker import Worker as DiskWorker
from rules.units import Share, parse_address
from rules.wire import GRANT_INTERVAL, PROBLEM_JSON, Grant, LeverOrder, Message, Problem, Signal, State, Worker

logger = logging.getLogger(__name__)


MAX_SUBSCRIBERS = 32
"""Replayers on the grant stream at once. Each costs the port's loop a little, fifty times a second."""

MAX_CONNECTIONS = 256
"""Connections at once. More are answered with 503: they must not take the descriptors that the owner needs."""

MAX_ORDER = 8192
"""Bytes that a lever order may have."""

SEND_BUFFER = 16 * 1024
"""Bytes that the kernel may hold back for a reader of the control port: a reader that hangs shall be noticed soon."""


PATIENCE = 2.0
"""Seconds to wait for the disk when the lever was moved, less than who moves it waits for the answer: the lever holds
at once, and only whether a restart will find it so is not known yet."""


class _Server(uvicorn.Server):
    """uvicorn inside somebody else's process: the signals belong to that."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Facts:
    """What the owner of a sidecar has set, as far as the control port tells it or goes by it."""

    upstream: str = ""
    audience: str = "production"
    token: str = ""
    """What changes from another machine have to bear. Empty: none are allowed."""
    window: float = 10.0
    """Seconds that the signal of real users looks back."""


class ControlPort:
    """Serves the control port over the books of one sidecar. The ceiling is what `Shared.ratio` says."""

    def __init__(
        self,
        books: Books,
        lever: LatchingLever,
        verifier: loadtag.Verifier,
        facts: Facts,
        workers: Callable[[], list[Worker]] | None = None,
    ) -> None:
        """`workers` tells who carries the traffic, if somebody knows better than the books."""
        self.books, self.lever, self.verifier, self.facts = books, lever, verifier, facts
        self._workers = workers or (lambda: reckoning.workers(books.rows))
        self.address = ""
        self.credit = Credit(books)
        self.granter = Granter(self.max_extra)
        self._started = time.time()
        self._signal = self._new_signal()
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._disk: DiskWorker | None = None
        self.exposition = Exposition(books, self._workers)
        self._registry = CollectorRegistry()
        self._registry.register(self.exposition)

    @property
    def max_extra(self) -> Share:
        """The largest ceiling that the owner allows."""
        return Share(self.books.shared.ratio)

    def configure(self, facts: Facts, verifier: loadtag.Verifier, lever: LatchingLever | None = None) -> None:
        """Go by other settings from now on (the ceiling included, which is in the books)."""
        if facts.window != self.facts.window:
            self.facts = facts
            self._signal = self._new_signal()
        self.facts, self.verifier, self.lever = facts, verifier, lever or self.lever
        self.granter.max_extra = self.max_extra

    async def start(self, where: str | socket.socket) -> None:
        """Open the port at ``HOST:PORT``, or on a socket that is bound. Raises OSError if it can't be had."""
        listening = _listen(where if isinstance(where, socket.socket) else _bind(*parse_address(where)))
        self.address = "{}:{}".format(*listening.getsockname()[:2])
        config = uvicorn.Config(
            self.app(),
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            proxy_headers=False,  # who may move the lever goes by the peer's address, and not by what it says it is
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
        )
        self._server = _Server(config)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._server.serve(sockets=[listening]), name="reamp-control"),
            loop.create_task(self._keep_notes(), name="reamp-signal"),
        ]

    async def close(self) -> None:
        """Close the port; grant streams end, and with them the replayers' credit."""
        if not self._server:
            return
        self._server.should_exit = self._server.force_exit = True
        serving, noting = self._tasks
        noting.cancel()
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(serving, 2)
        self._server = None
        if self._disk:
            self._disk.shutdown()
            self._disk = None

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
        rows = self.books.rows
        return State(
            version=_version(),
            upstream=self.facts.upstream,
            audience=self.facts.audience,
            started=self._started,
            max_extra=self.max_extra,
            credit=0.0 if self.lever.engaged else self.credit.balance(),
            subscribers=len(self.granter.subscriptions),
            requests=reckoning.requests(rows),
            signal=self.signal(),
            lever=self.lever.state,
            accounting=reckoning.accounting(rows),
            capturing=reckoning.capturing(rows, time.monotonic_ns()),
            workers=self._workers(),
        )

    def signal(self) -> Signal:
        """Tell what real users get now."""
        now = time.monotonic()
        return self._signal.fresh(now) or self._signal.signal(now, reckoning.totals(self.books.rows))

    def _new_signal(self) -> SlidingSignal:
        return SlidingSignal(self.facts.window, time.monotonic(), reckoning.totals(self.books.rows))

    async def _keep_notes(self) -> None:
        """Note totals down for the window also while nobody asks for the signal."""
        while True:
            now = time.monotonic()
            if self._signal.due(now):
                self._signal.note(now, reckoning.totals(self.books.rows))
            await asyncio.sleep(0.5)

    def _real(self) -> int:
        return reckoning.real(self.books.rows)

    async def _health(self, _request: Request) -> Response:
        return Response('{"status":"ok"}', media_type="application/json")

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _state(self, _request: Request) -> Response:
        return _json(self.state())

    async def _lever(self, _request: Request) -> Response:
        return _json(self.lever.state)

    async def _move_lever(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        headers = request.headers
        problem = refusal(
            client,
            headers.get("host", ""),
            headers.get("authorization", ""),
            headers.get("content-type", ""),
            self.facts.token,
        )
        if problem:
            return _problem(problem)
        try:
            order = LeverOrder.model_validate_json(await _short_body(request))
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return _problem(Problem(type="urn:reamp:malformed", title="Not a lever order", status=400, detail=details))
        lever = self.lever
        self.granter.advance(self._real(), time.monotonic_ns(), paused=lever.engaged)
        if lever.engaged and not order.engaged:
            self.credit.clear()  # what was earned while all stood still is not spent at once
        lever.move(order.engaged, order.reason, order.by or client, time.time())
        logger.warning("Lever %s by %s: %s", "pulled" if order.engaged else "reset", lever.state.by, order.reason)
        await self._persist(lever)
        return _json(lever.state)

    async def _persist(self, lever: LatchingLever) -> None:
        """Write the lever down: one write at a time, in order, each of what holds by then.

        In a thread of its own, so that a disk that hangs keeps neither this process from ending nor anybody waiting
        for long. None is called off: what comes last has to reach the disk, whenever that answers.
        """
        self._disk = self._disk or DiskWorker("reamp-lever")
        writing = asyncio.wrap_future(self._disk.submit(lever.persist))
        if (await asyncio.wait({writing}, timeout=PATIENCE))[0]:
            lever.settle(*writing.result())
        else:
            logger.warning("The lever moved but the disk does not answer: a restart may not know it")
            lever.settle(lever.state, persisted=False)
            writing.add_done_callback(lambda done: lever.settle(*done.result()))

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
        if len(self.granter.subscriptions) >= MAX_SUBSCRIBERS:
            detail = f"{MAX_SUBSCRIBERS} replayers listen already."
            return _problem(Problem(type="urn:reamp:busy", title="Too many replayers", status=503, detail=detail))
        # Whose tag is not valid here would be sending what nobody counts: better that it gets no credit at all.
        judged = judge(self.verifier, self.facts.audience, request.headers.raw, time.time())
        if isinstance(judged, str):
            return _problem(Problem(type="urn:reamp:tag", title="Load tag refused", status=403, detail=judged))
        stream = self._grants(Share(asked) if asked else None, judged.run_id)
        return StreamingResponse(stream, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    async def _grants(self, asked: Share | None, run: str) -> AsyncIterator[bytes]:
        granter = self.granter
        mine = granter.join(asked, self._real(), time.monotonic_ns(), self.lever.engaged)
        logger.info("Run %s listens for credit, at most %s of real traffic", run, mine.ratio)
        try:
            # The port closes at once, and not only when it breaks off streams that would never end.
            while not (self._server and self._server.should_exit):
                now, lever = time.monotonic_ns(), self.lever
                granter.read(mine, self._real(), now, lever.engaged)
                grant = Grant(
                    elapsed_ns=now - mine.joined_ns,
                    real=mine.real,
                    granted=mine.granted,
                    ratio=min(mine.ratio, granter.max_extra),
                    lever=lever.state,
                    signal=self.signal(),
                )
                yield grant.model_dump_json().encode() + b"\n"
                await asyncio.sleep(GRANT_INTERVAL)
        finally:
            granter.leave(mine, self._real(), time.monotonic_ns(), self.lever.engaged)
            logger.info("Run %s listens no more", run)


@cache
def _version() -> str:
    return version("reamp")


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def _listen(bound: socket.socket) -> socket.socket:
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        bound.listen(128)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


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
