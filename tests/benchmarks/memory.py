"""Memory of the sidecar's process tree: minutes at full rate, and thousands of connections that do nothing.

RSS is summed over the tree, so pages that processes share count once for each; PSS counts them once. What the
kernel holds for sockets is in neither.
"""

import asyncio
import contextlib
import resource
import shutil
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks import target
from tests.benchmarks.contenders import Contender, chosen, lanes
from tests.benchmarks.load import WARM_UP, wrk
from tests.benchmarks.measuring import Bench, pinned, tree
from tests.benchmarks.payloads import BROWSER
from tests.benchmarks.tables import figure, markdown
from tests.benchmarks.target import Nginx
from tests.support.client import Client
from tests.support.processes import Process

CONNECTIONS = 32
EVERY = 2.0
"""Seconds from one look at the memory to the next."""
IDLE = 5.0
"""Seconds in which nothing happens before the connections are asked again."""

_OPENING = 100
"""Connections that are opened, or asked, at a time."""
_SPARE = 200
"""Descriptors for everything else."""


class Memory(NamedTuple):
    """Of a process tree, in MiB."""

    rss: float
    pss: float

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """Read it from the kernel."""
        rss = pss = 0
        for number, _ in tree(pid):
            with contextlib.suppress(OSError):  # it has just ended
                lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
                fields = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
                rss += fields["Rss"]
                pss += fields["Pss"]
        return cls(rss / 1024, pss / 1024)


def run(bench: Bench) -> str:
    """Measure, and give both tables."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:  # for the client, and inherited by what it starts
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        return f"{_busy(bench, app)}\n\n{_idle(bench, app)}"


def _busy(bench: Bench, app: Nginx) -> str:
    minutes = 0.1 if bench.quick else bench.narrowed.minutes
    # Ten minutes of the slower lane would show nothing that the faster one does not, unless asked for.
    wanted = chosen(bench, ("full", "fast", "workers")) if bench.narrowed.contenders else lanes(bench)[-1:]
    rows = []
    for contender in wanted:
        bench.say(f"  {contender.name}: {minutes:g} min at full rate")
        folder = bench.folder / contender.key
        folder.mkdir()
        with contender.start(bench, folder, app) as proxy:
            command = wrk(bench, proxy.url, BROWSER, CONNECTIONS, minutes * 60 + 60)
            with Process(command, folder / "wrk") as client:
                rate, seen = _watch(bench, proxy.process, app, minutes * 60)
                if not (client.running() and proxy.process.running()):
                    raise RuntimeError(f"it ended too early:\n{client.output}\n{proxy.process.output}")
        shutil.rmtree(folder)
        size = round(min(60, minutes * 60 / 3) / EVERY) or 1
        first, last = seen[:size], seen[-size:]
        rows.append([contender.name, figure(rate), f"{len(seen) * EVERY / 60:.1f}"])
        for field in ("rss", "pss"):
            values = [[getattr(memory, field) for memory in part] for part in (first, last, seen)]
            rows[-1] += [figure(median(values[0])), figure(median(values[1])), figure(max(values[2]))]
    head = ["proxy", "requests/s", "minutes", "RSS, first minute", "last minute", "most"]
    head += ["PSS, first minute", "last minute", "most"]
    if not rows:
        return ""
    short = "" if minutes >= 3 else " (so short a run: its first and last third)"
    return f"At full rate, {CONNECTIONS} connections, {BROWSER.title}; MiB{short}:\n\n{markdown(head, rows)}"


def _watch(bench: Bench, process: Process, app: Nginx, seconds: float) -> tuple[float, list[Memory]]:
    time.sleep(WARM_UP)
    begin, count, seen = time.monotonic(), app.requests(), list[Memory]()
    said = begin
    while (now := time.monotonic()) < begin + seconds:
        time.sleep(max(0, begin + (len(seen) + 1) * EVERY - now))
        seen.append(Memory.of(process.pid))
        if now - said > 60:
            said = now
            bench.say(f"    {(now - begin) / 60:.0f} min: RSS {seen[-1].rss:.0f} MiB, PSS {seen[-1].pss:.0f} MiB")
    return (app.requests() - count) / (time.monotonic() - begin), seen


def _idle(bench: Bench, app: Nginx) -> str:
    rows = []
    for contender in chosen(bench, ("mitmdump", "full", "fast", "workers")):
        folder = bench.folder / contender.key
        folder.mkdir()
        with contender.start(bench, folder, app) as proxy:
            allowed = _allowed(proxy.process.pid)
            count = _count(bench, contender, allowed)
            bench.say(f"  {contender.name}: {count:,} idle connections, {allowed:,} descriptors allowed")
            rows.append([contender.name, f"{allowed:,}", *asyncio.run(_hold(proxy.url, proxy.process.pid, count))])
        shutil.rmtree(folder)
    if not rows:
        return ""
    head = ["proxy", "open files allowed", "connections", "RSS before", "after"]
    head += ["RSS KiB each", "PSS KiB each", "still answered"]
    return f"Connections that made one request and then idle for {IDLE:g} s; MiB:\n\n{markdown(head, rows)}"


def _count(bench: Bench, contender: Contender, allowed: int) -> int:
    """As many as wanted, and as descriptors there are, here and there."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = min(own - _SPARE, (allowed - _SPARE) // (2 if contender.upstreams else 1))
    return min(300 if bench.quick else bench.narrowed.idle, most)


def _allowed(pid: int) -> int:
    """Descriptors that a process may have; the least of those in the tree."""
    limits = []
    for number, _ in tree(pid):
        for line in Path(f"/proc/{number}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                limits.append(int(line.split()[3]))
    return min(limits)


async def _hold(url: str, pid: int, count: int) -> list[str]:
    async with Client(url) as one:  # what is loaded with the first requests is not the connections'
        for _ in range(200):
            await one.request("GET", "/item/4711")
    await asyncio.sleep(1)
    before = Memory.of(pid)
    clients = [Client(url) for _ in range(count)]
    try:
        opened = await _ask(clients)
        await asyncio.sleep(IDLE)
        after = Memory.of(pid)
        again = await _ask(clients)
    finally:
        for client in clients:
            client.close()
    if opened < count:
        raise RuntimeError(f"only {opened:,} of {count:,} connections were answered")
    each = [(after.rss - before.rss) * 1024 / count, (after.pss - before.pss) * 1024 / count]
    return [f"{count:,}", figure(before.rss), figure(after.rss), *(f"{kib:.1f}" for kib in each), f"{again:,}"]


async def _ask(clients: list[Client]) -> int:
    """Make one request on each connection; count those that were answered and are still open."""
    rest, good = iter(clients), 0

    async def work() -> None:
        nonlocal good
        for client in rest:
            with contextlib.suppress(OSError, EOFError):
                answer = await asyncio.wait_for(client.request("GET", "/item/4711"), 60)
                # A connection that the proxy announced to close would be opened anew by the next request.
                good += answer.status == 200 and answer.headers.get("connection", "").lower() != "close"

    async with asyncio.TaskGroup() as group:
        for _ in range(_OPENING):
            group.create_task(work())
    return good
