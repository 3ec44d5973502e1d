"""The supervisor: holds the port, keeps the workers running, and serves the control port for all of them.

It carries no traffic and loads nothing of mitmproxy, so that it always has time: for a lever that somebody pulls, and
for a worker that died. Real traffic does not depend on it: if it is killed, the workers serve on without it.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loadtag
from addons.books import Books
from addons.controlport.access import Tokens
from addons.controlport.judging import why_not
from addons.credit import Credit
from addons.lever.latch import LatchingLever
from addons.lever.stopsignal import obeyed
from addons.processes.aide import Annex, AnnexPlan
from addons.processes.crew import ROWS_PER_WORKER, Crew, aside
from addons.processes.holding import Holding, alone
from addons.processes.listening import bind, bind_one
from addons.revoking import Revocations
from rules.exits import Exit, UserError
from rules.slo import Rule
from rules.units import Share, parse_address
from rules.wire import Lever

if TYPE_CHECKING:
    from addons.controlport.certificate import Certificate
    from addons.controlport.port import ControlPort, Facts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What one reading of the settings says."""

    upstream: str
    listen: str
    control: str
    tokens: Tokens
    state: Path
    workers: int
    max_extra: Share
    public_key: list[Path]
    revoked: Path | None
    audience: str
    window: float
    options: Mapping[str, Any]
    """For the workers: mitmproxy options."""
    slo: tuple[Rule, ...] = ()
    """What users must get while synthetic requests pass."""
    control_cert: Path | None = None
    control_key: Path | None = None
    lever_file: Path | None = None
    annexes: tuple[AnnexPlan, ...] = ()
    """What goes on beside the traffic."""
    tap: Share | None = None
    """What comes are copies of so many of the real requests: there is no upstream. None: it is the requests."""


FIXED = ("listen", "control", "state", "workers", "lever_file", "tap")
"""What a reload can't change."""

_TRIES = 100
"""How often, a hundredth of a second apart, the lock of the books is asked for before a reload goes on without it."""

_NOTHING = 2**62
"""More than anybody can have earned: as the floor of the books, it leaves nothing to spend."""

OPEN_FILES = 65_536
"""Files and connections that each process may have open, if the system allows it."""

_REMEDY = "; put that right and send SIGHUP"
"""What is to be done about public keys that can't be read: they are read at the start and then only."""

_THREADS_WITHIN = 2.0
"""Seconds that threads are waited for at the end: one may hang on a disk."""


@dataclass(frozen=True)
class Running:
    """What can be told of a sidecar once it serves."""

    listen: str
    control: str
    lever: Lever
    doubt: str
    """Why no load tag counts; empty: those of known keys do."""


async def supervise(plan: Plan, read_again: Callable[[], Plan], started: Callable[[Running], None]) -> None:
    """Run a sidecar until SIGINT or SIGTERM; SIGHUP has it `read_again`, SIGUSR1 pulls the lever.

    `started` is called once all workers serve. Raises UserError if a setting is wrong or a port is taken.
    """
    _open_files()
    with contextlib.ExitStack() as opened:
        sockets, holding = _take_port(plan, opened)
        control = opened.enter_context(bind_one(plan.control))
        books = Books.create(plan.workers * ROWS_PER_WORKER)
        opened.callback(books.close)
        books.shared.tap = plan.tap or 0
        annexes = [opened.enter_context(contextlib.closing(one.open())) for one in plan.annexes]
        for annex in annexes:
            annex.aide.lend("books", books.fileno())
        shares = {name: shared for annex in annexes for name, shared in annex.shares.items()}
        crew = Crew(sockets, books, _options(plan, annexes), holding, shares)
        supervisor = _Supervisor(plan, crew, books, annexes, read_again)
        try:
            async with supervisor.signals():
                await supervisor.run(control, holding, started)
        except Exception:
            if not supervisor.abandons:
                raise
            # A fault of ours. Real users have nothing to do with it: the workers serve on, until another
            # supervisor takes over. (To leave in order would take them along.)
            logger.exception("The supervisor ends; the workers serve real users on")
            _exit(Exit.FAILED)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), _THREADS_WITHIN)
        if any(thread.name.startswith("asyncio_") for thread in threading.enumerate()):
            logger.warning("A thread hangs: it is left behind")
            _exit(Exit.DONE)


def _open_files() -> None:
    """Have this process and its workers hold more connections than the 1024 that most systems begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _exit(code: Exit) -> None:
    """End without waiting for anything."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(code)


class _Supervisor:
    """What it is told, and what it does then."""

    def __init__(
        self, plan: Plan, crew: Crew, books: Books, annexes: Sequence[Annex], read_again: Callable[[], Plan]
    ) -> None:
        self._plan, self._crew, self._books, self._read_again = plan, crew, books, read_again
        self._annexes = annexes
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._capping: asyncio.Task[None] | None = None
        self._on_terminal = os.isatty(2)
        self._port: ControlPort | None = None
        self._certificate: Certificate | None = None
        self._pulled: tuple[str, str] | None = None
        """Reason and person, if somebody pulled the lever before there was one."""
        self._revocations = Revocations(plan.revoked, self._revoke)
        self._unread = ""
        """Why keys can't be read; empty: they were."""
        self._serves = False
        self.abandons = False
        """Whether it ends and the workers do not."""

    @contextlib.asynccontextmanager
    async def signals(self) -> AsyncIterator[None]:
        """Take signals while the block lasts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            with obeyed(self._pull):
                yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def run(self, control: socket.socket, holding: Holding, started: Callable[[Running], None]) -> None:
        """Serve until told to end, or until nothing can be done: then the workers end too, unless they serve."""
        self._revocations.begin()
        credit = Credit(self._books)
        credit.set_ratio(self._plan.max_extra)
        stopping = asyncio.create_task(self._stop.wait())
        watching = asyncio.create_task(self._crew.watch())
        try:
            await self._crew.hire()
            # While the workers load, which takes them longer.
            from addons.controlport.port import ControlPort  # noqa: PLC0415

            verifier = self._judge()
            self._certificate = _certificate(self._plan)
            lever = LatchingLever(self._plan.state / "lever.json", self._books.shared)
            self._port = ControlPort(
                self._books, lever, verifier, _facts(self._plan), self._crew.workers, self._annexes, self._doubt
            )
            if self._pulled:
                self._port.pull(*self._pulled)
            await self._port.watch(self._plan.lever_file)
            serving = asyncio.create_task(self._serving())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                serving.cancel()
            else:
                await serving
                self._serves = True
                self._revocations.follow()
                await _open(self._port, control, self._certificate)
                _tell(started, Running(self._crew.address, self._port.address, lever.state, self._doubt()))
                # Last, as workers of an earlier supervisor leave then: whatever fails before, they serve on.
                holding.take_charge()
                await stopping
        except Exception as error:
            self.abandons = self._serves and not self._stop.is_set() and not isinstance(error, UserError)
            raise
        finally:
            for task in (stopping, self._reloading, self._capping):
                if task:
                    task.cancel()
            self._revocations.stop()
            if not self.abandons:
                await self._leave()
                watching.cancel()
                if self._port is not None:
                    await self._port.close()

    def _judge(self) -> loadtag.Verifier:
        """Give who judges load tags. Keys that can't be read keep no real user waiting: no tag counts then."""
        try:
            return _verifier(self._plan, self._revocations.held)
        except UserError as error:
            self._unread = f"{error}{_REMEDY}"
            logger.warning("No load tag counts: %s", self._unread)
            return loadtag.Verifier([], self._plan.audience, self._revocations.held)

    def _doubt(self) -> str:
        if self._unread or self._revocations.trouble:
            return self._unread or self._revocations.trouble
        # A process that took a dead one's place may find what this one could still read broken.
        for unread in (self._crew.unread(), *(annex.aide.unread for annex in self._annexes)):
            if unread:
                return f"{unread}{_REMEDY}"
        return ""

    async def _serving(self) -> None:
        """Wait until all that was started serves. Raises UserError if one can't."""
        settings = {plan.name: plan.settings() for plan in self._plan.annexes}
        await asyncio.gather(self._crew.serving(), *(annex.aide.begin(settings[annex.name]) for annex in self._annexes))

    def _pull(self, reason: str, by: str) -> None:
        self._pulled = reason, by
        if self._port is not None:
            self._port.pull(reason, by)

    def _end(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _hang_up(self) -> None:
        if self._on_terminal and not os.isatty(2):
            self._end()  # the terminal was closed: nobody asks for a reload
        elif self._reloading and not self._reloading.done():
            logger.warning("The settings are being read again already")
        elif not self._stop.is_set() and self._port is not None and self._port.address:
            self._reloading = asyncio.create_task(self._reload(self._port))

    async def _reload(self, port: "ControlPort") -> None:
        try:
            plan = await aside(self._read_again)
            revocations = Revocations(plan.revoked, self._revoke)
            await aside(revocations.begin)
            verifier = await aside(_verifier, plan, revocations.held)
            for name in FIXED:
                if getattr(plan, name) != getattr(self._plan, name):
                    logger.warning("%s can't be changed by a reload: it stays as it is until a restart", name)
            logger.info("Settings read again: new workers start")
            if self._certificate and plan.control_cert:
                await aside(self._certificate.reload, plan.control_cert, plan.control_key)
            elif bool(self._certificate) != bool(plan.control_cert):
                logger.warning("Whether the control port speaks TLS can't be changed by a reload")
            # A key that is gone gets no more credit before workers come that don't know it: they would take its
            # requests for those of a stranger.
            before, port.verifier = port.verifier, self._meanwhile(plan, verifier, port.verifier)
            try:
                await self._exchange(plan)
            except Exception:
                port.verifier = before
                self._revoke(self._revocations.held)
                raise
            self._revocations.stop()
            self._revocations = revocations
            self._unread = ""
            port.configure(_facts(plan), verifier)
            self._revoke(revocations.held)
            revocations.follow()
        except UserError as error:
            logger.error("Not reloaded, all goes on as it was: %s", error)  # noqa: TRY400 - the user's mistake
        except Exception:
            logger.exception("Not reloaded")
        else:
            self._plan = replace(plan, **{name: getattr(self._plan, name) for name in FIXED})
            logger.info("Reloaded: new workers serve, the old ones retire")

    def _meanwhile(self, plan: Plan, after: loadtag.Verifier, before: loadtag.Verifier) -> loadtag.Verifier:
        """Give who gets credit while workers are exchanged: whom the old ones know and the new ones, too."""
        known = {key.key_id for key in before.keys} if plan.audience == self._plan.audience else set[str]()
        return loadtag.Verifier([key for key in after.keys if key.key_id in known], plan.audience, after.revoked)

    def _revoke(self, revoked: loadtag.Revoked | None) -> None:
        if self._port is not None:
            self._port.verifier.revoke(revoked)

    async def _exchange(self, plan: Plan) -> None:
        """Have new workers serve, under the new ceiling. One that is lower is not kept waiting for them."""
        before = self._plan.max_extra
        if plan.max_extra < before:
            await self._set_ceiling(plan.max_extra)
        try:
            await self._crew.reload(_options(plan, self._annexes))
            await self._reload_aides(plan)
        except Exception:
            await self._set_ceiling(before)
            raise
        await self._set_ceiling(plan.max_extra)

    async def _reload_aides(self, plan: Plan) -> None:
        after = {one.name: one for one in plan.annexes}
        if after.keys() != {annex.name for annex in self._annexes}:
            logger.warning(
                "What goes on beside the traffic can't be added or taken away by a reload: it needs a restart"
            )
        for annex in self._annexes:
            if one := after.get(annex.name):
                await annex.aide.reload(one.settings())

    async def _set_ceiling(self, ratio: Share) -> None:
        """Change what a real request earns. Nobody may spend meanwhile, nor until it is done."""
        if self._capping:
            self._capping.cancel()
            self._capping = None
        for _ in range(_TRIES):
            if self._try_ceiling(ratio):
                return
            await asyncio.sleep(0.01)
        logger.warning("A worker that hangs holds the books: no synthetic request passes until the new ceiling holds")
        self._capping = asyncio.create_task(self._keep_trying(ratio))

    async def _keep_trying(self, ratio: Share) -> None:
        while not self._try_ceiling(ratio):
            self._books.shared.floor = _NOTHING  # again and again: a reset of the lever changes it
            await asyncio.sleep(0.01)
        logger.info("The new ceiling holds: %s", ratio)
        if self._port is not None:
            self._port.granter.max_extra = ratio

    def _try_ceiling(self, ratio: Share) -> bool:
        if not self._books.lock.acquire():
            return False
        try:
            credit = Credit(self._books)
            credit.set_ratio(ratio)
            if self._books.shared.floor == _NOTHING:
                credit.clear()
        finally:
            self._books.lock.release()
        return True

    async def _leave(self) -> None:
        """End the workers, and then the aides, on whose help workers may count; at once if told so a second time."""
        aides = [annex.aide for annex in self._annexes]

        async def in_order() -> None:
            await self._crew.end()
            await asyncio.gather(*(aide.end() for aide in aides))

        ending = asyncio.create_task(in_order())
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({ending, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await asyncio.gather(self._crew.end_at_once(), *(aide.end_at_once() for aide in aides))
        hurry.cancel()
        await ending


def _options(plan: Plan, annexes: Sequence[Annex]) -> dict[str, Any]:
    """Give what workers have to know: of what goes on beside the traffic, as far as that was there from the start."""
    there = {annex.name for annex in annexes}
    beside = [one.options() for one in plan.annexes if one.name in there]
    return {**plan.options, **{name: value for options in beside for name, value in options.items()}}


def _take_port(plan: Plan, opened: contextlib.ExitStack) -> tuple[list[list[socket.socket]], Holding]:
    """Take hold of the port and bind it. Raises UserError."""
    _, port = parse_address(plan.listen)
    if port:
        holding = opened.enter_context(Holding(plan.state, port))
        sockets = bind(plan.listen, plan.workers, shared=holding.orphans)
    else:  # whichever is free: then nobody else holds it
        sockets = bind(plan.listen, plan.workers)
        holding = opened.enter_context(Holding(plan.state, sockets[0][0].getsockname()[1]))
    for one in sockets:
        for part in one:
            opened.enter_context(part)
    opened.enter_context(alone(plan.state))
    return sockets, holding


async def _open(port: "ControlPort", control: socket.socket, certificate: "Certificate | None") -> None:
    try:
        await port.start(control, certificate)
    except OSError as error:
        raise UserError(f"the control port can't be opened: {error}", Exit.FAILED) from None


def _tell(started: Callable[[Running], None], running: Running) -> None:
    """Say that all is well. If nobody can be told, it is all the same."""
    try:
        started(running)
    except Exception:
        logger.exception("It could not be told that the sidecar serves")


def _verifier(plan: Plan, revoked: loadtag.Revoked | None) -> loadtag.Verifier:
    from loadtag import keys  # noqa: PLC0415 - only when the workers are on their way

    try:
        public = [key for file in plan.public_key for key in keys.load_public(file)]
        for key in public:
            if (reason := key.validity.reason(time.time())) is not None:
                logger.warning("%s", why_not(reason, loadtag.LoadTag(key.key_id, "", 0, plan.audience)))
            elif not key.validity.admits(plan.audience):
                logger.warning("%s", why_not("key-audience", loadtag.LoadTag(key.key_id, "", 0, plan.audience)))
        return loadtag.Verifier(public, plan.audience, revoked)
    except (keys.KeyFileError, OSError, ValueError) as error:
        raise UserError(f"public key: {error}") from None


def _certificate(plan: Plan) -> "Certificate | None":
    from addons.controlport.certificate import Certificate  # noqa: PLC0415 - only when the workers are on their way

    return Certificate(plan.control_cert, plan.control_key) if plan.control_cert else None


def _facts(plan: Plan) -> "Facts":
    from addons.controlport.port import Facts  # noqa: PLC0415 - only when the workers are on their way

    return Facts(
        upstream="" if plan.tap else f"reverse:{plan.upstream}",
        audience=plan.audience,
        tokens=plan.tokens,
        window=plan.window,
        slo=plan.slo,
    )
