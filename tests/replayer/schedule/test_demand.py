"""What is wanted: the recording's own times, or an exact echo of live traffic."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.errors import CaptureError
from replayer.permission.ceiling import Heard
from replayer.schedule.demand import INTERVAL_NS, MOST_DUE, Echo, Raise, Steady, Timeline, TopUp
from replayer.schedule.stages import Loudness, Stage
from replayer.stock import Stock
from rules.units import MILLION, Factor, Rate

MS = 1_000_000
SECOND = 1000 * MS
MAX_LAG = 100 * MS


def stock[T](source: Iterator[T | None]) -> Stock[T]:
    return Stock(source, lambda _: 1)


def raising(share: int) -> Raise:
    return Raise(Loudness.steady(Factor(MILLION + share)))


def echo(share: int = 250_000) -> Echo[int]:
    return Echo(raising(share), stock(count()), MAX_LAG)


def drain(demand: Echo[int]) -> list[int]:
    dues = []
    while (due := demand.due()) is not None:
        demand.take()
        dues.append(due)
    return dues


def test_the_timeline_is_moved_and_otherwise_kept() -> None:
    timeline = Timeline(stock(iter([(100, "a"), (150, "b")])), first_ns=100, start_ns=7000)
    assert timeline.due() == 7000
    assert timeline.take() == "a"
    assert (timeline.due(), timeline.exhausted) == (7050, False)
    assert timeline.take() == "b"
    assert (timeline.due(), timeline.exhausted, timeline.wanted) == (None, True, 2)


@pytest.mark.timeout(20)
def test_a_sidecar_that_talks_nonsense_exhausts_nothing() -> None:
    demand, late = echo(share=MILLION), 0
    for number in range(3):
        at = number * INTERVAL_NS
        late += demand.hear(Heard(10**15, at, at + INTERVAL_NS), at + INTERVAL_NS)
    assert demand.wanted == 3 * 10**15 == demand.pending + late
    assert demand.pending == MOST_DUE


def test_while_nothing_is_at_hand_nothing_is_due_and_nothing_is_over() -> None:
    timeline = Timeline(stock(iter([None, None, (100, "a"), None])), first_ns=100, start_ns=0)
    assert [(timeline.due(), timeline.exhausted) for _ in range(2)] == [(None, False)] * 2
    assert (timeline.due(), timeline.take()) == (0, "a")
    assert [(timeline.due(), timeline.exhausted) for _ in range(2)] == [(None, False), (None, True)]
    demand = Echo(raising(MILLION), stock(iter([None, 7])), MAX_LAG)
    demand.hear(Heard(1, 0, INTERVAL_NS), INTERVAL_NS)
    assert (demand.due(), demand.due(), demand.take(), demand.pending) == (None, INTERVAL_NS, 7, 0)


def test_an_error_of_the_recording_loses_no_request() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise OSError

    demand = Echo(raising(MILLION), stock(breaking()), MAX_LAG)
    demand.hear(Heard(2, 0, INTERVAL_NS), INTERVAL_NS)
    demand.due()
    demand.take()
    with pytest.raises(CaptureError, match="can't be read on"):
        demand.due()
    assert (demand.wanted, demand.pending) == (2, 1)


def test_a_report_that_lay_while_the_process_was_held_up_keeps_its_times() -> None:
    """Otherwise the lag would be told as none."""
    for awake, dues in ((80 * MS, [20 * MS, 30 * MS]), (0, [80 * MS, 80 * MS])):
        demand = echo(MILLION)
        assert demand.hear(Heard(2, 0, INTERVAL_NS), 80 * MS, awake) == 0
        assert drain(demand) == dues


@given(st.lists(st.integers(0, 500), max_size=60), st.integers(0, 3 * MILLION))
def test_wanted_is_exactly_the_share_of_real_at_every_moment(reals: list[int], share: int) -> None:
    demand, now, real = echo(share), 0, 0
    for number in reals:
        demand.hear(Heard(number, now, now + INTERVAL_NS), now + INTERVAL_NS)
        now += INTERVAL_NS
        real += number
        assert demand.wanted == share * real // MILLION
        assert demand.pending == demand.wanted


def test_the_echo_comes_one_interval_later_spread_as_the_real_ones_were() -> None:
    demand = echo()
    demand.hear(Heard(16, 0, INTERVAL_NS), INTERVAL_NS)
    assert drain(demand) == [INTERVAL_NS, INTERVAL_NS + 5 * MS, INTERVAL_NS + 10 * MS, INTERVAL_NS + 15 * MS]


def test_the_echo_ends_with_the_real_traffic() -> None:
    demand = echo()
    demand.hear(Heard(400, 0, INTERVAL_NS), INTERVAL_NS)
    for step in range(1, 50):
        demand.hear(Heard(0, step * INTERVAL_NS, (step + 1) * INTERVAL_NS), (step + 1) * INTERVAL_NS)
    assert max(drain(demand)) < 2 * INTERVAL_NS


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 300)), min_size=1, max_size=30))
def test_what_was_held_up_is_not_caught_up_with(lines: list[tuple[int, int]]) -> None:
    """However long lines take: nothing is due in the past, and only as much at once as the allowed lag holds."""
    demand, heard_until, late_ones = echo(MILLION), 0, 0
    for gap, real in lines:
        now = heard_until + gap * MS
        heard = Heard(real, heard_until, now)
        late = demand.hear(heard, now)
        dues = drain(demand)
        assert late + len(dues) == real
        assert all(now <= due <= now + INTERVAL_NS for due in dues)
        span = max(1, now - heard_until)
        assert len(dues) <= 1 + real * min(span, MAX_LAG + INTERVAL_NS) / span + 1
        heard_until, late_ones = now, late_ones + late


def test_reports_of_several_sidecars_are_merged_in_time() -> None:
    demand = echo(MILLION)
    demand.hear(Heard(3, 0, 30 * MS), 30 * MS)
    demand.hear(Heard(3, 5 * MS, 25 * MS), 30 * MS)
    dues = drain(demand)
    assert len(dues) == 6
    assert dues == sorted(dues)


def test_requests_are_taken_in_the_order_of_the_recording() -> None:
    demand = echo(MILLION)
    demand.hear(Heard(5, 0, INTERVAL_NS), INTERVAL_NS)
    assert [demand.take() for _ in range(5) if demand.due() is not None] == [0, 1, 2, 3, 4]


def test_topping_up_fills_to_the_rate() -> None:
    wants, wanted, now = TopUp(Rate(500)), 0, 0
    for _ in range(500):  # ten seconds with 300/s of real traffic
        wanted += wants(Heard(6, now, now + INTERVAL_NS))
        now += INTERVAL_NS
    assert wanted == 2000


def test_topping_up_does_not_overshoot_because_arrivals_scatter() -> None:
    wants, wanted, now = TopUp(Rate(500)), 0, 0
    for step in range(500):  # 500/s in gusts: nothing is missing
        wanted += wants(Heard(500 if step % 50 == 0 else 0, now, now + INTERVAL_NS))
        now += INTERVAL_NS
    assert wanted <= 10


def test_topping_up_has_one_clock_for_several_sidecars() -> None:
    wants, wanted, now = TopUp(Rate(500)), 0, 0
    for _ in range(500):
        wanted += wants(Heard(2, now, now + INTERVAL_NS))
        wanted += wants(Heard(4, now, now + INTERVAL_NS))
        now += INTERVAL_NS
    assert 1990 <= wanted <= 2010


def test_topping_up_owes_nothing_for_a_time_that_nobody_reported() -> None:
    wants = TopUp(Rate(500))
    wants(Heard(0, 0, INTERVAL_NS))
    outage = 3 * SECOND
    assert wants(Heard(0, outage, outage + INTERVAL_NS)) == 10


def test_topping_up_wants_nothing_above_the_rate() -> None:
    wants = TopUp(Rate(100))
    assert sum(wants(Heard(50, i * INTERVAL_NS, (i + 1) * INTERVAL_NS)) for i in range(500)) == 0


# --- a rate of our own ---


def rated(rate: str, seed: int | None, seconds: int = 100) -> list[int]:
    demand = Steady(stock(count()), Rate.parse(rate), 5 * SECOND, seed)
    dues: list[int] = []
    while (due := demand.due()) is not None and due < (5 + seconds) * SECOND:
        assert demand.take() == len(dues)
        dues.append(due)
        assert demand.wanted == len(dues)
    return dues


@pytest.mark.parametrize("rate", ["0.1/s", "3/s", "333/s", "7/m"])
def test_even_is_exactly_even_and_never_drifts(rate: str) -> None:
    dues = rated(rate, None)
    millionths = round(Rate.parse(rate) * MILLION)
    assert dues == [5 * SECOND + k * SECOND * MILLION // millionths for k in range(len(dues))]
    assert len(dues) == -(-100 * millionths // MILLION)


def test_arrivals_at_random_are_those_of_a_poisson_process() -> None:
    """Means, and variance over mean, in windows of three widths; bounds of four standard deviations."""
    dues = rated("200/s", 3)
    assert dues == rated("200/s", 3) != rated("200/s", 4)
    assert dues == sorted(dues)
    assert abs(len(dues) - 20_000) < 4 * 20_000**0.5
    for width in (10 * MS, 100 * MS, SECOND):
        windows = Counter((due - 5 * SECOND) // width for due in dues)
        number = 100 * SECOND // width
        mean = len(dues) / number
        variance = sum((windows[n] - mean) ** 2 for n in range(number)) / (number - 1)
        assert abs(variance / mean - 1) < 4 * (2 / number) ** 0.5


def test_a_rate_ends_with_the_recording() -> None:
    demand = Steady(stock(iter([None, "a", "b"])), Rate(10), 0, None)
    assert [(demand.due(), demand.exhausted)] == [(None, False)]
    assert (demand.due(), demand.take(), demand.due(), demand.take()) == (0, "a", SECOND // 10, "b")
    assert (demand.due(), demand.exhausted, demand.wanted) == (None, True, 2)


# --- a factor that changes ---


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60))
def test_a_staged_share_is_exact_in_each_stage(reals: list[int]) -> None:
    loudness = Loudness([Stage.parse("1s:1.05x"), Stage.parse("1s:1x"), Stage.parse("60s:1.25x")])
    wants, owed, wanted = Raise(loudness, 7), 0, 0
    for number, real in enumerate(reals):
        until = (number + 1) * INTERVAL_NS
        wanted += wants(Heard(real, 7 + until - INTERVAL_NS, 7 + until))
        owed += real * (loudness.at(until) - MILLION)
    assert wanted == owed // MILLION
