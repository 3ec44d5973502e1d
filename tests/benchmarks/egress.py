"""What a call costs that goes through the egress, beside the same call without a proxy and through stock mitmdump.

wrk asks nginx for 107 bytes, in absolute form as a client with ``HTTP_PROXY`` does. *Left alone*: the call bears the
trace of nobody. *Real*: the trace of a real request. *Tagged*: that of a synthetic one, so that it goes on with a load
tag. All of them have the rules for third parties to pass, as every egress has.

And what its part in a worker costs: `addons.learning` on single requests, without a proxy around it.
"""

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import NamedTuple

import httpx
from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.test import taddons

from addons.internals.flows import Fields, quick_flow
from addons.learning import Learning
from addons.passage import KIND, RUN
from addons.traces import Traces
from loadtag import headers, keys
from tests.benchmarks import contenders, target
from tests.benchmarks.load import WARM_UP
from tests.benchmarks.measuring import Bench, Sample, measure, pinned
from tests.benchmarks.peers import find
from tests.benchmarks.tables import figure, markdown, middle, spread
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, free_port

PEERS = ("nginx", "wrk", "mitmdump", "taskset")
CONNECTIONS = (1, 16)
FLOWS = 2000

_SCRIPT = """
local asked
init = function(args) asked = wrk.format("GET", "{target}", {{["Host"] = "{host}", ["traceparent"] = "{trace}"}}) end
request = function() return asked end
"""


class Way(NamedTuple):
    """One row."""

    name: str
    url: str
    """What wrk connects to."""
    process: Process
    """What is charged for it."""
    trace: str


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    with ExitStack() as running:
        app = running.enter_context(target.serving(bench.folder / "app", pinned(bench.cores.other, [])))
        ways = [
            Way("no proxy", app.url, app.process, traceparent()),
            Way("mitmdump, nothing on", *running.enter_context(_mitmdump(bench)), traceparent()),
            *running.enter_context(_egress(bench, app)),
        ]
        found: dict[tuple[str, int], list[Sample]] = {}
        for turn in range(bench.rounds):
            for connections in CONNECTIONS:
                for way in ways:
                    bench.say(f"egress: round {turn + 1}, {way.name}, {connections} connections")
                    found.setdefault((way.name, connections), []).append(_load(bench, way, app, connections))
    return f"{_table(bench, ways, found)}\n\n{_learning(max(5, bench.rounds))}"


def traceparent() -> str:
    """Draw a trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def _load(bench: Bench, way: Way, app: Nginx, connections: int) -> Sample:
    host = app.url.removeprefix("http://")
    path = "/" if way.url == app.url else f"{app.url}/"
    script = bench.folder / "egress.lua"
    script.write_text(_SCRIPT.format(target=path, host=host, trace=way.trace))
    seconds = f"{round(bench.seconds + 60)}s"
    command = ["wrk", "-t1", "-c", str(connections), "-d", seconds, "--latency", "-s", str(script), way.url]
    log = bench.folder / "egress.wrk"
    log.unlink(missing_ok=True)
    with Process(pinned(bench.cores.other, command), log) as client:
        sample = measure(way.process, app, bench.seconds, WARM_UP, at_least=24 * connections)
        client.signal(signal.SIGINT)
        client.wait(30)
    text = log.read_text()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    return sample


@contextmanager
def _mitmdump(bench: Bench) -> Iterator[tuple[str, Process]]:
    port = free_port()
    options = ["--mode", "regular", "--listen-host", "127.0.0.1", "--listen-port", str(port), "--quiet"]
    options += ["--set", f"confdir={bench.folder / 'mitmproxy'}"]
    command = pinned(bench.cores.measured, [find("mitmdump") or "mitmdump", *options])
    with Process(command, bench.folder / "mitmdump.out") as process:
        process.ready(port)
        yield f"http://127.0.0.1:{port}", process
        process.kill()


@contextmanager
def _egress(bench: Bench, app: Nginx) -> Iterator[list[Way]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ("--egress", f"127.0.0.1:{port}", "--max-extra", "100%", "--egress-trace-age", "24h")
    with contenders.sidecar(bench, bench.folder, app, *options) as proxy:
        real, synthetic = traceparent(), traceparent()
        for _ in range(4):
            httpx.get(proxy.url, headers={"traceparent": real}, trust_env=False).raise_for_status()
        token = keys.load_private(bench.folder / "load.key").sign("run-1", int(time.time()) + 3600, "production")
        told = {"traceparent": synthetic, "baggage": f"loadtest={token}"}
        httpx.get(proxy.url, headers=told, trust_env=False).raise_for_status()
        yield [
            Way("reamp's egress, left alone", url, proxy.process, traceparent()),
            Way("reamp's egress, real", url, proxy.process, real),
            Way("reamp's egress, tagged", url, proxy.process, synthetic),
        ]


def _table(bench: Bench, ways: list[Way], found: dict[tuple[str, int], list[Sample]]) -> str:
    head = ["calls by way of"]
    for connections in CONNECTIONS:
        head += [f"{connections} conn.: calls/s", "spread", "CPU us/call"]
    rows = []
    for way in ways:
        row = [way.name]
        for connections in CONNECTIONS:
            samples = found[way.name, connections]
            typical = middle(samples)
            row += [figure(typical.rate), spread([one.rate for one in samples]), figure(typical.cpu_us)]
        rows.append(row)
    return f"{bench.rounds} rounds of {bench.seconds:g} s, interleaved; medians:\n\n{markdown(head, rows)}"


def _learning(rounds: int) -> str:
    token = f"v1.{'k' * 11}.run-1.1893456000.production.{'A' * 86}"
    plain: Fields = ((b"Host", b"shop.example"), (b"Accept", b"*/*"), (b"User-Agent", b"browser"))
    tagged: Fields = tuple(headers.put(plain, token, "run-1"))
    traces = Traces.create()
    found: dict[str, list[float]] = {}
    made = Learning(traces)
    with taddons.context(made) as context:
        context.configure(made)
        for _ in range(rounds):
            for name, kind, fields, traced in (
                ("a real request without a trace", "real", plain, False),
                ("a real request with a trace", "real", plain, True),
                ("a synthetic request with a trace", "synthetic", tagged, True),
                ("a synthetic request that begins one", "synthetic", tagged, False),
            ):
                flows = [_flow(kind, fields, traced=traced) for _ in range(FLOWS)]
                found.setdefault(name, []).append(_timed(made.requestheaders, flows))
    traces.close()
    rows = [[name, figure(median(times)), spread(times)] for name, times in found.items()]
    return f"In a worker, {rounds} rounds of {FLOWS}:\n\n{markdown(['learning from', 'CPU us', 'spread'], rows)}"


def _flow(kind: str, fields: Fields, *, traced: bool) -> http.HTTPFlow:
    # Names and values are new objects for each request, as they are when they come from a socket.
    own = (*fields, (b"traceparent", traceparent().encode())) if traced else fields
    fresh = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in own)
    client, server = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2)), Server(address=("192.0.2.3", 80))
    flow = quick_flow(client, server, b"GET", b"/", fresh, "192.0.2.3", 80, time.time())
    flow.metadata[KIND] = kind
    flow.metadata[RUN] = "run-1"
    return flow


def _timed(function: Callable[[http.HTTPFlow], None], flows: list[http.HTTPFlow]) -> float:
    """Call it for each, and give CPU microseconds per call."""
    before = time.process_time()
    for flow in flows:
        function(flow)
    return (time.process_time() - before) * 1e6 / len(flows)
