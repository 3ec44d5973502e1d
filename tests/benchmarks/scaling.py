"""`--processes 2` against one process: does twice the rate come of two cores?

The answer proper needs four cores: one for each process that sends, one for the run's own, one and more for the target.
With two it can't be seen in one figure, so it is taken apart into what can be measured:

- *Two on one core*, the target on the other: what it costs to divide a run. No gain is possible there; if the CPU per
  request is that of one process, then two cores carry twice as much.
- *Sender and target on one core*, and the same on two (two processes, two workers of nginx, all of them free to go
  where they like): everything is doubled, the machine too, so the rate would double if nothing stood in the way. This
  is measured, not computed, but the target's share of the work dilutes what dividing costs.
- wrk beside it, with one thread and with two, which share nothing: what two cores are worth on this machine, where the
  memory, the kernel and the neighbours are shared.

The last column is computed from each pair: what two cores that do nothing but send would carry, as a multiple of one:
twice the CPU per request of the one, over that of the two, the run's own process included. wrk's, which has no such
process and divides nothing, shows what of the difference is the machine's: on one core sender and target need not wake
each other across cores. Of all figures the median of the rounds; of ratios that of the ratios within a round.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks import target, traffic
from tests.benchmarks.measuring import Bench, tree, tree_cpu
from tests.benchmarks.replayer import CONNECTIONS, TOO_MUCH, verdict
from tests.benchmarks.tables import figure, markdown, spread
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, eventually, reamp
from tests.support.processes import run as run_reamp
from tests.support.recording import write

PEERS = ("nginx", "wrk", "taskset")

MOST = 400_000
"""Requests per second that two processes may send at most: so many the recording has to have."""

_WARM_UP = 1.0


class _Case(NamedTuple):
    """One row of the table."""

    name: str
    command: Callable[[Nginx, Path], list[str]]
    cores: tuple[int, ...]
    target_cores: tuple[int, ...]
    base: str = ""
    """The row that its rate is a multiple of."""


class _Seen(NamedTuple):
    """One measurement. CPU is in microseconds per request."""

    rate: float
    sender: float
    """Of all its processes."""
    parent: float
    """Of the one that was started, without those that it started."""
    target: float


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    if run_reamp("keygen", "load", "--out", str(bench.folder)).returncode:
        raise RuntimeError("reamp keygen failed")
    many = round(MOST * (bench.seconds + 2))
    bench.say(f"  writing a recording of {many:,} requests")
    recording = write(bench.folder / "flat", traffic.records(many, TOO_MUCH))
    cases = _cases(bench, recording)
    seen: dict[str, list[_Seen]] = {case.name: [] for case in cases}
    for number in range(bench.rounds):
        for place, case in enumerate(cases):
            folder = bench.folder / f"{number}-{place}"
            folder.mkdir()
            one = _measured(case, folder, bench.seconds)
            seen[case.name].append(one)
            bench.say(
                f"  {number + 1}/{bench.rounds} {case.name:44} {one.rate:9,.0f}/s  CPU us/request {one.sender:.2f}, "
                f"of the parent {one.parent:.2f}, of nginx {one.target:.2f} {verdict(folder)}"
            )
    return _table(cases, seen)


_ONE, _TWO = "1 process", "2 processes"
_BOTH = "and nginx, on one core"
_ALL = "and two workers of nginx, on two cores"


def _cases(bench: Bench, recording: Path) -> list[_Case]:
    def replay(processes: int) -> Callable[[Nginx, Path], list[str]]:
        return lambda nginx, folder: reamp(
            *("replay", str(recording), "--to", nginx.url, "--idle-target", "--key", str(bench.folder / "load.key")),
            *("--runs", str(folder / "runs"), "--max-connections", str(CONNECTIONS * processes), "--max-lag", "1h"),
            *("--lane", "native", "--processes", str(processes)),
        )

    def wrk(threads: int) -> Callable[[Nginx, Path], list[str]]:
        connections = str(CONNECTIONS * threads)
        return lambda nginx, _: ["wrk", f"-t{threads}", "-c", connections, "-d", "60s", f"{nginx.url}/item/4711"]

    first, other = (bench.cores.measured,), (bench.cores.other,)
    both = tuple({*first, *other})
    return [
        _Case(f"reamp, {_ONE} on one core, nginx on the other", replay(1), first, other),
        _Case(
            f"reamp, {_TWO} on one core, nginx on the other",
            replay(2),
            first,
            other,
            f"reamp, {_ONE} on one core, nginx on the other",
        ),
        _Case(f"reamp, {_ONE}, {_BOTH}", replay(1), first, first),
        _Case(f"reamp, {_TWO}, {_ALL}", replay(2), both, both, f"reamp, {_ONE}, {_BOTH}"),
        _Case(f"wrk, 1 thread, {_BOTH}", wrk(1), first, first),
        _Case(f"wrk, 2 threads, {_ALL}", wrk(2), both, both, f"wrk, 1 thread, {_BOTH}"),
    ]


def _measured(case: _Case, folder: Path, seconds: float) -> _Seen:
    workers = len(case.target_cores)
    with target.serving(folder / "nginx", _on(case.target_cores, []), workers) as nginx:
        with Process(_on(case.cores, case.command(nginx, folder)), folder / "out") as process:
            before = nginx.requests()
            eventually(lambda: nginx.requests() > before + 5 or not process.running(), 30)
            time.sleep(_WARM_UP)
            first = _Reading.take(process.pid, nginx)
            time.sleep(seconds)
            last = _Reading.take(process.pid, nginx)
            if not process.running():
                raise RuntimeError(f"it ended before the measurement did:\n{process.output}")
    count = last.requests - first.requests
    return _Seen(
        count / (last.at - first.at),
        (last.sender - first.sender) / count * 1e6,
        (last.parent - first.parent) / count * 1e6,
        (last.target - first.target) / count * 1e6,
    )


def _on(cores: tuple[int, ...], command: list[str]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


class _Reading(NamedTuple):
    at: float
    requests: int
    sender: float
    parent: float
    target: float

    @classmethod
    def take(cls, pid: int, nginx: Nginx) -> "_Reading":
        requests = nginx.requests()
        seconds = dict(tree(pid))
        return cls(time.monotonic(), requests, sum(seconds.values()), seconds.get(pid, 0.0), tree_cpu(nginx.pid))


def _table(cases: list[_Case], seen: dict[str, list[_Seen]]) -> str:
    head = [
        "sender",
        "requests/s",
        "least-most",
        "x one",
        "least-most",
        "CPU us/request",
        "of the parent",
        "nginx's",
        "computed: x one",
        "least-most",
    ]
    rows = []
    for case in cases:
        found = seen[case.name]
        pairs = list(zip(seen[case.base], found, strict=True)) if case.base else []
        gains = [two.rate / one.rate for one, two in pairs]
        computed = [2 * one.sender / two.sender for one, two in pairs]
        rows.append(
            [
                case.name,
                figure(median(one.rate for one in found)),
                spread([one.rate for one in found]),
                f"{median(gains):.2f}" if gains else "",
                spread(gains) if gains else "",
                figure(median(one.sender for one in found)),
                figure(median(one.parent for one in found)) if "processes" in case.name else "",
                figure(median(one.target for one in found)),
                f"{median(computed):.2f}" if computed else "",
                spread(computed) if computed else "",
            ]
        )
    return markdown(head, rows)
