"""Records, segments and captures for tests."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from captures import codec, columns
from captures.accounting import Counts
from captures.records import Record
from captures.redaction import Redactor
from captures.writer import CaptureWriter, WriterSettings
from rules.wire import Accounting

KEY = bytes(range(32))
NOON = 1_795_262_400_000_000_000
MS = 1_000_000


def record(at: int = NOON, **fields: Any) -> Record:
    """Give a record that arrived at `at`."""
    plain = Record(
        arrival_ns=at,
        method="GET",
        scheme="http",
        authority="shop.example",
        path="/item/7?full=1",
        http_version="HTTP/1.1",
        headers=((b"Host", b"shop.example"), (b"Accept", b"*/*")),
        body=b"",
        body_size=0,
        status=200,
        response_size=512,
        ttfb_ns=2 * MS,
        duration_ns=3 * MS,
    )
    return plain._replace(**fields)


_texts = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
_sizes = st.integers(0, 2**40)
records = st.builds(
    Record,
    arrival_ns=st.integers(0, columns.MAX_TIME - 1) | st.integers(NOON, NOON + 1000),
    method=_texts,
    scheme=st.sampled_from(["http", "https"]),
    authority=_texts,
    path=_texts,
    http_version=_texts,
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=20)), max_size=5).map(tuple),
    body=st.binary(max_size=50),
    body_size=_sizes,
    status=st.integers(0, 599),
    response_size=_sizes,
    ttfb_ns=st.integers(-1, 2**40),
    duration_ns=_sizes,
)


def frame(block: Sequence[Record]) -> bytes:
    """Make one block's frame."""
    arrivals = [one.arrival_ns for one in block]
    return codec.pack_frame(min(arrivals), max(arrivals), len(block), codec.Compressor(3).payload(block))


def header(sequence: int = 1, writer: str = "w1", written: int = 0, accounting: Accounting | None = None) -> bytes:
    """Make the header of a segment, as short as may be."""
    return codec.pack_header(
        codec.Header(
            format=codec.FORMAT,
            version=codec.VERSION,
            created_ns=NOON,
            writer=writer,
            sequence=sequence,
            software="test",
            flush_ns=1_000_000_000,
            queue_size=32 << 20,
            block_size=1,
            redaction={},
            accounting=accounting or Accounting(seen=written, written=written),
        )
    )


def segment(blocks: Sequence[Sequence[Record]], sequence: int = 1, writer: str = "w1", written: int = 0) -> list[bytes]:
    """Make a whole segment, in pieces: header, frames, footer with trailer."""
    pieces = [header(sequence, writer, written), *map(frame, blocks)]
    offset, index = len(pieces[0]), []
    for block, piece in zip(blocks, pieces[1:], strict=True):
        arrivals = [one.arrival_ns for one in block]
        index.append((offset, min(arrivals), max(arrivals), len(block)))
        offset += len(piece)
    count = sum(map(len, blocks))
    footer = codec.Footer(
        closed_ns=NOON,
        why="end",
        records=count,
        first_ns=min((first for _, first, _, _ in index), default=None),
        last_ns=max((last for _, _, last, _ in index), default=None),
        accounting=Accounting(seen=written + count, written=written + count),
    )
    return [*pieces, codec.pack_footer(footer, index, offset)]


def writer(folder: Path, counts: Counts | None = None, **settings: Any) -> CaptureWriter:
    """Give a writer that was not started."""
    return CaptureWriter(folder, WriterSettings(**settings), counts or Counts(), Redactor(KEY), {"by": "test"})


async def write(folder: Path, all_records: Iterable[Record], **settings: Any) -> Counts:
    """Write a capture the way the sidecar does; every record has to be taken."""
    counts = Counts()
    to = writer(folder, counts, **settings)
    await to.start()
    for one in all_records:
        counts.seen += 1
        assert to.offer(one)
        await asyncio.sleep(0)
    await to.close()
    return counts


async def eventually(condition: Callable[[], bool], within: float = 15.0) -> None:
    """Wait until `condition` holds; fail if it does not in time."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.002)


def noise(size: int) -> bytes:
    """Bytes that do not compress."""
    return os.urandom(size)
