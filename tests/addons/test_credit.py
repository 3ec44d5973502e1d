"""The ceiling over several processes: against a model that keeps every event, and with real processes that race."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from os import WIFSTOPPED, waitpid
from os import WUNTRACED as UNTRACED
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from addons.books import Books, cell
from addons.credit import SLOT_NS, Credit
from rules.credit import CREDIT, WINDOW_NS, estimated

ROOT = Path(__file__).resolve().parents[2]
MS = 1_000_000
WORKERS = 3
ratios = st.one_of(st.sampled_from((CREDIT // 100, CREDIT // 4, CREDIT // 2, CREDIT)), st.integers(1, 3 * CREDIT))
steps = st.one_of(st.integers(0, 5 * MS), st.integers(0, 300 * MS), st.integers(0, 5_000 * MS))


@contextlib.contextmanager
def books(ratio: int, rows: int = WORKERS, tap: int = 0) -> Iterator[Books]:
    made = Books.create(rows)
    made.shared.ratio, made.shared.tap = ratio, tap
    yield made
    made.close()


@dataclass
class Life:
    """Everything that happened: times of real requests, each with what it earned, and of admitted synthetic ones."""

    ratio: int
    real: list[tuple[int, int]] = field(default_factory=list)
    admitted: list[int] = field(default_factory=list)

    def earned(self, after: int, until: int) -> Fraction:
        """What the real requests in ``(after, until]`` were worth, in credits."""
        return Fraction(sum(worth for at, worth in self.real if after < at <= until), CREDIT)

    def holds(self) -> None:
        """Look at every prefix, and at every window."""
        for count, at in enumerate(self.admitted, 1):
            assert count <= self.earned(-1, at)
        for first, begin in enumerate(self.admitted):
            start = begin - 1
            cap = max(Fraction(1), self.earned(start - WINDOW_NS, start))
            for count, end in enumerate(self.admitted[first:], 1):
                assert count <= self.earned(start, end) + cap


class Site:
    """Workers that share books, on a clock of our own. Whenever anybody reads the clock, somebody else may come in."""

    def __init__(self, shared: Books, life: Life) -> None:
        self.now = WINDOW_NS
        self.life = life
        self.share = shared.shared.share
        self.meanwhile: list[Callable[[], None]] = []
        self.workers = [Credit(shared, row, self._clock) for row in shared.rows]
        self.half = [row.cells for row in shared.rows]
        self.control = Credit(shared, None, self._clock)

    def _clock(self) -> int:
        while self.meanwhile:
            self.meanwhile.pop()()
        return self.now

    def earn(self, worker: int, count: int = 1) -> None:
        for _ in range(count):
            self.workers[worker].earn()
            self._note()

    def half_earn(self, worker: int) -> None:
        """Earn as a worker does that is killed, or held up for ever, before it could say when."""
        self.half[worker][cell("real")] += 1
        self._note()

    def _note(self) -> None:
        """Write down one more request, or at a tap those that one more copy stands for."""
        copies = len(self.life.real)
        stands_for = estimated(copies + 1, self.share) - estimated(copies, self.share)
        self.life.real.append((self.now, self.life.ratio * stands_for))

    def set_ratio(self, ratio: int) -> None:
        self.control.set_ratio(ratio)
        self.life.ratio = ratio

    def spend(self, worker: int, meanwhile: list[tuple[int, bool]]) -> None:
        self.meanwhile = [partial(self.half_earn if half else self.earn, other) for other, half in meanwhile]
        if self.workers[worker].spend():
            self.life.admitted.append(self.now)
        self.meanwhile = []

    def drain(self, worker: int) -> None:
        while self.workers[worker].spend():
            self.life.admitted.append(self.now)


worker = st.integers(0, WORKERS - 1)
events = st.lists(
    st.tuples(
        steps,
        st.one_of(
            st.tuples(st.just("earn"), worker, st.sampled_from((1, 1, 10))),
            st.tuples(st.just("half_earn"), worker),
            st.tuples(st.just("spend"), worker, st.lists(st.tuples(worker, st.booleans()), max_size=3)),
            st.tuples(st.just("drain"), worker),
            st.just(("clear",)),
            st.tuples(st.just("set_ratio"), ratios),
        ),
    ),
    min_size=5,
    max_size=150,
)


def play(site: Site, happened: list[tuple[int, tuple[object, ...]]]) -> None:
    for step, (what, *rest) in happened:
        site.now += step
        if what == "clear":
            site.control.clear()
            continue
        getattr(site, str(what))(*rest)


@given(ratios, events)
@settings(max_examples=400)
def test_the_ceiling_holds_over_all_workers_in_every_prefix_and_every_window(
    ratio: int, happened: list[tuple[int, tuple[object, ...]]]
) -> None:
    life = Life(ratio)
    with books(ratio) as shared:
        play(Site(shared, life), happened)
    life.holds()


@given(st.integers(1, CREDIT // 3), st.integers(CREDIT // 10, CREDIT), events)
@settings(max_examples=200)
def test_at_a_tap_it_holds_for_the_real_requests_that_its_copies_stand_for(
    ratio: int, share: int, happened: list[tuple[int, tuple[object, ...]]]
) -> None:
    life = Life(ratio)
    with books(ratio, tap=share) as shared:
        play(Site(shared, life), happened)
    life.holds()


@given(ratios, st.integers(1, CREDIT), st.integers(1, 50))
def test_no_share_makes_a_copy_earn_more_than_it_stands_for(ratio: int, share: int, copies: int) -> None:
    with books(ratio, tap=share) as shared:
        site = Site(shared, Life(ratio))
        site.earn(0, copies)
        earned, worth = Fraction(str(site.control.balance())), Fraction(ratio * copies, share)
    assert earned <= worth * (1 + Fraction(1, 10**9))  # it is told as a float
    assert earned > worth - Fraction(ratio, CREDIT) - 1  # and less only for the sake of whole requests


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, CREDIT))
def test_what_copies_stand_for_is_never_rounded_up_apart_or_together(some: int, more: int, share: int) -> None:
    together = estimated(some + more, share)
    assert estimated(some, share) + estimated(more, share) <= together <= Fraction(CREDIT * (some + more), share)


@given(ratios, events, st.lists(st.tuples(steps, worker), min_size=1, max_size=50))
def test_nothing_passes_once_a_second_went_by_without_real_traffic(
    ratio: int, happened: list[tuple[int, tuple[object, ...]]], later: list[tuple[int, int]]
) -> None:
    with books(ratio) as shared:
        site = Site(shared, Life(ratio))
        play(site, happened)
        site.now += WINDOW_NS
        for step, who in later:
            site.now += step
            assert not site.workers[who].spend()
            assert site.workers[who].balance() == 0


@given(ratios, st.lists(st.tuples(st.integers(0, 5), worker, st.integers(-(10**12), 10**12)), max_size=150))
def test_no_clock_however_broken_lets_more_pass(ratio: int, happened: list[tuple[int, int, int]]) -> None:
    real = admitted = 0
    with books(ratio) as shared:
        site = Site(shared, Life(ratio))
        for what, who, step in happened:
            site.now = max(0, site.now + step)
            if what:
                site.earn(who)
                real += 1
            else:
                admitted += site.workers[who].spend()
            assert admitted * CREDIT <= ratio * real


@given(st.integers(10_000, CREDIT), st.integers(100, 400))
@settings(max_examples=20)
def test_steady_real_traffic_is_used_to_the_full(ratio: int, per_second: int) -> None:
    assume(ratio * per_second >= 2 * CREDIT)
    admitted, gap, total = 0, WINDOW_NS // per_second, 5 * per_second
    with books(ratio) as shared:
        site = Site(shared, Life(ratio))
        for number in range(total):
            site.now = WINDOW_NS + number * gap
            site.earn(number % WORKERS)
            while site.workers[(number + 1) % WORKERS].spend():
                admitted += 1
    assert admitted == ratio * total // CREDIT


@given(st.lists(st.tuples(st.sampled_from(("earn", "spend", "clear")), worker), max_size=60), steps)
def test_what_the_balance_tells_can_be_spent(happened: list[tuple[str, int]], step: int) -> None:
    with books(CREDIT // 3) as shared:
        site = Site(shared, Life(0))
        for what, who in happened:
            play(site, [(SLOT_NS // 2, (what, who, []) if what == "spend" else (what, who))])
        site.now += step
        promised = int(site.control.balance())
        assert [site.workers[0].spend() for _ in range(promised + 1)] == [True] * promised + [False]


def test_what_comes_while_somebody_spends_does_not_excuse_older_credit() -> None:
    """Eight requests worth three credits each, five seconds ago: one credit is left of that, and a new one's three."""
    life = Life(3 * CREDIT)
    with books(life.ratio) as shared:
        site = Site(shared, life)
        site.earn(0, 8)
        site.now += 5 * WINDOW_NS
        site.spend(1, [(2, False)])
        site.drain(1)
    life.holds()
    assert len(life.admitted) == 3


def test_a_trickle_of_real_requests_adds_up_to_one_credit() -> None:
    """One request every five seconds at 25 %, now at one worker and now at another: every fourth pays for one."""
    passed = []
    with books(CREDIT // 4) as shared:
        site = Site(shared, Life(0))
        for number in range(8):
            site.now += 5 * WINDOW_NS
            site.earn(number % WORKERS)
            passed.append(site.workers[0].spend())
    assert passed == [False, False, False, True] * 2


def test_what_is_not_spent_expires() -> None:
    """A hundred requests in a second are worth 25 credits then, and one a second and a half later."""
    with books(CREDIT // 4) as shared:
        site = Site(shared, Life(0))
        for number in range(100):
            site.earn(number % WORKERS)
            site.now += 9 * MS
        assert site.control.balance() == 25
        site.now += 1_500 * MS
        site.earn(0)
        assert site.control.balance() == 1
        assert [site.workers[1].spend(), site.workers[1].spend()] == [True, False]


def test_after_the_lever_was_reset_nothing_from_before_is_spent() -> None:
    with books(CREDIT // 4) as shared:
        site = Site(shared, Life(0))
        for _ in range(100):
            site.earn(1)
        assert site.control.balance() == 25
        site.control.clear()
        assert site.control.balance() == 0
        assert not site.workers[0].spend()
        for _ in range(4):
            site.earn(2)
        assert site.workers[0].spend()
        assert not site.workers[0].spend()


def test_another_ceiling_begins_with_nothing() -> None:
    alone = Books.alone()
    credit = Credit(alone, alone.rows[0], lambda: WINDOW_NS)
    credit.set_ratio(CREDIT)
    for _ in range(10):
        credit.earn()
    credit.set_ratio(CREDIT // 2)
    assert not credit.spend()
    credit.earn()
    assert credit.balance() == 0.5


def test_a_ceiling_that_was_only_half_raised_lets_nothing_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever raises it may be killed in between: here, before it could tell what is gone of the credit."""
    with books(CREDIT // 4) as shared:
        site = Site(shared, Life(0))
        site.earn(0, 100)
        with monkeypatch.context() as killed:
            killed.setattr(Credit, "_earned", lambda _: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                site.set_ratio(CREDIT)
        site.earn(1, 100)
        assert not site.workers[1].spend()
        assert site.control.balance() == 0


# --- real processes


@contextlib.contextmanager
def racing(shared: Books, *acts: tuple[str, ...]) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start a worker for each list of acts; they begin together."""
    with contextlib.ExitStack() as stack:
        workers = []
        for number, mine in enumerate(acts):
            one = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.spending", str(shared.fileno()), str(number), *mine],
                    pass_fds=[shared.fileno()],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(one.kill)
            workers.append(one)
        for one in workers:
            assert one.stdout
            assert one.stdout.readline() == "ready\n"
        for one in workers:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
        yield workers


def test_processes_that_race_for_credit_stay_under_the_ceiling_at_every_instant() -> None:
    ratio = CREDIT // 4
    acts = ("both:0.5", "spend:1.2", "both:0.5")
    before: list[int] = []
    after: list[int] = []
    spent: list[int] = []
    with books(ratio, 4) as shared:
        with racing(shared, *[acts] * 4) as workers:
            for one in workers:
                told, _ = one.communicate(timeout=30)
                for times, heard in zip((before, after, spent), told.splitlines(), strict=True):
                    times.extend(json.loads(heard))
        assert sum(row.real for row in shared.rows) == len(before)
    for times in (before, after, spent):
        times.sort()
    assert 4 * len(spent) <= len(before)
    assert 4 * len(spent) > 0.8 * len(before)  # and it was worth the race

    def real(start: int, end: int) -> int:
        """Count those that may have come in ``(start, end]``: a request comes some time between before and after."""
        return max(0, bisect_right(before, end) - bisect_right(after, start))

    begin = before[0]
    grid = range(begin - 1, max(after[-1], spent[-1]) + 1, 10 * MS)
    for start in grid:
        cap = max(4, real(start - WINDOW_NS, start))
        for end in range(start, grid[-1], 10 * MS):
            assert 4 * (bisect_right(spent, end) - bisect_right(spent, start)) <= real(start, end) + cap
    silence = [at for at in spent if begin + 1_510 * MS < at < begin + 1_690 * MS]
    assert not silence


def synthetic(shared: Books) -> list[int]:
    return [row.arrived[1] for row in shared.rows]


def test_workers_killed_while_they_spend_break_nothing() -> None:
    ratio = CREDIT // 4
    with books(ratio, 5) as shared, racing(shared, *[("both:20",)] * 5) as workers:
        for number, victim in enumerate(workers[1:], 1):
            more_than(shared, number, synthetic(shared)[number])
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            more_than(shared, 0, synthetic(shared)[0])
            admitted = sum(synthetic(shared))
            assert 4 * admitted <= sum(row.real for row in shared.rows)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait(10)
        admitted, real = sum(synthetic(shared)), sum(row.real for row in shared.rows)
        assert 4 * admitted <= real
        assert admitted * CREDIT <= shared.shared.taken <= ratio * real
        # Nobody alive holds the lock.
        credit = Credit(shared, shared.rows[0])
        for _ in range(8):
            credit.earn()
        assert credit.spend()


def test_a_worker_that_stops_with_the_lock_makes_others_refuse_and_not_wait() -> None:
    with books(CREDIT, 2) as shared, racing(shared, ("hold",)) as (holder,):
        _, status = waitpid(holder.pid, UNTRACED)
        assert WIFSTOPPED(status)
        credit = Credit(shared, shared.rows[1])
        for _ in range(100):
            credit.earn()
        took = []
        for _ in range(25):
            began = time.perf_counter()
            assert not credit.spend()
            took.append(time.perf_counter() - began)
        assert sorted(took)[len(took) // 2] < 0.005
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        credit.earn()
        assert credit.spend()


def more_than(shared: Books, worker: int, count: int) -> None:
    """Wait until a worker was allowed more."""
    deadline = time.monotonic() + 15
    while synthetic(shared)[worker] <= count:
        assert time.monotonic() < deadline, "it goes on spending"
        time.sleep(0.005)
