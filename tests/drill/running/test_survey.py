"""Which part of an incident is the heaviest."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from drill.running.survey import Survey
from drill.story import RouteFigures, Story
from replayer.requests.encoding import Encoder, Request
from tests.captures.making import MS, NOON, record

SECOND = 1_000_000_000


def surveyed(records: Iterator[Record] | list[Record], step: float) -> tuple[Survey, Encoder]:
    encoder = Encoder("20261121-120000-abcd", ("GET", "HEAD"), "shop.example")
    found = Survey(step)
    for one in records:
        request = encoder.encode(one)
        assert isinstance(request, Request)
        found.add(one.arrival_ns, request)
    return found, encoder


def story(**more: object) -> Story:
    plain = {"source": "log", "told": "a log", "begin_ns": NOON, "end_ns": NOON + 10**12, "times": "kept"}
    return Story.model_validate({**plain, "outcomes": "records", **more})


def heaviest(found: Survey, encoder: Encoder, told: Story) -> tuple[float, float]:
    begin, end = found.heaviest(found.work(encoder.routes.totals, told))
    return (begin - NOON) / SECOND, (end - NOON) / SECOND


def test_a_minute_of_few_dear_requests_is_heavier_than_one_of_many_cheap_ones() -> None:
    cheap = [record(NOON + n * SECOND // 10, path=f"/look/{n}", duration_ns=MS) for n in range(1200)]
    dear = [record(NOON + (120 + n) * SECOND, path="/search", duration_ns=500 * MS) for n in range(60)]
    found, encoder = surveyed(cheap + dear, 60)
    begin, end = heaviest(found, encoder, story())
    assert end - begin == pytest.approx(60)
    assert 118.5 <= begin <= 120


def test_what_a_request_takes_is_not_what_it_took_in_the_outage() -> None:
    calm = [record(NOON + n * SECOND, path="/look/1", duration_ns=MS) for n in range(40)]
    calm += [record(NOON + n * SECOND, path="/search", duration_ns=100 * MS) for n in range(40)]
    outage = [record(NOON + (100 + n) * SECOND, path="/look/1", duration_ns=30 * SECOND) for n in range(10)]
    found, encoder = surveyed(sorted(calm + outage, key=lambda one: one.arrival_ns), 60)
    routes = [route.template for route in encoder.routes.totals]
    work = found.work(encoder.routes.totals, story())
    assert work[routes.index("/search")] > 50 * work[routes.index("/look/{id}")]


def test_where_only_routes_are_told_of_their_means_count() -> None:
    made = [record(NOON + n * SECOND, path="/a" if n < 100 else "/b", status=0, duration_ns=0) for n in range(200)]
    figures = [
        RouteFigures(method="GET", template="/a", count=100, mean=1.0),
        RouteFigures(method="GET", template="/b", count=100, mean=0.1),
    ]
    found, encoder = surveyed(made, 60)
    begin, _ = heaviest(found, encoder, story(outcomes="routes", routes=figures))
    assert begin <= 40


def test_an_incident_shorter_than_a_step_is_played_whole() -> None:
    found, encoder = surveyed([record(NOON), record(NOON + SECOND)], 60)
    assert heaviest(found, encoder, story()) == (0, 1 + 1e-9)


def test_requests_that_only_read_stand_for_the_routes_that_are_the_most_work() -> None:
    made = [record(NOON + n * MS, path="/a", duration_ns=MS) for n in range(100)]
    made += [record(NOON + SECOND, path="/b", duration_ns=900 * MS), record(NOON + SECOND, method="HEAD", path="/c")]
    found, encoder = surveyed(made, 60)
    totals = encoder.routes.totals
    names = [example.name for example in found.examples(totals, found.work(totals, story()), 3)]
    assert names == ["GET /b", "GET /a"]


@given(st.lists(st.integers(0, 600_000), min_size=1, max_size=300), st.integers(5, 100))
def test_the_heaviest_part_is_nearly_as_heavy_as_any(times: list[int], step: int) -> None:
    made = [record(NOON + at * MS, path="/a") for at in sorted(times)]
    found, encoder = surveyed(made, step)
    begin, end = found.heaviest(found.work(encoder.routes.totals, story()))
    arrivals = [one.arrival_ns for one in made]
    assert arrivals[0] <= begin < end <= max(arrivals[-1] + 1, arrivals[0] + SECOND)

    def within(begin: int, length: float) -> int:
        return sum(begin <= at < begin + length for at in arrivals)

    # Whatever fits into a part that is shorter by three of the steps in which it is looked for is found.
    grain = step * SECOND // 60
    assert within(begin, end - begin) >= max(within(at, step * SECOND - 3 * grain) for at in arrivals)
