"""How quick the capture log is on one core: to write, to scan, to hand requests to the replayer, to cut a slice out of.

| step | what runs |
| --- | --- |
| write | pack, compress, checksum: what a sidecar's packing thread does, block by block, without the disk |
| scan | all records of a capture, made and given out in order of arrival |
| scan the middle half | the same between two moments: half of the records are outside and are not made |
| wire-ready requests | read, sort and encode for sending, as the replayer does |

CPU time of the process, so that neighbours count as little as can be; one thread does it all. The capture is on a
disk whose pages are in memory.
"""

import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator
from itertools import batched, cycle, islice
from pathlib import Path
from statistics import median

from captures.batch import BatchWriter
from captures.codec import Compressor, pack_frame
from captures.reader import Capture
from captures.records import Record
from replayer.requests.encoding import Encoder, Request
from tests.benchmarks.measuring import Bench
from tests.benchmarks.shapes import SHAPES, recorded, redacted
from tests.benchmarks.tables import figure, markdown, spread

PEERS: tuple[str, ...] = ()
RECORDS = 50_000
TOGETHER = 2500
AIMS = {"write": 150_000, "scan": 500_000, "scan the middle half": 500_000, "wire-ready requests": 150_000}
MANY = 10_000_000
SLICE_S = 10


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    count = 5000 if bench.quick else RECORDS
    rates: dict[str, dict[str, list[float]]] = {step: {shape: [] for shape in SHAPES} for step in AIMS}
    traffic = {shape: redacted(recorded(shape, count, 5000)) for shape in SHAPES}
    for shape, records in traffic.items():
        _write_all(bench.folder / shape, records)
    # A replayer or a tool does not hold 150,000 records, which Python's collector of cycles would walk again and again.
    gc.collect()
    gc.freeze()
    for turn in range(bench.rounds):
        bench.say(f"  round {turn + 1}")
        for shape, records in traffic.items():
            for step, work in _steps(records, bench.folder / shape).items():
                began = time.process_time()
                done = work()
                rates[step][shape].append(done / (time.process_time() - began))
    head = ["records per CPU second", "aim", *(cell for shape in SHAPES for cell in (shape, "least-most"))]
    rows = [
        [step, f"{aim:,}", *(cell for found in rates[step].values() for cell in (figure(median(found)), spread(found)))]
        for step, aim in AIMS.items()
    ]
    gc.unfreeze()
    return f"{count:,} records of each kind.\n\n{markdown(head, rows)}\n\n{_slice(bench)}"


def _steps(records: list[Record], folder: Path) -> dict[str, Callable[[], int]]:
    def write() -> int:
        compressor = Compressor(3)
        for block in batched(records, TOGETHER):
            pack_frame(block[0].arrival_ns, block[-1].arrival_ns, len(block), compressor.payload(block))
        return len(records)

    def scan() -> int:
        return sum(1 for _ in Capture(folder).records())

    def scan_half() -> int:
        start, end = records[len(records) // 4].arrival_ns, records[-len(records) // 4].arrival_ns
        return sum(1 for _ in Capture(folder).records(start, end))

    def encode() -> int:
        encoder = Encoder("r1", {"GET", "POST"}, "target.example")
        return sum(isinstance(encoder.encode(record), Request) for record in Capture(folder).records())

    return dict(zip(AIMS, (write, scan, scan_half, encode), strict=True))


def _write_all(folder: Path, records: list[Record]) -> None:
    with BatchWriter(folder) as batch:
        for record in records:
            batch.write(record)


def _slice(bench: Bench) -> str:
    """Cut ten seconds out of a long capture, and count what the process reads for it."""
    count = 100_000 if bench.quick else MANY
    folder = bench.folder / "long"
    bench.say(f"  writing {count:,} records")
    with BatchWriter(folder) as batch:
        for number, record in enumerate(_long(count)):
            batch.write(record)
            if not number % 1_000_000 and number:
                bench.say(f"  {number:,}")
    size = sum(file.stat().st_size for file in folder.iterdir())
    blocks = sum(len(segment.frames()) for segment in Capture(folder).segments)
    before, began = _bytes_read(), time.process_time()
    capture = Capture(folder)
    opened = _bytes_read()
    assert capture.first_ns is not None
    assert capture.last_ns is not None
    middle = (capture.first_ns + capture.last_ns) // 2
    found = sum(1 for _ in capture.records(middle, middle + SLICE_S * 10**9))
    read, took = _bytes_read(), time.process_time() - began
    shutil.rmtree(folder)
    rows = [
        ["the capture", f"{count:,}", f"{size:,}", ""],
        [
            f"opened: headers and indexes of {len(capture.segments)} segment(s), {blocks:,} blocks",
            "",
            f"{opened - before:,}",
            "",
        ],
        [f"{SLICE_S} seconds out of its middle, all of it", f"{found:,}", f"{read - before:,}", f"{took * 1e3:,.0f}"],
    ]
    share = (read - before) / size
    return (
        f"{markdown(['slice', 'records', 'bytes', 'CPU ms'], rows)}\n\nThat is {share:.2%} of the capture's bytes read."
    )


def _long(count: int) -> Iterator[Record]:
    """Make a long recording of a website at 5,000 a second: an hour and more of the same quarter of a minute."""
    some = list(recorded("website", min(count, 75_000), 5000))
    start, span = some[0].arrival_ns, some[-1].arrival_ns - some[0].arrival_ns + 1000
    for number, record in islice(enumerate(cycle(some)), count):
        yield record._replace(arrival_ns=start + number // len(some) * span + record.arrival_ns - start)


def _bytes_read() -> int:
    """Count what this process has asked the kernel to read, from the disk or its cache."""
    counters = dict(line.split(": ") for line in Path(f"/proc/{os.getpid()}/io").read_text().splitlines())
    return int(counters["rchar"])
