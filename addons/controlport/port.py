"""The control port: tells the state, streams grants, moves the lever.

It knows the books and not the proxy, so it can be served from another process than those that carry the traffic,
and answers at once while they are busy; it never imports mitmproxy.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import loadtag
from addons import reckoning
from addons.books import Books
from addons.controlport.access import Act, Asker, Tokens, no_change, refusal
from addons.controlport.attempts import Attempts
from addons.controlport.certificate import Certificate
from addons.controlport.exposition import Exposition
from addons.controlport.granting import Granter
from addons.controlport.judging import judge, why_not
from addons.controlport.overrun import Overrun
from addons.controlport.statuspage import page
from addons.controlport.visitors import MAX_CONNECTIONS, Visitor
from addons.credit import Credit
from addons.lever.latch import LatchingLever
from addons.lever.leverfile import LeverFile
from addons.processes.aide import Annex
from addons.watchman import Watchman
from addons.window import SlidingSignal, Totals
from captures.worker import Worker as DiskWorker
from rules.clocks import Steps
from rules.slo import Rule
from rules.units import Share, parse_address
from rules.wire import GRANT_INTERVAL, PROBLEM_JSON, Grant, Lever, LeverOrder, Message, Problem, Signal, State, Worker

logger = logging.getLogger(__name__)


MAX_SUBSCRIBERS = 32
"""Replayers on the grant stream at once. Each costs the port's loop a little, fifty times a second."""

MAX_ORDER = 8192
"""Bytes that a lever order may have."""

SEND_BUFFER = 16 * 1024
"""Bytes that the kernel may hold back for a reader of the control port: a reader that hangs shall be noticed soon."""


UNREAD = 10.0
"""Seconds after which a connection is closed whose other end takes nothing any more: it keeps a place from others."""

HANDSHAKE = 3.0
"""Seconds that a TLS handshake may take. Until then a connection is none yet that could be counted."""

PATIENCE = 2.0
"""Seconds to wait for the disk when the lever was moved, less than who moves it waits for the answer: the lever holds
at once, and only whether a restart will find it so is not known yet."""


class _Server(uvicorn.Server):
    """uvicorn inside somebody else's process: the signals belong to that."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, with a bound for handshakes, which uvicorn has none for: whoever says nothing holds a descriptor."""
        config, ssl = self.config, self.config.ssl

        def visitor() -> Visitor:
            return Visitor(config=config, server_state=self.server_state, app_state={})

        loop, bound = asyncio.get_running_loop(), HANDSHAKE if ssl else None
        self.servers = [
            await loop.create_server(visitor, sock=one, ssl=ssl, backlog=config.backlog, ssl_handshake_timeout=bound)
            for one in sockets or ()
        ]
        self.started = True

    def leave(self) -> None:
        """End at once: not only when uvicorn looks the next time."""
        self.should_exit = self.force_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Keep what uvicorn keeps every tenth of a second, until it is time to leave."""
        tick = 0
        while not await self.on_tick(tick):
            tick = (tick + 1) % 10
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port. Where nobody is connected, nobody is waited for (uvicorn waits in any case)."""
        if self.server_state.connections:
            await super().shutdown(sockets)
            return
        for one in (*self.servers, *(sockets or ())):
            one.close()


@dataclass(frozen=True)
class Facts:
    """What the owner of a sidecar has set, as far as the control port tells it or goes by it."""

    upstream: str = ""
    audience: str = "production"
    tokens: Tokens = field(default_factory=Tokens)
    """What requests from other machines have to bear. Without any, they may do nothing."""
    window: float = 10.0
    """Seconds that the signal of real users looks back."""
    slo: tuple[Rule, ...] = ()
    """The owner's rules: a breach while synthetic requests pass pulls the lever."""


@runtime_checkable
class Levered(Protocol):
    """An annex with a lever of its own, which the port moves at ``/v1/NAME/lever``."""

    name: str
    lever: LatchingLever


class ControlPort:
    """Serves the control port over the books of one sidecar. The ceiling is what `Shared.ratio` says."""

    def __init__(
        self,
        books: Books,
        lever: LatchingLever,
        verifier: loadtag.Verifier,
        facts: Facts,
        workers: Callable[[], list[Worker]] | None = None,
        annexes: Sequence[Annex] = (),
        doubt: Callable[[], str] = str,
    ) -> None:
        """`workers` tells who carries the traffic, if somebody knows better than the books.

        `doubt` says why no load tag counts, whoever signed it: empty if those of known keys do.
        """
        self._doubt = doubt
        self._annexes = annexes
        self._levers = {annex.name: annex.lever for annex in annexes if isinstance(annex, Levered)}
        self.books, self.lever, self.verifier, self.facts = books, lever, verifier, facts
        self._workers = workers or (lambda: reckoning.workers(books.rows))
        self.address = ""
        self.credit = Credit(books)
        self.granter = Granter(self.max_extra)
        self._started = time.time()
        self._signal = self._new_signal()
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._writing: set[asyncio.Task[None]] = set()
        self._disk: DiskWorker | None = None
        self._file: LeverFile | None = None
        self._attempts = Attempts()
        self._overrun = Overrun()
        self.watchman = Watchman(books, lambda: self.lever.engaged, self.pull)
        self.watchman.configure(facts.slo)
        self.exposition = Exposition(books, self._workers, self.watchman.judged, annexes, doubt)
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
        self.watchman.configure(facts.slo)

    async def watch(self, file: Path | None) -> None:
        """Have the lever pulled by this file. When this returns it has been looked for, or the lever is pulled."""
        if self._file:
            self._file.close()
            self._file = None
        if file is None:
            return
        self._file = LeverFile(file, lambda: self.lever.state, self.pull)
        if await self._file.there() is None and not self.lever.engaged:
            self.pull(f"whether the file {file} is there can't be told: the file system does not answer", "reamp")

    async def start(self, where: str | socket.socket, certificate: Certificate | None = None) -> None:
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
            http=Visitor,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        )
        self._server = _Server(config)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._server.serve(sockets=[listening]), name="reamp-control"),
            loop.create_task(self._keep_notes(), name="reamp-signal"),
            loop.create_task(self.watchman.keep_watch(), name="reamp-rules"),
        ]

    async def close(self) -> None:
        """Close the port; grant streams end, and with them the replayers' credit."""
        if self._file:
            self._file.close()
            self._file = None
        if not self._server:
            return
        self._server.leave()
        self.watchman.close()
        serving, *others = self._tasks
        for task in others:
            task.cancel()
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
                Route("/", self._page),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/state", self._state),
                Route("/v1/credits", self._credits),
                Route("/v1/experience", self._experience),
                Route("/v1/lever", self._lever, methods=["GET"]),
                Route("/v1/lever", self._move_lever, methods=["POST"]),
                Route("/v1/{annex}/lever", self._lever, methods=["GET"]),
                Route("/v1/{annex}/lever", self._move_lever, methods=["POST"]),
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
            now=time.time(),
            max_extra=self.max_extra,
            credit=0.0 if self.lever.engaged else self.credit.balance(),
            subscribers=len(self.granter.subscriptions),
            requests=reckoning.requests(rows),
            signal=self.signal(),
            lever=self.lever.state,
            doubt=self._doubt(),
            accounting=reckoning.accounting(rows),
            capturing=reckoning.capturing(rows, time.monotonic_ns()),
            slo=self.watchman.judged(),
            workers=self._workers(),
            tap=Share(self.books.shared.tap) if self.books.shared.tap else None,
            **{annex.name: annex.state() for annex in self._annexes},
        )

    def signal(self) -> Signal:
        """Tell what real users get now."""
        now = time.monotonic()
        return self._signal.fresh(now) or self._signal.signal(now, self._totals())

    def _new_signal(self) -> SlidingSignal:
        return SlidingSignal(self.facts.window, time.monotonic(), self._totals())

    def _totals(self) -> Totals:
        return reckoning.totals(self.books.rows, share=self.books.shared.share)

    async def _keep_notes(self) -> None:
        """Note totals down for the window also while nobody asks for the signal; at a tap, look who sends."""
        while True:
            if self.books.shared.tap:
                self._look_for_overrun()
            now = time.monotonic()
            if self._signal.due(now):
                self._signal.note(now, self._totals())
            await asyncio.sleep(0.5)

    def _look_for_overrun(self) -> None:
        if self.lever.engaged:
            self._overrun.begin(*self._sent())
        elif why := self._overrun.look(*self._sent()):
            self.pull(why, "tap")

    def _sent(self) -> tuple[int, int, int]:
        """Tell the time, what was granted by now, and what came."""
        return time.monotonic_ns(), self.granter.granted, reckoning.arrived(self.books.rows, "synthetic")

    def _real(self) -> int:
        return reckoning.real(self.books.rows, self.books.shared.share)

    async def _page(self, _request: Request) -> Response:
        html, headers = page()
        return Response(html, headers=headers, media_type="text/html")

    async def _health(self, _request: Request) -> Response:
        return Response('{"status":"ok"}', media_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        if refused := self.refused(request, Act.LOOK):
            return refused
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _state(self, request: Request) -> Response:
        return self.refused(request, Act.LOOK) or _json(self.state())

    async def _lever(self, request: Request) -> Response:
        if refused := self.refused(request, Act.LOOK):
            return refused
        lever = self._lever_of(request)
        return lever if isinstance(lever, Response) else _json(lever.state)

    def _lever_of(self, request: Request) -> LatchingLever | Response:
        """Give the lever that is asked for: that of all synthetic traffic, or of something that goes on beside."""
        name = request.path_params.get("annex")
        lever = self.lever if name is None else self._levers.get(name)
        if lever is not None:
            return lever
        detail = (
            "This sidecar sends no dark copies: it does if it is started with --dark URL."
            if name == "dark"
            else "This sidecar has no such lever."
        )
        return _problem(Problem(type="urn:reamp:lever", title="No such lever", status=404, detail=detail))

    def refused(self, request: Request, act: Act) -> Response | None:
        """Answer who may not do it, and count wrong tokens; None for who may."""
        asker = _asker(request)
        pause = self._attempts.pause(asker.client)
        problem = refusal(act, asker, self.facts.tokens, pause)
        if problem is None:
            return None
        if problem.status == 429:
            return _problem(problem, {"retry-after": str(pause)})
        if problem.status == 401 and asker.authorization:
            self._attempts.failed(asker.client)
            logger.warning("A wrong token from %s, to %s", asker.client, act)
            if pause := self._attempts.pause(asker.client):
                logger.warning("Too many wrong tokens: none from %s is looked at for %d s", asker.client, pause)
        return _problem(problem, {"www-authenticate": "Bearer"} if problem.status == 401 else {})

    async def _move_lever(self, request: Request) -> Response:
        if problem := no_change(request.headers.get("content-type", "")):
            return _problem(problem)
        if refused := self.refused(request, Act.PULL):
            return refused
        lever = self._lever_of(request)
        return lever if isinstance(lever, Response) else await self._ordered(lever, request)

    async def _ordered(self, lever: LatchingLever, request: Request) -> Response:
        before = lever.state.at
        try:
            order = LeverOrder.model_validate_json(await _short_body(request))
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return _problem(Problem(type="urn:reamp:malformed", title="Not a lever order", status=400, detail=details))
        if not order.engaged:
            known = before if order.seen is None else order.seen or None
            held = await self._held() if lever is self.lever else None
            refused = self.refused(request, Act.RESET) or held or _moved_since(lever.state, known)
            if refused:
                return refused
        elif order.seen is not None and (refused := _moved_since(lever.state, order.seen or None)):
            return refused  # whoever resets a pull of their own must not take somebody else's for it
        by = order.by or _asker(request).client
        if lever is not self.lever:
            await self._move(lever, order.engaged, order.reason, by)
        else:
            await (self.pull if order.engaged else self.reset)(order.reason, by)
        return _json(lever.state)

    async def _held(self) -> Response | None:
        """Refuse a reset while the lever file is there: it says stop for as long as it is."""
        there = await self._file.there() if self._file else False
        if there is False:
            return None
        name = self._file.path.absolute() if self._file else ""
        detail = f"The file {name} is there: remove it first."
        if there is None:
            detail = f"Whether the file {name} is there can't be told, so the lever stays pulled."
        return _problem(Problem(type="urn:reamp:lever-file", title="Lever held", status=409, detail=detail))

    def pull(self, reason: str, by: str) -> asyncio.Task[None]:
        """Pull the lever: no synthetic request passes any more when this returns.

        Every way of pulling comes here, in the port's event loop. What is given ends when it is written down, or when
        the disk does not answer; nobody has to wait for it.
        """
        return self._move(self.lever, True, reason, by)

    def reset(self, reason: str, by: str) -> asyncio.Task[None]:
        """Let go of the lever, as `pull` pulls it."""
        if self.lever.engaged:
            self.credit.clear()  # what was earned while all stood still is not spent at once
        return self._move(self.lever, False, reason, by)

    def _move(self, lever: LatchingLever, engaged: bool, reason: str, by: str) -> asyncio.Task[None]:
        if lever is self.lever:
            self.granter.advance(self._real(), time.monotonic_ns(), paused=lever.engaged)
            self._overrun.begin(*self._sent())  # what came until now has had its consequence, or was a drill
        lever.move(engaged, _one_line(reason), _one_line(by), time.time())
        which = "Lever" if lever is self.lever else "Lever of the dark copies"
        logger.warning("%s %s by %s: %s", which, "pulled" if engaged else "reset", lever.state.by, lever.state.reason)
        writing = asyncio.get_running_loop().create_task(self._persist(lever), name="reamp-lever")
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return writing

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
        judged = self._judge(request)
        if isinstance(judged, Response):
            return judged
        stream = self._grants(Share(asked) if asked else None, judged)
        return StreamingResponse(stream, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    def _judge(self, request: Request) -> loadtag.LoadTag | Response:
        judged = judge(self.verifier, self.facts.audience, request.headers.raw, time.time())
        doubt = self._doubt()  # perhaps not of this process: one that carries traffic may be less able to judge
        if not doubt and not isinstance(judged, str):
            return judged
        detail = f"No load tag counts: {doubt}" if doubt else str(judged)
        return _problem(Problem(type="urn:reamp:tag", title="Load tag refused", status=403, detail=detail))

    async def _experience(self, request: Request) -> Response:
        judged = self._judge(request)
        if isinstance(judged, Response) and (refused := self.refused(request, Act.LOOK)):
            return refused if _asker(request).authorization else judged
        if self.watchman.listeners >= MAX_SUBSCRIBERS:
            detail = f"{MAX_SUBSCRIBERS} listen to what users get already."
            return _problem(Problem(type="urn:reamp:busy", title="Too many listeners", status=503, detail=detail))
        stands = (lambda: True) if isinstance(judged, Response) else self._standing(judged)
        stream = self.watchman.listen(stands)
        return StreamingResponse(stream, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    def _standing(self, tag: loadtag.LoadTag) -> Callable[[], bool]:
        """Give what tells whether a stream that was opened with `tag` goes on: its key and its run count, and more.

        The port closes at once, and not only when it breaks off streams that would never end. And when the clock here
        was set ahead, the tags of a run may all have expired: who listens has to come again, with a new one, and is
        told so if that does not count either. Else it would go on sending what is refused for its tag.
        """
        clock = Steps(time.time(), time.monotonic_ns())

        def stands() -> bool:
            if self._server and self._server.should_exit:
                return False
            now = time.time()
            if (step := clock.look(now, time.monotonic_ns())) > 0:
                logger.warning("The clock was set ahead by %.0f s: run %s has to show its tag again", step, tag.run_id)
                return False
            if doubt := self._doubt():
                logger.warning("Run %s gets nothing any more: no load tag counts: %s", tag.run_id, doubt)
                return False
            reason = self.verifier.standing(tag, now)
            if reason:
                logger.warning("Run %s gets nothing any more: %s", tag.run_id, why_not(reason, tag))
            return reason is None

        return stands

    async def _grants(self, asked: Share | None, tag: loadtag.LoadTag) -> AsyncIterator[bytes]:
        granter, run, stands = self.granter, tag.run_id, self._standing(tag)
        mine = granter.join(asked, self._real(), time.monotonic_ns(), self.lever.engaged)
        logger.info("Run %s listens for credit, at most %s of real traffic", run, mine.ratio)
        try:
            while stands():
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
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections inherit both
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD * 1000))
        bound.listen(128)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


async def _short_body(request: Request) -> bytes:
    """Read a body, but no more of it than an order can have, and not for ever: what is cut off fails to parse."""
    body = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_ORDER:
                    break
    return body[:MAX_ORDER]


def _asker(request: Request) -> Asker:
    headers = request.headers
    client = request.client.host if request.client else ""
    return Asker(client, headers.get("host", ""), headers.get("authorization", ""))


def _moved_since(lever: Lever, known: float | None) -> Response | None:
    """Refuse what is about another pull: who asked for it did not know of the one that holds now."""
    if not lever.engaged or lever.at == known:
        return None
    detail = f"{lever.by or 'Somebody'} pulled it meanwhile ({lever.reason}), so it stays pulled."
    return _problem(Problem(type="urn:reamp:lever-moved", title="Lever moved", status=409, detail=detail))


def _one_line(text: str) -> str:
    """Make of what somebody wrote one line of a log, which can forge no second one."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _json(message: Message) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")


def _problem(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers, PROBLEM_JSON)
