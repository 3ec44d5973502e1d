"""While the load is to be held, a demand that rises is let through no more than before."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.safety.gain import SECOND_NS, Gain, Push
from replayer.safety.loop import Loop
from replayer.safety.rising import Rise
from rules.slo import Rule
from rules.units import MILLION
from tests.replayer.safety.test_loop import Told

NEAR = Push("p(95)<500ms", "near", 0.95)


def factors(rates: list[float], *, hold: bool = True) -> list[float]:
    """Look once a second at a demand with these rates."""
    rise, wanted, found = Rise(), 0.0, []
    for second, rate in enumerate(rates):
        wanted += rate
        found.append(rise.look(second * SECOND_NS, round(wanted), hold=hold))
    return found


def test_a_steady_demand_does_not_rise() -> None:
    chance = random.Random(5)
    for rate in (2.0, 40.0, 1000.0):
        noisy = [max(0.0, chance.gauss(rate, rate**0.5)) for _ in range(2000)]
        assert factors(noisy).count(1.0) >= 1990


@given(st.floats(300, 10_000), st.floats(1.5, 10), st.integers(8, 60))
def test_what_a_ramp_adds_is_told_in_all(rate: float, times: float, seconds: int) -> None:
    ramp = [rate * (1 + (times - 1) * step / seconds) for step in range(seconds)]
    product = 1.0
    for factor in factors([rate] * 6 + ramp + [rate * times] * 8):
        assert factor >= 1
        product *= factor
    assert times / 1.35 <= product <= times * 1.02  # up to one rise that is not told yet


def test_nothing_is_told_while_the_load_need_not_be_held() -> None:
    assert set(factors([10.0 * second for second in range(50)], hold=False)) == {1.0}


def test_a_demand_that_falls_gives_nothing_back() -> None:
    assert set(factors([1000.0] * 10 + [100.0] * 20)) == {1.0}


@given(st.integers(1, MILLION), st.floats(1.01, 100))
def test_an_offset_is_exact_and_no_decrease(value: int, factor: float) -> None:
    gain = Gain(value)
    change = gain.offset(factor, NEAR, 0)
    assert change is not None
    assert change.after == gain.value <= value
    assert gain.value == 0 or gain.value == pytest.approx(value / factor, abs=1)
    if gain.value:
        assert gain.look([Push("p(95)<500ms", "breached", 2.0)], 1) is not None, "a breach is still answered at once"


def test_under_a_ramp_the_load_is_held_in_the_band() -> None:
    source = Told(0.47)
    loop = Loop([(Rule.parse("p(95)<500ms window=5s for=0s grace=0s action=back-off"), source)])
    loop.begin(0)
    wanted, loads, words = 0.0, [], []
    for second in range(60):
        rate = 400.0 + 20.0 * max(0, second - 10)
        wanted += rate
        words += [event.words for event in loop.look(second * SECOND_NS, 1000 * second, round(wanted))]
        loads.append(rate * loop.gain.value / MILLION)
    assert max(loads) <= 400 * 1.35
    assert all("the demand rose by" in each for each in words)
    assert loop.gain.value < MILLION // 2
    assert loop.backing() is not None
