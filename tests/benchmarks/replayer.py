"""`reamp replay`, by both its lanes, against wrk, hey, k6 and Locust: requests per second on one core, CPU microseconds
per request.

Every generator has one core to itself and nginx has the other. The generators do different things: wrk and hey send one
fixed request over and over and draw up a latency statistic; k6 and Locust run a script for each request; reamp reads
every request from a recording on the disk, encodes it, signs it with a load tag, holds it to an absolute schedule,
counts and times it by route beside what was recorded, and keeps four histograms and a journal. `wrk, browser headers`
shows what the longer requests cost nginx and wrk.

*Under a ceiling*, credit is real: each request spends one that a control port granted over its stream, 50 times a
second, as with a live target. That control port (`tests.support.grants`) makes up the real traffic, for no sidecar
sees 400,000 requests a second here; the replayer can't tell, and each row fails unless credits spent are requests
sent. *Extra to live* is the default before a live target: nothing is due by itself, requests are wanted as real ones
are reported, 5% of 400,000. *With a plugin*: one that changes nothing. *HTTP/2*: one connection with up to 128 requests
on it, without TLS, as h2load beside it.

Flat out, reamp has more to send than a core can carry and is told to be late rather than to shed (`--max-lag`), so that
32 connections are always busy, as with the others; such a run is rightly declared invalid. At a fixed rate it is
used as meant: the schedule is kept, and each request is waited for by itself, which costs more CPU per request.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from replayer.books.folder import read_report
from tests.benchmarks import target, traffic
from tests.benchmarks.measuring import Bench, Sample, measure, pinned
from tests.benchmarks.peers import find
from tests.benchmarks.tables import figure, markdown, middle, per_core, spread
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, free_port, python, reamp
from tests.support.processes import run as run_reamp
from tests.support.recording import write

PEERS = ("nginx", "wrk", "hey", "k6", "locust", "h2load", "taskset")
CONNECTIONS = 32
STREAMS = 128
"""Requests that nginx takes at once on a connection of HTTP/2."""

FIXED_RATES = (5_000, 20_000)
REAL = 400_000
"""Real requests per second that the control port makes up: with a ceiling of 100% more credit than can be spent."""

EXTRA = "5%"
"""Of them: 20,000 a second."""

PLUGIN = "tests.benchmarks.hooks:unchanged"
TOO_MUCH = 600_000
"""Recorded requests per second that no single core can send."""

MOST = 300_000
"""Requests per second that one may send at most: so many the recording has to have."""

_K6 = """
import http from "k6/http";
export const options = { vus: %d, duration: "60s", discardResponseBodies: true };
export default () => { http.get("%s/item/4711"); };
"""
_LOCUST = """
from locust import FastHttpUser, task

class User(FastHttpUser):
    @task
    def item(self):
        self.client.get("/item/4711")
"""


class Contender(NamedTuple):
    """One row of the table."""

    name: str
    sends: str
    command: Callable[[Nginx, Path], list[str]]
    """Given the target and a folder of its own."""


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    samples: dict[str, list[Sample]] = {}
    recordings = _recordings(bench)
    other = pinned(bench.cores.other, [])
    with target.serving(bench.folder / "nginx", other) as nginx, _granting(bench, other) as control:
        contenders = [*_reamp(bench, control, *recordings), *_peers()]
        for number in range(bench.rounds):
            for place, contender in enumerate(contenders):
                folder = bench.folder / f"{number}-{place}"
                folder.mkdir()
                command = pinned(bench.cores.measured, contender.command(nginx, folder))
                with Process(command, folder / "out") as process:
                    sample = measure(process, nginx, bench.seconds)
                sample = sample._replace(note=verdict(folder))
                samples.setdefault(contender.name, []).append(sample)
                bench.say(
                    f"  {number + 1}/{bench.rounds} {contender.name:38} {sample.rate:9,.0f}/s {sample.cpu_us:7.1f} us"
                    f"  busy {sample.busy:4.0%}, nginx {sample.target_busy:4.0%} {sample.note}"
                )
    return _table(contenders, samples)


@contextmanager
def _granting(bench: Bench, prefix: list[str]) -> Iterator[str]:
    """Have a control port grant as much as anybody could spend; give its URL."""
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.grants:app", "--port", str(port), "--log-level", "warning")
    told = {"GRANT_RATE": str(REAL), "GRANT_MAX_EXTRA": "100%"}
    with Process([*prefix, *command], bench.folder / "grants.out", told) as process:
        process.ready(port)
        yield f"http://127.0.0.1:{port}"


def _recordings(bench: Bench) -> tuple[Path, dict[int, Path]]:
    """Two kinds of recordings: one that a core can't keep up with, and one at each fixed rate."""
    many = round(MOST * (bench.seconds + 2))
    bench.say(f"  writing a recording of {many:,} requests, and others")
    flat = write(bench.folder / "flat", traffic.records(many, TOO_MUCH))
    fixed = {
        rate: write(bench.folder / f"at-{rate}", traffic.records(round(rate * (bench.seconds + 3)), rate))
        for rate in FIXED_RATES
    }
    return flat, fixed


def _reamp(bench: Bench, control: str, flat: Path, fixed: dict[int, Path]) -> list[Contender]:
    done = run_reamp("keygen", "load", "--out", str(bench.folder))
    if done.returncode:
        raise RuntimeError(done.stderr)

    def row(name: str, recording: Path, *more: str, http2: bool = False) -> Contender:
        idle = () if "--sidecar" in more else ("--idle-target",)
        protocol = ("--http2", "--max-connections", "1") if http2 else ("--max-connections", str(CONNECTIONS))

        def command(nginx: Nginx, folder: Path) -> list[str]:
            return reamp(
                *("replay", str(recording), "--to", nginx.http2_url if http2 else nginx.url, *idle, *protocol),
                *("--key", str(bench.folder / "load.key"), "--runs", str(folder / "runs"), *more),
            )

        return Contender(name, "recorded, tagged", command)

    lanes = ("native", "python")
    late = ("--max-lag", "1h")
    ceiling = ("--no-preflight", "--sidecar", control, "--of", "recording", "--amplify", "1x", "--ceiling", "100%")
    live = ("--no-preflight", "--sidecar", control, "--amplify", "1.05x", "--ceiling", EXTRA)
    return [
        *(row(f"reamp, {lane} lane", flat, *late, "--lane", lane) for lane in lanes),
        *(row(f"reamp, {lane}, under a ceiling", flat, *late, "--lane", lane, *ceiling) for lane in lanes),
        *(row(f"reamp, {lane}, with a plugin", flat, *late, "--lane", lane, "--plugin", PLUGIN) for lane in lanes),
        row("reamp, HTTP/2", flat, *late, http2=True),
        *(row(f"reamp, {lane}, at {rate:,}/s", fixed[rate], "--lane", lane) for rate in FIXED_RATES for lane in lanes),
        *(
            row(f"reamp, native, at {rate:,}/s under a ceiling", fixed[rate], "--lane", "native", *ceiling)
            for rate in FIXED_RATES
        ),
        row("reamp, native, 20,000/s extra to live", fixed[20_000], "--lane", "native", *live),
    ]


def _peers() -> list[Contender]:
    browser = [part for name, value in next(traffic.requests(1)).headers for part in ("-H", f"{name}: {value}")]
    connections = str(CONNECTIONS)

    def wrk(*more: str) -> Callable[[Nginx, Path], list[str]]:
        return lambda nginx, _: ["wrk", "-t1", "-c", connections, "-d", "60s", *more, f"{nginx.url}/item/4711"]

    def hey(nginx: Nginx, _: Path) -> list[str]:
        return ["hey", "-c", connections, "-z", "60s", f"{nginx.url}/item/4711"]

    def h2load(nginx: Nginx, _: Path) -> list[str]:
        return ["h2load", "-c1", f"-m{STREAMS}", "-D60", f"{nginx.http2_url}/item/4711"]

    def k6(nginx: Nginx, folder: Path) -> list[str]:
        (folder / "script.js").write_text(_K6 % (CONNECTIONS, nginx.url))
        return [find("k6") or "k6", "run", "--quiet", "--no-usage-report", "--address", "", str(folder / "script.js")]

    def locust(nginx: Nginx, folder: Path) -> list[str]:
        (folder / "locustfile.py").write_text(_LOCUST)
        options = ["--headless", "-u", connections, "-r", connections, "-t", "60s", "--host", nginx.url]
        options.append("--only-summary")
        return [find("locust") or "locust", "-f", str(folder / "locustfile.py"), *options]

    rows = [
        Contender("wrk", "one request, wrk's headers", wrk()),
        Contender("wrk, browser headers", "one request", wrk(*browser)),
        Contender("hey", "one request, hey's headers", hey),
        Contender("k6", "scripted request", k6),
        Contender("Locust (FastHttpUser)", "scripted request", locust),
        Contender("h2load, HTTP/2", "one request, h2load's headers", h2load),
    ]
    return [row for row in rows if find(re.split(r"\W", row.name)[0].lower())]


def verdict(folder: Path) -> str:
    """What the run says about itself; nothing for the others."""
    runs = [path for path in folder.glob("runs/*") if (path / "report.json").exists()]
    if not runs:
        return ""
    report = read_report(runs[0])
    accounts = report.accounts
    if not accounts.reconciles() or accounts.errors.total():
        raise RuntimeError(f"the accounts of {runs[0]} are not clean: {accounts}")
    spent = sum(sidecar.spent for sidecar in report.sidecars)
    if report.sidecars and spent != accounts.sent:
        raise RuntimeError(f"{accounts.sent} requests were sent on {spent} credits")
    lag, size = (report.lag.p99 or 0) * 1000, accounts.bytes_sent // max(1, accounts.sent)
    verdict = "valid" if report.valid else "invalid"
    return f"{verdict}, lag p99 {lag:.1f} ms, shed {accounts.shed.total() - accounts.shed['stopped']}, {size} B/request"


def _table(contenders: list[Contender], samples: dict[str, list[Sample]]) -> str:
    medians = {name: middle(found) for name, found in samples.items()}
    wrk = medians["wrk"]
    rows = [
        [
            c.name,
            c.sends,
            figure(medians[c.name].rate),
            spread([sample.rate for sample in samples[c.name]]),
            figure(medians[c.name].cpu_us),
            spread([sample.cpu_us for sample in samples[c.name]]),
            per_core(medians[c.name]),
            f"{medians[c.name].cpu_us / wrk.cpu_us:.2f}",
            f"{medians[c.name].busy:.0%}",
            f"{medians[c.name].target_busy:.0%}",
        ]
        for c in contenders
    ]
    head = [
        "generator",
        "sends",
        "requests/s",
        "least-most",
        "CPU us/request",
        "least-most",
        "requests/CPU second",
        "x wrk",
        "own core",
        "nginx's core",
    ]
    notes = "\n".join(f"- {c.name}: {medians[c.name].note}" for c in contenders if medians[c.name].note)
    return f"{markdown(head, rows)}\n\nWhat the runs said of themselves (last round):\n\n{notes}"
