"""The credit rule, against a model that keeps every event and knows no slots."""

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rules.credit import CREDIT, WINDOW_NS, Bucket, grant

MS = 1_000_000
ratios = st.integers(0, 3 * CREDIT)
steps = st.one_of(
    st.integers(0, 5 * MS), st.integers(0, 300 * MS), st.integers(0, 5_000 * MS)
)  # packed, loose and far apart


@dataclass
class Life:
    """Everything that happened to one bucket: times (ns) of real requests and of admitted synthetic ones."""

    ratio: int
    real: list[int] = field(default_factory=list)
    admitted: list[int] = field(default_factory=list)

    def earned(self, after: int, until: int) -> Fraction:
        """What the real requests in ``(after, until]`` were worth, in credits."""
        return Fraction(self.ratio, CREDIT) * sum(after < at <= until for at in self.real)


def live(ratio: int, events: list[tuple[bool, int]]) -> Life:
    """Run a bucket through `events`: (is it real, nanoseconds since the one before)."""
    bucket, life, now = Bucket(), Life(ratio), 0
    for is_real, step in events:
        now += step
        if is_real:
            bucket.earn(ratio, now)
            life.real.append(now)
        elif bucket.spend(now):
            life.admitted.append(now)
    return life


events = st.lists(st.tuples(st.booleans(), steps), max_size=200)


@given(ratios, events)
@settings(max_examples=300)
def test_no_prefix_holds_more_than_ratio_times_real(ratio: int, happened: list[tuple[bool, int]]) -> None:
    life = live(ratio, happened)
    for count, at in enumerate(life.admitted, 1):
        assert count <= life.earned(-1, at)


@given(ratios, events)
@settings(max_examples=300)
def test_no_window_holds_more_than_its_own_real_traffic_plus_the_cap(
    ratio: int, happened: list[tuple[bool, int]]
) -> None:
    life = live(ratio, happened)
    for first, begin in enumerate(life.admitted):
        start = begin - 1
        cap = max(Fraction(1), life.earned(start - WINDOW_NS, start))
        for count, end in enumerate(life.admitted[first:], 1):
            assert count <= life.earned(start, end) + cap


@given(ratios, events, st.lists(steps, min_size=1, max_size=50))
def test_nothing_passes_once_a_second_went_by_without_real_traffic(
    ratio: int, happened: list[tuple[bool, int]], later: list[int]
) -> None:
    bucket, now = Bucket(), 0
    for is_real, step in happened:
        now += step
        bucket.earn(ratio, now) if is_real else bucket.spend(now)
    now += WINDOW_NS
    for step in later:
        now += step
        assert not bucket.spend(now)
        assert bucket.balance(now) == 0


@given(ratios, st.lists(st.tuples(st.booleans(), st.integers(-(10**12), 10**12)), max_size=200))
def test_no_clock_however_broken_lets_more_pass(ratio: int, happened: list[tuple[bool, int]]) -> None:
    bucket, real, admitted = Bucket(), 0, 0
    for is_real, now in happened:
        if is_real:
            bucket.earn(ratio, now)
            real += 1
        else:
            admitted += bucket.spend(now)
        assert admitted * CREDIT <= ratio * real


@given(st.integers(10_000, CREDIT), st.integers(100, 400))
def test_steady_real_traffic_is_used_to_the_full(ratio: int, per_second: int) -> None:
    """The ceiling is no tighter than it says: greedy spending gets all whole credits of ten seconds.

    (Where a second earns less than a credit or two, the cap of one whole credit may cut a fraction off.)
    """
    assume(ratio * per_second >= 2 * CREDIT)
    bucket, admitted = Bucket(), 0
    gap = WINDOW_NS // per_second
    total = 10 * per_second
    for number in range(total):
        bucket.earn(ratio, number * gap)
        while bucket.spend(number * gap):
            admitted += 1
    assert admitted == ratio * total // CREDIT


def test_a_trickle_of_real_requests_adds_up_to_one_credit() -> None:
    """One request every five seconds at 25 %: nothing within any second is worth a whole credit, four of them are."""
    bucket = Bucket()
    passed = []
    for number in range(8):
        bucket.earn(250_000, number * 5 * WINDOW_NS)
        passed.append(bucket.spend(number * 5 * WINDOW_NS))
    assert passed == [False, False, False, True] * 2


def test_what_is_not_spent_expires() -> None:
    """A hundred requests in a second are worth 25 credits then, and at most one a second later."""
    bucket = Bucket()
    for number in range(100):
        bucket.earn(250_000, number * 10 * MS)
    assert bucket.balance(990 * MS) == 25
    bucket.earn(250_000, 2_500 * MS)
    assert bucket.balance(2_500 * MS) == 1


class Fleet(RuleBasedStateMachine):
    """Many sidecars, each with its own real traffic and guard; many replayers, each sending to any of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.guards = [Bucket() for _ in range(3)]
        self.real = [0, 0, 0]
        self.admitted = [0, 0, 0]

    @rule(sidecar=st.integers(0, 2), count=st.integers(1, 30))
    def users_come(self, sidecar: int, count: int) -> None:
        for _ in range(count):
            self.guards[sidecar].earn(250_000, self.now)
        self.real[sidecar] += count

    @rule(sidecar=st.integers(0, 2), count=st.integers(1, 30))
    def replayers_send(self, sidecar: int, count: int) -> None:
        self.admitted[sidecar] += sum(self.guards[sidecar].spend(self.now) for _ in range(count))

    @rule(step=steps)
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(sidecar=st.integers(0, 2))
    def restart(self, sidecar: int) -> None:
        self.guards[sidecar] = Bucket()

    @invariant()
    def the_ceiling_holds_everywhere(self) -> None:
        for real, admitted in zip(self.real, self.admitted, strict=True):
            assert 4 * admitted <= real
        assert 4 * sum(self.admitted) <= sum(self.real)


TestFleet = Fleet.TestCase


@given(ratios, st.lists(st.integers(0, 1000), max_size=60), st.integers(1, 7))
def test_grants_never_add_up_to_more_than_was_earned(ratio: int, arrivals: list[int], subscribers: int) -> None:
    carries = [0] * subscribers
    given_out = 0
    for arrived in arrivals:
        for index in range(subscribers):
            credits_, carries[index] = grant(arrived, ratio, subscribers, carries[index])
            given_out += credits_
    assert given_out * CREDIT <= ratio * sum(arrivals)
    # and are no tighter than rounding: less than one credit and one millionth per tick held back for each subscriber
    assert ratio * sum(arrivals) - given_out * CREDIT < subscribers * (CREDIT + len(arrivals))
