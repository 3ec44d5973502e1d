"""A clock that is set is noticed, one that is steered is not."""

from hypothesis import given
from hypothesis import strategies as st

from rules.clocks import BOUND, Steps

SECOND_NS = 1_000_000_000


@given(st.lists(st.integers(0, 100 * SECOND_NS)), st.floats(-5e-4, 5e-4), st.floats(0, 4e9))
def test_a_clock_that_is_steered_was_not_set(pauses: list[int], rate: float, began: float) -> None:
    steps, wall, now_ns = Steps(began, 0), began, 0
    for pause in pauses:
        now_ns += pause
        wall += pause / SECOND_NS * (1 + rate)
        assert steps.look(wall, now_ns) == 0


@given(st.floats(BOUND + 0.01, 1e9) | st.floats(-1e9, -BOUND - 0.01), st.integers(0, 10 * SECOND_NS))
def test_a_clock_that_is_set_is_told_of_once(by: float, later_ns: int) -> None:
    steps = Steps(1.7e9, 5)
    found = steps.look(1.7e9 + by + later_ns / SECOND_NS, 5 + later_ns)
    assert abs(found - by) < 1e-3
    assert steps.look(1.7e9 + by + later_ns / SECOND_NS, 5 + later_ns) == 0
