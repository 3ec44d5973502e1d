"""A drill's folder becomes evidence, whatever state it is in."""

import json
from collections import Counter
from pathlib import Path

import pytest

from drill.fairness.fairness import Fairness
from drill.incident import write_incident
from drill.judging.judging import judge
from drill.judging.reading import LONGEST, read
from drill.running.record import DrillRecord, Step
from drill.story import Story
from replayer.books.folder import Folder
from replayer.comparing.routes import Recorded, Route
from replayer.counting.latency import histogram
from replayer.counting.series import Second, packed
from replayer.plan import Plan
from replayer.reporting.recovery import recovered
from rules.exits import UserError
from rules.units import MILLION, Factor
from tests.support.recording import START_NS, record

SECONDS, RATE = 20, 50
BEGIN, END = START_NS, START_NS + SECONDS * 10**9


def step(number: int, **more: object) -> Step:
    plain = {"number": number, "kind": "repeat", "factor": Factor(MILLION), "run": f"run{number}", "begin_ns": BEGIN}
    plain |= {"end_ns": END, "zero_ns": BEGIN, "started": 1.0, "ended": 2.0, "stop": "ended", "valid": True}
    return Step.model_validate({**plain, **more})


def played(runs: Path, name: str, *, slow: float = 0.05, failing: int = 0, turned: int = 0) -> None:
    """Write a run's books: each second 50 requests, of which every fifth is on /slow."""
    folder = Folder(runs, name, Plan(recording=Path("incident.reamp"), to="http://127.0.0.1:1", idle_target=True))
    for second in range(SECONDS):
        times = histogram()
        for path, count, took in (("/", 40, 0.01), ("/slow", 10, slow)):
            micros = {round(took * 1e6): count}
            bad = failing if path == "/slow" else 0
            away = turned if path == "/slow" else 0
            statuses = Counter({200: count - bad - away, 503: bad, 429: away})
            route = Route("GET", path, count, count, 0, statuses, latency=Counter(micros), service=Counter(micros))
            route.recorded = Recorded()
            folder.route(packed(route, float(second), second + 1.0))
            times.record_value(round(took * 1e6), count)
        folder.interval("latency", times, second, second + 1.0)
        given = {"start": second, "end": second + 1.0, "wanted": 50, "sent": 50, "answered": 50, "in_flight": 1}
        folder.second(Second.model_validate({**given, "statuses": {200: 50 - failing, 503: failing}}).model_dump_json())
    folder.finish(recovered(folder.path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drill of three replays of 20 seconds."""
    told = Story(source="capture", told="a Friday", begin_ns=BEGIN, end_ns=END, times="kept", outcomes="records")
    records = (record(n / RATE, "/slow" if n % 5 == 0 else "/") for n in range(SECONDS * RATE))
    write_incident(tmp_path / "incident.reamp", told, records)
    (tmp_path / "check.json").write_text(Fairness(to="http://127.0.0.1:1", compared_share=1.0).model_dump_json())
    for number in (1, 2, 3):
        played(tmp_path / "runs", f"run{number}")
    save(tmp_path, *(step(number) for number in (1, 2, 3)))
    return tmp_path


def save(folder: Path, *steps: Step, **more: object) -> None:
    plain = {"drill": "20261122-101500-real", "started": 1.0, "ended": 99.0, "state": "ended", "plan": {}}
    plain |= {"to": "http://127.0.0.1:1", "amplify": Factor(MILLION), "repeat": 3, "defaulted": False, "steps": steps}
    made = DrillRecord.model_validate({**plain, "criteria": ["synthetic.p(95)<1s", "error_ratio<2%"], **more})
    (folder / "drill.json").write_text(made.model_dump_json())


def test_a_drill_reads_as_it_was_run(folder: Path) -> None:
    found = read(folder)
    assert [each.run for each in found.repeats] == ["run1", "run2", "run3"]
    first = found.repeats[0]
    assert first.sent == {("GET", "/"): 800, ("GET", "/slow"): 200}
    assert [block.requests for block in first.latency["GET", "/slow"]] == [20] * 10
    assert first.own == {("GET", "/"): 0.01, ("GET", "/slow"): 0.05}
    assert found.requests == 1000
    assert [point.requests for point in first.points] == [50] * 20
    assert first.points[3].p95 == pytest.approx(0.05, rel=0.01)
    assert [point.requests for point in found.points] == [50] * 20
    verdict = judge(found, made=1.0)
    assert verdict.outcome == "HOLDS", verdict.reasons
    assert verdict.overall.incident is not None
    assert verdict.overall.incident.p95 == 0.002
    assert verdict.incident == "a Friday"
    assert verdict.criteria[0].given


def test_one_that_fails_does_not_hold_against_one_that_did_before(folder: Path) -> None:
    before = read(folder)
    for number in (4, 5, 6):
        played(folder / "runs", f"run{number}", failing=3)
    save(folder, *(step(number) for number in (4, 5, 6)))
    verdict = judge(read(folder), before, made=1.0)
    assert verdict.outcome == "DOES NOT HOLD"
    assert verdict.reasons[0].route == "GET /slow"
    assert verdict.timeline is not None
    assert verdict.timeline.baseline is not None
    assert verdict.timeline.replay.failed[0] == pytest.approx(3 / 50)
    assert type(verdict).model_validate_json(verdict.model_dump_json()) == verdict


def test_a_drill_that_was_cut_short_reads(folder: Path) -> None:
    """Killed in its second replay: the first is whole, and of the second nobody knows how it ended."""
    save(folder, step(1), step(2, stop=None, ended=None), state="running", ended=None)
    found = read(folder)
    assert [each.run for each in found.repeats] == ["run1"]
    verdict = judge(found, made=1.0)
    assert verdict.outcome == "NOT PROVEN"
    assert verdict.reasons[0].kind == "unfinished"


def test_a_step_without_a_run_and_torn_books_are_left_out(folder: Path) -> None:
    path = folder / "runs" / "run2" / "routes.msgpack"
    path.write_bytes(path.read_bytes()[:-7])
    (folder / "check.json").unlink()
    save(folder, step(1), step(2), step(3, run="../../../etc"))
    found = read(folder)
    assert [each.run for each in found.played] == ["run1", "run2"]
    assert found.fairness is None


def test_sweeps_lie_where_they_were_played(folder: Path) -> None:
    begin = BEGIN + 5 * 10**9
    save(folder, step(1), step(2, kind="sweep", factor="2x", begin_ns=begin, end_ns=begin + 10**10, zero_ns=begin))
    swept = read(folder).played[1]
    assert (swept.begin, swept.seconds, swept.factor) == (5.0, 10.0, Factor.parse("2x"))
    assert swept.points[0].seconds == 0
    assert swept.points[5].requests == 50


def test_routes_have_the_names_under_which_they_are_sent(folder: Path) -> None:
    """Where paths are rewritten, what was asked then is held against what was sent for it."""
    told = Story(source="capture", told="a Friday", begin_ns=BEGIN, end_ns=END, times="kept", outcomes="records")
    records = (record(n / RATE, "/old/slow" if n % 5 == 0 else "/") for n in range(SECONDS * RATE))
    write_incident(folder / "incident.reamp", told, records, force=True)
    steps = [step(number) for number in (1, 2, 3)]
    save(folder, *steps)
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("NOT PROVEN", "mix")
    assert "GET /old/slow is lacking, and there is more of GET /slow" in found.reasons[0].settle
    save(folder, *steps, plan={"sending": {"rewrite": ["^/old => "]}})
    found = judge(read(folder), made=1.0)
    assert found.outcome == "HOLDS", found.reasons
    assert {row.name for row in found.routes} == {"GET /", "GET /slow"}


@pytest.mark.parametrize("rewrite", [["("], [3], 7])
def test_rules_for_paths_that_do_not_read_are_told(folder: Path, rewrite: object) -> None:
    save(folder, step(1), plan={"sending": {"rewrite": rewrite}})
    with pytest.raises(UserError, match="rewrite"):
        read(folder)


def test_a_clone_that_turns_users_away_does_not_serve_them(folder: Path) -> None:
    """A limit of requests, for example, which the check does not meet: that asks one at a time."""
    for number in (4, 5, 6):
        played(folder / "runs", f"run{number}", turned=9)
    save(folder, *(step(number) for number in (4, 5, 6)))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, [reason.kind for reason in found.reasons]) == ("NOT PROVEN", ["clone"])
    assert found.reasons[0].route == "GET /slow"
    assert "turned 90.0% of GET /slow away, most with 429; production 0%" in found.reasons[0].text
    assert "limit" in found.reasons[0].settle


@pytest.mark.parametrize("then", [404, 0])
def test_one_that_turns_as_many_away_as_production_did_is_fair(folder: Path, then: int) -> None:
    outcomes = "records" if then else "routes"
    told = Story(source="capture", told="a Friday", begin_ns=BEGIN, end_ns=END, times="kept", outcomes=outcomes)
    told = told.model_copy(update={"statuses": {} if then else {"2XX": 800, "4XX": 200}})
    records = (
        record(n / RATE, "/slow" if n % 5 == 0 else "/", status=then if n % 5 == 0 else 200 * bool(then))
        for n in range(SECONDS * RATE)
    )
    write_incident(folder / "incident.reamp", told, records, force=True)
    for number in (4, 5, 6):
        played(folder / "runs", f"run{number}", turned=10)
    save(folder, *(step(number) for number in (4, 5, 6)))
    assert judge(read(folder), made=1.0).outcome == "HOLDS"


def test_louder_where_users_are_turned_away_nothing_is_shown(folder: Path) -> None:
    played(folder / "runs", "run4", turned=10)
    swept = step(4, kind="sweep", factor="1.5x")
    save(folder, *(step(number) for number in (1, 2, 3)), swept)
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.headroom and str(found.headroom.factor)) == ("HOLDS", "1x")


def fallen(runs: Path, name: str, kind: str, *, after: int = 8, failing: int = 0) -> None:
    """Write a run's books: so many seconds in which not more fail, and then nothing but failures of a kind."""
    folder = Folder(runs, name, Plan(recording=Path("incident.reamp"), to="http://127.0.0.1:1", idle_target=True))
    for second in range(SECONDS):
        good = second < after
        micros = Counter({10_000: 50}) if good else Counter[int]()
        statuses = Counter({200: 50 - failing, 503: failing} if good else {})
        errors = Counter({} if good else {kind: 50})
        route = Route("GET", "/", 50, 50 * good, 0, statuses, errors, latency=micros, service=micros)
        route.recorded = Recorded()
        folder.route(packed(route, float(second), second + 1.0))
        given = {"start": second, "end": second + 1.0, "wanted": 50, "sent": 50, "answered": 50 * good}
        folder.second(Second.model_validate({**given, "statuses": statuses, "errors": errors}).model_dump_json())
    folder.finish(recovered(folder.path))


def test_a_clone_that_goes_down_in_the_first_replay_and_stays_down_does_not_hold(folder: Path) -> None:
    fallen(folder / "runs", "run4", "refused", after=17)
    save(folder, step(4, stop="slo", calm=False, silence="refused", rest=120.0))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("DOES NOT HOLD", "down")
    assert "the clone went down in second 17 of replay 1 and did not come back" in found.sentence
    assert found.gave_way is not None
    assert (found.gave_way.what, found.gave_way.at, found.gave_way.route) == ("down", 16.0, None)
    assert "150 requests" in found.reasons[0].text


@pytest.mark.parametrize("kind", ["dns", "connect", "connect-timeout"])
@pytest.mark.parametrize("after", [2, 17])
def test_where_the_way_to_the_clone_was_cut_nothing_is_said_of_the_clone(folder: Path, kind: str, after: int) -> None:
    fallen(folder / "runs", "run4", kind, after=after)
    save(folder, step(4, stop="slo", calm=False, silence=kind, rest=120.0))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("NOT PROVEN", "way")
    assert f"after second {after} of replay 1" in found.sentence
    assert "another machine" in found.reasons[0].settle
    assert found.gave_way is None


def test_what_broke_before_the_way_was_cut_still_counts(folder: Path) -> None:
    fallen(folder / "runs", "run4", "dns", after=17, failing=10)
    save(folder, step(4, stop="slo", calm=False, silence="dns", rest=120.0))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("DOES NOT HOLD", "broken")


def test_one_that_went_down_after_replays_that_it_bore_is_not_sure(folder: Path) -> None:
    fallen(folder / "runs", "run4", "refused")
    save(folder, step(1), step(2), step(4, calm=False, silence="refused", rest=120.0))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("NOT PROVEN", "down")
    assert "in second 8 of replay 3" in found.reasons[0].text


def test_one_that_is_down_at_the_end_of_the_last_replay_does_not_hold_it(folder: Path) -> None:
    """Not one request of the replay itself failed."""
    save(folder, step(1), step(2), step(3, calm=False, silence="refused", rest=120.0))
    found = judge(read(folder), made=1.0)
    assert (found.outcome, found.reasons[0].kind) == ("NOT PROVEN", "down")


def test_one_that_came_back_is_judged_by_its_figures(folder: Path) -> None:
    fallen(folder / "runs", "run4", "refused", after=17)
    save(folder, step(4, calm=False, rest=120.0))
    assert "down" not in {reason.kind for reason in judge(read(folder), made=1.0).reasons}


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("drill.json", None, "is it the folder of a drill"),
        ("drill.json", "{", "is not the record of a drill"),
        ("drill.json", "[" * 100_000, "is not the record of a drill"),
        ("drill.json", json.dumps({"drill": 3}), "is not the record of a drill"),
        ("check.json", "null", "is not what a check found"),
        ("incident.reamp", "nothing", "incident.reamp"),
        ("incident.reamp", None, "incident.reamp"),
    ],
)
def test_what_does_not_read_is_told(folder: Path, file: str, text: str | None, says: str) -> None:
    path = folder / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=says):
        read(folder)


def test_a_record_without_end_is_not_read(folder: Path) -> None:
    with (folder / "drill.json").open("r+b") as file:
        file.truncate(LONGEST + 1)
    with pytest.raises(UserError, match="too large"):
        read(folder)
