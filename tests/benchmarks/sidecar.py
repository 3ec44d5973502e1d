"""`reamp sidecar` against stock `mitmdump` and nginx as a reverse proxy: requests per second, CPU us per request.

The proxy has one core to itself; nginx (the app) and wrk share the other. wrk keeps 32 connections busy, or one: then
there is nothing but the way through the proxy, and wrk's median latency shows how long it is. reamp has everything on
(public key, meter, guard, capture to the disk); mitmdump has nothing on, or writes flows to a file. nginx does
none of what either does: it marks what a proxy may cost at all.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import target
from tests.benchmarks.measuring import Bench, Sample, measure, pinned
from tests.benchmarks.peers import find
from tests.benchmarks.tables import figure, markdown, middle, per_core, spread
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, answers, eventually, free_port, reamp
from tests.support.processes import run as run_reamp

PEERS = ("nginx", "wrk", "mitmdump", "taskset")
CONNECTIONS = (32, 1)

_P50 = re.compile(r"50%\s+([\d.]+)(us|ms|s)")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Proxy(NamedTuple):
    """A proxy that runs: where it listens, and the process that is charged for it."""

    url: str
    process: Process


class Contender(NamedTuple):
    """One row of the table."""

    name: str
    start: Callable[[Bench, Path, Nginx], contextlib.AbstractContextManager[Proxy]]


@contextlib.contextmanager
def _direct(_bench: Bench, _folder: Path, app: Nginx) -> Iterator[Proxy]:
    yield Proxy(app.url, app.process)


@contextlib.contextmanager
def _nginx(bench: Bench, folder: Path, app: Nginx) -> Iterator[Proxy]:
    with target.proxying(folder, pinned(bench.cores.measured, []), app.url) as proxy:
        yield Proxy(proxy.url, proxy.process)


@contextlib.contextmanager
def mitmdump(bench: Bench, folder: Path, app: Nginx, flows: Path | None = None) -> Iterator[Proxy]:
    """Start stock mitmdump as a reverse proxy; with `flows`, it saves what passes."""
    port = free_port()
    options = ["--mode", f"reverse:{app.url}", "--listen-host", "127.0.0.1", "--listen-port", str(port), "--quiet"]
    options += ["--set", f"confdir={folder / 'mitmproxy'}"]
    if flows is not None:
        options += ["--save-stream-file", str(flows)]
    command = pinned(bench.cores.measured, [find("mitmdump") or "mitmdump", *options])
    with Process(command, folder / "mitmdump.out") as process:
        process.ready(port)
        yield Proxy(f"http://127.0.0.1:{port}", process)


@contextlib.contextmanager
def _mitmdump_saving(bench: Bench, folder: Path, app: Nginx) -> Iterator[Proxy]:
    with mitmdump(bench, folder, app, folder / "flows") as proxy:
        yield proxy


@contextlib.contextmanager
def sidecar(bench: Bench, folder: Path, app: Nginx) -> Iterator[Proxy]:
    """Start `reamp sidecar` with everything on; it records into `folder`/recordings."""
    port, control = free_port(), free_port()
    done = run_reamp("keygen", "load", "--out", str(folder))
    if done.returncode:
        raise RuntimeError(done.stderr)
    command = reamp(
        "sidecar", "--upstream", app.url, "--listen", f"127.0.0.1:{port}", "--control", f"127.0.0.1:{control}",
        "--captures", str(folder / "recordings"), "--state", str(folder / "state"),
        "--public-key", str(folder / "load.pub"),
    )  # fmt: skip
    with Process(pinned(bench.cores.measured, command), folder / "sidecar.out") as process:
        process.ready(control)
        eventually(answers(port))
        yield Proxy(f"http://127.0.0.1:{port}", process)


CONTENDERS = (
    Contender("nginx, no proxy", _direct),
    Contender("nginx as reverse proxy", _nginx),
    Contender("mitmdump, nothing on", mitmdump),
    Contender("mitmdump -w, saving flows", _mitmdump_saving),
    Contender("reamp sidecar, everything on", sidecar),
)


def run(bench: Bench) -> str:
    """Measure, and give a table for each number of connections."""
    samples: dict[tuple[int, str], list[Sample]] = {}
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        for number in range(bench.rounds):
            for contender in CONTENDERS:
                folder = bench.folder / f"{number}-{CONTENDERS.index(contender)}"
                folder.mkdir()
                with contender.start(bench, folder, app) as proxy:
                    for connections in CONNECTIONS:
                        sample = _load(bench, folder, proxy, app, connections)
                        samples.setdefault((connections, contender.name), []).append(sample)
                        bench.say(
                            f"  {number + 1}/{bench.rounds} {contender.name:28} {connections:3} connections "
                            f"{sample.rate:9,.0f}/s {sample.cpu_us:8.1f} us  busy {sample.busy:4.0%}  "
                            f"p50 {sample.note} ms"
                        )
                shutil.rmtree(folder)
    return "\n\n".join(_table(connections, samples) for connections in CONNECTIONS)


def _load(bench: Bench, folder: Path, proxy: Proxy, app: Nginx, connections: int) -> Sample:
    """Put wrk before the proxy, and watch from one second after its start until shortly before its end."""
    log = folder / f"wrk-{connections}"
    lasts = round(bench.seconds + 2)
    command = ["wrk", "-t1", "-c", str(connections), "-d", f"{lasts}s", "--latency", f"{proxy.url}/item/4711"]
    with Process(pinned(bench.cores.other, command), log) as wrk:
        sample = measure(proxy.process, app, bench.seconds, 0.8)
        if not wrk.running():
            raise RuntimeError(f"wrk ended before the measurement did:\n{wrk.output}")
        wrk.wait(30)
    text = log.read_text()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    p50 = _P50.search(text)
    return sample._replace(note=f"{float(p50[1]) * _UNITS[p50[2]]:.2f}" if p50 else "")


def _table(connections: int, samples: dict[tuple[int, str], list[Sample]]) -> str:
    medians = {c.name: middle(samples[connections, c.name]) for c in CONTENDERS}
    stock = medians["mitmdump, nothing on"]
    rows = []
    for name, found in medians.items():
        p50s = sorted(float(sample.note) for sample in samples[connections, name] if sample.note)
        rows.append(
            [
                name,
                figure(found.rate),
                spread([sample.rate for sample in samples[connections, name]]),
                figure(found.cpu_us),
                spread([sample.cpu_us for sample in samples[connections, name]]),
                per_core(found),
                f"{stock.cpu_us / found.cpu_us:.2f}",
                f"{found.busy:.0%}",
                f"{p50s[len(p50s) // 2]:.2f}" if p50s else "",
            ]
        )
    head = [
        "proxy",
        "requests/s",
        "least-most",
        "CPU us/request",
        "least-most",
        "requests/CPU second",
        "times less CPU than mitmdump",
        "own core",
        "p50 ms",
    ]
    return f"{connections} connection{'s' * (connections > 1)}:\n\n{markdown(head, rows)}"
