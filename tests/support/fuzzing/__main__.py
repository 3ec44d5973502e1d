"""Very many hostile segments, in processes that may take only so much memory and time for each.

    python -m tests.support.fuzzing --segments 200000 --seed 1
    python -m tests.support.fuzzing --seed 1 --only 4711        # one of them again, in this process

A crash is any exception that is no CaptureError (a MemoryError at the bound among them), a hang is a segment that takes
longer than its time, and the death of a process counts as a crash of the segment that it was at. Exits with 1 after any.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.support.fuzzing.mutations import corpus, mutate
from tests.support.fuzzing.trial import Hang, attempt

_BATCH = 250
_REPAIR_EVERY = 10
_PATIENCE = 10  # times what a segment may take, after which its process is ended


def main() -> None:
    """Run the whole of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzzing", description=__doc__)
    parser.add_argument("--segments", type=int, default=200_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the same segments for the same seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--memory", type=int, default=512, help="MiB that a process may take beside what it begins with")
    parser.add_argument("--seconds", type=float, default=10.0, help="that one segment may take")
    parser.add_argument("--only", type=int, help="the number of one segment")
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            data = mutate(f"{options.seed}:{options.only}", corpus())
            print(f"{len(data)} bytes, {data[:60]!r}...")
            print(attempt(data, Path(folder), repairing=options.only % _REPAIR_EVERY == 0, seconds=options.seconds))
        return
    sys.exit(_run(options.segments, options.seed, options.processes, options.memory, options.seconds))


def _run(segments: int, seed: int, processes: int, memory: int, seconds: float) -> int:
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    batches = iter(range(0, segments, _BATCH))
    total: Counter[str] = Counter()
    troubles: list[str] = []
    peak = slowest = 0.0
    workers: dict[Connection, Any] = {}

    def hire() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, seed, memory, seconds), daemon=True)
        process.start()
        theirs.close()
        workers[ours] = process
        assign(ours)

    def assign(pipe: Connection) -> None:
        first = next(batches, None)
        if first is None:
            pipe.send(None)
            workers.pop(pipe).join()
        else:
            pipe.send((first, min(first + _BATCH, segments)))

    for _ in range(processes):
        hire()
    while workers:
        ready = wait(list(workers), timeout=_PATIENCE * seconds)
        if not ready:
            troubles.append("hang: no process said anything for too long")
            break
        for pipe in ready:
            assert isinstance(pipe, Connection)
            try:
                told = pipe.recv()
            except EOFError:
                process = workers.pop(pipe)
                process.join()
                troubles.append(f"crash: a process died with {process.exitcode}")
                hire()
                continue
            total.update(told["counts"])
            troubles += told["troubles"]
            peak, slowest = max(peak, told["peak"]), max(slowest, told["slowest"])
            assign(pipe)
            done = total["segments"]
            if done % (40 * _BATCH) == 0:
                rate = done / (time.monotonic() - begun)
                print(f"{done:,} segments, {rate:.0f}/s, {len(troubles)} troubles, peak {peak:.0f} MiB", flush=True)
    for process in workers.values():
        process.kill()
    for line in troubles[:20]:
        print(line)
    summary = {
        **total,
        "troubles": len(troubles),
        "seconds": round(time.monotonic() - begun, 1),
        "peak_mib": round(peak),
        "bound_mib": memory,
        "slowest_seconds": round(slowest, 2),
        "seed": seed,
    }
    print(json.dumps(summary))
    return 1 if troubles else 0


def _work(pipe: Connection, seed: int, memory: int, seconds: float) -> None:
    segments = corpus()
    base = _virtual()
    resource.setrlimit(resource.RLIMIT_AS, (base + (memory << 20),) * 2)
    with tempfile.TemporaryDirectory() as name:
        while (batch := pipe.recv()) is not None:
            pipe.send(_batch(range(*batch), segments, Path(name), seed, seconds))


def _batch(numbers: range, segments: list[bytes], folder: Path, seed: int, seconds: float) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    troubles: list[str] = []
    slowest = 0.0
    for number in numbers:
        data = mutate(f"{seed}:{number}", segments)
        begun = time.monotonic()
        try:
            outcome = attempt(data, folder, repairing=number % _REPAIR_EVERY == 0, seconds=seconds)
        except Hang as hang:
            troubles.append(f"hang in segment {number}: {hang}")
        except BaseException:  # noqa: BLE001 - a crash is what is looked for, whatever it is
            troubles.append(f"crash in segment {number}:\n{traceback.format_exc(limit=-4)}")
        else:
            counts["refused" if outcome.refused else "damaged" if outcome.damaged else "in order"] += 1
            counts["records"] += outcome.records
        counts["segments"] += 1
        slowest = max(slowest, time.monotonic() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"counts": counts, "troubles": troubles, "peak": peak, "slowest": slowest}


def _virtual() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
