"""Amplification keeps the time axis and the bursts, is deterministic, bounded, and multiplies by just the factor."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.schedule import amplification
from replayer.schedule.amplification import PATIENCE, STRETCH, STRETCH_BYTES
from replayer.schedule.stages import SECOND_NS, Loudness, Stage
from rules.units import MILLION, Duration, Factor
from tests.support.bursts import (
    MS,
    SECOND,
    Path,
    amplified,
    autocorrelation,
    counted,
    dispersion,
    diurnal,
    drawn,
    expected_autocorrelation,
    expected_dispersion,
    in_theory,
    on_off,
    pages,
    steady,
)

times = st.lists(st.integers(0, 10**12), max_size=120).map(sorted)
factors = st.integers(MILLION // 100, 6 * MILLION).map(Factor)
louder = st.integers(MILLION, 6 * MILLION).map(Factor)
seeds = st.integers(0, 2**32)
stretches = st.integers(1, 150)


def amplify[T](
    given_arrivals: Iterable[tuple[int, T] | None], factor: Factor, seed: int, stretch: int = STRETCH
) -> Iterator[tuple[int, T]]:
    found = amplification.amplify(given_arrivals, Loudness.steady(factor), seed, stretch=stretch)
    return (item for item in found if item is not None)


def squeeze[T](given_arrivals: Iterable[tuple[int, T]], factor: Factor, start: int) -> Iterator[tuple[int, T]]:
    return (item for item in amplification.squeeze(given_arrivals, factor, start) if item is not None)


def arrivals(at: list[int]) -> list[tuple[int, int]]:
    return [(moment, number) for number, moment in enumerate(at)]


@given(times, factors, seeds, stretches)
def test_sorted_and_the_same_for_the_same_seed(at: list[int], factor: Factor, seed: int, stretch: int) -> None:
    once = list(amplify(arrivals(at), factor, seed, stretch))
    assert all(left[0] <= right[0] for left, right in pairwise(once))
    assert once == list(amplify(iter(arrivals(at)), factor, seed, stretch))


@given(times, louder, seeds, stretches)
def test_every_original_stays_at_its_instant_and_appears_floor_or_ceiling_times(
    at: list[int], factor: Factor, seed: int, stretch: int
) -> None:
    copies: dict[int, list[int]] = {}
    for moment, number in amplify(arrivals(at), factor, seed, stretch):
        copies.setdefault(number, []).append(moment)
    assert sorted(copies) == list(range(len(at)))
    for number, moments in copies.items():
        assert at[number] in moments
        assert math.floor(factor / MILLION) <= len(moments) <= math.ceil(factor / MILLION)


@given(times, louder, seeds, stretches)
def test_a_copy_stays_within_the_stretch_of_its_original(
    at: list[int], factor: Factor, seed: int, stretch: int
) -> None:
    for moment, number in amplify(arrivals(at), factor, seed, stretch):
        first = number - number % stretch
        assert at[first] <= moment <= at[min(first + stretch, len(at) - 1)]


@given(times, st.integers(MILLION // 100, MILLION - 1).map(Factor), seeds)
def test_thinning_keeps_some_as_they_are(at: list[int], factor: Factor, seed: int) -> None:
    kept = list(amplify(arrivals(at), factor, seed))
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(arrivals(at))


@given(times, seeds)
def test_once_is_once(at: list[int], seed: int) -> None:
    assert list(amplify(arrivals(at), Factor(MILLION), seed)) == arrivals(at)


stages = st.builds(Stage, st.integers(1, 400).map(Duration), factors, factors)


@given(times, st.lists(stages, min_size=1, max_size=4), seeds, stretches)
def test_each_comes_as_often_as_the_stage_says_in_which_it_arrived(
    at: list[int], given_stages: list[Stage], seed: int, stretch: int
) -> None:
    loudness = Loudness(given_stages)
    begin = 5 * SECOND_NS
    found = list(amplification.amplify(arrivals(at), loudness, seed, begin, stretch=stretch))
    copies = Counter(item[1] for item in found if item is not None)
    instants = {(item[0], item[1]) for item in found if item is not None}
    for moment, number in arrivals(at):
        factor = loudness.at(moment - begin)
        assert factor // MILLION <= copies[number] <= -(-factor // MILLION)
        assert not copies[number] or (moment, number) in instants


@pytest.mark.parametrize("factor", ["0.01x", "0.7x", "1.01x", "1.25x", "2x", "2.5x", "7.75x", "33.333333x"])
@pytest.mark.parametrize("seed", [5, 6])
def test_the_count_is_the_factor_in_expectation(factor: str, seed: int) -> None:
    wanted = Factor.parse(factor)
    at = arrivals([i * 1000 for i in range(20_000)])
    count = sum(1 for _ in amplify(at, wanted, seed))
    fraction = wanted % MILLION / MILLION
    deviation = math.sqrt(len(at) * fraction * (1 - fraction))  # of a binomial count
    assert abs(count - len(at) * wanted / MILLION) <= 4 * deviation
    if not fraction:
        assert count == len(at) * wanted // MILLION


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=30).map(sorted), seeds)
def test_a_thousand_times_is_a_thousand_times(at: list[int], seed: int) -> None:
    copies = Counter(number for _, number in amplify(arrivals(at), Factor.parse("1000x"), seed))
    assert copies == dict.fromkeys(range(len(at)), 1000)


def test_bursts_stay_bursts_and_pauses_stay_pauses() -> None:
    """Ten bursts of 1,000 in 100 ms with 10 s between them: squeezed, the pauses would be shorter."""
    at = [burst * 10**10 + i * 10**5 for burst in range(10) for i in range(1000)]
    inside = outside = 0
    for moment, _ in amplify(arrivals(at), Factor.parse("20x"), seed=1):
        if moment % 10**10 <= 1000 * 10**5:
            inside += 1
        else:
            outside += 1
    assert (inside, outside) == (200_000, 0)


# --- as of more users: what chance brought is not amplified, what is more than chance is ---

LONG = 600
"""Seconds of the recordings below."""

TRAFFIC = {
    "steady": drawn(steady(LONG), seed=11),
    "on-off": drawn(on_off(LONG), seed=11),
    "diurnal": drawn(diurnal(LONG), seed=11),
    "pages": pages(LONG, seed=11),
}


@pytest.mark.parametrize("factor", ["0.5x", "1.25x", "5x"])
@pytest.mark.parametrize("traffic", TRAFFIC)
def test_counts_scatter_as_those_of_more_users_would(traffic: str, factor: str) -> None:
    """Index of dispersion and autocorrelation in windows of 10 ms, 100 ms and 1 s, against theory.

    A tenth of tolerance, plus four standard errors of an index of dispersion where it is that of chance.
    """
    at, times_as_many = TRAFFIC[traffic], Factor.parse(factor)
    more = amplified(at, times_as_many, seed=1)
    for width in (10 * MS, 100 * MS, SECOND):
        before, after = (counted(one, width, LONG * SECOND) for one in (at, more))
        error = 4 * math.sqrt(2 / len(before))
        was = dispersion(before)
        expected = expected_dispersion(was, times_as_many / MILLION)
        # The index of what is recorded scatters too, and what it is off, the factor multiplies.
        tolerance = 0.1 * expected + error * max(1.0, times_as_many / MILLION)
        assert abs(dispersion(after) - expected) < tolerance, width
        rho = expected_autocorrelation(autocorrelation(before), was, times_as_many / MILLION)
        assert abs(autocorrelation(after) - rho) < 0.1 + error, width


@pytest.mark.parametrize("path", [steady(LONG), on_off(LONG), diurnal(LONG)])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_theory_is_what_more_users_do(path: Path, factor: float) -> None:
    """The yardstick itself: arrivals drawn along a path against what the path alone says of them."""
    at = drawn(path, seed=17, factor=factor)
    for width in (10 * MS, 100 * MS, SECOND):
        index, rho = in_theory(path, width, LONG * SECOND, factor)
        counts = counted(at, width, LONG * SECOND)
        assert abs(dispersion(counts) / index - 1) < 5 * math.sqrt(2 / len(counts))
        assert abs(autocorrelation(counts) - rho) < 5 / math.sqrt(len(counts))


def test_what_is_wider_than_a_stretch_is_multiplied() -> None:
    """The stated limit: chance over a longer time than is looked at together is not told from a change of rate."""
    at = drawn(steady(2000, rate=20), seed=3)
    for stretch, low, high in ((64, 4.0, 6.5), (STRETCH, 0.8, 1.7)):
        more = [moment for moment, _ in amplify(arrivals(at), Factor.parse("5x"), 1, stretch)]
        assert low < dispersion(counted(more, 5 * SECOND, 2000 * SECOND)) < high


# --- bounds ---


def test_memory_is_bounded_by_two_stretches_whatever_the_factor() -> None:
    for factor in ("1.001x", "1.5x", "1000x"):
        read, emitted = 0, set()

        def endless() -> Iterator[tuple[int, int]]:
            nonlocal read
            while True:
                read += 1
                yield read * 1000, read

        for count, (_, number) in enumerate(islice(amplify(endless(), Factor.parse(factor), 1, 100), 20_000)):
            emitted.add(number)
            assert read - len(emitted) <= 2 * 100 + 2, (factor, count)


def test_large_bodies_end_a_stretch_before_its_time() -> None:
    read = 0

    def endless() -> Iterator[tuple[int, bytes]]:
        nonlocal read
        while True:
            read += 1
            yield read * 1000, b""

    found = amplification.amplify(endless(), Loudness.steady(Factor.parse("2x")), 1, size=lambda _: STRETCH_BYTES // 10)
    given_out = 0
    while given_out < 1000:
        given_out += next(found) is not None
        assert read - given_out // 2 <= 2 * 10 + PATIENCE


@pytest.mark.parametrize("factor", ["0.01x", "1.25x", "3x"])
def test_a_step_is_short(factor: str) -> None:
    """However much is read in between, whoever reads gets his turn."""
    read = before = 0

    def counted_arrivals() -> Iterator[tuple[int, int]]:
        nonlocal read
        for arrival in arrivals(list(range(50_000))):
            read += 1
            yield arrival

    for _ in amplification.amplify(counted_arrivals(), Loudness.steady(Factor.parse(factor)), seed=1):
        assert read - before <= PATIENCE
        before = read
    assert read == 50_000


def test_one_stretch_is_read_as_evenly_as_the_other_is_played() -> None:
    """Otherwise whoever sends would wait for 8,192 records once in a while."""
    read = 0

    def counted_arrivals() -> Iterator[tuple[int, int]]:
        nonlocal read
        for arrival in arrivals([i * 10**6 for i in range(40_000)]):
            read += 1
            yield arrival

    last = steps = 0
    for number, _ in enumerate(amplify(counted_arrivals(), Factor.parse("4x"), 1)):
        if number > 4 * STRETCH:
            steps = max(steps, read - last)
        last = read
    assert steps <= 2


@given(times, factors, seeds, st.integers(1, 5), stretches)
def test_what_is_not_at_hand_yet_changes_nothing_but_is_passed_on(
    at: list[int], factor: Factor, seed: int, every: int, stretch: int
) -> None:
    halting: list[tuple[int, int] | None] = []
    for number, arrival in enumerate(arrivals(at)):
        halting += [arrival] if number % every else [None, arrival]
    found = list(amplification.amplify(halting, Loudness.steady(factor), seed, stretch=stretch))
    assert [item for item in found if item] == list(amplify(arrivals(at), factor, seed, stretch))
    assert found.count(None) >= halting.count(None)
    assert [item for item in amplification.squeeze(halting, factor, 0) if item] == list(
        squeeze(arrivals(at), factor, 0)
    )


@given(times.filter(bool), factors)
def test_squeezing_divides_time(at: list[int], factor: Factor) -> None:
    start = at[0]
    squeezed = list(squeeze(arrivals(at), factor, start))
    assert [item for _, item in squeezed] == list(range(len(at)))
    assert [moment for moment, _ in squeezed] == [start + (t - start) * MILLION // factor for t in at]
