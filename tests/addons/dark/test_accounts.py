"""The accounts of dark copies: nothing is missing and nothing counted twice, whoever dies in between."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.books import Books
from addons.dark import accounts as module
from addons.dark.accounts import HANDED, NOT_COPIED, OUTCOMES, SEEN, Accounts, running
from addons.processes.tallies import ROWS
from rules.latency import longest, place


@pytest.fixture
def accounts() -> Iterator[Accounts]:
    made = Accounts.create(4)
    yield made
    made.close()


class Model:
    """Workers and aides: each request goes one way, and is found where it is. All of them are this process."""

    def __init__(self) -> None:
        self.accounts = Accounts.create(4)
        self.workers = [self.accounts.worker(row) for row in range(4)]
        self.number = 0
        self.aide = self.accounts.aide(0)
        self.answering, self.waiting, self.flying = [0] * 4, 0, 0
        self.ended = dict.fromkeys((*NOT_COPIED, *OUTCOMES), 0)

    def come(self, row: int) -> None:
        self.workers[row][SEEN] += 1
        self.answering[row] += 1

    def hand_over(self, row: int) -> None:
        if self.answering[row]:
            self.answering[row] -= 1
            self.workers[row][HANDED] += 1
            self.waiting += 1

    def not_copy(self, row: int, outcome: str) -> None:
        if self.answering[row]:
            self.answering[row] -= 1
            self.workers[row][module.EXCLUDED + NOT_COPIED.index(outcome)] += 1
            self.ended[outcome] += 1

    def take(self) -> None:
        if self.waiting:
            self.aide.count("taken")
            self.waiting, self.flying = self.waiting - 1, self.flying + 1

    def end(self, outcome: str) -> None:
        if self.flying:
            self.aide.count(outcome)
            self.flying -= 1
            self.ended[outcome] += 1

    def replace_worker(self, row: int) -> None:
        self.ended["unanswered"] += self.answering[row]
        self.answering[row] = 0
        self.workers[row] = self.accounts.worker(row)

    def replace_aide(self) -> None:
        """Its successor has its row, as it is after some deaths."""
        self.ended["lost"] += self.flying
        self.flying = 0
        self.aide = self.accounts.aide(ROWS)


ROW = st.integers(0, 3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "hand_over", "replace_worker"]), ROW)
    | st.tuples(st.just("not_copy"), ROW, st.sampled_from(NOT_COPIED))
    | st.tuples(st.sampled_from(["take", "replace_aide"]))
    | st.tuples(st.just("end"), st.sampled_from([outcome for outcome in OUTCOMES if outcome != "lost"])),
    max_size=80,
)


@given(STEPS)
def test_they_reconcile_at_every_moment(steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    for step, *arguments in steps:
        getattr(model, step)(*arguments)
        sums = model.accounts.sums(lambda _: True)
        assert sums.seen == sum(sums.outcomes.values()) + sums.answering + sums.waiting + sums.in_flight
        assert (sums.answering, sums.waiting, sums.in_flight) == (sum(model.answering), model.waiting, model.flying)
        assert sums.outcomes == model.ended
    model.accounts.close()


def test_of_a_process_that_died_nothing_is_under_way(accounts: Accounts) -> None:
    accounts.worker(0)[SEEN] += 3
    one = accounts.worker(1)
    one[SEEN] += 1
    one[HANDED] += 1
    accounts.aide(0).count("taken")
    alive = accounts.sums(lambda _: True)
    assert (alive.answering, alive.in_flight) == (3, 1)
    dead = accounts.sums(lambda _: False)
    assert (dead.answering, dead.in_flight) == (0, 0)
    assert (dead.outcomes["lost"], dead.outcomes["unanswered"]) == (1, 3)


def test_times_by_side(accounts: Accounts) -> None:
    row = accounts.aide(3)
    for seconds in (0.001, 0.002, 0.003, 10.0):
        row.took("real", seconds)
    row.took("dark", 0.5)
    times = accounts.sums(running).times
    assert sum(times["real"].counts) == 4
    assert times["real"].seconds == pytest.approx(10.006)
    assert times["real"].percentile(50) == pytest.approx(longest(place(0.002)))
    assert times["real"].percentile(99) == pytest.approx(longest(place(10.0)))
    assert times["dark"].percentile(50) == pytest.approx(0.5, rel=0.01)
    assert Accounts.create(1).sums(running).times["dark"].percentile(50) is None


def test_other_processes_see_the_same(accounts: Accounts) -> None:
    other = Accounts(os.dup(accounts.fileno()))
    other.share = 5
    assert accounts.share == 5
    seen = []
    for engaged in (True, False):
        accounts.engaged = engaged
        seen.append(other.engaged)
    assert seen == [True, False]
    other.close()


def test_other_memory_is_refused() -> None:
    books = Books.create(1)
    with pytest.raises(ValueError, match="no accounts"):
        Accounts(books.fileno())
    books.close()


def test_running() -> None:
    assert running(os.getpid())
    assert running(1)
    child = subprocess.Popen(["true"])
    child.wait()
    assert not running(child.pid)
