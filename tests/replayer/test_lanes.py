"""Both lanes against an origin that behaves, and one that does not: the same outcomes, the same accounts."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from replayer.counting.accounts import Accounts
from replayer.lanes.choice import Choice, choose, packed
from replayer.lanes.python import BATCH, TOGETHER_NS, PythonLane
from replayer.permission.ceiling import Ceiling, Source
from replayer.plan import Plan
from replayer.requests.encoding import Request
from replayer.schedule.alarm import Alarm, alarm
from replayer.schedule.demand import Timeline
from replayer.stock import Stock, Supply
from rules.units import Share
from rules.wire import Grant, Lever, Signal
from tests.support.frames import Peer, goaway
from tests.support.origin import Connection, Origin, Script, answering, once, origin
from tests.support.processes import free_port
from tests.support.sending import LANES, Host, get, lane, play
from tests.support.stopped import TIMEOUT

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
GUARD = b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nReamp-Withheld: credit\r\n\r\n"
LEVER = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nreamp-withheld:  LEVER \r\n\r\n"
REFUSED = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nreamp-withheld: tag\r\n\r\n"


pytestmark = pytest.mark.usefixtures("native")


def run[T](main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await main()

    return uvloop.run(bounded())


def paced(*requests: Request, gap: float = 0.04) -> list[tuple[float, Request]]:
    """One after the other, with time enough for each."""
    return [(number * gap, request) for number, request in enumerate(requests)]


def exchange(
    name: str, script: Script, requests: Sequence[tuple[float, Request]], **options: Any
) -> tuple[Accounts, int, Host]:
    """Send by one lane: (accounts, connections that the origin saw, the run)."""

    async def main() -> tuple[Accounts, int, Host]:
        async with origin(script) as here:
            host = Host()
            lane(name, host, here.port, **options)
            return await play(host, requests), here.connections, host

    return run(main)


def told(accounts: Accounts) -> dict[str, Any]:
    """What the accounts say, but for what depends on the moment."""
    return {
        name: getattr(accounts, name)
        for name in ("wanted", "sent", "answered", "unanswered", "retried", "bytes_sent", "bytes_received")
    } | {name: +getattr(accounts, name) for name in ("shed", "withheld", "errors", "statuses")}


def closing_after_one(end: str) -> Script:
    """Answer one request, and lose the next one on the same connection, as a server does that gives up idle ones."""

    async def script(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(OK)
        await connection.request()
        connection.reset() if end == "reset" else connection.close()

    return script


def _head(*fields: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"HTTP/" + version + b" " + status + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


GET, TWO, THREE = paced(get()), paced(get(), get()), paced(get(), get(), get())
HEADS = paced(get("HEAD"), get("HEAD"))

SCRIPTS: dict[str, tuple[Script, Sequence[tuple[float, Request]], dict[str, Any]]] = {
    # answers over one kept connection
    "length": (answering(OK), THREE, {}),
    "empty": (answering(_head(b"Content-Length: 0")), THREE, {}),
    "chunked": (answering(CHUNKED), THREE, {}),
    "chunk-extension": (answering(_head(b"Transfer-Encoding: chunked") + b"5;a=b\r\nhello\r\n0\r\n\r\n"), THREE, {}),
    "trailers": (answering(CHUNKED[:-2] + b"Trailer: x\r\n\r\n"), THREE, {}),
    "dribble": (answering(*[bytes([byte]) for byte in CHUNKED]), paced(get(), get(), gap=1.0), {}),
    "dribbled-head": (answering(*[bytes([byte]) for byte in OK]), paced(get(), get(), gap=1.0), {}),
    "continue": (answering(_head(status=b"100 Continue"), OK), THREE, {}),
    "hints": (answering(_head(b"Link: </a>", status=b"103 Early Hints") + _head(status=b"100 Continue") + OK), TWO, {}),
    "large": (answering(_head(b"Content-Length: 300000"), b"x" * 300_000), TWO, {}),
    "old-keep-alive": (answering(_head(b"Connection: keep-alive", b"Content-Length: 0", version=b"1.0")), THREE, {}),
    "204": (answering(_head(status=b"204 No Content")), TWO, {}),
    "304": (answering(_head(b"Content-Length: 500", status=b"304 Not Modified")), TWO, {}),
    "404": (answering(_head(b"Content-Length: 0", status=b"404 Not Found")), TWO, {}),
    "odd-status": (answering(_head(b"Content-Length: 0", status=b"599")), TWO, {}),
    "head-length": (answering(_head(b"Content-Length: 5")), HEADS, {}),
    "head-chunked": (answering(_head(b"Transfer-Encoding: chunked")), HEADS, {}),
    "head-with-body": (answering(OK), HEADS, {}),
    # answers that end their connection
    "close-delimited": (once(_head(), b"until the end"), TWO, {}),
    "1.0": (once(_head(version=b"1.0")), TWO, {}),
    "close": (once(_head(b"Connection: close", b"Content-Length: 5") + b"hello"), TWO, {}),
    "close-listed": (once(_head(b"Connection: x, Close", b"Content-Length: 0"), end="hang"), TWO, {}),
    # Only what is chunked last says where it ends (RFC 9112, 6.3).
    "chunked-then-packed": (once(_head(b"Transfer-Encoding: chunked, gzip"), b"hello"), TWO, {}),
    "packed-then-chunked": (answering(_head(b"Transfer-Encoding: gzip, chunked") + CHUNKED[47:]), TWO, {}),
    "packed-in-another-field": (once(_head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip") + b"x"), TWO, {}),
    "chunked-in-another-field": (
        once(_head(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked") + CHUNKED[47:]),
        TWO,
        {},
    ),
    "not-quite-chunked": (once(_head(b"Transfer-Encoding: xchunked") + b"hello"), TWO, {}),
    "chunked-and-cut": (once(_head(b"Transfer-Encoding: gzip, chunked") + b"5\r\nhel"), TWO, {}),
    "continue-close": (once(_head(status=b"100 Continue") + _head() + b"body"), TWO, {}),
    "more-than-asked": (answering(OK + OK), TWO, {}),
    "garbage-after": (answering(OK + b"garbage"), TWO, {}),
    # the guard
    "withheld": (answering(GUARD), TWO, {}),
    "withheld-in-pieces": (answering(GUARD[:40], GUARD[40:]), TWO, {}),
    "withheld-for-its-tag": (answering(REFUSED), TWO, {}),
    "lever": (answering(LEVER), GET, {}),
    "nobody-else-is-the-guard": (answering(LEVER), TWO, {"guarded": False}),
    "not-the-guards-status": (answering(LEVER.replace(b"503", b"500")), TWO, {}),
    # failures
    "closed": (once(), TWO, {}),
    "reset": (once(end="reset"), TWO, {}),
    "cut-head": (once(b"HTTP/1.1 200 OK\r\nContent-"), TWO, {}),
    "cut-body": (once(_head(b"Content-Length: 10") + b"hel"), TWO, {}),
    "reset-body": (once(_head(b"Content-Length: 10") + b"hel", end="reset"), TWO, {}),
    "reset-close-delimited": (once(_head() + b"until the end", end="reset"), TWO, {}),
    "cut-chunks": (once(CHUNKED[:-5]), TWO, {}),
    "ssh": (once(b"SSH-2.0-OpenSSH\r\n", end="hang"), TWO, {}),
    "tls": (once(b"\x16\x03\x01\x02\x00", end="hang"), TWO, {}),
    "two-lengths": (once(_head(b"Content-Length: 1", b"Content-Length: 2") + b"x", end="hang"), TWO, {}),
    "no-number": (once(_head(b"Content-Length: x"), end="hang"), TWO, {}),
    "huge-number": (once(_head(b"Content-Length: 99999999999999999999999"), end="hang"), TWO, {}),
    "minus": (once(_head(b"Content-Length: -1"), end="hang"), TWO, {}),
    "both-lengths": (once(_head(b"Content-Length: 5", b"Transfer-Encoding: chunked"), end="hang"), TWO, {}),
    "no-chunk": (once(_head(b"Transfer-Encoding: chunked") + b"ZZ\r\n", end="hang"), TWO, {}),
    "huge-chunk": (once(_head(b"Transfer-Encoding: chunked") + b"f" * 20 + b"\r\n", end="hang"), TWO, {}),
    "chunk-without-end": (once(_head(b"Transfer-Encoding: chunked") + b"5\r\nhelloX", end="hang"), TWO, {}),
    "switching": (once(_head(b"Upgrade: x", b"Connection: upgrade", status=b"101 X"), end="hang"), TWO, {}),
    "fields-without-end": (once(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, end="hang"), TWO, {}),
    "line-without-end": (once(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, end="hang"), TWO, {}),
    "no-name": (once(_head(b": value", b"Content-Length: 0"), end="hang"), TWO, {}),
    "control-in-name": (once(_head(b"a\x01b: value", b"Content-Length: 0"), end="hang"), TWO, {}),
    "control-in-value": (once(_head(b"a: x\x01y", b"Content-Length: 0"), end="hang"), TWO, {}),
    "delete-in-value": (once(_head(b"a: \x7f", b"Content-Length: 0"), end="hang"), TWO, {}),
    "tab-and-latin-in-value": (answering(_head(b"a:\tb\tc\xe9 ", b"Content-Length: 0")), TWO, {}),
    "lines-end-alone": (once(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", end="hang"), TWO, {}),
    "return-alone": (once(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\rx", end="hang"), TWO, {}),
    "nul-in-value": (once(_head(b"a: \x00", b"Content-Length: 0"), end="hang"), TWO, {}),
    "silence": (once(end="hang"), TWO, {"timeout": 0.2}),
    "half": (once(_head(b"Content-Length: 10") + b"hel", end="hang"), TWO, {"timeout": 0.2}),
    "only-continue": (answering(_head(status=b"100 Continue")), GET, {"timeout": 0.2}),
    "first-byte": (once(end="hang"), TWO, {"timeout": 2.0, "first_byte_timeout": 0.1}),
    # stale connections
    "stale-close": (closing_after_one("close"), THREE, {}),
    "stale-reset": (closing_after_one("reset"), THREE, {}),
    "stale-post": (closing_after_one("close"), paced(get("POST", b"x"), get("POST", b"x")), {}),
    # requests
    "large-request": (answering(OK), paced(get("POST", b"x" * 3_000_000), get(), gap=0.3), {}),
    "early-answer": (
        once(_head(b"Content-Length: 0", status=b"413 Too Large"), end="hang"),
        paced(get("POST", b"x" * 8_000_000), get("POST", b"x" * 8_000_000), gap=0.3),
        {},
    ),
    "at-once": (answering(OK), [(0.0, get()) for _ in range(4)], {"max_connections": 4}),
}


ALONE = {"max_connections": 1}
"""So that a machine that is slow needs no more connections than a fast one."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_both_lanes_tell_the_same(name: str) -> None:
    script, requests, options = SCRIPTS[name]
    options = ALONE | options
    first, opened, python = exchange("python", script, requests, **options)
    second, opened_too, native = exchange("native", script, requests, **options)
    assert told(first) == told(second)
    assert opened == opened_too or name in {"at-once", "tls", "head-with-body"}
    assert python.guard_said_lever == native.guard_said_lever
    for mine, other in zip(python.ledger.routes, native.ledger.routes, strict=True):
        mine.digest()
        other.digest()
        assert (mine.sent, mine.answered, mine.withheld) == (other.sent, other.answered, other.withheld)
        assert (mine.statuses, mine.errors, +mine.shed) == (other.statuses, other.errors, +other.shed)
        assert (mine.bytes_received, mine.recorded) == (other.bytes_received, other.recorded)
        assert mine.latency.total() == other.latency.total() == mine.answered
        assert mine.service.total() == other.service.total() == mine.answered
    for (kind, values), (_, others) in zip(python.ledger.recorders, native.ledger.recorders, strict=True):
        if kind != "wait":
            assert values.interval().total_count == others.interval().total_count


@pytest.mark.parametrize("name", LANES)
def test_what_is_told_is_what_happened(name: str) -> None:
    def outcome(which: str) -> tuple[Counter[Any], int]:
        script, requests, options = SCRIPTS[which]
        accounts, opened, _ = exchange(name, script, requests, **ALONE | options)
        return Counter(accounts.statuses) + Counter(accounts.errors) + Counter(accounts.withheld), opened

    assert outcome("chunked") == (Counter({200: 3}), 1)
    assert outcome("close") == (Counter({200: 2}), 2)
    assert outcome("chunked-then-packed") == (Counter({200: 2}), 2)
    assert outcome("packed-then-chunked") == (Counter({200: 2}), 1)
    assert outcome("packed-in-another-field") == (Counter({200: 2}), 2)
    assert outcome("not-quite-chunked") == (Counter({200: 2}), 2)
    assert outcome("chunked-and-cut") == (Counter({"truncated": 2}), 2)
    assert outcome("withheld") == (Counter({"credit": 2}), 1)
    assert outcome("withheld-for-its-tag") == (Counter({"tag": 2}), 1)
    assert outcome("two-lengths") == (Counter({"protocol": 2}), 2)
    # The second and the third are sent once more, the third after the run has nothing more to begin.
    assert outcome("stale-close") == (Counter({200: 3}), 3)
    assert outcome("first-byte") == (Counter({"first-byte-timeout": 2}), 2)


@pytest.mark.parametrize("name", LANES)
def test_nobody_listens_and_it_backs_off(name: str) -> None:
    async def main() -> Accounts:
        host = Host()
        lane(name, host, free_port())
        return await play(host, [(number * 0.002, get()) for number in range(100)])

    accounts = run(main)
    assert accounts.wanted == 100
    assert 2 <= accounts.errors["refused"] <= 20
    assert accounts.shed["backoff"] == 100 - accounts.errors["refused"]


@pytest.mark.parametrize("name", LANES)
def test_a_connection_that_is_never_made_times_out(name: str) -> None:
    async def main() -> Accounts:
        with socket.socket() as listening:  # a full backlog: the kernel answers no more handshakes
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listening.getsockname())
            host = Host()
            lane(name, host, listening.getsockname()[1], connect_timeout=0.2)
            accounts = await play(host, GET)
            for filler in fillers:
                filler.close()
            return accounts

    assert run(main).errors == Counter({"connect-timeout": 1})


@pytest.mark.parametrize("name", LANES)
def test_connections_are_bounded_and_what_waits_too_long_is_shed(name: str) -> None:
    async def slow(connection: Connection, here: Origin) -> None:
        while True:
            here.requests.append(await connection.request())
            await asyncio.sleep(0.3)
            await connection.say(OK)

    accounts, opened, host = exchange(
        name, slow, [(number * 0.01, get()) for number in range(20)], max_connections=2, max_lag="100ms"
    )
    assert opened == 2
    assert accounts.shed["connections"] >= 12
    assert accounts.answered == 20 - accounts.shed["connections"]
    assert host.ledger.crowded <= accounts.answered


def test_what_finds_no_free_connection_is_shed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waking up for each would take the time in which answers free connections."""
    rings = 0

    def counting(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> Alarm:
        def rung() -> None:
            nonlocal rings
            rings += 1
            call()

        return alarm(loop, rung)

    monkeypatch.setattr("replayer.lanes.python.alarm", counting)
    requests = [(number * 0.0005, get()) for number in range(1000)]  # half a second
    accounts, _, _ = exchange("python", once(end="hang"), requests, max_connections=1, max_lag="50ms", timeout=1.0)
    assert accounts.sent + accounts.shed["connecting"] == 1
    assert accounts.shed["connections"] == 999
    assert rings <= 0.6 / (TOGETHER_NS / 1e9) + 10


@pytest.mark.parametrize("name", LANES)
def test_what_is_late_is_shed_and_not_sent_in_a_burst(name: str) -> None:
    async def main() -> Accounts:
        async with origin(answering(OK)) as here:
            host = Host()
            lane(name, host, here.port, max_lag="100ms")
            return await play(host, [(-3 + number * 0.01, get()) for number in range(320)])

    accounts = run(main)
    assert accounts.wanted == 320
    assert accounts.shed["late"] >= 280
    assert accounts.answered == 320 - accounts.shed.total()


@pytest.mark.parametrize("name", LANES)
def test_what_a_standstill_of_the_reading_left_over_is_not_sent_in_a_burst(name: str) -> None:
    woke_ns = 0

    def recording() -> Iterator[tuple[int, Request]]:
        nonlocal woke_ns
        for number in range(1200):
            if number == 200:
                time.sleep(0.8)  # a disk that stands still, and with it whoever reads
                woke_ns = time.monotonic_ns()
            yield number * 1_000_000, get()

    async def main() -> tuple[Accounts, int]:
        async with origin(answering(OK)) as here:
            host = Host()
            sender = lane(name, host, here.port, max_lag="100ms", max_connections=64)
            start = time.monotonic_ns() + 20_000_000
            stock = Stock(recording(), lambda item: len(item[1]))
            sender.begin(Supply(Timeline(stock, 0, start), stock, None), 0)
            while host.stopped is None or sender.in_flight or sender.waiting:
                sender.beat(time.monotonic_ns())
                sender.wake()
                await asyncio.sleep(0.005)
            sender.close()
            sender.look()
            return host.ledger.accounts, (woke_ns - start) // 1_000_000

    accounts, missed = run(main)
    assert missed > 700
    assert accounts.shed.total() >= missed - 200, accounts
    assert accounts.reconciles(), accounts


@pytest.mark.parametrize("name", LANES)
def test_what_was_answered_while_the_sender_stood_still_is_no_timeout(name: str) -> None:
    number = 300  # more than one look at the system finds

    async def main() -> dict[str, Any]:
        told = asyncio.Event()

        async def script(connection: Connection, here: Origin) -> None:
            here.requests.append(await connection.request())
            await told.wait()
            await connection.say(OK)
            await connection.hang()

        async with origin(script) as here:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.stopped", name, str(here.port), str(number),
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            while len(here.requests) < number:
                await asyncio.sleep(0.001)
            process.send_signal(signal.SIGSTOP)
            told.set()
            await asyncio.sleep(TIMEOUT + 0.1)
            process.send_signal(signal.SIGCONT)
            output, _ = await process.communicate()
            return dict(json.loads(output))

    assert run(main) == {"answered": number, "errors": {}}


@pytest.mark.parametrize("name", LANES)
@pytest.mark.parametrize("good", [0, 50, 500])
def test_a_recording_that_can_not_be_read_on_has_not_come_to_its_end(name: str, good: int) -> None:
    def recording() -> Iterator[tuple[int, Request]]:
        for number in range(good):
            yield number * 1_000_000, get()
        raise RecursionError("nobody thought of that")

    async def main() -> Host:
        async with origin(answering(OK)) as here:
            host = Host()
            sender = lane(name, host, here.port, max_connections=64)
            stock = Stock(recording(), lambda item: len(item[1]))
            sender.begin(Supply(Timeline(stock, 0, time.monotonic_ns() + 20_000_000), stock, None), 0)
            while host.stopped is None or sender.in_flight or sender.waiting:
                sender.beat(time.monotonic_ns())
                sender.wake()
                await asyncio.sleep(0.005)
            host.ledger.accounts.shed["stopped"] += sender.withdraw()
            sender.close()
            sender.look()
            return host

    host = run(main)
    assert host.stopped is not None
    assert host.stopped[0] == "failed"
    assert "nobody thought of that" in host.stopped[1]
    assert host.ledger.accounts.reconciles()


def test_however_often_it_is_woken_answers_get_their_turn() -> None:
    async def main() -> list[int]:
        async with origin(answering(OK)) as here:
            host = Host()
            sender = lane("python", host, here.port, max_lag="100ms")
            late = [(number, get()) for number in range(1000)]
            stock = Stock(iter(late), lambda item: len(item[1]))
            stock.fill(len(late))
            demand = Timeline(stock, 0, time.monotonic_ns() - 1_000_000_000)
            sender.begin(Supply(demand, stock, None), 0)
            for _ in range(6):
                sender.wake()
            taken = [demand.wanted]
            for _ in range(4):
                await asyncio.sleep(0)
                taken.append(demand.wanted)
            sender.close()
            return [after - before for before, after in pairwise(taken)]

    assert max(run(main)) <= BATCH


def grant(real: int, granted: int, elapsed_ns: int, *, engaged: bool = False) -> Grant:
    signal = Signal(window=1, rate=1)
    lever = Lever(engaged=engaged)
    return Grant(elapsed_ns=elapsed_ns, real=real, granted=granted, ratio=Share(1_000_000), lever=lever, signal=signal)


@pytest.mark.parametrize("name", LANES)
def test_no_more_is_sent_than_was_granted_and_nothing_without_a_signal(name: str) -> None:
    async def main() -> tuple[Accounts, int, Source]:
        async with origin(answering(OK)) as here:
            source = Source("http://sidecar", Share(1_000_000))
            host = Host(Ceiling([source]))
            sender = lane(name, host, here.port)
            now = time.monotonic_ns()
            for elapsed, real in ((0, 0), (50_000_000, 7)):
                source.take(grant(real, real, elapsed), now + elapsed)
                sender.heard(source)
            # At 20 ms there is credit for seven; 1.5 s later there is neither credit nor a signal.
            requests = [(number * 0.001, get()) for number in range(20)] + [(1.5, get())]
            accounts = await play(host, requests)
            return accounts, len(here.requests), source

    accounts, arrived, source = run(main)
    assert (accounts.sent, arrived, source.spent) == (7, 7, 7)
    assert accounts.shed == Counter(credit=13, signal=1, stopped=0)


@pytest.mark.parametrize("name", LANES)
def test_a_sidecar_that_talks_nonsense_is_nonsense_to_both(name: str) -> None:
    async def main() -> Accounts:
        async with origin(answering(OK)) as here:
            source = Source("http://sidecar", Share(1_000_000))
            host = Host(Ceiling([source]))
            sender = lane(name, host, here.port, max_connections=64)
            now = time.monotonic_ns()
            for elapsed, real in ((0, 0), (10_000_000, 10**13), (20_000_000, 10**30)):
                source.take(grant(real, real, elapsed), now + elapsed)
                sender.heard(source)
            return await play(host, [(number * 0.001, get()) for number in range(20)])

    assert run(main).sent == 20


@pytest.mark.parametrize("name", LANES)
def test_a_pulled_lever_lets_nothing_through(name: str) -> None:
    async def main() -> tuple[Accounts, int]:
        async with origin(answering(OK)) as here:
            source = Source("http://sidecar", Share(1_000_000))
            host = Host(Ceiling([source]))
            sender = lane(name, host, here.port)
            source.take(grant(0, 0, 0), time.monotonic_ns())
            source.take(grant(50, 50, 50_000_000, engaged=True), time.monotonic_ns())
            sender.heard(source)
            return await play(host, TWO), len(here.requests)

    accounts, arrived = run(main)
    assert (accounts.shed["lever"], arrived) == (2, 0)


def test_the_native_lane_sends_nothing_with_a_token_that_has_run_out() -> None:
    async def main() -> tuple[Accounts, int]:
        async with origin(answering(OK)) as here:
            host = Host()
            host.tag_ns = -1
            lane("native", host, here.port)
            return await play(host, TWO), len(here.requests)

    accounts, arrived = run(main)
    assert (accounts.shed["late"], arrived) == (2, 0)


def test_the_native_lane_sends_no_longer_than_somebody_could_stop_it() -> None:
    async def main() -> tuple[int, int]:
        async with origin(answering(OK)) as here:
            host = Host()
            sender = lane("native", host, here.port, max_connections=400)
            start = time.monotonic_ns()
            stock = Stock(iter([(number * 10_000_000, get()) for number in range(400)]), lambda item: len(item[1]))
            sender.begin(Supply(Timeline(stock, 0, start), stock, None), 0)
            while not stock.ended or len(here.requests) < 10:
                await asyncio.sleep(0.01)  # all of it is loaded
            sender.beat(time.monotonic_ns())
            time.sleep(2.5)  # a plugin that does not come back: no Ctrl-C is heard
            sender.look()
            accounts = host.ledger.accounts
            sender.close()
            return accounts.sent + accounts.waiting, accounts.shed["late"]

    begun, late = run(main)
    assert begun >= 10
    assert late > 100


@pytest.mark.parametrize("name", LANES)
def test_the_token_is_put_in_at_the_moment_of_sending(name: str) -> None:
    async def main() -> list[bytes]:
        async with origin(answering(OK)) as here:
            host = Host()
            lane(name, host, here.port)

            async def renew() -> None:
                await asyncio.sleep(0.2)
                host.tag = b"a longer one"

            task = asyncio.create_task(renew())
            await play(host, [(0, get()), (0.5, get("POST", b"body"))])
            await task
            return [request.split(b"loadtest=")[1].split(b"\r\n")[0] for request in here.requests]

    assert run(main) == [b"token", b"a longer one"]


@pytest.mark.parametrize("name", LANES)
def test_closing_counts_what_stays_without_an_answer_and_leaves_nothing_open(name: str) -> None:
    async def main() -> tuple[int, int, int]:
        async with origin(once(end="hang")) as here:
            host = Host()
            sender = lane(name, host, here.port)
            task = asyncio.get_running_loop().create_task(play(host, [(0, get()) for _ in range(3)]))
            async with asyncio.timeout(5):
                while sender.in_flight < 3:
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return sender.close(), sender.close(), sender.in_flight

    assert run(main) == (3, 0, 0)


@pytest.mark.parametrize("name", LANES)
def test_what_has_no_connection_yet_is_given_up_by_the_bound_for_connecting_alone(name: str) -> None:
    async def main() -> Accounts:
        with socket.socket() as listening:  # a full backlog: the kernel answers no more handshakes
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listening.getsockname())
            host = Host()
            lane(name, host, listening.getsockname()[1], connect_timeout=0.6, timeout=0.1)
            accounts = await play(host, [(0, get()), (0.8, get())])
            for filler in fillers:
                filler.close()
            return accounts

    accounts = run(main)
    # The second one meets the pause after the first one's connection that failed, or fails itself.
    assert accounts.errors.keys() == {"connect-timeout"}


def test_once_a_guard_told_of_the_lever_nothing_that_waits_for_its_connection_is_sent() -> None:
    def serve(listening: socket.socket, later: list[bytes]) -> None:
        first, _ = listening.accept()
        first.recv(65536)
        fillers = [socket.socket() for _ in range(4)]  # the next handshake is answered when it is tried again
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        time.sleep(0.5)
        first.sendall(LEVER)
        listening.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while True:
                other, _ = listening.accept()
                other.settimeout(0.3)
                with contextlib.suppress(TimeoutError):
                    later.append(other.recv(65536))
                other.close()
        for used in (first, *fillers):
            used.close()

    async def main() -> tuple[Accounts, list[bytes]]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            later: list[bytes] = []
            server = threading.Thread(target=serve, args=(listening, later))
            server.start()
            host = Host()
            lane("native", host, listening.getsockname()[1], max_lag="9s")
            task = asyncio.get_running_loop().create_task(play(host, [(0, get()), (0.3, get())]))
            await asyncio.sleep(0.1)
            time.sleep(3)  # Python is held up
            accounts = await task
            server.join()
            return accounts, later

    accounts, later = run(main)
    assert [data for data in later if data] == []
    assert accounts.withheld == Counter(lever=1)
    assert accounts.shed["lever"] == 1


@pytest.mark.parametrize(("addresses", "taken"), [("127.0.0.1", "native"), ("127.0.0.1,127.0.0.2", "python")])
def test_addresses_that_take_turns_are_left_to_the_lane_that_can(addresses: str, taken: str) -> None:
    plan = Plan.model_validate(
        {"recording": "r", "to": "http://shop.example:8080", "idle_target": True, "amplify": "1x"}
        | {"resolve": f"shop.example:8080:{addresses}"}
    )

    async def main() -> Choice:
        return await choose(plan)

    choice = run(main)
    assert choice.name == taken, choice.why


def test_the_target_is_looked_up_again_for_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.lanes.native.LOOK_UP_NS", 100_000_000)

    async def main() -> tuple[Accounts, int, int]:
        async with origin(once(OK)) as first, origin(once(OK)) as second:
            found: list[int | OSError] = [OSError("no name server"), second.port]

            async def look_up() -> list[bytes]:
                port = found.pop(0) if len(found) > 1 else found[0]
                if isinstance(port, OSError):
                    raise port
                return [packed(socket.AF_INET, ("127.0.0.1", port))]

            host = Host()
            lane("native", host, first.port, look_up=look_up)
            accounts = await play(host, [(0, get()), (0.15, get()), (0.6, get()), (0.7, get())])
            return accounts, len(first.requests), len(second.requests)

    accounts, before, after = run(main)
    assert accounts.answered == 4
    assert (before, after) == (2, 2)


@pytest.mark.parametrize("name", LANES)
def test_once_a_guard_told_of_the_lever_nothing_lost_is_sent_again(name: str) -> None:
    def serve(listening: socket.socket, later: list[bytes]) -> None:
        both = [listening.accept()[0] for _ in range(2)]
        for one in both:
            one.recv(65536)
            one.sendall(OK)
        listening.listen(0)  # from now on no handshake is answered
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        for one in both:
            one.recv(65536)
        both[1].close()
        time.sleep(0.2)
        both[0].sendall(LEVER)
        both[0].settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            later.append(both[0].recv(65536))
        listening.settimeout(1.5)
        with contextlib.suppress(TimeoutError):
            while True:
                other, _ = listening.accept()
                other.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    later.append(other.recv(65536))
                other.close()
        for used in (both[0], *fillers):
            used.close()

    async def main() -> tuple[Accounts, list[bytes]]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(5)
            later: list[bytes] = []
            server = threading.Thread(target=serve, args=(listening, later))
            server.start()
            host = Host()
            lane(name, host, listening.getsockname()[1], max_lag="9s")
            accounts = await play(host, [(0, get()), (0, get()), (0.4, get()), (0.4, get()), (9, get())])
            await asyncio.to_thread(server.join)
            return accounts, later

    accounts, later = run(main)
    assert [data for data in later if data] == []
    assert accounts.withheld == Counter(lever=1)
    assert accounts.errors == Counter(closed=1)
    assert accounts.retried == 1


def test_what_is_sent_again_has_time_to_get_another_connection() -> None:
    """A handshake over a long way takes longer than a request may be late; the schedule it has left anyway."""

    async def main() -> None:
        host = Host()
        sender = lane("python", host, free_port(), max_lag="100ms")
        assert isinstance(sender, PythonLane)
        now = time.monotonic_ns()
        assert sender.withdrawal(now - 300_000_000, again=False) == "connecting"
        assert sender.withdrawal(now - 300_000_000, again=True) is None
        assert sender.withdrawal(now - 600_000_000, again=True) == "connecting"
        sender.close()
        patient = lane("python", host, free_port(), max_lag="2s")
        assert isinstance(patient, PythonLane)
        assert patient.withdrawal(now - 600_000_000, again=True) is None
        patient.close()

    run(main)


def test_what_an_http2_server_did_not_process_is_sent_again_though_nothing_more_is_due() -> None:
    async def script(connection: Connection, here: Origin) -> None:
        peer = Peer(connection)
        await peer.greet()
        if here.connections == 1:
            streams = [(await peer.request())[0] for _ in range(3)]
            await asyncio.sleep(0.2)
            await peer.say(goaway(streams[0]), peer.headers(streams[0], end=True))
            await connection.hang()
        await peer.answer()

    accounts, opened, _ = exchange("python", script, [(0, get()) for _ in range(3)], http2="always")
    assert (accounts.statuses, accounts.errors, accounts.retried, opened) == (Counter({200: 3}), Counter(), 2, 2)


@pytest.mark.parametrize("name", LANES)
@pytest.mark.parametrize("credit", [2, 3])
def test_what_is_sent_again_after_the_last_one_spends_credit_too(name: str, credit: int) -> None:
    async def main() -> Accounts:
        async with origin(closing_after_one("close")) as here:
            source = Source("http://sidecar", Share(1_000_000))
            host = Host(Ceiling([source]))
            sender = lane(name, host, here.port)
            now = time.monotonic_ns()
            for elapsed, real in ((0, 0), (50_000_000, credit)):
                source.take(grant(real, real, elapsed), now + elapsed)
                sender.heard(source)
            accounts = await play(host, TWO)
            assert source.spent == credit
            return accounts

    accounts = run(main)
    assert accounts.sent == 2
    assert (accounts.retried, accounts.errors["closed"]) == ((1, 0) if credit == 3 else (0, 1))


@pytest.mark.parametrize("name", LANES)
def test_nothing_is_sent_again_once_the_run_was_stopped(name: str) -> None:
    """What a connection loses after that has failed, and so has what waits for another connection by then."""

    def serve(listening: socket.socket, later: list[bytes]) -> None:
        both = [listening.accept()[0] for _ in range(2)]
        for one in both:
            one.recv(65536)
            one.sendall(OK)
        listening.listen(0)  # from now on no handshake is answered
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        for one in both:
            one.recv(65536)
        both[0].close()
        assert stopped.wait(10)
        both[1].close()
        listening.settimeout(1.5)
        with contextlib.suppress(TimeoutError):
            while True:
                other, _ = listening.accept()
                other.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    later.append(other.recv(65536))
                other.close()
        for filler in fillers:
            filler.close()

    async def main() -> tuple[Accounts, list[bytes]]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(5)
            later: list[bytes] = []
            server = threading.Thread(target=serve, args=(listening, later))
            server.start()
            host = Host()
            sender = lane(name, host, listening.getsockname()[1], max_lag="9s")
            playing = asyncio.create_task(play(host, [(0, get()), (0, get()), (0.4, get()), (0.4, get()), (9, get())]))
            accounts = host.ledger.accounts
            while not accounts.retried:
                await asyncio.sleep(0.005)
            assert sender.in_flight == 2
            host.stop("interrupted", "SIGINT")
            assert sender.withdraw() == 0
            assert sender.in_flight == 1
            stopped.set()
            await playing
            await asyncio.to_thread(server.join)
            return accounts, later

    stopped = threading.Event()
    accounts, later = run(main)
    assert [data for data in later if data] == []
    assert (accounts.errors, accounts.retried) == (Counter(closed=2), 1)
