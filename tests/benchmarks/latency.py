"""What the sidecar adds to a request's time, and whether the capture's work shows in the slowest of them.

Two questions. *At one connection*: wrk's median latency, over that of nginx as a reverse proxy. *The slowest in a
thousand, with capture beside without*: users arrive by the clock (`arrivals`) at half of what the lane carries, while
segments rotate about once a second and blocks are flushed. Rounds alternate between the two, so that a
neighbour's hour hits both.
"""

import re
import shutil
import urllib.request
from pathlib import Path
from statistics import median
from typing import NamedTuple

from captures.reader import Capture
from replayer.counting.latency import histogram
from tests.benchmarks import target
from tests.benchmarks.arrivals import Result, arrive
from tests.benchmarks.contenders import PLAIN, Contender, Proxy, chosen, lane, lanes, sidecar
from tests.benchmarks.load import load
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.payloads import BROWSER, SMALL
from tests.benchmarks.sidecar import matrix
from tests.benchmarks.tables import figure, markdown, middle, spread
from tests.benchmarks.target import Nginx

SECONDS = 8.0
"""Of arrivals, in each run."""
SHARE = 0.5
"""Of what the lane carries."""

_BYTES = 50
"""On the disk per record, about: for a segment that fills in a second."""
_DROPPED = re.compile(r'^reamp_capture_records_total\{[^}]*outcome="dropped"[^}]*\} (\S+)', re.MULTILINE)


class _Ran(NamedTuple):
    result: Result
    segments: int
    dropped: int


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    parts = [_added(bench)]
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        parts += [_tail(bench, app, contender) for contender in lanes(bench)]
    return "\n\n".join(part for part in parts if part)


def _added(bench: Bench) -> str:
    contenders = chosen(bench, ("nginx", PLAIN, "mitmdump", "full", "fast"))
    found = matrix(bench, contenders, [SMALL], [1])
    plain = found.get((PLAIN, SMALL.key, 1))
    base = middle(plain).p50_ms if plain else None
    rows = []
    for contender in contenders:
        samples = found.get((contender.key, SMALL.key, 1), [])  # empty if every measurement failed
        p50s = [sample.p50_ms for sample in samples if sample.p50_ms is not None]
        if p50s:
            added = f"{median(p50s) - base:+.3f}" if base is not None else ""
            rows.append([contender.name, f"{median(p50s):.3f}", f"{min(p50s):.3f}-{max(p50s):.3f}", added])
    head = ["proxy", "p50 ms", "least-most", "over nginx as reverse proxy, ms"]
    return f"One connection, {SMALL.title}:\n\n{markdown(head, rows)}" if rows else ""


def _tail(bench: Bench, app: Nginx, contender: Contender) -> str:
    """The slowest, with capture and without, at the same rate; and what this client finds without any proxy."""
    rate = bench.narrowed.rate or SHARE * _carries(bench, app, contender)
    seconds = 2.0 if bench.quick else SECONDS
    bench.say(f"  {contender.name}: arrivals at {rate:,.0f}/s for {seconds:g} s, {bench.rounds} x 3")
    found: dict[str, list[_Ran]] = {"with capture": [], "`--no-capture`": [], "no proxy": []}
    for turn in range(bench.rounds):
        # Every other round the other way about: nobody is always the first.
        for name in list(found)[:: -1 if turn % 2 else 1]:
            folder = bench.folder / "tail"
            folder.mkdir()
            ran = _run(bench, folder, app, contender, name, rate, seconds)
            found[name].append(ran)
            bench.say(
                f"  {turn + 1}/{bench.rounds} {contender.key} {name:15} p50 {_ms(ran.result, 50)} "
                f"p99.9 {_ms(ran.result, 99.9)} ms, sender's lag p99.9 {ran.result.lag.get_value_at_percentile(99.9)} "
                f"us, {ran.segments} segments, {ran.dropped} dropped, {ran.result.failed} failed"
            )
            shutil.rmtree(folder)
    ratios = [
        on.result.latency.get_value_at_percentile(99.9) / off.result.latency.get_value_at_percentile(99.9)
        for on, off in zip(found["with capture"], found["`--no-capture`"], strict=True)
    ]
    rows = [[name, *_figures(runs)] for name, runs in found.items()]
    head = [
        contender.name,
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "least-most",
        "p99.9 of all rounds together",
        "max ms",
        "sender's lag p99.9 ms",
        "requests",
        "failed",
        "segments per run",
        "records dropped",
    ]
    return (
        f"Arrivals at {rate:,.0f}/s, {seconds:g} s each:\n\n{markdown(head, rows)}\n\n"
        f"p99.9 with capture, as a multiple of the one without: {median(ratios):.2f} (least-most {spread(ratios)})."
    )


def _run(bench: Bench, folder: Path, app: Nginx, contender: Contender, name: str, rate: float, seconds: float) -> _Ran:
    client = pinned(bench.cores.other, [])
    if name == "no proxy":
        return _Ran(arrive(client, app.url, rate, seconds, folder / "arrivals"), 0, 0)
    size = max(16_384, round(rate * _BYTES))
    capture = ["--segment-size", f"{size}B"] if name == "with capture" else ["--no-capture"]
    with sidecar(bench, folder, app, *lane(contender.key), *capture) as proxy:
        result = arrive(client, proxy.url, rate, seconds, folder / "arrivals")
        dropped = _dropped(proxy)
    return _Ran(result, len(Capture(folder / "recordings").segments) if name == "with capture" else 0, dropped)


def _carries(bench: Bench, app: Nginx, contender: Contender) -> float:
    """Requests per second at which the lane is busy, capture on."""
    folder = bench.folder / "carries"
    folder.mkdir()
    with contender.start(bench, folder, app) as proxy:
        sample = load(bench, folder, proxy, app, BROWSER, 32)
    shutil.rmtree(folder)
    return sample.rate


def _dropped(proxy: Proxy) -> int:
    with urllib.request.urlopen(f"{proxy.control}/metrics", timeout=10) as answer:
        found = _DROPPED.findall(answer.read().decode())
    return round(sum(float(value) for value in found))


def _figures(runs: list[_Ran]) -> list[str]:
    together, lag = histogram(), histogram()
    for ran in runs:
        together.add(ran.result.latency)
        lag.add(ran.result.lag)
    slowest = [ran.result.latency.get_value_at_percentile(99.9) / 1000 for ran in runs]
    return [
        *(figure(median(r.result.latency.get_value_at_percentile(p) for r in runs) / 1000) for p in (50, 99, 99.9)),
        spread(slowest),
        figure(together.get_value_at_percentile(99.9) / 1000),
        figure(together.get_max_value() / 1000),
        figure(lag.get_value_at_percentile(99.9) / 1000),
        f"{sum(ran.result.answered for ran in runs):,}",
        f"{sum(ran.result.failed for ran in runs):,}",
        f"{median(ran.segments for ran in runs):g}",
        f"{sum(ran.dropped for ran in runs):,}",
    ]


def _ms(result: Result, percentile: float) -> str:
    return f"{result.latency.get_value_at_percentile(percentile) / 1000:.2f}"
