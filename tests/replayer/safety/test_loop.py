"""The loop over all rules: what they say becomes less load, a warning or the end, with cause and figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.safety.gain import SECOND_NS
from replayer.safety.loop import Event, Loop, load, of_own
from rules.slo import Expression, Reading, Rule
from rules.units import MILLION

QUICK = "window=5s for=0s grace=0s min_samples=1"


class Told:
    """A source that says what a test lets it say."""

    def __init__(self, value: float | None = 0.1, samples: int = 100) -> None:
        self.value, self.samples = value, samples

    def read(self, _now_ns: int) -> Reading:
        return Reading(self.value, self.samples, "" if self.value is not None else "nobody told")

    async def follow(self) -> None:
        return


def looped(*rules: str) -> tuple[Loop, list[Told]]:
    sources = [Told() for _ in rules]
    return Loop(zip(map(Rule.parse, rules), sources, strict=True)), sources


def run(loop: Loop, seconds: range, sent_each: int = 100) -> list[tuple[int, Event]]:
    return [(second, event) for second in seconds for event in loop.look(second * SECOND_NS, sent_each * (second + 1))]


def kinds(events: list[tuple[int, Event]]) -> list[tuple[int, str]]:
    return [(second, event.kind) for second, event in events]


def test_a_warning_changes_nothing_and_both_its_ends_are_told() -> None:
    loop, (told,) = looped(f"p(95)<500ms {QUICK} action=warn")
    loop.begin(0)
    assert run(loop, range(3)) == []
    told.value = 0.75
    ((second, event),) = run(loop, range(3, 6))
    assert (second, event.kind, event.value, event.limit, event.samples) == (3, "breached", 0.75, 0.5, 100)
    assert "p(95)<500ms does not hold: 750ms" in event.words
    told.value = 0.1
    assert kinds(run(loop, range(6, 9))) == [(6, "held")]
    assert loop.gain.value == MILLION
    assert loop.backing() is None
    (judgement,) = loop.judgements()
    assert (judgement.verdict, judgement.breaches, judgement.seconds) == ("breached", 1, 3.0)
    assert (judgement.worst, judgement.limit, judgement.told) == (0.75, 0.5, "worst 750ms")


def test_why_a_rule_was_not_judged_is_said() -> None:
    loop, (real, few) = looped(
        "p(95)<500ms grace=10s", "synthetic.p(95)<500ms window=5s grace=0s min_samples=10 action=warn"
    )
    loop.begin(0)
    real.value, real.samples, few.value = None, 0, None
    assert run(loop, range(4), sent_each=1) == []
    first, second = loop.judgements()
    assert (first.verdict, second.verdict) == ("not judged", "not judged")
    assert first.words == "p(95)<500ms: no data (nobody told), which does not count yet, so soon after the start"
    assert second.words == "there was never enough to judge (0s of grace, 10 requests in 5s)"


def test_how_a_rule_held_whose_worst_value_is_beyond_its_limit_is_said() -> None:
    loop, (told,) = looped("p(95)<500ms window=5s for=3s grace=0s")
    loop.begin(0)
    run(loop, range(3))
    told.value = 0.75
    run(loop, range(3, 5))
    told.value = 0.1
    run(loop, range(5, 8))
    (judgement,) = loop.judgements()
    assert judgement.verdict == "held"
    assert judgement.told == "worst 750ms, beyond it for less than 3s"


def test_back_off_takes_away_and_gives_back_and_says_why() -> None:
    loop, (told,) = looped(f"p(95)<500ms {QUICK} action=back-off")
    loop.begin(0)
    told.value = 1.0
    events = run(loop, range(8))
    assert kinds(events) == [(0, "breached"), (0, "gain"), (7, "gain")]
    change = events[1][1].change
    assert change is not None
    assert (change.before, change.after) == (MILLION, MILLION // 2)
    assert events[1][1].words.startswith("from 100.0% to 50.0% of the demand: p(95)<500ms does not hold: 1s")
    told.value = 0.1
    later = run(loop, range(8, 16))
    assert kinds(later) == [(8, "held"), (14, "gain")]
    assert later[-1][1].rule == ""
    told.value = 0.47  # in the band
    assert run(loop, range(16, 60)) == []
    backing = loop.backing()
    assert backing is not None
    assert (backing.last, backing.least, backing.cuts) == (0.28125, 0.25, 2)
    assert 0.28125 < backing.mean < 0.4


def test_of_two_rules_with_the_same_expression_the_one_that_took_it_away_is_named() -> None:
    rule = "p(95)<500ms for=0s grace=0s min_samples=1 action=back-off"
    loop, (mild, grave) = looped(f"{rule} window=5s", f"{rule} window=10s")
    loop.begin(0)
    mild.value, grave.value = 0.55, 2.0
    cut = next(event for _, event in run(loop, range(1)) if event.kind == "gain")
    assert (cut.number, cut.value) == (2, 2.0)


def test_no_data_is_a_breach_once_the_grace_is_over() -> None:
    loop, (told,) = looped("p(95)<500ms window=5s for=0s grace=10s action=back-off")
    told.value = None
    loop.begin(0)
    events = run(loop, range(30))
    assert events[0][0] == 10
    assert [second for second, event in events if event.kind == "gain"] == list(range(10, 17))
    assert loop.gain.value == 0
    assert "nobody told" in events[0][1].words


def test_an_abort_is_the_last_word() -> None:
    loop, (slow, failing) = looped(f"p(95)<500ms {QUICK} action=back-off", f"error_ratio<1% {QUICK}")
    loop.begin(0)
    slow.value, failing.value = 1.0, 0.5
    events = run(loop, range(5))
    assert kinds(events) == [(0, "breached"), (0, "breached"), (0, "abort")]
    assert events[-1][1].rule == "error_ratio<1%"
    assert "50%" in events[-1][1].words


def test_for_is_how_long_it_has_to_last_and_until_then_there_is_no_more_either() -> None:
    loop, (told,) = looped("p(95)<500ms window=1s for=5s grace=0s action=back-off")
    loop.begin(0)
    told.value = 1.0
    assert kinds(run(loop, range(6)))[0] == (5, "breached")
    told.value = 0.1
    run(loop, range(6, 8))
    told.value = 1.0
    assert run(loop, range(8, 12)) == [], "pending: it holds what it has"


def test_what_is_not_sent_can_not_be_judged_and_comes_back() -> None:
    """A rule about synthetic requests has no data at a gain of nothing, which must not keep it there."""
    loop, (told,) = looped("synthetic.p(95)<500ms window=5s for=0s grace=0s min_samples=10 action=back-off")
    loop.begin(0)
    told.value = None  # none of what was sent is answered
    run(loop, range(12))
    assert loop.gain.value == 0
    sent = 100 * 12
    events = [event for second in range(12, 30) for event in loop.look(second * SECOND_NS, sent)]
    assert [event.kind for event in events] == ["held", "gain"] + ["gain"] * (len(events) - 2)
    assert loop.gain.value > 0
    events = [event for second in range(30, 42) for event in loop.look(second * SECOND_NS, sent + 100 * (second - 29))]
    assert events[0].kind == "breached", "it is sent again, and there still is no data"


def test_real_users_who_say_nothing_are_no_data_however_little_is_sent() -> None:
    loop, (told,) = looped(f"p(95)<500ms {QUICK} action=back-off")
    loop.begin(0)
    told.value = None
    run(loop, range(60), sent_each=0)
    assert loop.gain.value == 0


def test_a_baseline_is_learnt_or_it_is_said_why_not() -> None:
    loop, (told, other) = looped(f"p(99)<1.5x baseline {QUICK}", "p(95)<1s")
    told.value, other.value = None, None
    assert loop.learn(lambda _: told.read(0)) == ["p(99)<1.5x baseline: nobody told"]
    told.value, told.samples = 0.1, 0
    assert loop.learn(lambda _: told.read(0)) == ["p(99)<1.5x baseline: 0 requests, and 1 are needed"]
    told.samples = 100
    assert loop.learn(lambda _: told.read(0)) == []
    loop.begin(SECOND_NS)
    told.value = 0.16
    assert kinds(run(loop, range(1, 2))) == [(1, "breached"), (1, "abort")]
    assert loop.judgements()[0].told == "worst 160ms, limit 150ms, baseline 100ms"


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        ("p(95)<500ms", 0.25, 0.5),
        ("p(95)<500ms", 1.0, 2.0),
        ("rate>10/s", 20.0, 0.5),
        ("rate>10/s", 5.0, 2.0),
        ("rate>=10/s", 0.0, math.inf),
        ("error_ratio<=0%", 0.0, 0.0),
        ("error_ratio<=0%", 0.01, math.inf),
        ("error_ratio<0%", 0.0, math.inf),
        ("value==0", 0.0, 0.0),
        ("value==0", 1.0, math.inf),
        ("value>-1", 0.0, 0.0),
    ],
)
def test_how_much_of_its_limit_a_value_uses(expression: str, value: float, expected: float) -> None:
    parsed = Expression.parse(expression)
    assert load(parsed, value, parsed.limit(None)) == expected


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 1e6, allow_subnormal=False),
    st.floats(0.001, 1e6, allow_subnormal=False),
)
def test_who_is_beyond_the_limit_uses_more_than_all_of_it(operator: str, value: float, limit: float) -> None:
    expression = Expression.parse(f"value{operator}{limit:.6f}")
    used = load(expression, value, expression.bound)
    assert used is not None
    assert used <= 1 if expression.holds(value, expression.bound) else used >= 1


def test_where_there_are_no_real_users_the_run_s_own_requests_are_judged() -> None:
    assert str(of_own(Rule.parse("p(95)<500ms")).expression) == "synthetic.p(95)<500ms"
    assert of_own(Rule.parse("p(95)<500ms")).expression.subject == "synthetic"
    assert of_own(Rule.parse("p(95)<500ms")).expression == Expression.parse("synthetic.p(95)<500ms")
    for text in ("synthetic.p(95)<500ms", "value<1 plugin=mine:it"):
        assert of_own(Rule.parse(text)) == Rule.parse(text)
