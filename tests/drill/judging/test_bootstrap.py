"""Bounds of a share: they hold what they promise, and never promise more than the data carries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from drill.judging.bootstrap import TAIL, bounds, exact, mean_bounds, needed, weights, worse_than

Floats = NDArray[np.float64]

SHAPE = (10, 10, 10)


def column(values: list[int]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


def test_the_bounds_miss_the_true_share_as_seldom_as_they_say() -> None:
    """At a true share, what is below the lower end or above the upper one is a mistake: at most 0.5% on either side.

    Of 400 samples more than 8 mistakes would come once in a thousand times if each were 0.5%; the seed is fixed.
    """
    random = np.random.default_rng(1)
    above = below = 0
    for _ in range(400):
        shares = random.beta(0.05 * 19, 0.95 * 19, 30)  # intervals differ: the correlation within one is 0.05
        bad = random.binomial(100, shares).astype(np.float64)[:, None]
        found = bounds(bad, np.full(30, 100.0), SHAPE)
        above += found.low[0] > 0.05
        below += found.high[0] < 0.05
    assert above <= 8
    assert below <= 8


def test_trouble_in_spells_makes_bounds_wider_than_the_same_trouble_spread_out() -> None:
    size = np.full(30, 100.0)
    spread = bounds(column([5] * 30), size, SHAPE)
    spells = bounds(column([50] * 3 + [0] * 27), size, SHAPE)
    assert spread.share == spells.share == pytest.approx(0.05)
    assert spells.high[0] > 2 * spread.high[0]
    assert spells.low[0] < spread.low[0]


def test_none_seen_is_not_none_there() -> None:
    """The upper end is Clopper and Pearson's: of n requests without one bad, 1 - 0.005^(1/n)."""
    found = bounds(column([0] * 30), np.full(30, 10.0), SHAPE)
    assert found.low[0] == 0
    assert found.high[0] >= 1 - TAIL ** (1 / 300) - 1e-12


@given(st.integers(0, 400), st.integers(1, 400))
def test_exact_bounds_are_scipys(bad: int, size: int) -> None:
    bad = min(bad, size)
    low, high = exact(np.array([float(bad)]), float(size))
    theirs = stats.binomtest(bad, size).proportion_ci(1 - 2 * TAIL, method="exact")
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=30, max_size=30))
def test_the_share_lies_between_its_bounds_and_these_within_0_and_1(blocks: list[tuple[int, int]]) -> None:
    bad = column([min(pair) for pair in blocks])
    size = np.array([float(max(pair)) for pair in blocks])
    found = bounds(bad, size, SHAPE)
    assert np.isfinite([found.low, found.high]).all()
    assert 0 <= found.low[0] <= found.share[0] <= found.high[0] <= 1


def test_of_fewer_than_five_intervals_nothing_is_said() -> None:
    size = np.array([100.0] * 4 + [0.0] * 26)
    found = bounds(column([0] * 30), size, SHAPE)
    assert (found.low[0], found.high[0], found.freedom) == (0, 1, 0)
    assert mean_bounds(size, size, SHAPE) is None


def test_a_draw_takes_whole_replays_and_as_many_intervals_of_each() -> None:
    drawn = weights((10, 5))
    assert (drawn.sum(axis=1) >= 10).all()
    first = drawn[:, :10].sum(axis=1)
    assert set(first) == {0, 10, 20}
    assert (drawn[:, 10:].sum(axis=1) == (2 - first / 10) * 5).all()
    assert (weights((10, 5)) == drawn).all()


def test_one_replay_that_differs_from_the_others_makes_bounds_wider() -> None:
    size = np.full(30, 100.0)
    alike = bounds(column([4, 6] * 15), size, SHAPE)
    apart = bounds(column([1] * 10 + [4] * 10 + [10] * 10), size, SHAPE)
    assert apart.high[0] > alike.high[0] * 1.3


def test_the_mean_lies_within_its_bounds_which_narrow_with_more_intervals() -> None:
    random = np.random.default_rng(3)

    def width(blocks: int) -> float:
        size = np.full(blocks, 50.0)
        found = mean_bounds(random.normal(50, 5, blocks), size, (blocks,))
        assert found is not None
        value, low, high = found
        assert low < value < high
        assert value == pytest.approx(1, rel=0.1)
        return high - low

    assert width(160) < width(10) / 2


def test_needed_is_the_smallest_number_that_proves_it() -> None:
    for allowed in (0.01, 0.05, 0.5):
        enough = needed(allowed)
        assert exact(np.array([0.0]), float(enough))[1][0] <= allowed
        assert exact(np.array([0.0]), float(enough - 1))[1][0] > allowed
    assert needed(0.0) == needed(1.0) == 0


def test_worse_is_a_one_sided_t_test() -> None:
    found = bounds(column([8, 12] * 15), np.full(30, 100.0), SHAPE)
    assert worse_than(found, 0, 0.2) == 1.0
    assert worse_than(found, 0, 0.099) > 0.3
    assert worse_than(found, 0, 0.05) < 1e-4
