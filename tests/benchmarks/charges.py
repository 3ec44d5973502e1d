"""Whether anybody is charged for a load test, in numbers: 5,000 synthetic charges among 20,000 real ones.

A payment provider on loopback writes down every charge that reaches it. An app makes charges through the egress of a
real sidecar, on connections that it keeps: in the clear, and in TLS that is looked into. It tells whose they are by the
trace of the request that they are made for and nothing else; for one way, by the load tag. Each charge has an order
number of its own, so what was answered by whom, and what arrived, is compared one by one.

It fails unless everything comes out even. CPU time is that of the egress's process, by the kernel.
"""

import asyncio
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.benchmarks.measuring import Bench, tree_cpu
from tests.benchmarks.tables import figure, markdown
from tests.support.authority import Authority
from tests.support.processes import eventually, free_port
from tests.support.provider import Provider, provider
from tests.support.stack import Stack, stack

PEERS: tuple[str, ...] = ()
WAYS = ("clear, by trace", "clear, by tag", "TLS, by trace")
SYNTHETIC, REAL = 5_000, 20_000
CONNECTIONS = 64
TRACES = 250
"""Requests that the charges are made for: each fifth is synthetic, as the ceiling of 25 % allows."""

RULES = """\
sidecar:
  inside: [app.example]
  third_parties:
    - match: api.payments.example/v1/charges
      method: POST
      action: stub
      body: {id: "stub_{{ id }}", order: "{{ request.form.order }}", amount: "{{ request.form.amount | int }}"}
"""


@dataclass
class Told:
    """What came of one way."""

    stubbed: list[str] = field(default_factory=list)
    charged: list[str] = field(default_factory=list)
    """Orders, by who answered."""
    times: dict[str, list[float]] = field(default_factory=lambda: {"synthetic": [], "real": []})
    arrived: list[str] = field(default_factory=list)
    """Orders that the provider got."""
    connections: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    synthetic, real = (100, 400) if bench.quick else (SYNTHETIC, REAL)
    rows, costs = [], []
    for way in WAYS:
        told = asyncio.run(_way(bench.folder / re.sub(r"\W+", "-", way), way, synthetic, real))
        bench.say(f"  {way}: {len(told.stubbed):,} synthetic, {len(told.charged):,} real, {told.seconds:.0f} s")
        _reconcile(way, told, synthetic, real)
        both = set(told.stubbed) & set(told.arrived)
        figures = (len(told.stubbed), len(both), len(told.charged), len(told.arrived), told.connections)
        rows.append([way, *(f"{one:,}" for one in figures), figure(told.cpu / (synthetic + real) * 1e6)])
        for kind, times in told.times.items():
            times.sort()
            p50, p99 = (times[int(len(times) * share)] * 1e3 for share in (0.5, 0.99))
            costs.append([f"{way}, {kind}", figure(p50), figure(p99)])
    head = [
        *(
            "way",
            "synthetic, stubbed",
            "of them at the provider",
            "real, charged",
            "at the provider",
            "connections to it",
        ),
        "CPU us/call",
    ]
    return f"{markdown(head, rows)}\n\n{markdown(['charge', 'p50 ms', 'p99 ms'], costs)}"


def _reconcile(way: str, told: Told, synthetic: int, real: int) -> None:
    wrong = []
    if len(told.stubbed) != synthetic or len(set(told.stubbed)) != synthetic:
        wrong.append(f"{len(told.stubbed)} charges were stubbed, not {synthetic}")
    if len(told.charged) != real or sorted(told.charged) != sorted(told.arrived):
        wrong.append(f"{len(told.charged)} were charged and {len(told.arrived)} arrived, not {real}")
    by = "tag" if "tag" in way else "trace"
    expected = Counter({f"synthetic {by} stubbed": synthetic, "real trace 2xx": real})
    if told.counted != expected:
        wrong.append(f"the egress counts {dict(told.counted)}")
    if wrong:
        raise RuntimeError(f"{way}: " + "; ".join(wrong))


async def _way(folder: Path, way: str, synthetic: int, real: int) -> Told:
    folder.mkdir(parents=True)
    authority = Authority(folder, "theirs")
    tls = authority.serving(authority.issue("provider", "127.0.0.1", "api.payments.example")) if "TLS" in way else None
    (folder / "reamp.yaml").write_text(RULES)
    with stack(folder) as site:
        async with provider(tls) as there:
            port = free_port()
            options = {
                "config": str(folder / "reamp.yaml"),
                "egress": f"127.0.0.1:{port}",
                "egress-map": f"api.payments.example={'https' if tls else 'http'}://127.0.0.1:{there.port}",
                **({"egress-ca": str(authority.trust), "egress-intercept": "127.0.0.1"} if tls else {}),
            }
            process = await asyncio.to_thread(lambda: site.sidecar(**options))
            with process:
                return await _charge(site, port, there, way, synthetic, real)


async def _charge(site: Stack, port: int, there: Provider, way: str, synthetic: int, real: int) -> Told:
    async with httpx.AsyncClient(base_url=site.url, trust_env=False) as users:
        for number in range(TRACES):
            fields = dict(site.tagged()) if number % 5 == 4 else {}
            answer = await users.get("/", headers={**fields, "traceparent": _trace(number)})
            answer.raise_for_status()
    orders = [(f"s{number}", True) for number in range(synthetic)] + [(f"r{number}", False) for number in range(real)]
    random.Random(7).shuffle(orders)
    told, left = Told(), iter(orders)
    egress = site.state().egress
    assert egress
    cpu, began = tree_cpu(egress.pid), time.monotonic()
    trust = None
    if "TLS" in way:
        trust = ssl.create_default_context(cafile=site.folder / "state/egress/mitmproxy-ca-cert.pem")
    tagged = "".join(f"{name}: {value}\r\n" for name, value in site.tagged()) if "tag" in way else ""
    async with asyncio.TaskGroup() as tasks:
        for number in range(CONNECTIONS):
            tasks.create_task(_app(port, number, left, told, trust, tagged))
    told.seconds, told.cpu = time.monotonic() - began, tree_cpu(egress.pid) - cpu
    told.arrived, told.connections = there.orders, there.connections

    def counts() -> bool:
        text = httpx.get(f"{site.control}/metrics", trust_env=False).text
        found = re.findall(r"^reamp_egress_calls_total\{(.*?)\} ([0-9.]+)$", text, re.MULTILINE)
        labels = [(dict(re.findall(r'(\w+)="(\w+)"', label)), int(float(count))) for label, count in found]
        told.counted = Counter({f"{one['kind']} {one['by']} {one['outcome']}": n for one, n in labels if n})
        return told.counted.total() >= len(orders)

    await asyncio.to_thread(eventually, counts)
    return told


def _trace(number: int) -> str:
    return f"00-{number + 1:032x}-{number + 1:016x}-00"


async def _app(
    port: int, seed: int, left: Iterator[tuple[str, bool]], told: Told, trust: ssl.SSLContext | None, tagged: str
) -> None:
    """Make charges one after the other on one connection, whoever they are for."""
    drawing = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if trust is not None:
        writer.write(b"CONNECT api.payments.example:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await writer.start_tls(trust, server_hostname="api.payments.example")
    url = "/v1/charges" if trust else "http://api.payments.example/v1/charges"
    for order, is_synthetic in left:
        kind = "synthetic" if is_synthetic else "real"
        fifth = drawing.randrange(TRACES // 5) * 5
        trace = _trace(fifth + 4 if is_synthetic else fifth + drawing.randrange(4))
        body = f"order={order}&amount={drawing.randrange(10_000)}"
        began = time.monotonic()
        writer.write(
            f"POST {url} HTTP/1.1\r\nhost: api.payments.example\r\ntraceparent: {trace}\r\n"
            f"{tagged if is_synthetic else ''}content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: ([0-9]+)", head)
        answer = await reader.readexactly(int(length[1]) if length else 0)
        told.times[kind].append(time.monotonic() - began)
        (told.stubbed if b'"stub_' in answer else told.charged).append(order)
    writer.close()
