"""What the sidecar's own add-ons cost per request, one by one and without any proxy around them.

Flows are real ones, made the way the fast lane makes them, with every add-on on and a capture that is written. Each
add-on's hooks run over all flows of a turn before the next one's, so the clock is read once for thousands of calls.
What is written is compressed between the turns: that is another thread's work, beside the proxy's loop.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.test import taddons

from addons.chain import Chain, chain
from addons.internals.flows import Fields, quick_flow, quick_response
from addons.passage import KIND
from captures.records import Record
from loadtag import keys
from tests.benchmarks.measuring import Bench
from tests.benchmarks.payloads import BROWSER_HEADERS
from tests.benchmarks.tables import figure, markdown, spread

PEERS: tuple[str, ...] = ()
FLOWS = 2000
LEAST = 5
"""Rounds, however few were asked for: they are short, and one is none."""

SCRIPT: Fields = ((b"Host", b"shop.example:8080"), (b"Accept", b"*/*"))
BROWSER: Fields = (SCRIPT[0], *((name.encode(), value.encode()) for name, value in BROWSER_HEADERS[:10]))
ANSWER: Fields = (
    (b"Server", b"nginx"),
    (b"Date", b"Sun, 22 Nov 2026 00:00:00 GMT"),
    (b"Content-Type", b"application/json"),
    (b"Content-Length", b"120"),
    (b"Connection", b"keep-alive"),
)
_IN_TURN = "all hooks of one request after those of another"
HOOKS = ("requestheaders", "responseheaders", "response")

Times = dict[str, list[float]]


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    rounds = max(LEAST, bench.rounds)
    found = asyncio.run(_measure(bench.folder, rounds))
    return f"{rounds} rounds of {FLOWS} real requests, CPU microseconds per request:\n\n{_table(found)}"


async def _measure(folder: Path, rounds: int) -> dict[str, Times]:
    with _sidecar(folder) as made:
        await made.capture.running()
        found: dict[str, Times] = {"2": {}, "11": {}}
        for turn in range(rounds + 1):
            for title, fields in (("2", SCRIPT), ("11", BROWSER)):
                _turn(made, fields, found[title] if turn else {})  # the first one learns header names
                while made.capture.counts.queued:
                    await asyncio.sleep(0.01)
        await made.capture.done()
        assert made.capture.counts.dropped == 0
    return found


@contextmanager
def _sidecar(folder: Path) -> Iterator[Chain]:
    _, public = keys.generate(folder, "load")
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(
            reamp_control="",
            reamp_lever="",
            reamp_captures=str(folder / "recordings"),
            reamp_redaction_key=str(folder / "redaction.key"),
            reamp_public_key=[str(public)],
            reamp_queue_size="256MiB",
        )
        yield made


def _turn(made: Chain, fields: Fields, times: Times) -> None:
    """Carry a turn's flows through all add-ons, and write down what each of them took."""
    flows = [_flow(number, fields) for number in range(FLOWS)]
    records: list[Record] = []
    sums: dict[str, float] = {}
    for hook in HOOKS:
        if hook == "responseheaders":
            for flow in flows:
                flow.response = answer()
        for name, addon in (("Tag", made.tag), ("Meter", made.meter), ("Guard", made.guard), ("Capture", made.capture)):
            if name == "Capture" and hook == "response":
                offered = _kept(made, records)
                sums[name] += _timed(getattr(addon, hook), flows)
                made.capture.writer.offer = offered  # type: ignore[union-attr, method-assign]
                continue
            function = getattr(addon, hook, None)
            if function is not None:
                sums[name] = sums.get(name, 0.0) + _timed(function, flows)
    assert made.capture.writer
    sums["CaptureWriter.offer"] = _timed(made.capture.writer.offer, records)
    assert len(records) == FLOWS
    assert all(flow.metadata[KIND] == "real" for flow in flows)
    sums[_IN_TURN] = _in_turn(made, fields)
    for name, seconds in sums.items():
        times.setdefault(name, []).append(seconds)


def _in_turn(made: Chain, fields: Fields) -> float:
    """Carry each flow through all hooks before the next one, as a proxy does: what one add-on has found out serves all.

    Gives CPU microseconds per flow.
    """
    flows = [(_flow(number, fields), answer()) for number in range(FLOWS)]
    addons = made.tag, made.meter, made.guard, made.capture
    asked, begun, ended = ([getattr(addon, hook) for addon in addons if hasattr(addon, hook)] for hook in HOOKS)

    def carry(pair: tuple[http.HTTPFlow, http.Response]) -> None:
        flow, response = pair
        for hook in asked:
            hook(flow)
        flow.response = response
        for hook in begun:
            hook(flow)
        for hook in ended:
            hook(flow)

    return _timed(carry, flows)


def _kept(made: Chain, records: list[Record]) -> Callable[[Record], bool]:
    """Let the capture keep its records instead of offering them, so that this can be measured by itself."""
    writer = made.capture.writer
    assert writer
    offer = writer.offer
    writer.offer = records.append  # type: ignore[method-assign, assignment]
    return offer


def _timed(function: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Give the CPU microseconds per call, without those of the loop."""
    began = time.thread_time()
    for argument in arguments:
        function(argument)
    took = time.thread_time() - began
    began = time.thread_time()
    for _ in arguments:
        pass
    return (took - (time.thread_time() - began)) / len(arguments) * 1e6


CLIENT = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 8080), timestamp_start=0.0)
SERVER = Server(address=("192.0.2.3", 8000))


def _flow(number: int, fields: Fields) -> http.HTTPFlow:
    # Names and values are new objects for each request, as they are when they come from a socket.
    fresh = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in fields)
    path = b"/item/%d?page=2" % number
    return quick_flow(CLIENT, SERVER, b"GET", path, fresh, "192.0.2.3", 8000, time.time())


def answer() -> http.Response:
    """Make an answer of 120 bytes."""
    fresh = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in ANSWER)
    made = quick_response(b"HTTP/1.1", 200, b"OK", fresh, time.time())
    made.data.content, made.data.timestamp_end = b"x" * 120, time.time()
    return made


def _table(found: dict[str, Times]) -> str:
    names = list(found["2"])
    rows = []
    for name in names:
        rows.append(
            [name, *(cell for times in found.values() for cell in (figure(median(times[name])), spread(times[name])))]
        )
    return markdown(["add-on", "2 headers", "least-most", "11 headers", "least-most"], rows)
