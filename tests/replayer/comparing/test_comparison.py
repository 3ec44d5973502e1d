"""Whether a change is more than noise: the tests' own false alarms, their power, and figures known from elsewhere."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.comparing.comparison import (
    FALSE_ALARMS,
    FEWEST_BLOCKS,
    MOST_BLOCKS,
    Block,
    Change,
    Figure,
    adjusted,
    compare,
    fisher,
    judged,
)
from tests.support.spells import run


def found(changes: list[Change], figure: Figure) -> Change:
    return next(change for change in changes if change.figure == figure)


@pytest.mark.timeout(180)
def test_of_runs_that_do_not_differ_few_seem_to() -> None:
    chance = random.Random(20260801)
    alarms = dict.fromkeys(("p50", "p95", "p99", "failed"), 0)
    tested, covered, runs, wrong = 0, 0, 0, 0
    for _ in range(25):
        routes = [compare(run(chance), run(chance)) for _ in range(12)]
        runs += 1
        wrong += any(change.verdict in ("worse", "better") for row in judged(routes) for change in row)
        for row in routes:
            tested += 1
            for change in row:
                assert change.p is not None
                alarms[change.figure] += change.p <= FALSE_ALARMS
            middle = found(row, "p50")
            assert middle.low is not None
            assert middle.high is not None
            covered += middle.low <= 1 <= middle.high
    # One figure by itself: as often as promised, within the chance of 300 draws (3 standard deviations: 3.8%).
    assert all(count <= 0.09 * tested for count in alarms.values()), (alarms, tested)
    assert covered >= 0.91 * tested
    # A whole run of 48 tested figures, corrected: hardly more than one in twenty calls anything a change.
    assert wrong <= 0.2 * runs, (wrong, runs)


def test_requests_of_a_spell_are_no_independent_witnesses() -> None:
    """What the clusters are for: counted request by request, the same runs would differ time and again."""
    chance = random.Random(7)
    naive = clustered = 0
    for _ in range(60):
        a, b = run(chance, rate=40), run(chance, rate=40)
        change = found(compare(a, b), "p50")
        assert change.p is not None
        clustered += change.p <= 0.05
        # A shuffle of all requests over the intervals makes them independent, and the spells the run's own.
        change = found(compare(_shuffled(a, chance), _shuffled(b, chance)), "p50")
        assert change.p is not None
        naive += change.p <= 0.05
    assert clustered <= 9, (clustered, naive)
    assert naive >= 15, (clustered, naive)


def _shuffled(blocks: list[Block], chance: random.Random) -> list[Block]:
    values = [value for block in blocks for value in Counter(block.times).elements()]
    chance.shuffle(values)
    each = len(values) // len(blocks)
    return [Block(Counter(values[n * each : (n + 1) * each]), each, 0) for n in range(len(blocks))]


def test_a_change_is_found_and_its_size_told() -> None:
    chance = random.Random(3)
    rows = judged([compare(run(chance), run(chance, slower=1.6, failing=0.08)), compare(run(chance), run(chance))])
    for figure in ("p50", "p95"):
        change = found(rows[0], figure)
        assert change.verdict == "worse"
        assert change.low is not None
        assert change.high is not None
        assert 1 < change.low < change.high < 3
        assert change.change == pytest.approx(1.6, rel=0.25)
    failed = found(rows[0], "failed")
    assert failed.verdict == "worse"
    assert failed.change == pytest.approx(0.07, abs=0.02)
    assert {change.verdict for change in rows[1]} <= {"noise", "unclear"}
    backwards = judged([compare(run(chance, slower=1.6), run(chance))])[0]
    assert found(backwards, "p50").verdict == "better"


def test_only_the_tail() -> None:
    chance = random.Random(5)
    rows = judged([compare(run(chance), run(chance, tail=6.0))])[0]
    assert found(rows, "p50").verdict == "noise"
    assert found(rows, "p99").verdict == "worse"


def test_a_change_that_is_sure_and_small_is_not_worth_a_word() -> None:
    blocks = [Block(dict.fromkeys(range(1000, 2000), 10), 10_000, 0)] * 30
    slower = [Block(dict.fromkeys(range(1030, 2030), 10), 10_000, 0)] * 30
    change = judged([compare(blocks, slower)])[0][0]
    assert change.p is not None
    assert change.p < 1e-6
    assert change.change == pytest.approx(1.02, abs=0.001)
    assert change.verdict == "noise"


def test_what_too_few_requests_or_seconds_can_not_tell_is_unclear() -> None:
    short = [Block({1000: 500}, 500, 0)] * (FEWEST_BLOCKS - 1)
    assert {change.verdict for change in judged([compare(short, short)])[0]} == {"unclear"}
    few = [Block({1000: 1}, 1, 0)] * 19
    changes = judged([compare(few, few)])[0]
    assert {change.verdict for change in changes} == {"unclear"}
    assert all(change.after is None for change in changes if change.figure != "failed")
    middling = [Block({1000: 30}, 30, 0)] * 10
    verdicts = {change.figure: change.verdict for change in judged([compare(middling, middling)])[0]}
    assert verdicts == {"p50": "noise", "p95": "noise", "p99": "unclear", "failed": "noise"}
    assert {change.verdict for change in judged([compare([], middling)])[0]} == {"unclear"}


def test_one_burst_of_failures_is_no_share_of_failures() -> None:
    fine = [Block({1000: 100}, 100, 0)] * 30
    burst = [*fine[:29], Block({1000: 100}, 100, 100)]
    assert found(judged([compare(fine, burst)])[0], "failed").verdict == "noise"
    steady = [Block({1000: 100}, 100, 3)] * 30
    assert found(judged([compare(fine, steady)])[0], "failed").verdict == "worse"


def test_samples_that_do_not_overlap_differ() -> None:
    a, b = [Block({1000: 50}, 50, 0)] * 10, [Block({9000: 50}, 50, 0)] * 10
    change = judged([compare(a, b)])[0][0]
    assert (change.verdict, change.change) == ("worse", 9.0)
    assert found(judged([compare(a, a)])[0], "p50").p == 1.0


@given(
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 3_600_000_000), st.integers(1, 50), max_size=5), st.integers(0, 9)),
        max_size=3 * MOST_BLOCKS,
    ),
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 3_600_000_000), st.integers(1, 50), max_size=5), st.integers(0, 9)),
        max_size=2 * MOST_BLOCKS,
    ),
)
def test_whatever_came_in_figures_are_in_order(
    a: list[tuple[dict[int, int], int]], b: list[tuple[dict[int, int], int]]
) -> None:
    samples = [[Block(times, sum(times.values()) + failed, failed) for times, failed in each] for each in (a, b)]
    forth, back = judged([compare(samples[0], samples[1]), compare(samples[1], samples[0])])
    for change, mirrored in zip(forth, back, strict=True):
        if change.p is None:
            assert change.verdict == "unclear"
            continue
        assert 0 <= change.p <= 1
        assert change.adjusted is not None
        assert change.adjusted >= change.p - 1e-12
        assert change.change is not None
        assert change.low is None or change.low <= change.change + 1e-9
        assert change.high is None or change.high >= change.change - 1e-9
        assert mirrored.p == pytest.approx(change.p, abs=1e-9)
        other = {"worse": "better", "better": "worse"}
        assert mirrored.verdict == other.get(change.verdict, change.verdict)


def test_known_figures() -> None:
    # Fisher's tea (The Design of Experiments, 1935), and an example of R's fisher.test.
    assert fisher(1, 4, 3, 4) == pytest.approx(0.4857, abs=1e-4)
    assert fisher(2, 17, 10, 13) == pytest.approx(0.0005367, rel=1e-3)
    # The example of Benjamini and Hochberg's paper: of 15 hypotheses, four are rejected at 5%.
    ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    ps += [0.7590, 1.0]
    assert sum(p <= 0.05 for p in adjusted(ps)) == 4
    assert adjusted([]) == []
