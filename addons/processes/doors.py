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

    def forget_others(self) -> None:
        """Give up the posts where nothing is accepted here, for good.

        As long as one process has a socket open, the kernel takes in users there. With nobody left to say who takes
        over a post, one whose worker dies has to close.
        """
        for post, descriptors in enumerate(self._posts):
            if post not in self._servers:
                _close(descriptors)
        self._posts = [one if post in self._servers else () for post, one in enumerate(self._posts)]

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
            _close(descriptors)
        self._posts = ()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _duplicate(descriptor: int) -> socket.socket:
    return socket.socket(fileno=os.dup(descriptor))
