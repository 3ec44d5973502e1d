"""A client's connection: one request after the other, each carried by an `Exchange`.

All of a connection is one coroutine, so that it reads as what happens one after the other. It is not an asyncio task:
its links stir it in place, from within the event loop's callbacks, which saves two rounds through the loop for every
request. Only what has to wait for something else than bytes (an add-on's own awaiting, a connection to the app) runs
as a task, and stirs the connection when it is done.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from mitmproxy.connection import Client, ConnectionState, Server

from addons.fastlane.errors import AppFailed, ClientGone, Ended
from addons.fastlane.exchange import Exchange
from addons.fastlane.head import INCOMPLETE, ODD, RequestHead, read_request
from addons.fastlane.link import Link, pause
from addons.fastlane.phases import Phase
from addons.fastlane.secured import describe_tls

if TYPE_CHECKING:
    from mitmproxy.flow import Flow

    from addons.fastlane.lane import Lane

logger = logging.getLogger(__name__)


KILL_INTERVAL = 0.25
"""Seconds between two looks at whether an intercepted flow was killed."""

IDLE, HEAD, CLIENT, APP, TASK, LINGER = Phase


async def _resumed(flow: "Flow") -> None:
    """Wait until nobody intercepts a flow. One that is killed meanwhile is not, but nobody is told."""
    while flow.intercepted:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_INTERVAL):
                await flow.wait_for_resume()


class Connection(Link):
    """A client."""

    __slots__ = (
        "_announced", "_coroutine", "_expired", "_running", "_stirred", "client", "lane", "phase", "server", "since",
        "unread",
    )  # fmt: skip

    def __init__(self, lane: "Lane") -> None:
        super().__init__()
        self.lane = lane
        self.phase = IDLE
        self.since = lane.now
        self.unread = False
        """The last request's body was not read to its end."""
        self._announced = self._expired = self._running = self._stirred = False
        self._coroutine: Coroutine[Any, None, None] | None = self._serve()

    # --- being driven ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.lane.connections.add(self)
        self.client = Client(
            peername=transport.get_extra_info("peername"),
            sockname=transport.get_extra_info("sockname"),
            timestamp_start=time.time(),
            proxy_mode=self.lane.mode,
            state=ConnectionState.OPEN,
        )
        self.server = Server(address=self.lane.address)
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            describe_tls(self.client, secured)
        if not self.lane.enabled or self.client.alpn == b"h2":
            # A coroutine of its own, as client_connected may have to be waited for.
            self._coroutine, unused = self._leave(), self._coroutine
            if unused is not None:
                unused.close()
            self.stir()

    def eof_received(self) -> bool:
        """Note that the client sends no more. It may still be waiting for answers."""
        super().eof_received()
        return not (self.lost or self.client.tls)  # TLS has no half that could stay open

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone."""
        self.client.state = ConnectionState.CLOSED
        self.client.timestamp_end = time.time()
        super().connection_lost(exc)
        self.lane.connections.discard(self)
        if self._announced:
            self._announced = False
            self.lane.announce("client_disconnected", self.client)

    def stir(self) -> None:
        """Go on as far as possible with what is known now."""
        if self._running:
            self._stirred = True
            return
        if self._coroutine is None:
            self.take()  # whatever still comes after the last answer
            if self.eof:
                self.transport.close()
            return
        self._running = True
        self.since = self.lane.now
        try:
            self._coroutine.send(None)
            while self._stirred:
                self._stirred = False
                self._coroutine.send(None)
        except StopIteration:
            self._end()
        except Exception:
            logger.exception("A connection in the fast lane has failed")
            self._end()
            self.transport.abort()
        finally:
            self._running = self._stirred = False

    def _end(self) -> None:
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            coroutine.close()

    def expire(self) -> None:
        """Give up waiting, because it took too long."""
        if self._coroutine is None:
            if self.phase is LINGER and self.transport.get_write_buffer_size():
                self.phase = CLIENT  # it is still reading: that may take longer
            else:
                self.transport.abort()
        else:
            self._expired = True
            self.stir()

    # --- waiting ---

    async def more(self, phase: Phase) -> None:
        """Wait until something happens. Raises ClientGone, or AppFailed if it is the app that takes too long."""
        self.phase = phase
        await pause()
        if self.lost:
            raise ClientGone
        if self._expired:
            self._expired = False
            if phase is APP:
                raise AppFailed(504, "The app did not answer in time.")
            raise ClientGone("The client took too long.", 408)

    async def finished[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run what waits for something else than bytes, to its end even if the client goes meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self.stir())
        self.phase = TASK
        while not task.done():
            await pause()
        self.phase = CLIENT  # for this one there is a limit, should it be the last
        try:
            return task.result()
        except asyncio.CancelledError:
            raise AppFailed(502, "What an add-on waited for was cancelled.") from None

    async def settle(self, waiting: Coroutine[Any, Any, None] | None, flow: "Flow") -> None:
        """Let a hook come to its end, and wait until nobody intercepts the flow any more."""
        if waiting is not None:
            await self.finished(waiting)
        if flow.intercepted:
            await self.finished(_resumed(flow))

    # --- one request after the other ---

    async def _serve(self) -> None:
        try:
            while (head := await self._head()) is not None:
                if not await Exchange(self, head).run():
                    break
                if self.data:
                    await self._give_way()
            else:
                return
        except Ended:
            self.data = b""  # between two requests: nobody is owed an answer
        self._finish()

    async def _give_way(self) -> None:
        """Let others have their turn: a client that sends its requests all at once must not keep the loop."""
        asyncio.get_running_loop().call_soon(self.stir)
        await self.more(IDLE)

    def _finish(self) -> None:
        """End after the last answer; if the client is still sending, let it come to its end first."""
        if self.lost or self.transport.is_closing():
            return
        if (self.unread or self.data) and not self.eof and self.transport.can_write_eof():
            self.phase = LINGER
            self.end_writing()
        else:
            self.transport.close()

    async def _head(self) -> RequestHead | None:
        """Wait for the next head. None: there will be none for this lane."""
        seen = 0
        while True:
            data = self.data
            head = read_request(data, seen) if len(data) > seen else INCOMPLETE
            if head is ODD:
                await self._leave()
                return None
            if isinstance(head, RequestHead):
                break
            if self.eof or self.lost or (self.lane.hurried and not data):
                self.close()
                return None
            seen = len(data)
            began = self.lane.now if self.phase is not HEAD else self.since
            await self.more(HEAD if data else IDLE)
            if self.phase is HEAD:
                self.since = began  # a head that comes in drops has no more time than another
        return head if await self._announce() else None

    async def _announce(self) -> bool:
        """Tell the add-ons of this client, once. False: one of them does not want it."""
        if not self._announced:
            self._announced = True
            waiting = self.lane.hooks.run("client_connected", self.client)
            if waiting is not None:
                await self.finished(waiting)
            if self.client.error:
                self.close()
        return not self.client.error

    async def _leave(self) -> None:
        """Go over to the full lane."""
        # Of a client whose TLS ends here, the full lane could not know: it is given the one that does.
        if not self.client.tls or (await self._announce() and not self.lost):
            self._hand_over()

    def _hand_over(self) -> None:
        """Leave the connection, with what was received and not answered, to mitmproxy's own stack."""
        self.lane.connections.discard(self)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        data = self.take()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if data:
            reader.feed_data(data)
        if self.eof:
            reader.feed_eof()
        writer = asyncio.StreamWriter(self.transport, protocol, reader, loop)
        client = self.client if self._announced else None
        self._announced = self.eof = False  # now it is the other lane that says goodbye
        self.lane.take_over(reader, writer, client)
