"""Who sends without grants is noticed; who sends what was granted, however late, never is."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from addons.controlport.overrun import LATE_NS, SOME, WINDOW_NS, Overrun
from rules.experience import SECOND_NS

STEP = SECOND_NS // 2
"""How often the control port looks."""

steps = st.lists(st.integers(0, 400), min_size=1, max_size=60)


@given(steps, st.integers(0, LATE_NS // STEP))
def test_what_was_granted_may_come_late(grants: list[int], late: int) -> None:
    overrun, granted = Overrun(), [0, *accumulate(grants)]
    for at in range(len(granted)):
        arrived = granted[at - late] if at >= late else 0
        assert overrun.look(at * STEP, granted[at], arrived) == ""


@given(steps, steps)
def test_nothing_is_noticed_of_a_few_that_somebody_tries(grants: list[int], tries: list[int]) -> None:
    overrun, granted, tried = Overrun(), 0, 0
    overrun.begin(-STEP, 0, 0)
    for at, (more, few) in enumerate(zip(grants, tries, strict=False)):
        granted += more
        tried = min(tried + few, SOME)
        assert overrun.look(at * STEP, granted, granted + tried) == ""


@given(st.integers(0, 100), st.integers(0, 40))
def test_twice_of_what_is_granted_is_noticed_within_seconds(per_step: int, lead: int) -> None:
    """Somebody sends what was granted, and somebody else as much again, and a little more."""
    overrun, noticed = Overrun(), None
    for at in range(lead + 40):
        arrived = per_step * at + max(0, at - lead) * (per_step + 5)
        if noticed is None and overrun.look(at * STEP, per_step * at, arrived):
            noticed = at
    assert noticed is not None
    assert noticed - lead <= (WINDOW_NS + LATE_NS) // STEP


def test_it_is_told_what_came_and_what_was_granted() -> None:
    overrun = Overrun()
    assert overrun.look(0, 100, 100) == ""
    told = overrun.look(SECOND_NS, 110, 100 + 10 + 30)
    assert told.startswith("40 synthetic requests came in 1.0 s and 10 were granted: somebody sends without grants")


def test_after_a_reset_what_came_before_counts_no_more() -> None:
    overrun = Overrun()
    overrun.look(0, 0, 0)
    assert overrun.look(STEP, 0, 500)
    overrun.begin(2 * STEP, 0, 510)
    assert overrun.look(3 * STEP, 0, 510 + SOME) == ""
    assert overrun.look(4 * STEP, 0, 511 + SOME)
