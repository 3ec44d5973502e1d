"""How late this machine wakes up whoever only sleeps: ``python -m tests.benchmarks.waking SECONDS`` prints it.

The floor below which no sender's lag can lie that sleeps until its next request is due: other work on the core, and on
a virtual machine other guests of the host.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import Process, python

_EVERY_NS = 1_000_000


def woken(prefix: Sequence[str], seconds: float, log: Path) -> list[float]:
    """Milliseconds by which a process came to itself too late, each millisecond for so many seconds; sorted."""
    with Process([*prefix, *python("-m", "tests.benchmarks.waking", str(seconds))], log) as process:
        if process.wait(seconds + 30):
            raise RuntimeError(process.output)
        found: list[int] = json.loads(process.output)
    return sorted(late / 1e6 for late in found)


def main() -> None:
    """Sleep, and look at the clock."""
    late, due = [], time.monotonic_ns()
    end = due + round(float(sys.argv[1]) * 1e9)
    while due < end:
        due = max(due + _EVERY_NS, time.monotonic_ns())
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        late.append(time.monotonic_ns() - due)
    print(json.dumps(late))


if __name__ == "__main__":
    main()
