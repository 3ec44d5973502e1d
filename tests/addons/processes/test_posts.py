"""When a worker that died is replaced, and who accepts in its place."""

import pytest

from addons.processes.posts import FORGIVEN_AFTER, LONGEST_DELAY, Restarts, cover


def test_the_first_death_is_an_accident_and_the_pauses_then_double_up_to_a_bound() -> None:
    restarts = Restarts()
    delays = [restarts.died(began=now, now=now + 1) for now in range(10)]
    assert delays == [0, 0.25, 0.5, 1, 2, 4, 8, LONGEST_DELAY, LONGEST_DELAY, LONGEST_DELAY]
    assert restarts.count == 10


def test_a_worker_that_ran_well_for_a_while_is_forgiven() -> None:
    restarts = Restarts()
    for now in range(5):
        restarts.died(now, now)
    assert restarts.died(10, 10 + FORGIVEN_AFTER) == 0
    assert restarts.died(100, 101) == 0.25


@pytest.mark.parametrize(
    ("well", "posts"),
    [
        ([True], [{0}]),
        ([False], [{0}]),
        ([True, True], [{0}, {1}]),
        ([False, True], [{0}, {0, 1}]),
        ([False, False], [{0}, {1}]),
        ([False, True, False, True, False], [{0}, {0, 1, 4}, {2}, {2, 3}, {4}]),
    ],
)
def test_what_comes_in_at_a_post_that_is_not_manned_goes_to_the_others(well: list[bool], posts: list[set[int]]) -> None:
    assert cover(well) == posts
