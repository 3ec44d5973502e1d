"""The sidecar as a real process before a real app: what is let through, counted and recorded."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from captures.reader import Capture
from loadtag import keys
from rules.exits import Exit
from rules.wire import Grant, Lever
from tests.support.client import Client
from tests.support.processes import Process, answers, eventually, free_port, reamp, resident, run
from tests.support.stack import Stack, stack

Job = tuple[str, str, list[tuple[str, str]], bytes]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A site whose sidecar runs all the time: for tests to which it is the same what others have sent."""
    with stack(tmp_path_factory.mktemp("served")) as made, made.sidecar():
        yield made


async def send_all(url: str, jobs: list[Job], connections: int) -> Counter[int]:
    """Send every job once, over so many keep-alive connections; count the statuses."""
    statuses: Counter[int] = Counter()
    queue = iter(jobs)

    async def work() -> None:
        async with Client(url) as client:
            for method, path, headers, body in queue:
                statuses[(await client.request(method, path, headers, body)).status] += 1

    await asyncio.gather(*(work() for _ in range(connections)))
    return statuses


def real_job(number: int, choice: random.Random) -> Job:
    """One of the things that users do, marked by an id."""
    marked = [("x-request-id", f"real-{number}"), ("cookie", f"session={number % 50}"), ("user-agent", "users/1.0")]
    kind = choice.random()
    if kind < 0.15:
        return "POST", "/cart", [*marked, ("content-type", "application/json")], b'{"item": %d}' % number
    if kind < 0.3:
        return "GET", "/", [*marked, ("baggage", f"user=u{number},tier=gold")], b""
    if kind < 0.33:
        return "GET", "/missing", marked, b""
    if kind < 0.36:
        return "GET", "/broken", marked, b""
    if kind < 0.4:
        return "HEAD", "/item/1", marked, b""
    return "GET", f"/item/{number % 997}?q={number}", marked, b""


def ids(records: Iterable[tuple[tuple[bytes, bytes], ...]]) -> list[str]:
    return [dict(headers)[b"x-request-id"].decode() for headers in records]


@pytest.mark.timeout(240)
async def test_of_20_000_mixed_requests_exactly_the_real_ones_are_recorded(site: Stack) -> None:
    choice = random.Random(20_000)
    good, other_audience, expired = site.token("run-1"), site.token(audience="elsewhere"), site.token(seconds=-5)
    forged = good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB")
    # Only a replay can have sent these: nobody else has its key.
    stale_tags = [[("baggage", f"loadtest={token}")] for token in (expired, other_audience)]
    untrusted_tags = [[("baggage", f"loadtest={token}")] for token in (forged, "v1.nonsense", "")] + [
        [("x-load-test", "run-1")],
        [("baggage", f"LoadTest={good}")],
        [("baggage", f"loadtest={good},loadtest={good}")],
    ]
    jobs: list[Job] = []
    for number in range(20_000):
        kind = choice.random()
        if kind < 0.7:
            jobs.append(real_job(number, choice))
        elif kind < 0.85:
            headers = [("x-request-id", f"synthetic-{number}"), ("baggage", f"user=u1,loadtest={good}")]
            jobs.append(("GET", f"/item/{number}", headers, b""))
        elif kind < 0.9:
            jobs.append(
                ("GET", f"/item/{number}", [("x-request-id", f"stale-{number}"), *choice.choice(stale_tags)], b"")
            )
        else:
            headers = [("x-request-id", f"untrusted-{number}"), *choice.choice(untrusted_tags)]
            jobs.append(("GET", f"/item/{number}", headers, b""))
    sent = Counter(dict(headers)["x-request-id"].partition("-")[0] for _, _, headers, _ in jobs)

    with site.sidecar() as sidecar:
        statuses = await send_all(site.url, jobs, connections=16)
        eventually(lambda: site.state().accounting.pending == 0)
        state = site.state()
        metrics = httpx.get(f"{site.control}/metrics", trust_env=False).text
        assert sidecar.stop() == 0

    seen = site.seen_by_app()
    by_kind = {kind: [line for line in seen if line[2].startswith(kind)] for kind in sent}
    admitted = len(by_kind["synthetic"])

    # Every real and every untrusted request reached the app, and the synthetic ones that had credit.
    assert len(by_kind["real"]) == sent["real"]
    assert len(by_kind["untrusted"]) == sent["untrusted"]
    assert by_kind["stale"] == []
    assert statuses[403] == sent["stale"]
    assert 0 < admitted <= sent["real"] * 0.25
    assert statuses[429] == sent["synthetic"] - admitted
    # Nothing untrusted passes for synthetic, and everything synthetic is known as such.
    assert {its_run for _, its_run, _, _, _ in by_kind["real"] + by_kind["untrusted"]} == {"-"}
    assert {its_run for _, its_run, _, _, _ in by_kind["synthetic"]} == {"run-1"}
    # The ceiling held at every moment, as the app itself saw it.
    real = synthetic = 0
    for _, its_run, request, _, _ in seen:
        real += request.startswith("real")
        synthetic += its_run != "-"
        assert synthetic <= 0.25 * real + 16  # what is on its way at once may overtake each other

    # On the disk: exactly the real ones, each once, as they were sent.
    records = site.records()
    recorded = dict(zip(ids(record.headers for record in records), records, strict=True))
    assert Counter(ids(record.headers for record in records)) == Counter(line[2] for line in by_kind["real"])
    for method, path, headers, body in jobs:
        request = dict(headers)["x-request-id"]
        if request.startswith("real"):
            record = recorded[request]
            assert (record.method, record.path, record.body, record.body_size) == (method, path, body, len(body))
            assert dict(record.headers)[b"user-agent"] == b"users/1.0"
            assert b"session=" + str(int(request[5:]) % 50).encode() not in dict(record.headers)[b"cookie"].split(b"; ")
            assert record.status in (200, 201, 404, 500)
            assert 0 <= record.ttfb_ns <= record.duration_ns < 60e9

    # The accounts, three times: the state, the metrics and what this test knows.
    accounting = state.accounting
    assert accounting.reconciles()
    assert accounting.model_dump() == {
        "seen": 20_000,
        "written": sent["real"],
        "synthetic": sent["synthetic"],
        "untrusted": sent["untrusted"] + sent["stale"],
        "filtered": 0,
        "sampled_out": 0,
        "dropped": 0,
        "pending": 0,
    }
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert samples["reamp_capture_seen_total",] == accounting.seen
    for outcome in ("written", "synthetic", "untrusted", "filtered", "sampled_out", "dropped"):
        assert samples["reamp_capture_records_total", outcome] == getattr(accounting, outcome)
    assert samples["reamp_requests_total", "synthetic", "withheld"] == statuses[429]
    assert samples["reamp_requests_total", "synthetic", "2xx"] == admitted
    verify = run("captures", "verify", str(site.captures))
    assert verify.returncode == 0, verify.stdout + verify.stderr


async def test_real_requests_pass_whatever_their_shape(site: Stack) -> None:
    with site.sidecar():
        async with Client(site.url) as client:
            assert (await client.request("GET", "/large?size=300000")).body == b"x" * 300_000
            events = await client.request("GET", "/events")
            assert events.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
            big = await client.request("POST", "/cart", body=b"a line\n" * 30_000)
            assert big.body == b'{"received":210000}'
            assert (await client.request("HEAD", "/item/1")).status == 200
        chunked = httpx.post(f"{site.url}/cart", content=(b"a line\n" * 1_500 for _ in range(20)), trust_env=False)
        assert chunked.json() == {"received": 210_000}
        eventually(lambda: site.state().accounting.written == 5)
    records = site.records()
    by_path = {record.path: record for record in records}
    assert by_path["/large?size=300000"].response_size == 300_000
    assert by_path["/events"].response_size == 27
    # Two pauses of 50 ms lie between the first byte and the last.
    assert by_path["/events"].duration_ns - by_path["/events"].ttfb_ns >= 90e6
    posted = [(record.body_size, len(record.body)) for record in records if record.method == "POST"]
    assert posted == [(210_000, 65_536)] * 2


async def test_events_are_passed_on_as_they_come(served: Stack) -> None:
    with httpx.stream("GET", f"{served.url}/events", trust_env=False) as response:
        arrivals = [time.monotonic() for _ in response.iter_raw()]
    assert arrivals[-1] - arrivals[0] >= 0.05


async def test_the_host_that_users_typed_reaches_the_app(served: Stack) -> None:
    answer = httpx.get(f"{served.url}/headers", headers={"host": "shop.example"}, trust_env=False)
    assert ["host", "shop.example"] in answer.json()


async def test_a_valid_tag_is_passed_on_with_the_other_baggage(served: Stack) -> None:
    async with Client(served.url) as client:
        for _ in range(4):  # they earn the credit
            await client.request("GET", "/")
        token = served.token("spring")
        answer = await client.request(
            "GET", "/headers", [("baggage", f"user=7, loadtest={token} ,tier=gold"), ("x-load-test", "another")]
        )
    headers = dict(httpx.Response(200, content=answer.body).json())
    assert f"loadtest={token}" in headers["baggage"]
    assert "user=7" in headers["baggage"]
    assert "tier=gold" in headers["baggage"]
    assert headers["x-load-test"] == "spring"


async def test_untrusted_requests_can_be_denied(site: Stack) -> None:
    with site.sidecar(untrusted="deny"):
        async with Client(site.url) as client:
            answer = await client.request("GET", "/", [("x-load-test", "forged")])
            assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
            assert (await client.request("GET", "/")).status == 200
        assert site.state().requests["untrusted"]["denied"] == 1
    assert len(site.seen_by_app()) == 1


async def test_an_app_that_is_gone_and_comes_back(site: Stack) -> None:
    """The client gets a 502 at once, and the request is counted and recorded as unanswered."""
    with site.sidecar(upstream="http://127.0.0.1:9"):
        async with Client(site.url) as client:
            assert (await client.request("GET", "/", [("x-request-id", "a")])).status == 502
        eventually(lambda: site.state().accounting.written == 1)
        state = site.state()
        assert state.requests["real"]["error"] == 1
        assert state.signal.error_ratio == 1
        assert state.accounting.reconciles()
    assert [record.status for record in site.records()] == [0]


@pytest.mark.parametrize(
    "malformed",
    [
        b"GET / HTTP/1.1\r\nhost: shop\r\nCookie : session=1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT shop:443 HTTP/1.1\r\nhost: shop:443\r\n\r\n",
    ],
)
async def test_what_the_proxy_refuses_itself_is_neither_recorded_nor_earns(site: Stack, malformed: bytes) -> None:
    with site.sidecar(**{"max-extra": "100%"}) as sidecar:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.listen)
        writer.write(malformed)
        status = (await reader.read(100)).split(b" ")[1]
        writer.close()
        await writer.wait_closed()
        assert status == b"400"
        state = site.state()
        assert state.credit == 0
        assert state.accounting.reconciles()
        sidecar.stop()
    assert site.seen_by_app() == []
    assert site.records() == []


async def test_clients_that_hang_up_are_accounted_for(site: Stack) -> None:
    with site.sidecar():
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", site.listen)
            writer.write(b"GET /slow?seconds=5 HTTP/1.1\r\nhost: shop\r\n\r\n")
            await writer.drain()
            eventually(lambda: len(site.seen_by_app()) > 0)
            writer.close()
            await writer.wait_closed()
            _, writer = await asyncio.open_connection("127.0.0.1", site.listen)
            writer.write(b"POST /cart HTTP/1.1\r\nhost: shop\r\ncontent-length: 100\r\n\r\nhalf")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        eventually(lambda: site.state().accounting.pending == 0)
        accounting = site.state().accounting
        assert accounting.reconciles()
        assert accounting.seen == accounting.written == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny disk takes root")
@pytest.mark.timeout(120)
async def test_a_full_disk_costs_records_and_never_a_request(site: Stack) -> None:
    """Traffic goes on, what is not recorded is counted exactly, and recording resumes when space returns."""
    choice = random.Random(7)
    site.captures.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(site.captures)], check=True)
    try:
        filler = site.captures / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for _ in range(230):
                file.write(b"x" * 4096)  # leaves about 100 KiB
        with site.sidecar(**{"queue-size": "512KiB", "body-limit": "32KiB"}):
            async with Client(site.url) as client:

                async def post() -> None:
                    answer = await client.request("POST", "/cart", body=choice.randbytes(20_000))
                    assert answer.status == 201

                sent = 0
                while site.state().accounting.dropped < 20:
                    await post()
                    sent += 1
                    assert sent < 500
                state = site.state()
                assert not state.capturing
                assert state.accounting.reconciles()
                assert state.accounting.seen == sent
                before = state.accounting.written
                filler.unlink()
                while not site.state().capturing or site.state().accounting.written == before:
                    await post()
                    sent += 1
                    await asyncio.sleep(0.05)
                    assert sent < 1000
                eventually(lambda: site.state().accounting.pending == 0)
                accounting = site.state().accounting
        assert accounting.seen == sent
        assert accounting.reconciles()
        assert len(site.seen_by_app()) == sent
        assert len(site.records()) == accounting.written == sent - accounting.dropped
    finally:
        subprocess.run(["umount", "-l", str(site.captures)], check=True)


async def test_the_lever_refuses_at_once_and_latches_over_a_restart(site: Stack) -> None:
    async with Client(site.url) as client:
        with site.sidecar(**{"max-extra": "100%"}) as sidecar:
            for _ in range(3):
                await client.request("GET", "/")
            assert (await client.request("GET", "/", site.tagged())).status == 200
            stop = run("stop", "--sidecar", site.control, "--reason", "users suffer")
            assert "pulled" in stop.stdout
            answer = await client.request("GET", "/", site.tagged())
            assert (answer.status, answer.headers["reamp-withheld"]) == (503, "lever")
            assert b"users suffer" in answer.body
            assert (await client.request("GET", "/")).status == 200
            client.close()
            sidecar.kill()
        with site.sidecar(**{"max-extra": "100%"}):
            for _ in range(3):
                assert (await client.request("GET", "/")).status == 200
            assert (await client.request("GET", "/", site.tagged())).status == 503
            run("resume", "--sidecar", site.control)
            # What was earned while the lever was pulled is gone; new real traffic earns anew.
            assert (await client.request("GET", "/", site.tagged())).status == 429
            await client.request("GET", "/")
            assert (await client.request("GET", "/", site.tagged())).status == 200
            client.close()


def test_status_shows_the_state_and_a_wrong_port_is_told(served: Stack) -> None:
    shown = run("status", "--sidecar", served.control)
    assert "reconciles" in shown.stdout
    as_json = run("status", "--json", "--sidecar", served.control)
    assert served.state().max_extra == 250_000
    assert '"max_extra":"25%"' in as_json.stdout
    wrong = run("stop", "--sidecar", served.url)
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    gone = run("status", "--sidecar", f"http://127.0.0.1:{free_port()}")
    assert gone.returncode == 1
    assert "no sidecar answers there" in gone.stderr


def test_a_port_that_is_taken_is_told_without_a_traceback(served: Stack) -> None:
    for changes in ({"control": "127.0.0.1:0"}, {"listen": "127.0.0.1:0"}):
        again = run("sidecar", *served.options(**changes))
        assert again.returncode == Exit.FAILED, again.stderr
        assert "in use" in again.stderr
        assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"upstream": "localhost:8000"}, "write it like http"),
        ({"max-extra": "25"}, "write it like 25%"),
        ({"listen": "8080"}, "write it like 127.0.0.1"),
        ({"untrusted": "perhaps"}, "strip"),
        ({"flush": "soon"}, "write it like"),
    ],
)
def test_wrong_settings_are_told(site: Stack, changes: dict[str, str], word: str) -> None:
    started = run("sidecar", *site.options(**changes))
    assert started.returncode == 104
    assert word in started.stderr
    assert "Traceback" not in started.stderr


def test_kill_9_while_recording_loses_at_most_a_second(site: Stack) -> None:
    with site.sidecar() as sidecar:
        with httpx.Client(base_url=site.url, trust_env=False) as client:
            end = time.monotonic() + 2.5
            number = 0
            while time.monotonic() < end:
                client.get(f"/item/{number}", headers={"x-request-id": f"real-{number}"})
                number += 1
        killed_ns = time.time_ns()
        sidecar.kill()
    recorded = set(ids(record.headers for record in site.records()))
    missing = [at for at, _, request, _, _ in site.seen_by_app() if request not in recorded]
    assert recorded
    assert all(killed_ns - at <= 1_000_000_000 for at in missing)
    verify = run("captures", "verify", str(site.captures))
    assert verify.returncode == 1
    assert "at most 1s" in " ".join(verify.stdout.replace("│", " ").split())


def test_the_same_add_ons_load_into_stock_mitmproxy(site: Stack) -> None:
    options = {
        "keep_host_header": "true",
        "connection_strategy": "lazy",
        "reamp_control": f"127.0.0.1:{site.control_port}",
        "reamp_captures": str(site.captures),
        "reamp_redaction_key": str(site.folder / "redaction.key"),
        "reamp_public_key": str(site.folder / "load.pub"),
        "reamp_audience": "test-shop",
        "reamp_max_extra": "50%",
    }
    settings = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    mitmdump = str(Path(reamp()[0]).with_name("mitmdump"))
    arguments = [
        *(mitmdump, "-s", "deploy/sidecar.py", "--mode", f"reverse:{site.app}", "-p", str(site.listen)),
        *settings,
    ]
    with Process(arguments, site.folder / "mitmdump.out") as process:
        process.ready(site.control_port)
        eventually(answers(site.listen))
        with httpx.Client(base_url=site.url, trust_env=False) as client:
            assert [client.get("/").status_code for _ in range(4)] == [200] * 4
            assert [client.get("/", headers=dict(site.tagged())).status_code for _ in range(3)] == [200, 200, 429]
            assert client.get("/", headers={"x-load-test": "forged"}).status_code == 200
        process.signal(signal.SIGINT)
        process.wait()
    assert len(list(Capture(site.captures).records())) == 4
    assert Counter(its_run for _, its_run, _, _, _ in site.seen_by_app()) == {"-": 5, "run-1": 2}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "has to bear a load tag"),
        ("expired", "expired"),
        ("elsewhere", "not addressed"),
        ("stranger", "does not know the key"),
        ("forged", "does not verify"),
    ],
)
def test_grants_go_only_to_whom_the_sidecar_can_verify(served: Stack, tmp_path: Path, token: str, words: str) -> None:
    """Whoever signs with a key that is not known here would be sending what nobody counts."""
    stranger = keys.load_private(keys.generate(tmp_path, "stranger")[0])
    good = served.token()
    tokens = {
        "": "",
        "expired": served.token(seconds=-5),
        "elsewhere": served.token(audience="elsewhere"),
        "stranger": stranger.sign("run-1", int(time.time()) + 60, "test-shop"),
        "forged": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
    }
    with httpx.Client(base_url=served.control, trust_env=False) as client:
        headers = dict(served.tagged(token=tokens[token])) if token else {}
        refused = client.get("/v1/credits", headers=headers)
        assert refused.status_code == 403
        assert words in refused.json()["detail"]
        with client.stream("GET", "/v1/credits", headers=dict(served.tagged(token=good))) as granted:
            assert Grant.model_validate_json(next(granted.iter_lines())).granted == 0


def test_the_control_port_tells_how_to_be_used(served: Stack) -> None:
    with httpx.Client(base_url=served.control, trust_env=False) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert Lever.model_validate_json(client.get("/v1/lever").content).engaged is False
        for response, status in (
            (client.post("/v1/lever", json={"engaged": True}), 400),
            (client.post("/v1/lever", content=b"{"), 415),
            (client.post("/v1/lever", json={"engaged": True, "reason": "x"}, headers={"host": "evil.example"}), 403),
            (client.get("/v1/credits?ratio=25%25"), 400),
        ):
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
        assert Lever.model_validate_json(client.get("/v1/lever").content).engaged is False


async def raw_origin(answer: bytes) -> tuple[asyncio.Server, str, list[bytes]]:
    """An origin that answers every request with these bytes, and keeps what it was sent."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                received.append(data)
                if b"\r\n\r\n" in data:
                    writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


async def ask(port: int, request: bytes, until: bytes, seconds: float = 5) -> bytes:
    """Send bytes and read until `until` has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(seconds):
        answer = await reader.readuntil(until)
    writer.close()
    await writer.wait_closed()
    return answer


GET = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "until"),
    [
        (
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            b"hello",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
            b"x-sum: 1\r\n\r\n",
        ),
    ],
)
async def test_answers_with_early_hints_or_trailers_arrive(site: Stack, answer: bytes, until: bytes) -> None:
    origin, url, _ = await raw_origin(answer)
    async with origin:
        with site.sidecar(upstream=url):
            got = await ask(site.listen, GET, until)
            assert answer.endswith(got[-len(until) :])
            assert got.count(b"HTTP/1.1 200") == 1
            assert b"hello" in got
            eventually(lambda: site.state().accounting.pending == 0)


async def test_requests_with_trailers_arrive(site: Stack) -> None:
    request = (
        b"POST /cart HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    with site.sidecar():
        assert b'{"received":5}' in await ask(site.listen, request, b"}")
        eventually(lambda: site.state().accounting.written == 1)


@pytest.mark.parametrize("tagged", [False, True])
async def test_no_upgrade_leads_around_the_guard(site: Stack, tagged: bool) -> None:
    """An upgrade to what can't be seen into is not passed on, not even to a WebSocket if it is synthetic."""
    origin, url, received = await raw_origin(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n")
    async with origin:
        with site.sidecar(upstream=url, **{"max-extra": "100%"}):
            fields = b"upgrade: h2c\r\nconnection: upgrade\r\n"
            if tagged:
                await ask(site.listen, GET, b"\r\n\r\n")  # earns the credit
                token = f"baggage: loadtest={site.token()}\r\n".encode()
                fields = token + fields.replace(b"h2c", b"websocket") + b"sec-websocket-version: 13\r\n"
            request = GET.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n")
            smuggled = b"GET /smuggled HTTP/1.1\r\nhost: shop\r\nx-load-test: forged\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", site.listen)
            writer.write(request)
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    await reader.read(1000)
                    writer.write(smuggled)
                    await reader.read(1000)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    sent = b"".join(received)
    assert b"upgrade: h2c" not in sent.lower()
    assert b"upgrade: websocket" not in sent.lower()
    assert b"/smuggled" not in sent


async def test_a_refused_upload_is_not_collected_in_memory(site: Stack) -> None:
    with site.sidecar():
        (worker,) = site.state().workers
        before = resident(worker.pid)
        _, writer = await asyncio.open_connection("127.0.0.1", site.listen)
        fields = f"host: shop\r\nbaggage: loadtest={site.token()}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(b"POST /cart HTTP/1.1\r\n" + fields.encode())
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(10):
                for _ in range(100):
                    writer.write(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
                    await writer.drain()
        assert resident(worker.pid) - before < 30 << 20
        writer.close()
        state = site.state()
        assert state.requests["synthetic"]["withheld"] == 1
        assert state.accounting.reconciles()
    assert site.seen_by_app() == []


def test_a_head_that_never_ends_is_answered_431(served: Stack) -> None:
    # A socket of asyncio's forgets what has come once a write finds that nobody listens any more.
    with socket.create_connection(("127.0.0.1", served.listen), 5) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(b"GET / HTTP/1.1\r\nhost: shop\r\n")
            for number in range(200):
                client.sendall(b"x-%d: " % number + b"y" * 1000 + b"\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    ("file", "content"),
    [("lever.json", b'{"engaged": tr'), ("lever.json", b""), ("redaction.key", b""), ("redaction.key", b"short")],
)
async def test_a_damaged_state_file_never_keeps_real_users_out(site: Stack, file: str, content: bytes) -> None:
    """A lever that can't be read counts as pulled; without a redaction key nothing is recorded. Users go on."""
    (site.folder / "state").mkdir()
    (site.folder / "state" / file).write_bytes(content)
    with site.sidecar(**{"max-extra": "100%"}):
        async with Client(site.url) as client:
            for _ in range(3):
                assert (await client.request("GET", "/")).status == 200
            synthetic = (await client.request("GET", "/", site.tagged())).status
        state = site.state()
        assert state.accounting.reconciles()
        if file == "lever.json":
            assert (synthetic, state.lever.engaged) == (503, True)
        else:
            assert (synthetic, state.capturing) == (200, False)


async def test_many_hands_on_the_lever_leave_it_whole(site: Stack) -> None:
    with site.sidecar() as sidecar:
        async with httpx.AsyncClient(base_url=site.control, trust_env=False) as client:
            orders = [{"engaged": number % 2 == 0, "reason": "x" * (1 + number * 7 % 90)} for number in range(60)]
            answers_ = await asyncio.gather(*(client.post("/v1/lever", json=order) for order in orders))
            assert {answer.status_code for answer in answers_[::2]} == {200}
            # One that was overtaken by somebody who pulled undoes nothing.
            assert {answer.status_code for answer in answers_[1::2]} <= {200, 409}
            last = Lever.model_validate_json((await client.get("/v1/lever")).content)
        sidecar.kill()
    kept = Lever.model_validate_json((site.folder / "state" / "lever.json").read_bytes())
    assert (kept.engaged, kept.reason, kept.at) == (last.engaged, last.reason, last.at)


def test_reasons_are_shown_as_they_were_written(site: Stack) -> None:
    """Square brackets are somebody's ticket number, not markup."""
    with site.sidecar():
        assert run("stop", "--sidecar", site.control, "--reason", "see [/ticket] [12]").returncode == 0
        assert "see [/ticket] [12]" in run("status", "--sidecar", site.control).stdout
    with site.sidecar():
        assert site.state().lever.engaged


async def test_told_to_end_the_sidecar_lets_requests_under_way_finish(site: Stack) -> None:
    with site.sidecar() as sidecar:
        async with Client(site.url) as client:
            asked = asyncio.create_task(client.request("GET", "/slow?seconds=1"))
            while not site.seen_by_app():
                await asyncio.sleep(0.01)
            sidecar.signal(signal.SIGTERM)
            assert (await asked).status == 200
        assert sidecar.wait() == 0
    assert [record.status for record in site.records()] == [200]
    assert run("captures", "verify", str(site.captures)).returncode == 0
