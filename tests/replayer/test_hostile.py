"""Against a hostile origin every request has its outcome, of the right kind; nothing hangs, and nothing is left behind.

The table is `tests.support.hostile`. After each case the origin behaves, and the same pool is served well. Then whole
runs meet it, of which most requests go elsewhere and must not notice.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop

from loadtag import keys
from replayer.books.folder import read_report
from replayer.books.report import Report
from replayer.requests.encoding import Request
from replayer.transport import Target, connections
from rules.exits import Exit
from tests.support.authority import Authority
from tests.support.frames import Peer
from tests.support.hostile import (
    BEFORE,
    BEFORE_2,
    BODIES,
    CASES,
    FIELDS,
    FINE,
    FRAMES,
    GIB,
    HEADS_2,
    LATE,
    LINES,
    STREAMS,
    TLS,
    Case,
    said,
)
from tests.support.origin import Connection, Origin, origin
from tests.support.outcomes import Outcomes
from tests.support.processes import reamp
from tests.support.recording import record, write
from tests.support.secured import Secured

MOST_MEMORY = 96 << 20
"""Bytes that the process may grow by while it meets one case: the origin's own buffers and the largest request too."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("good", "127.0.0.1")
    return made


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def request(method: str, body: int) -> Request:
    length = b"\r\ncontent-length: %d" % body if body else b""
    return Request(
        f"{method} / HTTP/1.1\r\nHost: x\r\nbaggage: loadtest=".encode(), length + b"\r\n\r\n" + bytes(body), method
    )


@asynccontextmanager
async def hostile(case: Case, authority: Authority, *, beneath: bool = False) -> AsyncIterator[Origin]:
    """Misbehave on the first connections, and behave on those that follow; `beneath` all of it there is TLS."""
    serving = authority.serving(authority.folder / "good.pem", *(["h2"] if "http2" in case.options else []))
    own = case.serving(authority) if case.serving else None

    async def script(connection: Connection, here: Origin) -> None:
        if here.connections <= case.attacks:
            here.context = authority.serving(authority.folder / "good.pem")
            here.context.load_verify_locations(authority.trust)
            if own is None:
                await case.script(connection, here)
            else:
                tls = Secured(connection, own)
                await tls.handshake()
                await tls.say(FINE)
        elif case.tls:
            tls = Secured(connection, serving)
            await tls.handshake()
            await behave(tls, case)
        else:
            await behave(connection, case)

    async with origin(script, serving if beneath else None) as here:
        yield here


async def behave(connection: Any, case: Case) -> None:
    if "http2" in case.options and isinstance(connection, Connection):
        peer = Peer(connection)
        await peer.greet()
        await peer.answer()
    while True:
        head = await connection.request()
        assert head
        await connection.say(FINE)


async def meet(case: Case, authority: Authority) -> tuple[list[int | str], int | str, int]:
    """Give the outcomes, that of a request afterwards, and by how much memory grew meanwhile."""
    outcomes = Outcomes()
    before = most = memory()
    async with hostile(case, authority) as here:
        tls = authority.trusting(*(["h2"] if "http2" in case.options else [])) if case.tls else None
        settings = {"connect_timeout": 5.0, "timeout": 50.0, "max_connections": 4, **case.options}
        pool = connections(Target("127.0.0.1", here.port, tls, **settings), outcomes, time.monotonic_ns)

        async def send(sent: Request) -> int | str:
            nonlocal most
            while pool.shortage(time.monotonic_ns()) is not None:
                await asyncio.sleep(0.002)
            now = time.monotonic_ns()
            pool.send(sent, now, now, now)
            while outcomes.seen.empty():
                pool.sweep(time.monotonic_ns())
                most = max(most, memory())
                await asyncio.sleep(0.005)
            assert (pool.in_flight, pool.waiting) == (0, 0)
            return outcomes.seen.get_nowait()

        async with asyncio.timeout(55):
            found = []
            for _ in case.outcomes:
                found.append(await send(request(case.method, case.body)))
                await asyncio.sleep(0.02)  # for what the origin does once it has answered
            calm = await send(request("GET", 0)) if "alpn" not in case.outcomes else 200
            if calm != 200 and here.connections <= case.attacks:  # it was sent before the connection was ended for it
                calm = await send(request("GET", 0))
            while pool.connections > 1:  # the one that served well may stay
                await asyncio.sleep(0.002)
        assert not case.size or outcomes.answers[0].size >= case.size
        assert pool.close() == 0
        assert pool.connections == 0
        assert outcomes.seen.empty()  # no request has two outcomes
    return found, calm, most - before


@pytest.fixture(scope="module")
def loop(authority: Authority) -> Iterator[asyncio.Runner]:
    """One loop for all, which has opened what it needs for itself."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(meet(Case("calm", said(), (200,), attacks=0), authority))
        yield runner


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_misbehaviour_has_its_outcome(case: Case, authority: Authority, loop: asyncio.Runner) -> None:
    async def main() -> None:
        before = files()
        found, calm, grown = await meet(case, authority)
        for kind, allowed in zip(found, case.outcomes, strict=True):
            assert str(kind) in str(allowed).split("|"), (found, case.outcomes)
        assert calm == 200
        assert grown < MOST_MEMORY
        async with asyncio.timeout(5):
            while files() > before or len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.005)

    loop.run(main())


class NextError(Exception):
    """The next request came; its head."""


class Given(Connection):
    """A connection whose first request has been read already; the next one is for somebody else."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        super().__init__(connection.reader, connection.writer)
        self._head = head

    async def request(self) -> bytes:
        head, self._head = self._head, b""
        if not head:
            raise NextError(await super().request())
        return head


MIXED = [
    case
    for case in (*BEFORE, *LINES, *FIELDS, *BODIES)
    if case.method == "GET" and case.options in ({}, LATE) and "|" not in str(case.outcomes[0])
    if case.name.startswith("a gigabyte") <= (case.name == "a gigabyte")
]


@pytest.mark.parametrize("lane", ["python", "native"])
def test_the_schedule_is_kept_for_everybody_else(tmp_path: Path, lane: str) -> None:
    """Every tenth request of a run meets a misbehaviour; the others do not notice."""
    good = 0

    async def script(connection: Connection, here: Origin) -> None:
        nonlocal good
        following = b""
        while True:
            head, following = following or await connection.request(), b""
            number = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
            if head.startswith(b"GET /bad"):
                try:
                    await MIXED[number].script(Given(connection, head), here)
                except NextError as error:
                    following = error.args[0]
                    continue
                return
            good += 1
            await connection.say(FINE)

    async def main() -> int:
        async with origin(script) as here:
            replay = await asyncio.create_subprocess_exec(
                *reamp("replay", str(tmp_path / "recordings"), "--to", f"http://127.0.0.1:{here.port}"),
                *("--idle-target", "--key", str(tmp_path / "load.key"), "--runs", str(tmp_path / "runs")),
                *("--lane", lane, "--max-lag", "5s", "--first-byte-timeout", "2500ms", "--timeout", "5s"),
                stdout=asyncio.subprocess.DEVNULL,
            )
            async with asyncio.timeout(45):
                return await replay.wait()

    keys.generate(tmp_path, "load")
    paths = []
    for number in range(len(MIXED)):
        paths += [f"/bad/{number}", *(f"/good/{n}" for n in range(9))]
    write(tmp_path / "recordings", (record(at * 0.006, path) for at, path in enumerate(paths)))
    code = uvloop.run(main())
    assert code in (Exit.DONE, Exit.INVALID)  # invalid where the machine is too busy
    (folder,) = (tmp_path / "runs").iterdir()
    report = read_report(folder)
    accounts = report.accounts
    assert accounts.reconciles()
    expected = Counter(str(case.outcomes[0]) for case in MIXED)
    assert good == len(MIXED) * 9
    assert accounts.sent == len(paths)
    assert {kind: count for kind, count in accounts.errors.items() if count} == {
        kind: count for kind, count in expected.items() if not kind.isdigit()
    }
    statuses = {int(kind): count for kind, count in expected.items() if kind.isdigit()}
    statuses[200] += good
    assert accounts.statuses == statuses
    # Whoever waited for one that hangs would be late by two seconds and a half, again and again.
    assert report.lag.p99 is not None
    assert report.lag.p99 < 0.75


GAP, PAUSE = 0.01, 1.5
"""Seconds between two requests, and between two of the same misbehaviour, in longest time-outs."""

SECURED = [case for case in TLS if "http2" not in case.options]
FRAMED = [case for case in (*BEFORE_2, *STREAMS, *HEADS_2, *FRAMES) if case.size < GIB]
KINDS = {
    "tls": (SECURED, ()),
    "http2": (FRAMED, ("--http2",)),
    "http2 over tls": ([*FRAMED, *(case for case in TLS if "http2" in case.options)], ("--http2",)),
}


class Ran(NamedTuple):
    """What came of one run to many hosts that misbehave and one that does not."""

    code: int
    report: Report
    found: Counter[str]
    """How often each outcome came, but those of the good host and of hosts that behave afterwards."""
    sockets: list[int]
    """How many were open at the first request and at the last one."""
    connections: int
    """To the good host."""
    most: int
    """Bytes of memory."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_over_tls_and_http2_has_each_outcome_and_keeps_its_schedule(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """Each misbehaviour has a host of its own, and they all come at once; between them many requests go to a good one.

    Afterwards each host but those that speak no HTTP/2 is asked again, and answers.
    """
    for patience in (1, 2, 4):  # on a busy machine a host may take long to misbehave: then the time-out comes first
        seen = ran(tmp_path / str(patience), authority, kind, patience)
        with suppress(AssertionError):
            check(seen, kind, patience)
            break
    check(seen, kind, patience)


def check(seen: Ran, kind: str, patience: int) -> None:
    cases, accounts = KINDS[kind][0], seen.report.accounts
    assert seen.code in (Exit.DONE, Exit.INVALID)  # invalid where the machine is too busy
    assert accounts.reconciles()
    assert accounts.shed.total() == accounts.unanswered == 0
    assert accords(seen.found, [str(outcome) for case in cases for outcome in case.outcomes]), seen.found
    # Whoever waited for one that hangs would be late by its time-out, again and again: half a second, or more.
    assert seen.report.lag.p99 is not None
    assert seen.report.lag.p99 < 0.25 * patience
    first, last = seen.sockets
    assert last - first < len(well(cases)) + seen.connections  # those to hosts that behave now may stay
    assert seen.most < 256 << 20


def well(cases: list[Case]) -> list[Case]:
    """Those whose hosts answer afterwards."""
    return [case for case in cases if "alpn" not in case.outcomes]


def ran(folder: Path, authority: Authority, kind: str, patience: int) -> Ran:
    """Have a run meet each misbehaviour of a kind. `patience`: its longest time-out, in seconds."""
    cases, options = KINDS[kind]
    tls, http2 = "tls" in kind, "http2" in kind
    calm = well(cases)
    sockets: list[int] = []
    opened = Path("/proc/self/fd")
    most = good = good_connections = 0

    async def script(connection: Any, _here: Origin) -> None:
        if http2:
            peer = Peer(connection)
            await peer.greet()
            while True:
                stream, found = await peer.request()
                take(dict(found)[":path"])
                await peer.say(peer.headers(stream, end=True))
        while True:
            take((await connection.request()).decode().split(" ", 2)[1])
            await connection.say(FINE)

    def take(path: str) -> None:
        nonlocal good
        good += 1
        if path in ("/first", "/last"):
            sockets.append(sum(str(file.readlink()).startswith("socket:") for file in opened.iterdir()))

    async def main() -> int:
        nonlocal most, opened, good_connections
        serving = authority.serving(authority.folder / "good.pem", *(["h2"] if http2 else []))
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(origin(script, serving if tls else None))
            ports = []
            for case in cases:
                at = hostile(case, authority, beneath=tls and not case.tls)
                ports.append((await stack.enter_async_context(at)).port)
            each = list(zip(cases, ports, strict=True))
            await asyncio.to_thread(record_all, folder / "recordings", here.port, each, calm, PAUSE * patience)
            scheme = "https" if tls else "http"
            arguments = [argument for port in ports for argument in ("--resolve", f"127.0.0.1:{port}:127.0.0.1")]
            replay = await asyncio.create_subprocess_exec(
                *reamp("replay", str(folder / "recordings"), "--to", f"{scheme}://127.0.0.1:{here.port}"),
                *("--idle-target", "--key", str(folder / "load.key"), "--runs", str(folder / "runs")),
                *("--host", "recorded", "--allow", "POST *", "--ca", str(authority.trust), "--max-lag", "5s"),
                *("--connect-timeout", f"{patience}s", "--first-byte-timeout", f"{500 * patience}ms"),
                *("--timeout", f"{patience}s"),
                *arguments,
                *options,
                stdout=asyncio.subprocess.DEVNULL,
            )
            opened = Path(f"/proc/{replay.pid}/fd")
            async with asyncio.timeout(40 + 10 * patience):
                while replay.returncode is None:
                    most = max(most, peak(replay.pid))
                    await asyncio.sleep(0.02)
            good_connections = here.connections
            return replay.returncode

    keys.generate(folder, "load")
    code = uvloop.run(main())
    (made,) = (folder / "runs").iterdir()
    report = read_report(made)
    found = Counter({str(kind): count for kind, count in (report.accounts.statuses + report.accounts.errors).items()})
    found.subtract({"200": good + len(calm)})
    return Ran(code, report, +found, sockets, good_connections, most)


def record_all(folder: Path, port: int, cases: list[tuple[Case, int]], calm: list[Case], pause: float) -> None:
    """Record what each case takes, one after the other, and between them what goes to the good host at `port`."""
    rounds = max(len(case.outcomes) for case, _ in cases) + 1
    items = [(0.0, "/first", port, "GET", 0)]
    for number in range(rounds):
        begin = 0.5 + number * pause
        last = number + 1 == rounds
        for place, (case, there) in enumerate(cases):
            if (last and case in calm) or number < len(case.outcomes):
                method, body = ("GET", 0) if last else (case.method, case.body)
                items.append((begin + place * GAP, f"/{place}", there, method, body))
    end = 0.5 + rounds * pause + len(cases) * GAP
    items += [(GAP / 2 + n * GAP, "/good", port, "GET", 0) for n in range(int(end / GAP))]
    items.append((end + 0.1, "/last", port, "GET", 0))
    write(
        folder,
        (
            record(at, path, method, [(b"host", b"x")], bytes(body), authority=f"127.0.0.1:{there}")
            for at, path, there, method, body in sorted(items)
        ),
    )


def accords(found: Counter[str], allowed: list[str]) -> bool:
    """Whether each outcome that was found is one of those allowed, some of which leave a choice: ``closed|reset``."""
    left = found.copy()
    for outcome in sorted(allowed, key=lambda text: text.count("|")):
        kind = next((kind for kind in outcome.split("|") if left[kind] > 0), None)
        if kind is None:
            return False
        left[kind] -= 1
    return not +left


def peak(pid: int) -> int:
    """Bytes that a process has used at most so far; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def test_the_table_is_large_and_names_are_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
