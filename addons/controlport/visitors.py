"""Connections to the control port: how many there may be, and in what time and how briefly they have to ask.

Those from other machines are bounded more tightly, so that nobody there can keep this machine's own from the lever.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from addons.controlport.access import is_loopback

MAX_CONNECTIONS = 256
"""Connections at once. What is more is answered with 503 or closed: it must not take the descriptors that the owner
needs."""

RESERVED = 32
"""More of them for this machine alone."""

FIRST_WORD = 10.0
"""Seconds from a connection's beginning to the end of its first request's headers, and from the beginning of any other
request to the end of its own."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""


class Visitor(HttpToolsProtocol):
    """One connection."""

    _heard = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it in, unless there are too many from elsewhere."""
        super().connection_made(transport)
        near = self.client is not None and is_loopback(self.client[0])
        self.limit_concurrency = MAX_CONNECTIONS + RESERVED if near else MAX_CONNECTIONS
        if len(self.connections) > self.limit_concurrency:
            transport.abort()
            return
        self._deadline = self.loop.call_later(FIRST_WORD, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._in_time()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._heard = 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(FIRST_WORD, self.transport.abort)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_time()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._heard += size
        if self._heard > MAX_HEAD:
            raise ValueError("too long")  # the parser gives up, and the answer is 400

    def _in_time(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
