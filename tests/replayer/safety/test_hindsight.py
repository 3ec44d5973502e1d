"""What is told of rules afterwards is what the loop said at the time, as far as it was written down."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.counting.series import Second
from replayer.safety.gain import SECOND_NS
from replayer.safety.hindsight import backing, judgements, past
from replayer.safety.loop import Event, Judgement, Loop
from rules.slo import Reading, Rule
from rules.units import MILLION
from tests.replayer.safety.test_loop import Told

QUICK = "window=5s grace=2s min_samples=1"

RULES = [
    f"p(95)<500ms {QUICK} for=0s action=back-off",
    f"p(95)<500ms {QUICK} for=4s action=abort",  # the same expression, and another rule
    f"rate>10/s {QUICK} for=1s action=warn",
    f"p(95)<1.5x baseline {QUICK} for=0s action=back-off",
]


def entry(second: int, event: Event) -> dict[str, Any]:
    """A line of the journal."""
    line: dict[str, Any] = {"elapsed": 10.0 + second, "event": f"slo {event.kind}", "because": event.words}
    if event.change is not None:
        line |= {"event": "gain", "before": event.change.before / MILLION, "after": event.change.after / MILLION}
    if event.change is None or event.change.cause is not None:
        line |= {"rule": event.rule, "value": event.value, "limit": event.limit, "number": event.number}
    return line


VALUES = st.lists(st.tuples(*[st.sampled_from([None, 0.05, 0.4, 0.6, 3.0, 20.0])] * len(RULES)), max_size=40)


@given(VALUES)
def test_it_is_what_the_loop_said(values: list[tuple[float | None, ...]]) -> None:
    rules = [Rule.parse(rule) for rule in RULES]
    sources = [Told() for _ in rules]
    loop = Loop(zip(rules, sources, strict=True))
    entries: list[dict[str, Any]] = [{"elapsed": 9.0, "event": "baseline", "rule": "p(95)", "value": 0.3, "number": 4}]
    seconds: list[Second] = []
    assert loop.learn(lambda _rule: Reading(0.3, 100)) == []
    loop.begin(0)
    entries.append({"elapsed": 10.0, "event": "start"})
    for second, row in enumerate(values, 1):
        for source, value in zip(sources, row, strict=True):
            source.value = value
        gain = loop.gain.value / MILLION
        entries += [entry(second, event) for event in loop.look(second * SECOND_NS, 100 * second)]
        seconds.append(Second(start=second - 1, end=second, sent=100, gain=gain))
        if entries[-1]["event"] == "slo abort":
            break
    run = past(rules, live=True, entries=entries, seconds=seconds)
    assert backing(run) == loop.backing()
    for said, told in zip(loop.judgements(), judgements(run), strict=True):
        assert (told.rule, told.expression, told.action) == (said.rule, said.expression, said.action)
        assert (told.breaches, told.baseline) == (said.breaches, said.baseline)
        assert (told.verdict == "breached") == (said.verdict == "breached")
        if told.verdict == "held":  # it never claims more than was known
            assert said.verdict == "held"
        if told.breaches:
            assert abs(told.seconds - said.seconds) <= told.breaches  # the loop counts a second too that begins it
            assert told.worst is None or said.worst is not None


def of(rule: str, *entries: dict[str, Any], lasted: int = 20, sent: int = 100, live: bool = True) -> Judgement:
    seconds = [Second(start=n, end=n + 1, sent=sent, real_p95=0.2 + n / 100) for n in range(lasted)]
    (found,) = judgements(
        past([Rule.parse(rule)], live=live, entries=[{"elapsed": 1.0, "event": "start"}, *entries], seconds=seconds)
    )
    return found


def test_a_breach_that_had_no_end_lasts_until_the_run_s() -> None:
    breach = {"elapsed": 6.0, "event": "slo breached", "number": 1, "value": 0.9, "because": "it does not hold"}
    found = of("p(95)<500ms grace=0s", breach)
    assert (found.verdict, found.breaches, found.seconds, found.worst) == ("breached", 1, 15.0, 0.9)
    assert (found.words, found.told) == ("it does not hold", "worst 900ms")


@pytest.mark.parametrize(
    ("rule", "how", "verdict"),
    [
        ("p(95)<500ms grace=5s for=5s", {}, "held"),
        ("p(95)<500ms grace=15s for=5s", {}, "not judged"),  # a breach would not have been one yet
        ("p(95)<500ms grace=5s for=5s", {"lasted": 0}, "not judged"),
        ("synthetic.p(95)<500ms window=10s grace=5s for=5s min_samples=20", {"sent": 1}, "not judged"),
        ("synthetic.p(95)<500ms window=10s grace=5s for=5s min_samples=20", {"sent": 20}, "held"),
        ("p(95)<500ms window=10s grace=5s for=5s min_samples=20", {"sent": 1, "live": False}, "not judged"),
    ],
)
def test_that_a_rule_held_is_said_only_where_that_is_known(rule: str, how: dict[str, Any], verdict: str) -> None:
    assert of(rule, **how).verdict == verdict


def test_the_percentile_of_real_users_is_in_the_seconds() -> None:
    assert of("p(95)<500ms grace=5s").worst == pytest.approx(0.39)
    assert of("p(99)<500ms grace=5s").worst is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
FIELDS = ("elapsed", "number", "value", "before", "after", "because")
EVENTS = ("start", "baseline", "slo breached", "slo held", "slo abort", "gain")


@given(st.lists(st.fixed_dictionaries({"event": st.sampled_from(EVENTS) | JSON}, optional=dict.fromkeys(FIELDS, JSON))))
def test_whatever_stands_in_a_journal_does_no_harm(entries: list[dict[str, Any]]) -> None:
    run = past([Rule.parse(rule) for rule in RULES], live=True, entries=entries, seconds=[])
    assert len(judgements(run)) == len(RULES)
    found = backing(run)
    assert found is not None
    assert 0 <= found.least <= 1
