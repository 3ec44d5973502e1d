"""What a drill can be told, and what it makes of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drill.running.plan import DEFAULT_SLO, DrillPlan, Part, hurried, sweep_of
from drill.running.steps import Sweep
from rules.slo import Rule
from rules.units import MILLION, Duration, Factor

SENDING = {"recording": "incident.reamp", "to": "http://127.0.0.1:8080", "idle_target": True, "max_connections": 7}
BEGIN = 1_795_262_400_123_456_000
INCIDENT = Part(BEGIN, BEGIN + 600_000_000_000)
FILE = Path("drills/x/incident.reamp")


def plan(**more: object) -> DrillPlan:
    return DrillPlan.model_validate({"idle_target": True, "sending": SENDING, **more})


def test_it_reads_as_it_was_written() -> None:
    asked = plan(amplify="1.25x", sweep="0.5x:3x", slo=["p(95)<300ms", "error_ratio<2%"], warm="2m")
    assert DrillPlan.model_validate(asked.model_dump(mode="json")) == asked


def test_a_target_that_may_carry_real_users_is_refused_with_the_reason() -> None:
    with pytest.raises(ValidationError, match=r"may carry real users.* breaks: .*--idle-target"):
        plan(idle_target=False)


def test_a_sweep_has_a_step_of_its_own_and_can_be_left_out() -> None:
    assert plan().sweep == sweep_of("0.5x:2x:0.25x")
    assert plan(sweep="1x:4x:1x").sweep == Sweep(Factor(MILLION), Factor(4 * MILLION), Factor(MILLION))
    assert plan(sweep="1x:4x:1x").scheme.sweep == plan(sweep=["1x:4x:1x"]).sweep
    assert plan(sweep="off").sweep is None


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"sweep": "2x"}, "write it like 0.5x:2x"),
        ({"sweep": "2x:1x"}, "begins below"),
        ({"sweep": "0.5x:1001x"}, "too large"),
        ({"sweep": "0.001x:2x"}, "too small"),
        ({"sweep": "0.5x:2x:0x"}, "more than 100 steps"),
        ({"sweep": "0.5x:900x:0.5x"}, "more than 100 steps"),
        ({"amplify": "0x"}, "too small"),
        ({"repeat": 0}, "greater than or equal to 1"),
        ({"step": "1s"}, "too short"),
        ({"warm": "0s"}, "more than zero"),
        ({"slo": "p(95)<500ms action=back-off"}, "would change the load"),
        ({"slo": "real.p(95)<500ms"}, r"no real users: write p\(95\)<500ms"),
        ({"slo": "p(95)<1.1x baseline"}, "--against"),
    ],
)
def test_what_makes_no_sense_is_refused(told: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        plan(**told)


def test_what_has_to_hold_is_about_the_drills_own_requests() -> None:
    assert [str(each) for each in plan(slo=["p(95)<300ms"]).expressions] == ["synthetic.p(95)<300ms"]
    assert plan().criteria == tuple(map(Rule.parse, DEFAULT_SLO))


def test_a_step_is_a_replay_of_its_part_as_it_was_asked_for() -> None:
    asked = plan(slo=["p(95)<300ms"], warm="15m", sending={**SENDING, "seed": 3})
    part = Part(BEGIN + 1_000, BEGIN + 60_000_001_000)
    swept = asked.of_step("sweep", Factor(1_500_000), 5, part, False, FILE)
    assert (swept.amplify, swept.seed, swept.max_connections, swept.of) == (Factor(1_500_000), 7, 7, "recording")
    assert (swept.from_, swept.until) == ("2026-11-21T12:00:00.123457000Z", "2026-11-21T12:01:00.123457000Z")
    assert (swept.recording, swept.runs) == (FILE, FILE.parent / "runs")
    assert [str(rule.expression) for rule in swept.slo] == ["synthetic.p(95)<300ms"]
    repeat = asked.of_step("repeat", Factor(MILLION), 2, INCIDENT, True, FILE)
    assert (repeat.from_, repeat.until, repeat.duration, repeat.loop) == (None, None, None, False)


def test_a_warm_up_is_judged_by_nothing_and_lasts_as_long_as_was_asked() -> None:
    longer = plan(warm="15m").of_step("warm-up", Factor(MILLION), 1, INCIDENT, True, FILE)
    assert (longer.duration, longer.loop, longer.slo) == (Duration(900), True, ())
    shorter = plan(warm="2m").of_step("warm-up", Factor(MILLION), 1, INCIDENT, True, FILE)
    assert (shorter.duration, shorter.loop) == (Duration(120), False)


@given(seconds=st.floats(1, 5000), window=st.floats(1, 600), lasts=st.floats(0, 600), grace=st.floats(0, 600))
def test_rules_have_time_to_be_judged_in_a_step(seconds: float, window: float, lasts: float, grace: float) -> None:
    rule = Rule.parse("p(95)<1s").model_copy(
        update={"window": Duration(window), "for_": Duration(lasts), "grace": Duration(grace)}
    )
    found = hurried(rule, seconds)
    assert found == rule or found.window + found.for_ + found.grace <= seconds / 2 + 1.01
    assert (found.window <= rule.window, found.for_ <= rule.for_, found.grace <= rule.grace) == (True, True, True)
    assert Rule.parse(str(found)).window == pytest.approx(found.window, rel=1e-3)


def test_a_repeat_is_not_stopped_before_there_is_something_to_judge_by() -> None:
    asked = plan(slo=["p(95)<300ms"])
    assert asked.of_step("repeat", Factor(MILLION), 1, INCIDENT, True, FILE).slo[0].grace == Duration(60)
    short = Part(BEGIN, BEGIN + 20_000_000_000)
    assert asked.of_step("repeat", Factor(MILLION), 1, short, True, FILE).slo[0].grace == Duration(10)
    assert asked.of_step("sweep", Factor(MILLION), 1, short, True, FILE).slo[0].grace < 3


def test_a_query_ends_steps_and_is_no_criterion() -> None:
    asked = plan(slo=["value<0.8 prometheus=http://127.0.0.1:9090 query=up"])
    assert asked.defaulted
    assert [str(each) for each in asked.expressions] == [str(Rule.parse(text).expression) for text in DEFAULT_SLO]
    assert len(asked.of_step("sweep", Factor(MILLION), 1, INCIDENT, True, FILE).slo) == 1 + len(DEFAULT_SLO)


@given(begin=st.integers(0, 2**61), lasts=st.integers(1, 2**40))
def test_a_part_is_written_in_microseconds_and_loses_nothing(begin: int, lasts: int) -> None:
    part = Part(begin, begin + lasts).rounded()
    assert part.begin_ns <= begin < begin + lasts <= part.end_ns
    assert (part.begin_ns % 1000, part.end_ns % 1000) == (0, 0)
    assert part.end_ns - part.begin_ns < lasts + 2000
