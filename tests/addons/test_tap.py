"""A tap: what comes are copies, of which nothing can be refused and of whose answers nothing is known."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mitmproxy.test import taddons, tflow

from addons.books import Books
from addons.chain import worker_chain
from addons.tap import unshadowed
from captures.reader import Capture
from captures.records import Record
from loadtag import keys
from rules.wire import State
from tests.support.processes import Process, answers, eventually, reamp, run
from tests.support.stack import Stack, stack

LONG = b"x" * 300_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A tap that is sent a fifth of the real requests."""
    with stack(tmp_path_factory.mktemp("tap")) as made, made.tap("20%", **{"max-extra": "50%", "body-limit": "512KiB"}):
        yield made


def counts(state: State) -> dict[str, int]:
    """What came, by kind and outcome, where that is not nothing."""
    return {f"{kind} {name}": many for kind, told in state.requests.items() for name, many in told.items() if many}


def grown(site: Stack, before: State, **by: int) -> None:
    wanted = {name.replace("_", " "): many for name, many in by.items()}

    def is_so() -> bool:
        now, then = counts(site.state()), counts(before)
        return {name: now[name] - then.get(name, 0) for name in now if now[name] != then.get(name, 0)} == wanted

    eventually(is_so)


def test_a_copy_is_answered_at_once_with_nothing(site: Stack) -> None:
    before = site.state()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
            answer = client.request(method, "/things?of=all")
            assert (answer.status_code, answer.content, answer.headers.get("content-length")) == (204, b"", None)
    grown(site, before, real_copied=5)


def test_what_a_proxy_may_have_copied_for_looking_tagged_does_not_stand_for_others(site: Stack) -> None:
    before = site.state()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for baggage in ("a=LoadTest", "xloadtest=1"):
            assert client.get("/", headers={"baggage": baggage}).status_code == 204
        assert client.get("/", headers={"baggage": "a=b"}).status_code == 204
    grown(site, before, real_copied=1, untrusted_copied=2)


def test_bodies_of_any_length_and_framing_are_taken_in_and_recorded(site: Stack) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(LONG), 50_000):
            yield LONG[start : start + 50_000]

    with httpx.Client(base_url=site.url, trust_env=False) as client:
        assert client.post("/bodies/short", content=b"short").status_code == 204
        assert client.post("/bodies/long", content=LONG).status_code == 204
        assert client.post("/bodies/chunked", content=pieces()).status_code == 204
        # What the fast lane leaves to mitmproxy's own stack: here, somebody who asks to be told to go on.
        assert client.post("/bodies/odd", content=LONG, headers={"expect": "100-continue"}).status_code == 204
    found = {}

    def recorded() -> bool:
        found.update({one.path: one for one in Capture(site.captures).records() if one.path.startswith("/bodies/")})
        return len(found) == 4

    eventually(recorded)
    assert {path: (one.body_size, len(one.body)) for path, one in found.items()} == {
        "/bodies/short": (5, 5),
        "/bodies/long": (300_000, 300_000),
        "/bodies/chunked": (300_000, 300_000),
        "/bodies/odd": (300_000, 300_000),
    }


def test_a_body_that_was_not_copied_is_recorded_as_one_that_was_cut(site: Stack) -> None:
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        client.post("/cut/some", content=b"beginning", headers={"X-Reamp-Body-Size": "70000"})
        client.post("/cut/all", headers={"x-reamp-body-size": "70000"})
        client.post("/cut/not", content=b"whole", headers={"x-reamp-body-size": "5"})
        client.post("/cut/odd", content=b"whole", headers={"x-reamp-body-size": "9" * 4000})
    found: list[Record] = []

    def recorded() -> bool:
        found[:] = [one for one in Capture(site.captures).records() if one.path.startswith("/cut/")]
        return len(found) == 4

    eventually(recorded)
    assert [(one.body, one.body_size) for one in found] == [
        (b"", 70_000),  # in a part of a body nobody can look for secrets
        (b"", 70_000),
        (b"whole", 5),
        (b"whole", 5),
    ]
    assert not any(name.lower().startswith(b"x-reamp") for one in found for name, _ in one.headers)


@pytest.mark.parametrize(
    "sent",
    [
        b"content-length: 300000\r\n\r\n" + b"x" * 70_000,  # and then it leaves
        b"content-length: 20\r\n\r\nonly",
        b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
        b"transfer-encoding: chunked\r\n\r\nffff",
    ],
    ids=["long", "short", "malformed", "within a chunk"],
)
def test_a_copy_that_breaks_off_is_counted_and_leaves_nothing_open(site: Stack, sent: bytes) -> None:
    before = site.state()
    with socket.create_connection(("127.0.0.1", site.listen), 5) as copier:
        copier.sendall(b"POST /broken HTTP/1.1\r\nhost: shop\r\n" + sent)
        copier.shutdown(socket.SHUT_WR)
        while copier.recv(4096):
            pass
    grown(site, before, real_copied=1)
    eventually(lambda: site.state().accounting.pending == 0)
    assert site.state().accounting.reconciles()


def test_of_the_answer_nothing_is_recorded(site: Stack) -> None:
    httpx.get(f"{site.url}/outline", trust_env=False)
    eventually(lambda: any(one.path == "/outline" for one in Capture(site.captures).records()))
    record = next(one for one in Capture(site.captures).records() if one.path == "/outline")
    assert (record.status, record.response_size, record.ttfb_ns, record.duration_ns) == (0, 0, -1, 0)
    header = Capture(site.captures).segments[0].header
    assert header
    assert header.extra["recorded"]["tap"] == "20%"


async def test_filters_about_answers_match_nothing(tmp_path: Path) -> None:
    books = Books.alone()
    books.shared.tap = 500_000
    made = worker_chain(books, books.rows[0])
    with taddons.context(*made.addons()) as context:
        captures, key = str(tmp_path / "recordings"), str(tmp_path / "key")
        context.options.update(reamp_captures=captures, reamp_redaction_key=key, reamp_except="~c 204 | ~s")
        await made.capture.running()
        flow = tflow.tflow()
        for addon in (made.tag, made.meter, made.guard, made.tap, made.capture):
            assert addon
            addon.requestheaders(flow)
        for addon in (made.meter, made.capture):
            addon.response(flow)
        await made.capture.done()
    assert flow.response
    assert flow.response.status_code == 204
    assert made.capture.counts.written == 1


def test_what_envoy_appends_to_the_host_is_not_recorded(site: Stack) -> None:
    httpx.get(f"{site.url}/shadow", headers={"host": "shop.example-shadow:8000"}, trust_env=False)
    eventually(lambda: any(one.path == "/shadow" for one in Capture(site.captures).records()))
    record = next(one for one in Capture(site.captures).records() if one.path == "/shadow")
    assert record.authority == "shop.example:8000"
    assert (b"host", b"shop.example:8000") in [(name.lower(), value) for name, value in record.headers]


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("shop-shadow", "shop"),
        ("shop-shadow:80", "shop:80"),
        ("shop", "shop"),
        ("shop:80", "shop:80"),
        ("shop-shadow.example", "shop-shadow.example"),
        ("[::1]-shadow:80", "[::1]:80"),
        ("[::1]", "[::1]"),
        ("a-shadow-shadow", "a-shadow"),
        ("-shadow", "-shadow"),
        ("-shadow:80", "-shadow:80"),
        ("", ""),
    ],
)
def test_only_envoys_own_mark_is_taken_off(host: str, known: str) -> None:
    assert unshadowed(host.encode()).decode() == known


def test_the_signal_and_the_metrics_are_of_what_the_copies_stand_for(site: Stack) -> None:
    before = site.state()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for _ in range(50):
            client.get("/")
    grown(site, before, real_copied=50)
    eventually(lambda: site.state().signal.rate * site.state().signal.window >= 250)
    signal = site.state().signal
    assert (signal.error_ratio, signal.p50, signal.p99) == (None, None, None)
    text = httpx.get(f"{site.control}/metrics", trust_env=False).text
    told = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if not line.startswith("#")}
    copies = told['reamp_requests_total{kind="real",outcome="copied"}']
    assert told["reamp_tap_share"] == 0.2
    assert told["reamp_tap_real_requests_total"] == 5 * copies


def test_credit_is_what_the_copies_stand_for_and_what_exceeds_it_is_counted(site: Stack) -> None:
    """Four copies of a fifth stand for twenty requests, and half of these may be added: ten."""
    eventually(lambda: site.state().credit == 0)  # what was earned before is void after a second
    before = site.state()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for _ in range(4):
            client.get("/")
        token = site.tagged()
        assert [client.get("/", headers=token).status_code for _ in range(13)] == [204] * 13
    grown(site, before, real_copied=4, synthetic_copied=10, synthetic_excess=3)
    assert site.state().accounting.reconciles()


def test_a_tag_that_does_not_verify_is_counted_and_no_copy_is_denied(site: Stack, tmp_path: Path) -> None:
    before, stranger = site.state(), keys.load_private(keys.generate(tmp_path, "other")[0])
    forged = f"loadtest={stranger.sign('run-1', int(time.time() + 60), 'test-shop')}"
    expired = f"loadtest={site.token(seconds=-60)}"
    for tag in (forged, expired, "loadtest=nonsense"):
        assert httpx.get(f"{site.url}/forged", headers={"baggage": tag}, trust_env=False).status_code == 204
    grown(site, before, untrusted_copied=3)


def test_grants_are_of_what_the_copies_stand_for(site: Stack) -> None:
    with (
        httpx.Client(base_url=site.url, trust_env=False) as client,
        httpx.stream("GET", f"{site.control}/v1/credits", headers=site.tagged(), trust_env=False, timeout=10) as stream,
    ):
        lines = stream.iter_lines()
        assert json.loads(next(lines))["real"] == 0
        for _ in range(8):
            client.get("/")
        for line in lines:
            told = json.loads(line)
            if told["granted"] >= 20:
                break
    assert (told["real"], told["granted"]) == (40, 20)


def test_what_users_get_is_told_without_answers(site: Stack) -> None:
    with (
        httpx.Client(base_url=site.url, trust_env=False) as client,
        httpx.stream("GET", f"{site.control}/v1/experience", trust_env=False, timeout=10) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        client.get("/")
        told = next(one for one in map(json.loads, lines) if one["kinds"]["real"]["arrived"])
    assert told["kinds"]["real"] == {"arrived": 5, "finished": 0, "errors": 0, "latency": {}}


def test_status_says_that_it_is_a_tap(site: Stack) -> None:
    told = run("status", "--sidecar", site.control)
    assert "a tap" in told.stdout
    assert "copies of 20% of real requests" in told.stdout
    assert "not known: a tap sees no answers" in told.stdout


def test_what_a_recording_leaves_out_is_said(site: Stack) -> None:
    httpx.get(f"{site.url}/said", trust_env=False)
    eventually(site.records)
    told = run("captures", "stats", str(site.captures)).stdout
    assert "recorded were only copies of 20% of the requests, at a tap" in told
    assert "unknown 100.0%" in told


def test_a_reload_makes_no_tap_of_what_carries_traffic_nor_the_other_way_round(tmp_path: Path) -> None:
    config = tmp_path / "reamp.yaml"
    config.write_text("sidecar: {tap: true, tap_share: 50%}")
    with stack(tmp_path) as site:
        given = site.options(upstream=None, config=str(config))
        with Process(reamp("sidecar", *given), tmp_path / "tap.out") as tap:
            tap.ready(site.control_port)
            eventually(answers(site.listen))
            config.write_text(f"sidecar: {{upstream: '{site.app}'}}")
            tap.signal(signal.SIGHUP)
            eventually(lambda: "a tap nothing else: start anew" in tap.output)
            assert httpx.get(f"{site.url}/item/1", trust_env=False).status_code == 204
            assert site.state().tap == 500_000


def test_who_sends_without_grants_has_the_lever_pulled(site: Stack) -> None:
    with httpx.Client(base_url=site.url, headers=site.tagged(), trust_env=False) as client:
        for _ in range(60):
            client.get("/")
    eventually(lambda: site.state().lever.engaged)
    lever = site.state().lever
    assert lever.by == "tap"
    assert "synthetic requests came in" in lever.reason
    assert "were granted: somebody sends without grants" in lever.reason
    # What still comes is counted; nobody is granted anything any more.
    before = site.state()
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for _ in range(20):
            client.get("/")
        assert client.get("/", headers=site.tagged()).status_code == 204
    grown(site, before, real_copied=20, synthetic_excess=1)
    assert run("resume", "--sidecar", site.control, "--reason", "it was a test").returncode == 0
    assert not site.state().lever.engaged
