"""Carries a connection; hooks that need no waiting run in place.

mitmproxy makes a task of every hook and sends its completion back through a lock, over the event loop: five times for
each request. Here the completion follows as soon as the layers have given all their commands, which is the same order
without the way around. A hook that does wait still becomes a task. Tested with mitmproxy 12.2.
"""

import asyncio
import dataclasses
import logging
import types
from collections import deque
from collections.abc import Coroutine
from typing import Any

from mitmproxy.addonmanager import AddonManager
from mitmproxy.connection import Client, Connection
from mitmproxy.flow import Flow
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, mode_specs, server_hooks
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator, Layer
from mitmproxy.proxy.layers.tcp import TcpEndHook, TcpStartHook
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO
from mitmproxy.tcp import TCPFlow
from mitmproxy.utils import human

from addons.internals.dispatch import Hooks, hooks_of
from addons.internals.trial import at_once, expect, passes

MAX_JOINED = 64 * 1024
"""Bytes up to which what is sent in pieces (a head, its body) is sent as one: each costs a system call."""

MAX_CONNECTIONS = 1000
"""Connections to one address for one client's connection. mitmproxy has five, and all other calls wait: where the
client speaks HTTP/2 and the server HTTP/1.1, each request under way has one to itself."""

_FIELDS: dict[type[commands.StartHook], str] = {}
"""The name of a hook's only argument, by the hook's class."""


def _argument(hook: commands.StartHook) -> Any:
    """Give a hook's only argument. `hook.args()` asks the dataclass for its fields each time."""
    kind = type(hook)
    try:
        return getattr(hook, _FIELDS[kind])
    except KeyError:
        (field,) = dataclasses.fields(hook)  # type: ignore[arg-type] # all hooks are dataclasses, says Hook.__new__
        _FIELDS[kind] = field.name
        return getattr(hook, field.name)


class _InPlace:
    """The layers of a connection as its handler sees them: hooks have been run already, except those that wait."""

    __slots__ = ("_completed", "_handler", "_hooks", "_layer", "context")

    def __init__(self, top: Layer, handler: "Handler", hooks: Hooks) -> None:
        self.context = top.context
        self._layer = top
        self._handler = handler
        self._hooks = hooks
        self._completed: deque[events.Event] = deque()

    def handle_event(self, event: events.Event) -> CommandGenerator[None]:
        """Hand an event to the layers, and give the commands that are left to the handler."""
        completed = self._completed
        while True:
            try:
                for command in _joined(self._layer.handle_event(event)):
                    if not isinstance(command, commands.StartHook):
                        yield command
                        continue
                    data = _argument(command)
                    waiting = self._hooks.run(command.name, data)
                    if waiting is not None or (isinstance(data, Flow) and data.intercepted):
                        self._handler.waiting[command] = waiting
                        yield command
                    elif command.blocking:
                        completed.append(events.HookCompleted(command))
            except Exception:  # noqa: BLE001 - as mitmproxy does; what is completed has to go on nevertheless
                self._handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
            if not completed:
                return
            event = completed.popleft()


def _joined(given: CommandGenerator[None]) -> CommandGenerator[None]:
    """Join what is sent to the same peer without anything in between."""
    held: commands.SendData | None = None
    try:
        for command in given:
            if not isinstance(command, commands.SendData):
                if held is not None:
                    yield held
                    held = None
                yield command
            elif held is None:
                held = command
            elif held.connection is command.connection and len(held.data) < MAX_JOINED:
                held = commands.SendData(held.connection, held.data + command.data)
            else:
                yield held
                held = command
    except Exception:
        if held is not None:
            yield held  # it was given before the fault
        raise
    if held is not None:
        yield held


class Handler(ProxyConnectionHandler):
    """Carries one client's connection.

    With `client`, the connection was already announced to the add-ons by somebody else, with that very object: it is
    not announced again. That it has ended is told here in any case.
    """

    def __init__(
        self,
        master: Master,
        reader: Any,
        writer: Any,
        options: Options,
        mode: mode_specs.ProxyMode,
        client: Client | None = None,
    ) -> None:
        self.hooks = hooks_of(master)
        self.waiting: dict[commands.StartHook, Coroutine[Any, Any, None] | None] = {}
        self._announced = client is not None
        if client is None:
            super().__init__(master, reader, writer, options, mode)  # type: ignore[no-untyped-call]
        else:
            self.master = master
            # Not our base class: it would make a client of its own.
            ConnectionHandler.__init__(self, Context(client, options))
            self.transports[client] = ConnectionIO(handler=None, reader=reader, writer=writer)
            self.log_prefix = f"{human.format_address(client.peername)}: "
        self.max_conns.default_factory = lambda: asyncio.Semaphore(MAX_CONNECTIONS)

    @property
    def layer(self) -> Any:
        """The layers of this connection. Set a plain layer; what is given runs hooks in place."""
        return self._in_place

    @layer.setter
    def layer(self, top: Layer) -> None:
        self._in_place = _InPlace(top, self, self.hooks)

    async def handle_connection(self, connection: Connection) -> None:
        """Read from a connection until its end."""
        if connection is self.client:
            # This task starts at once, before its parent has noted it. What the other lane has left would be read
            # by then, and an answer that closes the connection would find nobody to end.
            await asyncio.sleep(0)
        await super().handle_connection(connection)

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Run a hook, or go on with one that waits."""
        data = _argument(hook)
        if hook in self.waiting:
            waiting = self.waiting.pop(hook)
        elif self._announced and isinstance(hook, server_hooks.ClientConnectedHook):
            return
        else:
            waiting = self.hooks.run(hook.name, data)
        intercepted = isinstance(data, Flow) and data.intercepted
        if waiting is None and not intercepted:
            return
        with self.timeout_watchdog.disarm():
            if waiting is not None:
                await waiting
            if isinstance(data, Flow):
                await data.wait_for_resume()

    async def drain_writers(self) -> None:
        """Wait until what was written has gone, if it has not."""
        for transport in self.transports.values():
            writer = transport.writer
            if writer is None:
                continue
            if not isinstance(writer, asyncio.StreamWriter) or writer.transport.is_closing() or _is_full(writer):
                await super().drain_writers()  # type: ignore[no-untyped-call]
                return


def _is_full(writer: asyncio.StreamWriter) -> bool:
    """Whether writing may have been paused. It goes on below the low mark, so below it nobody has to wait."""
    size = writer.transport.get_write_buffer_size()
    return size > 0 and size > writer.transport.get_write_buffer_limits()[0]


class _Probe(Layer):
    """The layers of the self-test: two hooks, then the end of the connection."""

    def __init__(self, context: Context, seen: list[str]) -> None:
        super().__init__(context)
        self.seen = seen

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        flow = TCPFlow(self.context.client, self.context.server)
        for hook in (TcpStartHook(flow), TcpEndHook(flow)):
            yield hook
            self.seen.append(f"{hook.name} completed")
        yield commands.CloseConnection(self.context.server)  # unknown to the handler, so it is passed over
        self.seen.append("done")


def known() -> bool:
    """Whether this mitmproxy's connections can be carried by `Handler`."""
    return passes("running hooks in place", _self_test)


def _self_test() -> None:
    seen: list[str] = []
    told = types.SimpleNamespace(tcp_start=lambda _: seen.append("start"), tcp_end=lambda _: seen.append("end"))
    settings = types.SimpleNamespace(changed=types.SimpleNamespace(connect=id), tcp_timeout=600)
    master: Any = types.SimpleNamespace(options=settings)
    master.addons = AddonManager(master)
    master.addons.chain.append(told)
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    handler = Handler(master, None, None, master.options, mode_specs.ProxyMode.parse("regular"), client)
    handler.layer = _Probe(handler.layer.context, seen)
    at_once(handler.server_event(events.Start()))
    at_once(handler.drain_writers())
    expected = ["start", "tcp_start completed", "end", "tcp_end completed", "done"]
    expect(seen == expected, f"came to {seen} instead of {expected}")
