"""Drives a native lane that was built with sanitizers, in a process of its own: ``LIBRARY`` is its path.

Every script of an origin that misbehaves, then broken answers, then broken blocks. What a sanitizer finds ends it.
"""

import asyncio
import random
import sys
from pathlib import Path

from captures import columns
from captures.errors import CaptureError
from replayer.lanes.bulk import Packed
from replayer.lanes.native import load
from replayer.requests.encoding import Encoder
from tests.benchmarks import traffic
from tests.replayer.test_lanes import SCRIPTS, run
from tests.support.answers import broken, cut, parse
from tests.support.origin import origin
from tests.support.sending import Host, lane, play

ANSWERS, BLOCKS = 20_000, 400


def main(library: str) -> None:
    code = load(Path(library))

    async def one(number: int, name: str) -> None:
        script, requests, options = SCRIPTS[name]
        async with origin(script) as here:
            host = Host()
            lane("native", host, here.port, code, **options).set_gain(1_000_000 - 250_000 * (number % 2))
            await play(host, requests)

    async def every() -> None:
        await asyncio.gather(*(one(number, name) for number, name in enumerate(SCRIPTS)))

    run(every)

    draw = random.Random(7)
    for _ in range(ANSWERS):
        parse(code, cut(draw, broken(draw)), head=draw.random() < 0.2)

    whole = b"".join(columns.encode(columns.packer(), list(traffic.records(120, 1000))))
    encoder = Encoder("20261121-210305-k3f9", ("GET",), "target")
    refused = 0
    for _ in range(BLOCKS):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        try:
            block = Packed(bytes(content), 120, encoder, code)
        except CaptureError:
            refused += 1
            continue
        slow = set(block.slow(range(120)))
        for place in range(120):
            if place not in slow:
                block.prefix(place)
    print(f"{len(SCRIPTS)} scripts, {ANSWERS} answers and {BLOCKS} blocks, {refused} of them refused")


if __name__ == "__main__":
    main(sys.argv[1])
