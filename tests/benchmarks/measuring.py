"""What a process costs and what it achieves, measured from outside and over the same window for everyone.

A tool's own figures count from its own idea of the start, and its whole process time includes starting an interpreter.
Here the window opens once the tool has warmed up: requests are those that the *target* counted, CPU time is what the
kernel charged to the tool's process tree.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.target import Nginx
from tests.support.processes import Process

_TICKS = os.sysconf("SC_CLK_TCK")


class Cores(NamedTuple):
    """Where things run, so that what is measured has a core of its own."""

    measured: int
    other: int


def cores() -> Cores:
    """One core for what is measured, another for the rest; the same one if there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """A command line that stays on one core, with all its threads and children."""
    return ["taskset", "-c", str(core), *command]


class Narrowed(NamedTuple):
    """What of a benchmark is wanted. Nothing named means all of it."""

    payloads: tuple[str, ...] = ()
    connections: tuple[int, ...] = ()
    contenders: tuple[str, ...] = ()
    rate: float = 0
    """Requests per second where they arrive by the clock; 0 for half of what the lane carries."""
    minutes: float = 10
    """Of full rate, while memory is watched."""
    idle: int = 10_000
    """Connections that do nothing."""


class Bench(NamedTuple):
    """How a benchmark is to be run."""

    folder: Path
    """For whatever it writes; gone afterwards."""
    cores: Cores
    rounds: int
    seconds: float
    """Length of one measurement."""
    quick: bool
    """Only to see whether everything works: the figures mean nothing."""
    say: Callable[[str], None]
    """Tells about progress."""
    narrowed: Narrowed = Narrowed()


class Sample(NamedTuple):
    """One measurement."""

    rate: float
    """Requests per second."""
    cpu_us: float
    """CPU microseconds per request, user and system, of the process tree that is measured."""
    busy: float
    """CPU seconds of it per second."""
    target_busy: float
    """The same of the target."""
    note: str = ""
    """What else was found."""
    p50_ms: float | None = None
    """The client's median latency, if it tells one."""


def tree(pid: int) -> list[tuple[int, float]]:
    """A process and all its descendants: their numbers, and CPU seconds with those of children they waited for."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        number = int(folder.name)
        children.setdefault(int(fields[1]), []).append(number)
        seconds[number] = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    found, rest = [], [pid]
    while rest:
        number = rest.pop()
        if number in seconds:
            found.append((number, seconds[number]))
        rest += children.get(number, [])
    return found


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process, of its descendants, and of those of them that have ended and been waited for."""
    return sum(seconds for _, seconds in tree(pid))


def measure(
    measured: Process, target: Nginx, seconds: float, warm_up: float = 1.0, note: str = "", at_least: int = 0
) -> Sample:
    """Wait until requests arrive at the target, let things warm up, then watch for `seconds`.

    If these brought fewer than `at_least` requests, watch for as long again, and once more.
    """
    before = target.requests()
    end = time.monotonic() + 30
    while target.requests() - before < 5:
        if time.monotonic() > end:
            raise RuntimeError(f"no requests arrive at the target:\n{measured.output}")
        time.sleep(0.05)
    time.sleep(warm_up)
    first = last = _Reading.take(measured, target)
    for _ in range(3):
        time.sleep(seconds)
        last = _Reading.take(measured, target)
        if last.requests - first.requests >= at_least:
            break
    span, count = last.at - first.at, last.requests - first.requests
    if count < 1 or not measured.running():
        raise RuntimeError(f"it ended before the measurement did:\n{measured.output}")
    cpu = last.cpu - first.cpu
    return Sample(count / span, cpu / count * 1e6, cpu / span, (last.target_cpu - first.target_cpu) / span, note)


class _Reading(NamedTuple):
    at: float
    requests: int
    cpu: float
    target_cpu: float

    @classmethod
    def take(cls, measured: Process, target: Nginx) -> "_Reading":
        requests = target.requests()
        return cls(time.monotonic(), requests, tree_cpu(measured.pid), tree_cpu(target.pid))
