"""A process that writes a number of segments: ``python -m tests.captures.locked_writer FOLDER NAME SEGMENTS``.

It waits for a line on stdin, so that several can begin together; then it prints the id of its writer.
"""

import asyncio
import sys
from pathlib import Path

from captures.accounting import Counts
from rules.units import Duration, Size
from tests.captures.making import NOON, record, writer


async def main() -> None:
    folder, name, segments = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    counts = Counts()
    to = writer(folder, counts, block_size=Size(1), segment_size=Size(1), flush=Duration(5))
    print("ready", flush=True)
    sys.stdin.readline()
    await to.start()
    for number in range(segments):
        counts.seen += 1
        to.offer(record(NOON + number, path=f"/{name}/{number}"))
    while counts.queued:
        await asyncio.sleep(0.001)
    await to.close()
    print(to.name, counts.written, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
