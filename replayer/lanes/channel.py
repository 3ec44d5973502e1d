"""Messages between the process of a run and those that send for it: msgpack over a socket pair. Edge."""

import select
import socket
import time
from typing import Any

import msgpack

MAX_MESSAGE = 64 << 20
"""The most that is not yet unpacked. The other end is a process of ours; this is for mistakes."""

_CHUNK = 1 << 18


class Channel:
    """One end. `closed` once the other end is gone: then nothing more comes, and what is said is lost."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE, strict_map_key=False)
        self._unsent = bytearray()
        self.closed = False

    def fileno(self) -> int:
        """Give the descriptor to wait for."""
        return self._socket.fileno()

    def say(self, **message: Any) -> None:
        """Send a message, as far as the other end takes it; the rest goes with the next one."""
        self._unsent += msgpack.packb(message)
        self.flush()

    @property
    def unsent(self) -> bool:
        """Whether something waits for the other end to take it."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what could not be sent."""
        try:
            while self._unsent and not self.closed:
                del self._unsent[: self._socket.send(self._unsent[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True

    def heard(self) -> list[dict[str, Any]]:
        """Give the messages that are there."""
        try:
            while data := self._socket.recv(_CHUNK):
                self._unpacker.feed(data)
            self.closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return list(self._unpacker)

    def wait(self, until: float) -> bool:
        """Wait until something comes, or until a time of `time.monotonic`; tell whether something did."""
        left = max(0.0, until - time.monotonic())
        return bool(select.select([self._socket], [self._socket] if self._unsent else [], [], left)[0])

    def close(self) -> None:
        """Close it."""
        self.closed = True
        self._socket.close()
