"""Where the peak is found, in courses of many shapes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.sources.peak import Peak, around, described, find

QUIET = [0] * 600


def flat(rate: int = 50, seed: int = 1) -> list[int]:
    """Arrivals as chance brings them, by the normal approximation of Poisson's law."""
    drawn = random.Random(seed)
    return [max(0, round(drawn.gauss(rate, rate**0.5))) for _ in range(600)]


def peak(requests: list[int], failed: list[int] | None = None) -> Peak:
    found = find(requests, failed or QUIET, 3)
    assert found is not None
    return found


def test_a_burst_of_requests() -> None:
    requests = flat()
    requests[300:320] = [200] * 20
    found = peak(requests)
    assert 300 <= found.at < 310
    assert found.clear


def test_a_slow_rise_and_fall() -> None:
    requests = [50 + max(0, 150 - abs(number - 400)) for number in range(600)]
    assert 370 <= peak(requests).at <= 400


def test_errors_at_an_even_rate() -> None:
    requests, failed = flat(), [0] * 600
    failed[450:460] = [25] * 10
    found = peak(requests, failed)
    assert 447 <= found.at < 457
    assert found.clear


def test_errors_weigh_more_than_a_rush_that_went_well() -> None:
    requests, failed = flat(), [0] * 600
    requests[100:130] = [150] * 30
    failed[400:430] = [40] * 30
    assert 397 <= peak(requests, failed).at < 410


def test_a_rush_weighs_more_than_a_few_errors() -> None:
    requests, failed = flat(), [0] * 600
    requests[100:130] = [250] * 30
    failed[400:430] = [5] * 30
    assert 97 <= peak(requests, failed).at < 110


def test_errors_that_come_with_the_rate_do_not_hide_it() -> None:
    requests = flat()
    requests[100:130] = [150] * 30
    assert 97 <= peak(requests, [count // 10 for count in requests]).at < 110


def test_of_a_long_outage_it_is_the_beginning() -> None:
    requests, failed = flat(), [0] * 600
    failed[200:500] = requests[200:500]
    assert 197 <= peak(requests, failed).at < 210


def test_of_a_long_outage_that_gets_a_little_worse_it_is_the_beginning() -> None:
    requests, failed = [100_000] * 600, [0] * 600
    failed[200:500] = [95_000 + 10 * number for number in range(300)]
    assert 197 <= peak(requests, failed).at < 210


@pytest.mark.parametrize("seed", range(5))
def test_of_a_long_outage_with_few_users_chance_does_not_say_where(seed: int) -> None:
    requests, failed = flat(3, seed), [0] * 600
    failed[200:500] = requests[200:500]
    assert 195 <= peak(requests, failed).at < 225


def test_a_few_errors_are_found_where_they_are() -> None:
    requests, failed = [1] * 600, [0] * 600
    requests[300] = failed[300] = 6
    assert 297 <= peak(requests, failed).at <= 303


def test_a_site_that_goes_down_and_is_seen_no_more() -> None:
    requests, failed = flat(), [0] * 600
    failed[300:306] = requests[300:306]
    requests[306:500] = [0] * 194
    assert 297 <= peak(requests, failed).at < 306


@pytest.mark.parametrize("left", [2, 5, 10])
def test_an_outage_in_which_hardly_a_request_gets_through(left: int) -> None:
    requests, failed = flat(), [0] * 600
    requests[300:400] = failed[300:400] = [left] * 100
    found = peak(requests, failed)
    assert 297 <= found.at < 306
    assert found.clear


def test_an_outage_by_night_weighs_more_than_a_rush_by_day() -> None:
    requests, failed = flat(), [0] * 600
    requests[:200] = [180] * 200
    requests[400:] = [20] * 200
    failed[450:500] = [16] * 50
    found = peak(requests, failed)
    assert 447 <= found.at < 460
    assert found.failed > found.requests / 2, "what is told is of that moment"


@pytest.mark.parametrize("end", [400, 600])
def test_a_site_that_falls_silent(end: int) -> None:
    requests = flat()
    requests[300:end] = [0] * (end - 300)
    found = peak(requests)
    assert (found.at, found.silent, found.clear) == (299, end - 300, False)
    assert f"no request came for {(end - 300) * 10:,} s after" in described(found, 0, 70.0, 10.0)


def test_few_users_are_silent_by_chance() -> None:
    requests = flat(1)
    requests[300:304] = [0] * 4
    assert not peak(requests).silent


@pytest.mark.parametrize("place", [0, 594])
def test_at_the_very_ends(place: int) -> None:
    requests = flat()
    requests[place : place + 6] = [300] * 6
    assert abs(peak(requests).at - place) <= 6


def test_a_single_failure_by_night_is_no_outage() -> None:
    requests = [0] * 300 + [50] * 300
    requests[100], failed = 1, [0] * 600
    failed[100] = 1
    assert peak(requests, failed).at >= 297


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [1, 50, 5000])
def test_what_is_even_has_no_clear_peak(rate: int, seed: int) -> None:
    assert not peak(flat(rate, seed)).clear


def test_nothing_has_no_peak() -> None:
    assert find([0, 0, 0], [0, 0, 0], 3) is None
    assert find([], [], 3) is None


def test_one_interval_is_its_own_peak() -> None:
    assert peak([7], [3]) == Peak(at=0, requests=7, failed=3, usual=7, usual_failed=3, clear=False)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=80), st.integers(0, 9))
def test_it_is_always_where_something_is(pairs: list[tuple[int, int]], reach: int) -> None:
    requests = [max(pair) for pair in pairs]
    failed = [min(pair) for pair in pairs]
    found = find(requests, failed, reach)
    assert (found is None) == (not any(requests))
    if found is not None:
        assert requests[found.at]
        assert found.failed <= found.requests <= sum(requests)


@given(st.integers(0, 1000), st.integers(1, 2000), st.integers(0, 500), st.integers(501, 1000))
def test_the_time_around_it_lies_within(at: int, length: int, first: int, end: int) -> None:
    begin, until = around(at, length, first, end)
    assert first <= begin < until <= end
    assert until - begin == min(length, end - first)
