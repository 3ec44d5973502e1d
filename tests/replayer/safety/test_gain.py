"""Back-off: down at once, up slowly, and no more of either than was seen to be needed."""

from collections import deque
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.safety.gain import (
    BLIND_NS,
    CALM_NS,
    FLOOR,
    LEAST_LEFT,
    LEAST_STEP,
    MOST_STEP,
    SECOND_NS,
    SETTLE_NS,
    WELL_INSIDE,
    Change,
    Gain,
    Push,
    reaction_ns,
    standing,
)
from rules.units import MILLION

WINDOW_NS = 5 * SECOND_NS
LOADS = st.one_of(st.none(), st.floats(0, 5), st.sampled_from([0.0, WELL_INSIDE, 1.0, float("inf"), float("nan")]))


def push(load: float | None, window_ns: int = WINDOW_NS, rule: str = "p(95)<500ms") -> Push:
    return Push(rule, standing(load), load or 0.0, window_ns)


def drive(loads: list[list[float | None]], step_ns: int = SECOND_NS) -> list[tuple[int, list[Push], Change | None]]:
    """Look once for each: (when, what the rules said, what changed)."""
    gain, seen = Gain(), []
    for number, each in enumerate(loads):
        pushes = [push(load, WINDOW_NS * (1 + place), f"rule {place}") for place, load in enumerate(each)]
        seen.append((number * step_ns, pushes, gain.look(pushes, number * step_ns)))
    return seen


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (None, "blind"),
        (float("nan"), "blind"),
        (float("inf"), "breached"),
        (1.01, "breached"),
        (1.0, "near"),  # whether the limit itself is allowed is the rule's affair
        (0.95, "near"),
        (0.9, "easy"),
        (0.0, "easy"),
    ],
)
def test_how_a_value_stands_to_its_limit(load: float | None, expected: str) -> None:
    assert standing(load) == expected


def test_a_breach_is_answered_at_once_and_not_twice_for_the_same_news() -> None:
    gain = Gain()
    assert gain.look([push(2.0)], 0) == (MILLION, MILLION // 2, push(2.0))
    for second in range(1, 7):
        assert gain.look([push(2.0)], second * SECOND_NS) is None  # the window still holds what was before
    assert gain.look([push(2.0)], 7 * SECOND_NS) == (MILLION // 2, MILLION // 4, push(2.0))


def test_the_nearer_to_the_limit_the_smaller_the_decrease() -> None:
    left = [Gain().look([push(load)], 0) for load in (1.001, 1.25, 1.5, 2.0, 100.0, float("inf"))]
    assert [change and change.after for change in left] == [850_000, 800_000, 666_666, 500_000, 500_000, 500_000]


def test_the_worst_rule_is_named() -> None:
    gain = Gain()
    change = gain.look([push(1.1, rule="a"), push(1.9, rule="b"), push(0.1, rule="c")], 0)
    assert change is not None
    assert change.cause is not None
    assert change.cause.rule == "b"


@given(st.lists(st.lists(LOADS, min_size=1, max_size=3), max_size=200))
def test_the_gain_stays_within_its_bounds_and_each_change_has_its_reason(loads: list[list[float | None]]) -> None:
    value, cut_ns, changed_ns = MILLION, -(10**18), -(10**18)
    calm = 0
    for now, pushes, change in drive(loads):
        calm = calm + 1 if all(each.standing == "easy" for each in pushes) else 0
        if change is None:
            continue
        assert change.before == value
        assert 0 <= change.after <= MILLION
        assert change.after == 0 or change.after >= FLOOR
        if change.after < change.before:
            assert change.cause in pushes
            assert change.cause is not None
            assert change.cause.standing in {"breached", "blind"}
            assert now - cut_ns >= reaction_ns(change.cause)
            assert change.after >= change.before * LEAST_LEFT // MILLION or change.after == 0
            cut_ns = now
        else:
            assert change.cause is None
            assert calm > CALM_NS // SECOND_NS  # so there is none within the band either
            assert now - changed_ns >= max(map(reaction_ns, pushes)) > max(each.delay_ns for each in pushes)
            assert change.after - change.before <= MOST_STEP
            assert change.after == MILLION or change.after - change.before >= LEAST_STEP
        value, changed_ns = change.after, now


@given(st.floats(1.0001, 10), st.integers(0, 60))
def test_under_a_lasting_breach_there_is_ever_less_until_there_is_nothing(load: float, window: int) -> None:
    gain, changes = Gain(), []
    for second in range(50 * (window + 2) + 1):
        if change := gain.look([push(load, window * SECOND_NS)], second * SECOND_NS):
            changes.append(change)
    assert all(change.after < change.before for change in changes)
    assert gain.value == 0
    assert gain.look([push(load, window * SECOND_NS)], 10**15) is None


@given(st.floats(0, 0.89), st.integers(0, 300))
def test_without_data_nothing_is_sent_after_seven_seconds(load: float, before: int) -> None:
    gain = Gain()
    for second in range(before):
        gain.look([push(load)], second * SECOND_NS)
    for second in range(before, before + 7):
        gain.look([push(load, rule="other"), push(None, 600 * SECOND_NS)], second * SECOND_NS)
    assert gain.value == 0


def test_when_users_recover_all_of_it_comes_back_slowly_and_in_bounded_time() -> None:
    gain = Gain()
    for second in range(7):
        gain.look([push(None)], second * SECOND_NS)
    assert gain.value == 0
    second, values = 7, [gain.value]
    while gain.value < MILLION:
        if gain.look([push(0.2)], second * SECOND_NS):
            values.append(gain.value)
        second += 1
    assert values == [step * MOST_STEP for step in range(21)]
    assert 20 * 7 <= second - 7 <= 20 * 7 + 3


@given(st.integers(0, MILLION), st.integers(0, 60))
def test_wherever_it_broke_the_way_back_is_bounded(value: int, window: int) -> None:
    gain = Gain(value)
    gain.look([push(1.5, window * SECOND_NS)], 0)
    for look in range(1, (MILLION // LEAST_STEP + 4) * (window + 2) + CALM_NS // SECOND_NS):
        gain.look([push(0.5, window * SECOND_NS)], look * SECOND_NS)
    assert gain.value == MILLION


def test_in_the_band_it_holds() -> None:
    gain = Gain(500_000)
    assert not any(gain.look([push(0.95), push(0.1)], second * SECOND_NS) for second in range(1000))


def test_who_did_not_look_does_not_know_that_all_was_calm() -> None:
    gain = Gain(500_000)
    assert gain.look([push(0.1)], 0) is None
    assert gain.look([push(0.1)], 100 * SECOND_NS) is None  # the process stood still
    assert gain.look([push(0.1)], 101 * SECOND_NS) is None
    assert gain.look([push(0.1)], 100 * SECOND_NS + CALM_NS) == (500_000, 550_000, None)


def test_without_rules_nothing_changes() -> None:
    assert not any(Gain().look([], second * SECOND_NS) for second in range(10))
    assert reaction_ns(push(None)) == BLIND_NS
    assert reaction_ns(push(2.0)) == WINDOW_NS + SETTLE_NS


def converge(
    capacity: Callable[[int], float], demand: float, base: float, limit: float, seconds: int, noise: float = 0.0
) -> list[float]:
    """Back off before a queue whose p95 follows M/M/1 (p95 = 3 / (mu - lambda)) over a window of five seconds.

    Where it is overloaded, the queue grows and drains as it would. Each reading is wrong by up to `noise` of its value.
    Gives the rate in each second.
    """
    gain, backlog, rates, chance = Gain(), 0.0, [], Random(20)
    window: deque[float] = deque(maxlen=WINDOW_NS // SECOND_NS)
    for second in range(seconds):
        mu = capacity(second)
        rate = base + demand * gain.value / MILLION
        backlog = max(0.0, backlog + rate - mu)
        window.append(3 / max(mu - rate, mu / 50) + backlog / mu)
        gain.look([push(max(window) / limit * (1 + noise * chance.uniform(-1, 1)))], second * SECOND_NS)
        rates.append(rate)
    return rates


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize("demand", [50.0, 100.0, 300.0])
def test_it_converges_below_the_limit_of_a_queue_without_large_cycles(demand: float, noise: float) -> None:
    # Of 100/s that it serves, 94 may come for p95 to be 0.5 s.
    rates = converge(lambda _: 100.0, demand, 40.0, 0.5, 1200, noise)
    settled = rates[300:]
    assert max(settled) <= 94 + LEAST_STEP * demand / MILLION * 2  # beyond it by a step or two at most
    assert min(settled) >= 94 * 0.7
    assert sum(settled) / len(settled) >= 94 * 0.88
    assert sum(rate > 94 for rate in settled) <= len(settled) * 0.15


def test_when_the_target_gets_weaker_and_recovers_the_load_follows() -> None:
    rates = converge(lambda second: 60.0 if 400 <= second < 800 else 100.0, 100.0, 20.0, 0.5, 1600)
    assert min(rates[300:400]) > 65
    assert max(rates[500:800]) <= 60 - 6 + 3
    assert min(rates[1300:]) > 65
