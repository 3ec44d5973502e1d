"""The sidecar in a master of our own: mitmproxy's proxy core and our add-ons, nothing else.

The stock set of add-ons costs more than half of the time of a small request, and does nothing for a sidecar.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from mitmproxy import exceptions, options
from mitmproxy.addons.core import Core
from mitmproxy.addons.next_layer import NextLayer
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master

from addons.chain import Chain, chain
from addons.internals.quickening import carried, quicken
from addons.lanes import Lanes
from rules.exits import UserError

CORE_OPTIONS: dict[str, Any] = {
    "keep_host_header": True,  # the app sees the host that its users typed
    "connection_strategy": "lazy",  # a refused synthetic request costs the app not even a connection
    "rawtcp": False,  # an upgrade to what is not HTTP would be a way around the guard
}

DRAIN = 5.0
"""Seconds that requests under way are given to finish when the sidecar is told to end."""


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


async def serve(settings: Mapping[str, Any], started: Callable[[Chain], None]) -> None:
    """Run a sidecar until SIGINT or SIGTERM. `settings` are mitmproxy options; `started` is called once it listens.

    Raises UserError if a setting is wrong or a port is taken.
    """
    addons = chain()
    opts = options.Options()
    master = Master(opts)
    quicken(master)
    proxyserver, errors = Proxyserver(), _StartErrors()
    try:
        ours = [errors, *addons.addons(), _Started(addons, errors, started)]
        master.addons.add(Core(), proxyserver, NextLayer(), TlsConfig(), Lanes(), *ours)
        opts.update(**CORE_OPTIONS, **carried(settings))
    except exceptions.OptionsError as error:
        errors.finish()
        raise UserError(str(error)) from None
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    def end() -> None:
        if ending:
            master.shutdown()  # asked twice: at once
        else:
            ending.append(loop.create_task(_drain(master, proxyserver, addons)))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        await master.run()
    finally:
        errors.finish()


async def _drain(master: Master, proxyserver: Proxyserver, addons: Chain) -> None:
    """Take no new connections, let what is under way finish (for a bounded time), then end."""
    await proxyserver.servers.update([])
    deadline = time.monotonic() + DRAIN
    while addons.meter.in_flight and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not announced
        await asyncio.sleep(0.02)
    master.shutdown()


class _Started:
    """Last in the chain: when it runs, all the others do."""

    def __init__(self, addons: Chain, errors: _StartErrors, started: Callable[[Chain], None]) -> None:
        self._addons, self._errors, self._started = addons, errors, started

    def running(self) -> None:
        if not self._errors.messages:
            self._started(self._addons)
