"""Memory of `reamp replay`, by the length of the recording and of the run: it is streamed, so neither should matter.

Flat out, so that reading ahead, sorting into histograms and writing the journal are as busy as they can be; and for
minutes at a moderate rate, for what grows by time. The process tree is looked at twice a second: with two processes
that send these are three, and the bound is for one. Beside it stock
`mitmdump --client-replay`, which holds all flows, for recordings that it can play within a minute.
"""

import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from replayer.books.folder import read_report
from tests.benchmarks import target
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.memory import Memory
from tests.benchmarks.peers import find
from tests.benchmarks.tables import figure, markdown
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, eventually, reamp
from tests.support.processes import run as run_reamp
from tests.support.recording import record, write

PEERS = ("nginx", "mitmdump", "taskset")

RECORDS = (20_000, 200_000, 2_000_000)
FLOWS = (1_000, 10_000)
"""For mitmdump."""
CALM, MINUTES = 1_000, 2
"""Requests per second, and for how long."""
BOUND = 200e6 / (1 << 20)
"""MiB that the replay may take (200 MB), however long the recording."""

_RATE = 150_000
"""Recorded requests per second: more than a core can send."""
_EVERY = 0.5
"""Seconds from one look to the next, once there were some."""
_LIMIT = 900.0


class _Ran(NamedTuple):
    arrived: int
    seconds: float
    seen: list[Memory]


def run(bench: Bench) -> str:
    """Measure, and give the table. Raises RuntimeError if not all of a recording was sent, or the bound was passed."""
    share = 100 if bench.quick else 1
    if run_reamp("keygen", "load", "--out", str(bench.folder)).returncode:
        raise RuntimeError("reamp keygen failed")
    most = RECORDS[-1] // share
    calm = ("--rate", f"{CALM}/s", "--duration", f"{max(2, round(60 * MINUTES / share))}s")
    ran: list[tuple[str, _Ran]] = []
    with target.serving(bench.folder / "nginx", pinned(bench.cores.other, [])) as nginx:
        ran += [("reamp replay", _replay(bench, nginx, count // share, "--lane", "native")) for count in RECORDS]
        ran.append(("reamp replay --lane python", _replay(bench, nginx, most, "--lane", "python")))
        ran.append((f"reamp replay at {CALM:,}/s", _replay(bench, nginx, most, *calm, whole=False)))
        over = [name for name, one in ran if max(memory.rss for memory in one.seen) > BOUND]
        ran.append(("reamp replay --processes 2", _replay(bench, nginx, most, "--processes", "2")))
        ran += [("mitmdump --client-replay", _flows(bench, nginx, count // share)) for count in FLOWS]
    head = ["sender", "requests", "seconds", "RSS MiB, first third", "last third", "most", "PSS MiB, most"]
    table = markdown(head, [_row(name, one) for name, one in ran])
    if over:
        raise RuntimeError(f"the bound of {BOUND:.0f} MiB was passed by {', '.join(over)}:\n\n{table}")
    return f"{table}\n\nThe bound for one process, {BOUND:.0f} MiB (200 MB), was kept."


def _replay(bench: Bench, nginx: Nginx, count: int, *more: str, whole: bool = True) -> _Ran:
    recording = _recording(bench, nginx, count)
    folder = bench.folder / f"ran-{time.monotonic_ns()}"
    folder.mkdir()
    key = str(bench.folder / "load.key")
    command = reamp(
        "replay", str(recording), "--to", nginx.url, "--idle-target", "--key", key,
        "--runs", str(folder / "runs"), "--max-connections", "32", "--max-lag", "1h", *more,
    )  # fmt: skip
    ran = _watch(bench, command, folder, nginx)
    (made,) = (folder / "runs").iterdir()
    accounts = read_report(made).accounts
    if not accounts.reconciles() or accounts.answered != (count if whole else ran.arrived):
        raise RuntimeError(f"{accounts.answered} of {count} were answered, {ran.arrived} arrived: {accounts}")
    return ran


def _flows(bench: Bench, nginx: Nginx, count: int) -> _Ran:
    recording, folder = _recording(bench, nginx, count), bench.folder / f"flows-{count}"
    folder.mkdir()
    flows = folder / "flows"
    done = run_reamp("captures", "export", str(recording), "--to", "mitmproxy", "-o", str(flows))
    if done.returncode:
        raise RuntimeError(done.stderr)
    confdir = ["--set", f"confdir={folder / 'mitmproxy'}"]
    command = [find("mitmdump") or "mitmdump", "-n", "-q", "--client-replay", str(flows), *confdir]
    return _watch(bench, command, folder, nginx)


def _recording(bench: Bench, nginx: Nginx, count: int) -> Path:
    recording = bench.folder / f"recording-{count}"
    if recording.exists():
        return recording
    bench.say(f"  writing a recording of {count:,} requests")
    authority = nginx.url.removeprefix("http://")
    headers = [(b"host", authority.encode()), (b"user-agent", b"a small client/1.0"), (b"accept", b"*/*")]
    one = record(headers=headers, authority=authority)
    return write(
        recording,
        (
            one._replace(arrival_ns=one.arrival_ns + number * 1_000_000_000 // _RATE, path=f"/item/{number}")
            for number in range(count)
        ),
    )


def _watch(bench: Bench, command: list[str], folder: Path, nginx: Nginx) -> _Ran:
    before, seen = nginx.requests(), list[Memory]()
    with Process(pinned(bench.cores.measured, command), folder / "out") as process:
        eventually(lambda: nginx.requests() > before or not process.running(), 60)
        began = time.monotonic()
        while process.running() and time.monotonic() < began + _LIMIT:
            seen.append(Memory.of(process.pid))
            time.sleep(min(_EVERY, 0.01 * len(seen)))  # a short run is over before long
        if process.running():
            raise RuntimeError(f"not over within {_LIMIT:g} s:\n{process.output}")
        ended, output = time.monotonic(), process.output
    arrived = nginx.requests() - before
    if not arrived:
        raise RuntimeError(f"nothing arrived:\n{output}")
    ran = _Ran(arrived, ended - began, [memory for memory in seen if memory.rss])
    most = max(memory.rss for memory in ran.seen)
    bench.say(f"  {Path(command[0]).name}: {arrived:,} in {ran.seconds:.1f} s, RSS {most:.0f} MiB at most")
    return ran


def _row(name: str, ran: _Ran) -> list[str]:
    third = max(1, len(ran.seen) // 3)
    rss = [memory.rss for memory in ran.seen]
    return [
        name,
        f"{ran.arrived:,}",
        figure(ran.seconds),
        figure(median(rss[:third])),
        figure(median(rss[-third:])),
        figure(max(rss)),
        figure(max(memory.pss for memory in ran.seen)),
    ]
