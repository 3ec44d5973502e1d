"""The cells of times."""

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from rules.latency import CELLS, LONGEST, UNIT, index, longest, place, value


@given(st.integers(0, 2 * LONGEST))
def test_the_histogram_cells_are_those_of_the_library(steps: int) -> None:
    """Two significant digits: a cell's least value is at most one part in 128 below what went into it."""
    at = index(steps)
    assert 0 <= at < CELLS
    assert value(at) <= min(steps, LONGEST) <= value(at) * (1 + 1 / 128)
    assert index(value(at)) == at
    library = HdrHistogram(1, LONGEST, 2)
    assert library.counts_len == CELLS
    if steps:
        assert library.get_lowest_equivalent_value(min(steps, LONGEST)) == value(at)
        assert library.get_highest_equivalent_value(min(steps, LONGEST)) * UNIT == pytest.approx(longest(at))


@given(st.floats(0, 1e6))
def test_a_time_is_told_as_never_shorter_than_it_was_and_at_most_a_128th_longer(seconds: float) -> None:
    told = longest(place(seconds))
    counted = min(max(seconds, UNIT), LONGEST * UNIT)
    assert counted - UNIT / 2 - 1e-9 <= told <= (counted + UNIT / 2) * (1 + 1 / 128) + 1e-9
