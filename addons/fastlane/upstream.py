"""Connections to the app, kept open between requests."""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.fastlane.errors import AppFailed
from addons.fastlane.link import READ_AHEAD, Link

if TYPE_CHECKING:
    from addons.fastlane.lane import Lane

Address = tuple[str, int]

MAX_IDLE = 1024
"""Connections kept for later, for each address."""

IDLE_TIMEOUT = 60.0
"""Seconds after which an unused connection is closed."""

FRESH = 1.0
"""Seconds that a connection may have been idle to be used for a request that can't be repeated. An app that closes idle
connections may do so while the next request is on its way; a request that is safe is then sent again on a new one."""

CONNECT_TIMEOUT = 10.0


class Owner(Protocol):
    """Who waits for the app's answer."""

    def stir(self) -> None:
        """Wake up."""


class Upstream(Link):
    """One connection to the app. Without an owner it is idle."""

    __slots__ = ("_pool", "address", "client", "idle_since", "owner", "reused", "server")

    def __init__(self, pool: "Pool", address: Address, client: Client, server: Server) -> None:
        super().__init__()
        self.address, self.client, self.server = address, client, server
        self.owner: Owner | None = None
        self.reused = False
        self.idle_since = 0.0
        self._pool = pool

    def stir(self) -> None:
        """Wake up the owner. An app that says something unasked is not to be trusted with a request."""
        if self.owner is not None:
            self.owner.stir()
        elif not self.lost:
            self._pool.forget(self)
            self.transport.abort()

    def drop(self) -> None:
        """End it now: what it still says is no business of anybody's."""
        self.owner = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, and tell the add-ons."""
        if exc is not None and self.owner is not None:
            self._read_last()
        super().connection_lost(exc)
        self._pool.forget(self)
        self.server.state = ConnectionState.CLOSED
        self.server.timestamp_end = time.time()
        self._pool.announce("server_disconnected", ServerConnectionHookData(server=self.server, client=self.client))

    def _read_last(self) -> None:
        """Take what has come and was not read yet.

        An app may answer before it has read all of a request, and go. Writing on then fails, and asyncio gives a
        connection up with its answer.
        """
        with contextlib.suppress(OSError, ValueError):
            self.data += os.read(self.transport.get_extra_info("socket").fileno(), READ_AHEAD)


class Pool:
    """The idle connections, newest last: the newest is the least likely to be closed by the app just now."""

    def __init__(self, lane: "Lane", announce: Callable[[str, ServerConnectionHookData], None]) -> None:
        self._lane = lane
        self._idle: dict[Address, deque[Upstream]] = {}
        self.announce = announce

    def take(self, address: Address, owner: Owner, repeatable: bool) -> Upstream | None:
        """Give an idle connection to `owner`, if there is one that is good enough for this request."""
        idle = self._idle.get(address)
        while idle:
            if not repeatable and self._lane.now - idle[-1].idle_since > FRESH:
                return None
            app = idle.pop()
            if not app.transport.is_closing():
                app.owner = owner
                app.reused = True
                return app
        return None

    def give(self, app: Upstream) -> None:
        """Take a connection back whose last answer has come to its end."""
        app.owner = None
        if app.lost or app.eof or app.data or app.full or app.transport.is_closing():
            app.transport.abort()
            return
        app.idle_since = self._lane.now
        idle = self._idle.get(app.address)
        if idle is None:
            idle = self._idle[app.address] = deque()
        idle.append(app)
        if len(idle) > MAX_IDLE:
            idle.popleft().close()

    def forget(self, app: Upstream) -> None:
        """Give a connection up that is of no use any more."""
        idle = self._idle.get(app.address)
        if app.owner is None and idle and app in idle:
            idle.remove(app)

    async def connect(self, address: Address, client: Client, owner: Owner) -> Upstream:
        """Open a connection for `owner`. Raises AppFailed."""
        server = Server(address=address)
        facts = ServerConnectionHookData(server=server, client=client)
        await self._hook("server_connect", facts)
        if server.error is not None:
            await self._hook("server_connect_error", facts)
            raise AppFailed(502, server.error)
        target = server.address or address  # an add-on may have chosen another one
        server.timestamp_start = time.time()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, app = await asyncio.get_running_loop().create_connection(
                    lambda: Upstream(self, address, client, server), *target[:2]
                )
        except (OSError, ValueError, OverflowError) as error:  # the latter two: of what can't be an address
            server.error = str(error) or "timed out"
            await self._hook("server_connect_error", facts)
            raise AppFailed(504 if isinstance(error, TimeoutError) else 502, server.error) from None
        app.owner = owner
        server.timestamp_tcp_setup = time.time()
        server.state = ConnectionState.OPEN
        server.peername = app.transport.get_extra_info("peername")
        server.sockname = app.transport.get_extra_info("sockname")
        try:
            await self._hook("server_connected", facts)
        except BaseException:
            app.drop()
            raise
        return app

    async def _hook(self, name: str, facts: ServerConnectionHookData) -> None:
        waiting = self._lane.hooks.run(name, facts)
        if waiting is not None:
            await waiting

    def sweep(self, now: float) -> None:
        """Close what has been idle for long."""
        for address, idle in list(self._idle.items()):
            while idle and now - idle[0].idle_since > IDLE_TIMEOUT:
                idle.popleft().close()
            if not idle:
                del self._idle[address]

    def close(self) -> None:
        """Close all idle connections."""
        self.sweep(float("inf"))
