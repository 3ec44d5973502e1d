"""Counts that are merged, against a model that keeps every event."""

import weakref
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.experience import SECOND_NS, Recent, Tally
from rules.latency import place
from rules.wire import Counted, Experience

type Life = list[tuple[int, list[tuple[float, int | None, bool]]]]

MS = 1_000_000

tallies = st.builds(
    Tally,
    st.integers(0, 5_000).map(lambda ms: ms / 1000),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.dictionaries(st.integers(0, 5), st.integers(1, 9)),
)


@given(tallies, tallies, tallies)
def test_tallies_merge_in_any_order(one: Tally, two: Tally, three: Tally) -> None:
    assert one.beside(two) == two.beside(one)
    assert one.beside(two).beside(three) == one.beside(two.beside(three))
    both, either = one + two, one.beside(two)
    assert both.seconds == one.seconds + two.seconds
    assert either.seconds == max(one.seconds, two.seconds)
    assert (both.arrived, both.finished, both.errors) == (either.arrived, either.finished, either.errors)
    assert both.latency == either.latency
    assert sum(both.latency.values()) == sum(one.latency.values()) + sum(two.latency.values())
    assert one + Tally() == one == Tally().beside(one)


# What a source counted, span by span: how long each was (ms), and at which parts of it requests ended, how slow (ms),
# and whether well. None of a latency: never answered.
events = st.lists(st.tuples(st.floats(0, 0.999), st.none() | st.integers(1, 3000), st.booleans()), max_size=5)
lives = st.lists(st.tuples(st.integers(1, 4000), events), max_size=25)


@given(st.lists(lives, min_size=1, max_size=3), st.integers(1, 15))
def test_a_window_holds_what_its_time_holds(sources: list[Life], seconds: int) -> None:
    """Summed up anew from all events there ever were, of each source over as many spans as fill the window."""
    recent = Recent([str(number) for number in range(len(sources))], longest=20)
    expected = Tally()
    end = max(sum(span for span, _ in life) for life in sources) * MS
    for number, life in enumerate(sources):
        now, raw = end - sum(span for span, _ in life) * MS, []
        bounds = [now]
        for at, (span, ended) in enumerate(life):
            raw += [(now + int(part * span * MS), latency, well) for part, latency, well in ended]
            now += span * MS
            bounds.append(now)
            count = Tally(
                span / 1000,
                arrived=len(ended),
                finished=len(ended),
                errors=sum(not well for _, _, well in ended),
                latency=_cells(latency for _, latency, _ in ended),
            )
            recent.add(str(number), now, {"real": count, "synthetic": Tally(span / 1000)})
            if at == len(life) // 2:
                recent.last("real", seconds, now)  # a window that slides on, and not one that begins at the end
        # The last bound from which on the window is filled, if there is one.
        begin = max((bound for bound in bounds if now - bound >= seconds * SECOND_NS), default=bounds[0])
        within = [(at, latency, well) for at, latency, well in raw if at >= begin]
        if life:
            expected = expected.beside(
                Tally(
                    (now - begin) / SECOND_NS,
                    len(within),
                    len(within),
                    sum(not well for _, _, well in within),
                    _cells(latency for _, latency, _ in within),
                )
            )
    assert recent.last("real", seconds, end) == expected
    assert recent.last("synthetic", seconds, end) == Tally(expected.seconds)
    assert expected.seconds < seconds + 4.001


def _cells(latencies: Iterable[int | None]) -> dict[int, int]:
    counted: dict[int, int] = {}
    for ms in latencies:
        if ms is not None:
            counted[place(ms / 1000)] = counted.get(place(ms / 1000), 0) + 1
    return counted


def test_what_was_counted_before_a_source_fell_silent_does_not_pass_for_new() -> None:
    recent = Recent(["a"])
    for second in range(1, 11):
        recent.add("a", second * SECOND_NS, {"real": Tally(1.0, 5, 5, 0, {7: 5})})
    assert recent.last("real", 4, 10 * SECOND_NS).arrived == 20
    assert recent.last("real", 4, 12 * SECOND_NS).arrived == 10
    assert recent.last("real", 4, 14 * SECOND_NS) == Tally()
    assert recent.last("real", 10, 14 * SECOND_NS).arrived == 30


def test_the_rate_of_several_sources_is_right_also_when_one_came_back_just_now() -> None:
    recent = Recent(["a", "b"])
    for second in range(1, 31):
        recent.add("a", second * SECOND_NS, {"real": Tally(1.0, 50)})
        if second > 28:
            recent.add("b", second * SECOND_NS, {"real": Tally(1.0, 70)})
    assert recent.last("real", 30, 30 * SECOND_NS).rate == pytest.approx(50 + 70)
    recent = Recent(["a", "b"])
    recent.add("a", SECOND_NS, {"real": Tally(1.0, 50)})
    recent.add("b", SECOND_NS, {"real": Tally(1e-5, 1)})
    assert recent.last("real", 30, SECOND_NS).rate == pytest.approx(50 + 1)
    assert Tally().rate is None
    assert Tally(2.0, 7).rate == Tally().beside(Tally(2.0, 7)).rate == 3.5


def test_a_pile_of_lines_counts_as_the_time_it_stands_for() -> None:
    recent = Recent(["a"])
    for second in range(10):
        recent.add("a", 50 * SECOND_NS, {"real": Tally(1.0, second)})
    assert recent.last("real", 2, 50 * SECOND_NS) == Tally(2.0, 8 + 9)


def test_what_is_kept_can_be_kept_for_longer_and_nothing_is_lost_by_that() -> None:
    recent = Recent(["a"], longest=5)
    for second in range(1, 11):
        recent.add("a", second * SECOND_NS, {"real": Tally(1.0, second)})
        if second == 6:
            recent.keep(8)
            recent.keep(2)
    assert recent.last("real", 5, 10 * SECOND_NS) == Tally(5.0, 6 + 7 + 8 + 9 + 10)
    assert recent.last("real", 8, 10 * SECOND_NS) == Tally(8.0, sum(range(3, 11)))
    with pytest.raises(ValueError, match="8 seconds are kept, not 9"):
        recent.last("real", 9, 10 * SECOND_NS)


def test_spans_that_stand_for_no_time_do_not_pile_up() -> None:
    """As of a source that is lost again and again after its first line."""

    class Cells(dict[int, int]):
        """What can be asked whether it is still kept."""

    recent, kept = Recent(["a"], longest=5), list[weakref.ref[Cells]]()
    for second in range(1, 21):
        cells = Cells()
        kept.append(weakref.ref(cells))
        recent.add("a", second * SECOND_NS, {"real": Tally(0.0, 1, latency=cells)})
    assert [one() is not None for one in kept] == [False] * 15 + [True] * 5


def test_silence_is_told_by_source() -> None:
    recent = Recent(["a", "b"])
    assert recent.silent(0, 3) == {"a": None, "b": None}
    recent.add("a", 10 * SECOND_NS, {})
    assert recent.silent(12 * SECOND_NS, 3) == {"b": None}
    assert recent.silent(14 * SECOND_NS, 3) == {"a": 4.0, "b": None}


def test_longer_than_anything_is_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="60 seconds are kept, not 61"):
        Recent(["a"], longest=60).last("real", 61, 0)


def test_a_line_of_the_stream_reads_back() -> None:
    line = Experience(
        elapsed_ns=5 * SECOND_NS,
        span_ns=1_500 * MS,
        kinds={"real": Counted(arrived=4, finished=3, errors=1, latency={17: 2, 2531: 1}), "synthetic": Counted()},
    )
    back = Experience.model_validate_json(line.model_dump_json())
    assert back == line
    assert back.tallies() == {"real": Tally(1.5, 4, 3, 1, {17: 2, 2531: 1}), "synthetic": Tally(1.5)}


@pytest.mark.parametrize("cell", ["2560", "-1", "x", "1e3"])
def test_a_line_with_a_cell_that_is_none_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="latency"):
        Experience.model_validate_json(
            f'{{"elapsed_ns":1,"span_ns":1,"kinds":{{"real":{{"latency":{{"{cell}":1}}}}}}}}'
        )
