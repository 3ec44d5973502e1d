"""What is told of an incident, against what is in it."""

import pytest

from captures.moments import iso
from captures.records import Record
from drill.outline import outline
from drill.story import RouteFigures, Story
from tests.captures.making import MS, NOON, record

SECOND = 10**9


def story(**more: object) -> Story:
    plain = {"source": "capture", "told": "a capture", "begin_ns": NOON, "end_ns": NOON + 100 * SECOND}
    return Story.model_validate({**plain, "times": "kept", "outcomes": "records", **more})


def traffic() -> list[Record]:
    """One a second; in one second ten more, of which every second one fails."""
    steady = [record(NOON + number * SECOND, path=f"/item/{number}", duration_ns=20 * MS) for number in range(100)]
    burst = [
        record(NOON + 50 * SECOND + number, path="/cart", status=200 if number % 2 else 503, duration_ns=500 * MS)
        for number in range(10)
    ]
    return sorted([*steady, *burst])


def test_the_figures_are_those_of_the_records() -> None:
    found = outline(story(), traffic())
    assert (found.requests, found.per_second, found.seconds) == (110, 1.1, 100)
    assert (found.peak.at, found.peak.per_second, found.peak.seconds) == (iso(NOON + 50 * SECOND), 11, 1)
    assert found.statuses == {"2XX": 105, "5XX": 5}
    assert found.failed == 5 / 110
    assert [(one.path, one.count, one.failed) for one in found.routes] == [("/item/{id}", 100, 0), ("/cart", 10, 0.5)]
    assert found.latency is not None
    assert found.latency.p50 == pytest.approx(0.02, rel=0.01)
    assert sum(found.picture.requests) == 110
    assert found.picture.failed is not None
    assert sum(found.picture.failed) == 5


def test_what_is_known_by_route_only_is_from_the_story() -> None:
    unknown = [one._replace(status=0, ttfb_ns=-1, duration_ns=0) for one in traffic()]
    known = RouteFigures(method="GET", template="/cart", count=10, failed=0.5, mean=0.25)
    found = outline(story(outcomes="routes", routes=[known], statuses={"2XX": 99, "5XX": 1}), unknown)
    assert {one.path: (one.mean, one.failed) for one in found.routes} == {
        "/item/{id}": (None, None),
        "/cart": (0.25, 0.5),
    }
    assert (found.failed, found.latency, found.picture.failed) == (0.01, None, None)


def test_what_nobody_knows_is_not_made_up() -> None:
    unknown = [one._replace(status=0, ttfb_ns=-1, duration_ns=0) for one in traffic()]
    found = outline(story(outcomes="none"), unknown)
    assert (found.failed, found.latency, found.statuses, found.picture.failed) == (None, None, {}, None)
    untimed = outline(story(), [one._replace(duration_ns=0) for one in traffic()])
    assert untimed.latency is None
    assert {one.mean for one in untimed.routes} == {None}


def test_a_moment_is_an_incident_too() -> None:
    found = outline(story(end_ns=NOON + 1), [record(NOON)])
    assert (found.requests, found.picture.requests) == (1, [1])
