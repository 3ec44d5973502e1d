"""The sockets that one worker accepts on, out of all those that it inherited. To mitmproxy they are one server."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

Serve = Callable[[socket.socket], Awaitable[asyncio.Server]]


class Doors:
    """Opens and closes the doors of posts. Inherited descriptors stay open, so that a door can be opened again."""

    def __init__(self, posts: Sequence[Sequence[int]], mine: int) -> None:
        self._posts = posts
        self._mine = mine
        self._serve: Serve | None = None
        self._servers: dict[int, list[asyncio.Server]] = {}
        self._closed = False

    @property
    def sockets(self) -> list[socket.socket]:
        """List what is listened on."""
        return [socket for servers in self._servers.values() for server in servers for socket in server.sockets]

    def prepare(self, serve: Serve) -> None:
        """Note how to `serve`: it starts a server on a socket, and has it listen."""
        self._serve = serve

    async def open(self) -> None:
        """Begin to accept at the own post. Others wait there already, so everything has to be ready for them."""
        await self.attend([self._mine])

    async def attend(self, posts: Sequence[int]) -> None:
        """Accept at these posts and no others. Once closed, nothing opens any more."""
        if self._serve is None or self._closed:
            return
        for post in self._servers.keys() - set(posts):
            for server in self._servers.pop(post):
                server.close()
        for post in set(posts) - self._servers.keys():
            for descriptor in self._posts[post]:
                server = await self._serve(_duplicate(descriptor))
                self._servers.setdefault(post, []).append(server)
                if self._is_closed():  # meanwhile
                    server.close()
                    return

    def _is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Accept nothing more. What others accept on the same sockets is up to them."""
        self._closed = True
        for servers in self._servers.values():
            for server in servers:
                server.close()
        self._servers.clear()
        for descriptors in self._posts:
            for descriptor in descriptors:
                os.close(descriptor)
        self._posts = ()


def _duplicate(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))
