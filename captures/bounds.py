"""What unpacking may cost: a few bytes of msgpack can stand for far more memory than they are. Pure."""

from collections.abc import Callable
from typing import Any

MAX_ITEMS = 1 << 20
"""The most items that all arrays of a block have together: an array of one item takes 2 bytes, and 64 in memory. Some
twenty times what our writers put into a block at most."""

MAX_ROW_ITEMS = 1 << 22
"""The same for blocks of version 1, whose records are arrays themselves."""


def at_most(items: int) -> Callable[[Any], Any]:
    """Make a hook for msgpack's arrays that raises ValueError when they have more than so many items in all."""
    left = items

    def counted(array: Any) -> Any:
        nonlocal left
        left -= 1 + len(array)
        if left < 0:
            raise ValueError("more items than the format allows")
        return array

    return counted


def no_maps(_pairs: Any) -> Any:
    """Refuse all maps, also empty ones: msgpack's own bound lets those through. Raises ValueError."""
    raise ValueError("a map, where none belongs")


def few_maps(most: int) -> Callable[[Any], dict[Any, Any]]:
    """Make a hook for msgpack's maps that raises ValueError when there are more than so many."""
    left = most

    def counted(pairs: Any) -> dict[Any, Any]:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("more maps than the format allows")
        return dict(pairs)

    return counted
