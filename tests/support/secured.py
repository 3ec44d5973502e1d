"""The server's end of TLS by hand, so that a test can break it between any two bytes."""

import ssl
from collections.abc import Callable

from tests.support.origin import Connection


class Secured:
    """TLS over a connection of an origin; what is beneath it stays at hand in `raw`."""

    def __init__(self, raw: Connection, context: ssl.SSLContext) -> None:
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        await self._do(self._tls.do_handshake)

    async def request(self) -> bytes:
        """Wait for the head of a request. Raises EOFError if none comes."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self._do(lambda: self._tls.read(65536))
        return head

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self._do(lambda piece=piece: self._tls.write(piece))  # type: ignore[misc]

    async def goodbye(self) -> None:
        """Say that no more comes (close_notify)."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            await self._flush()

    async def _do[T](self, action: Callable[[], T]) -> T:
        while True:
            try:
                done = action()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self.raw.reader.read(65536)
                if not data:
                    raise EOFError from None
                self._incoming.write(data)
            except ssl.SSLError:
                await self._flush()  # the alert that tells why
                raise
            else:
                await self._flush()
                return done

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self.raw.say(data)
