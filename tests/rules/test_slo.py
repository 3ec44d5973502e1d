"""SLO rules: what people write, what counts make of it, and the memory of a breach against a model."""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rules.experience import SECOND_NS, Recent, Tally
from rules.latency import place
from rules.slo import Expression, Prometheus, Reading, Rule, Watch, observe
from rules.units import Duration, UnitError


def approximately(value: float, rel: float | None = None) -> Any:
    """Compare a figure in a reading up to the resolution of the cells."""
    return pytest.approx(value, rel=rel)


# --- expressions


@pytest.mark.parametrize(
    ("text", "subject", "statistic", "percentile", "operator", "bound", "relative"),
    [
        ("p(95)<500ms", "real", "p", "95", "<", 0.5, False),
        ("p(99.9)<=2s", "real", "p", "99.9", "<=", 2.0, False),
        ("real.p(50)<1m", "real", "p", "50", "<", 60.0, False),
        (" synthetic . p( 95 ) < 500 ms ", "synthetic", "p", "95", "<", 0.5, False),
        ("avg<80ms", "real", "avg", "0", "<", 0.08, False),
        ("med<50ms", "real", "med", "0", "<", 0.05, False),
        ("min>1us", "real", "min", "0", ">", 1e-6, False),
        ("max<10s", "real", "max", "0", "<", 10.0, False),
        ("error_ratio<1%", "real", "error_ratio", "0", "<", 0.01, False),
        ("error_ratio < 0.01", "real", "error_ratio", "0", "<", 0.01, False),
        ("error_ratio==0", "real", "error_ratio", "0", "==", 0.0, False),
        ("error_ratio<=0.5%", "real", "error_ratio", "0", "<=", 0.005, False),
        ("rate>10/s", "real", "rate", "0", ">", 10.0, False),
        ("synthetic.rate>=600/m", "synthetic", "rate", "0", ">=", 10.0, False),
        ("p(99)<1.1x baseline", "real", "p", "99", "<", 1.1, True),
        ("rate>0.9x baseline", "real", "rate", "0", ">", 0.9, True),
        ("value<0.8", "real", "value", "0", "<", 0.8, False),
        ("value > -1.5e3", "real", "value", "0", ">", -1500.0, False),
    ],
)
def test_an_expression_says_what_has_to_hold(
    text: str, subject: str, statistic: str, percentile: str, operator: str, bound: float, relative: bool
) -> None:
    parsed = Expression.parse(text)
    assert (parsed.subject, parsed.statistic, parsed.operator, parsed.relative) == (
        subject,
        statistic,
        operator,
        relative,
    )
    assert parsed.percentile == Fraction(percentile)
    assert parsed.bound == pytest.approx(bound)
    assert Expression.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p(95)<500", r"500 what\? A time needs its unit: write 500ms or 500s"),
        ("avg<0.5", r"0.5 what\?"),
        ("p(95)<50%", "'50%' is not a time: write it like 500ms"),
        ("p95<500ms", "not an SLO expression"),
        ("p<500ms", r"write a percentile like p\(95\)"),
        ("p(101)<500ms", r"from p\(0\) to p\(100\)"),
        ("avg(95)<500ms", r"only p takes a number: write p\(95\), or avg alone"),
        ("error_ratio<5", "'5' is not a share: write 1% or 0.01"),
        ("error_ratio<1", "'1' is not a share"),  # 1 % or all of them?
        ("error_ratio<-0.5", "is not a share"),
        ("error_ratio<10ms", "is not a share"),
        ("rate<0.01", "error_ratio<1%"),
        ("rate>10", "which is how many requests come"),
        ("http_req_duration<5ms", "there is no 'http_req_duration': there are p"),
        ("users.p(95)<1s", "there are no 'users' requests"),
        ("untrusted.p(95)<1s", "there are no 'untrusted' requests"),
        ("p(95)!=1s", "'!=' is none of"),
        ("p(95)===1s", "'===' is none of"),
        ("p(95)<", "not an SLO expression: write it like p"),
        ("p(95)", "not an SLO expression"),
        ("", "not an SLO expression"),
        ("p(99)<baseline", "write a multiple of the baseline like"),
        ("p(99)<110% baseline", "write a multiple of the baseline like"),
        ("error_ratio<2x baseline", "its bound would be 0"),
        ("value<2x baseline", "a baseline is learnt of latencies"),
        ("value<5ms", "is not a number: write it like value<0.8"),
        ("value<nan", "is not a number"),
        ("value<1e999", "is not a number"),
        ("real.value<1", "nobody's requests"),
        ("p(95)<500ms p(99)<1s", "not an SLO expression|is not a time"),
        ("p(95)<1000000h", "longer than a century|is not a time"),
    ],
)
def test_a_wrong_expression_is_told_with_how_to_write_it(text: str, told: str) -> None:
    with pytest.raises(UnitError, match=told):
        Expression.parse(text)


@given(st.text(max_size=40) | st.text("p(95)<>=! .real synthetic_1%msx/e-", max_size=40))
@example("p(95)<" + "9" * 30 + "s")
@example("value<" + "9" * 400)
@example("0" * 100_000)
def test_no_text_does_more_harm_than_an_error(text: str) -> None:
    try:
        parsed = Expression.parse(text)
    except UnitError as error:
        assert len(str(error)) < 1000  # noqa: PT017 - an error is one of two right answers
    else:
        assert Expression.parse(str(parsed)) == parsed


latencies = st.lists(st.integers(1, 60_000_000).map(lambda us: us / 1e6), min_size=1, max_size=60)


def tally(times: list[float], errors: int = 0, seconds: float = 10.0) -> Tally:
    cells: dict[int, int] = {}
    for one in times:
        cells[place(one)] = cells.get(place(one), 0) + 1
    return Tally(seconds, len(times) + errors, len(times) + errors, errors, cells)


@given(latencies, st.integers(0, 1000).map(lambda tenths: Fraction(tenths, 10)))
def test_latencies_are_those_of_the_nearest_rank_within_the_resolution_of_the_cells(
    times: list[float], percentile: Fraction
) -> None:
    times.sort()
    rank = next(rank for rank in range(1, len(times) + 1) if Fraction(100 * rank, len(times)) >= percentile)
    for name, exact in [
        (f"p({float(percentile)})", times[rank - 1]),
        ("min", times[0]),
        ("max", times[-1]),
        ("med", times[(len(times) - 1) // 2]),
        ("avg", sum(times) / len(times)),
    ]:
        value, samples, _ = Expression.parse(f"{name}<1s").measure(tally(times))
        assert samples == len(times)
        assert value is not None
        # Half a step of 10 us from rounding, and the width of a cell.
        assert exact - 6e-6 <= value <= (exact + 6e-6) * (1 + 1 / 128) + 1e-5


def test_errors_and_rates_are_measured_of_what_ended_and_of_what_came() -> None:
    counted = Tally(seconds=20.0, arrived=100, finished=80, errors=4, latency={10: 79})
    assert Expression.parse("error_ratio<1%").measure(counted) == Reading(0.05, 80)
    assert Expression.parse("rate>1/s").measure(counted) == Reading(5.0, 100)
    assert Expression.parse("max<1s").measure(counted) == Reading(approximately(0.0001), 79)


@pytest.mark.parametrize(
    ("text", "counted", "told"),
    [
        ("p(95)<1s", Tally(10.0, 5, 5, 5), "no real request was answered"),
        ("synthetic.avg<1s", Tally(10.0), "no synthetic request was answered"),
        ("error_ratio<1%", Tally(10.0, 5), "no real request ended"),
        ("rate>1/s", Tally(), "nothing was counted yet"),
    ],
)
def test_where_nothing_can_be_measured_there_is_no_value(text: str, counted: Tally, told: str) -> None:
    assert Expression.parse(text).measure(counted) == Reading(None, 0, told)


def test_no_traffic_is_a_rate_of_nothing_and_not_no_data() -> None:
    assert Expression.parse("rate>1/s").measure(Tally(10.0)) == Reading(0.0, 0)


@pytest.mark.parametrize(
    ("operator", "below", "at", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
    ],
)
def test_operators(operator: str, below: bool, at: bool, above: bool) -> None:
    expression = Expression.parse(f"p(95){operator}500ms")
    assert [expression.holds(value, 0.5) for value in (0.4, 0.5, 0.6)] == [below, at, above]
    assert expression.limit(None) == expression.limit(3.0) == 0.5
    relative = Expression.parse(f"p(95){operator}1.5x baseline")
    assert relative.limit(None) is None
    assert relative.limit(2.0) == pytest.approx(3.0)


# --- rules


def test_a_rule_is_text_or_a_mapping() -> None:
    text = "p(95) < 500 ms window=1m for=10s grace=45s min_samples=50 action=back-off"
    given_ = {
        "expression": "p(95)<500ms",
        "window": "1m",
        "for": "10s",
        "grace": "45s",
        "min_samples": 50,
        "action": "back-off",
    }
    assert Rule.parse(text) == Rule.model_validate(given_)
    rule = Rule.parse(text)
    assert (str(rule.window), str(rule.for_), str(rule.grace)) == ("1m", "10s", "45s")
    assert rule.model_dump(mode="json", exclude_none=True) == given_
    assert Rule.model_validate_json(rule.model_dump_json()) == rule == Rule.parse(str(rule))


def test_a_rule_has_defaults() -> None:
    rule = Rule.parse("p(95)<500ms")
    assert str(rule) == "p(95)<500ms window=30s for=5s grace=10s min_samples=20 action=abort"
    assert Rule.parse("rate>10/s").min_samples == 0
    assert Rule.parse("value<1 plugin=checks:queue").min_samples == 1
    assert Rule.parse("p(95)==500ms min-samples=3").min_samples == 3


def test_a_rule_of_a_query_takes_the_query_as_it_is() -> None:
    query = 'sum(rate(errors{job= "shop", window="x"}[1m])) / 2 for=3'
    rule = Rule.parse(f"value<0.8 window=10s prometheus=http://prometheus:9090 query={query}")
    assert rule.prometheus == Prometheus(url="http://prometheus:9090", query=query)
    assert rule.external
    assert Rule.parse(str(rule)) == rule
    nested = {"expression": "value<0.8", "window": "10s", "prometheus": {"url": "http://prometheus:9090"}}
    nested["prometheus"]["query"] = query  # type: ignore[index]
    assert Rule.model_validate(nested) == rule


def test_a_rule_of_a_query_says_how_to_show_who_asks() -> None:
    rule = Rule.parse("value<0.8 prometheus=https://prometheus:9090 token_from=TOKEN ca=/ca.pem query=up")
    assert rule.prometheus == Prometheus(
        url="https://prometheus:9090", query="up", token_from="TOKEN", ca=Path("/ca.pem")
    )
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p(95)<500", r"500 what\?"),
        ("p(95)<500ms windw=30s", "no option 'windw': there are window, for, grace"),
        ("p(95)<500ms window=30", "write it like 10s"),
        ("p(95)<500ms window=500ms", "from 1s to 10m"),
        ("p(95)<500ms window=11m", "from 1s to 10m"),
        ("p(95)<500ms window=30s window=40s", "'window' is there twice"),
        ("p(95)<500ms action=stop", "'warn', 'back-off' or 'abort'"),
        ("p(95)<500ms min_samples=-1", "greater than or equal to 0"),
        ("value<1", r"value of what\? Say prometheus"),
        ("p(95)<1s plugin=a:b", "with plugin the expression is about its value"),
        ("value<1 plugin=ab", "is not a plugin: write it like my_checks:queue_length"),
        ("value<1 plugin=a:b prometheus=http://a query=x", "not by both"),
        ("value<1 prometheus=http://a", "write prometheus=URL query=QUERY"),
        ("value<1 query=up", "write prometheus=URL query=QUERY"),
        ("value<1 plugin=a:b token_from=TOKEN", "write prometheus=URL query=QUERY"),
        ("value<1 prometheus=http://a token_from=a-b query=up", "should match pattern"),
        ("value<1 prometheus=http://a token_from=A login_from=B query=up", "not both"),
        ("value<1 prometheus=localhost query=up", "is not the URL of a Prometheus"),
        ("value<1 prometheus=http://me:hidden@a query=up", "with a password"),
        ("window=30s", "not an SLO expression"),
        ("x" * 9000, "at most 8192 characters"),
    ],
)
def test_a_wrong_rule_is_told_with_how_to_write_it(text: str, told: str) -> None:
    with pytest.raises(UnitError, match=told):
        Rule.parse(text)
    with pytest.raises(ValidationError, match=told):
        Rule.model_validate(text)


def test_a_password_in_a_url_is_not_told() -> None:
    with pytest.raises(UnitError) as caught:
        Rule.parse("value<1 prometheus=http://me:hidden@a query=up")
    assert "hidden" not in str(caught.value)


def test_rules_are_fields_of_a_model() -> None:
    class Plan(BaseModel):
        slo: tuple[Rule, ...] = ()

    plan = Plan.model_validate({"slo": ["p(95)<500ms for=3s", {"expression": "error_ratio<1%"}]})
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert json.loads(plan.model_dump_json())["slo"][0]["for"] == "3s"
    assert Plan.model_json_schema(mode="validation")["$defs"]["Rule"]["properties"]["expression"] == {
        "description": "what has to hold",
        "title": "Expression",
        "type": "string",
    }


# --- what is read


def test_a_rule_is_read_over_its_own_window_and_of_its_own_subject() -> None:
    recent = Recent(["a", "b"])
    for second in range(1, 61):
        for source in ("a", "b"):
            slow = 0.9 if second <= 30 else 0.1
            counts = {"real": tally([slow], seconds=1.0), "synthetic": tally([2.0], errors=1, seconds=1.0)}
            recent.add(source, second * SECOND_NS, counts)
    now = 60 * SECOND_NS

    def read(text: str) -> Reading:
        return observe(Rule.parse(text), recent, now)

    assert read("max<1s window=30s") == Reading(approximately(0.1, rel=0.01), 60)
    assert read("max<1s window=40s") == Reading(approximately(0.9, rel=0.01), 80)
    assert read("synthetic.max<1s window=10s") == Reading(approximately(2.0, rel=0.01), 20)
    assert read("synthetic.error_ratio<1% window=10s") == Reading(0.5, 40)
    assert read("rate>1/s window=10s") == Reading(approximately(2.0), 20)


def test_one_silent_source_is_enough_for_no_data() -> None:
    recent = Recent(["10.0.0.1:8901", "10.0.0.2:8901"])
    rule = Rule.parse("p(95)<500ms")
    recent.add("10.0.0.1:8901", 0, {"real": tally([0.1] * 50)})
    assert observe(rule, recent, 0) == Reading(None, 0, "10.0.0.2:8901 said nothing yet")
    recent.add("10.0.0.2:8901", 2 * SECOND_NS, {"real": tally([0.1] * 50)})
    assert observe(rule, recent, 2 * SECOND_NS).samples == 100
    assert observe(rule, recent, 4 * SECOND_NS) == Reading(None, 0, "10.0.0.1:8901 is silent for 4.0s")


# --- the memory of a breach

RULE = Rule.parse("p(95)<500ms window=30s for=10s grace=30s min_samples=50")
GOOD, BAD = Reading(0.12, 60), Reading(0.812, 1204)


def test_a_breach_ripens_and_is_told_with_its_figures() -> None:
    watch = Watch(RULE)
    watch.begin(0)
    assert watch.look(GOOD, 40 * SECOND_NS).state == "fine"
    first = watch.look(BAD, 41 * SECOND_NS)
    assert (first.state, first.lasted, first.value, first.limit) == ("pending", 0.0, 0.812, 0.5)
    assert watch.look(BAD, 50 * SECOND_NS).state == "pending"
    verdict = watch.look(BAD, 51 * SECOND_NS)
    assert (verdict.state, verdict.lasted) == ("breached", 10.0)
    assert verdict.words == "p(95)<500ms does not hold: 812ms (1,204 real requests in 30s), for 10s"
    fine = watch.look(GOOD, 52 * SECOND_NS)
    assert (fine.state, fine.lasted) == ("fine", 0.0)
    assert fine.words == "p(95)<500ms holds: 120ms (60 real requests in 30s)"
    assert watch.look(BAD, 60 * SECOND_NS).state == "pending"


def test_a_breach_that_began_in_grace_counts_from_when_it_began_and_waits_for_its_end() -> None:
    watch = Watch(RULE)
    watch.begin(0)
    assert watch.look(BAD, 5 * SECOND_NS).state == "pending"
    late = watch.look(BAD, 29 * SECOND_NS)
    assert (late.state, late.lasted) == ("pending", 24.0)
    assert late.words.endswith("for 24s, so soon after the start")
    assert watch.look(BAD, 30 * SECOND_NS).state == "breached"


@pytest.mark.parametrize(
    ("reading", "told"),
    [
        (Reading(None, 0, "a is silent for 4.0s"), "p(95)<500ms: no data (a is silent for 4.0s)"),
        (Reading(None, 0), "p(95)<500ms: no data (no data)"),
        (Reading(math.nan, 100), "no data (the value is nan)"),
        (Reading(-math.inf, 100), "no data (the value is -inf)"),
        (Reading(0.1, 49), "no data (49 samples in 30s, and 50 are needed)"),
    ],
)
def test_no_data_counts_as_a_breach_after_grace(reading: Reading, told: str) -> None:
    watch = Watch(RULE)
    watch.begin(0)
    early = watch.look(reading, 29 * SECOND_NS)
    assert early.state == "fine"
    assert told in early.words
    assert "does not count yet" in early.words
    assert watch.look(reading, 30 * SECOND_NS).state == "pending"
    late = watch.look(reading, 40 * SECOND_NS)
    assert (late.state, late.value, late.limit) == ("breached", None, 0.5)
    assert told in late.words
    assert late.words.endswith(", which counts as a breach, for 10s")


def test_a_multiple_of_the_baseline() -> None:
    rule = Rule.parse("p(99)<1.1x baseline for=0s grace=0s")
    watch = Watch(rule)
    verdict = watch.look(Reading(0.1, 100), 0)
    assert verdict.state == "breached"
    assert "the baseline was not learnt" in verdict.words
    watch.baseline = 0.1
    assert watch.look(Reading(0.109, 100), SECOND_NS).state == "fine"
    verdict = watch.look(Reading(0.12, 100), 2 * SECOND_NS)
    assert verdict.state == "breached"
    assert "does not hold: 120ms, and the bound is 110ms (100 real requests in 30s)" in verdict.words
    assert verdict.limit == pytest.approx(0.11)


def test_the_words_of_a_value_name_no_requests() -> None:
    watch = Watch(Rule.parse("value<0.8 plugin=checks:load grace=0s"))
    assert watch.look(Reading(0.5, 1), 0).words == "value<0.8 holds: 0.5"


looks = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 12_000), st.just(0), st.integers(-60_000, 60_000)),  # ms since the look before
        st.sampled_from(["good", "bad", "none", "few"]),
    ),
    max_size=40,
)
READINGS: dict[str, Callable[[], Reading]] = {
    "good": lambda: Reading(0.1, 100),
    "bad": lambda: Reading(0.9, 100),
    "none": lambda: Reading(None, 0),
    "few": lambda: Reading(0.1, 3),
}


def model(history: list[tuple[int, str]], for_ms: int, grace_ms: int) -> str:
    """What the last of all looks has to say, from all of them: (ms since the look before, what was read)."""
    times = [sum(max(0, step) for step, _ in history[: at + 1]) for at in range(len(history))]
    began: int | None = None
    for at, (_, what) in enumerate(history):
        if what == "good":
            began = None
        elif began is None and (what == "bad" or times[at] >= grace_ms):
            began = times[at]
    if began is None:
        return "fine"
    return "breached" if times[-1] >= grace_ms and times[-1] - began >= for_ms else "pending"


@given(looks, st.integers(0, 20), st.integers(0, 40))
def test_the_memory_does_as_a_model_that_sees_all_of_history(
    history: list[tuple[int, str]], for_seconds: int, grace_seconds: int
) -> None:
    rule = Rule.model_validate(
        {"expression": "p(95)<500ms", "for": Duration(for_seconds), "grace": Duration(grace_seconds)}
    )
    watch = Watch(rule)
    now = 10**15
    watch.begin(now)
    for at, (step, what) in enumerate(history):
        now += step * 1_000_000
        verdict = watch.look(READINGS[what](), now)
        assert verdict.state == model(history[: at + 1], for_seconds * 1000, grace_seconds * 1000)
        assert (verdict.lasted > 0) <= (verdict.state != "fine")
        assert verdict.words.startswith("p(95)<500ms")


@given(looks, st.sampled_from(["bad", "none", "few"]))
def test_once_breached_no_clock_and_no_silence_clears_it(history: list[tuple[int, str]], what: str) -> None:
    watch = Watch(Rule.parse("p(95)<500ms for=0s grace=0s"))
    now = 10**15
    assert watch.look(READINGS[what](), now).state == "breached"
    for step, later in history:
        now += step * 1_000_000
        state = watch.look(READINGS[later](), now).state
        if later == "good":
            return
        assert state == "breached"


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ("p(95)<500ms", 0.80383, "803.8ms"),
        ("max<10s", 75.0, "1m15s"),
        ("error_ratio<1%", 0.627494456763, "62.75%"),
        ("error_ratio<1%", 0.0, "0%"),
        ("rate>10/s", 12345.678, "12350/s"),
        ("rate>10/s", 0.0333333, "0.03333/s"),
        ("value<1 ", 0.123456789, "0.123456789"),
    ],
)
def test_figures_are_told_in_their_unit(text: str, value: float, told: str) -> None:
    assert Expression.parse(text).tell(value) == told
