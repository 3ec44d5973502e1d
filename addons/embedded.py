"""The sidecar in a master of our own: mitmproxy's proxy core and our add-ons, nothing else.

The stock set of add-ons costs more than half of the time of a small request, and does nothing for a sidecar.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mitmproxy import exceptions, options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master

from addons.chain import Chain
from addons.doors import Doors
from addons.farewell import Farewell
from addons.internals.modes import serve_through
from addons.internals.quickening import carried, quicken
from addons.lanes import Lanes
from addons.orders import DRAIN, RETIRE
from rules.exits import UserError

CORE_OPTIONS: dict[str, Any] = {
    "keep_host_header": True,  # the app sees the host that its users typed
    "connection_strategy": "lazy",  # a refused synthetic request costs the app not even a connection
    "rawtcp": False,  # an upgrade to what is not HTTP would be a way around the guard
}


class _StartErrors(logging.Handler):
    """Collects what goes wrong while starting. mitmproxy asks for it under the name ``errorcheck``."""

    name = "errorcheck"

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.name = "errorcheck"
        self.messages: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    async def shutdown_if_errored(self) -> None:
        """Refuse to run half-started. Raises UserError."""
        await asyncio.sleep(0)  # lets what was logged from tasks arrive
        if self.messages:
            raise UserError("\n".join(self.messages))

    def finish(self) -> None:
        """Stop collecting: from now on traffic goes on whatever happens."""
        logging.getLogger().removeHandler(self)


class Sidecar:
    """One worker's sidecar: `run` it, and tell it how to end."""

    def __init__(self, chain: Chain, doors: Doors, settings: Mapping[str, Any], started: Callable[[], None]) -> None:
        """Put it together. `settings` are mitmproxy options. Raises UserError if one of them is wrong."""
        serve_through(doors)
        self._chain, self._doors = chain, doors
        self._errors = _StartErrors()
        self._ending: asyncio.Task[None] | None = None
        self._told = False
        """Whether somebody has called `end`."""
        opts = options.Options()
        self._master = Master(opts)
        quicken(self._master)
        self._proxyserver, self._lanes = Proxyserver(), Lanes()
        try:
            ours = [self._errors, *chain.addons(), _Started(self._errors, doors, started)]
            self._master.addons.add(Core(), self._proxyserver, NextLayer(), TlsConfig(), self._lanes, *ours)
            opts.update(**CORE_OPTIONS, **carried(settings))
        except exceptions.OptionsError as error:
            self._errors.finish()
            raise UserError(str(error)) from None

    async def run(self) -> None:
        """Serve until told to end. Raises UserError if it can't begin."""
        try:
            await self._master.run()
        finally:
            self._errors.finish()

    def end(self) -> None:
        """Take no new connections, let requests under way finish (for a bounded time), then end. Twice: at once."""
        if self._told:
            self._master.shutdown()
        else:
            self._told = True
            self._lanes.drain(hurried=True)
            self._begin(self._drain())

    def retire(self) -> None:
        """Take no new connections, let those that are open ask once more (for a bounded time), then end."""
        if self._ending is None:
            self._lanes.drain(hurried=False)
            self._begin(self._retire())

    def _begin(self, ending: Coroutine[Any, Any, None]) -> None:
        if self._ending:
            self._ending.cancel()
        else:
            self._doors.close()
            self._master.addons.add(Farewell())
        self._ending = asyncio.get_running_loop().create_task(ending)

    @property
    def _connections(self) -> int:
        return len(self._proxyserver.connections) + self._lanes.connections

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN
        while (self._chain.meter.in_flight or self._lanes.busy) and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not announced
            await asyncio.sleep(0.02)
        self._master.shutdown()

    async def _retire(self) -> None:
        deadline = time.monotonic() + RETIRE
        while self._connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self._lanes.drain(hurried=True)
        await self._drain()


class _Started:
    """Last in the chain: when it runs, all the others do, and users can come in.

    mitmproxy itself lets them in before that. But they have been waiting at the door since the worker before died: the
    first ones would not be recorded, and an error that they run into would count as one of the start.
    """

    def __init__(self, errors: _StartErrors, doors: Doors, started: Callable[[], None]) -> None:
        self._errors, self._doors, self._started = errors, doors, started

    async def running(self) -> None:
        if not self._errors.messages:
            try:
                await self._doors.open()
            except OSError as error:
                self._errors.messages.append(str(error))
                return
            self._errors.finish()
            self._started()
