"""Very many hostile segments, in processes that may take only so much memory and time for each.

    python -m tests.support.fuzzing --segments 200000 --seed 1
    python -m tests.support.fuzzing --seed 1 --only 4711        # one of them again, in this process

A crash is any exception that is no CaptureError (a MemoryError at the bound among them), a hang is a segment that
takes longer than its time, and the death of a process counts as a crash too. Exits with 1 after any.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.fuzzing.crew import REPAIR_EVERY, Crew, Summary
from tests.support.fuzzing.mutations import corpus, mutate
from tests.support.fuzzing.trial import attempt


def main() -> None:
    """Run the whole of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzzing")
    parser.add_argument("--segments", type=int, default=200_000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the same segments for the same seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--memory", type=int, default=512, help="MiB of address space for all that a segment needs")
    parser.add_argument("--seconds", type=float, default=10.0, help="that one segment may take")
    parser.add_argument("--only", type=int, help="the number of one segment")
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            data = mutate(f"{options.seed}:{options.only}", corpus())
            print(f"{len(data)} bytes, {data[:60]!r}...")
            repairing = options.only % REPAIR_EVERY == 0
            print(attempt(data, Path(folder), repairing=repairing, seconds=options.seconds))
        return
    begun, told = time.monotonic(), 0.0

    def tell(summary: Summary) -> None:
        nonlocal told
        now = time.monotonic() - begun
        if now - told >= 10:
            told, done = now, summary.counts["segments"]
            line = (
                f"{done:,} segments, {done / now:.0f}/s, {len(summary.troubles)} troubles, peak {summary.peak:.0f} MiB"
            )
            print(line, flush=True)

    crew = Crew(options.segments, options.seed, options.processes, options.memory, options.seconds)
    summary = crew.run(tell)
    figures = {
        **summary.counts,
        "troubles": len(summary.troubles),
        "took seconds": round(time.monotonic() - begun, 1),
        "slowest segment, seconds": round(summary.slowest, 2),
        "peak MiB": round(summary.peak),
        "MiB before the first": round(summary.base),
        "bound MiB": options.memory,
        "seed": options.seed,
    }
    print(json.dumps(figures))
    sys.exit(1 if summary.troubles else 0)


if __name__ == "__main__":
    main()
