"""Aides: processes of the sidecar beside the workers, that carry no users' traffic. An annex is what has one.

The supervisor starts an aide, has another one take its place when it dies, and ends it last. What workers and an aide
have in common is memory or a socket that both inherit, by name (`Annex.shares`).
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client.core import Metric
from pydantic import BaseModel

from addons.processes.child import AT_ONCE, END_WITHIN, Child, gone, how, start
from addons.processes.ear import PULSE
from addons.processes.orders import Errand, Report
from addons.processes.posts import Restarts
from addons.processes.tallies import ROWS
from rules.exits import UserError

logger = logging.getLogger(__name__)

HANGS = 15
"""Pulses without a sign of life after which a process is killed: whoever waits for it waits in vain, and nobody else
does what it is there for. They are counted, so that a machine that slept is no reason."""


class Annex(Protocol):
    """What goes on beside the traffic, as the supervisor and the control port see it."""

    @property
    def name(self) -> str:
        """Give its name, which is also that of the field of `rules.wire.State` that `state` fills."""

    @property
    def aide(self) -> "Aide":
        """Give the process."""

    @property
    def shares(self) -> Mapping[str, int]:
        """Give the descriptors that workers inherit, by name."""

    def state(self) -> BaseModel:
        """Tell how it is."""

    def metrics(self) -> Iterable[Metric]:
        """Give its metrics as they stand."""

    def close(self) -> None:
        """Give back what it holds. The aide has ended."""


class AnnexPlan(Protocol):
    """What one reading of the settings says of an annex. As text, it tells what a sidecar with it does, in a line."""

    @property
    def name(self) -> str:
        """Give that of the annex."""

    def open(self) -> Annex:
        """Make it: bind sockets, make memory. Raises UserError. Nothing is started yet."""

    def options(self) -> dict[str, Any]:
        """Give what workers have to know, as mitmproxy options that an add-on of the annex declares."""

    def settings(self) -> dict[str, Any]:
        """Give what its aide has to know, as JSON can carry it. A reload gives the aide's successor new ones."""


class Aide:
    """Keeps one process running."""

    def __init__(self, name: str, module: str, shares: Callable[[], Mapping[str, int]]) -> None:
        """Start nothing yet. `module` is what ``python -m`` runs, `shares` the descriptors that it inherits."""
        self.name = name
        self.restarts = Restarts()
        self._module, self._shares = module, shares
        self._settings: dict[str, Any] = {}
        self._child: Child | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._children: set[_Reported] = set()
        self._rows = 0
        self._ending = False
        self._lent: dict[str, int] = {}

    def lend(self, name: str, descriptor: int) -> None:
        """Have it inherit one more descriptor, of what the whole sidecar shares."""
        self._lent[name] = descriptor

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was told, or will be; after a reload, what the new one was told."""
        return self._settings

    @property
    def pid(self) -> int:
        """The process that is in charge now; 0: none is."""
        return self._child.pid if self._child and self._child.process.returncode is None else 0

    @property
    def serves(self) -> bool:
        """Whether it does what it is there for."""
        return bool(self.pid and self._child and self._child.serves)

    @property
    def unread(self) -> str:
        """Why it can't read public keys; empty: it can, or needs none."""
        return self._child.unread if self._child else ""

    async def begin(self, settings: Mapping[str, Any]) -> None:
        """Start it, and wait until it serves. Raises UserError if it can't."""
        self._settings = dict(settings)
        self._child = child = await self._start()
        await child.ready()

    async def reload(self, settings: Mapping[str, Any]) -> None:
        """Put another one in its place. Raises UserError if that one can't serve; the old one stays then."""
        before, self._settings = self._settings, dict(settings)
        child = None
        try:
            child = await self._start()
            await child.ready()
        except BaseException:
            self._settings = before
            if child:
                child.dismiss()
            raise
        old, self._child = self._child, child
        if old:
            old.retire()

    async def end(self) -> None:
        """End it; if it does not, it is killed."""
        self._ending = True
        for child in self._children:
            child.dismiss()
        await gone(self._children, self._watching, END_WITHIN)

    async def end_at_once(self) -> None:
        """Do not wait for what is under way any more."""
        for child in self._children:
            child.signal(signal.SIGTERM)
        await gone(self._children, self._watching, AT_ONCE)

    async def _start(self) -> Child:
        if self._ending:
            raise UserError("the sidecar is about to end")
        shares = {**self._lent, **self._shares()}
        child = _Reported(await start(self._module, sorted(set(shares.values()))), self.name)
        child.say(Errand(settings=self._settings, shares=shares, row=self._rows % ROWS).line())
        self._rows += 1
        self._children.add(child)
        watching = asyncio.create_task(self._watch(child))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return child

    async def _watch(self, child: "_Reported") -> None:
        """See it through to its end, and have it replaced if that was not meant to be."""
        minding = asyncio.create_task(self._mind(child))
        code = await child.ended()
        minding.cancel()
        self._children.discard(child)
        served, child.serves = child.serves, False
        if self._ending or child.retired:
            if code not in (0, -signal.SIGTERM):
                logger.warning("%s %d %s while it was to end", self.name, child.pid, how(code))
            return
        if not served or self._child is not child:
            return  # whoever started it is told that it can't serve
        began = child.began
        while not self._ending:
            delay = self.restarts.died(began, time.monotonic())
            when = f"in {delay:g} s" if delay else "at once"
            logger.warning("%s %d %s; another one starts %s", self.name, child.pid, how(code), when)
            await asyncio.sleep(delay)
            if self._child is not child:
                return  # a reload has put one in its place
            began = time.monotonic()
            if await self._replace(child):
                return

    async def _mind(self, child: "_Reported") -> None:
        """Kill it if it hangs."""
        silent, heard = 0, 0
        while silent < HANGS:
            await asyncio.sleep(PULSE)
            silent = silent + 1 if heard == child.reports > 1 else 0
            heard = child.reports
        logger.warning("%s %d hangs: killed", self.name, child.pid)
        child.signal(signal.SIGKILL)

    async def _replace(self, dead: Child) -> bool:
        try:
            child = await self._start()
        except (OSError, UserError) as error:
            logger.warning("%s can't be started: %s", self.name, error)
            return False
        try:
            await child.ready()
        except UserError as error:
            logger.warning("%s %d can't serve: %s", self.name, child.pid, error)
            return False
        if self._child is not dead:  # a reload has put one in its place meanwhile
            child.retire()
            return True
        self._child = child
        logger.info("%s %d serves", self.name, child.pid)
        return True


class _Reported(Child):
    """One that tells what it has to say in the log."""

    reports = 0
    """How many it has made."""

    def heard(self, report: Report) -> None:
        super().heard(report)
        self.reports += 1
        if report.error and self.serves:
            logger.warning("%s %d: %s", self.name, self.pid, report.error)
