"""Whole runs and their windows, with a wall clock that is set meanwhile."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from loadtag import keys
from replayer.books.folder import read_report
from replayer.plan import Plan
from replayer.preparing.timetable import calendar_of
from replayer.schedule.calendar import DAYS, Window
from rules.exits import Exit, UserError
from tests.support.clocks import WallClock
from tests.support.lines import whole_lines
from tests.support.place import PATIENT
from tests.support.processes import Process, eventually, free_port, python, reamp, run, shop
from tests.support.recording import record, write

DAY, IDLE = 86_400, "--idle-target"


class Here:
    """A shop, a recording of a minute and a key."""

    def __init__(self, folder: Path, app: str, log: Path) -> None:
        self.folder, self.app, self.log = folder, app, log
        self._begin = log.stat().st_size

    def arguments(self, *more: str) -> list[str]:
        to = ["--to", self.app, IDLE, "--key", str(self.folder / "load.key")]
        return ["replay", str(self.folder / "recordings"), *to, "--runs", str(self.folder / "runs"), *more]

    def arrivals(self) -> list[float]:
        """When requests reached the app (unix seconds of the real clock)."""
        return [int(line.split()[0]) / 1e9 for line in whole_lines(self.log, self._begin)]

    @property
    def run(self) -> Path:
        (folder,) = (self.folder / "runs").iterdir()
        return folder

    def journal(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in whole_lines(self.run / "journal.jsonl")]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with shop(tmp_path_factory.mktemp("shop")) as ready:
        yield ready


@pytest.fixture
def here(tmp_path: Path, app: tuple[str, Path]) -> Here:
    keys.generate(tmp_path, "load")
    write(tmp_path / "recordings", (record(i * 0.01, f"/item/{i}") for i in range(6000)))
    return Here(tmp_path, *app)


def day(days: int) -> str:
    """The name of the day so many days from now (UTC)."""
    return DAYS[(datetime.now(UTC) + timedelta(days=days)).weekday()]


def test_a_run_outside_its_window_is_refused_before_anything_is_sent(here: Here) -> None:
    done = run(*here.arguments("--window", f"{day(3)} 10:00-11:00 UTC"))
    assert done.returncode == Exit.OUTSIDE_WINDOW
    opens = (datetime.now(UTC) + timedelta(days=3)).strftime("%a %Y-%m-%d 10:00 (UTC)")
    assert f"outside of --window {day(3)} 10:00-11:00 UTC; the next window opens {opens}, in " in done.stderr
    assert "nothing was sent" in done.stderr
    assert here.arrivals() == []
    assert not (here.folder / "runs").exists()


def test_a_dry_run_tells_of_windows_at_any_time(here: Here) -> None:
    (here.folder / "days.txt").write_text("2019-12-25\n")
    more = ["--window", f"{day(3)} 10:00-11:00 UTC", "--holidays", str(here.folder / "days.txt"), "--max-time", "10s"]
    done = run(*here.arguments(*more, "--dry-run"))
    assert done.returncode == Exit.DONE, done.stderr
    told = " ".join(done.stdout.split())
    assert "closed: it is " in told
    assert "none is to come: is the file out of date?" in told
    assert "10s; the run takes 59.99s, so it will be cut" in told or "10s; the run takes 1m, so it will be cut" in told


def test_a_run_that_does_not_fit_into_its_window_says_so_beforehand(here: Here) -> None:
    """In two days at most it closes, and the run would take three."""
    window = f"{day(0)},{day(1)} 00:00-24:00 UTC"
    done = run(*here.arguments("--window", window, "--loop", "--duration", "3d", "--dry-run"))
    told = " ".join(done.stdout.split())
    assert "open until" in told
    assert "the run takes 3d, so it will be cut then (exit code 92)" in told


def test_a_holiday_keeps_a_run_from_beginning(here: Here) -> None:
    dates = (datetime.now(UTC).date() + timedelta(days=n) for n in range(2))  # be it midnight meanwhile
    (here.folder / "days.ics").write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n"
        + "".join(f"BEGIN:VEVENT\r\nUID:{d}\r\nDTSTART;VALUE=DATE:{d:%Y%m%d}\r\nEND:VEVENT\r\n" for d in dates)
        + "END:VCALENDAR\r\n"
    )
    done = run(*here.arguments("--window", "daily 00:00-24:00 UTC", "--holidays", str(here.folder / "days.ics")))
    assert done.returncode == Exit.OUTSIDE_WINDOW
    assert "a day that --holidays names" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Christmas\n", "line 1: 'Christmas' is not a date"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"#" * (1 << 21), "larger than 1 MiB"),
        (None, "No such file"),
    ],
)
def test_a_file_of_holidays_that_is_none_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "days"
    if content is not None:
        path.write_bytes(content)
    given = {"recording": "r", "to": "http://h", "idle_target": True, "window": "Sat 02:00-05:00 UTC"}
    with pytest.raises(UserError, match=r"--holidays .*days: ") as told:
        calendar_of(Plan.model_validate({**given, "holidays": path}), datetime.now(UTC))
    assert words in str(told.value)


def test_holidays_are_somewhere() -> None:
    with pytest.raises(ValidationError, match="say where by a --window"):
        Plan.model_validate({"recording": "r", "to": "http://h", "idle_target": True, "holidays": "days.txt"})


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("days", "lane"), [(3, "--lane=native"), (-3, "--lane=native"), (3, "--lane=python"), (3, "--processes=2")]
)
def test_a_run_that_loses_its_window_stops_at_once(here: Here, lane: str, days: int) -> None:
    clock = WallClock(here.folder / "clock")
    window = str(Window.parse(f"{day(0)},{day(1)} 00:00-24:00 UTC"))
    with Process(reamp(*here.arguments("--window", window, lane)), here.folder / "out", clock.env) as replay:
        eventually(lambda: len(here.arrivals()) >= 30)
        stepped = time.time()
        clock.step(days * DAY)
        assert replay.wait() == Exit.OUTSIDE_WINDOW, replay.output
    assert max(here.arrivals()) <= stepped + 0.2  # it looks twenty times a second
    report = read_report(here.run)
    assert (report.stop, report.exit_code) == ("outside-window", Exit.OUTSIDE_WINDOW)
    assert f"outside of --window {window}; the next window opens" in report.reason
    assert report.accounts.reconciles()
    events = [entry["event"] for entry in here.journal()]
    assert events[-2:] == ["outside window", "stopped"]
    assert "outside-window (exit code 92)" in replay.output
    case = ET.parse(here.run / "junit.xml").find(".//testcase[@name='it ended as planned']/error")
    assert case is not None
    assert "outside-window" in str(case.get("message"))


def test_the_longest_time_is_not_told_by_the_wall_clock(here: Here) -> None:
    clock = WallClock(here.folder / "clock")
    arguments = here.arguments("--max-time", "2s", "--not-window", f"{day(3)} 00:00-24:00 UTC")
    with Process(reamp(*arguments), here.folder / "out", {**clock.env, **PATIENT}) as replay:
        eventually(lambda: len(here.arrivals()) >= 30)
        clock.step(-DAY)
        assert replay.wait() == Exit.DONE, replay.output
    report = read_report(here.run)
    assert report.stop == "ended"
    assert report.reason == "after --max-time 2s, which cut the rest off"
    arrivals = here.arrivals()
    assert 1 < max(arrivals) - min(arrivals) < 2.2
    assert report.accounts.reconciles()
    assert "2s; the run takes " in replay.output


def test_the_longest_time_counts_while_nothing_is_sent_yet(here: Here) -> None:
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.grants:app", "--port", str(port), "--log-level", "warning")
    with Process(command, here.folder / "grants.out", {"GRANT_RATE": "400"}) as control:
        control.ready(port)
        live = ["--sidecar", f"http://127.0.0.1:{port}", "--amplify", "1.1x", "--no-preflight"]
        arguments = [each for each in here.arguments(*live, "--warm-up", "10m", "--max-time", "2s") if each != IDLE]
        done = run(*arguments)
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    assert read_report(here.run).reason == "--max-time 2s was over before anything was sent"
    assert here.arrivals() == []


def test_a_plan_keeps_its_windows() -> None:
    given = {"recording": "r", "to": "http://h", "idle_target": True}
    plan = Plan.model_validate({**given, "window": "Sat,Sun 2:00-5:00 UTC", "not_window": ["Sat", "Sun 3:00-4:00 UTC"]})
    assert plan.window == ("Sat,Sun 02:00-05:00 UTC",)
    assert plan.not_window == ("Sat,Sun 03:00-04:00 UTC",)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
