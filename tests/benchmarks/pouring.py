"""A sender that asks nobody: tagged requests at a rate, or as fast as they are answered; real ones earn the credit.

``python -m tests.benchmarks.pouring PORT RATE REAL CONNECTIONS TAG`` sends until SIGTERM, with this load tag. It takes
no grants, so that what stops it is the guard and nothing else. Tagged requests are ``GET /item/N`` with N counted,
real ones ``GET /real``. RATE 0: on every connection the next one as soon as one is answered.
"""

import gc
import re
import select
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import Process, python

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Pour(NamedTuple):
    """What to send: requests a second (0: as fast as it goes), and the connections to do it on."""

    rate: float
    connections: int
    real: float


class _Line:
    """A connection."""

    __slots__ = ("part", "socket", "tagged")

    def __init__(self, port: int, tagged: bool) -> None:
        self.tagged, self.part = tagged, b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)


class _Source:
    def __init__(self, port: int, pour: Pour, token: str) -> None:
        self._port, self._pour = port, pour
        self._tail = (
            f" HTTP/1.1\r\nHost: shop.example\r\nbaggage: loadtest={token}\r\nx-load-test: bench\r\n\r\n".encode()
        )
        self._real = b"GET /real HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        self._number = 0
        self._poll = select.epoll()
        self._lines: dict[int, _Line] = {}
        self._idle: dict[bool, deque[_Line]] = {True: deque(), False: deque()}
        for tagged, many in ((True, pour.connections), (False, 8)):
            for _ in range(many):
                self._open(tagged)

    def _open(self, tagged: bool) -> None:
        line = _Line(self._port, tagged)
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket, select.EPOLLIN)
        self._idle[tagged].append(line)

    def run(self) -> None:
        """Send, for ever."""
        rate, real = self._pour.rate, self._pour.real
        began = time.monotonic()
        sent = {True: 0, False: 0}
        while True:
            passed = time.monotonic() - began
            for tagged, wanted in ((True, rate), (False, real)):
                idle = self._idle[tagged]
                due = len(idle) if tagged and not rate else int(passed * wanted) - sent[tagged]
                for _ in range(due):
                    if not idle:
                        break
                    self._send(idle.popleft())
                # What could not be sent when it was due is not made up for.
                sent[tagged] += max(0, due)
            for number, _ in self._poll.poll(0.0005 if rate else 0.005):
                self._read(self._lines[number])

    def _send(self, line: _Line) -> None:
        try:
            if line.tagged:
                self._number += 1
                line.socket.send(b"GET /item/%d%b" % (self._number, self._tail))
            else:
                line.socket.send(self._real)
        except OSError:
            self._renew(line)

    def _read(self, line: _Line) -> None:
        try:
            data = line.socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._renew(line)
            return
        line.part += data
        end = line.part.find(b"\r\n\r\n")
        found = _LENGTH.search(line.part, 0, end) if end >= 0 else None
        if found and len(line.part) >= end + 4 + int(found[1]):
            line.part = b""
            self._idle[line.tagged].append(line)

    def _renew(self, line: _Line) -> None:
        del self._lines[line.socket.fileno()]
        self._poll.unregister(line.socket)
        line.socket.close()
        self._open(line.tagged)


def pouring(port: int, pour: Pour, token: str, log: Path) -> Process:
    """Start it."""
    arguments = [str(port), str(pour.rate), str(pour.real), str(pour.connections), token]
    return Process(python("-m", "tests.benchmarks.pouring", *arguments), log)


def main() -> None:
    """Send until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    gc.disable()
    port, rate, real, connections, token = sys.argv[1:]
    _Source(int(port), Pour(float(rate), int(connections), float(real)), token).run()


if __name__ == "__main__":
    main()
