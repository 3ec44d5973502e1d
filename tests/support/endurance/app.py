"""The app: ``python -m tests.support.endurance.app PORT JOURNAL``.

Before it answers what must not be executed twice, it has written that down, so that not even a kill can make it forget.
"""

import asyncio
import os
import sys
import zlib
from typing import cast

import httptools
import uvloop

from tests.support.endurance.wording import answer

_PIECE = 20_000


class _Connection(asyncio.Protocol):
    def __init__(self, journal: int) -> None:
        self._journal = journal
        self._parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target = b""
        self._checksum = self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not descend from it

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            os.write(self._journal, b"malformed %b\n" % data[:200].hex().encode())
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        self._checksum = zlib.crc32(body, self._checksum)

    def on_message_complete(self) -> None:
        number, _, wanted = self._target[1:].partition(b"?")
        if self._parser.get_method() == b"POST":
            os.write(self._journal, number + b"\n")
        body = answer(int(number), self._received, self._checksum, int(wanted.removesuffix(b"c")))
        if wanted.endswith(b"c"):
            pieces = [body[at : at + _PIECE] for at in range(0, len(body), _PIECE)]
            framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            self._transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n")
        else:
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        self._begin()


async def _serve(port: int, path: str) -> None:
    journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(journal), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
