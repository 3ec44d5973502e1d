"""The senders whose schedules are compared, each with the command line that makes it keep a rate.

Two kinds of schedule. *Recorded*: the times of a recording with random (Poisson) arrivals, each request with its number
in its path, so that each is held against its own time. *Even*: the tool makes up its schedule, one request each
1/rate; its requests have no numbers, so the k-th that was sent is held against the k-th of the schedule.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from captures.records import Record
from tests.benchmarks import traffic
from tests.benchmarks.peers import find
from tests.support.processes import reamp
from tests.support.processes import run as run_reamp
from tests.support.recording import START_NS, write

PEERS = ("h2load", "k6", "artillery", "autocannon", "mitmdump", "taskset")

CONNECTIONS = 256
"""At most, for every tool that can be told."""
MANY = 1024
"""Where answers take half a second: enough for whoever keeps a rate of 1,000/s nevertheless."""
FEW = 32
"""For tools that divide the rate among their connections: the fewer, the more even."""

_K6 = """
import http from "k6/http";
export const options = { discardResponseBodies: true, scenarios: { pacing: {
    executor: "constant-arrival-rate", rate: %d, timeUnit: "1s", duration: "%ds",
    preAllocatedVUs: %d, maxVUs: %d } } };
export default () => { http.get("%s/item/"); };
"""


class Recorded(NamedTuple):
    """A recording at one rate."""

    folder: Path
    flows: Path | None
    """The same as mitmproxy's flows, as `reamp captures export` writes them."""
    due: list[int]
    """When each request is due, ns since the first; its number is in its path."""


class Ask(NamedTuple):
    """What a sender is to do."""

    url: str
    folder: Path
    """Of its own, for whatever it writes."""
    rate: int
    seconds: int
    recorded: Recorded
    many: bool = False
    """Whether answers will take long."""


class Sender(NamedTuple):
    """One row of the tables."""

    name: str
    schedule: str
    """Where its times come from."""
    command: Callable[[Ask], list[str]]
    recorded: bool = False
    """Whether its requests are numbered, and due when they were recorded."""
    most: int = 20_000
    """The highest rate that it is asked for: beyond it lies what it can't do by far."""
    peer: str = ""


def record(folder: Path, url: str, rate: int, seconds: float, flows: bool) -> Recorded:
    """Record random arrivals at `rate`: browser-like, numbered, and addressed to `url`, as mitmdump wants it."""
    authority = url.removeprefix("http://")
    records: list[Record] = []
    for number, one in enumerate(traffic.records(round(rate * seconds), rate)):
        headers = tuple((n, authority.encode() if n == b"host" else v) for n, v in one.headers)
        records.append(one._replace(path=f"/item/{number}", authority=authority, headers=headers))
    write(folder / "recording", records)
    exported = folder / "recording.flows" if flows else None
    if exported is not None:
        done = run_reamp("captures", "export", str(folder / "recording"), "--to", "mitmproxy", "-o", str(exported))
        if done.returncode:
            raise RuntimeError(done.stderr)
    return Recorded(folder / "recording", exported, [one.arrival_ns - START_NS for one in records])


def senders(key: Path) -> list[Sender]:
    """All that are there."""

    def replay(*more: str) -> Callable[[Ask], list[str]]:
        return lambda ask: reamp(
            "replay", str(ask.recorded.folder), "--to", ask.url, "--idle-target", "--key", str(key),
            "--runs", str(ask.folder / "runs"), "--max-connections", str(MANY if ask.many else CONNECTIONS), *more,
        )  # fmt: skip

    def mitmdump(concurrency: int) -> Callable[[Ask], list[str]]:
        return lambda ask: [
            find("mitmdump") or "mitmdump", "-n", "-q", "--client-replay", str(ask.recorded.flows),
            "--set", f"client_replay_concurrency={concurrency}", "--set", f"confdir={ask.folder / 'mitmproxy'}",
        ]  # fmt: skip

    rows = [
        Sender("reamp replay", "recorded", replay("--lane", "native"), recorded=True),
        Sender("reamp replay --lane python", "recorded", replay("--lane", "python"), recorded=True),
        Sender("k6, constant-arrival-rate", "even", _k6, peer="k6"),
        Sender("h2load --rps", "even, by connection", _h2load, peer="h2load"),
        Sender("autocannon --overallRate", "even, by connection", _autocannon, peer="autocannon"),
        Sender("artillery, arrivalRate", "even", _artillery, most=1_000, peer="artillery"),
        Sender("mitmdump --client-replay", "none", mitmdump(1), recorded=True, most=1_000, peer="mitmdump"),
        Sender("the same, concurrency -1", "none", mitmdump(-1), recorded=True, most=1_000, peer="mitmdump"),
    ]
    return [row for row in rows if not row.peer or find(row.peer)]


def _k6(ask: Ask) -> list[str]:
    users = MANY if ask.many else CONNECTIONS
    script = ask.folder / "script.js"
    script.write_text(_K6 % (ask.rate, ask.seconds, users, users, ask.url))
    return [find("k6") or "k6", "run", "--quiet", "--no-usage-report", "--address", "", str(script)]


def _h2load(ask: Ask) -> list[str]:
    connections = MANY if ask.many else FEW
    each = f"{ask.rate / connections:.6f}"
    return ["h2load", "--h1", f"-c{connections}", f"-D{ask.seconds}", f"--rps={each}", f"{ask.url}/item/"]


def _autocannon(ask: Ask) -> list[str]:
    options = ["-c", str(MANY if ask.many else FEW), "-R", str(ask.rate), "-d", str(ask.seconds), "--no-progress"]
    return [find("autocannon") or "autocannon", *options, f"{ask.url}/item/"]


def _artillery(ask: Ask) -> list[str]:
    script = ask.folder / "script.json"
    config = {
        "target": ask.url,
        "phases": [{"duration": ask.seconds, "arrivalRate": ask.rate}],
        "http": {"pool": MANY if ask.many else CONNECTIONS},
    }
    script.write_text(json.dumps({"config": config, "scenarios": [{"flow": [{"get": {"url": "/item/"}}]}]}))
    quiet = ["env", "ARTILLERY_DISABLE_TELEMETRY=true"]
    return [*quiet, find("artillery") or "artillery", "run", "--quiet", str(script)]
