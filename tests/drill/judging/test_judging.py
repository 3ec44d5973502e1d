"""Verdicts of drills whose truth is known, and every reason for which nothing is proven."""

from collections import Counter
from dataclasses import replace
from string import ascii_letters
from typing import Literal

import pytest

from drill.fairness.fairness import Fairness, Finding
from drill.judging.evidence import Evidence, Instant, Past, Played, Point
from drill.judging.judging import judge
from drill.judging.verdict import Verdict
from drill.story import Outside
from replayer.comparing.comparison import Block
from rules.units import Factor
from tests.support.simulated import Noise, Truth, drill

GOOD, BAD, SHORT = (Truth(late=late, routes=3, rate=rate) for late, rate in ((0.01, 36.0), (0.4, 36.0), (0.005, 3.0)))
ILL = "GET /page1"
NOISES: tuple[Noise, ...] = ("steady", "repeats")


def verdict(evidence: Evidence, baseline: Evidence | None = None) -> Verdict:
    return judge(evidence, baseline, made=0.0)


def kinds(found: Verdict) -> list[str]:
    return [reason.kind for reason in found.reasons]


def first(evidence: Evidence, **changes: object) -> Evidence:
    """Change the first replay."""
    return replace(evidence, played=(replace(evidence.played[0], **changes), *evidence.played[1:]))  # type: ignore[arg-type]


def record(evidence: Evidence, **changes: object) -> Evidence:
    return replace(evidence, record=evidence.record.model_copy(update=changes))


def unfair(direction: Literal["easy", "hard"]) -> Fairness:
    return Fairness(
        to="http://clone",
        findings=(
            Finding(
                kind="size",
                severity="unfair",
                direction=direction,
                what="GET /products renders 12 where it rendered 50,000.",
                means="It has less to do.",
                method="GET",
                template="/products",
            ),
        ),
    )


@pytest.fixture(scope="module")
def good() -> Evidence:
    return drill(GOOD, 1)


@pytest.fixture(scope="module")
def bad() -> Evidence:
    return drill(BAD, 1)


def test_a_fix_that_works_holds(good: Evidence) -> None:
    found = verdict(good)
    assert (found.outcome, found.exit_code, found.reasons) == ("HOLDS", 0, [])
    assert "holds under the incident's traffic" in found.sentence
    assert found.overall.judgement == "holds"
    assert {row.judgement for row in found.routes} == {"holds"}
    assert {"criteria", "baseline", "rare trouble", "statistics"} <= {each.name for each in found.conditions}


def test_one_that_does_not_is_told_by_its_route(bad: Evidence) -> None:
    found = verdict(bad)
    assert (found.outcome, found.exit_code) == ("DOES NOT HOLD", 99)
    assert found.reasons[0].route == found.routes[0].name == ILL
    assert ILL in found.sentence
    assert found.gave_way is not None
    assert (found.gave_way.route, found.gave_way.what, found.gave_way.at) == (ILL, "latency", 0)
    assert [row.name for row in found.routes if row.judgement == "breaks"] == [ILL]


def test_failures_are_told_as_failures() -> None:
    found = verdict(drill(Truth(failing=0.2, routes=3, rate=36.0), 1))
    assert found.outcome == "DOES NOT HOLD"
    assert found.gave_way is not None
    assert found.gave_way.what == "errors"
    assert found.reasons[0].text.startswith(f"error_ratio<1% does not hold for {ILL}: 2")


def test_what_is_at_the_limit_is_not_proven() -> None:
    found = verdict(drill(Truth(late=0.05, routes=3, rate=36.0), 1))
    assert (found.outcome, found.exit_code) == ("NOT PROVEN", 94)
    assert kinds(found) == ["unclear"]
    assert found.reasons[0].route == ILL
    assert found.reasons[0].settle


def test_too_few_requests_prove_nothing_and_it_says_how_many_would() -> None:
    found = verdict(drill(SHORT, 1))
    assert found.outcome == "NOT PROVEN"
    few = [reason for reason in found.reasons if reason.kind == "few"]
    assert "it takes 528 at least" in few[0].text
    assert "--repeat" in few[0].settle


def test_the_same_evidence_gives_the_same_verdict(good: Evidence) -> None:
    assert verdict(good) == verdict(drill(GOOD, 1))
    assert Verdict.model_validate_json(verdict(good).model_dump_json()) == verdict(good)


def test_a_clone_that_has_it_easier_cannot_hold_and_one_that_has_it_harder_cannot_break(
    good: Evidence, bad: Evidence
) -> None:
    easy, hard = unfair("easy"), unfair("hard")
    found = verdict(replace(good, fairness=easy))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["clone"])
    assert found.reasons[0].route == "GET /products"
    assert verdict(replace(good, fairness=hard)).outcome == "HOLDS"
    assert verdict(replace(bad, fairness=easy)).outcome == "DOES NOT HOLD"
    found = verdict(replace(bad, fairness=hard))
    assert found.outcome == "NOT PROVEN"
    assert kinds(found)[:2] == ["clone", "broken"]


def test_a_clone_that_nobody_looked_at_proves_nothing(good: Evidence) -> None:
    found = verdict(replace(good, fairness=None))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["clone"])


def test_a_sender_that_lagged_cannot_hold(good: Evidence) -> None:
    found = verdict(first(good, valid=False, invalid_because=("it lagged",)))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["sender"])
    assert "it lagged" in found.reasons[0].text


def test_of_a_sender_that_lagged_only_what_is_surely_the_target_s_counts(bad: Evidence) -> None:
    """The time from the actual send, less the most that it was ever late by."""
    late = replace(bad, played=tuple(replace(each, valid=False, lag=0.02) for each in bad.played))
    assert verdict(late).outcome == "DOES NOT HOLD"
    own = replace(bad, played=tuple(replace(each, valid=False, lag=30.0) for each in bad.played))
    found = verdict(own)
    assert found.outcome == "NOT PROVEN"
    # What is shown is what was seen.
    assert found.overall.replay == verdict(bad).overall.replay


def test_a_drill_that_was_stopped_cannot_hold(good: Evidence) -> None:
    cut = record(good, state="interrupted", reason="you stopped it")
    cut = first(cut, stop="interrupted")
    found = verdict(cut)
    assert (found.outcome, kinds(found)[0]) == ("NOT PROVEN", "unfinished")
    assert "you stopped it" in found.sentence
    nothing = replace(cut, played=())
    assert verdict(nothing).outcome == "NOT PROVEN"
    assert verdict(nothing).gave_way is None


def test_one_replay_alone_cannot_hold() -> None:
    alone = drill(Truth(late=0.005, repeats=1, seconds=180.0, routes=3, rate=36.0), 1)
    found = verdict(alone)
    assert (found.outcome, "repeats" in kinds(found)) == ("NOT PROVEN", True)


def test_replays_that_do_not_agree_cannot_hold() -> None:
    apart = drill(Truth(late=0.01, routes=2, rate=80.0, repeats=8), 1)
    worse = drill(Truth(late=0.06, routes=2, rate=80.0, repeats=1), 2)
    found = verdict(replace(apart, played=(*apart.played, worse.played[0])))
    assert found.overall.judgement == "holds"
    assert {row.judgement for row in found.routes} == {"holds"}
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["repeats"])
    assert "replay 9 of 9" in found.reasons[0].text


def test_another_mix_than_the_incident_s_cannot_hold(good: Evidence) -> None:
    left = replace(good, past={**good.past, ("POST", "/buy"): Past(1200)})
    left = replace(left, played=tuple(replace(each, left_out={("POST", "/buy"): 1200}) for each in left.played))
    found = verdict(left)
    assert found.outcome == "NOT PROVEN"
    assert kinds(found)[:2] == ["mix", "rate"]
    assert "POST /buy" in found.reasons[0].text
    assert "--allow" in found.reasons[0].settle


def test_traffic_outside_of_the_known_routes_is_missing_unless_it_was_filled(good: Evidence) -> None:
    outside = Outside(share=0.3, filled="left-out")
    found = verdict(replace(good, story=good.story.model_copy(update={"outside": outside})))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["mix"])
    assert "--fill-from" in found.reasons[0].settle
    scaled = outside.model_copy(update={"filled": "scaled"})
    found = verdict(replace(good, story=good.story.model_copy(update={"outside": scaled})))
    assert found.outcome == "HOLDS"
    assert "outside" in {each.name for each in found.conditions}


def test_a_rate_that_was_not_reached_cannot_hold(good: Evidence) -> None:
    less = tuple(
        replace(each, sent={name: count * 8 // 10 for name, count in each.sent.items()}) for each in good.played
    )
    found = verdict(replace(good, played=less))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["rate"])


def test_more_than_was_asked_for_breaks_nothing(bad: Evidence) -> None:
    more = tuple(replace(each, sent={name: count * 2 for name, count in each.sent.items()}) for each in bad.played)
    found = verdict(replace(bad, played=more))
    assert (found.outcome, kinds(found)[0]) == ("NOT PROVEN", "rate")


def test_if_the_clone_held_before_the_fix_the_incident_was_not_reproduced(good: Evidence, bad: Evidence) -> None:
    found = verdict(good, drill(GOOD, 5))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["not-reproduced"])
    found = verdict(good, bad)
    assert found.outcome == "HOLDS"
    assert found.baseline == bad.record.drill
    assert "baseline" not in {each.name for each in found.conditions}
    ill = next(row for row in found.routes if row.name == ILL)
    assert ill.baseline is not None
    assert ill.baseline.p95 is not None
    assert ill.replay is not None
    assert ill.replay.p95.value is not None
    assert ill.baseline.p95 > 2 * ill.replay.p95.value
    assert {change.figure: change.verdict for change in ill.against}["p95"] == "better"


def test_a_baseline_of_another_incident_is_none(good: Evidence, bad: Evidence) -> None:
    hour = 3600 * 10**9
    later = bad.story.model_copy(update={"begin_ns": hour, "end_ns": hour + bad.story.end_ns, "told": "last Monday"})
    found = verdict(good, replace(bad, story=later))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["baseline"])
    assert "last Monday" in found.sentence


def test_replays_that_rules_stopped(good: Evidence, bad: Evidence) -> None:
    """One may be a slow spell; if none of several came through, it is none."""
    one = first(good, stop="slo", reason="p(95)<1s did not hold for 10s")
    found = verdict(one)
    assert (found.outcome, kinds(found)[0]) == ("NOT PROVEN", "stopped")
    every = tuple(replace(each, stop="slo", reason="p(95)<1s did not hold for 10s") for each in good.played)
    found = verdict(replace(good, played=every))
    assert (found.outcome, kinds(found)) == ("DOES NOT HOLD", ["stopped"])
    cut = tuple(replace(each, stop="slo", seconds=20.0) for each in bad.played)
    assert verdict(replace(bad, played=cut)).outcome == "DOES NOT HOLD"


def hanging(evidence: Evidence) -> Evidence:
    """A target that answers nothing, until a rule stops the replay after 15 s with 900 requests on their way."""
    course = tuple(Instant(float(at), 60, 0, 60 * at) for at in range(1, 16))
    played = tuple(
        replace(each, stop="slo", seconds=15.0, course=course, unanswered=900, latency={}, service={}, sent={}, own={})
        for each in evidence.played
    )
    return replace(evidence, played=played)


def test_a_target_that_answers_nothing_does_not_hold(good: Evidence) -> None:
    found = verdict(hanging(good))
    assert found.outcome == "DOES NOT HOLD"
    assert found.overall.judgement == "breaks"
    single = hanging(record(replace(good, played=good.played[:1]), repeat=1))
    assert verdict(single).outcome == "DOES NOT HOLD"


def test_requests_that_pile_up_cannot_hold(good: Evidence) -> None:
    course = tuple(Instant(float(at), 60, 59, 3 * at) for at in range(1, 61))
    growing = replace(good, played=tuple(replace(each, course=course) for each in good.played))
    found = verdict(growing)
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["saturated"])


def step(evidence: Evidence, factor: str) -> Played:
    """Take a replay as a step of a sweep."""
    return replace(evidence.played[0], kind="sweep", factor=Factor.parse(factor))


def test_headroom_is_the_largest_factor_below_the_first_that_breaks(good: Evidence, bad: Evidence) -> None:
    swept = replace(good, played=(*good.played, step(good, "1.5x"), step(bad, "2x")))
    found = verdict(swept)
    assert found.outcome == "HOLDS"
    assert found.headroom is not None
    assert (found.headroom.factor, found.headroom.broke) == (Factor.parse("1.5x"), Factor.parse("2x"))
    assert found.headroom.text == "holds to 1.5x of the incident, and gives way at 2x"
    assert "it holds to 1.5x of the incident" in found.sentence
    assert [rung.judgement for rung in found.headroom.rungs] == ["holds", "holds", "breaks"]
    assert found.gave_way is not None
    assert (found.gave_way.factor, found.gave_way.route) == (Factor.parse("2x"), ILL)


def test_of_a_louder_step_whose_sender_was_later_than_answers_took_the_percentile_is_the_one_seen(
    good: Evidence,
) -> None:
    """And not one of 0, which is what is left to judge."""
    late, plain = (
        verdict(replace(good, played=(*good.played, each))).headroom
        for each in (replace(step(good, "2x"), valid=False, lag=30.0), step(good, "2x"))
    )
    assert late is not None
    assert plain is not None
    assert [rung.p95 for rung in late.rungs] == [rung.p95 for rung in plain.rungs]
    assert late.rungs[-1].judgement == "unclear"


def test_a_louder_step_that_holds_by_chance_is_no_headroom_beyond_one_that_broke(good: Evidence, bad: Evidence) -> None:
    found = verdict(replace(bad, played=(*bad.played, step(good, "0.5x"), step(good, "2x"))))
    assert found.headroom is not None
    assert (found.headroom.factor, found.headroom.broke) == (Factor.parse("0.5x"), Factor.parse("1x"))


def test_what_is_not_proven_at_the_factor_asked_for_is_not_proven_beyond(good: Evidence) -> None:
    alone = record(replace(good, played=(good.played[0], step(good, "0.5x"), step(good, "2x"))), repeat=1)
    found = verdict(alone)
    assert found.outcome == "NOT PROVEN"
    assert found.headroom is not None
    assert found.headroom.factor == Factor.parse("0.5x")
    assert [rung.judgement for rung in found.headroom.rungs] == ["holds", "unclear", "unclear"]
    assert "1x is not proven" in found.headroom.rungs[-1].text


def test_what_came_back_in_a_moment_is_too_little_time(good: Evidence) -> None:
    def squeezed(each: Played) -> Played:
        latency = {name: (*blocks[:1], *(Block({}, 0, 0),) * 9) for name, blocks in each.latency.items()}
        return replace(each, latency=latency)

    found = verdict(replace(good, played=tuple(squeezed(each) for each in good.played)))
    assert found.outcome == "NOT PROVEN"
    assert set(kinds(found)) == {"few"}
    assert any("too few intervals of time" in reason.text for reason in found.reasons)


def test_what_gives_way_under_less_does_not_hold_under_more(good: Evidence, bad: Evidence) -> None:
    found = verdict(replace(good, played=(*good.played, step(bad, "0.5x"))))
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["repeats"])
    assert found.headroom is not None
    assert (found.headroom.factor, found.headroom.broke) == (None, Factor.parse("0.5x"))


def test_one_factor_is_no_headroom(good: Evidence) -> None:
    assert verdict(good).headroom is None


def test_where_all_routes_are_slow_the_one_that_they_wait_for_is_named() -> None:
    """All break alike, for one holds the others up: what each takes in the quietest moment tells which."""
    every = drill(Truth(late=0.5, everywhere=True, rate=60.0), 1)
    own = {name: 0.5 if name == ("GET", "/page7") else 0.005 for name in every.past}
    every = replace(every, played=tuple(replace(each, own=own) for each in every.played))
    found = verdict(every)
    assert found.outcome == "DOES NOT HOLD"
    assert found.gave_way is not None
    assert found.gave_way.route == found.reasons[0].route == "GET /page7"
    assert "of the target's time" in found.gave_way.text


def small(evidence: Evidence, odd: Block) -> Evidence:
    """Add twenty routes with six requests each in a replay, of which one is other than the rest."""
    past, played = dict(evidence.past), []
    for each in evidence.played:
        latency = dict(each.latency)
        for number in range(20):
            block = odd if number == 7 else Block({1000: 1}, 1, 0)
            latency["GET", f"/rare{number}"] = (block,) * 6 + (Block({}, 0, 0),) * 4
        sent = {name: sum(block.requests for block in found) for name, found in latency.items()}
        played.append(replace(each, latency=latency, service=latency, sent=sent))
    for name in played[0].sent:
        past.setdefault(name, Past(6))
    return replace(evidence, past=past, played=tuple(played))


def test_small_routes_are_judged_together_and_one_that_breaks_counts(good: Evidence) -> None:
    found = verdict(small(good, Block({1000: 1}, 1, 0)))
    rest = found.routes[-1]
    assert (rest.name, rest.routes) == ("20 small routes together", 20)
    assert {row.judgement for row in found.routes if row.name.startswith("GET /rare")} == {"untold"}
    # 360 requests of them show that less than 5% are slow, and not that less than 1% fail.
    assert {held.criterion: held.judgement for held in rest.criteria} == {
        "error_ratio<1%": "unclear",
        "p(95)<1s": "holds",
    }
    assert (found.outcome, kinds(found)) == ("NOT PROVEN", ["few"])
    found = verdict(small(good, Block({5_000_000: 1}, 1, 1)))
    assert found.outcome == "DOES NOT HOLD"
    assert found.reasons[0].route == "GET /rare7"


def test_the_timeline_lays_replays_over_the_incident(good: Evidence) -> None:
    points = tuple(Point(100, 1, 100, 0.2, 1.0) for _ in range(60))
    other = tuple(Point(110, 0, 100, 0.4, 1.0) for _ in range(60))
    half = tuple(Point(0, 0, 0, None, 0.0) for _ in range(60))
    timed = replace(good, points=points)
    played = zip(timed.played, (points, other, half), strict=True)
    timed = replace(timed, played=tuple(replace(each, points=run) for each, run in played))
    found = verdict(timed).timeline
    assert found is not None
    assert found.at[:2] == [0.5, 1.5]
    assert (found.incident.rate[0], found.incident.p95[0], found.incident.failed[0]) == (100, 0.2, 0.01)
    assert (found.replay.rate[0], found.replay.failed[0]) == (105, 0.005)
    assert found.baseline is None


def test_false_verdicts_are_rare() -> None:
    """A small version of `python -m tests.benchmarks drill_truth`; seeds are fixed."""
    counts: Counter[tuple[bool, str]] = Counter()
    for late in (0.005, 0.2):
        for noise in NOISES:
            for seed in range(3):
                truth = Truth(late=late, noise=noise, routes=3, rate=60.0)
                counts[truth.works, verdict(drill(truth, seed)).outcome] += 1
    assert not counts[False, "HOLDS"]
    assert not counts[True, "DOES NOT HOLD"]
    assert counts[True, "HOLDS"] >= 4
    assert counts[False, "DOES NOT HOLD"] >= 4


def test_thousands_of_routes_are_judged_in_seconds(good: Evidence) -> None:
    """A scanner's paths, each asked for once or twice: the time-out of every test is the bound."""
    past, played = dict(good.past), []
    for each in good.played:
        latency = dict(each.latency)
        for number in range(1900):
            latency[f"GET{number % 50}", f"/{ascii_letters[number // 50]}"] = (
                Block({1000: 1}, 1, 0),
                *(Block({}, 0, 0),) * 9,
            )
        sent = {name: sum(block.requests for block in found) for name, found in latency.items()}
        played.append(replace(each, latency=latency, service=latency, sent=sent))
    for name in played[0].sent:
        past.setdefault(name, Past(1))
    found = verdict(replace(good, past=past, played=tuple(played)))
    assert len(found.routes) == 1904
