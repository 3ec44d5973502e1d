"""What the native lane decides in C is what the models in Python decide, at every moment of a clock that is made up."""

from ctypes import c_int64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.comparing.routes import rounded
from replayer.permission.ceiling import SPENDABLE_NS, STALE_NS, Ceiling, Source
from replayer.schedule.pacing import Pace, awake, pace
from rules.units import Share
from rules.wire import Grant, Lever, Signal

CODE: Any = None
REFUSALS = (None, "credit", "signal", "lever")
PACES = (Pace.WAIT, Pace.SEND, Pace.SHED)


@pytest.fixture(scope="module", autouse=True)
def _code(native: Any) -> None:
    global CODE  # noqa: PLW0603 - Hypothesis makes no fixture's arguments
    CODE = native


def grant(elapsed_ns: int, real: int, granted: int, ratio: int, *, engaged: bool) -> Grant:
    lever, signal = Lever(engaged=engaged), Signal(window=1, rate=1)
    return Grant(elapsed_ns=elapsed_ns, real=real, granted=granted, ratio=Share(ratio), lever=lever, signal=signal)


heard = st.tuples(
    st.just("hear"), st.integers(0, 2), st.integers(0, 400), st.integers(0, 60), st.integers(0, 300_000_000),
    st.integers(0, 1_200_000), st.booleans(),
)  # fmt: skip
"""Which sidecar, real requests and credits more, how late the line is read, the ratio, whether it subscribed anew."""

events = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 30_000_000), st.integers(0, 3_000_000_000)),  # ns since the event before
        st.one_of(
            heard,
            st.tuples(st.just("spend"), st.integers(1, 40)),
            st.tuples(st.just("refuse"), st.integers(0, 2)),
            st.tuples(st.just("lever"), st.integers(0, 2)),
            st.tuples(st.just("open")),
        ),
    ),
    max_size=60,
)


class Both:
    """The model and the C code, told the same."""

    def __init__(self, count: int) -> None:
        self.model = Ceiling(Source(f"http://{number}", Share(500_000)) for number in range(count))
        self.native = CODE.ceiling_new(count, SPENDABLE_NS, STALE_NS)
        self.sent = [0] * count  # real and granted so far, by subscription
        self.reports = [(0, 0)] * count
        self.begun = [0] * count

    def hear(self, now: int, *event: Any) -> None:
        place, real, granted, late, ratio, anew = event
        place %= len(self.reports)
        source = self.model.sources[place]
        if anew:
            source.subscribed()
            self.reports[place], self.begun[place] = (0, 0), now
        before = self.reports[place]
        self.reports[place] = (before[0] + real, before[1] + granted)
        elapsed = max(0, now - self.begun[place] - late)
        real, granted = self.reports[place]
        source.take(grant(elapsed, real, granted, ratio, engaged=False), now)
        self.hand_on(now, place, *source.earned[:2])

    def hand_on(self, now: int, place: int, cleared: bool = False, amount: int = 0) -> None:
        source = self.model.sources[place]
        at = -1 if source.heard_ns is None else source.heard_ns
        CODE.ceiling_hear(self.native, place, now, cleared, amount, source.allowance, at, source.lever.engaged)

    def refuse(self, now: int, place: int) -> None:
        place %= len(self.reports)
        self.model.sources[place].refuse("no")
        self.hand_on(now, place)

    def lever(self, now: int, place: int) -> None:
        place %= len(self.reports)
        self.model.sources[place].lever = Lever(engaged=True)
        self.hand_on(now, place)

    def spend(self, now: int, count: int) -> None:
        for _ in range(count):
            assert REFUSALS[CODE.ceiling_spend(self.native, now)] == self.model.spend(now)

    def open(self, now: int) -> None:
        assert (CODE.ceiling_open(self.native, now) == 0) == self.model.open(now)


@given(count=st.integers(1, 3), start=st.integers(0, 10**15), story=events)
def test_the_ceiling_in_c_is_the_ceiling(count: int, start: int, story: list[tuple[int, tuple[Any, ...]]]) -> None:
    both, now = Both(count), start
    try:
        for passed, (what, *event) in story:
            now += passed
            getattr(both, what)(now, *event)
        both.spend(now, 100)
    finally:
        CODE.ceiling_free(both.native)


@given(real=st.integers(1, 10_000), granted=st.integers(1, 10_000), ratio=st.integers(1, 1_000_000))
def test_whoever_is_not_heard_of_any_more_spends_nothing(real: int, granted: int, ratio: int) -> None:
    both = Both(1)
    try:
        now = 10**12
        both.hear(now, 0, 0, 0, 0, ratio, True)
        both.hear(now + 50_000_000, 0, real, granted, 0, ratio, False)
        last = now + 50_000_000
        spent = sum(CODE.ceiling_spend(both.native, last) == 0 for _ in range(20_000))
        assert spent <= min(granted, real * ratio // 1_000_000)
        # The Python side hangs: nothing is said any more. What was not spent expires, and then the signal does.
        for later in range(last + SPENDABLE_NS, last + 3 * STALE_NS, 10_000_000):
            assert CODE.ceiling_spend(both.native, later) != 0
        assert REFUSALS[CODE.ceiling_spend(both.native, last + STALE_NS + 1)] == "signal"
    finally:
        CODE.ceiling_free(both.native)


def test_an_idle_target_has_no_ceiling() -> None:
    native = CODE.ceiling_new(0, SPENDABLE_NS, STALE_NS)
    assert [CODE.ceiling_spend(native, now) for now in range(3)] == [0, 0, 0]
    CODE.ceiling_free(native)


numbers = st.integers(-(2**62), 2**62)


waits = st.integers(-(2**40), 2**40)


@given(now=numbers, wait=waits, max_lag=st.integers(0, 2**41), rested=waits)
def test_the_pace_in_c_is_the_pace(now: int, wait: int, max_lag: int, rested: int) -> None:
    arguments = (now, now + wait, max_lag, now + rested)
    assert PACES[CODE.pace(*arguments)] is pace(*arguments)


@given(now=st.integers(0, 2**62), before=st.integers(0, 2**40), max_lag=st.integers(0, 2**41))
def test_in_c_a_sender_is_awake_as_long(now: int, before: int, max_lag: int) -> None:
    arguments = (7, max(0, now - before), now, max_lag)
    assert CODE.awake(*arguments) == awake(*arguments)


@given(st.integers(0, 2**50))
def test_times_are_rounded_alike(microseconds: int) -> None:
    assert CODE.rounded(c_int64(microseconds)) == rounded(microseconds)
