"""An absolute schedule without catching up, whatever holds the sender up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.schedule.pacing import LOOK_NS, Pace, awake, pace

MAX_LAG = 100


@pytest.mark.parametrize(
    ("now", "due", "decision"),
    [
        (0, 1, Pace.WAIT),  # never early
        (1, 1, Pace.SEND),
        (101, 1, Pace.SEND),  # as late as allowed
        (102, 1, Pace.SHED),
        (10**18, 1, Pace.SHED),
    ],
)
def test_decisions(now: int, due: int, decision: Pace) -> None:
    assert pace(now, due, MAX_LAG, 0) is decision


def test_what_fell_due_before_a_sender_was_awake_is_shed() -> None:
    assert pace(1050, 1000, MAX_LAG, 1001) is Pace.SHED
    assert pace(1050, 1001, MAX_LAG, 1001) is Pace.SEND
    assert pace(1050, 1051, MAX_LAG, 2000) is Pace.WAIT


def drive(dues: list[int], wakes: list[int]) -> tuple[list[tuple[int, int]], int]:
    """Work the schedule off at the moments at which the sender is awake: ((now, due) sent, number shed)."""
    sent, shed, position, looked, since = [], 0, 0, 0, 0
    for now in wakes:
        since, looked = awake(since, looked, now, MAX_LAG), now
        while position < len(dues):
            decision = pace(now, dues[position], MAX_LAG, since)
            if decision is Pace.WAIT:
                break
            if decision is Pace.SEND:
                sent.append((now, dues[position]))
            else:
                shed += 1
            position += 1
    return sent, shed + len(dues) - position


STANDSTILL = LOOK_NS + MAX_LAG
schedules = st.lists(st.integers(0, 5000), max_size=200).map(sorted)
wakings = st.lists(st.integers(1, 800), min_size=1, max_size=200).map(
    lambda gaps: [sum(gaps[: i + 1]) for i in range(len(gaps))]
)


@given(schedules, wakings, st.integers(0, 5000), st.integers(0, 2000))
def test_no_catch_up_burst_in_any_window_after_any_stalls(
    dues: list[int], wakes: list[int], begin: int, length: int
) -> None:
    sent, shed = drive(dues, wakes)
    assert len(sent) + shed == len(dues)
    end = begin + length
    in_window = sum(begin <= now <= end for now, _ in sent)
    # What may be sent in a window was due in it, or at most the allowed lag before it.
    assert in_window <= sum(begin - MAX_LAG <= due <= end for due in dues)
    assert all(0 <= now - due <= MAX_LAG for now, due in sent)


def test_three_seconds_of_standing_still_are_shed_not_caught_up() -> None:
    dues = list(range(6000))  # one each millisecond, were a unit one
    awake = [*range(1000), *range(4000, 6100)]
    sent, shed = drive(dues, awake)
    assert sum(now == 4000 for now, _ in sent) == MAX_LAG + 1
    assert shed == 2900


@given(st.lists(st.integers(0, 5 * STANDSTILL), max_size=200).map(sorted), st.integers(1, 3 * STANDSTILL))
def test_after_a_standstill_nothing_is_made_up_for(dues: list[int], stood: int) -> None:
    """The sender looks at its schedule all the time, is held up once, and goes on looking all the time."""
    step = LOOK_NS // 10
    before = list(range(step, STANDSTILL, step))
    back = before[-1] + stood
    sent, _ = drive(dues, [*before, *range(back, 6 * STANDSTILL, step)])
    at_once = [due for now, due in sent if now == back]
    assert all(back - due <= MAX_LAG for due in at_once)
    if stood > STANDSTILL:
        assert all(due == back for due in at_once)
