"""Amplification keeps the time axis, is deterministic, and multiplies by just the factor."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer import amplification
from replayer.amplification import NEIGHBOURS, PATIENCE
from replayer.stages import Loudness
from rules.units import MILLION, Factor

times = st.lists(st.integers(0, 10**12), max_size=120).map(sorted)
factors = st.integers(1, 6 * MILLION).map(Factor)
seeds = st.integers(0, 2**32)


def amplify[T](given_arrivals: Iterable[tuple[int, T]], factor: Factor, seed: int) -> Iterator[tuple[int, T]]:
    return (item for item in amplification.amplify(given_arrivals, Loudness.steady(factor), seed) if item is not None)


def squeeze[T](given_arrivals: Iterable[tuple[int, T]], factor: Factor, start: int) -> Iterator[tuple[int, T]]:
    return (item for item in amplification.squeeze(given_arrivals, factor, start) if item is not None)


def arrivals(at: list[int]) -> list[tuple[int, int]]:
    return [(moment, number) for number, moment in enumerate(at)]


@given(times, factors, seeds)
def test_sorted_and_the_same_for_the_same_seed(at: list[int], factor: Factor, seed: int) -> None:
    once = list(amplify(arrivals(at), factor, seed))
    assert all(left[0] <= right[0] for left, right in pairwise(once))
    assert once == list(amplify(iter(arrivals(at)), factor, seed))


@given(times, st.integers(MILLION, 6 * MILLION).map(Factor), seeds)
def test_every_original_stays_at_its_instant_and_appears_floor_or_ceiling_times(
    at: list[int], factor: Factor, seed: int
) -> None:
    copies: dict[int, list[int]] = {}
    for moment, number in amplify(arrivals(at), factor, seed):
        copies.setdefault(number, []).append(moment)
    assert sorted(copies) == list(range(len(at)))
    for number, moments in copies.items():
        assert at[number] in moments
        assert math.floor(factor / MILLION) <= len(moments) <= math.ceil(factor / MILLION)


@given(times, st.integers(MILLION, 6 * MILLION).map(Factor), seeds)
def test_added_ones_fall_among_their_neighbours(at: list[int], factor: Factor, seed: int) -> None:
    for moment, number in amplify(arrivals(at), factor, seed):
        low, high = max(0, number - NEIGHBOURS), min(len(at) - 1, number + NEIGHBOURS)
        assert at[low] <= moment <= at[high]


@given(times, st.integers(1, MILLION - 1).map(Factor), seeds)
def test_thinning_keeps_some_as_they_are(at: list[int], factor: Factor, seed: int) -> None:
    kept = list(amplify(arrivals(at), factor, seed))
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(arrivals(at))


@given(times, seeds)
def test_once_is_once(at: list[int], seed: int) -> None:
    assert list(amplify(arrivals(at), Factor(MILLION), seed)) == arrivals(at)


@pytest.mark.parametrize("factor", ["0.01x", "0.7x", "1.01x", "1.25x", "2x", "2.5x", "7.75x"])
def test_the_count_is_the_factor_in_expectation(factor: str) -> None:
    wanted = Factor.parse(factor)
    at = arrivals([i * 1000 for i in range(20_000)])
    count = sum(1 for _ in amplify(at, wanted, seed=5))
    fraction = wanted % MILLION / MILLION
    deviation = math.sqrt(len(at) * fraction * (1 - fraction))  # of a binomial count
    assert abs(count - len(at) * wanted / MILLION) <= 4 * deviation
    if not fraction:
        assert count == len(at) * wanted // MILLION


def test_bursts_stay_bursts_and_pauses_stay_pauses() -> None:
    """Ten bursts of 1,000 in 100 ms with 10 s between them: squeezed, the pauses would be shorter."""
    at = [burst * 10**10 + i * 10**5 for burst in range(10) for i in range(1000)]
    inside = outside = 0
    for moment, _ in amplify(arrivals(at), Factor.parse("2x"), seed=1):
        if moment % 10**10 <= 1000 * 10**5:
            inside += 1
        else:
            outside += 1
    assert inside + outside == 20_000
    assert outside < 40  # at most about one added request for each of the nine pauses is to be expected


def test_memory_is_bounded_by_the_neighbourhood() -> None:
    read = 0

    def endless() -> Iterator[tuple[int, int]]:
        nonlocal read
        while True:
            yield read * 1000, read
            read += 1

    louder = amplify(endless(), Factor.parse("1.5x"), seed=1)
    for _ in range(1000):
        next(louder)
    assert read < 1000 + 3 * NEIGHBOURS


@given(times.filter(bool), factors)
def test_squeezing_divides_time(at: list[int], factor: Factor) -> None:
    start = at[0]
    squeezed = list(squeeze(arrivals(at), factor, start))
    assert [item for _, item in squeezed] == list(range(len(at)))
    assert [moment for moment, _ in squeezed] == [start + (t - start) * MILLION // factor for t in at]


@given(times, factors, seeds, st.integers(1, 5))
def test_what_is_not_at_hand_yet_changes_nothing_but_is_passed_on(
    at: list[int], factor: Factor, seed: int, every: int
) -> None:
    halting: list[tuple[int, int] | None] = []
    for number, arrival in enumerate(arrivals(at)):
        halting += [arrival] if number % every else [None, arrival]
    found = list(amplification.amplify(halting, Loudness.steady(factor), seed))
    assert [item for item in found if item] == list(amplify(arrivals(at), factor, seed))
    assert found.count(None) >= halting.count(None)
    assert [item for item in amplification.squeeze(halting, factor, 0) if item] == list(
        squeeze(arrivals(at), factor, 0)
    )


def test_a_small_factor_does_not_keep_its_reader() -> None:
    read = 0

    def counted() -> Iterator[tuple[int, int]]:
        nonlocal read
        for arrival in arrivals(list(range(50_000))):
            read += 1
            yield arrival

    before = 0
    for _ in amplification.amplify(counted(), Loudness.steady(Factor.parse("0.0001x")), seed=1):
        assert read - before <= PATIENCE
        before = read
