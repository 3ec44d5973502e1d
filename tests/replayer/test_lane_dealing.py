"""Several senders get what one would have got: the same requests at the same times, and no more credit than it.

Each sender's bucket is the one in C that senders have; one sender is the model in Python. The clock is made up.
"""

import re
from collections import defaultdict
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captures.reader import Capture
from replayer.counting.accounts import Accounts
from replayer.lanes.dealing import Dealer
from replayer.permission.ceiling import SPENDABLE_NS, STALE_NS, Earned, Heard, Source
from replayer.plan import Plan
from replayer.requests.encoding import Encoder, Request
from replayer.schedule.demand import INTERVAL_NS
from replayer.selection import Selection
from replayer.stock import Supply, stocked, supply
from rules.credit import CREDIT
from rules.units import Share
from rules.wire import Grant, Lever, Signal
from tests.support.recording import START_NS, record, write

SECOND = 1_000_000_000
BEGIN = 10 * SECOND
IDLE: dict[str, Any] = {"idle_target": True}
LIVE: dict[str, Any] = {"sidecars": ["http://127.0.0.1:8901"], "duration": "1h"}
CODE: Any = None


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 requests of 20 users over 4 seconds, in bursts."""

    def one(i: int) -> Any:
        user = (b"x-user", b"user%04d" % (i % 20))
        return record(i // 10 * 0.1 + i % 10 * 0.001, f"/item/{i}", headers=(user, (b"idempotency-key", b"k%d" % i)))

    return write(tmp_path_factory.mktemp("r") / "recordings", map(one, range(400)))


@pytest.fixture(scope="module")
def code(native: Any) -> None:
    global CODE  # noqa: PLW0603 - Hypothesis makes no fixture's arguments
    CODE = native


# --- requests ---

KINDS: dict[str, dict[str, Any]] = {
    "as-it-is": IDLE,
    "louder": {**IDLE, "amplify": "2.5x"},
    "softer": {**IDLE, "amplify": "0.4x"},
    "squeezed": {**IDLE, "amplify": "3x", "squeeze": True},
    "staged": {**IDLE, "stage": ["1s:0.5x", "2s:1x..4x"]},
    "in-sessions": {**IDLE, "amplify": "2.5x", "sessions": "header:x-user"},
    "looped": {**IDLE, "loop": True, "max_requests": 900},
    "at-a-rate": {**IDLE, "rate": "700/s", "loop": True, "max_requests": 700},
    "evenly": {**IDLE, "rate": "100/s", "even": True},
    "a-few": {**IDLE, "amplify": "2x", "max_requests": 77},
    "with-a-ceiling": {**LIVE, "of": "recording", "amplify": "1.5x", "duration": None},
    "on-top": {**LIVE, "amplify": "1.25x"},
    "on-top-staged": {**LIVE, "duration": "2s", "stage": ["1s:1.1x", "1s:1.1x..1.5x"]},
    "on-top-a-few": {**LIVE, "amplify": "1.5x", "max_requests": 50},
    "topped-up": {**LIVE, "top_up": "300/s"},
}


class Field:
    """What one plan wants, with what it hears of real traffic."""

    def __init__(self, recording: Path, kind: str) -> None:
        plan = Plan.model_validate({"recording": recording, "to": "http://127.0.0.1:1", **KINDS[kind]})
        selection, encoder = Selection(Capture(recording)), Encoder("run", plan.methods, "h")
        self.accounts = Accounts()
        stock = stocked(plan, selection, encoder, self.accounts)
        self.supply: Supply = supply(plan, stock, START_NS, BEGIN)

    def hear(self, now: int, real: int) -> None:
        if self.supply.echo is not None:
            self.supply.echo.hear(Heard(real, now - INTERVAL_NS, now), now)

    def over(self) -> bool:
        return self.supply.demand.exhausted

    def all_due(self, until: int) -> list[tuple[int, Request]]:
        """What one sender would take until then."""
        found = []
        demand = self.supply.demand
        while not self.over():
            due = demand.due()
            if due is None:
                if self.supply.echo is not None:
                    break
                continue
            if due > until:
                break
            found.append((due, demand.take()))
        return found


def told(taken: tuple[int, Request]) -> tuple[int, bytes]:
    return taken[0], taken[1].prefix


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 5),
    steps=st.lists(
        st.tuples(st.integers(1, 300_000_000), st.integers(0, 120), st.integers(0, 90), st.integers(1, 200)),
        min_size=1,
        max_size=40,
    ),
)
def test_senders_get_together_what_one_would(
    recording: Path, kind: str, count: int, steps: list[tuple[int, int, int, int]]
) -> None:
    one, many, dealer = Field(recording, kind), Field(recording, kind), Dealer(count, 1)
    alone: list[tuple[int, Request]] = []
    dealt: list[list[tuple[int, Request]]] = [[] for _ in range(count)]

    def deal(rooms: list[int], now: int, until: int, most: int) -> int:
        hand = dealer.deal(many.supply, rooms, now, until, most=most)
        for part, more, room in zip(dealt, hand.parts, rooms, strict=True):
            assert len(more) <= room
            part.extend(more)
        return sum(map(len, hand.parts))

    now = BEGIN
    for passed, real, room, most in steps:  # at any pace, with room here and there
        now += passed
        one.hear(now, real)
        many.hear(now, real)
        dealer.credit(0, Earned(cleared=False, amount=real * CREDIT // 4, at_ns=now))
        alone += one.all_due(now)
        deal([room * (k + len(dealt[0])) % 7 for k in range(count)], now, now, most)
    until = now + 3 * SECOND
    alone += one.all_due(until)
    idle = 0
    while idle < 50 and not (many.over() and not dealer.keeping):  # reading skips and pauses
        idle = 0 if deal([100] * count, now, until, 64) else idle + 1

    assert sorted(map(told, chain(*dealt))) == sorted(map(told, alone))
    assert all(a[0] <= b[0] for part in dealt for a, b in pairwise(part))
    assert (many.supply.demand.wanted, many.over()) == (one.supply.demand.wanted, one.over())
    assert many.supply.demand.pending == one.supply.demand.pending


def test_bursts_are_shared_evenly(recording: Path) -> None:
    field, dealer = Field(recording, "louder"), Dealer(3)
    parts: list[int] = [0, 0, 0]
    for _ in range(20):
        hand = dealer.deal(field.supply, [1000] * 3, BEGIN, BEGIN + SECOND)
        sizes = list(map(len, hand.parts))
        assert max(sizes) - min(sizes) <= 1
        parts = [a + b for a, b in zip(parts, sizes, strict=True)]
    assert sum(parts) > 200
    assert max(parts) - min(parts) <= 1


def test_a_session_stays_with_one_sender_and_in_order(recording: Path) -> None:
    field, dealer = Field(recording, "in-sessions"), Dealer(3)
    whose: dict[bytes, set[int]] = defaultdict(set)
    items: dict[bytes, list[int]] = defaultdict(list)
    dealt = 0
    while not (field.over() and not dealer.keeping):
        # One sender is often full: its sessions wait, and do not go elsewhere.
        hand = dealer.deal(field.supply, [dealt % 2 * 50, 50, 50], BEGIN, BEGIN + 100 * SECOND)
        dealt += 1
        for sender, part in enumerate(hand.parts):
            for _, request in part:
                found = re.search(rb"/item/(\d+) .*x-user: (\w+)", request.prefix, re.DOTALL)
                assert found is not None
                whose[found[2]].add(sender)
                items[found[2]].append(int(found[1]))
    assert len(whose) >= 40  # 20 users, each twice or three times
    assert all(len(senders) == 1 for senders in whose.values())
    assert set.union(*whose.values()) == {0, 1, 2}
    assert all(numbers == sorted(numbers) for numbers in items.values())


def test_who_has_no_room_is_passed_over(recording: Path) -> None:
    field, dealer = Field(recording, "as-it-is"), Dealer(3)
    hand = dealer.deal(field.supply, [0, 1000, 0], BEGIN, BEGIN + SECOND, most=20)
    assert list(map(len, hand.parts)) == [0, 20, 0]
    assert hand.more
    assert not any(dealer.deal(field.supply, [0, 0, 0], BEGIN, BEGIN + SECOND).parts)


def test_what_fell_due_while_nobody_dealt_is_late_and_not_sent_at_once(recording: Path) -> None:
    field, dealer = Field(recording, "as-it-is"), Dealer(2)
    awake = BEGIN + SECOND
    late, dealt = 0, []
    for _ in range(20):
        hand = dealer.deal(field.supply, [1000] * 2, awake, awake + SECOND)
        late += len(hand.take_late(awake))
        assert not hand.take_late(awake)
        dealt += [due for part in hand.parts for due, _ in part]
    assert late == 100
    assert min(dealt) == awake
    assert late + len(dealt) == field.supply.demand.wanted


# --- credit ---


class Senders:
    """Sidecars, one sender that hears them all, and many that share what it hears."""

    def __init__(self, count: int, places: int) -> None:
        self.dealer = Dealer(count, places)
        self.one = [Source(f"http://{place}", Share(500_000)) for place in range(places)]
        # Each sidecar's credit by itself, so that it is known whose was spent.
        self.many = [[CODE.ceiling_new(1, SPENDABLE_NS, STALE_NS) for _ in range(places)] for _ in range(count)]
        self.spent = [[0] * places for _ in range(count)]
        self.heard = [(0, 0)] * places
        self.begun = [0] * places

    def close(self) -> None:
        for ceiling in chain(*self.many):
            CODE.ceiling_free(ceiling)

    def hear(self, now: int, place: int, real: int, granted: int, late: int, ratio: int, anew: bool) -> None:
        source = self.one[place % len(self.one)]
        place %= len(self.one)
        if anew:
            source.subscribed()
            self.heard[place], self.begun[place] = (0, 0), now
        before = self.heard[place]
        self.heard[place] = (before[0] + real, before[1] + granted)
        source.take(
            Grant(
                elapsed_ns=max(0, now - self.begun[place] - late), real=self.heard[place][0],
                granted=self.heard[place][1], ratio=Share(ratio), lever=Lever(engaged=False),
                signal=Signal(window=1, rate=1),
            ),
            now,
        )  # fmt: skip
        self.hand_on(now, place, source.earned.cleared, self.dealer.credit(place, source.earned))

    def hand_on(self, now: int, place: int, cleared: bool = False, shares: list[int] | None = None) -> None:
        source = self.one[place]
        heard = -1 if source.heard_ns is None else source.heard_ns
        allowances = self.dealer.allowances(source.allowance)
        assert sum(allowances) <= source.allowance
        for sender, ceilings in enumerate(self.many):
            amount = 0 if shares is None else shares[sender]
            CODE.ceiling_hear(ceilings[place], 0, now, cleared, amount, allowances[sender], heard, source.lever.engaged)

    def beat(self, now: int, *_: Any) -> None:
        for place in range(len(self.one)):
            self.hand_on(now, place)

    def refuse(self, now: int, place: int) -> None:
        self.one[place % len(self.one)].refuse("no")
        self.beat(now)

    def lever(self, now: int, place: int) -> None:
        self.one[place % len(self.one)].lever = Lever(engaged=True)
        self.beat(now)

    def spend(self, now: int, sender: int, place: int, count: int) -> int:
        """Have one of the senders spend what it can, of one sidecar. Whatever it spends, the one may spend, too."""
        sender, place = sender % len(self.many), place % len(self.one)
        done = 0
        while done < count and CODE.ceiling_spend(self.many[sender][place], now) == 0:
            assert self.one[place].spend(now) is None
            done += 1
        self.spent[sender][place] += done
        return done


stories = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 30_000_000), st.integers(0, 3_000_000_000)),
        st.one_of(
            st.tuples(
                st.just("hear"), st.integers(0, 2), st.integers(0, 400), st.integers(0, 60),
                st.sampled_from([0, 0, 20_000_000, 800_000_000]), st.integers(0, 1_200_000), st.booleans(),
            ),
            st.tuples(st.just("spend"), st.integers(0, 4), st.integers(0, 2), st.integers(1, 40)),
            st.tuples(st.just("beat")),
            st.tuples(st.just("refuse"), st.integers(0, 2)),
            st.tuples(st.just("lever"), st.integers(0, 2)),
        ),
    ),
    max_size=60,
)  # fmt: skip


@pytest.mark.usefixtures("code")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 5), places=st.integers(1, 3), start=st.integers(0, 10**15), story=stories)
def test_what_several_spend_one_might_have_spent(
    count: int, places: int, start: int, story: list[tuple[int, tuple[Any, ...]]]
) -> None:
    senders, now = Senders(count, places), start
    try:
        for passed, (what, *event) in story:
            now += passed
            getattr(senders, what)(now, *event)
        for sender in range(count):
            for place in range(places):
                senders.spend(now, sender, place, 100)
        for place, source in enumerate(senders.one):
            spent = sum(mine[place] for mine in senders.spent)
            assert spent <= source.granted
            assert spent * CREDIT <= source.allowance
        # Silence is the end for all of them.
        now += STALE_NS + 1
        assert not any(senders.spend(now, sender, place, 1) for sender in range(count) for place in range(places))
    finally:
        senders.close()


@pytest.mark.usefixtures("code")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    count=st.integers(2, 5),
    places=st.integers(1, 3),
    grants=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), min_size=1, max_size=60),
)
def test_what_follows_live_traffic_finds_its_credit_however_little_there_is(
    recording: Path, count: int, places: int, grants: list[tuple[int, int, bool]]
) -> None:
    """Every grant is for four times as many real requests, and as many of ours follow it: none is short of credit."""
    senders, field, now = Senders(count, places), Field(recording, "on-top"), BEGIN
    sent = wanted = 0
    try:
        for place in range(places):
            senders.hear(now, place, 0, 0, 0, 250_000, True)
        for place, granted, pause in grants:
            now += INTERVAL_NS * (15 if pause else 1)
            senders.beat(now)
            for other in range(places):
                many = granted if other == place % places else 0
                senders.hear(now, other, 4 * many, many, 0, 250_000, False)
            field.hear(now, 4 * granted)
            wanted += granted
            hand = senders.dealer.deal(field.supply, [100] * count, now, now + SECOND)
            now += INTERVAL_NS
            for sender, part in enumerate(hand.parts):
                for _ in part:
                    sent += any(senders.spend(now, sender, other, 1) for other in range(places))
        assert sent == wanted
    finally:
        senders.close()
