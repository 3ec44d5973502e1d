"""One end of the lane: the bytes that came in, and whether more can go out. No HTTP in here."""

import asyncio
import contextlib
import types
from collections.abc import Generator
from typing import cast

READ_AHEAD = 256 * 1024
"""Bytes that may wait to be read here before the peer is left waiting: what makes a fast sender keep a slow reader's
pace."""


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Wait until something happens at one of a connection's ends."""
    yield


class Link(asyncio.Protocol):
    """A TCP connection whose events only change what is known and stir whoever waits.

    Whoever waits looks again at what is known, so being stirred once too often does no harm.
    """

    __slots__ = ("_held", "broken", "data", "eof", "full", "lost", "transport")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.data = b""
        """Received, and not yet taken."""
        self.eof = False
        """The peer sends no more."""
        self.lost = False
        """The connection is gone."""
        self.broken = False
        """It has not come to its end, but was reset or the like."""
        self.full = False
        """The peer does not read as fast as it is sent to."""
        self._held = False

    def stir(self) -> None:
        """Wake up whoever waits for this link."""
        raise NotImplementedError

    def take(self) -> bytes:
        """Take all that was received."""
        data, self.data = self.data, b""
        if self._held:
            self._held = False
            self.transport.resume_reading()
        return data

    def keep(self, data: bytes) -> None:
        """Put back what was taken and not used."""
        self.data = data + self.data if self.data else data
        if len(self.data) > READ_AHEAD:
            self._hold()  # or each request of a pipeline would let in more than it takes out

    def _hold(self) -> None:
        """Let the peer wait."""
        if not self._held and not self.eof:
            self._held = True
            self.transport.pause_reading()

    def end_writing(self) -> None:
        """Tell the peer that no more will come."""
        with contextlib.suppress(OSError, RuntimeError):  # it has gone, and nobody has told us yet
            self.transport.write_eof()

    def close(self) -> None:
        """Send what is still to be sent, then end."""
        self.transport.close()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came; let the peer wait when that is too much."""
        self.data = self.data + data if self.data else data
        if len(self.data) > READ_AHEAD:
            self._hold()
        self.stir()

    def eof_received(self) -> bool:
        """Note that nothing more will come. False: the connection ends."""
        self.eof = True
        self.stir()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self.eof = self.lost = True
        self.broken = exc is not None
        self.full = False
        self.stir()

    def pause_writing(self) -> None:
        """Note that the peer does not keep up."""
        self.full = True

    def resume_writing(self) -> None:
        """Note that the peer keeps up again."""
        self.full = False
        self.stir()
