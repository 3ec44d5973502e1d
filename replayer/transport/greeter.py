"""The first thing on every new connection: finds out what is spoken on it, and gives it to who speaks that."""

import asyncio
from typing import cast

from replayer.transport import http1, http2
from replayer.transport.carrier import Carrier, Owner
from replayer.transport.failures import UnusableError

type _Spoken = http1.Connection | http2.Connection


class Greeter(asyncio.Protocol):
    """One new connection. `up` is done once it can carry requests, with an UnusableError if it never will."""

    def __init__(self, pool: Owner, up: asyncio.Future[None]) -> None:
        self.carrier: Carrier | None = None
        self._pool = pool
        self._up = up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over (with TLS, this comes after the handshake, and so after ALPN)."""
        target = self._pool.target
        over_tls = transport.get_extra_info("ssl_object")
        agreed = None if over_tls is None else over_tls.selected_alpn_protocol()
        if target.http2 == "always" and over_tls is not None and agreed != "h2":
            if not self._up.done():
                self._up.set_exception(
                    UnusableError("alpn", f"--http2 was demanded; the target agreed to {agreed or 'no protocol'}")
                )
            cast("asyncio.Transport", transport).abort()
            return
        speaks_2 = agreed == "h2" or (target.http2 == "always" and over_tls is None)
        connection: _Spoken = (http2.Connection if speaks_2 else http1.Connection)(self._pool, self._up)
        self.carrier = connection
        cast("asyncio.Transport", transport).set_protocol(connection)
        connection.connection_made(transport)
