"""Which request is the n-th: each route has its number in each stage, and comes evenly."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.exchange.schedule import LARGEST, example, routed, scaled, share, stages, step
from rules.units import MILLION, Factor

tables = st.lists(st.dictionaries(st.integers(0, 9), st.integers(0, 60), max_size=6), min_size=1, max_size=8)


@given(tables)
def test_each_route_has_its_number_in_each_stage_and_each_of_its_requests_comes_once(
    table: list[dict[int, int]],
) -> None:
    laid_out = stages(table)
    first = 0
    seen: dict[int, list[int]] = {}
    for stage, row in zip(laid_out, table, strict=True):
        assert stage.first == first
        first += stage.requests
        found: Counter[int] = Counter()
        for place in range(stage.requests):
            route, which = routed(stage, place)
            found[route] += 1
            seen.setdefault(route, []).append(which)
        assert found == Counter({route: count for route, count in row.items() if count})
    for numbers in seen.values():
        assert sorted(numbers) == list(range(len(numbers)))


@given(st.integers(1, 10_000))
def test_a_step_comes_by_each_place_once(length: int) -> None:
    assert math.gcd(step(length), length) == 1
    assert 0 < step(length) <= length


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_examples_have_their_weights(weights: list[int]) -> None:
    total = sum(weights)
    shared = share(weights, total)
    assert Counter(example(shared, number) for number in range(total)) == Counter(dict(enumerate(weights)))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 3000))
def test_amplified_they_have_about_their_weights(weights: list[int], requests: int) -> None:
    shared = share(weights, requests)
    found = Counter(example(shared, number) for number in range(requests))
    for number, weight in enumerate(weights):
        assert found[number] == pytest.approx(requests * weight / sum(weights), abs=1.001)


@given(st.integers(300, 5000))
def test_routes_come_evenly_within_a_stage(length: int) -> None:
    counts = {0: length * 7 // 10, 1: length // 5, 2: length // 10}
    (stage,) = stages([counts])
    for begin in range(0, stage.requests - 100, 100):
        found = Counter(routed(stage, place)[0] for place in range(begin, begin + 100))
        assert found == {0: pytest.approx(70, abs=4), 1: pytest.approx(20, abs=4), 2: pytest.approx(10, abs=4)}


@given(tables, st.integers(1, 5 * MILLION))
def test_amplified_no_route_is_ever_off_by_a_whole_request(table: list[dict[int, int]], millionths: int) -> None:
    made = scaled(table, Factor(millionths))
    for route in range(10):
        wanted, found = 0.0, 0
        for row, more in zip(table, made, strict=True):
            wanted += row.get(route, 0) * millionths / MILLION
            found += more.get(route, 0)
            assert abs(found - wanted) < 1.00001


def test_amplified_the_sum_of_many_rare_routes_is_right_at_each_moment() -> None:
    """A thousand routes with one request each in ten stages: at 1.3x, 1,300 and not 1,000 or 2,000."""
    made = scaled([dict.fromkeys(range(1000), 1) for _ in range(10)], Factor.parse("1.3x"))
    assert [sum(row.values()) for row in made] == [pytest.approx(1300, abs=10)] * 10


def test_what_no_script_could_tell_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="more than a script can tell apart"):
        stages([{0: LARGEST + 1}])
