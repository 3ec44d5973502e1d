"""What sidecars granted bounds what is spent; nothing after a lever, a stale signal, or more than the agreed share."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replayer.permission.ceiling import SPENDABLE_NS, STALE_NS, Ceiling, Source, Unbounded
from rules.units import MILLION, Share
from rules.wire import Grant, Lever, Signal

MS = 1_000_000
QUARTER = Share.parse("25%")


def grant(real: int, granted: int, at_ns: int, **changes: Any) -> Grant:
    return Grant(
        elapsed_ns=at_ns,
        real=real,
        granted=granted,
        ratio=changes.pop("ratio", QUARTER),
        lever=Lever(engaged=changes.pop("engaged", False)),
        signal=Signal(window=10, rate=100),
    )


def subscribed(ceiling: Share = QUARTER, now: int = 0) -> Source:
    source = Source("http://sidecar", ceiling)
    source.subscribed()
    source.take(grant(0, 0, 0), now)
    return source


def spend_all(what: Source | Ceiling, now: int) -> int:
    count = 0
    while what.spend(now) is None:
        count += 1
    return count


def test_what_was_granted_can_be_spent_once() -> None:
    source = subscribed()
    source.take(grant(40, 10, 20 * MS), 20 * MS)
    assert spend_all(source, 20 * MS) == 10
    assert source.spend(20 * MS) == "credit"


def test_a_sidecar_that_grants_too_much_is_not_believed() -> None:
    source = subscribed()
    source.take(grant(40, 40, 20 * MS), 20 * MS)
    assert spend_all(source, 20 * MS) == 10


@given(st.lists(st.tuples(st.integers(), st.integers(), st.integers(), st.integers(0, 10**30)), max_size=6))
def test_whatever_a_sidecar_says_is_a_number_of_64_bits(lines: list[tuple[int, int, int, int]]) -> None:
    source, now = subscribed(Share(10**20)), 0
    for real, granted, elapsed, ratio in lines:
        now += 20 * MS
        source.take(grant(real, granted, elapsed, ratio=Share(ratio)), now)
        for number in (source.allowance, source.heard_ns or 0, source.earned.amount):
            assert -(2**63) <= number < 2**63
        assert 0 <= 25 * source.earned.amount < 2**63


def test_a_run_that_asked_for_less_gets_less() -> None:
    source = subscribed(Share.parse("10%"))
    source.take(grant(40, 40, 20 * MS), 20 * MS)
    assert spend_all(source, 20 * MS) == 4


def test_nothing_before_the_first_grant_and_nothing_once_it_is_stale() -> None:
    source = Source("http://sidecar", QUARTER)
    assert source.spend(0) == "signal"
    source.take(grant(40, 10, 0), 0)
    assert source.spend(STALE_NS + 1) == "signal"
    # A late line of the same age makes it fresh, and gives nothing back.
    source.take(grant(40, 10, STALE_NS + 2 * MS), STALE_NS + 2 * MS)
    assert source.spend(STALE_NS + 2 * MS) == "credit"


def test_a_refusal_ends_all_spending_at_once_and_a_new_grant_gives_nothing_back() -> None:
    source = subscribed()
    source.take(grant(40, 10, 20 * MS), 20 * MS)
    source.refuse("unknown-key")
    assert source.spend(21 * MS) == "signal"
    assert source.refused == "unknown-key"
    source.subscribed()
    source.take(grant(0, 0, 0), 22 * MS)
    assert source.spend(22 * MS) == "credit"
    assert not source.refused


def test_old_credit_is_not_taken_for_new() -> None:
    """The process was held up for three seconds; the line it then reads sums up all that came meanwhile."""
    source = subscribed()
    source.take(grant(0, 0, 20 * MS), 20 * MS)
    after = 3020 * MS
    source.take(grant(12_000, 3000, after), after)
    assert spend_all(source, after) <= 3000 * SPENDABLE_NS // (3000 * MS)


def test_a_line_that_was_long_on_its_way_is_as_old_as_it_is() -> None:
    source = subscribed()
    source.take(grant(0, 0, 20 * MS), 20 * MS)
    heard = source.take(grant(400, 100, 40 * MS), 1540 * MS)
    assert abs(heard.until_ns - 40 * MS) < 2 * MS  # but for the creep that allows for drift
    assert source.spend(1540 * MS) == "signal"


def test_clocks_that_drift_do_not_make_a_signal_old() -> None:
    """The sidecar's clock loses 50 parts in a million: after ten hours it is almost two seconds behind."""
    source = subscribed()
    for second in range(1, 36_000, 10):
        now = second * 1000 * MS
        source.take(grant(second * 40, second * 10, now - now * 50 // MILLION), now)
        assert source.fresh(now)


def test_a_new_subscription_starts_from_zero() -> None:
    source = subscribed()
    source.take(grant(400, 100, 20 * MS), 20 * MS)
    source.subscribed()
    heard = source.take(grant(4, 1, 0), 40 * MS)
    assert heard.real == 4
    assert (source.real, source.granted) == (404, 101)


def test_counters_that_fall_give_nothing() -> None:
    source = subscribed()
    source.take(grant(400, 0, 20 * MS), 20 * MS)
    assert source.take(grant(10, 0, 40 * MS), 40 * MS).real == 0
    assert source.spend(40 * MS) == "credit"


def test_one_lever_stops_all() -> None:
    first, second = subscribed(), subscribed()
    ceiling = Ceiling([first, second])
    first.take(grant(400, 100, 20 * MS), 20 * MS)
    second.take(grant(400, 100, 20 * MS, engaged=True), 20 * MS)
    assert ceiling.spend(20 * MS) == "lever"
    assert ceiling.lever is second


def test_several_sidecars_add_up_and_take_turns() -> None:
    sources = [subscribed() for _ in range(3)]
    for source in sources:
        source.take(grant(40, 10, 20 * MS), 20 * MS)
    ceiling = Ceiling(sources)
    for _ in range(15):
        assert ceiling.spend(20 * MS) is None
    assert [source.spent for source in sources] == [5, 5, 5]
    assert spend_all(ceiling, 20 * MS) == 15
    assert ceiling.spend(20 * MS) == "credit"


def test_a_lost_sidecar_takes_only_its_own_share_away() -> None:
    here, gone = subscribed(), subscribed()
    ceiling = Ceiling([here, gone])
    later = STALE_NS + 20 * MS
    here.take(grant(400, 100, later - 20 * MS), later - 20 * MS)
    here.take(grant(440, 110, later), later)
    assert ceiling.lost(later) == [gone]
    assert spend_all(ceiling, later) >= 10
    assert gone.spent == 0


def test_no_sidecar_at_all_grants_nothing() -> None:
    assert Ceiling([]).spend(0) == "signal"
    assert Unbounded().spend(0) is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["grant", "spend", "resubscribe"]),
        st.integers(0, 1),  # which sidecar
        st.integers(0, 2000),  # milliseconds that pass
        st.integers(0, 400),  # real requests
        st.integers(0, 400),  # credits, honest or not
        st.integers(0, 900),  # milliseconds that the line was on its way
    ),
    max_size=80,
)


@given(steps, st.integers(1, MILLION).map(Share))
def test_never_above_the_agreed_share_and_never_above_what_was_granted(steps: list[Any], share: Share) -> None:
    """Any order of grants, stalls, late lines, dishonest counts and new subscriptions."""
    sources = [Source(f"http://{i}", share) for i in range(2)]
    ceiling = Ceiling(sources)
    base, counts, now = [0, 0], [(0, 0), (0, 0)], 0
    for what, which, passed, real, credits_, delay in steps:
        now += passed * MS
        if what == "resubscribe":
            sources[which].subscribed()
            base[which], counts[which] = now, (0, 0)
        elif what == "grant":
            counts[which] = (counts[which][0] + real, counts[which][1] + credits_)
            made = max(0, now - delay * MS - base[which])
            sources[which].take(grant(counts[which][0], counts[which][1], made, ratio=Share(MILLION)), now)
        else:
            before = [source.heard_ns for source in sources]
            spent = spend_all(ceiling, now)
            if all(heard is None or now - heard > STALE_NS for heard in before):
                assert spent == 0
        for source in sources:
            assert source.spent * MILLION <= share * source.real
            assert source.spent <= source.granted
