"""Arrivals drawn from rates: as many as were counted, as random as a Poisson process, and always the same."""

import math
from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from captures.moments import SECOND
from drill.drawing import arrivals, ordered, places, sloped_place, slopes_of, stream
from drill.sources.rates import Known, Rates, Route

BEGIN = 1_795_262_400 * SECOND
GRAIN = 60 * SECOND


def rates(*counts: tuple[float, ...], known: Known = "grain") -> Rates:
    routes = tuple(Route("GET", "https", "shop.example", f"/{number}", one, known) for number, one in enumerate(counts))
    return Rates(BEGIN, GRAIN, routes)


def drawn(given: Rates, seed: int = 1, *, sloped: bool = False) -> list[tuple[int, int]]:
    return list(arrivals(given, seed, sloped=sloped))


def by_grain(given: Rates, found: list[tuple[int, int]]) -> list[list[int]]:
    counted = Counter((route, (at - BEGIN) // GRAIN) for at, route in found)
    return [[counted[route, grain] for grain in range(given.grains)] for route in range(len(given.routes))]


counts = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 5), min_size=1, max_size=4), st.integers(), st.booleans())
def test_each_grain_has_exactly_the_requests_that_were_counted(
    known: list[tuple[int, ...]], seed: int, sloped: bool
) -> None:
    given = rates(*(tuple(map(float, row)) for row in known))
    found = drawn(given, seed, sloped=sloped)
    assert by_grain(given, found) == [list(row) for row in known]
    assert found == sorted(found)


@given(counts, st.integers())
def test_where_only_the_sum_is_known_it_is_kept(known: list[int], seed: int) -> None:
    given = rates(tuple(map(float, known)), known="sum")
    found = drawn(given, seed)
    assert len(found) == sum(known)
    assert all(known[(at - BEGIN) // GRAIN] for at, _ in found)


@given(counts, st.integers(), st.sampled_from(["grain", "sum", "rate"]), st.booleans())
def test_the_same_seed_gives_the_same_arrivals_and_another_route_changes_none(
    known: list[int], seed: int, how: Known, sloped: bool
) -> None:
    one = tuple(map(float, known))
    alone = drawn(rates(one, known=how), seed, sloped=sloped)
    assert drawn(rates(one, known=how), seed, sloped=sloped) == alone
    beside = drawn(rates(one, (9.0,) * len(one), known=how), seed, sloped=sloped)
    assert [each for each in beside if each[1] == 0] == alone


def test_another_seed_gives_other_arrivals() -> None:
    given = rates((50.0, 50.0))
    assert drawn(given, 1) != drawn(given, 2)


def test_within_a_grain_arrivals_are_uniform() -> None:
    found = [(at - BEGIN) / GRAIN for at, _ in drawn(rates((4000.0,)))]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_gaps_of_a_drawn_process_are_exponential_and_its_counts_poisson() -> None:
    grains, rate = 2000, 5.0
    found = [at for at, _ in drawn(rates((rate,) * grains, known="rate"), 3)]
    gaps = [(after - before) / GRAIN for before, after in pairwise(found)]
    assert stats.kstest(gaps, "expon", args=(0, 1 / rate)).pvalue > 0.01
    counted = Counter((at - BEGIN) // GRAIN for at in found)
    each = [counted[grain] for grain in range(grains)]
    mean = sum(each) / grains
    spread = sum((one - mean) ** 2 for one in each) / grains
    assert mean == pytest.approx(rate, rel=0.05)
    assert spread == pytest.approx(rate, rel=0.12)


def test_the_rate_of_a_drawn_process_follows_the_counts() -> None:
    shape = (100.0, 0.0, 900.0, 300.0)
    found = by_grain(rates(shape), drawn(rates(shape, known="rate"), 5))[0]
    assert found[1] == 0
    for count, expected in zip(found, shape, strict=True):
        assert abs(count - expected) <= 4 * math.sqrt(expected)


def test_order_statistics_are_those_of_uniform_draws() -> None:
    """The k-th of n has the distribution Beta(k, n + 1 - k)."""
    smallest, seventh = [], []
    for seed in range(800):
        row = list(ordered(10, stream(seed, rates((1.0,)).routes[0], "times")))
        smallest.append(row[0])
        seventh.append(row[6])
    assert stats.kstest(smallest, "beta", args=(1, 10)).pvalue > 0.01
    assert stats.kstest(seventh, "beta", args=(7, 4)).pvalue > 0.01


@given(st.floats(-1, 1), st.floats(0, 1, exclude_max=True))
def test_a_slope_moves_arrivals_within_their_grain_and_keeps_their_order(slope: float, place: float) -> None:
    moved = sloped_place(place, slope)
    assert 0 <= moved <= 1
    assert moved + slope / 2 * (moved * moved - moved) == pytest.approx(place, abs=1e-9)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_slopes_never_make_a_rate_negative_and_never_go_beyond_the_neighbours(known: list[float]) -> None:
    for grain, slope in enumerate(slopes_of(known)):
        assert -1 <= slope <= 1
        for end, neighbour in ((-1, grain - 1), (1, grain + 1)):
            if slope and 0 <= neighbour < len(known):
                # In the middle of the grains the rates differ by so much, so half of that at their border.
                reached = known[grain] * (1 + end * slope / 2)
                low, high = sorted((known[grain], known[neighbour]))
                assert low * (1 - 1e-9) - 1e-9 <= reached <= high * (1 + 1e-9) + 1e-9


def test_a_rising_rate_rises_within_its_grain() -> None:
    found = drawn(rates((1000.0, 2000.0, 3000.0)), 1, sloped=True)
    second = [at for at, _ in found if (at - BEGIN) // GRAIN == 1]
    late = sum((at - BEGIN) % GRAIN >= GRAIN // 2 for at in second)
    assert late / len(second) == pytest.approx(0.5625, abs=0.04)  # from 1500 to 2500, of which 2000 to 2500 is late


def test_a_huge_count_takes_no_memory_before_it_is_drawn() -> None:
    endless = arrivals(rates((1e15, 1e15)), 1)
    assert len(list(islice(endless, 1000))) == 1000
    assert len(list(islice(places([1e300], "rate", stream(1, rates((1.0,)).routes[0], "x")), 10))) == 10
