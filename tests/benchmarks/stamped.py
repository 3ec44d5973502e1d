"""A target whose requests are timed by the kernel, so that it does not matter how busy the target is.

``python -m tests.benchmarks.stamped PORT FOLDER`` serves until SIGTERM. Linux stamps what comes in over loopback while
the sender is still in its system call (`SO_TIMESTAMPNS`, socket(7)): a stamp says when a request was *sent*, to the
microsecond, and neither the target's queue nor its interpreter is in it. `resolution` measures by how much.

Every request gets the same small answer, at once or, while `delay_ns` is set, that much later: as a service that hangs
for a moment, and not one that is down. Answers of a connection stay in order.
"""

import array
import contextlib
import gc
import heapq
import mmap
import re
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.processes import Process, python

ANSWER = b'{"item": 4711, "name": "a blue bicycle", "price": 249.0, "currency": "EUR", "stock": 120, "rating": 4.375}\n'

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
_NUMBERED = re.compile(rb"GET /item/(\d+)[ ?]")
_UNNUMBERED = -1
_COUNT, _DELAY = 0, 1
_BOARD = 16
"""Bytes that both processes see: requests so far, and by how much to delay."""
_TIMESTAMP = 35
"""SO_TIMESTAMPNS, as the option and as the type of what comes with the data (asm-generic/socket.h, x86 and arm)."""


class Arrival(NamedTuple):
    """A request, when it was sent (unix ns), and the number in its path, or None."""

    at: int
    number: int | None


class Stamped:
    """A target in a process of its own. Ends with the ``with`` block; `arrivals` is there afterwards."""

    def __init__(self, folder: Path, prefix: Sequence[str], port: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        board = folder / "board"
        board.write_bytes(bytes(_BOARD))
        with board.open("r+b") as file:
            self._board = memoryview(mmap.mmap(file.fileno(), _BOARD)).cast("q")
        command = [*prefix, *python("-m", "tests.benchmarks.stamped", str(port), str(folder))]
        self.url = f"http://127.0.0.1:{port}"
        self.process = Process(command, folder / "stamped.out").ready(port)

    @property
    def count(self) -> int:
        """Requests so far."""
        return self._board[_COUNT]

    def delay(self, seconds: float) -> None:
        """Answer what arrives from now on so much later."""
        self._board[_DELAY] = round(seconds * 1e9)

    def arrivals(self) -> list[Arrival]:
        """End, and give all requests in the order in which they were sent."""
        self.process.stop()
        log = array.array("q", (self._folder / "arrivals").read_bytes())
        return sorted(Arrival(at, None if n == _UNNUMBERED else n) for at, n in zip(log[::2], log[1::2], strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)


def resolution(target: Stamped, count: int = 2000) -> list[int]:
    """By how many nanoseconds a stamp follows the begin of the system call that sends; sorted."""
    began = []
    port = int(target.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            request = b"GET /item/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number
            now = time.time_ns()
            client.sendall(request)
            began.append(now)
            client.recv(4096)
    return sorted(at - began[number] for at, number in target.arrivals() if number is not None)


class _Peer:
    """A connection, and what of a request has come so far."""

    __slots__ = ("free_ns", "part", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.part = b""
        self.free_ns = 0  # no answer goes out before this: one was promised for then


class _Server:
    def __init__(self, port: int, folder: Path) -> None:
        self._folder = folder
        with (folder / "board").open("r+b") as file:
            self._board = memoryview(mmap.mmap(file.fileno(), _BOARD)).cast("q")
        self._log = array.array("q")
        self._peers: dict[int, _Peer] = {}
        self._delayed: list[tuple[int, int, _Peer]] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)

    def serve(self) -> None:
        listener = self._listener.fileno()
        while True:
            wait = -1.0 if not self._delayed else max(0.0, (self._delayed[0][0] - time.monotonic_ns()) / 1e9)
            for number, _ in self._poll.poll(wait):
                if number == listener:
                    self._accept()
                else:
                    self._read(self._peers[number])
            while self._delayed and self._delayed[0][0] <= time.monotonic_ns():
                self._say(heapq.heappop(self._delayed)[2])

    def write(self) -> None:
        (self._folder / "arrivals").write_bytes(self._log.tobytes())

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers[accepted.fileno()] = _Peer(accepted)
                self._poll.register(accepted, select.EPOLLIN)

    def _read(self, peer: _Peer) -> None:
        try:
            data, control, _, _ = peer.socket.recvmsg(65_536, 64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self._peers[peer.socket.fileno()]
            self._poll.unregister(peer.socket)
            peer.socket.close()
            return
        seconds, rest = struct.unpack_from("qq", control[0][2])
        *heads, peer.part = (peer.part + data).split(b"\r\n\r\n")
        for head in heads:
            found = _NUMBERED.match(head)
            self._log.extend((seconds * 1_000_000_000 + rest, int(found[1]) if found else _UNNUMBERED))
            self._board[_COUNT] += 1
            delay = self._board[_DELAY]
            if delay or peer.free_ns:
                now = time.monotonic_ns()
                peer.free_ns = max(now + delay, peer.free_ns)
                heapq.heappush(self._delayed, (peer.free_ns, self._board[_COUNT], peer))
            else:
                self._say(peer)

    def _say(self, peer: _Peer) -> None:
        if peer.free_ns and peer.free_ns <= time.monotonic_ns():
            peer.free_ns = 0
        with contextlib.suppress(OSError):  # whoever left needs no answer
            peer.socket.send(_HEAD + ANSWER)


def main() -> None:
    """Serve until SIGTERM, then write down what came."""
    server = _Server(int(sys.argv[1]), Path(sys.argv[2]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    gc.disable()
    try:
        server.serve()
    finally:
        server.write()


if __name__ == "__main__":
    main()
