"""A worker that earns and spends credit as fast as it can: ``python -m tests.support.spending FD ROW ACT...``.

What it does is a list of acts, one after the other: ``both:0.4`` earns and spends for 0.4 seconds, ``spend:1.2`` only
spends, ``hold`` takes the lock and stops itself while holding it. It counts what it was allowed in its row
(synthetic requests that arrived), and at the end writes when it all happened to standard output: three lines of JSON
lists, monotonic nanoseconds before and after each earning, and at each spending.
"""

import json
import os
import signal
import sys
import time

from addons.books import Books, cell
from addons.credit import Credit

_SYNTHETIC = cell("arrived") + 1


def main() -> None:
    """Do as told."""
    books = Books.attach(int(sys.argv[1]))
    row = books.rows[int(sys.argv[2])]
    last = 0

    def clock() -> int:
        nonlocal last
        last = time.monotonic_ns()
        return last

    credit = Credit(books, row, clock)
    before: list[int] = []
    after: list[int] = []
    spent: list[int] = []
    print("ready", flush=True)
    sys.stdin.readline()
    for act in sys.argv[3:]:
        what, _, seconds = act.partition(":")
        if what == "hold":
            assert books.lock.acquire()
            os.kill(os.getpid(), signal.SIGSTOP)
            books.lock.release()
            continue
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            if what == "both":
                for _ in range(3):
                    before.append(time.monotonic_ns())
                    credit.earn()
                    after.append(time.monotonic_ns())
            if credit.spend():
                spent.append(last)
                row.cells[_SYNTHETIC] += 1
    for times in (before, after, spent):
        print(json.dumps(times))


if __name__ == "__main__":
    main()
