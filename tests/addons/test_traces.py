"""What is known of traces: held against a model, with many in little room, with writers that stop half-way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traces import SLOTS, Found, Learnt, Run, Traces

ROOT = Path(__file__).resolve().parents[2]
Step = tuple[str, int, Run | None]

RUNS = [Run(f"v1.key.run{number}.1.production.signature", f"run{number}") for number in range(3)]

learning = st.tuples(st.just("learn"), st.integers(1, 12), st.sampled_from(RUNS))
meeting = st.tuples(st.just("real"), st.integers(1, 12), st.none())
waiting = st.tuples(st.just("wait"), st.integers(1, 50), st.none())
steps = st.lists(st.one_of(learning, meeting, waiting), max_size=60)


class Model:
    """What a table without any limits knows: when each trace was last borne, and by whom."""

    def __init__(self) -> None:
        self.now = 1000
        self.learnt: dict[int, tuple[Run, int]] = {}
        self.met: dict[int, int] = {}
        self.contested: dict[int, int] = {}
        """When a real request last bore what synthetic ones had: for as long as that goes on, it is remembered."""

    def is_real(self, key: int) -> bool:
        return key in self.met and self.now < self.met[key] + 100

    def take(self, traces: Traces, step: Step) -> None:
        what, key, run = step
        if what == "wait":
            self.now += key
        elif what == "real":
            since = max((at[1] if (at := self.learnt.get(key)) else 0), self.contested.get(key, 0))
            known = self.now < since + 100
            assert traces.meet_real(key, self.now) == known
            self.met[key] = self.now
            if known:
                self.contested[key] = self.now
        elif run is not None and traces.learn(key, run, self.now) is Learnt.LEARNT:
            assert not self.is_real(key)
            run_before, since = self.learnt.get(key, (None, 0))
            if run_before != run or self.now >= since + 5:  # sooner, it is not written anew
                self.learnt[key] = run, self.now
        elif run is not None:
            assert key in self.met, "only for a real one's sake a trace is not learnt"

    def fits(self, key: int, found: Run | Found) -> bool:
        run, since = self.learnt.get(key, (None, 0))
        if self.is_real(key):
            return found in (Found.REAL, Found.CONTESTED)
        if run and self.now < since + 93 and self.met.get(key, 0) < since:
            return found == run
        return found is Found.UNKNOWN or run is not None or key in self.met


@given(steps)
@settings(max_examples=60)
def test_with_room_for_all_it_is_a_dictionary_that_forgets(steps: list[Step]) -> None:
    traces, model = Traces.create(age=100, sets=1 << 14, cells=1 << 20), Model()
    for step in steps:
        model.take(traces, step)
        assert all(model.fits(key, traces.find(key, model.now)) for key in range(1, 13))
    traces.close()


@given(steps, st.sampled_from([64, 1 << 10]))
@settings(max_examples=60)
def test_in_little_room_much_is_forgotten_but_no_real_trace_is_ever_synthetic(steps: list[Step], cells: int) -> None:
    traces, now = Traces.create(age=100, sets=1, cells=cells), 1000
    met: dict[int, int] = {}
    learnt: dict[int, set[Run]] = {}
    for what, key, run in steps:
        if what == "wait":
            now += key
        elif what == "real":
            traces.meet_real(key, now)
            met[key] = now
        elif run is not None and traces.learn(key, run, now) is Learnt.LEARNT:
            learnt.setdefault(key, set()).add(run)
        for trace in range(1, 13):
            found = traces.find(trace, now)
            if isinstance(found, Run):
                assert found in learnt.get(trace, ()), "a run's trace is one that it bore"
                assert trace not in met or now >= met[trace] + 100, "a real user's trace"
    traces.close()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7)), max_size=40))
@settings(max_examples=40)
def test_what_two_writers_leave_between_them_is_no_entry_of_a_third(order: list[tuple[int, int]]) -> None:
    """The words of one set as they stand after two processes have written, each of which may have stopped anywhere."""
    traces = Traces.create(age=100, sets=1, cells=64)
    fd = traces.fileno()
    at = os.fstat(fd).st_size - 64 - 64  # one set, before the cells
    memories = []
    for key, run in ((7, RUNS[0]), (9, RUNS[1])):
        traces.learn(key, run, 1000)
        memories.append(os.pread(fd, 64, at))
        os.pwrite(fd, bytes(64), at)
    for who, word in order:
        os.pwrite(fd, memories[who][word * 8 : word * 8 + 8], at + word * 8)
    assert traces.find(7, 1001) in (RUNS[0], Found.UNKNOWN)
    assert traces.find(9, 1001) in (RUNS[1], Found.UNKNOWN)
    assert traces.find(8, 1001) is Found.UNKNOWN
    traces.close()


def test_a_flood_of_real_traces_pushes_no_synthetic_one_out_and_costs_no_more_memory() -> None:
    traces = Traces.create(sets=1 << 8, cells=1 << 12)
    size = Path(f"/proc/self/fd/{traces.fileno()}").stat().st_size
    assert traces.learn(5, RUNS[0], 10) is Learnt.LEARNT
    for key in range(100, 20_100):
        traces.meet_real(key, 11)
    assert traces.find(5, 12) == RUNS[0]
    # The filter is full: all look real, so that no more is learnt, and nobody is taken for what he is not.
    assert traces.learn(6, RUNS[0], 12) is Learnt.DOUBTED
    assert Path(f"/proc/self/fd/{traces.fileno()}").stat().st_size == size
    assert traces.counted()["real"] == 20_000
    traces.close()


def test_the_oldest_gives_way_and_what_is_contested_stays() -> None:
    traces = Traces.create(sets=1, cells=1 << 16)
    for key in range(1, 5):
        assert traces.learn(key, RUNS[0], key * 100) is Learnt.LEARNT
    assert traces.meet_real(1, 500)
    assert traces.learn(5, RUNS[1], 510) is Learnt.LEARNT
    assert [traces.find(key, 511) for key in range(1, 6)] == [
        *(Found.CONTESTED, Found.UNKNOWN, RUNS[0], RUNS[0], RUNS[1])
    ]
    for key in (3, 4, 5):
        assert traces.meet_real(key, 520)
    assert traces.learn(6, RUNS[0], 530) is Learnt.DOUBTED, "there is no room but at the cost of real users"
    counted = traces.counted()
    assert (counted["learnt"], counted["displaced"], counted["contested"], counted["doubted"]) == (5, 1, 4, 1)
    assert (traces.held(531), traces.room) == (4, 4)
    traces.close()


def test_more_runs_than_there_is_room_for_push_out_the_one_unused_for_longest() -> None:
    traces = Traces.create()
    runs = [Run(f"v1.k.run{number}.1.p.s", f"run{number}") for number in range(SLOTS + 1)]
    for number, run in enumerate(runs):
        assert traces.learn(number + 1, run, 100 + number) is Learnt.LEARNT
        traces.learn(1, runs[0], 100 + number)  # still in use
    assert traces.find(1, 400) == runs[0]
    assert traces.find(2, 400) is Found.UNKNOWN, "its run was the one unused for longest"
    assert all(traces.find(number + 1, 400) == runs[number] for number in range(2, SLOTS + 1))
    traces.close()


def test_other_processes_see_it_and_one_that_dies_takes_nothing_along() -> None:
    traces = Traces.create(age=3600)
    code = (
        "import os, sys; from addons.traces import Run, Traces; traces = Traces(int(sys.argv[1]), writer=1);"
        "traces.learn(2**64 - 1, Run('v1.k.r.1.p.s', 'r'), 1000); traces.meet_real(5, 1000); os.kill(os.getpid(), 9)"
    )
    traces.learn(4, RUNS[0], 1000)
    command = [sys.executable, "-c", code, str(traces.fileno())]
    subprocess.run(command, pass_fds=[traces.fileno()], cwd=ROOT, check=False)
    assert traces.find(2**64 - 1, 1001) == Run("v1.k.r.1.p.s", "r")
    assert traces.find(5, 1001) is Found.REAL
    assert (traces.counted()["learnt"], traces.counted()["real"]) == (2, 1)
    assert traces.learn(6, RUNS[2], 1001) is Learnt.LEARNT, "no lock is left behind"
    traces.close()


@pytest.mark.parametrize("content", [b"", b"x" * 5000, bytes(2_000_000)])
def test_other_memory_is_not_taken_for_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("r+b") as file, pytest.raises(ValueError, match="no memory of traces"):
        Traces(file.fileno())


@pytest.mark.parametrize(("age", "sets", "cells"), [(0, 1, 64), (60, 3, 64), (60, 4, 65)])
def test_sizes_that_make_no_sense_are_refused(age: int, sets: int, cells: int) -> None:
    with pytest.raises(ValueError, match="power"):
        Traces.create(age, sets, cells)
