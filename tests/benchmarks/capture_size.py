"""Bytes per record on the disk, for three kinds of traffic, against what others write for the very same requests.

First a client of the benchmark's own sends the same requests through `mitmdump -w` and through `reamp sidecar`: what
each has on the disk then is compared as it is. A flow file also holds the answer's headers and body (107 bytes here)
and details of the connections.

The other forms are written here, from records that hold the same requests with answers as various as real ones. JSON
lines and the log hold the same: method, URL, headers, body, times and the outline of the answer. GoReplay's text holds
the request and its time only, as it does by default, and neither redacts, so they are written from what was sent; once
more from what the log holds after redaction, to show what of the difference comes from that.
"""

import asyncio
import base64
import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from captures.batch import BatchWriter
from captures.codec import Compressor, pack_frame
from captures.reader import Capture
from captures.records import Record
from tests.benchmarks import target
from tests.benchmarks.contenders import mitmdump, sidecar
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.shapes import SHAPES, recorded, redacted
from tests.benchmarks.tables import figure, markdown
from tests.benchmarks.traffic import Asked
from tests.support.client import Client

PEERS = ("nginx", "mitmdump", "taskset")
REQUESTS = 5000
RECORDS = 20_000
RATE = 5000.0
"""Requests per second of the records. At half a second a block, that is 2,500 records in each."""
CALM = 200.0
CLIENTS = 8

_SEPARATOR = "\n🐵🙈🙉\n".encode()


def run(bench: Bench) -> str:
    """Send, count bytes, and give the tables."""
    through = [_through(bench, shape) for shape in SHAPES]
    rows = [
        [shape, figure(flows), figure(log), f"1/{flows / log:.0f}"]
        for shape, (flows, log) in zip(SHAPES, through, strict=True)
    ]
    head = ["traffic", "mitmproxy's flow file, bytes/request", "capture log as recorded", "log / flow file (aim: 1/20)"]
    count = 500 if bench.quick else RECORDS
    forms = {shape: _forms(list(recorded(shape, count, RATE)), bench.folder) for shape in SHAPES}
    names = list(next(iter(forms.values())))
    table = [[name, *(figure(sizes[name] / count) for sizes in forms.values())] for name in names]
    ratios = []
    for peer, aim in (("GoReplay's text, gzipped", "1/6"), ("JSON lines, gzipped", "1/2")):
        for source in ("", ", after redaction"):
            shares = [f"{sizes[LOG] / sizes[peer + source]:.3f}" for sizes in forms.values()]
            ratios.append([f"log / {peer}{source} (aim: {aim})", *shares])
    return "\n\n".join(
        (
            f"Through proxies, {500 if bench.quick else REQUESTS:,} requests each:",
            markdown(head, rows),
            f"The same records in other forms, bytes per record ({count:,} records at {RATE:,.0f}/s; gzip level 6):",
            markdown(["form", *SHAPES], table),
            markdown(["", *SHAPES], ratios),
        )
    )


def _through(bench: Bench, shape: str) -> tuple[float, float]:
    """Send through both proxies; give the bytes per request that each has on the disk then."""
    count = 500 if bench.quick else REQUESTS
    folder = bench.folder / shape
    folder.mkdir()
    flows, recordings = folder / "flows", folder / "recordings"
    asked = list(islice(SHAPES[shape](), count))
    with target.serving(folder / "app", pinned(bench.cores.other, [])) as app:
        with mitmdump(bench, folder, app, flows) as proxy:
            bench.say(f"  {shape}: {count:,} requests through mitmdump -w")
            asyncio.run(_send(proxy.url, asked))
        with sidecar(bench, folder, app) as proxy:
            bench.say(f"  {shape}: {count:,} requests through reamp sidecar")
            asyncio.run(_send(proxy.url, asked))
    kept = Capture(recordings).count
    if kept != count:
        raise RuntimeError(f"{kept} records of {count} requests")
    return flows.stat().st_size / count, _size(recordings) / count


LOG = "**capture log**"


def _forms(records: Sequence[Record], folder: Path) -> dict[str, int]:
    """Give the bytes of each form."""
    hidden = redacted(records)
    sizes = {"the requests as sent": sum(len(_raw(record)) for record in records)}
    for source, what in (("", records), (", after redaction", hidden)):
        sizes[f"GoReplay's text, gzipped{source}"] = _gzipped(_goreplay(what))
        sizes[f"JSON lines, gzipped{source}"] = _gzipped(_json_lines(what))
    sizes[LOG] = _log(hidden, round(RATE / 2))
    sizes["capture log of a calm sidecar, 200/s"] = _log(hidden, round(CALM / 2))
    sizes["capture log without redaction"] = _log(records, round(RATE / 2))
    with BatchWriter(folder / "batch") as batch:
        for record in hidden:
            batch.write(record)
    sizes["capture log as a slice or an import writes it"] = batch.bytes
    shutil.rmtree(folder / "batch")
    return sizes


def _log(records: Sequence[Record], together: int) -> int:
    """Bytes of the frames, with so many records in a block."""
    compressor = Compressor(3)
    blocks = (records[start : start + together] for start in range(0, len(records), together))
    return sum(len(pack_frame(0, 1, len(block), compressor.payload(block))) for block in blocks)


async def _send(url: str, asked: Sequence[Asked]) -> None:
    """Send all, over a few connections, in about the given order."""
    rest = iter(asked)

    async def work() -> None:
        async with Client(url) as client:
            for item in rest:
                headers = [field for field in item.headers if field[0] != "content-length"]
                answer = await client.request(item.method, item.path, headers, item.body)
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
