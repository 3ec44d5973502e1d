"""Which step comes next, on clones whose breaking point is known."""

from hypothesis import given
from hypothesis import strategies as st

from drill.running.plan import sweep_of
from drill.running.record import Found
from drill.running.steps import Done, Next, Over, Scheme, following, most_left
from rules.units import MILLION, Factor

ONCE = Factor(MILLION)


def run(scheme: Scheme, breaks_at: int, louder: Found = "broke") -> list[Done]:
    """Run a drill on a clone that holds below a factor, and not from there on."""
    done: list[Done] = []
    while isinstance(now := following(scheme, done), Next):
        assert len(done) < 200
        done.append(Done(now.kind, now.factor, "held" if now.factor < breaks_at else louder))
    return done


def told(done: list[Done]) -> list[str]:
    return [f"{each.kind} {each.factor} {each.found}" for each in done]


def scheme(sweep: str | None = "0.5x:2x:0.25x", repeat: int = 1, warm: bool = False) -> Scheme:
    return Scheme(ONCE, repeat, warm, None if sweep is None else sweep_of(sweep))


def test_a_drill_without_a_sweep_is_its_repeats() -> None:
    assert told(run(scheme(None, repeat=3, warm=True), 5_000_000)) == ["warm-up 1x held"] + 3 * ["repeat 1x held"]


def test_what_held_is_stepped_up_to_the_top() -> None:
    done = run(scheme(), 5_000_000)
    assert told(done) == ["repeat 1x held", *(f"sweep {each}x held" for each in ("1.25", "1.5", "1.75", "2"))]
    over = following(scheme(), done)
    assert isinstance(over, Over)
    assert "2x" in over.why


def test_the_breaking_point_above_is_closed_in_on() -> None:
    assert told(run(scheme(), 1_600_000)) == [
        "repeat 1x held",
        "sweep 1.25x held",
        "sweep 1.5x held",
        "sweep 1.75x broke",
        "sweep 1.62x broke",
        "sweep 1.56x held",
    ]


def test_what_did_not_hold_is_stepped_down() -> None:
    assert told(run(scheme(), 600_000)) == [
        "repeat 1x broke",
        "sweep 0.75x broke",
        "sweep 0.5x held",
        "sweep 0.62x broke",
        "sweep 0.56x held",
    ]


def test_nothing_louder_is_tried_where_the_sender_could_not_keep_up() -> None:
    done = run(scheme(), 1_000_000, "unclear")
    assert all(each.factor <= ONCE for each in done)


def test_one_repeat_of_three_that_broke_is_enough_to_look_below() -> None:
    done = [Done("repeat", ONCE, "held"), Done("repeat", ONCE, "broke"), Done("repeat", ONCE, "held")]
    step = following(scheme(repeat=3), done)
    assert isinstance(step, Next)
    assert (step.kind, step.factor) == ("sweep", Factor(750_000))


@given(
    breaks_at=st.integers(1, 4_000_000),
    asked=st.integers(100_000, 3_000_000),
    low=st.integers(1, 15),
    more=st.integers(1, 30),
    by=st.integers(10_000, 1_000_000),
    repeat=st.integers(1, 4),
)
def test_the_breaking_point_is_found_wherever_it_is(
    breaks_at: int, asked: int, low: int, more: int, by: int, repeat: int
) -> None:
    sweep = sweep_of(f"{low / 10}x:{(low + more) / 10}x:{max(by, more * 2000) / 1e6}x")
    what = Scheme(Factor(asked), repeat, False, sweep)
    done = run(what, breaks_at)
    held = [each.factor for each in done if each.found == "held"]
    broke = [each.factor for each in done if each.found == "broke"]
    if held and broke:
        assert max(held) < min(broke)
        assert min(broke) - max(held) <= max(sweep.by // 4 + 10_000, 20_000)
    elif held:
        assert max(held) == max(sweep.high, asked)
    else:
        assert min(broke) == min(sweep.low, asked)
    assert len({each.factor for each in done if each.kind == "sweep"} | {asked}) == len(done) - repeat + 1


@given(breaks_at=st.integers(100_000, 4_000_000), asked=st.integers(300_000, 3_000_000), repeat=st.integers(1, 3))
def test_as_many_steps_are_foretold_as_there_may_be(breaks_at: int, asked: int, repeat: int) -> None:
    what = Scheme(Factor(asked), repeat, False, sweep_of("0.5x:2x:0.25x"))
    done = run(what, breaks_at)
    for place in range(len(done) + 1):
        whole, swept = most_left(what, done[:place])
        left = done[place:]
        assert whole == sum(each.kind == "repeat" for each in left)
        assert swept >= sum(each.kind == "sweep" for each in left)
