"""What counts as a gap, and what it is put down to."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.gaps import Coverage, Gap, Watch, gaps
from captures.moments import SECOND

MINUTE = 60 * SECOND


def covering(arrivals: list[int], block: int = 100) -> Coverage:
    coverage = Coverage()
    for start in range(0, len(arrivals), block):
        coverage.add(sorted(arrivals[start : start + block]))
    return coverage


def found(arrivals: list[int], *watches: Watch) -> list[Gap]:
    return gaps(covering(arrivals), len(arrivals), max(arrivals) - min(arrivals), watches)


def spans(arrivals: list[int]) -> list[tuple[int, int]]:
    return [(gap.first_ns // SECOND, gap.last_ns // SECOND) for gap in found(arrivals)]


def steady(start: int, end: int, every: float = 0.1) -> list[int]:
    return [round((start + n * every) * SECOND) for n in range(int((end - start) / every) + 1)]


def test_steady_traffic_has_no_gaps() -> None:
    assert spans(steady(0, 600)) == []


def test_a_pause_far_longer_than_usual_is_one() -> None:
    assert spans([*steady(0, 100), *steady(130, 200)]) == [(100, 130)]


def test_what_is_usual_depends_on_the_traffic() -> None:
    """One request a minute: ten minutes of nothing may happen, an hour does not."""
    every_minute = [n * MINUTE for n in range(300)]
    after = every_minute[-1]
    ten = [*every_minute, *(after + 10 * MINUTE + at for at in every_minute)]
    hour = [*every_minute, *(after + 60 * MINUTE + at for at in every_minute)]
    assert spans(ten) == []
    assert spans(hour) == [(after // SECOND, after // SECOND + 3600)]


def test_random_traffic_has_no_gaps() -> None:
    """Requests of independent users, ten seconds apart on average: pauses of a minute and more are no surprise."""
    draw = random.Random(7)
    at, arrivals = 0.0, []
    for _ in range(20_000):
        at += draw.expovariate(1 / 10)
        arrivals.append(round(at * SECOND))
    assert spans(arrivals) == []


def test_a_rhythm_is_no_gap_but_its_failing_is() -> None:
    """A job sends a thousand requests a minute, in one second."""
    bursts = [
        minute * MINUTE + n * SECOND // 1000 for minute in range(60) if minute not in {20, 21, 22} for n in range(1000)
    ]
    assert spans(bursts) == [(19 * 60, 23 * 60)]


@pytest.mark.parametrize("arrivals", [[0], [0, 3600 * SECOND], [5, 5, 5]])
def test_of_few_records_nothing_is_said(arrivals: list[int]) -> None:
    assert spans(arrivals) == []


ARRIVALS = [*steady(0, 100), *steady(130, 200)]


@pytest.mark.parametrize(
    ("watches", "cause"),
    [
        ([Watch(0, 210 * SECOND, 200 * SECOND, 0)], "quiet"),
        ([Watch(0, 210 * SECOND, 200 * SECOND, 7)], "dropped"),
        ([Watch(0, 101 * SECOND, 100 * SECOND, 0), Watch(129 * SECOND, 210 * SECOND, 200 * SECOND, 0)], "stopped"),
        ([Watch(0, 110 * SECOND, 100 * SECOND, 0), Watch(110 * SECOND, 210 * SECOND, 200 * SECOND, 0)], "quiet"),
        ([Watch(0, 110 * SECOND, 100 * SECOND, 0), Watch(110 * SECOND, 210 * SECOND, None, 3)], "dropped"),
        ([Watch(900 * SECOND, 901 * SECOND, 200 * SECOND, 0)], "unknown"),
        ([], "stopped"),
    ],
)
def test_a_gap_is_put_down_to_what_the_segments_know(watches: list[Watch], cause: str) -> None:
    assert [gap.cause for gap in found(ARRIVALS, *watches)] == [cause]


@given(
    st.lists(st.lists(st.integers(0, 100 * SECOND), min_size=1, max_size=20), min_size=1, max_size=20),
)
def test_holes_are_exactly_where_nothing_arrived_for_a_second(blocks: list[list[int]]) -> None:
    coverage = Coverage()
    for block in blocks:
        coverage.add(sorted(block))
    arrivals = sorted(at for block in blocks for at in block)
    expected = [(a, b) for a, b in itertools.pairwise(arrivals) if b - a >= SECOND]
    assert coverage.holes() == expected


def test_of_very_many_holes_the_longest_are_remembered() -> None:
    coverage = Coverage()
    at, long = 0, []
    for number in range(30_000):
        coverage.add_span(at, at + SECOND)
        pause = 3600 if number % 1000 == 500 else 2
        if pause == 3600:
            long.append((at + SECOND, at + SECOND + pause * SECOND))
        at += SECOND + pause * SECOND
    holes = coverage.holes()
    assert len(holes) < 10_000
    assert set(long) <= set(holes)
