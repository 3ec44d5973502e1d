"""How much of a core the busiest of this process's threads uses, and of its children's (`lanes.fleet`). Edge: /proc.

An average over all cores would hide what holds a sender back: one thread that has no time left.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


class Cores:
    """Measures from one call of `busiest` to the next."""

    def __init__(self) -> None:
        self._before = _used()
        self._at = time.monotonic()

    def busiest(self) -> float:
        """Give the share of a core that the busiest thread used since the last call."""
        used, now = _used(), time.monotonic()
        most = max((seconds - self._before.get(thread, 0.0) for thread, seconds in used.items()), default=0.0)
        share = most / max(now - self._at, 1e-3)
        self._before, self._at = used, now
        return min(1.0, max(0.0, share))


def _used() -> dict[str, float]:
    """Give the CPU seconds of every thread of this process and of its children."""
    found: dict[str, float] = {}
    processes = [str(os.getpid())]
    for process in processes:
        for task in _listed(Path("/proc", process, "task")):
            # One that ended meanwhile must not hide the others: the next time they would seem to have done everything.
            with suppress(OSError):
                # The name in parentheses may hold blanks; user and system time are the 12th and 13th field after it.
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                found[task.name] = (int(fields[11]) + int(fields[12])) / _TICK
            with suppress(OSError):  # not every kernel tells of children
                processes += (task / "children").read_text().split()
    return found or {"": time.process_time()}


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process ended meanwhile, or there is no /proc here
        return []
