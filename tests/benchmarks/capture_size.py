"""Bytes per record on the disk: the capture log against mitmproxy's flow file, for the very same traffic.

A client of the benchmark's own sends the same browser-like requests, a tenth of them POSTs, first through
`mitmdump -w` and then through `reamp sidecar`. The other forms are written here from the records of the sidecar, so
they hold the same: method, URL, headers, body, times and the outline of the answer; GoReplay's text holds the request
and its time only, as it does by default. A flow file also holds the answer's headers and body (107 bytes here) and
details of the connections.
"""

import asyncio
import base64
import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from captures.reader import Capture
from captures.records import Record
from tests.benchmarks import target, traffic
from tests.benchmarks.contenders import mitmdump, sidecar
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.tables import figure, markdown
from tests.support.client import Client
from tests.support.recording import write

PEERS = ("nginx", "mitmdump", "taskset")
REQUESTS = 10_000
CLIENTS = 8
POSTS = 0.1

_SEPARATOR = "\n🐵🙈🙉\n".encode()


def run(bench: Bench) -> str:
    """Send, count bytes, and give the table."""
    count = 500 if bench.quick else REQUESTS
    asked = list(traffic.requests(count, POSTS))
    flows, recordings = bench.folder / "flows", bench.folder / "sidecar" / "recordings"
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        (bench.folder / "sidecar").mkdir()
        with mitmdump(bench, bench.folder, app, flows) as proxy:
            bench.say(f"  {count:,} requests through mitmdump -w")
            asyncio.run(_send(proxy.url, asked))
        with sidecar(bench, bench.folder / "sidecar", app) as proxy:
            bench.say(f"  {count:,} requests through reamp sidecar")
            asyncio.run(_send(proxy.url, asked))
    records = list(Capture(recordings).records())
    if len(records) != count:
        raise RuntimeError(f"{len(records)} records of {count} requests")
    wire = sum(len(_raw(record)) for record in records)
    full = write(bench.folder / "full", records)
    text, lines = _goreplay(records), _json_lines(records)
    log = _size(recordings)
    sizes = [
        ("mitmproxy flow file", flows.stat().st_size),
        ("mitmproxy flow file, gzipped", _gzipped(flows.read_bytes())),
        ("the requests as sent", wire),
        ("GoReplay's text", len(text)),
        ("GoReplay's text, gzipped", _gzipped(text)),
        ("JSON lines", len(lines)),
        ("JSON lines, gzipped", _gzipped(lines)),
        ("**reamp capture log**, as recorded", log),
        ("reamp capture log, blocks full (a busy sidecar)", _size(full)),
    ]
    shutil.rmtree(full)
    seconds = (records[-1].arrival_ns - records[0].arrival_ns) / 1e9
    rows = [[name, figure(size / count), f"{log / size:.3f}"] for name, size in sizes]
    table = markdown(["form", "bytes/record", "capture log's size, as a share of it"], rows)
    return f"{count:,} requests, through the sidecar at {count / seconds:,.0f}/s; gzip level 6.\n\n{table}"


async def _send(url: str, asked: Sequence[traffic.Asked]) -> None:
    """Send all, over a few connections, in about the given order."""
    rest = iter(asked)

    async def work() -> None:
        async with Client(url) as client:
            for item in rest:
                answer = await client.request(item.method, item.path, list(item.headers), item.body)
                if answer.status != 200:
                    raise RuntimeError(f"{item.method} {item.path}: {answer.status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(work())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _gzipped(data: bytes) -> int:
    return len(gzip.compress(data, 6))


def _raw(record: Record) -> bytes:
    """The request as it is on the wire."""
    fields = b"".join(name + b": " + value + b"\r\n" for name, value in record.headers)
    return f"{record.method} {record.path} {record.http_version}\r\n".encode() + fields + b"\r\n" + record.body


def _goreplay(records: Iterable[Record]) -> bytes:
    """The text that GoReplay's ``--output-file`` writes: type, id, time, latency, then the request."""
    parts = []
    for number, record in enumerate(records):
        head = f"1 {number:08x}{record.arrival_ns & 0xFFFFFFFF:08x}00000000 {record.arrival_ns} 0\n"
        parts.append(head.encode() + _raw(record) + _SEPARATOR)
    return b"".join(parts)


def _json_lines(records: Iterable[Record]) -> bytes:
    """One object per line, every field by its name."""
    lines = []
    for record in records:
        fields = record._asdict()
        fields["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in record.headers]
        fields["body"] = base64.b64encode(record.body).decode()
        lines.append(json.dumps(fields, separators=(",", ":")))
    return "\n".join(lines).encode()
