"""A dark service that fares as it is told: ``python -m tests.benchmarks.darkservice PORT well|slow|failing|hanging``.

It costs next to nothing, for it shares the machine with what is measured.
"""

import asyncio
import sys
from typing import cast

import uvloop

SLOW = 1.0
"""Seconds that it takes for an answer when it is slow."""


def _answer(status: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: 120\r\n\r\n" % status + b"x" * 120


class _Service(asyncio.Protocol):
    """Answers each head that ends. Copies in this benchmark have no bodies."""

    def __init__(self, mode: str) -> None:
        self._mode, self._rest = mode, b""
        self._said = _answer(b"500 Oops" if mode == "failing" else b"200 OK")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if self._mode == "hanging":
            return
        for _ in heads:
            if self._mode == "slow":
                asyncio.get_running_loop().call_later(SLOW, self._say)
            else:
                self._say()

    def _say(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._said)


async def _main(port: int, mode: str) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Service(mode), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))
