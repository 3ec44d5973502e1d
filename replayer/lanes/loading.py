"""Hands requests to the native sender, by the batch. Edge: calls into the library."""

from array import array
from collections.abc import Callable, Sequence
from ctypes import c_uint8
from typing import Any

from captures.errors import CaptureError
from replayer.encoding import Request

HEAD, SAFE_TO_REPEAT = 1, 2
"""Flags of a request, as the library knows them."""

_NOTHING = (-1, 0, 0, 0)
"""What stands for a request of which no recording tells anything: status, size, duration, time to the first byte."""


class Loader:
    """Loads into one sender. Raises CaptureError if there is no memory for more."""

    def __init__(self, code: Any, sender: Any, before: Callable[[], None] = lambda: None) -> None:
        """`before` is called before requests are handed over: they may have been read for long."""
        self._code = code
        self._sender = sender
        self._before = before
        self.count = 0
        """Requests loaded so far."""

    def load(self, requests: Sequence[tuple[int, Request]]) -> None:
        """Load requests, each with when it is due, in that order."""
        dues, befores, afters, routes, flags = array("q"), array("I"), array("I"), array("H"), bytearray()
        recorded = array("q")
        pieces: list[bytes] = []
        for due, request in requests:
            prefix, tail = request.prefix, request.tail
            dues.append(due)
            befores.append(len(prefix))
            afters.append(len(tail))
            routes.append(request.route)
            flags.append(HEAD * request.head + SAFE_TO_REPEAT * request.safe)
            pieces += (prefix, tail)
            if (then := request.recorded) is None:
                recorded.extend(_NOTHING)
            else:
                recorded.extend((then[0], then[1], max(0, then[3]) // 1000, max(0, then[2]) // 1000))
        content = b"".join(pieces)
        columns = [column.buffer_info()[0] for column in (dues, befores, afters, routes)]
        flagged = (c_uint8 * len(flags)).from_buffer(flags)
        self._before()
        self._take(
            self._code.sender_load(
                self._sender, len(dues), *columns, flagged, recorded.buffer_info()[0], content, len(content)
            ),
            len(dues),
        )

    def push(self, make: Callable[..., int], places: int, count: int, shift_ns: int) -> None:
        """Let the library make a batch, of `count` records at `places`."""
        self._before()
        self._take(make(self._sender, places, count, shift_ns), count)

    def _take(self, done: int, count: int) -> None:
        if not done:
            raise CaptureError("there is no memory to load requests")
        self.count += count
