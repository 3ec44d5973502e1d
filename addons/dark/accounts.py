"""Where every real request went, as far as dark copies are concerned; in memory that all processes share.

    seen = not copied (`NOT_COPIED`) + being answered + handed over
    handed over = waiting in the socket + in flight + what became of it (`OUTCOMES`)

exactly, at every moment: what is *being answered*, *waiting* and *in flight* is the difference of two counts, and of a
process that has died it counts as unanswered, or as lost. Each worker and each aide counts in a row of its own. The one
thing this can't tell: an aide that is killed in the microsecond between taking a copy and counting it leaves that one
in `waiting`.
"""

import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from addons.books import BOUNDS
from addons.dark.comparison import Aspect
from addons.processes.tallies import ROWS
from addons.shared import Inherited, anonymous
from rules.latency import CELLS, longest, place

NOT_COPIED = ("excluded", "sampled_out", "unanswered", "too_long", "stopped", "shed")
"""Counted by workers. Excluded: the method is not allowed, or it asks for an upgrade. Stopped: by a lever, or because
nobody watches over the workers. Shed: the socket was full."""

OUTCOMES = ("stale", "recalled", "unsendable", "1xx", "2xx", "3xx", "4xx", "5xx", "timeout", "failed", "lost")
"""Counted by aides. Stale: had waited for too long. Recalled: a lever was pulled while it waited. Unsendable: no client
can send it. Failed: not, or not wholly answered. Lost: an aide died that had it."""

SENT = ("1xx", "2xx", "3xx", "4xx", "5xx", "timeout", "failed")
"""Those that the dark service may have seen."""

_WORKER = ("pid", "seen", *NOT_COPIED, "handed")
_AIDE = ("pid", "taken", *OUTCOMES, "bytes", *(f"{how} {aspect}" for aspect in Aspect for how in ("same", "different")))
_SIDES = ("real", "dark")
_TIMES = len(BOUNDS) + 1 + 1 + CELLS
"""For each side: the counts up to each bound, the sum in nanoseconds, the histogram."""
_AIDE_CELLS = len(_AIDE) + len(_SIDES) * _TIMES
_WORKER_CELLS = 16
"""128 bytes: no two workers write into one line of the processor's cache."""
_ENGAGED, _SHARE, _HEAD = 0, 1, 16
_CELL = 8

SEEN, EXCLUDED, SAMPLED_OUT, UNANSWERED, TOO_LONG, STOPPED, SHED, HANDED = range(1, len(_WORKER))
"""Places in a worker's row, for the hot path."""


class Times(NamedTuple):
    """How long answers took, of one side."""

    counts: list[int]
    """Up to each of `books.BOUNDS`, and longer."""
    seconds: float
    """Of all together."""
    latency: list[int]
    """Cells of `rules.latency`."""

    def percentile(self, point: float) -> float | None:
        """Give a percentile in seconds; None without any."""
        total = sum(self.latency)
        if not total:
            return None
        wanted, below = point / 100 * total, 0
        for cell, count in enumerate(self.latency):
            below += count
            if count and below >= wanted:
                return longest(cell)
        return longest(CELLS - 1)


class Sums(NamedTuple):
    """All rows together."""

    seen: int
    outcomes: dict[str, int]
    """`NOT_COPIED` and `OUTCOMES`."""
    answering: int
    waiting: int
    in_flight: int
    size: int
    """Bytes of the bodies that were sent back and thrown away."""
    compared: dict[str, tuple[int, int]]
    """By aspect: the same, different."""
    times: dict[str, Times]
    """By side: ``real`` and ``dark``, of the copies that were answered."""


class Accounts(Inherited):
    """The accounts of one sidecar: `create` them, and hand the descriptor on to who is to `attach` them."""

    def __init__(self, fd: int) -> None:
        """Open them. Raises ValueError if that is something else."""
        size = os.fstat(fd).st_size
        self._workers, rest = divmod(size // _CELL - _HEAD - ROWS * _AIDE_CELLS, _WORKER_CELLS)
        if self._workers < 1 or rest or size % _CELL:
            raise ValueError("these are no accounts of dark copies")
        super().__init__(fd)
        self._cells = memoryview(mmap.mmap(fd, size)).cast("q")

    @classmethod
    def create(cls, workers: int) -> Self:
        """Make them, with that many rows for workers. The memory goes when the last process that uses it ends."""
        fd = anonymous("reamp-dark")
        os.ftruncate(fd, (_HEAD + workers * _WORKER_CELLS + ROWS * _AIDE_CELLS) * _CELL)
        return cls(fd)

    @property
    def engaged(self) -> bool:
        """Whether the lever of the dark copies is pulled."""
        return bool(self._cells[_ENGAGED])

    @engaged.setter
    def engaged(self, engaged: bool) -> None:
        self._cells[_ENGAGED] = engaged

    @property
    def share(self) -> int:
        """The share of requests that workers copy, in millionths, as the last one that began has it."""
        return self._cells[_SHARE]

    @share.setter
    def share(self, share: int) -> None:
        self._cells[_SHARE] = share

    def worker(self, row: int) -> "memoryview[int]":
        """Take a worker's row over, and close the accounts of who had it before."""
        cells = self._worker(row)
        cells[UNANSWERED] += _underway(cells)
        cells[0] = os.getpid()
        return cells

    def aide(self, row: int) -> "AideRow":
        """Take an aide's row over, and close the accounts of who had it before."""
        cells = self._aide(row)
        cells[_AIDE.index("lost")] += _in_flight(cells)
        cells[0] = os.getpid()
        return AideRow(cells)

    def _worker(self, row: int) -> "memoryview[int]":
        at = _HEAD + row * _WORKER_CELLS
        return self._cells[at : at + _WORKER_CELLS]

    def _aide(self, row: int) -> "memoryview[int]":
        at = _HEAD + self._workers * _WORKER_CELLS + row % ROWS * _AIDE_CELLS
        return self._cells[at : at + _AIDE_CELLS]

    def sums(self, alive: Callable[[int], bool]) -> Sums:
        """Add all rows up. `alive` tells whether a process is."""
        outcomes = dict.fromkeys((*NOT_COPIED, *OUTCOMES), 0)
        flying = taken = handed = answering = seen = size = 0
        compared = {aspect.value: (0, 0) for aspect in Aspect}
        times = {side: Times([0] * (len(BOUNDS) + 1), 0.0, [0] * CELLS) for side in _SIDES}
        # What comes last on the way is read first: so nothing is found at two places, and no difference is negative.
        for row in range(ROWS):
            cells = self._aide(row)
            if not cells[0]:
                continue
            ended = list(cells[2 : 2 + len(OUTCOMES)])
            begun = cells[1]
            flying, outcomes["lost"] = _part(begun - sum(ended), alive(cells[0]), flying, outcomes["lost"])
            taken += begun
            for outcome, count in zip(OUTCOMES, ended, strict=True):
                outcomes[outcome] += count
            named = dict(zip(_AIDE, cells, strict=False))
            size += named["bytes"]
            for aspect, (same, different) in compared.items():
                compared[aspect] = same + named[f"same {aspect}"], different + named[f"different {aspect}"]
            for number, side in enumerate(_SIDES):
                times[side] = _added(times[side], cells, len(_AIDE) + number * _TIMES)
        for row in range(self._workers):
            cells = self._worker(row)
            if not cells[0]:
                continue
            done = list(cells[EXCLUDED : HANDED + 1])
            came = cells[SEEN]
            seen, handed = seen + came, handed + done[-1]
            for outcome, count in zip(NOT_COPIED, done, strict=False):
                outcomes[outcome] += count
            answering, outcomes["unanswered"] = _part(
                came - sum(done), alive(cells[0]), answering, outcomes["unanswered"]
            )
        return Sums(seen, outcomes, answering, max(0, handed - taken), flying, size, compared, times)


class AideRow:
    """What one aide counts."""

    def __init__(self, cells: "memoryview[int]") -> None:
        self._cells = cells
        self._places = {name: at for at, name in enumerate(_AIDE)}

    def count(self, name: str, by: int = 1) -> None:
        """Count up."""
        self._cells[self._places[name]] += by

    def took(self, side: str, seconds: float) -> None:
        """Count how long an answer took."""
        begin = len(_AIDE) + _SIDES.index(side) * _TIMES
        self._cells[begin + bisect_left(BOUNDS, seconds)] += 1
        self._cells[begin + len(BOUNDS) + 1] += int(seconds * 1e9)
        self._cells[begin + len(BOUNDS) + 2 + place(seconds)] += 1


def running(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _underway(cells: "memoryview[int]") -> int:
    done = sum(cells[EXCLUDED : HANDED + 1])  # read before what was seen, so that it is never more
    return max(0, cells[SEEN] - done)


def _in_flight(cells: "memoryview[int]") -> int:
    done = sum(cells[2 : 2 + len(OUTCOMES)])
    return max(0, cells[1] - done)


def _part(underway: int, alive: bool, living: int, dead: int) -> tuple[int, int]:
    return (living + underway, dead) if alive else (living, dead + underway)


def _added(times: Times, cells: "memoryview[int]", begin: int) -> Times:
    def more(before: Sequence[int], at: int) -> list[int]:
        return [one + other for one, other in zip(before, cells[at : at + len(before)], strict=True)]

    bounds = len(BOUNDS) + 1
    seconds = times.seconds + cells[begin + bounds] / 1e9
    return Times(more(times.counts, begin), seconds, more(times.latency, begin + bounds + 1))
