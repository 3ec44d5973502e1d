"""What unpacking may cost: a few bytes of msgpack can stand for far more memory than they are. Pure."""

from collections.abc import Sequence
from typing import Any

import msgpack

MAX_ROW_ITEMS = 1 << 22
"""The most items that all arrays of a block of version 1 have together, whose records are arrays: one of a single item
takes 2 bytes, and 64 in memory."""


def first_length(data: bytes) -> int:
    """Give the length of the first msgpack object in `data` without making it.

    To be asked before anything is unpacked: room for an array is made when its head is read, so a thousand heads, each
    in the one before, take as many megabytes, and msgpack 1.1 never frees what it had begun when the rest is missing.
    Raises OutOfData if it is not whole, and ValueError for what is no msgpack.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(data)))
    unpacker.feed(data)
    unpacker.skip()
    length: int = unpacker.tell()
    return length


class Budget:
    """Hooks for msgpack's arrays and maps that let so many of them through and turn all further ones into None.

    They do not raise: msgpack 1.1 never frees what it has unpacked when a hook raises, so that each hostile block would
    cost its memory for good. Whoever unpacks has to `check` afterwards.
    """

    def __init__(self, items: int, maps: int = 0) -> None:
        self._items = items
        self._maps = maps

    def array(self, array: Sequence[Any]) -> Sequence[Any] | None:
        """Take one array."""
        self._items -= 1 + len(array)
        return array if self._items >= 0 else None

    def map(self, pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any] | None:
        """Take one map, an empty one too: msgpack's own bound lets those through."""
        self._maps -= 1
        return dict(pairs) if self._maps >= 0 else None

    def check(self) -> None:
        """Raise ValueError if it was overdrawn: then what was unpacked is not what was there."""
        if self._items < 0:
            raise ValueError("it has more items than the format allows")
        if self._maps < 0:
            raise ValueError("it has more maps than the format allows")
