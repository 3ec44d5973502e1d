"""Stages: read as people write them, exact in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.schedule.stages import SECOND_NS, Loudness, Stage
from rules.units import Duration, Factor, UnitError

factors = st.integers(1, 10**9).map(Factor)
stages = st.builds(Stage, st.integers(1, 10_000).map(Duration), factors, factors)


@given(stages)
def test_what_is_printed_can_be_read(stage: Stage) -> None:
    assert Stage.parse(str(stage)) == stage


@pytest.mark.parametrize("text", ["", "5m", "1x", "1x:5m", "5m:", "5m:1x..", "5m:..2x", "5m:1", "999ms:1x", "5m:1x-2x"])
def test_what_is_no_stage_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match=r"write it like|a second at least"):
        Stage.parse(text)


@given(st.lists(stages, min_size=1, max_size=5), st.integers(-10, 60_000))
def test_a_factor_lies_between_those_of_its_stage(given_stages: list[Stage], second: int) -> None:
    loudness = Loudness(given_stages)
    factor = loudness.at(second * SECOND_NS)
    left = second
    for stage in given_stages:
        if left < stage.seconds:
            break
        left -= round(stage.seconds)
    assert min(stage.begin, stage.end) <= factor <= max(stage.begin, stage.end) <= loudness.most


def test_steps_and_ramps() -> None:
    loudness = Loudness([Stage.parse("10s:1x"), Stage.parse("5s:2x..6x"), Stage.parse("10s:0.5x")])
    at = [str(loudness.at(round(second * 1e9))) for second in (-1, 0, 9.999, 10, 10.9, 11, 14, 14.9, 15, 24, 99)]
    assert at == ["1x", "1x", "1x", "2x", "2x", "3x", "6x", "6x", "0.5x", "0.5x", "0.5x"]
    assert loudness.end_ns == 25 * SECOND_NS
    assert loudness.mean(25) == pytest.approx((10 + 20 + 5) / 25)
    assert loudness.mean(10) == pytest.approx(1)


def test_steady_is_the_same_all_the_time() -> None:
    loudness = Loudness.steady(Factor.parse("1.25x"))
    assert {loudness.at(ns) for ns in (-(10**9), 0, 10**18)} == {Factor.parse("1.25x")}
    assert loudness.mean(1000) == pytest.approx(1.25)
