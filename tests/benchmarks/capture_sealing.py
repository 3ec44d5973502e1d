"""What encryption adds to writing and reading a capture, on one core: CPU time of the process, median of the rounds.

Blocks are encrypted after they are compressed, so what is measured is the cipher on few bytes, a copy of the frame, and
for each segment the wrapping of one key.
"""

import time
from collections.abc import Callable
from itertools import batched
from pathlib import Path
from statistics import median

from captures import codec, keyring
from captures.batch import BatchWriter
from captures.codec import Compressor
from captures.keyring import NOBODY, Identities, Recipients
from captures.reader import Capture
from captures.records import Record
from captures.sealing import Seal, new_key
from tests.benchmarks.measuring import Bench
from tests.benchmarks.shapes import SHAPES, recorded, redacted
from tests.benchmarks.tables import figure, markdown

PEERS: tuple[str, ...] = ()
RECORDS = 50_000
TOGETHER = 2500


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    count = 5000 if bench.quick else RECORDS
    secret, public = keyring.generate()
    identities = Identities([keyring.identity(secret)])
    rows = []
    for shape in SHAPES:
        bench.say(f"  {shape}")
        records = redacted(recorded(shape, count, 5000))
        plain, sealed = bench.folder / f"{shape}-plain", bench.folder / f"{shape}-sealed"
        _write_all(plain, records, Recipients())
        _write_all(sealed, records, Recipients([public]))
        writes = [_cpu(_write, records, None) for _ in range(bench.rounds)]
        seals = [_cpu(_write, records, Seal(new_key(), b"header")) for _ in range(bench.rounds)]
        reads = [_cpu(_read, plain) for _ in range(bench.rounds)]
        opens = [_cpu(_read, sealed, identities) for _ in range(bench.rounds)]
        sizes = [sum(file.stat().st_size for file in folder.iterdir()) for folder in (plain, sealed)]
        cells = [figure(count / median(times)) for times in (writes, seals, reads, opens)]
        rows.append([shape, *cells, f"{(sizes[1] - sizes[0]) / sizes[0]:.2%}"])
    head = ["records per CPU second", "write", "encrypted", "read", "encrypted", "size"]
    return f"{count:,} records of each kind.\n\n{markdown(head, rows)}"


def _cpu[**P](work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    began = time.process_time()
    work(*args, **kwargs)
    return time.process_time() - began


def _write(records: list[Record], seal: Seal | None) -> None:
    compressor = Compressor(3)
    for number, block in enumerate(batched(records, TOGETHER)):
        payload, span = compressor.payload(block), (block[0].arrival_ns, block[-1].arrival_ns, len(block))
        if seal is None:
            codec.pack_frame(*span, payload)
        else:
            codec.seal_frame(seal, number, *span, payload)


def _read(folder: Path, identities: Identities = NOBODY) -> int:
    return sum(1 for _ in Capture(folder, identities).records())


def _write_all(folder: Path, records: list[Record], recipients: Recipients) -> None:
    with BatchWriter(folder, recipients=recipients) as batch:
        for record in records:
            batch.write(record)
