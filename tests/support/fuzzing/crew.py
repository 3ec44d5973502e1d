"""Processes that try hostile segments, each with so much memory and no more."""

import multiprocessing
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from tests.support.fuzzing.mutations import corpus, mutate
from tests.support.fuzzing.trial import Hang, attempt

_BATCH = 250
REPAIR_EVERY = 10
_PATIENCE = 10  # times what a segment may take, after which its process is ended
_REST = 60.0
"""Seconds beside that: an interpreter may take long to start on a busy machine."""


@dataclass
class Summary:
    """What came of all of them."""

    counts: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    peak: float = 0
    """MiB: the most that any process took, all in all."""
    base: float = 0
    """MiB that a process took before the first segment."""
    slowest: float = 0
    """Seconds that the slowest segment took."""

    def add(self, told: dict[str, Any]) -> None:
        """Take in one batch."""
        self.counts.update(told["counts"])
        self.troubles += told["troubles"]
        for line in told["troubles"]:
            print(line, flush=True)
        self.peak, self.base = max(self.peak, told["peak"]), max(self.base, told["base"])
        self.slowest = max(self.slowest, told["slowest"])


class Crew:
    """Runs segments 0 to `segments` of `seed` in `processes` processes."""

    def __init__(self, segments: int, seed: int, processes: int, memory: int, seconds: float) -> None:
        """Let each process take `memory` MiB of address space on top of its own, and each segment `seconds`."""
        self._segments, self._seed, self._memory, self._seconds = segments, seed, memory, seconds
        self._processes = processes
        self._starts = iter(range(0, segments, _BATCH))
        self._workers: dict[Connection, SpawnProcess] = {}

    def run(self, tell: Callable[[Summary], None]) -> Summary:
        """Try them all; `tell` hears of every batch."""
        summary = Summary()
        for _ in range(min(self._processes, -(-self._segments // _BATCH))):
            self._hire()
        try:
            while self._workers:
                ready = wait(list(self._workers), timeout=_PATIENCE * self._seconds + _REST)
                if not ready:
                    summary.troubles.append("hang: no process said anything for too long")
                    break
                for pipe in ready:
                    if isinstance(pipe, Connection):
                        self._hear(pipe, summary)
                tell(summary)
        finally:
            for process in self._workers.values():
                process.kill()
        return summary

    def _hear(self, pipe: Connection, summary: Summary) -> None:
        try:
            summary.add(pipe.recv())
        except (EOFError, OSError):
            process = self._workers.pop(pipe)
            process.join()
            summary.troubles.append(f"crash: a process died with {process.exitcode}")
            if len(summary.troubles) < 10:
                self._hire()
            return
        self._assign(pipe)

    def _hire(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._seed, self._memory, self._seconds), daemon=True)
        process.start()
        theirs.close()
        self._workers[ours] = process
        self._assign(ours)

    def _assign(self, pipe: Connection) -> None:
        first = next(self._starts, None)
        pipe.send(None if first is None else (first, min(first + _BATCH, self._segments)))
        if first is None:
            self._workers.pop(pipe).join()


def _work(pipe: Connection, seed: int, memory: int, seconds: float) -> None:
    segments = corpus()
    base = _virtual()
    resource.setrlimit(resource.RLIMIT_AS, (base + (memory << 20),) * 2)
    resident = _peak()
    with tempfile.TemporaryDirectory() as name:
        while (batch := pipe.recv()) is not None:
            pipe.send(_batch(range(*batch), segments, Path(name), seed, seconds) | {"base": resident})


def _batch(numbers: range, segments: list[bytes], folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    troubles: list[str] = []
    slowest = 0.0
    for number in numbers:
        data = mutate(f"{seed}:{number}", segments)
        begun = time.monotonic()
        try:
            outcome = attempt(data, folder, repairing=number % REPAIR_EVERY == 0, seconds=seconds)
        except Hang as hang:
            troubles.append(f"hang in segment {number}: {hang}")
        except BaseException:  # noqa: BLE001 - a crash is what is looked for, whatever it is
            troubles.append(f"crash in segment {number}:\n{traceback.format_exc(limit=-4)}")
        else:
            counts["refused" if outcome.refused else "damaged" if outcome.damaged else "in order"] += 1
            counts["records"] += outcome.records
        counts["segments"] += 1
        slowest = max(slowest, time.monotonic() - begun)
    return {"counts": counts, "troubles": troubles, "peak": _peak(), "slowest": slowest}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _virtual() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
