"""Servers of other people's making on loopback, for as long as a block lasts. Both give the port."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from socketserver import TCPServer
from typing import Any, Literal

import uvicorn


@contextmanager
def in_thread(server: TCPServer) -> Iterator[int]:
    """Run one of the standard library's kind in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def by_uvicorn(app: Any, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[int]:
    """Serve an ASGI app in this event loop."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan=lifespan))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), "the server did not start"
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
