"""How much of a core the busiest of this process's threads uses, and of its children's (`lanes.fleet`). Edge: /proc.

An average over all cores would hide what holds a sender back: one thread that has no time left. Where others want the
same cores, it has none left long before it uses one up: what it waits for a core counts, too.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")


class Busiest(NamedTuple):
    """Shares of a time, each of the thread for which it is the greatest."""

    used: float
    """In which it had a core."""
    wanted: float
    """In which it had a core or waited for one; where that is not known, the same."""


class _Spent(NamedTuple):
    """Seconds of a thread."""

    used: float
    waited: float


_NOTHING = _Spent(0.0, 0.0)


class Cores:
    """Measures from one call of `busiest` to the next."""

    def __init__(self) -> None:
        self._before = _spent()
        self._at = time.monotonic()

    def busiest(self) -> Busiest:
        """Tell of the time since the last call."""
        spent, now = _spent(), time.monotonic()
        before, span = self._before, max(now - self._at, 1e-3)
        grown = [
            (used - before.get(thread, _NOTHING).used, waited - before.get(thread, _NOTHING).waited)
            for thread, (used, waited) in spent.items()
        ]
        self._before, self._at = spent, now
        most = max((used for used, _ in grown), default=0.0)
        wanted = max((used + waited for used, waited in grown), default=0.0)
        return Busiest(_share(most, span), _share(wanted, span))


def _share(seconds: float, span: float) -> float:
    return min(1.0, max(0.0, seconds / span))


def _spent() -> dict[str, _Spent]:
    """Give the seconds of every thread of this process and of its children."""
    found: dict[str, _Spent] = {}
    processes = [str(os.getpid())]
    for process in processes:
        for task in _listed(Path("/proc", process, "task")):
            # One that ended meanwhile must not hide the others: the next time they would seem to have done everything.
            with suppress(OSError):
                # The name in parentheses may hold blanks; user and system time are the 12th and 13th field after it.
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                found[task.name] = _Spent((int(fields[11]) + int(fields[12])) / _TICK, _waited(task))
            with suppress(OSError):  # not every kernel tells of children
                processes += (task / "children").read_text().split()
    return found or {"": _Spent(time.process_time(), 0.0)}


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process ended meanwhile, or there is no /proc here
        return []


def _waited(task: Path) -> float:
    """Give the seconds in which a thread could have run, and had no core (sched-stats of Linux); 0 if nobody counts."""
    try:
        return int((task / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
