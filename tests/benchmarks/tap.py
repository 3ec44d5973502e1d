"""What a tap costs the users of the proxy that copies to it, however the tap fares; and what a copy costs.

Users arrive by the clock (`arrivals`) at nginx and at HAProxy with the configurations of deploy/. Each round runs all
cases one after the other, every other round the other way about; a case's p99 is set beside that of the same round
without copies. *No copies, again* is a second such run: how far two of them differ is the noise. *A sidecar in the way*
has no other proxy before it. Proxy, tap, app and client share all cores of the machine, as they come.
"""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtag import keys
from tests.benchmarks import peers, target
from tests.benchmarks.arrivals import Result, arrive
from tests.benchmarks.measuring import Bench, tree_cpu
from tests.benchmarks.tables import figure, markdown
from tests.benchmarks.target import Nginx
from tests.support.processes import Process
from tests.support.stack import Stack
from tests.support.taps import PROXIES

PEERS = ("nginx", "haproxy")

RATE = 1000.0
"""Requests of users per second, unless told otherwise."""
SECONDS = 6.0
BASE, AGAIN, INLINE = "no copies", "no copies, again", "a sidecar in the way"
STOPPED, GONE = "copies of 100%, the tap stopped (SIGSTOP)", "copies of 100%, the tap gone"
CASES = (BASE, "copies of 10%", "copies of 100%", STOPPED, GONE, AGAIN)
_OFF = {
    "nginx": {"        mirror              /.reamp-tap;": ""},
    "haproxy": {"    http-request lua.reamp_tap": "    # "},
}


class _Ran(NamedTuple):
    result: Result
    proxy_us: float
    """CPU microseconds per request of users, warm-up included."""
    tap_us: float
    """The same of the tap (or the sidecar), for each request that it got."""
    got: int

    def p99(self) -> float:
        return float(self.result.latency.get_value_at_percentile(99)) / 1000


def run(bench: Bench) -> str:
    """Measure, and give a table."""
    rate, seconds = bench.narrowed.rate or RATE, 2.0 if bench.quick else SECONDS
    rows: list[list[str]] = []
    with target.serving(bench.folder / "app", []) as app:
        for name in PROXIES:
            if peers.find(name) is None:
                bench.say(f"  {name} is not here")
                continue
            rows += _rows(bench, app, name, CASES, rate, seconds)
        rows += _rows(bench, app, "none", (INLINE,), rate, seconds)
    head = [
        "proxy",
        "its tap",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "p99, times that without copies (least-most)",
        "failed",
        "proxy, CPU us/request",
        "tap, CPU us/copy",
        "copies",
    ]
    many = f"{rate:,.0f} real requests/s for {seconds:g} s; medians of {bench.rounds} rounds"
    return f"{many}:\n\n{markdown(head, rows)}"


def _rows(bench: Bench, app: Nginx, name: str, cases: tuple[str, ...], rate: float, seconds: float) -> list[list[str]]:
    found: dict[str, list[_Ran]] = {case: [] for case in cases}
    for turn in range(bench.rounds):
        for case in cases[:: -1 if turn % 2 else 1]:
            folder = bench.folder / "tap"
            folder.mkdir()
            ran = _run(folder, app, name, case, rate, seconds)
            found[case].append(ran)
            bench.say(
                f"  {turn + 1}/{bench.rounds} {name:8} {case:42} p99 {ran.p99():.2f} ms, {ran.result.failed} failed, "
                f"proxy {ran.proxy_us:.0f} us, tap {ran.tap_us:.0f} us, {ran.got} copies"
            )
            shutil.rmtree(folder)
    rows = []
    for case, runs in found.items():
        ratios = [ran.p99() / base.p99() for ran, base in zip(runs, found.get(BASE, []), strict=False)]
        rows.append([
            name,
            case,
            *(figure(median(r.result.latency.get_value_at_percentile(p) for r in runs) / 1000) for p in (50, 99, 99.9)),
            "" if case == BASE or not ratios else f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            str(sum(ran.result.failed for ran in runs)),
            "" if name == "none" else figure(median(ran.proxy_us for ran in runs)),
            figure(median(ran.tap_us for ran in runs)) if all(ran.got for ran in runs) else "",
            f"{median(ran.got for ran in runs):,.0f}",
        ])  # fmt: skip
    return rows


def _run(folder: Path, app: Nginx, name: str, case: str, rate: float, seconds: float) -> _Ran:
    private, _ = keys.generate(folder, "load")
    site = Stack(folder, app.url, folder / "none", keys.load_private(private))
    with contextlib.ExitStack() as opened:
        proxy: Process | None = None
        if case == INLINE:
            tap, url = opened.enter_context(site.sidecar()), site.url
        else:
            share = "10%" if case == "copies of 10%" else "100%"
            off = _OFF[name] if case in (BASE, AGAIN) else {}
            copier = opened.enter_context(PROXIES[name](site, share, **off))
            proxy, url = copier.process, copier.url
            tap = opened.enter_context(site.tap(share))
        if case == GONE:
            tap.kill()
        elif case == STOPPED:
            opened.enter_context(_stopped(tap))
        before = (tree_cpu(proxy.pid) if proxy else 0.0), _cpu(tap)
        result = arrive([], url, rate, seconds, folder / "arrivals")
        after = (tree_cpu(proxy.pid) if proxy else 0.0), _cpu(tap)
        got = 0 if case in (GONE, STOPPED) else site.state().accounting.seen
        asked = result.answered + result.failed
        return _Ran(result, (after[0] - before[0]) / asked * 1e6, (after[1] - before[1]) / max(1, got) * 1e6, got)


def _cpu(tap: Process) -> float:
    return tree_cpu(tap.pid) if tap.running() else 0.0


@contextlib.contextmanager
def _stopped(tap: Process) -> Iterator[None]:
    tap.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        tap.signal(signal.SIGCONT)
