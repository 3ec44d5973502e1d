"""`reamp replay`, by both its lanes, against wrk, hey, k6 and Locust: requests per second on one core, CPU microseconds
per request.

Every generator has one core to itself and nginx has the other. The generators do different things: wrk and hey send one
fixed request over and over and draw up a latency statistic; k6 and Locust run a script for each request; reamp reads
every request from a recording on the disk, encodes it, signs it with a load tag, holds it to an absolute schedule,
counts and times it by route beside what was recorded, and keeps four histograms and a journal. `wrk, browser headers`
shows what the longer requests cost nginx and wrk.

Flat out, reamp has more to send than a core can carry and is told to be late rather than to shed (`--max-lag`), so that
32 connections are always busy, as with the others; such a run is rightly declared invalid. At a fixed rate it is
used as meant: the schedule is kept, and each request is waited for by itself, which costs more CPU per request.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from replayer.folder import read_report
from tests.benchmarks import target, traffic
from tests.benchmarks.measuring import Bench, Sample, measure, pinned
from tests.benchmarks.peers import find
from tests.benchmarks.tables import figure, markdown, middle, per_core, spread
from tests.support.processes import Process, reamp
from tests.support.processes import run as run_reamp
from tests.support.recording import write

PEERS = ("nginx", "wrk", "hey", "k6", "locust", "taskset")
CONNECTIONS = 32
FIXED_RATES = (5_000, 20_000)
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
    command: Callable[[str, Path], list[str]]
    """Given the target's URL and a folder of its own."""


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    contenders = [*_reamp(bench, *_recordings(bench)), *_peers()]
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    with target.serving(bench.folder / "nginx", pinned(bench.cores.other, [])) as nginx:
        for number in range(bench.rounds):
            for contender in contenders:
                folder = bench.folder / f"{number}-{len(samples[contender.name])}-{contenders.index(contender)}"
                folder.mkdir()
                command = pinned(bench.cores.measured, contender.command(nginx.url, folder))
                with Process(command, folder / "out") as process:
                    sample = measure(process, nginx, bench.seconds)
                sample = sample._replace(note=_verdict(folder))
                samples[contender.name].append(sample)
                bench.say(
                    f"  {number + 1}/{bench.rounds} {contender.name:24} {sample.rate:9,.0f}/s {sample.cpu_us:7.1f} us"
                    f"  busy {sample.busy:4.0%}, nginx {sample.target_busy:4.0%} {sample.note}"
                )
    return _table(contenders, samples)


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


def _reamp(bench: Bench, flat: Path, fixed: dict[int, Path]) -> list[Contender]:
    done = run_reamp("keygen", "load", "--out", str(bench.folder))
    if done.returncode:
        raise RuntimeError(done.stderr)

    def replay(recording: Path, *more: str) -> Callable[[str, Path], list[str]]:
        def command(url: str, folder: Path) -> list[str]:
            key = str(bench.folder / "load.key")
            runs = str(folder / "runs")
            return reamp(
                "replay", str(recording), "--to", url, "--idle-target", "--key", key, "--runs", runs,
                "--max-connections", str(CONNECTIONS), *more,
            )  # fmt: skip

        return command

    return [
        *(
            Contender(f"reamp, {lane} lane", "recorded, tagged", replay(flat, "--max-lag", "1h", "--lane", lane))
            for lane in ("native", "python")
        ),
        *(
            Contender(f"reamp, {lane}, at {rate:,}/s", "recorded, tagged", replay(fixed[rate], "--lane", lane))
            for rate in FIXED_RATES
            for lane in ("native", "python")
        ),
    ]


def _peers() -> list[Contender]:
    browser = [part for name, value in next(traffic.requests(1)).headers for part in ("-H", f"{name}: {value}")]
    connections = str(CONNECTIONS)

    def wrk(*more: str) -> Callable[[str, Path], list[str]]:
        return lambda url, _: ["wrk", "-t1", "-c", connections, "-d", "60s", *more, f"{url}/item/4711"]

    def hey(url: str, _: Path) -> list[str]:
        return ["hey", "-c", connections, "-z", "60s", f"{url}/item/4711"]

    def k6(url: str, folder: Path) -> list[str]:
        (folder / "script.js").write_text(_K6 % (CONNECTIONS, url))
        return [find("k6") or "k6", "run", "--quiet", "--no-usage-report", "--address", "", str(folder / "script.js")]

    def locust(url: str, folder: Path) -> list[str]:
        (folder / "locustfile.py").write_text(_LOCUST)
        options = ["--headless", "-u", connections, "-r", connections, "-t", "60s", "--host", url, "--only-summary"]
        return [find("locust") or "locust", "-f", str(folder / "locustfile.py"), *options]

    rows = [
        Contender("wrk", "one request, wrk's headers", wrk()),
        Contender("wrk, browser headers", "one request", wrk(*browser)),
        Contender("hey", "one request, hey's headers", hey),
        Contender("k6", "scripted request", k6),
        Contender("Locust (FastHttpUser)", "scripted request", locust),
    ]
    return [row for row in rows if find(re.split(r"\W", row.name)[0].lower())]


def _verdict(folder: Path) -> str:
    """What the run says about itself; nothing for the others."""
    runs = [path for path in folder.glob("runs/*") if (path / "report.json").exists()]
    if not runs:
        return ""
    report = read_report(runs[0])
    accounts = report.accounts
    if not accounts.reconciles() or accounts.errors.total():
        raise RuntimeError(f"the accounts of {runs[0]} are not clean: {accounts}")
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
