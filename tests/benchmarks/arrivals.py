"""Requests that arrive by the clock, as users do, and not when the last answer is there: ``python -m ... URL``.

The open model. Arrivals are random (Poisson) around a fixed rate and drawn ahead of any answer, so a proxy that stalls
for a moment makes all wait who come meanwhile; latency counts from the moment at which a request was *due*. That is
what wrk can't show: each of its connections waits politely, and one stall is one slow request.

It is the replayer's transport, timer and histograms, without its load tag: these are real requests to a sidecar, which
records them.
"""

import asyncio
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import uvloop
from hdrh.histogram import HdrHistogram

from replayer.counting.latency import Recorder, histogram
from replayer.requests.encoding import Request
from replayer.schedule.alarm import alarm
from replayer.transport import Answer, Failure, Pool, Target, Withdrawal
from tests.benchmarks import traffic
from tests.support.processes import Process, python

WARM_UP = 1.0
"""Seconds whose requests do not count: connections are opened."""

_DISTINCT = 2_000
"""Requests that are drawn, and sent over and over."""
_GRACE = 5.0
"""Seconds to wait for the last answers."""


class Result(NamedTuple):
    """What a run of arrivals found. Times are microseconds."""

    answered: int
    failed: int
    """No answer, or not a 200."""
    latency: HdrHistogram
    lag: HdrHistogram
    """Of the sender itself: from when a request was due to when it was written, or could have been."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Take what the process printed last."""
        given = json.loads(text.strip().splitlines()[-1])
        latency, lag = (HdrHistogram.decode(given[name]) for name in ("latency", "lag"))
        return cls(given["answered"], given["failed"], latency, lag)


def arrive(prefix: list[str], url: str, rate: float, seconds: float, log: Path) -> Result:
    """Send from a process of its own, `prefix` before its command line, and give what it found."""
    command = [*prefix, *python("-m", "tests.benchmarks.arrivals", url, str(rate), str(seconds))]
    with Process(command, log) as process:
        code = process.wait(seconds + WARM_UP + _GRACE + 30)
    if code:
        raise RuntimeError(log.read_text())
    result = Result.read(log.read_text())
    if not result.answered:
        raise RuntimeError(f"none of {result.failed} requests was answered well")
    return result


class _Arrivals:
    """The schedule, and what became of it. Implements the transport's `Outcomes`."""

    def __init__(self, url: str, rate: float, seconds: float) -> None:
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        self.clock = time.monotonic_ns
        target = Target(parts.hostname or "", parts.port or 80, max_connections=512, guarded=False)
        self.pool = Pool(target, self, self.clock)
        self.latency, self.lag = Recorder(), Recorder()
        self.answers = self.failures = self.taken = 0
        self.done = asyncio.Event()
        self._requests = _requests(parts.netloc)
        self._draw = random.Random(1)
        self._rate = rate / 1e9
        self._alarm = alarm(loop, self._pump)
        self._due = self.clock() + 10_000_000
        self._counts = self._due + round(WARM_UP * 1e9)
        self._end = self._counts + round(seconds * 1e9)
        self._short = 0  # since when there has been no connection: that wait is not the sender's lag
        self._alarm.at(self._due)

    def _pump(self) -> None:
        now = self.clock()
        while self._due <= now:
            if self._due >= self._end:
                self.done.set()
                return
            if self.pool.shortage(now):
                self._short = self._short or now
                return  # `ready` or the next sweep comes back to it
            due = self._due
            if due >= self._counts:
                self.taken += 1
                self.lag.pending.append(((min(now, self._short) if self._short else now) - due) // 1000)
            self.pool.send(next(self._requests), due, now, now)
            self._due += round(self._draw.expovariate(self._rate))
            now = self.clock()
        self._short = 0
        self._alarm.at(self._due)

    def sweep(self) -> None:
        """Give up what waited too long, count what is pending."""
        self.pool.sweep(self.clock())
        for recorder in (self.latency, self.lag):
            recorder.digest()

    def ready(self) -> None:
        self._pump()

    def answered(self, answer: Answer) -> None:
        if answer.due_ns < self._counts:
            return
        if answer.status == 200:
            self.answers += 1
            self.latency.pending.append((answer.ended_ns - answer.due_ns) // 1000)
        else:
            self.failures += 1

    def failed(self, _request: Request, _sent_ns: int | None, _failure: Failure) -> None:
        self.failures += 1

    def sent(self, due_ns: int, ready_ns: int, sent_ns: int) -> None:
        pass

    def withdrawal(self, since_ns: int, *, again: bool) -> Withdrawal | None:
        return None

    def withdrawn(self, _request: Request, why: Withdrawal) -> None:
        pass

    def token(self) -> bytes:
        return b""

    def may_retry(self) -> bool:
        return True


def _requests(host: str) -> Iterator[Request]:
    """A shop's visitors, for ever: reads only, browser-like, uneven."""
    made = []
    for asked in traffic.requests(_DISTINCT):
        lines = [f"{asked.method} {asked.path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in asked.headers]
        made.append(Request("\r\n".join([*lines, "", ""]).encode(), b"", asked.method))
    return itertools.cycle(made)


async def _main(url: str, rate: float, seconds: float) -> None:
    arrivals = _Arrivals(url, rate, seconds)
    gc.collect()
    gc.freeze()
    gc.disable()  # its pauses would be taken for the proxy's
    give_up = 0.0
    while not (arrivals.done.is_set() and (not arrivals.pool.in_flight or time.monotonic() > give_up)):
        await asyncio.sleep(0.05)
        arrivals.sweep()
        if arrivals.done.is_set() and not give_up:
            give_up = time.monotonic() + _GRACE
    arrivals.pool.close()
    found = {"answered": arrivals.answers, "failed": arrivals.taken - arrivals.answers}
    for name, recorder in (("latency", arrivals.latency), ("lag", arrivals.lag)):
        total = histogram()
        total.add(recorder.interval())
        found[name] = total.encode().decode()
    print(json.dumps(found))


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
