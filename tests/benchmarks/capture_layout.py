"""What of the capture log's layout pays, tried one by one: bytes per record, and CPU time to compress.

Each row changes one thing of the layout as it is. The records are redacted, as they are when they come to the disk, and
blocks hold 2,500 of them (a sidecar with 5,000 requests a second) unless the row says otherwise.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from unittest.mock import patch

import zstandard

from captures import columns
from captures.records import Record
from tests.benchmarks.measuring import Bench
from tests.benchmarks.shapes import SHAPES, recorded, redacted
from tests.benchmarks.tables import figure, markdown
from tests.support import rows

PEERS: tuple[str, ...] = ()
RECORDS = 20_000
TOGETHER = 2500
DICTIONARY = 112 << 10
"""Bytes: what zstd recommends at most."""
ALONE = 1000
"""As in `captures.codec`."""
NEVER = 1 << 30

Layout = Callable[[Sequence[Record]], Sequence[bytes]]
_pack = columns.packer()


def run(bench: Bench) -> str:
    """Try all, and give the tables."""
    count = 2 * TOGETHER if bench.quick else RECORDS
    traffic = {shape: redacted(recorded(shape, count, 5000)) for shape in SHAPES}
    tried: list[tuple[str, Callable[[Sequence[Record]], tuple[float, float]]]] = [
        ("**as it is**: columns, level 3, 2,500 records", lambda all_: _tried(all_, _columns)),
        ("rows of msgpack (version 1)", lambda all_: _tried(all_, _rows)),
        ("rows of msgpack in blocks of 256 KiB (version 1 as it was)", lambda all_: _tried(all_, _rows, together=0)),
        ("columns, header sets as they are: no holes for what varies", lambda all_: _tried(all_, _without_holes)),
        ("columns, one table of codes for numbers and texts", lambda all_: _tried(all_, _columns, alone=NEVER)),
        ("columns, times to the nanosecond", lambda all_: _tried([_noisy(one) for one in all_], _columns)),
        ("columns, dictionary of 112 KiB from the traffic before", lambda all_: _tried(all_, _columns, trained=True)),
        *((f"columns, level {n}", lambda all_, n=n: _tried(all_, _columns, level=n)) for n in (1, 6, 9, 12, 19)),
        *(
            (f"columns, {n:,} records to a block", lambda all_, n=n: _tried(all_, _columns, together=n))
            for n in (25, 100, 500, 5000, 10_000)
        ),
        *(
            (
                f"columns, {n:,} records to a block, dictionary of 112 KiB",
                lambda all_, n=n: _tried(all_, _columns, together=n, trained=True),
            )
            for n in (25, 100, 500)
        ),
    ]
    table = []
    for name, attempt in tried:
        bench.say(f"  {name}")
        cells = []
        for records in traffic.values():
            size, seconds = attempt(records)
            cells += [figure(size), figure(seconds * 1e6)]
        table.append([name, *cells])
    head = ["layout", *(cell for shape in SHAPES for cell in (f"{shape}, bytes", "us"))]
    return f"{count:,} records; us: CPU time of zstd alone, per record.\n\n{markdown(head, table)}"


def _tried(
    records: Sequence[Record],
    layout: Layout,
    *,
    together: int = TOGETHER,
    level: int = 3,
    alone: int = ALONE,
    trained: bool = False,
) -> tuple[float, float]:
    """Give bytes and CPU seconds per record. `together` 0: as many as 256 KiB of packed records are."""
    if not together:
        together = max(1, (256 << 10) * len(records) // sum(map(len, layout(records))))
    blocks = [layout(records[start : start + together]) for start in range(0, len(records), together)]
    if trained:
        # From the beginning of the recording, for all that comes after: what a segment could carry in its header.
        learnt = b"".join(layout(records[:TOGETHER])[4:])[-DICTIONARY:]
        dictionary = zstandard.ZstdCompressionDict(learnt, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        dictionary.precompute_compress(level=level)
        compressor = zstandard.ZstdCompressor(level=level, dict_data=dictionary)
        blocks = blocks[-max(1, len(blocks) // 4) :]
        records = records[-(together * len(blocks)) :]
    else:
        compressor = zstandard.ZstdCompressor(level=level)
    took, size = [], 0
    for _ in range(3):
        began = time.process_time()
        size = sum(_compressed(compressor, parts, alone) for parts in blocks)
        took.append(time.process_time() - began)
    return size / len(records), median(took) / len(records)


def _compressed(compressor: zstandard.ZstdCompressor, parts: Sequence[bytes], alone: int) -> int:
    stream = compressor.compressobj(size=sum(map(len, parts)))
    size = 0
    for part in parts:
        size += len(stream.compress(part))
        if len(part) > alone:
            size += len(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return size + len(stream.flush())


def _columns(records: Sequence[Record]) -> list[bytes]:
    return columns.encode(_pack, records)


def _rows(records: Sequence[Record]) -> list[bytes]:
    return [rows.content(records)]


def _without_holes(records: Sequence[Record]) -> list[bytes]:
    """Encode as if no header varied."""
    with patch.object(columns, "_varying", lambda _: frozenset()):
        return columns.encode(_pack, records)


def _noisy(record: Record) -> Record:
    """Give times the steps of a clock that counts seconds in a 64-bit float: 238 ns."""

    def stepped(ns: int) -> int:
        return int((ns + (record.arrival_ns * 7919 + ns * 104_729) % 1000) / 1e9 * 2**22) * 10**9 // 2**22

    arrival = stepped(record.arrival_ns)
    ttfb, duration = (stepped(record.arrival_ns + ns) - arrival for ns in (record.ttfb_ns, record.duration_ns))
    return record._replace(arrival_ns=arrival, ttfb_ns=max(0, ttfb), duration_ns=max(ttfb, duration))
