"""The incident's own figures: those of its records, or those that its source tells."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.judging.evidence import BLOCKS, POINTS, Past, Told, interval_of, settled
from drill.judging.figures import known, overall, past
from drill.story import RouteFigures, Story
from tests.support.recording import START_NS, record
from tests.support.simulated import Truth, drill


def story(seconds: float = 100.0, **more: object) -> Story:
    plain = {"source": "capture", "told": "", "begin_ns": START_NS, "end_ns": START_NS + round(seconds * 1e9)}
    return Story.model_validate({**plain, "times": "kept", "outcomes": "records", **more})


def test_figures_are_those_of_the_records() -> None:
    records = [record(n / 10, f"/product/{n}", duration_ns=(n + 1) * 1_000_000) for n in range(500)]
    records += [record(60 + n / 10, "/buy", "POST", status=503 if n % 4 == 0 else 200) for n in range(100)]
    found, points = past(story(), records)
    told = known(found["GET", "/product/{id}"], story(), 600)
    assert (told.count, told.rate, told.failed) == (500, 5.0, 0.0)
    assert told.share == pytest.approx(5 / 6)
    assert told.p50 == pytest.approx(0.25, rel=0.002)
    assert told.p95 == pytest.approx(0.475, rel=0.002)
    buy = known(found["POST", "/buy"], story(), 600)
    assert (buy.count, buy.failed) == (100, 0.25)
    whole = overall(found, story())
    assert (whole.count, whole.rate) == (600, 6.0)
    assert whole.failed == pytest.approx(25 / 600)
    assert sum(point.requests for point in points) == 600
    assert [sum(block.requests for block in found["POST", "/buy"].blocks[place:]) for place in (6, 7)] == [100, 0]


def test_an_incident_of_one_request_is_one_request_in_a_second() -> None:
    told = story(1e-9)
    found, _ = past(told, [record()])
    assert known(found["GET", "/"], told, 1).rate == 1.0


def test_what_nobody_knows_is_no_failure_and_no_time() -> None:
    tapped = [record(n, status=0, duration_ns=0, ttfb_ns=-1) for n in range(50)]
    logged = [record(50 + n, duration_ns=0) for n in range(50)]
    found, points = past(story(), [*tapped, *logged])
    told = known(found["GET", "/"], story(), 100)
    assert (told.count, told.failed, told.p50, told.mean) == (100, 0.0, None, None)
    assert found["GET", "/"].time is None
    assert points[0].done == 0
    silent = known(past(story(), tapped)[0]["GET", "/"], story(), 50)
    assert silent.failed is None


def test_a_request_without_an_answer_failed_and_its_time_is_none_of_an_answer() -> None:
    found, _ = past(story(), [record(1, status=0, duration_ns=30_000_000_000, ttfb_ns=-1), record(2)])
    told = known(found["GET", "/"], story(), 2)
    assert (told.failed, told.p99) == (0.5, 0.002)


def test_what_a_source_tells_of_routes_is_taken_from_it() -> None:
    routes = (
        RouteFigures(method="GET", template="/", count=90, failed=0.1, mean=2.0, quantiles={"p50": 1.0, "p96": 9.0}),
        RouteFigures(method="GET", template="/gone", count=10, mean=1.0),
    )
    told = story(outcomes="routes", routes=routes, statuses={"2XX": 80, "5XX": 20})
    drawn = [record(n, status=0, duration_ns=0, ttfb_ns=-1) for n in range(90)]
    found, _ = past(told, drawn)
    home = known(found["GET", "/"], told, 90)
    assert (home.p50, home.p95, home.quantiles, home.failed) == (1.0, None, {"p96": 9.0}, 0.1)
    assert found["GET", "/gone"].count == 0
    assert overall(found, told).failed == 0.2
    assert overall(found, told).mean == 2.0


@given(st.lists(st.floats(0, 99.999), min_size=1, max_size=200), st.sampled_from([7.0, 100.0, 4000.0]))
def test_every_request_is_counted_once_over_time_and_by_route(ats: list[float], seconds: float) -> None:
    ats = sorted(at / 100 * seconds for at in ats)
    found, points = past(story(seconds), [record(at, f"/p{n % 3}") for n, at in enumerate(ats)])
    assert sum(each.count for each in found.values()) == sum(point.requests for point in points) == len(ats)
    assert sum(block.requests for each in found.values() for block in each.blocks) == len(ats)
    assert all(len(each.blocks) == BLOCKS for each in found.values())


@given(st.floats(0.5, 1e6))
def test_a_timeline_has_about_ninety_points_at_most(seconds: float) -> None:
    assert seconds / interval_of(seconds) <= POINTS + 1


def test_routes_that_differ_by_words_for_things_are_one_in_both_drills() -> None:
    """Each drill by itself has too few of them to show it."""
    words = [f"how-to-bake-{n}" for n in range(40)]
    one, other = drill(Truth(), 1), drill(Truth(), 2)
    first = {("GET", f"/blog/{word}"): Past(1, told=Told(mean=1.0)) for word in words[:20]}
    second = {("GET", f"/blog/{word}"): Past(1) for word in words[20:]}
    assert len(settled(one)[0].past) == 10

    a, b = settled(replace(one, past=first), replace(other, past=second))
    assert {name[1]: each.count for name, each in a.past.items()} == {"/blog/{slug}": 20}
    assert {name[1]: each.count for name, each in b.past.items()} == {"/blog/{slug}": 20}
