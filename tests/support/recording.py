"""Recordings made for a test, through the real writer."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from captures.accounting import Counts
from captures.records import Record
from captures.redaction import Redactor
from captures.writer import CaptureWriter, WriterSettings

START_NS = 1_700_000_000_000_000_000


def record(
    at: float = 0.0,
    path: str = "/",
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = ((b"host", b"shop.example"), (b"accept", b"*/*")),
    body: bytes = b"",
    **fields: object,
) -> Record:
    """One record, `at` seconds after the recording began."""
    given = {
        "arrival_ns": START_NS + round(at * 1e9),
        "method": method,
        "scheme": "http",
        "authority": "shop.example",
        "path": path,
        "http_version": "HTTP/1.1",
        "headers": tuple(headers),
        "body": body,
        "body_size": len(body),
        "status": 200,
        "response_size": 2,
        "ttfb_ns": 1_000_000,
        "duration_ns": 2_000_000,
        **fields,
    }
    return Record(**given)  # type: ignore[arg-type]


def write(folder: Path, records: Iterable[Record]) -> Path:
    """Write a recording; return its folder."""

    async def run() -> None:
        counts = Counts()
        writer = CaptureWriter(folder, WriterSettings(), counts, Redactor(b"k" * 32))
        await writer.start()
        for number, item in enumerate(records):
            while not writer.offer(item):
                counts.dropped -= 1
                await asyncio.sleep(0.01)
            if number % 1000 == 999:
                await asyncio.sleep(0)
        await writer.close()

    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(run())
    return folder
