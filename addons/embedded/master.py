"""A master of our own: mitmproxy's proxy core and what is given to it, nothing else, from its start to its end.

The stock set of add-ons costs more than half of the time of a small request, and does nothing for a sidecar.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from mitmproxy import exceptions, options
from mitmproxy.addons.core import Core
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master

from addons.embedded.farewell import Farewell
from addons.embedded.starting import Started, StartErrors
from addons.internals.modes import serve_through
from addons.internals.quickening import quicken
from addons.processes.doors import Doors
from addons.processes.orders import DRAIN, RETIRE
from rules.exits import UserError


class Embedded(ABC):
    """Serves at doors: `run` it, and tell it how to end. Who derives from it says what is under way."""

    def __init__(
        self, doors: Doors, layers: Any, addons: Sequence[Any], settings: Mapping[str, Any], started: Callable[[], None]
    ) -> None:
        """Put it together. `layers` chooses how a connection is carried, `settings` are mitmproxy options.

        Raises UserError if one of them is wrong.
        """
        serve_through(doors)
        self._doors = doors
        self._errors = StartErrors()
        self._ending: asyncio.Task[None] | None = None
        self._told = False
        """Whether somebody has called `end`."""
        opts = options.Options()
        self._master = Master(opts)
        quicken(self._master)
        self._proxyserver = Proxyserver()
        try:
            ours = [self._errors, *addons, Started(self._errors, doors, started)]
            self._master.addons.add(Core(), self._proxyserver, layers, TlsConfig(), *ours)
            opts.update(**settings)
        except exceptions.OptionsError as error:
            self._errors.finish()
            raise UserError(str(error)) from None

    @abstractmethod
    def busy(self) -> bool:
        """Whether something is under way that has to be answered."""

    def connections(self) -> int:
        """Count what is open, idle connections included."""
        return len(self._proxyserver.connections)

    def hurry(self, at_once: bool) -> None:  # noqa: B027 - not everybody has somebody to hurry
        """See to it that connections end with their next answer; `at_once`: idle ones now."""

    async def run(self) -> None:
        """Serve until told to end. Raises UserError if it can't begin."""
        try:
            await self._master.run()
        finally:
            self._errors.finish()

    def end(self) -> None:
        """Take no new connections, let what is under way finish (for a bounded time), then end. Twice: at once."""
        if self._told:
            self._master.shutdown()
        else:
            self._told = True
            self.hurry(at_once=True)
            self._begin(self._drain())

    def retire(self) -> None:
        """Take no new connections, let those that are open go on for a bounded time, then end."""
        if self._ending is None:
            self.hurry(at_once=False)
            self._begin(self._retire())

    def _begin(self, ending: Coroutine[Any, Any, None]) -> None:
        if self._ending:
            self._ending.cancel()
        else:
            self._doors.close()
            self._master.addons.add(Farewell())
        self._ending = asyncio.get_running_loop().create_task(ending)

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN
        while self.busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not announced
            await asyncio.sleep(0.02)
        self._master.shutdown()

    async def _retire(self) -> None:
        deadline = time.monotonic() + RETIRE
        while self.connections() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self.hurry(at_once=True)
        await self._drain()
