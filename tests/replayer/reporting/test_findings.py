"""What came back by route: of whole runs, of runs that were killed, and of folders that hold anything at all."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replayer.books.folder import read_report
from replayer.books.report import Report, RouteReport
from replayer.comparing.routes import Outline, Route
from replayer.counting.bottleneck import Strain, bottleneck
from replayer.counting.series import Second, Stretch, packed, stretch, totals
from replayer.lanes.native import load
from replayer.reporting.findings import seconds, stretches
from replayer.reporting.recovery import recovered, report_of
from rules.exits import Exit, UserError
from tests.support.place import RATE, SECONDS, Place
from tests.support.processes import eventually, run

COUNT = SECONDS * RATE


def no_native_lane() -> str | None:
    """Say why there is no native lane; None: there is."""
    try:
        load()
    except OSError as error:
        return str(error)
    return None


def route(report: Report, template: str) -> RouteReport:
    return next(found for found in report.routes if found.template == template)


def verdicts(found: RouteReport) -> dict[str, str]:
    return {change.figure: change.verdict for change in found.changes}


@pytest.mark.timeout(120)
def test_routes_stand_beside_what_the_recording_tells_of_them(ended: Path) -> None:
    report = read_report(ended)
    assert [found.template for found in report.routes] == ["/failing/{id}", "/item/{id}", "/quick/{id}", "/slow/{id}"]
    for found in report.routes:
        assert (found.wanted, found.allowed, found.sent, found.answered) == (COUNT // 4,) * 4
        assert found.recorded is not None
        assert found.recorded.count == COUNT // 4
        assert found.recorded.statuses == {200: COUNT // 4}
        assert found.recorded.duration.p50 == pytest.approx(0.0043, rel=0.01)
        assert found.recorded.ttfb.p50 == pytest.approx(0.003, rel=0.01)
        assert found.latency.count == found.service.count == COUNT // 4
    assert sum(sum(found.statuses.values()) for found in report.routes) == report.accounts.answered == COUNT
    assert sum(found.bytes_received for found in report.routes) == report.accounts.bytes_received
    slow = route(report, "/slow/{id}")
    assert slow.service.p50 is not None
    assert slow.service.p50 > 0.02
    assert verdicts(slow)["p50"] == "worse"
    change = slow.changes[0]
    assert change.low is not None
    assert change.low > 3
    failing = route(report, "/failing/{id}")
    assert failing.statuses[500] in range(COUNT // 12 - 1, COUNT // 12 + 2)
    assert verdicts(failing)["failed"] == "worse"
    assert verdicts(route(report, "/quick/{id}"))["failed"] == "noise"
    for told in ("another network", "less than a minute"):
        assert any(told in caveat for caveat in report.caveats)


HOW = [("--lane", "python"), ("--processes", "2")]


@pytest.fixture(scope="module")
def otherwise(place: Place) -> dict[tuple[str, str], Path]:
    """Give the folders of the same run, sent otherwise: both at once, for they mostly wait."""
    hows = [how for how in HOW if how[0] != "--processes" or no_native_lane() is None]
    with place.app(SLOW="0.022"), ThreadPoolExecutor(len(hows)) as pool:
        running = [pool.submit(place.replay, "-".join(how), *how) for how in hows]
        return dict(zip(hows, [each.result() for each in running], strict=True))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", HOW)
def test_however_it_was_sent_the_counts_of_routes_are_the_same(
    otherwise: dict[tuple[str, str], Path], ended: Path, how: tuple[str, str]
) -> None:
    if how not in otherwise:
        pytest.skip(f"several processes need the native lane: {no_native_lane()}")
    report = read_report(otherwise[how])
    counts = [
        {(r.method, r.template): (r.wanted, r.sent, r.answered, r.recorded) for r in each.routes}
        for each in (report, read_report(ended))
    ]
    assert counts[0] == counts[1]
    assert report.bottleneck is not None
    assert report.bottleneck.cpu is not None


def test_lines_of_the_seconds_and_of_the_routes_add_up_to_the_report(ended: Path) -> None:
    report = read_report(ended)
    added = totals(seconds(ended))
    for name in ("wanted", "sent", "answered", "bytes_sent", "bytes_received", "statuses", "read"):
        assert getattr(added, name) == getattr(report.accounts, name), name
    assert sum(line.sent for line in stretches(ended)) == COUNT
    assert sum(line.recorded.count for line in stretches(ended)) == COUNT
    again = recovered(ended)
    assert again.routes == report.routes
    assert (again.latency, again.lag) == (report.latency, report.lag)
    assert again.accounts.reconciles()


@pytest.mark.timeout(120)
def test_a_run_that_was_killed_still_gives_a_report(place: Place) -> None:
    with place.app(), place.start("killed") as process:
        runs = place.folder / "killed"
        eventually(lambda: any(sum(1 for _ in seconds(folder)) >= 3 for folder in runs.glob("*")))
        process.kill()
    (folder,) = runs.iterdir()
    assert not (folder / "report.json").exists()
    report = report_of(folder)
    assert (report.stop, report.exit_code, report.run) == ("killed", Exit.FAILED, folder.name)
    assert report.accounts.reconciles()
    assert report.accounts.answered >= 2 * RATE
    assert report.latency.count >= 2 * RATE
    assert {found.template for found in report.routes} >= {"/slow/{id}", "/quick/{id}"}
    done = run("report", str(folder))
    assert done.returncode == 0
    assert "it still runs, or it was killed" in done.stdout.replace("\n", " ")


def test_what_is_no_runs_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is it a run's folder"):
        report_of(tmp_path)
    (tmp_path / "plan.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is it a run's folder"):
        report_of(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    garbage=st.lists(st.one_of(st.text(max_size=40), st.sampled_from(["{}", "null", '{"start":1e999}', "[" * 5000])))
)
def test_whatever_stands_in_a_folder_gives_a_report(tmp_path: Path, ended: Path, garbage: list[str]) -> None:
    text = "\n".join(garbage) + "\n"
    for name in ("seconds.jsonl", "routes.msgpack", "journal.jsonl", "latency.hlog"):
        (tmp_path / name).write_text(text, errors="replace")
    whole = (ended / "routes.msgpack").read_bytes()
    (tmp_path / "routes.msgpack").write_bytes(whole[: len(whole) // 2] + text.encode("utf-8", "replace"))
    (tmp_path / "plan.json").write_text((ended / "plan.json").read_text())
    assert recovered(tmp_path).stop == "killed"


def test_the_ceiling_of_a_run_that_was_killed_is_in_its_journal(ended: Path, tmp_path: Path) -> None:
    shutil.copytree(ended, tmp_path / "run")
    facts = {"at": 1.0, "event": "plan", "run": "r", "ceiling": "25%", "audience": "shop"}
    (tmp_path / "run" / "journal.jsonl").write_text(json.dumps(facts) + "\n")
    report = recovered(tmp_path / "run")
    assert (str(report.ceiling), report.audience, report.run) == ("25%", "shop", "r")
    assert recovered(ended).ceiling is None


# --- lines ---


def test_a_line_holds_the_whole_route() -> None:
    made = Route("GET", "/{id}", sent=3, answered=1, withheld=1, bytes_received=9)
    made.statuses[200] += 1
    made.errors["reset"] += 1
    made.shed["late"] += 2
    made.latency[1000] += 1
    made.service[900] += 1
    made.told.append(Outline(200, 5, 1000, 2_000_000))
    made.digest()
    again = Stretch.model_validate(msgpack.unpackb(packed(made, 1.0, 2.0), strict_map_key=False))
    assert again.route() == made


def test_lines_come_the_more_rarely_the_longer_a_run_lasts() -> None:
    lasted, count = 0.0, 0
    while lasted < 36_000:
        lasted += stretch(lasted)
        count += 1
    assert count < 300


# --- who was the bottleneck ---


def second(cpu: float | None = 0.3, full: float = 0.0, sent: int = 100, wanted: float | None = None) -> Second:
    return Second(start=0, end=1, cpu=cpu, full=full, sent=sent, cpu_wanted=wanted)


@pytest.mark.parametrize(
    ("seconds", "lag", "shed", "what", "part"),
    [
        ([second()] * 10, 0.001, 0, "none", "time to spare"),
        ([second(cpu=None)] * 10, None, 0, "none", "not known"),
        ([second(cpu=0.97)] * 3 + [second()] * 7, 0.001, 0, "sender", "in 3 of 10 s"),
        ([second()] * 10, 0.2, 0, "sender", "p99 of its lag was 200.0 ms"),
        (
            [second(full=1.0)] * 3 + [second()] * 7,
            0.001,
            0,
            "connections",
            "all 8 connections were in use in 3 of 10 s",
        ),
        ([second()] * 10, 0.001, 5, "connections", "5 requests found none"),
        # Connections stay in use while the sender has no core to read answers.
        ([second(wanted=0.95)] * 3 + [second()] * 7, 0.001, 5, "sender", "waited for one that others used"),
        ([second(wanted=0.95, full=1.0)] * 10, 0.001, 0, "sender", "in 10 of 10 s"),
        ([second(wanted=0.5, full=1.0)] * 10, 0.001, 5, "connections", "5 requests found none"),
        ([second(wanted=0.95)] * 10, 0.001, 0, "none", "time to spare"),
        ([second(cpu=0.99)] + [second()] * 20, 0.001, 0, "none", "time to spare"),  # one busy second is no bottleneck
        ([], None, 0, "none", "nothing to send"),
    ],
)
def test_the_bottleneck(seconds: list[Second], lag: float | None, shed: int, what: str, part: str) -> None:
    found = bottleneck(Strain(seconds), [], lag, 0.05, 8, shed)
    assert found.what == what
    assert part in found.reason


def test_a_run_that_is_invalid_has_a_bottleneck() -> None:
    found = bottleneck(Strain([second()]), ["the sender stood still"], 0.001, 0.05, 8, 0)
    assert (found.what, found.reason) == ("sender", "the sender stood still")


def test_seconds_of_a_busy_process_show_it(ended: Path) -> None:
    found = list(seconds(ended))
    assert all(line.cpu is not None and 0 <= line.cpu <= 1 for line in found)
    assert any(line.cpu for line in found)
    assert all(line.cpu_wanted is not None and line.cpu <= line.cpu_wanted <= 1 for line in found if line.cpu)
    assert [line.start for line in found] == sorted(line.start for line in found)
    written = (ended / "seconds.jsonl").read_text().splitlines()
    assert all(json.loads(line).keys() <= set(Second.model_fields) for line in written)
