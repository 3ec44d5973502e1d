"""The fast lane of one sidecar: its connections, its clock and its settings."""

import asyncio
from collections.abc import Callable
from typing import Any

from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ReverseMode

from addons.fastlane.connection import Connection
from addons.fastlane.phases import Phase, limit
from addons.fastlane.upstream import Address, Pool
from addons.internals.dispatch import Hooks
from addons.internals.flows import makers

TICK = 0.5
"""Seconds between two looks at the clock. Time-outs are that exact; in between, time costs nothing."""

TakeOver = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Client | None], None]
"""Carries a connection on in the full lane. With a client, the add-ons know of it already."""


class Lane:
    """Carries plain HTTP/1.1 to one app."""

    def __init__(self, hooks: Hooks, mode: ReverseMode, take_over: TakeOver) -> None:
        self.hooks = hooks
        self.mode = mode
        self.address: Address = mode.address
        self.take_over = take_over
        self.enabled = True
        """Whether new connections are looked at here, or left to the full lane unseen."""
        self.client_timeout = self.upstream_timeout = 600.0
        self.draining = False
        """Each connection ends with its next answer."""
        self.hurried = False
        """Connections without a request end at once."""
        self.connections: set[Connection] = set()
        self.pool = Pool(self, self.announce)
        self.new_flow, self.new_response = makers()
        self.now = 0.0
        """Seconds of the loop's clock, as of the last tick."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the clock."""
        if self._timer is None:
            self._tick()

    def accept(self) -> Connection:
        """Make the protocol of a new connection, for ``loop.create_server``."""
        return Connection(self)

    def announce(self, name: str, data: Any) -> None:
        """Run a hook that nobody waits for."""
        waiting = self.hooks.run(name, data)
        if waiting is not None:
            task = asyncio.get_running_loop().create_task(waiting)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def busy(self) -> int:
        """Connections with a request or an answer under way."""
        return sum(
            connection.phase is not Phase.IDLE or connection.transport.get_write_buffer_size() > 0
            for connection in self.connections
        )

    def drain(self, hurried: bool) -> None:
        """End every connection with its next answer; `hurried`: those without a request at once."""
        self.draining = True
        self.hurried = self.hurried or hurried
        if hurried:
            for connection in list(self.connections):
                if connection.phase is Phase.IDLE:
                    connection.stir()

    def stop(self) -> None:
        """End everything now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.pool.close()
        for connection in list(self.connections):
            connection.transport.abort()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK, self._tick)
        now = self.now = loop.time()
        limits = {phase: limit(phase, self.client_timeout, self.upstream_timeout) for phase in Phase}
        for connection in [one for one in self.connections if now - one.since > limits[one.phase]]:
            connection.expire()
        self.pool.sweep(now)
