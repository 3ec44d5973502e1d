"""A network that can be cut: a TCP relay between a client and a server on loopback."""

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class Relay:
    """Listens on `port` and passes bytes on until `cut` silences it: each connection to the next of `targets`.

    On the way there some words are `replaced` by others of their length, where one message has them whole.

    Silenced as by a pulled cable: connections stay open and nothing passes any more, in either direction. `sever` is
    a cut that both ends notice: connections are reset, and new ones are refused.
    """

    def __init__(self, *targets: int, replaced: Mapping[bytes, bytes] | None = None) -> None:
        self._targets = itertools.cycle(targets)
        self._replaced = replaced or {}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._cut = threading.Event()
        self._severed = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing pass any more."""
        self._cut.set()

    def sever(self) -> None:
        """Reset what is open, and whoever comes."""
        self._severed = True
        self._cut.set()
        for connection in self._open:
            _reset(connection)

    def mend(self) -> None:
        """Let new connections pass again; the old ones are lost."""
        self._severed = False
        self._cut.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if self._severed:
                    _reset(near)
                    continue
                self._open.append(near)
                if self._cut.is_set():
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", next(self._targets)))
                except OSError:  # nobody is there at the moment
                    _reset(near)
                    continue
                self._open.append(far)
                for way in ((near, far, self._replaced), (far, near, {})):
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, replaced: Mapping[bytes, bytes]) -> None:
        lost = False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                lost = lost or self._cut.is_set()
                for word, other in replaced.items():
                    data = data.replace(word, other)
                if not lost:
                    sink.sendall(data)
            if not lost:
                sink.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    """End with RST, whether or not another thread reads from it."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
