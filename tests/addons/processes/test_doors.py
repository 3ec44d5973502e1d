"""Whose doors a worker opens, and which it gives up."""

import asyncio
import os
import socket

from addons.processes.doors import Doors


async def _serve(one: socket.socket) -> asyncio.Server:
    return await asyncio.start_server(lambda *_: None, sock=one)


def _inherited() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return os.dup(one.fileno())


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def test_without_a_supervisor_the_posts_of_others_are_given_up() -> None:
    mine, covered, other = (_inherited() for _ in range(3))
    doors = Doors([[mine], [covered], [other]], 0)
    doors.prepare(_serve)
    await doors.attend([0, 1])
    doors.forget_others()
    assert [_is_open(one) for one in (mine, covered, other)] == [True, True, False]
    assert len(doors.sockets) == 2
    await doors.attend([0, 2])  # nothing is left to open there
    assert len(doors.sockets) == 1
    doors.close()
    assert not _is_open(mine)
