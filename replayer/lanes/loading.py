"""Hands requests to the native sender, by the batch. Edge: calls into the library."""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from ctypes import c_uint8
from typing import Any, NamedTuple, Self

from captures.errors import CaptureError
from replayer.requests.encoding import Request

HEAD, SAFE_TO_REPEAT = 1, 2
"""Flags of a request, as the library knows them."""

_NOTHING = (-1, 0, 0, 0)
"""What stands for a request of which no recording tells anything: status, size, duration, time to the first byte."""


class Batch(NamedTuple):
    """Requests, as the library takes them: a column for each of what it needs to know, and their bytes."""

    dues: "array[int]"
    befores: "array[int]"
    afters: "array[int]"
    routes: "array[int]"
    flags: bytearray
    recorded: "array[int]"
    content: bytes

    @classmethod
    def of(cls, requests: Sequence[tuple[int, Request]]) -> Self:
        """Make one of requests, each with when it is due, in that order."""
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
        return cls(dues, befores, afters, routes, flags, recorded, b"".join(pieces))

    def packed(self) -> list[bytes]:
        """Give it as bytes, for another process on this machine."""
        return [*(bytes(column) for column in self[:-1]), self.content]

    @classmethod
    def unpacked(cls, columns: Sequence[bytes]) -> Self:
        """Make one of what `packed` gave."""
        dues, befores, afters, routes, flags, recorded, content = columns
        numbers = (
            array(kind, column) for kind, column in zip("qIIHq", (dues, befores, afters, routes, recorded), strict=True)
        )
        due, before, after, route, then = numbers
        return cls(due, before, after, route, bytearray(flags), then, content)


class Loader:
    """Loads into one sender. Raises CaptureError if there is no memory for more."""

    def __init__(
        self, code: Any, sender: Any, before: Callable[[], None] = lambda: None, rest: Callable[[], None] = lambda: None
    ) -> None:
        """`before` is called before requests are handed over: they may have been read for long.

        `rest` is for who makes them to call between two steps of that.
        """
        self._code = code
        self._sender = sender
        self._before = before
        self.rest = rest
        self.count = 0
        """Requests loaded so far."""

    def load(self, requests: Sequence[tuple[int, Request]]) -> None:
        """Load requests, each with when it is due, in that order."""
        self.take(Batch.of(requests))

    def take(self, batch: Batch) -> None:
        """Load a batch."""
        dues, befores, afters, routes, flags, recorded, content = batch
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


class Batches(ABC):
    """Stands for the demand and the stock of a lane where requests are not taken one by one, but load themselves."""

    pending = 0
    """What is not due yet is not wanted yet."""
    low = False

    def __init__(self) -> None:
        self.wanted = 0
        """Requests loaded so far."""

    @abstractmethod
    def load(self, loader: Loader, until_ns: int) -> bool:
        """Load some of what is due until then; False: there is no more of that. Raises CaptureError."""

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether everything was loaded."""
