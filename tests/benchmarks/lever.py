"""How quickly the lever stops: from pulling it to the last synthetic request that reaches the app.

A sender pours in 5,000 tagged requests a second and takes no grants, so the guard alone stops it; a hundred real
requests a second earn the credit, under a ceiling far above what is sent. The app (`stamped`) has the kernel stamp each
request that reaches it, on the clock of the machine, which the one who pulls reads just before the call, the touch or
the kill. What is told is the time to the last stamp before the lever is reset. Who pulls waits a random while each
time, so that no clock inside the sidecar is in step with it.

- *HTTP*: ``POST /v1/lever`` on a connection of its own, as `reamp stop` does it (which loads Python first).
- *file*: the lever file is made. It is looked for every 5 ms.
- *signal*: SIGUSR1 to the sidecar.

A rule pulls by the same function as these; when it does is a matter of its window.

*Saturated*: the sender has 256 connections, and the next request on each as soon as one is answered. The worker's loop
is never idle then, and has up to that many requests in its sockets when the lever is pulled.
"""

import http.client
import json
import os
import random
import signal
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtag import keys
from tests.benchmarks.measuring import Bench, tree
from tests.benchmarks.pouring import Pour, pouring
from tests.benchmarks.stamped import Stamped
from tests.benchmarks.tables import figure, markdown
from tests.support.processes import Process, answers, eventually, free_port, reamp

PEERS: tuple[str, ...] = ()

PULLS = 200
"""By each way, in each case."""

STEADY, SATURATED = Pour(5_000, 64, 100), Pour(0, 256, 100)
WAYS = ("HTTP", "file", "signal")

FLOWS, STANDS = 0.3, 0.1
"""Seconds from a reset to the next pull, at least, and from a pull to its reset."""

_MOMENT_NS = 50_000_000
"""Before a pull, in which the rate is looked at."""


class Pull(NamedTuple):
    """When it was pulled and reset, unix ns, and by which way."""

    way: str
    at: int
    reset: int


class Site:
    """A sidecar before an app, and a hand on its lever."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        keys.generate(folder, "load")
        self.folder, self.file = folder, folder / "state" / "stop"
        self.port, self._control = free_port(), free_port()
        self.app = Stamped(folder / "app", [], free_port())
        command = reamp(
            *("sidecar", "--upstream", self.app.url, "--listen", f"127.0.0.1:{self.port}"),
            *("--control", f"127.0.0.1:{self._control}", "--no-capture", "--state", str(folder / "state")),
            *("--public-key", str(folder / "load.pub"), "--audience", "bench", "--max-extra", "10000%"),
        )
        self.sidecar = Process(command, folder / "sidecar.out").ready(self._control)
        eventually(answers(self.port))
        signer = keys.load_private(folder / "load.key")
        self.token = signer.sign("bench", int(time.time()) + 3600, "bench")

    def close(self) -> None:
        self.sidecar.__exit__(None, None, None)
        self.app.__exit__(None, None, None)

    def post(self, engaged: bool) -> None:
        self._ask("POST", json.dumps({"engaged": engaged, "reason": "bench", "by": "bench"}))

    def engaged(self) -> bool:
        return bool(json.loads(self._ask("GET"))["engaged"])

    def _ask(self, method: str, order: str | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)
        connection.request(method, "/v1/lever", order, {"content-type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the lever did not move: {told.decode()}")
        return told

    def pull(self, way: str) -> Pull:
        """Pull, wait, reset."""
        act: Callable[[], object] = {
            "HTTP": lambda: self.post(engaged=True),
            "file": self.file.touch,
            "signal": lambda: os.kill(self.sidecar.pid, signal.SIGUSR1),
        }[way]
        at = time.time_ns()
        act()
        time.sleep(max(0.0, at / 1e9 + STANDS - time.time()))
        eventually(self.engaged)  # on a machine that is too busy it may have taken longer than that
        reset = time.time_ns()
        self.file.unlink(missing_ok=True)
        self.post(engaged=False)
        return Pull(way, at, reset)


class Told(NamedTuple):
    """What came of all pulls by one way, in milliseconds."""

    pulls: int
    rate: float
    p50: float
    p99: float
    most: float


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    rows = []
    for name, pour in (("5,000/s", STEADY), ("saturated", SATURATED)):
        found, note = _case(bench, name, pour)
        rows += [
            [f"{name}, {way}", str(one.pulls), f"{one.rate:,.0f}", *map(figure, (one.p50, one.p99, one.most)), note]
            for way, one in found.items()
        ]
    head = ["case", "pulls", "synthetic/s before", "p50 ms", "p99 ms", "max ms", "worker busy"]
    return markdown(head, rows)


def _case(bench: Bench, name: str, pour: Pour) -> tuple[dict[str, Told], str]:
    draw = random.Random(1)
    site = Site(bench.folder / name.split("/", maxsplit=1)[0].replace(",", ""))
    pulls: list[Pull] = []
    try:
        with pouring(site.port, pour, site.token, site.folder / "pouring.out"):
            eventually(lambda: site.app.count > 2000, 30)
            time.sleep(1.0)
            before, began = _busy(site), time.monotonic()
            # One way after the other in turn: what disturbs the machine for a while disturbs all of them.
            for _ in range(10 if bench.quick else PULLS):
                for way in WAYS:
                    time.sleep(FLOWS + draw.random() * 0.02)
                    pulls.append(site.pull(way))
            worker = (_busy(site) - before) / (time.monotonic() - began)
            bench.say(f"  {name}: {len(pulls)} pulls, {site.app.count:,} requests, worker {worker:.0%} busy")
        arrivals = [arrival.at for arrival in site.app.arrivals() if arrival.number is not None]
    finally:
        site.close()
    return {way: _told([pull for pull in pulls if pull.way == way], arrivals) for way in WAYS}, f"{worker:.0%}"


def _busy(site: Site) -> float:
    """CPU seconds of the worker: of all but the first process."""
    return sum(seconds for pid, seconds in tree(site.sidecar.pid) if pid != site.sidecar.pid)


def _told(pulls: list[Pull], arrivals: list[int]) -> Told:
    late, rates = [], []
    for pull in pulls:
        last = arrivals[bisect_left(arrivals, pull.reset) - 1]
        late.append(max(0, last - pull.at) / 1e6)
        came = bisect_right(arrivals, pull.at) - bisect_left(arrivals, pull.at - _MOMENT_NS)
        rates.append(came / _MOMENT_NS * 1e9)
    late.sort()
    return Told(len(pulls), median(rates), median(late), late[max(0, -(-len(late) * 99 // 100) - 1)], late[-1])
