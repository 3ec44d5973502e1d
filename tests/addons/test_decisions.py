"""The sidecar's pure decisions: the sliding signal, shared-out grants, the lever, who may change something."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from addons.controlport.granting import Granter, Subscription
from addons.lever.latch import LatchingLever
from addons.window import NOTES, SlidingSignal, Totals
from rules.credit import CREDIT, Bucket
from rules.latency import CELLS, place
from rules.units import Share
from rules.wire import Signal

# --- the sliding signal


class Users:
    """What real users got, and a window over it that is told of it once a second."""

    def __init__(self, seconds: float) -> None:
        self.arrivals = self.finished = self.errors = 0
        self.latency = [0] * CELLS
        self.window = SlidingSignal(seconds, 0.0, self.totals())

    def totals(self) -> Totals:
        return Totals(self.arrivals, self.finished, self.errors, tuple(self.latency))

    def arrived(self, now: float) -> None:
        self.window.note(now, self.totals())
        self.arrivals += 1

    def ended(self, now: float, latency: float | None, error: bool) -> None:
        self.window.note(now, self.totals())
        self.finished += 1
        self.errors += error
        if latency is not None:
            self.latency[place(latency)] += 1

    def signal(self, now: float) -> Signal:
        return self.window.fresh(now) or self.window.signal(now, self.totals())


def test_signal_tells_rate_errors_and_percentiles_of_the_window() -> None:
    users = Users(10)
    for number in range(1000):
        now = number / 100
        users.arrived(now)
        users.ended(now, (number % 100 + 1) / 1000, error=number % 10 == 0)
    signal = users.signal(9.99)
    assert signal.rate == pytest.approx(100, rel=0.01)
    assert signal.error_ratio == pytest.approx(0.1)
    assert signal.p50 == pytest.approx(0.050, rel=0.03)
    assert signal.p95 == pytest.approx(0.095, rel=0.03)
    assert signal.p99 == pytest.approx(0.099, rel=0.03)


def test_signal_forgets_what_is_older_than_the_window() -> None:
    users = Users(2)
    users.ended(0.5, 1.0, error=True)
    assert users.signal(1.0).error_ratio == 1
    for now in range(2, 61):
        users.window.note(now, users.totals())
    signal = users.signal(60.0)
    assert (signal.rate, signal.error_ratio, signal.p50) == (0, None, None)
    assert 2 <= signal.window <= 3


def test_signal_follows_a_change_of_rate_within_the_window() -> None:
    users = Users(2)
    for step in range(600):
        users.arrived(step / 100)
    for step in range(100):
        users.arrived(6 + step / 25)
    assert users.signal(9.99).rate == pytest.approx(25, rel=0.05)


def test_unanswered_requests_count_as_errors_and_have_no_latency() -> None:
    users = Users(10)
    users.ended(1.0, None, error=True)
    signal = users.signal(2.0)
    assert (signal.error_ratio, signal.p99) == (1, None)


def test_a_long_window_keeps_few_notes() -> None:
    users = Users(600)
    for now in range(5000):
        users.arrived(now)
    assert len(users.window._notes) <= NOTES + 2
    assert users.signal(5000).rate == pytest.approx(1, rel=0.01)
    assert 600 <= users.signal(5000).window <= 600 + users.window.step


# --- grants


class Granting(RuleBasedStateMachine):
    """Replayers come and go while users do what they like; a greedy replayer spends all it is granted at the guard."""

    @initialize(ratio=st.integers(0, 2 * CREDIT))
    def start(self, ratio: int) -> None:
        self.ratio = Share(ratio)
        self.granter = Granter(self.ratio)
        self.real = self.now = 0
        self.everybody: list[Subscription] = []
        self.limits: list[tuple[Subscription, int]] = []

    @rule(count=st.integers(0, 40))
    def users_come(self, count: int) -> None:
        self.real += count

    @rule(asked=st.one_of(st.none(), st.integers(0, 3 * CREDIT).map(Share)))
    def join(self, asked: Share | None) -> None:
        joined = self.granter.join(asked, self.real, self.now)
        self.everybody.append(joined)
        self.limits.append((joined, self.real))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.granter.subscriptions:
            present = [one for one in self.everybody if one in self.granter.subscriptions]
            self.granter.leave(data.draw(st.sampled_from(present)), self.real, self.now)

    @rule(step=st.integers(0, 2 * 10**9), data=st.data())
    def somebody_reads(self, step: int, data: st.DataObject) -> None:
        self.now += step
        if self.granter.subscriptions:
            present = [one for one in self.everybody if one in self.granter.subscriptions]
            self.granter.read(data.draw(st.sampled_from(present)), self.real, self.now)

    @invariant()
    def all_grants_together_stay_under_the_ceiling(self) -> None:
        assert sum(one.granted for one in self.everybody) * CREDIT <= self.ratio * self.real

    @invariant()
    def nobody_gets_more_than_it_asked_for_of_what_it_was_there_for(self) -> None:
        for one, since in self.limits:
            assert one.granted * CREDIT <= min(one.ratio, self.ratio) * (self.real - since)


TestGranting = Granting.TestCase


@given(st.integers(1, 4), st.lists(st.integers(0, 50), min_size=1, max_size=100))
def test_the_guard_never_refuses_who_spends_grants_at_once(replayers: int, arrivals: list[int]) -> None:
    ratio = Share.parse("25%")
    granter, bucket, now, real = Granter(ratio), Bucket(), 0, 0
    everybody = [granter.join(None, 0, 0) for _ in range(replayers)]
    spent = [0] * replayers
    for arrived in arrivals:
        now += 20_000_000
        for _ in range(arrived):
            bucket.earn(ratio, now)
        real += arrived
        for one in everybody:
            granter.read(one, real, now)
        for number, one in enumerate(everybody):
            for _ in range(one.granted - spent[number]):
                assert bucket.spend(now)
            spent[number] = one.granted


def test_a_pulled_lever_stops_grants_and_what_came_meanwhile_is_never_granted() -> None:
    granter = Granter(Share.parse("50%"))
    one = granter.join(None, 0, 0)
    granter.advance(10, 1)
    granter.advance(1000, 2, paused=True)
    other = granter.join(None, 2000, 2, paused=True)
    granter.leave(other, 3000, 2, paused=True)
    granter.advance(3010, 3)
    assert (one.granted, one.real) == (10, 3010)


def test_a_replayer_that_hangs_takes_nothing_from_the_others() -> None:
    granter = Granter(Share.parse("25%"))
    hanging, reading = granter.join(None, 0, 0), granter.join(None, 0, 0)
    for tick in range(200):
        granter.read(reading, 4 * tick, tick * 20_000_000)
    # Half of it while the other still counted as listening, all of it from then on.
    assert reading.granted == pytest.approx(25 + 150, abs=2)
    assert hanging.granted == pytest.approx(25, abs=2)


# --- the lever


def test_the_lever_latches_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "lever.json"
    lever = LatchingLever(path)
    assert not lever.engaged
    lever.move(engaged=True, reason="users suffer", by="ada", at=1.0)
    lever.settle(*lever.persist())
    assert lever.state.persisted
    again = LatchingLever(path)
    assert again.engaged
    assert (again.state.reason, again.state.by) == ("users suffer", "ada")
    again.move(engaged=False, reason="all good", by="ada", at=2.0)
    again.settle(*again.persist())
    assert again.state.persisted
    assert not LatchingLever(path).engaged


@pytest.mark.parametrize("content", [b"", b"{", b'{"engaged": "perhaps"}', b"\xff\xfe"])
def test_a_lever_file_that_cannot_be_read_counts_as_pulled(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lever.json"
    path.write_bytes(content)
    assert LatchingLever(path).engaged


def test_a_lever_that_cannot_be_written_still_holds_now(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lever = LatchingLever(tmp_path / "lever.json")
    lever.path = tmp_path / "file" / "lever.json"
    lever.move(engaged=True, reason="stop", by="ada", at=1.0)
    lever.settle(*lever.persist())
    assert not lever.state.persisted
    assert lever.engaged


def test_what_was_written_late_does_not_undo_what_came_since(tmp_path: Path) -> None:
    lever = LatchingLever(tmp_path / "lever.json")
    lever.move(engaged=False, reason="all good", by="ada", at=1.0)
    written = lever.persist()
    lever.move(engaged=True, reason="stop", by="bob", at=2.0)
    lever.settle(*written)
    assert (lever.engaged, lever.state.by) == (True, "bob")
