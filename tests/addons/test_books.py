"""The books: rows that other processes see, sums over them, and what a dead worker leaves behind."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from addons import reckoning
from addons.books import KINDS, OUTCOMES, REASON, Books, Row
from addons.controlport.exposition import Exposition
from addons.controlport.port import ControlPort, Facts
from addons.lever.latch import LatchingLever
from captures.accounting import Counts, observed, settle
from captures.worker import Worker as DiskWorker
from loadtag import PublicKey, Revoked, Signer, Validity, Verifier
from rules.latency import CELLS
from rules.wire import Lever, State
from tests.captures.making import eventually

ROOT = Path(__file__).resolve().parents[2]


def test_what_one_process_writes_another_reads() -> None:
    books = Books.create(2)
    code = (
        "import sys; from addons.books import Books, cell; books = Books.attach(int(sys.argv[1]));"
        "row = books.rows[1]; row.counts.seen = 7; row.cells[cell('real')] = 2**62; row.begin(5, 1);"
        "print(books.shared.reason)"
    )
    books.shared.move_lever(engaged=True, reason="zu heiß")
    command = [sys.executable, "-c", code, str(books.fileno())]
    told = subprocess.run(
        command, pass_fds=[books.fileno()], cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert told.stdout == "zu heiß\n"
    assert [row.counts.seen for row in books.rows] == [0, 7]
    assert (books.rows[1].real, books.rows[1].pid, books.rows[1].restarts) == (2**62, 5, 1)
    books.close()


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(200_000)])
def test_other_memory_is_not_taken_for_books(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("r+b") as file, pytest.raises(ValueError, match="no books"):
        Books.attach(file.fileno())


@given(st.text(max_size=3000))
def test_any_reason_can_be_shown(reason: str) -> None:
    shared = Books.alone().shared
    shared.move_lever(engaged=True, reason=reason)
    whole = reason.encode(errors="replace")
    if b"\0" not in whole:
        shown = shared.reason
        assert shown.rstrip("\N{REPLACEMENT CHARACTER}") in whole.decode()
        assert len(whole) >= REASON or shown == whole.decode()


def test_the_process_that_serves_the_control_port_needs_no_proxy() -> None:
    code = "import sys, addons.controlport.port, addons.lever.latch; print('mitmproxy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


# --- a worker dies


@dataclass
class Worker:
    """One that may be stopped before any of its stores."""

    counts: Counts
    left: int

    def store(self, name: str, change: int) -> None:
        if self.left == 0:
            raise InterruptedError
        self.left -= 1
        setattr(self.counts, name, getattr(self.counts, name) + change)

    def request(self, fate: str) -> None:
        self.store("seen", 1)
        if fate in ("synthetic", "untrusted", "filtered"):
            self.store(fate, 1)
            return
        self.store("in_flight", 1)
        if fate == "in_flight":
            return
        self.store("in_flight", -1)
        self.store("dropped" if fate == "dropped" else "queued", 1)

    def block(self) -> int:
        """Write all that waits. The disk has it before any counter says so."""
        count = self.counts.queued
        self.store("queued", -count)
        self.store("written", count)
        return count


fates = st.sampled_from(("synthetic", "untrusted", "filtered", "in_flight", "dropped", "queued", "block"))


@given(st.lists(fates, max_size=40), st.integers(0, 150), st.booleans())
def test_a_worker_killed_between_any_two_stores_leaves_accounts_that_reconcile(
    happened: list[str], killed_at: int, known: bool
) -> None:
    worker, on_disk = Worker(Counts(), killed_at), 0
    try:
        for fate in happened:
            if fate == "block":
                on_disk += worker.counts.queued
                worker.block()
            else:
                worker.request(fate)
    except InterruptedError:
        pass
    counts = worker.counts
    assert observed(counts).reconciles()
    before = counts.snapshot()
    settle(counts, on_disk if known else None)
    after = counts.snapshot()
    assert after.reconciles()
    assert after.pending == 0
    assert all(getattr(after, name) >= count for name, count in before.model_dump().items() if name != "pending")
    if known:
        assert after.written == on_disk
    settle(counts, on_disk if known else None)
    assert counts.snapshot() == after


def test_what_was_dropped_stays_so_even_if_the_disk_has_it() -> None:
    counts = Counts(seen=10, written=4, dropped=6)
    settle(counts, 10)
    assert (counts.written, counts.dropped) == (4, 6)


def test_a_settled_row_has_nobody_waiting_and_belongs_to_nobody() -> None:
    row = Books.alone().rows[0]
    row.arrived[0], row.arrived[1] = 5, 2
    row.ended[OUTCOMES.index("2xx")] = 3
    row.counts.writing = 1
    row.settle()
    assert reckoning.requests([row])["real"]["error"] == 2
    assert reckoning.in_flight([row]) == {"real": 0, "synthetic": 0, "untrusted": 0}
    assert reckoning.totals([row]).errors == 2
    assert (row.pid, row.counts.writing) == (0, 0)


def test_a_snapshot_in_the_middle_of_a_change_reconciles_all_the_same() -> None:
    """A request that has left `in_flight` and not yet come anywhere else is pending."""
    assert observed(Counts(seen=5, written=2, in_flight=1, queued=1)).pending == 3


# --- sums


def fill(row: Row, times: int) -> None:
    row.begin(os.getpid())
    row.counts.seen = row.arrived[0] = 4 * times
    row.counts.written = row.ended[1] = 3 * times
    row.counts.in_flight = times
    row.real = 4 * times
    row.counts.bytes_written = 100 * times
    row.counts.writing = 1
    row.latency[100], row.latency[CELLS - 1] = 2 * times, times
    row.durations[0], row.durations[14] = 2 * times, times
    row.total_ns[0] = times * 10**9


async def test_the_control_port_tells_the_sum_of_all_workers() -> None:
    books = Books.create(4)
    books.shared.ratio = 250_000
    port = ControlPort(books, LatchingLever(shared=books.shared), Verifier([], ""), Facts(upstream="http://app"))
    fill(books.rows[0], 1)
    fill(books.rows[3], 10)
    transport = httpx.ASGITransport(port.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8901") as client:
        state = State.model_validate_json((await client.get("/v1/state")).content)
        metrics = (await client.get("/metrics")).text
        order = {"engaged": True, "reason": "enough"}
        assert (await client.post("/v1/lever", json=order)).status_code == 200
    assert state.requests["real"]["2xx"] == 33
    assert (state.accounting.seen, state.accounting.written, state.accounting.pending) == (44, 33, 11)
    assert state.accounting.reconciles()
    assert state.capturing
    assert [worker.pid for worker in state.workers] == [os.getpid()] * 2
    assert (state.upstream, str(state.max_extra)) == ("http://app", "25%")
    assert state.signal.p50 == pytest.approx(0.001)
    for line in (
        'reamp_requests_total{kind="real",outcome="2xx"} 33.0',
        'reamp_requests_in_flight{kind="real"} 11.0',
        'reamp_request_duration_seconds_bucket{kind="real",le="0.001"} 22.0',
        'reamp_request_duration_seconds_count{kind="real"} 33.0',
        'reamp_request_duration_seconds_sum{kind="real"} 11.0',
        "reamp_capture_seen_total 44.0",
        "reamp_capture_bytes_total 1100.0",
        'reamp_workers{state="serving"} 2.0',
        "reamp_worker_restarts_total 0.0",
    ):
        assert line in metrics
    assert (books.shared.engaged, books.shared.reason) == (1, "enough")
    books.rows[3].counts.due_ns = 1  # long ago
    assert not port.state().capturing
    books.close()


async def test_a_disk_that_hangs_holds_up_neither_the_lever_nor_whoever_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addons.controlport.port.PATIENCE", 0.05)
    books, free, file = Books.alone(), threading.Event(), tmp_path / "lever.json"
    lever = LatchingLever(file, books.shared)
    port = ControlPort(books, lever, Verifier([], ""), Facts())
    port._disk = DiskWorker("reamp-lever")
    port._disk.submit(free.wait)
    transport = httpx.ASGITransport(port.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8901") as client, asyncio.timeout(5):
        for engaged in (True, False, True):
            answer = await client.post("/v1/lever", json={"engaged": engaged, "reason": f"{engaged}"})
            told = Lever.model_validate_json(answer.content)
            assert (told.engaged, told.persisted, bool(books.shared.engaged)) == (engaged, False, engaged)
        assert not file.exists()
        free.set()
        await eventually(lambda: lever.state.persisted)
    assert lever.engaged
    port._disk.shutdown()
    again = LatchingLever(file)
    assert (again.engaged, again.state.persisted) == (True, True)


async def test_who_asks_the_control_port_is_the_peer_whatever_its_headers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    books = Books.alone()
    lever = LatchingLever(shared=books.shared)
    port = ControlPort(books, lever, Verifier([], ""), Facts())
    await port.start("127.0.0.1:0")
    try:
        async with httpx.AsyncClient(base_url=f"http://{port.address}", trust_env=False) as client:
            order = {"engaged": True, "reason": "enough"}
            answer = await client.post("/v1/lever", json=order, headers={"x-forwarded-for": "192.0.2.1"})
    finally:
        await port.close()
    assert answer.status_code == 200
    assert lever.state.by == "127.0.0.1"
    assert "server" not in answer.headers


async def test_a_port_that_closes_ends_its_grant_streams_and_complains_of_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    books = Books.alone()
    signer = Signer(Ed25519PrivateKey.generate())
    verifier = Verifier([signer.public_key], "shop")
    port = ControlPort(books, LatchingLever(shared=books.shared), verifier, Facts(audience="shop"))
    await port.start("127.0.0.1:0")
    tag = signer.sign("run", int(time.time()) + 60, "shop")
    async with (
        httpx.AsyncClient(base_url=f"http://{port.address}", trust_env=False) as client,
        client.stream("GET", "/v1/credits", headers={"baggage": f"loadtest={tag}"}) as stream,
    ):
        lines = stream.aiter_lines()
        assert "granted" in await anext(lines)
        await port.close()
        async for line in lines:
            assert "granted" in line
    assert [entry.getMessage() for entry in caplog.records if entry.levelname == "ERROR"] == []


async def test_streams_end_within_a_tick_when_their_key_does_or_their_run_is_revoked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    books = Books.alone()
    ends = int(time.time()) + 2
    private = Ed25519PrivateKey.generate()
    signer = Signer(private)
    verifier = Verifier([PublicKey(private.public_key(), Validity(None, ends))], "shop")
    port = ControlPort(books, LatchingLever(shared=books.shared), verifier, Facts(audience="shop"))
    await port.start("127.0.0.1:0")
    ended: dict[str, float] = {}

    async def listen(client: httpx.AsyncClient, path: str, run: str) -> None:
        tag = signer.sign(run, ends + 60, "shop")
        async with client.stream("GET", path, headers={"baggage": f"loadtest={tag}"}) as stream:
            assert stream.status_code == 200
            async for _ in stream.aiter_lines():
                pass
        ended[f"{path} {run}"] = time.time()

    try:
        async with httpx.AsyncClient(base_url=f"http://{port.address}", trust_env=False) as client:
            async with asyncio.TaskGroup() as group:
                for path in ("/v1/credits", "/v1/experience"):
                    for run in ("kept", "revoked"):
                        group.create_task(listen(client, path, run))
                async with asyncio.timeout(5):
                    while len(port.granter.subscriptions) < 2:
                        await asyncio.sleep(0.01)
                verifier.revoke(Revoked(runs=frozenset({"revoked"})))
                revoked = time.time()
            headers = {"baggage": f"loadtest={signer.sign('kept', ends + 60, 'shop')}"}
            answer = await client.get("/v1/credits", headers=headers)
    finally:
        await port.close()
    # The bounds leave room for a machine that has other things to do; whatever is late, none goes on.
    assert ended["/v1/credits revoked"] - revoked < 1
    assert 0 <= ended["/v1/credits kept"] - ends < 1
    assert ended["/v1/experience revoked"] - revoked < 2.5
    assert 0 <= ended["/v1/experience kept"] - ends < 2.5
    assert answer.status_code == 403
    assert f"The key {signer.key_id} has expired" in answer.json()["detail"]
    assert f"Run kept gets nothing any more: The key {signer.key_id} has expired" in caplog.text
    assert "Run revoked gets nothing any more: The run revoked was revoked" in caplog.text


def test_a_scrape_of_new_books_is_all_zero() -> None:
    books = Books.create(2)
    for family in Exposition(books).collect():
        assert not any(sample.value for sample in family.samples)
    assert reckoning.totals(books.rows).latency.count(0) == CELLS
    assert list(reckoning.requests(books.rows)) == list(KINDS)
    assert not reckoning.capturing(books.rows, 1)
    books.close()
