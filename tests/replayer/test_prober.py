"""Whole runs that compare answers: with the recording, with a reference, on a live target, and with hostile ones."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from captures.records import Record
from loadtag import keys
from replayer.books.folder import read_report
from replayer.comparing.differences import Differences, Found
from replayer.plan import Plan
from replayer.prober import AT_ONCE
from tests.support.authority import Authority
from tests.support.frames import DATA, END_STREAM, OK, Peer, frame
from tests.support.origin import Connection, Origin, Script, answering, origin
from tests.support.place import PATIENT, RATE, SECONDS, Place
from tests.support.processes import Process, answers, eventually, free_port, python, run
from tests.support.recording import record, write


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def found(differences: Differences | None) -> dict[tuple[str, str], Found]:
    assert differences is not None
    return {(route.template, each.what): each for route in differences.routes for each in route.found}


@pytest.mark.timeout(120)
def test_a_reference_shows_what_changed_and_noise_is_told_apart(place: Place) -> None:
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.mixed:app", "--port", str(port), "--log-level", "warning")
    with place.app(VERSION="2"), Process(command, place.folder / "old.out", {"VERSION": "1"}):
        eventually(answers(port))
        folder = place.replay(
            "against",
            "--diff",
            "status,body-hash,json",
            "--diff-against",
            f"http://127.0.0.1:{port}",
            "--diff-rate",
            "40/s",
        )
    report = read_report(folder)
    differences = report.differences
    assert differences is not None
    assert differences.compared >= 100
    unanswered = differences.sent - 3 * differences.compared
    assert 0 <= unanswered <= 3 * AT_ONCE  # what was on its way when the run ended
    seen = found(differences)
    assert seen["/item/{id}", "$.price: value"].verdict == "differs"
    assert seen["/item/{id}", "$.served: value"].verdict == "noise"  # another number in every answer
    assert seen["/item/{id}", "body-hash"].verdict == "noise"  # so the whole says nothing
    assert ("/item/{id}", "$.id: value") not in seen
    assert not [key for key in seen if key[0] == "/quick/{id}"]
    assert report.accounts.reconciles()
    assert report.accounts.sent == SECONDS * RATE  # what is compared is counted by itself
    page = (folder / "report.html").read_text()
    assert "$.price: value" in page
    assert "answers of GET /item/{id}" in (folder / "junit.xml").read_text()


@pytest.mark.timeout(120)
def test_with_the_recording_status_and_size_are_compared(place: Place) -> None:
    with place.app():
        report = read_report(place.replay("recorded", "--diff", "status,size", "--diff-rate", "40/s"))
    seen = found(report.differences)
    assert report.differences is not None
    assert report.differences.against == "the recording"
    unanswered = report.differences.sent - 2 * report.differences.compared
    assert 0 <= unanswered <= 2 * AT_ONCE  # what was on its way when the run ended
    # Recorded with answers of 2 bytes: that of /quick still has as many, that of /slow has not.
    assert seen["/slow/{id}", "size"].verdict == "differs"
    assert seen["/slow/{id}", "size"].example == "2 B before, 7 B after"
    assert ("/quick/{id}", "size") not in seen
    # /failing fails every third time, whenever: it differs from the recording, and about as often from itself.
    assert seen["/failing/{id}", "status"].verdict == "noise"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in PATIENT.items():
        monkeypatch.setenv(name, value)
    keys.generate(tmp_path, "load")

    def records() -> Iterator[Record]:
        for n in range(150):
            yield record(n / 50, f"/item/{n}", method="POST" if n % 3 == 0 else "GET")

    write(tmp_path / "recordings", records())
    return tmp_path


@pytest.mark.timeout(120)
def test_a_live_target_is_compared_with_credit_only(small: Path) -> None:
    control, port = free_port(), free_port()
    grants = python("-m", "uvicorn", "tests.support.grants:app", "--port", str(control), "--log-level", "warning")
    app = python("-m", "uvicorn", "tests.support.mixed:app", "--port", str(port), "--log-level", "warning")
    with Process(grants, small / "grants.out", {"GRANT_RATE": "100"}), Process(app, small / "app.out"):
        eventually(answers(control))
        eventually(answers(port))
        done = run(
            "replay", str(small / "recordings"), "--to", f"http://127.0.0.1:{port}", "--sidecar",
            f"http://127.0.0.1:{control}", "--of", "recording", "--key", str(small / "load.key"), "--runs",
            str(small / "runs"), "--diff", "status", "--diff-rate", "20/s", "--no-preflight",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (small / "runs").iterdir()
    report = read_report(folder)
    assert report.differences is not None
    (live,) = report.sidecars
    assert report.accounts.sent <= live.spent - report.differences.sent
    assert live.spent <= 0.25 * live.real + 1
    assert report.differences.compared + report.differences.without_credit > 0
    assert "not native" in done.stdout.replace("\n", " ")


async def misbehave(connection: Connection, here: Origin) -> None:
    """Misbehave in one way after the other."""
    while True:
        here.requests.append(await connection.request())
        match len(here.requests) % 5:
            case 0:
                connection.reset()
                return
            case 1:
                await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 100)
                connection.close()
                return
            case 2:
                await connection.say(b"garbage\r\n\r\n")
                connection.close()
                return
            case 3:
                await connection.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                connection.close()
                return
            case 4:
                await connection.say(
                    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
                )


@pytest.mark.timeout(120)
async def test_a_hostile_reference_harms_only_the_comparison(small: Path) -> None:
    async with (
        origin(misbehave) as hostile,
        origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as good,
    ):
        done = await asyncio.to_thread(
            run, "replay", str(small / "recordings"), "--to", f"http://127.0.0.1:{good.port}", "--idle-target", "--key",
            str(small / "load.key"), "--runs", str(small / "runs"), "--diff", "status,json", "--diff-against",
            f"http://127.0.0.1:{hostile.port}", "--diff-rate", "20/s",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (small / "runs").iterdir()
    report = read_report(folder)
    assert report.accounts.answered == 100
    assert report.differences is not None
    assert set(report.differences.failed) <= {"closed", "reset", "protocol", "truncated", "backoff"}
    assert sum(report.differences.failed.values()) > 10
    assert not any(request.startswith(b"POST") for request in hostile.requests)
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert "diff ended" not in {entry["event"] for entry in journal}


def shop(version: str) -> Script:
    """Answer by HTTP/2, in JSON that is packed; the version shows in some of it."""

    async def script(connection: Connection, here: Origin) -> None:
        peer = Peer(connection)
        await peer.greet()
        while True:
            stream, found = await peer.request()
            path = dict(found)[":path"]
            here.requests.append(path.encode())
            document = {"id": path, "version": version, "long": "x" * 50_000}
            body = gzip.compress(json.dumps(document).encode(), mtime=0)
            fields = [*OK, ("content-encoding", "gzip")]
            await peer.say(peer.headers(stream, fields), frame(DATA, END_STREAM, stream, body))

    return script


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("scheme", "host"), [("http", "target"), ("https", "target"), ("https", "recorded")])
async def test_answers_are_compared_by_http2_where_that_is_what_the_run_speaks(
    small: Path, scheme: str, host: str
) -> None:
    authority = Authority(small)
    name = "127.0.0.1" if host == "target" else "shop.example"
    served = authority.serving(authority.issue("served", name), "h2") if scheme == "https" else None
    async with origin(shop("1"), served) as old, origin(shop("2"), served) as new:
        done = await asyncio.to_thread(
            run, "replay", str(small / "recordings"), "--to", f"{scheme}://127.0.0.1:{new.port}", "--idle-target",
            "--key", str(small / "load.key"), "--runs", str(small / "runs"), "--diff", "status,json", "--diff-against",
            f"{scheme}://127.0.0.1:{old.port}", "--diff-rate", "40/s",
            "--host", host, *(("--http2",) if scheme == "http" else ("--ca", str(authority.trust))),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (small / "runs").iterdir()
    report = read_report(folder)
    assert report.accounts.answered == 100
    assert report.differences is not None
    assert report.differences.compared > 50
    assert report.differences.failed == {}
    assert len(new.requests) + len(old.requests) == 100 + report.differences.sent
    assert new.connections <= 3  # the run's own and the comparison's
    seen = found(report.differences)
    assert seen["/item/{id}", "$.version: value"].verdict == "differs"
    assert [key[1] for key in seen] == ["$.version: value"]


BASE = {"recording": "r", "to": "http://a:1", "idle_target": True}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"diff": "status,colour"}, "'colour' can't be compared"),
        ({"diff": "json"}, "a recording holds no bodies of answers"),
        ({"diff_against": "http://b:1"}, "say what to compare there"),
        ({"diff": "status", "diff_against": "http://a:1"}, "is the target itself"),
        ({"diff": "status", "diff_against": "ftp://b"}, "is not the URL of a target"),
        ({"diff": "status", "diff_rate": "0/s"}, "more than zero"),
    ],
)
def test_what_can_not_be_compared_is_told(given: dict[str, str], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Plan.model_validate(BASE | given)


def test_aspects_are_written_with_commas() -> None:
    plan = Plan.model_validate(BASE | {"diff": "size, STATUS,size"})
    assert plan.diff == ("size", "status")
