"""Whole runs that are announced, to a real webhook and a real mail server; and to ones that are slow or refuse."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from loadtag import keys
from replayer.announcing.herald import LAST
from replayer.books.folder import read_report
from replayer.books.journal import EVENTS, Entry
from replayer.books.report import Report
from replayer.plan import Plan
from replayer.preparing.prepare import prepare
from replayer.schedule.calendar import DAYS
from rules.exits import Exit, UserError
from rules.wire import CONTROL_TOKEN
from tests.support.clocks import WallClock
from tests.support.lines import whole_lines
from tests.support.place import PATIENT
from tests.support.processes import Process, eventually, free_port, python, reamp, run, shop
from tests.support.receivers import Mailbox, Webhook, silent
from tests.support.recording import record, write

SECRET = "T0KEN5ECRET"


class Here:
    """A shop, a recording of a second and a half, a key, and a webhook."""

    def __init__(self, folder: Path, app: str, log: Path, hook: Webhook) -> None:
        self.folder, self.app, self.log, self.hook = folder, app, log, hook
        self._begin = log.stat().st_size

    def arguments(self, *more: str, idle: bool = True) -> list[str]:
        to = ["--to", self.app, "--key", str(self.folder / "load.key"), *(["--idle-target"] if idle else [])]
        return ["replay", str(self.folder / "recordings"), *to, "--runs", str(self.folder / "runs"), *more]

    def start(self, *more: str, idle: bool = True) -> Process:
        env = {"REAMP_REPLAY_ANNOUNCE": self.hook.url(SECRET), CONTROL_TOKEN: "hush-hush", **PATIENT}
        return Process(reamp(*self.arguments(*more, idle=idle)), self.folder / "out", env)

    def arrivals(self) -> list[float]:
        return [int(line.split()[0]) / 1e9 for line in whole_lines(self.log, self._begin)]

    @property
    def run(self) -> Path:
        (folder,) = (self.folder / "runs").iterdir()
        return folder

    def report(self) -> Report:
        return read_report(self.run)

    def journal(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in whole_lines(self.run / "journal.jsonl")]

    def titles(self) -> list[str]:
        """What of each title follows on the target."""
        return [title.split(f" onto {self.app} ")[1] for title in self.hook.titles]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with shop(tmp_path_factory.mktemp("shop")) as ready:
        yield ready


@pytest.fixture
def here(tmp_path: Path, app: tuple[str, Path]) -> Iterator[Here]:
    keys.generate(tmp_path, "load")
    write(tmp_path / "recordings", (record(i * 0.01, f"/item/{i}") for i in range(150)))
    with Webhook().running() as hook:
        yield Here(tmp_path, *app, hook)


def test_a_run_is_announced_by_webhook_and_by_mail_and_no_secret_is_left_anywhere(here: Here) -> None:
    with Mailbox().running() as mailbox:
        (here.folder / "urls").write_text(f"# the team\n{mailbox.url}\n{here.hook.url('other/' + SECRET)}\n")
        (here.folder / "urls").chmod(0o600)
        more = ["--stage", "1s:1x", "--stage", "1s:2x", "--announce-file", str(here.folder / "urls")]
        with here.start(*more, "--operator", "ann", "--announce-required") as replay:
            eventually(here.arrivals)
            processes = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(replay.pid)}
            (courier,) = (pid for pid, line in processes.items() if b"replayer.announcing.courier" in line)
            assert not any(SECRET.encode() in line for line in processes.values())
            assert b"hush-hush" in Path(f"/proc/{replay.pid}/environ").read_bytes()
            assert b"hush-hush" not in Path(f"/proc/{courier}/environ").read_bytes()
            assert replay.wait() == Exit.DONE, replay.output
        told = ["starts", "is in its next stage: 1s:2x", "has ended"]
        eventually(lambda: len(here.titles()) == 2 * len(told) and len(mailbox.taken) == len(told))
        titles = [str(message["subject"]) for message in mailbox.taken]
    assert sorted(set(here.hook.paths)) == [f"/{SECRET}", f"/other/{SECRET}"]
    assert sorted(here.titles()) == sorted(2 * told)
    assert [title.split(f"{here.app} ")[1] for title in titles] == told
    start = next(str(each["message"]) for each in here.hook.taken if each["title"].endswith("starts"))
    assert f"By: ann at {os.uname().nodename}" in start
    assert f"Report: {here.run}" in start
    assert "Stop it: kill -INT" in start
    assert "ended: " in str(here.hook.taken[-1]["message"])
    plan = here.journal()[0]
    assert (plan["operator"], plan["host"]) == ("ann", os.uname().nodename)
    taken = {(entry["what"], entry["to"]) for entry in here.journal() if entry["event"] == "announced"}
    assert {("start", "JSON (1)"), ("start", "E-Mail (2)"), ("start", "JSON (3)")} <= taken
    for entry in here.journal():
        assert set(EVENTS[str(Entry.model_validate(entry).event)]) <= set(entry)
    assert SECRET not in replay.output
    for path in here.run.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path


def children(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def test_a_dry_run_announces_nothing_and_shows_no_url(here: Here) -> None:
    more = ["--announce-before", "1h", "--announce-required", "--dry-run"]
    done = run(*here.arguments(*more), env={"REAMP_REPLAY_ANNOUNCE": here.hook.url(SECRET)})
    assert done.returncode == Exit.DONE, done.stderr
    assert "JSON (1), 1h ahead; required" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert here.hook.taken == []


def test_a_receiver_that_says_nothing_holds_up_neither_the_run_nor_its_end(here: Here) -> None:
    with silent() as port:
        arguments = here.arguments("--announce", f"json://127.0.0.1:{port}/?rto=60&cto=60")
        with Process(reamp(*arguments), here.folder / "out") as replay:
            assert replay.wait() == Exit.DONE, replay.output
            ended = time.time()
    report = here.report()
    assert report.valid
    assert report.accounts.sent == 150
    assert report.lag.p99 is not None
    assert report.lag.p99 < 0.05
    # The receiver's own time-outs are a minute. What is left is for a busy machine.
    assert ended - (here.run / "report.json").stat().st_mtime < LAST + 5
    assert "JSON (1) could not be told (start)" in replay.output


def test_a_receiver_that_refuses_is_told_of_and_the_run_goes_on(here: Here) -> None:
    here.hook.status = 500
    with here.start("--loop", "--duration", "4s") as replay:
        assert replay.wait() == Exit.DONE
    (entry,) = (entry for entry in here.journal() if entry["event"] == "not announced" and entry["what"] == "start")
    assert "error=500" in str(entry["because"])
    assert "JSON (1) could not be told (start): Failed to send JSON POST notification" in replay.output
    assert len(here.hook.paths) >= 2  # it tries again
    assert SECRET not in replay.output


def test_a_run_that_has_to_be_announced_and_can_not_sends_nothing(here: Here) -> None:
    here.hook.status = 500
    with here.start("--announce-required") as replay:
        assert replay.wait() == Exit.FAILED
    report = here.report()
    assert (report.stop, report.accounts.sent) == ("failed", 0)
    assert report.reason.startswith("JSON (1) could not be told (start): ")
    assert here.arrivals() == []


def plan(folder: Path, **given: object) -> Plan:
    return Plan.model_validate({"recording": "r", "to": "http://h", "idle_target": True, "runs": folder, **given})


def test_a_run_that_has_to_be_announced_waits_until_it_was(here: Here) -> None:
    with here.start("--announce-required") as replay:
        assert replay.wait() == Exit.DONE, replay.output
    events = [(entry["event"], entry.get("what")) for entry in here.journal()]
    assert events[:3] == [("plan", None), ("start", None), ("announced", "start")]
    assert here.report().accounts.sent == 150


async def test_nobody_to_tell_is_a_mistake_where_it_is_required(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody was named who could be told"):
        await prepare(plan(tmp_path, announce_required=True))


def test_a_killed_run_is_announced_by_the_process_that_outlives_it(here: Here) -> None:
    with here.start("--loop", "--duration", "1m") as replay:
        eventually(here.arrivals)
        eventually(lambda: "starts" in here.titles())
        os.kill(replay.pid, signal.SIGKILL)
        eventually(lambda: "is gone" in "".join(here.titles()))
    assert "wrote no report" in str(here.hook.taken[-1]["message"])


def test_back_off_and_the_end_by_a_rule_are_announced(here: Here) -> None:
    """No answer takes less than a nanosecond, so both rules are broken from the first second on."""
    rules = ["--slo", "p(95)<1ns window=1s for=0s grace=1s min_samples=1 action=back-off"]
    rules += ["--slo", "p(90)<1ns window=1s for=3s grace=1s min_samples=1 action=abort"]
    with here.start("--loop", "--duration", "30s", *rules) as replay:
        assert replay.wait(45) == Exit.SLO_BREACHED, replay.output
    eventually(lambda: here.titles()[-2:] == ["is stopped by a rule", "was stopped"])
    assert here.titles()[0] == "starts"
    assert any(title.startswith("backs off: ") for title in here.titles())
    assert "p(90)<1ns" in str(here.hook.taken[-1]["message"])


# --- ahead of time ---


def test_a_start_is_announced_ahead_and_waited_for(here: Here) -> None:
    with here.start("--announce-before", "2s", "--window", "daily 00:00-24:00 UTC") as replay:
        assert replay.wait() == Exit.DONE, replay.output
    eventually(lambda: here.titles() == ["will start in 2s", "starts", "has ended"])
    assert "will start in 2s" in replay.output
    assert "Stop it: kill -INT" in replay.output
    assert "starts in 0:02; Ctrl-C or the lever cancels it" in replay.output
    (entry,) = (entry for entry in here.journal() if entry["event"] == "ahead")
    assert entry["ahead"] == "2s"
    assert min(here.arrivals()) > float(str(entry["at"])) + 2


def test_ctrl_c_cancels_a_start_that_was_announced_and_that_is_announced_too(here: Here) -> None:
    with here.start("--announce-before", "1h") as replay:
        eventually(lambda: here.titles() == ["will start in 1h"], 40)
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    eventually(lambda: here.titles() == ["will start in 1h", "was cancelled before it sent anything"])
    assert "interrupted: SIGINT (exit code 105)" in str(here.hook.taken[-1]["message"])
    assert here.arrivals() == []


def test_a_window_that_is_lost_cancels_a_start_that_was_announced(here: Here) -> None:
    clock = WallClock(here.folder / "clock")
    days = ",".join(DAYS[(datetime.now(UTC) + timedelta(days=n)).weekday()] for n in range(2))
    arguments = here.arguments("--announce-before", "1h", "--window", f"{days} 00:00-24:00 UTC")
    env = {"REAMP_REPLAY_ANNOUNCE": here.hook.url(SECRET), **clock.env}
    with Process(reamp(*arguments), here.folder / "out", env) as replay:
        eventually(lambda: here.titles() == ["will start in 1h"], 40)
        clock.step(3 * 86_400)
        assert replay.wait() == Exit.OUTSIDE_WINDOW, replay.output
    eventually(lambda: here.titles()[1:] == ["was cancelled before it sent anything"])
    assert here.report().stop == "outside-window"
    assert here.arrivals() == []


async def test_a_start_outside_of_the_window_is_not_announced_at_all(tmp_path: Path) -> None:
    """It is the start that has to be inside, and not the announcement."""
    now = datetime.now(UTC)
    days = ",".join(DAYS[(now + timedelta(days=n)).weekday()] for n in range(-1, 2))
    with pytest.raises(UserError, match="the start would be 3d from now, and then it is") as told:
        await prepare(plan(tmp_path, announce_before="3d", window=f"{days} 00:00-24:00 UTC"))
    assert told.value.code == Exit.OUTSIDE_WINDOW


def test_the_lever_cancels_a_start_that_was_announced(here: Here) -> None:
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.grants:app", "--port", str(port), "--log-level", "warning")
    url = f"http://127.0.0.1:{port}"
    with Process(command, here.folder / "grants.out", {"GRANT_RATE": "400"}) as control:
        control.ready(port)
        with here.start(
            "--announce-before", "1h", "--no-preflight", "--sidecar", url, "--amplify", "1.25x", idle=False
        ) as replay:
            eventually(lambda: here.titles() == ["will start in 1h"], 40)
            assert f"Stop it: reamp stop --sidecar {url} --reason WHY" in str(here.hook.taken[0]["message"])
            order = {"engaged": True, "reason": "not today", "by": "bob"}
            httpx.post(f"{url}/v1/lever", json=order, trust_env=False).raise_for_status()
            assert replay.wait() == Exit.LEVER, replay.output
    eventually(lambda: here.titles()[1:] == ["was stopped by the lever", "was cancelled before it sent anything"])
    (entry,) = (entry for entry in here.journal() if entry["event"] == "lever")
    assert (entry["by"], entry["reason"], entry["sidecar"]) == ("bob", "not today", url)
    assert here.arrivals() == []
