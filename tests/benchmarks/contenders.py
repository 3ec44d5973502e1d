"""The proxies that are compared, and the sidecar in each way of running it. Each is started in a folder of its own.

Where it matters, reamp has everything on: public key, meter, guard, and capture to the disk. mitmdump has nothing on,
or writes flows to a file. nginx does none of what either does: it marks what a proxy may cost at all.

All have one core to themselves and nothing else runs there, with two exceptions, needed to see what a second worker
gains: those *on all cores* share them with the client and the app.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import target
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.peers import find
from tests.benchmarks.target import Nginx
from tests.support.origin import certificate
from tests.support.processes import Process, answers, eventually, free_port, reamp
from tests.support.processes import run as run_reamp

PEERS = ("nginx", "wrk", "mitmdump", "taskset")


class Proxy(NamedTuple):
    """A proxy that runs: where it listens, and the process that is charged for it."""

    url: str
    process: Process
    control: str = ""
    """URL of the control port."""


class Contender(NamedTuple):
    """One row of the tables."""

    key: str
    """What the command line calls it."""
    name: str
    start: Callable[[Bench, Path, Nginx], contextlib.AbstractContextManager[Proxy]]
    upstreams: bool = True
    """Whether each client's connection has one of its own to the app."""


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
        try:
            yield Proxy(f"http://127.0.0.1:{port}", process)
        finally:
            process.kill()  # asked to end, it takes its time over thousands of connections


@contextlib.contextmanager
def _mitmdump_saving(bench: Bench, folder: Path, app: Nginx) -> Iterator[Proxy]:
    with mitmdump(bench, folder, app, folder / "flows") as proxy:
        yield proxy


@contextlib.contextmanager
def sidecar(bench: Bench, folder: Path, app: Nginx, *options: str, one_core: bool = True) -> Iterator[Proxy]:
    """Start `reamp sidecar` with everything on; it records into `folder`/recordings."""
    port, control = free_port(), free_port()
    command = reamp(
        "sidecar", "--upstream", app.url, "--listen", f"127.0.0.1:{port}", "--control", f"127.0.0.1:{control}",
        "--captures", str(folder / "recordings"), "--state", str(folder / "state"),
        "--public-key", str(_public_key(bench.folder)), *options,
    )  # fmt: skip
    with Process(pinned(bench.cores.measured, command) if one_core else command, folder / "sidecar.out") as process:
        process.ready(control)
        eventually(answers(port))
        yield Proxy(f"http://127.0.0.1:{port}", process, f"http://127.0.0.1:{control}")


def _by_tls(*options: str, own: bool) -> Callable[[Bench, Path, Nginx], contextlib.AbstractContextManager[Proxy]]:
    """Start the sidecar for clients that come by TLS, with a certificate of its `own` or one that mitmproxy makes."""

    @contextlib.contextmanager
    def start(bench: Bench, folder: Path, app: Nginx) -> Iterator[Proxy]:
        certificate(folder, "127.0.0.1")
        tls = ("--tls-certificate", str(folder / "server.pem")) if own else ()
        with sidecar(bench, folder, app, *tls, *options) as proxy:
            yield proxy._replace(url=proxy.url.replace("http:", "https:"))

    return start


def _public_key(folder: Path) -> Path:
    if not (folder / "load.pub").exists():
        done = run_reamp("keygen", "load", "--out", str(folder))
        if done.returncode:
            raise RuntimeError(done.stderr)
    return folder / "load.pub"


def _sidecar(
    *options: str, one_core: bool = True
) -> Callable[[Bench, Path, Nginx], contextlib.AbstractContextManager[Proxy]]:
    def start(bench: Bench, folder: Path, app: Nginx) -> contextlib.AbstractContextManager[Proxy]:
        return sidecar(bench, folder, app, *options, one_core=one_core)

    return start


FULL_LANE = "--no-fast-lane"


def lane(key: str) -> tuple[str, ...]:
    """Flags that choose a lane of the sidecar: `fast` or `full`."""
    return (FULL_LANE,) if key == "full" else ()


_WORKERS = ("--workers", "2")

CONTENDERS = (
    Contender("nginx", "nginx, no proxy (the limit)", _direct),
    Contender("nginx-proxy", "nginx as reverse proxy", _nginx),
    Contender("mitmdump", "mitmdump, nothing on", mitmdump),
    Contender("mitmdump-w", "mitmdump -w, saving flows", _mitmdump_saving),
    Contender("full", f"reamp sidecar {FULL_LANE}", _sidecar(FULL_LANE)),
    Contender("fast", "reamp sidecar", _sidecar(), upstreams=False),
    Contender(
        "workers-one-core",
        "reamp sidecar --workers 2, both on one core",
        _sidecar(*_WORKERS),
        upstreams=False,
    ),
    Contender(
        "fast-all-cores",
        "reamp sidecar, on all cores",
        _sidecar(one_core=False),
        upstreams=False,
    ),
    Contender(
        "workers",
        "reamp sidecar --workers 2, on all cores",
        _sidecar(*_WORKERS, one_core=False),
        upstreams=False,
    ),
)
STOCK, PLAIN = "mitmdump", "nginx-proxy"
KEYS = tuple(contender.key for contender in CONTENDERS)

BY_TLS = (
    Contender("fast-tls", "reamp sidecar --tls-certificate, by TLS", _by_tls(own=True), upstreams=False),
    Contender("full-tls", "reamp sidecar --tls-certificate --no-fast-lane, by TLS", _by_tls(FULL_LANE, own=True)),
    Contender("mitmproxy-tls", "reamp sidecar, TLS ended by mitmproxy", _by_tls(own=False)),
)
"""Only if they are asked for by name."""
TLS_KEYS = tuple(contender.key for contender in BY_TLS)


def chosen(bench: Bench, among: tuple[str, ...] = KEYS) -> list[Contender]:
    """Those of `among` that are wanted and can run; says which can't."""
    wanted = bench.narrowed.contenders or KEYS
    return [one for one in (*CONTENDERS, *BY_TLS) if one.key in wanted and one.key in (*among, *TLS_KEYS)]


def lanes(bench: Bench) -> list[Contender]:
    """The lanes of a single sidecar that are wanted: fast, full, or both. A reamp with one lane only calls it full."""
    return chosen(bench, ("fast", "full"))
