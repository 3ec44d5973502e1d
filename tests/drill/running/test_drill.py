"""Drills as a user runs them, onto a shop whose till serves 50 customers a second."""

import asyncio
import json
import os
import signal
import weakref
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event

import pytest
from pyrage import x25519

from drill.fairness.conditions import Conditions
from drill.incident import read_incident
from drill.judging.verdict import Verdict
from drill.running.folder import DrillFolder, read_record
from drill.running.plan import DrillPlan
from drill.running.record import DrillRecord
from drill.running.running import Drill, Teller, survey
from drill.running.steps import Next
from loadtag import keys
from reamp.cli import run as reamp_here
from replayer.books.folder import Folder
from replayer.books.report import Report
from replayer.descriptors import room
from replayer.requests.tagging import Tag
from rules.exits import Exit, UserError
from tests.support.lines import whole_lines
from tests.support.place import PATIENT
from tests.support.processes import Process, answers, eventually, free_port, python, reamp, run
from tests.support.recording import record, write
from tests.support.serving import in_thread

SECONDS, RATE = 1, 60


class Shop:
    """A shop, a second of its traffic, and a key."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def arguments(self, *more: str, source: str = "recordings") -> list[str]:
        to = ["--to", f"http://127.0.0.1:{self.port}", "--key", str(self.folder / "load.key")]
        drills = ["--drills", str(self.folder / "drills"), "--cool-down", "0s", "--repeat", "1"]
        return ["drill", "run", str(self.folder / source), *to, *drills, *more]

    def drills(self) -> list[Path]:
        """The folders of all drills, the oldest first."""
        return sorted(self.folder.glob("drills/*/"), key=lambda path: path.stat().st_mtime_ns)


def till(folder: Path, port: int, falls: str = "") -> Process:
    """Serve a shop until the context ends, or until so many were served."""
    command = ["-m", "uvicorn", "tests.support.till:app", "--port", str(port), "--log-level", "warning"]
    process = Process(python(*command), folder / "app.out", {"TILL_SECONDS": "0.02", "TILL_FALLS": falls})
    eventually(answers(port))
    return process


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    port = free_port()
    keys.generate(folder, "load")
    write(
        folder / "recordings",
        (
            record(n / RATE, "/till", duration_ns=25_000_000) if n % 3 == 0 else record(n / RATE, f"/look/{n}")
            for n in range(SECONDS * RATE)
        ),
    )
    with till(folder, port):
        yield Shop(folder, port)


@pytest.fixture(scope="module")
def drilled(shop: Shop) -> tuple[Path, int]:
    """A drill that holds at 1x and breaks at 6x, which is 120 customers a second, and the exit code."""
    sweep = ["--sweep", "6x:6.5x:20x", "--slo", "p(95)<600ms", "--slo", "error_ratio<1%", "--warm", "500ms"]
    before = shop.drills()
    done = run(*shop.arguments("--idle-target", *sweep), env=PATIENT)
    (folder,) = [path for path in shop.drills() if path not in before]
    assert (folder / "verdict.json").exists(), done.stdout + done.stderr
    return folder, done.returncode


def test_a_drill_warms_plays_the_incident_and_finds_where_it_breaks(drilled: tuple[Path, int]) -> None:
    found = read_record(drilled[0])
    assert found.whole, found.reason
    steps = [(step.kind, str(step.factor), step.found) for step in found.steps]
    assert steps == [("warm-up", "1x", "held"), ("repeat", "1x", "held"), ("sweep", "6x", "broke")]
    assert any("/till" in because for because in found.steps[-1].because)
    assert [step.calm for step in found.steps] == [True, True, None]


def test_each_step_is_a_run_with_a_folder_of_its_own(drilled: tuple[Path, int]) -> None:
    folder, _ = drilled
    found = read_record(folder)
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(step.run for step in found.steps)
    for step in found.steps:
        report = json.loads((folder / "runs" / step.run / "report.json").read_bytes())
        assert (report["plan"]["amplify"], report["stop"]) == (str(step.factor), step.stop)
        assert (folder / "runs" / step.run / "report.html").exists()


def test_a_drill_ends_with_its_verdict_and_its_files(drilled: tuple[Path, int]) -> None:
    folder, code = drilled
    found = Verdict.model_validate_json((folder / "verdict.json").read_bytes())
    assert code == found.exit_code
    assert found.headroom is not None
    assert [str(rung.factor) for rung in found.headroom.rungs] == ["1x", "6x"]
    names = {"check.json", "drill.json", "incident.reamp", "journal.jsonl", "junit.xml", "runs", "verdict.html"}
    assert {path.name for path in folder.iterdir()} == {*names, "verdict.json"}


def test_the_journal_tells_what_was_decided(drilled: tuple[Path, int]) -> None:
    events = [json.loads(line)["event"] for line in whole_lines(drilled[0] / "journal.jsonl")]
    warm, compared = ["step", "step over", "rest"], ["check"]
    assert events == ["plan", *warm, *compared, "step", "step over", "rest", "step", "step over", "over"]


def test_a_drill_is_judged_again_from_its_folder(
    drilled: tuple[Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, code = drilled
    more = ["--html", str(tmp_path / "fix.html"), "--junit", str(tmp_path / "junit.xml"), "--json"]
    assert reamp_here(["drill", "verdict", str(folder), *more]) == code
    assert Verdict.model_validate_json(capsys.readouterr().out).drill == folder.name
    assert "<html" in (tmp_path / "fix.html").read_text()
    assert "<testsuite" in (tmp_path / "junit.xml").read_text()


def test_ctrl_c_ends_a_drill_at_once_and_leaves_one_that_can_be_judged(shop: Shop) -> None:
    before = shop.drills()
    with Process(
        reamp(*shop.arguments("--idle-target", "--warm", "60s")), shop.folder / "drill.out", PATIENT
    ) as process:

        def sending() -> bool:
            new = [path / "journal.jsonl" for path in shop.drills() if path not in before]
            return any('"step"' in line for path in new if path.exists() for line in whole_lines(path))

        eventually(sending)
        process.signal(signal.SIGINT)
        assert process.wait(5) == Exit.INTERRUPTED, process.output
    (folder,) = [path for path in shop.drills() if path not in before]
    assert read_record(folder).state == "interrupted"
    assert reamp_here(["drill", "verdict", str(folder)]) == Exit.NOT_PROVEN


def test_a_clone_that_does_not_come_to_rest_ends_the_drill(shop: Shop) -> None:
    before, frail = shop.drills(), Shop(shop.folder, free_port())
    with till(shop.folder, frail.port) as clone:
        arguments = frail.arguments("--idle-target", "--warm", "2s", "--calm-within", "500ms")
        with Process(reamp(*arguments), shop.folder / "frail.out", PATIENT) as process:
            eventually(lambda: "0:01  sent" in process.output or not process.running())
            clone.kill()
            assert process.wait() == Exit.NOT_PROVEN, process.output
    (folder,) = [path for path in shop.drills() if path not in before]
    found = read_record(folder)
    assert [(step.kind, step.calm) for step in found.steps] == [("warm-up", False)]
    assert "did not come to rest" in found.reason


def test_a_clone_that_goes_down_under_the_incident_and_stays_down_does_not_hold(shop: Shop) -> None:
    """In the only repeat, after which nobody would have to wait for anything."""
    before, frail = shop.drills(), Shop(shop.folder, free_port())
    with till(shop.folder, frail.port, falls="100"):
        more = ("--idle-target", "--sweep", "off", "--amplify", "3x", "--calm-within", "1s")
        done = run(*frail.arguments(*more), env=PATIENT)
    (folder,) = [path for path in shop.drills() if path not in before]
    assert read_record(folder).steps[0].silence == "refused"
    found = Verdict.model_validate_json((folder / "verdict.json").read_bytes())
    assert (found.outcome, done.returncode) == ("DOES NOT HOLD", Exit.SLO_BREACHED), done.stdout
    assert found.reasons[0].kind == "down"
    assert "did not come back" in found.sentence


def test_ctrl_c_ends_the_rest_between_two_steps(shop: Shop) -> None:
    before = shop.drills()
    arguments = shop.arguments("--idle-target", "--warm", "300ms", "--cool-down", "5m")
    with Process(reamp(*arguments), shop.folder / "rest.out", PATIENT) as process:
        eventually(lambda: "the clone rests" in process.output or not process.running())
        process.signal(signal.SIGTERM)
        assert process.wait(5) == Exit.INTERRUPTED, process.output
    (folder,) = [path for path in shop.drills() if path not in before]
    assert (read_record(folder).state, len(read_record(folder).steps)) == ("interrupted", 1)


class Hasty(Teller):
    """Somebody who ends a drill in the moment in which a step begins, before anything of it was sent."""

    def step(self, step: Next, number: int, steps: int, seconds: float, left: float) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_in_the_moment_in_which_a_step_begins_ends_it_before_anything_is_sent(
    shop: Shop, drilled: tuple[Path, int]
) -> None:
    incident = read_incident(drilled[0] / "incident.reamp")
    sending = {"to": f"http://127.0.0.1:{shop.port}", "key": str(shop.folder / "load.key"), "idle_target": True}
    plan = DrillPlan.model_validate({"idle_target": True, "sending": {**sending, "recording": str(incident.path)}})

    async def run() -> DrillRecord:
        known = await survey(plan, incident)
        folder = DrillFolder(shop.folder / "hasty", known.prepared.run_id, incident.path)
        return await Drill(plan, incident, known, folder, Hasty(), Conditions()).run()

    found = asyncio.run(run())
    assert (found.state, found.reason) == ("interrupted", "SIGTERM")
    (step,) = (shop.folder / "hasty" / found.drill / "runs").iterdir()
    assert json.loads((step / "report.json").read_bytes())["accounts"]["sent"] == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ([], "may carry real users"),
        (["--idle-target", "--sidecar", "http://127.0.0.1:8901"], "there are real users"),
        (["--idle-target", "--sweep", "3x"], "write it like 0.5x:2x"),
        (["--idle-target", "--slo", "real.p(95)<1s"], "no real users"),
        (["--idle-target", "--against", "nowhere"], "holds no drill.json"),
        (["--idle-target", "--config", "before.yaml"], "--against 20010101-000000-abcd"),
        (["--idle-target", "--against", "torn"], "torn/check.json"),
        (["--idle-target", "--against", "hollow"], "incident.reamp"),
        (
            ["--idle-target", "--from", "2001-01-01T00:00:00Z", "--until", "2001-01-02T00:00:00Z"],
            "--until: nothing is known",
        ),
        (["--idle-target", "--allowed-targets", "targets"], "127.0.0.1"),
        (["--idle-target", "--config", "live.yaml"], "--sidecar"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(
    shop: Shop,
    more: list[str],
    why: str,
    drilled: tuple[Path, int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = shop.drills()
    for name, broken in (("torn", "check.json"), ("hollow", "incident.reamp")):
        folder = shop.folder / name
        folder.mkdir(exist_ok=True)
        for kept in ("drill.json", "check.json", "incident.reamp"):
            (folder / kept).write_bytes(b"{" if kept == broken else (drilled[0] / kept).read_bytes())
    (shop.folder / "before.yaml").write_text("drill:\n  against: 20010101-000000-abcd\n")
    (shop.folder / "targets").write_text("staging.example\n")
    (shop.folder / "live.yaml").write_text("replay:\n  sidecars: [http://127.0.0.1:8901]\n  amplify: 1.05x\n")
    monkeypatch.chdir(shop.folder)
    assert reamp_here(shop.arguments(*more)) == Exit.CONFIGURATION
    assert why in " ".join(capsys.readouterr().err.split())
    assert shop.drills() == before


def test_a_dry_run_says_what_would_be_done(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.drills()
    monkeypatch.setenv("REAMP_DRILL_SWEEP", "1x:2x")
    (tmp_path / "reamp.yaml").write_text("drill:\n  slo: [p(95)<123ms]\nreplay:\n  rate: 5/s\n")
    arguments = shop.arguments("--idle-target", "--dry-run", "--config", str(tmp_path / "reamp.yaml"))
    assert reamp_here(arguments) == Exit.DONE
    told = capsys.readouterr().out
    assert "p(95)<123ms" in told
    assert "from 1x to 2x by 0.25x" in told
    assert shop.drills() == before


def test_the_key_to_an_encrypted_incident_may_stand_in_the_environment(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = x25519.Identity.generate()
    (shop.folder / "me.txt").write_text(f"{key}\n")
    taken = ["-o", str(shop.folder / "secret.reamp"), "--encrypt-to", str(key.to_public())]
    assert reamp_here(["drill", "from", str(shop.folder / "recordings"), *taken]) == Exit.DONE
    arguments = shop.arguments("--idle-target", "--dry-run", source="secret.reamp")
    assert reamp_here(arguments) == Exit.CONFIGURATION
    monkeypatch.setenv("REAMP_REPLAY_IDENTITY", str(shop.folder / "me.txt"))
    assert reamp_here(arguments) == Exit.DONE


@pytest.mark.parametrize(("asked", "most"), [([], 2000), (["--max-connections", "7"], 7)])
def test_a_clone_that_hangs_is_waited_for_by_as_many_as_its_users_are(
    shop: Shop, asked: list[str], most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reamp_here(shop.arguments("--idle-target", "--dry-run", "--json", *asked)) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["sending"]["max_connections"] == room(most, 7)


def test_a_clone_that_is_not_there_is_told_of(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = Shop(shop.folder, free_port())
    assert reamp_here(nobody.arguments("--idle-target")) == Exit.FAILED
    assert "does not answer" in capsys.readouterr().err


def test_a_clone_that_is_not_there_proves_nothing_where_there_is_nothing_to_ask_it(shop: Shop) -> None:
    before = shop.drills()
    write(shop.folder / "writes", (record(n / RATE, "/buy", "POST") for n in range(RATE)))
    nobody = Shop(shop.folder, free_port())
    arguments = nobody.arguments("--idle-target", "--allow", "POST /buy", "--sweep", "off", source="writes")
    assert reamp_here(arguments) == Exit.FAILED
    (folder,) = [path for path in shop.drills() if path not in before]
    assert "never a connection" in read_record(folder).reason
    assert reamp_here(["drill", "verdict", str(folder)]) == Exit.NOT_PROVEN


def test_where_a_sidecars_guard_answers_nothing_more_is_sent(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, control = Shop(shop.folder, free_port()), free_port()
    options = {
        "upstream": f"http://127.0.0.1:{shop.port}",
        "listen": f"127.0.0.1:{live.port}",
        "control": f"127.0.0.1:{control}",
        "captures": str(tmp_path / "captures"),
        "state": str(tmp_path / "state"),
        "public-key": str(shop.folder / "load.pub"),
    }
    command = reamp("sidecar", *(part for name, value in options.items() for part in (f"--{name}", value)))
    with Process(command, tmp_path / "sidecar.out") as sidecar:
        sidecar.ready(control)
        eventually(answers(live.port))
        before = shop.drills()
        assert reamp_here(live.arguments("--idle-target")) == Exit.FAILED
        (folder,) = [path for path in shop.drills() if path not in before]
        to = ["--to", f"http://127.0.0.1:{live.port}", "--idle-target", "--key", str(shop.folder / "load.key")]
        assert reamp_here(["drill", "check", str(shop.folder / "recordings"), *to]) == Exit.FAILED
    assert capsys.readouterr().err.count("there are real users") == 2
    assert read_record(folder).steps == ()


@pytest.mark.parametrize(("hangs", "why"), [(True, "timeout"), (False, "closed")])
def test_a_clone_that_answers_nothing_is_asked_once_and_told_of(
    shop: Shop, hangs: bool, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = []

    class Mute(BaseRequestHandler):
        def handle(self) -> None:
            while head := self.request.recv(1 << 16):
                heads.append(head)
                if not hangs:
                    return

    with in_thread(ThreadingTCPServer(("127.0.0.1", 0), Mute)) as port:
        assert reamp_here(Shop(shop.folder, port).arguments("--idle-target", "--timeout", "300ms")) == Exit.FAILED
    assert f"without load: {why}" in capsys.readouterr().err
    assert len(heads) == 2  # of each of the incident's routes


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}', b"[" * 100_000, b'{"drill": 1e999}'])
def test_a_record_that_does_not_read_is_a_users_mistake(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "drill.json").write_bytes(content)
    with pytest.raises(UserError, match=r"drill\.json"):
        read_record(tmp_path)


def test_a_record_reads_as_it_was_written(drilled: tuple[Path, int]) -> None:
    found = read_record(drilled[0])
    assert DrillRecord.model_validate_json(found.model_dump_json()) == found


def test_what_users_sent_is_for_the_owners_eyes_only(drilled: tuple[Path, int]) -> None:
    assert (drilled[0] / "incident.reamp").stat().st_mode & 0o077 == 0


def test_sigterm_ends_a_check_in_whatever_moment_it_comes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    tags: list[float] = []

    def token(self: Tag, now: float) -> bytes:
        if not tags:
            # While a thing is forgotten, as whenever Python calls C that calls Python, an exception leads nowhere.
            weakref.finalize(Event(), os.kill, os.getpid(), signal.SIGTERM)
        tags.append(now)
        return before(self, now)

    before = Tag.token
    monkeypatch.setattr(Tag, "token", token)
    to = ["--to", f"http://127.0.0.1:{shop.port}", "--idle-target", "--key", str(shop.folder / "load.key")]
    assert reamp_here(["drill", "check", str(shop.folder / "recordings"), *to]) == Exit.INTERRUPTED
    assert len(tags) == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_sigterm_ends_a_drill_even_where_a_step_is_just_over(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The replayer hears it, and has nothing left to stop."""
    finished = []

    def finish(self: Folder, report: Report) -> Report:
        os.kill(os.getpid(), signal.SIGTERM)
        finished.append(report.stop)
        return before(self, report)

    before = Folder.finish
    monkeypatch.setattr(Folder, "finish", finish)
    given = shop.arguments("--idle-target", "--warm", "300ms")
    if command == "check":
        runs = str(shop.folder / "warming")
        given = ["drill", "check", given[2], *given[3:7], "--idle-target", "--warm", "300ms", "--runs", runs]
    assert reamp_here(given) == Exit.INTERRUPTED
    assert finished == ["ended"]


@pytest.mark.parametrize("moment", ["connected", "asked"])
def test_sigterm_ends_a_check_as_ctrl_c_does(shop: Shop, moment: str) -> None:
    class Slow(BaseRequestHandler):
        def handle(self) -> None:
            if moment == "asked":
                self.request.recv(1 << 16)
            asked.set()
            while self.request.recv(1 << 16):  # until the other side closes
                pass

    asked = Event()
    with in_thread(ThreadingTCPServer(("127.0.0.1", 0), Slow)) as port:
        to = ["--to", f"http://127.0.0.1:{port}", "--idle-target", "--key", str(shop.folder / "load.key")]
        command = reamp("drill", "check", str(shop.folder / "recordings"), *to)
        with Process(command, shop.folder / "check.out", PATIENT) as process:
            assert asked.wait(30), process.output
            process.signal(signal.SIGTERM)
            assert process.wait(5) == Exit.INTERRUPTED, process.output
