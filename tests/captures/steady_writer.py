"""A process that records without end, to be killed: ``python -m tests.captures.steady_writer FOLDER [FLUSH]``.

It prints the arrival of each record before it offers it.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from captures.accounting import Counts
from rules.units import Duration
from tests.captures.making import record, writer


async def main() -> None:
    counts = Counts()
    to = writer(Path(sys.argv[1]), counts, flush=Duration.parse([*sys.argv, "1s"][2]))
    await to.start()
    while True:
        arrival = time.time_ns()
        os.write(1, b"%d\n" % arrival)
        counts.seen += 1
        to.offer(record(arrival, path=f"/{arrival}"))
        await asyncio.sleep(0.002)


if __name__ == "__main__":
    asyncio.run(main())
