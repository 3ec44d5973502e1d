"""Criteria held against samples: what is judged is what the interval shows, and chance is no evidence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drill.judging.criteria import Found, Sample, corrected, criterion, estimates, first_bad, holm, joined, judge
from drill.judging.evidence import Blocks
from drill.judging.verdict import Estimate, Held
from replayer.comparing.comparison import Block
from rules.slo import Expression

P95, ERRORS = Expression.parse("p(95)<1s"), Expression.parse("error_ratio<1%")


def replay(seed: int, median: float = 0.1, sigma: float = 0.5, requests: int = 60, failing: float = 0.0) -> Blocks:
    """Ten intervals of log-normal times."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(10):
        times = np.round(median * np.exp(random.normal(0, sigma, requests)) * 1e6).astype(int)
        values, counts = np.unique(times, return_counts=True)
        mapping = dict(zip(values.tolist(), counts.tolist(), strict=True))
        found.append(Block(mapping, requests, int(random.binomial(requests, failing))))
    return tuple(found)


def sample(**how: float) -> Sample:
    return Sample([replay(seed, **how) for seed in (1, 2, 3)])  # type: ignore[arg-type]


def test_what_is_far_from_its_bound_is_judged_and_what_is_near_is_not() -> None:
    assert judge(P95, sample(median=0.2), None, 0).judgement == "holds"
    assert judge(P95, sample(median=0.44), None, 0).judgement == "unclear"  # its p95 is 1 s
    assert judge(P95, sample(median=0.8), None, 0).judgement == "breaks"
    assert judge(ERRORS, sample(), None, 0).judgement == "holds"
    assert judge(ERRORS, sample(failing=0.01), None, 0).judgement == "unclear"
    assert judge(ERRORS, sample(failing=0.05), None, 0).judgement == "breaks"


@settings(max_examples=30)
@given(st.floats(0.2, 1.2), st.integers(0, 1000))
def test_the_interval_that_is_shown_never_contradicts_the_judgement(median: float, seed: int) -> None:
    found = judge(P95, Sample([replay(seed, median=median, requests=20)]), None, 0)
    estimate = found.held.estimate
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.low <= estimate.value <= (estimate.high or estimate.value)
    if found.judgement == "breaks":
        assert estimate.value >= 1
        # Its ends are values that were seen: the next ones lie on the other side of the bound, or at it.
        assert estimate.high is None or estimate.high >= 1
    if found.judgement == "holds":
        assert estimate.value < 1
        assert estimate.low < 1


def test_too_few_requests_are_told_with_the_number_that_it_takes() -> None:
    found = judge(ERRORS, Sample([replay(1, requests=10)]), None, 0)
    assert found.judgement == "unclear"
    assert (found.size, found.need) == (100, 528)
    enough = judge(ERRORS, Sample([replay(1, requests=53)]), None, 0)
    assert enough.judgement == "holds"
    assert enough.need == 0


@pytest.mark.parametrize(
    ("text", "judgement"),
    [
        ("med<200ms", "holds"),
        ("med<50ms", "breaks"),
        ("avg<200ms", "holds"),
        ("avg<90ms", "breaks"),
        ("p(50)>50ms", "holds"),
        ("p(50)>200ms", "breaks"),
        ("p(99)<=2s", "holds"),
        ("max<60s", "holds"),
        ("max<150ms", "breaks"),
        ("min>1ms", "holds"),
        ("rate>10/s", "holds"),
        ("rate>50/s", "breaks"),
        ("p(95)==1s", "unclear"),
        ("p(95)<1.5x baseline", "holds"),
        ("p(95)<1.01x baseline", "unclear"),
        ("p(95)<0.5x baseline", "breaks"),
        ("avg<1.5x baseline", "holds"),
        ("value<5", "untold"),
    ],
)
def test_every_kind_of_criterion(text: str, judgement: str) -> None:
    found = judge(Expression.parse(text), sample(), sample(), 20.0)
    assert found.judgement == judgement
    assert found.held.told


def test_a_multiple_of_a_baseline_that_is_not_there_is_not_judged() -> None:
    found = judge(Expression.parse("p(95)<1.5x baseline"), sample(), None, 0)
    assert found.judgement == "unclear"
    assert found.held.limit is None
    assert "baseline is not known" in found.held.told


def test_without_an_answer_nothing_is_judged_of_times() -> None:
    empty = Sample([tuple(Block({}, 50, 50) for _ in range(10))])
    assert judge(P95, empty, None, 0).judgement == "unclear"
    assert judge(ERRORS, empty, None, 0).judgement == "breaks"
    assert judge(Expression.parse("max<1s"), empty, None, 0).judgement == "unclear"
    assert estimates(empty)["p50"] == Estimate()


def test_a_replay_on_the_other_side_is_told_of() -> None:
    found = judge(P95, Sample([replay(1), replay(2), replay(3, median=0.55)]), None, 0)
    assert found.judgement == "unclear" or found.disagree == (2,)
    assert judge(P95, Sample([replay(1, median=0.9), replay(2, median=0.9), replay(3)]), None, 0).disagree == (2,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_makes_a_p_smaller_and_keeps_their_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(a <= b <= 1 for a, b in zip(ps, found, strict=True))
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert [found[place] for place in order] == sorted(found)
    assert found[order[0]] == min(1.0, ps[order[0]] * len(ps))


def test_what_one_test_of_many_finds_bad_is_taken_back() -> None:
    def found(p: float) -> Found:
        return Found(Held(criterion="p(95)<1s", estimate=Estimate(), limit=1.0, judgement="breaks", told=""), p=p)

    assert [each.judgement for each in corrected([found(0.004)])] == ["breaks"]
    many = corrected([found(0.004), *[found(1.0)] * 20])
    assert many[0].judgement == "unclear"


def test_several_hold_together_if_all_do() -> None:
    assert joined(["holds", "untold"]) == "holds"
    assert joined(["holds", "unclear"]) == "unclear"
    assert joined(["holds", "unclear", "breaks"]) == "breaks"
    assert joined([]) == joined(["untold"]) == "untold"


def test_the_first_bad_interval_is_found() -> None:
    good, slow, failing = Block({1000: 10}, 10, 0), Block({2_000_000: 10}, 10, 0), Block({1000: 10}, 10, 3)
    assert first_bad(P95, (good, slow, failing)) == 1
    assert first_bad(ERRORS, (good, slow, failing)) == 2
    assert first_bad(P95, (good, Block({}, 0, 0), failing)) is None


def test_criteria_are_put_into_words() -> None:
    assert criterion(Expression.parse("synthetic.p(95)<1s"), given=False).text == "p(95)<1s"
    assert criterion(P95, given=True).words == "95% of the answers take less than 1s"
    assert criterion(ERRORS, given=True).words == "less than 1% of the requests fail (no answer, or one with 5xx)"
    assert criterion(Expression.parse("max<2s"), given=True).words == "the longest answer takes less than 2s"
    assert "the baseline's" in criterion(Expression.parse("p(99)<1.1x baseline"), given=True).words


def test_percentiles_have_intervals_around_them() -> None:
    found = estimates(sample(median=0.1, failing=0.02))
    for name, true in (("p50", 0.1), ("p95", 0.1 * np.exp(0.5 * 1.6449)), ("p99", 0.1 * np.exp(0.5 * 2.3263))):
        each = found[name]
        assert each.low is not None
        assert each.high is not None
        assert each.low < true < each.high
    assert found["failed"].low is not None
    assert found["failed"].low < 0.02 < (found["failed"].high or 0)
