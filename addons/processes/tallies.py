"""Named counters in shared memory: aides count, and the supervisor reads, also when they have died.

Each process counts in a row of its own, so that no two of them ever change the same counter; what is read are sums.
"""

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from addons.shared import Inherited, anonymous

ROWS = 8
"""Processes that may count at the same time: a retiring one, its successor, and some to spare."""


class Tallies(Inherited, Mapping[str, int]):
    """Counters by name. All ends name the same ones, in the same order."""

    def __init__(self, names: Iterable[str], fd: int, row: int = 0) -> None:
        """Open what `create` has made, to count in `row`. Raises ValueError if these are other counters."""
        self._places = {name: at for at, name in enumerate(names)}
        if os.fstat(fd).st_size != _size(len(self._places)):
            raise ValueError("these are other counters")
        super().__init__(fd)
        self._cells = memoryview(mmap.mmap(fd, _size(len(self._places)))).cast("q")
        self._mine = row % ROWS * len(self._places)

    @classmethod
    def create(cls, names: Iterable[str]) -> Self:
        """Make counters at zero. The memory goes when the last process that uses it ends."""
        listed = list(names)
        fd = anonymous("reamp-tallies")
        os.ftruncate(fd, _size(len(listed)))
        return cls(listed, fd)

    def add(self, name: str, count: int = 1) -> None:
        """Count up."""
        self._cells[self._mine + self._places[name]] += count

    def __getitem__(self, name: str) -> int:
        at, step = self._places[name], len(self._places)
        return sum(self._cells[row * step + at] for row in range(ROWS))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _size(names: int) -> int:
    return max(1, names * ROWS) * 8
