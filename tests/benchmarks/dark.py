"""What dark copies cost real users: nothing that shows, however the dark service fares.

Users arrive by the clock (`arrivals`), so whoever is held up for a moment shows in the slowest. Each round runs all
cases one after the other, every other round the other way about; a case's p99 is set beside that of the same round
without dark copies. *No copies, again* is a second such run: how far two of them differ is the noise. The sidecar, its
aide, the app, the dark service and the client share all cores of the machine, as they come.

CPU time is what the kernel charged to the worker (which carries the users) and to the aide, by request of users and by
copy sent. Memory is read after the first second and at the end of each run: the difference is what is told.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
from mitmproxy import http
from mitmproxy.test import taddons

from addons.books import Books
from addons.dark.accounts import Accounts
from addons.dark.handover import HandOver
from addons.internals.flows import quick_flow
from addons.passage import KIND
from rules.wire import Dark, State
from tests.benchmarks import target
from tests.benchmarks.addons import BROWSER, CLIENT, LEAST, SERVER, answer
from tests.benchmarks.arrivals import WARM_UP, Result, arrive
from tests.benchmarks.contenders import Proxy, sidecar
from tests.benchmarks.measuring import Bench, tree
from tests.benchmarks.tables import figure, markdown, spread
from tests.benchmarks.target import Nginx
from tests.support.processes import Process, eventually, free_port, python, resident

PEERS = ("nginx",)

RATE = 1000.0
"""Requests of users per second, unless told otherwise."""
SECONDS = 4.0
SHARES = ("10%", "100%")
BATCH, BATCHES = 100, 20
"""Requests that are handed over in a turn of the loop: fewer than the socket has room for."""
BASE, AGAIN, STOPPED = "no copies", "no copies, again", "well, its sender stopped (SIGSTOP)"
SERVICES = {
    "well": "well",
    "slow: 1 s for an answer": "slow",
    "failing: always 500": "failing",
    "hanging: never answers": "hanging",
    "gone: nobody listens": "gone",
    STOPPED: "well",
}
CASES = (BASE, *SERVICES, AGAIN)


class _Usage(NamedTuple):
    cpu: float
    """Seconds."""
    rss: int


class _Ran(NamedTuple):
    result: Result
    worker_us: float
    """CPU microseconds per request."""
    aide_us: float
    """The same of the aide, per request of users, too."""
    worker_grown: int
    aide_grown: int
    """Bytes."""
    aide_rss: int
    dark: Dark | None

    def p99(self) -> float:
        return float(self.result.latency.get_value_at_percentile(99)) / 1000


def run(bench: Bench) -> str:
    """Measure, and give a table for each share."""
    rate, seconds = bench.narrowed.rate or RATE, 2.0 if bench.quick else SECONDS
    with target.serving(bench.folder / "app", []) as app:
        return "\n\n".join([_handing(bench), *(_table(bench, app, share, rate, seconds) for share in SHARES)])


def _handing(bench: Bench) -> str:
    """What the worker's part costs by itself: all hooks of the add-on over real flows, and the hand-over."""
    rounds = max(LEAST, bench.rounds)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, share, drained in (
            ("not drawn", "0%", True),
            ("drawn and handed over", "100%", True),
            ("drawn and shed, as the socket is full", "100%", False),
        ):
            found.setdefault(name, []).append(asyncio.run(_handed(share, drained)))
    rows = [[name, figure(median(times)), spread(times)] for name, times in found.items()]
    head = ["a request of 11 headers", "CPU us", "least-most"]
    return f"The worker's part by itself, {rounds} rounds:\n\n{markdown(head, rows)}"


async def _handed(share: str, drained: bool) -> float:
    """Give CPU microseconds per request."""
    accounts, books = Accounts.create(1), Books.alone()
    inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    inlet.setblocking(False)
    if not drained:
        outlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is: the first batch fills it
    took, count = 0.0, 0
    made = HandOver(books.shared, accounts, 0, os.dup(outlet.fileno()))
    with taddons.context(made) as context:
        context.options.update(reamp_dark_share=share, reamp_dark_body_limit="64KiB")
        made.running()
        for batch in range(BATCHES):
            flows = [_flow(number) for number in range(BATCH)]
            began = time.thread_time()
            for flow in flows:
                made.requestheaders(flow)
                flow.response = answer()
                made.responseheaders(flow)
                made.response(flow)
            await asyncio.sleep(0)  # in which all of them are handed over
            if batch or drained:
                took, count = took + time.thread_time() - began, count + BATCH
            began = time.thread_time()
            for flow in flows:
                flow.response = answer()
            took -= time.thread_time() - began if batch or drained else 0.0
            while drained:
                try:
                    inlet.recv(1 << 18)
                except BlockingIOError:
                    break
    for one in (inlet, outlet):
        one.close()
    accounts.close()
    return took / count * 1e6


def _flow(number: int) -> http.HTTPFlow:
    fresh = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in BROWSER)
    path = b"/item/%d?page=2" % number
    flow = quick_flow(CLIENT, SERVER, b"GET", path, fresh, "192.0.2.3", 8000, time.time())
    flow.metadata[KIND] = "real"
    return flow


def _table(bench: Bench, app: Nginx, share: str, rate: float, seconds: float) -> str:
    found: dict[str, list[_Ran]] = {case: [] for case in CASES}
    for turn in range(bench.rounds):
        for case in CASES[:: -1 if turn % 2 else 1]:
            folder = bench.folder / "dark"
            folder.mkdir()
            ran = _run(bench, folder, app, case, share, rate, seconds)
            found[case].append(ran)
            sent, shed = _copies(ran)
            bench.say(
                f"  {turn + 1}/{bench.rounds} {share:4} {case:36} p99 {ran.p99():.2f} ms, {ran.result.failed} failed, "
                f"worker {ran.worker_us:.0f} us, aide {ran.aide_us:.0f} us, {sent} copies sent, {shed} not"
            )
            shutil.rmtree(folder)
    rows = []
    for case, runs in found.items():
        ratios = [ran.p99() / base.p99() for ran, base in zip(runs, found[BASE], strict=True)]
        copies = [_copies(ran) for ran in runs]
        rows.append([
            case,
            *(figure(median(r.result.latency.get_value_at_percentile(p) for r in runs) / 1000) for p in (50, 99, 99.9)),
            "" if case == BASE else f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
            str(sum(ran.result.failed for ran in runs)),
            figure(median(ran.worker_us for ran in runs)),
            figure(median(ran.aide_us for ran in runs)) if runs[0].dark else "",
            spread([ran.worker_grown / 2**20 for ran in runs]),
            spread([ran.aide_grown / 2**20 for ran in runs]) if runs[0].dark else "",
            figure(max(ran.aide_rss for ran in runs) / 2**20) if runs[0].dark else "",
            f"{median(sent for sent, _ in copies):,.0f}" if runs[0].dark else "",
            f"{median(shed for _, shed in copies):,.0f}" if runs[0].dark else "",
            "yes" if all(ran.dark is None or ran.dark.reconciles() for ran in runs) else "NO",
        ])  # fmt: skip
    head = [
        "dark service",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "p99, times that without copies (least-most)",
        "failed",
        "worker, CPU us/request",
        "aide, CPU us/request",
        "worker grows, MiB",
        "aide grows, MiB",
        "aide, most MiB",
        "copies sent",
        "shed or stale",
        "accounts exact",
    ]
    many = f"{rate:,.0f} real requests/s for {seconds:g} s, {share} of them copied; medians of {bench.rounds} rounds"
    return f"{many}:\n\n{markdown(head, rows)}"


def _run(bench: Bench, folder: Path, app: Nginx, case: str, share: str, rate: float, seconds: float) -> _Ran:
    with contextlib.ExitStack() as opened:
        options: tuple[str, ...] = ()
        if case in SERVICES:
            url = opened.enter_context(_service(folder, SERVICES[case]))
            options = ("--dark", url, "--dark-share", share)
        proxy = opened.enter_context(sidecar(bench, folder, app, *options, one_core=False))
        pids = _pids(proxy)
        if case == STOPPED:
            os.kill(pids[1], signal.SIGSTOP)
            opened.callback(os.kill, pids[1], signal.SIGCONT)
        before: list[_Usage] = []
        watching = threading.Timer(WARM_UP + 0.5, lambda: before.extend(_usage(proxy, pid) for pid in pids))
        watching.start()
        result = arrive([], proxy.url, rate, seconds, folder / "arrivals")
        watching.join()
        after = [_usage(proxy, pid) for pid in pids]
        if case == STOPPED:
            os.kill(pids[1], signal.SIGCONT)
        dark = _settled(proxy) if options else None
        worker, aide = ((b, a) for b, a in zip(before, after, strict=True))
        requests = rate * (seconds - 0.5)
        return _Ran(
            result,
            (worker[1].cpu - worker[0].cpu) / requests * 1e6,
            (aide[1].cpu - aide[0].cpu) / requests * 1e6,
            worker[1].rss - worker[0].rss,
            aide[1].rss - aide[0].rss,
            aide[1].rss,
            dark,
        )


@contextlib.contextmanager
def _service(folder: Path, mode: str) -> Iterator[str]:
    port = free_port()
    if mode == "gone":
        yield f"http://127.0.0.1:{port}"
        return
    with Process(python("-m", "tests.benchmarks.darkservice", str(port), mode), folder / "dark.out") as process:
        process.ready(port)
        yield f"http://127.0.0.1:{port}"


def _state(proxy: Proxy) -> State:
    return State.model_validate_json(httpx.get(f"{proxy.control}/v1/state", trust_env=False).content)


def _pids(proxy: Proxy) -> tuple[int, int]:
    """The worker and the aide; twice the worker where there is no aide."""
    state = _state(proxy)
    worker = state.workers[0].pid
    return worker, state.dark.pid if state.dark else worker


def _usage(proxy: Proxy, pid: int) -> _Usage:
    return _Usage(dict(tree(proxy.process.pid))[pid], resident(pid))


def _settled(proxy: Proxy) -> Dark:
    found: list[Dark] = []

    def nothing_is_on_its_way() -> bool:
        dark = _state(proxy).dark
        assert dark is not None
        found[:] = [dark]
        return not (dark.answering or dark.waiting or dark.in_flight)

    eventually(nothing_is_on_its_way, 30, every=0.1)
    return found[0]


def _copies(ran: _Ran) -> tuple[int, int]:
    """Those that were sent, and those that were given up."""
    if ran.dark is None:
        return 0, 0
    return ran.dark.sent, sum(ran.dark.outcomes[name] for name in ("shed", "stale", "lost"))
