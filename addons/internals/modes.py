"""The proxy mode of the sidecar: ``sidecar:http://127.0.0.1:8000``, a reverse proxy of our own.

Tested with mitmproxy 12.2.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

from mitmproxy import ctx
from mitmproxy.connection import Client
from mitmproxy.proxy import layers, mode_servers, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import Layer

from addons.internals.handler import Handler
from addons.processes.doors import Doors

BACKLOG = 1024
"""Connections that may wait to be accepted: while a worker is replaced, they do."""


class SidecarMode(mode_specs.ReverseMode):
    """A reverse proxy, for everything in mitmproxy that asks. Only its connections are carried by `Handler`."""


class SidecarInstance(mode_servers.AsyncioServerInstance[SidecarMode]):
    """One such server. It can't have subclasses: mitmproxy allows one class for each mode."""

    doors: ClassVar[Doors | None] = None
    """What to accept on instead of binding a port: several processes can share it."""

    def make_top_layer(self, context: Context) -> Layer:
        """Start like any reverse proxy."""
        return layers.modes.ReverseProxy(context)

    async def listen(self, host: str, port: int) -> list[Any]:
        """Accept at the doors that were given, or bind a port."""
        lanes = ctx.master.addons.get("lanes")
        if lanes is None or (self.doors is None and not port):
            return await super().listen(host, port)  # it comes back here with a port
        accept, loop = lanes.lane_of(self).accept, asyncio.get_running_loop()
        if self.doors is None:
            return [await loop.create_server(accept, host or None, port, backlog=BACKLOG, ssl=lanes.tls)]
        self.doors.prepare(lambda one: loop.create_server(accept, sock=one, backlog=BACKLOG, ssl=lanes.tls))
        return [self.doors]

    async def handle_stream(self, reader: Any, writer: Any = None, client: Client | None = None) -> None:
        """Carry one connection. With `client`, the add-ons know of it already."""
        handler = Handler(ctx.master, reader, writer or reader, ctx.options, self.mode, client)
        handler.layer = self.make_top_layer(handler.layer.context)
        with self.manager.register_connection(handler.client.id, handler):
            await handler.handle_client()


def serve_through(doors: Doors) -> None:
    """Have all servers of this process accept at `doors` instead of binding ports, whatever carries them."""

    async def listen(self: Any, _host: str, _port: int) -> list[Any]:
        doors.prepare(lambda one: asyncio.start_server(self.handle_stream, sock=one, backlog=BACKLOG))
        return [doors]

    SidecarInstance.doors = doors
    setattr(mode_servers.AsyncioServerInstance, "listen", listen)  # noqa: B010 - a method of a typed class


def as_sidecar(modes: Iterable[str]) -> list[str]:
    """Give modes as they are to be served: those of a reverse proxy by `SidecarInstance`."""
    return [_renamed(mode, "reverse", SidecarMode.type_name) for mode in modes]


def as_reverse(modes: Iterable[str]) -> list[str]:
    """Give modes as people know them."""
    return [_renamed(mode, SidecarMode.type_name, "reverse") for mode in modes]


def _renamed(mode: str, old: str, new: str) -> str:
    name, colon, rest = mode.partition(":")
    return f"{new}{colon}{rest}" if name == old else mode
