"""What broke, in words for people who know no notation."""

from dataclasses import replace

import pytest

from drill.judging.conditions import MOST_NOTES
from drill.judging.criteria import broken_words
from drill.judging.judging import judge
from drill.judging.verdict import Estimate
from rules.slo import Expression
from tests.support.simulated import Truth, drill


@pytest.mark.parametrize(
    ("criterion", "value", "words"),
    [
        ("error_ratio<1%", 0.892, "89.2% of the requests of GET /x fail, where less than 1% may"),
        ("p(95)<1s", 9.71, "95% of the answers of GET /x take up to 9.71 s, where less than 1s is asked for"),
        ("p(99.9)<=250ms", 0.3, "99.9% of the answers of GET /x take up to 300 ms, where at most 250ms is asked for"),
        ("med<50ms", 0.06, "50% of the answers of GET /x take up to 60 ms, where less than 50ms is asked for"),
        ("avg<50ms", 0.06, "the mean answer of GET /x takes 60 ms, where less than 50ms is asked for"),
        ("rate>10/s", 4.0, ""),
        ("p(95)<1.1x baseline", 4.0, ""),
    ],
)
def test_what_broke_is_told_in_words(criterion: str, value: float, words: str) -> None:
    assert broken_words(Expression.parse(criterion), Estimate(value=value), "GET /x") == words
    everything = broken_words(Expression.parse(criterion), Estimate(value=value), "all requests")
    assert everything == words.replace(" of GET /x", "")


def test_of_a_figure_that_nobody_knows_nothing_is_told() -> None:
    assert broken_words(Expression.parse("p(95)<1s"), Estimate(), "GET /x") == ""


def test_what_was_told_of_the_source_is_a_condition_of_the_verdict() -> None:
    evidence = drill(Truth(late=0.01, routes=2, rate=20.0), 1)
    notes = tuple(f"{count} lines did not read" for count in range(2, 30))
    told = replace(evidence, story=evidence.story.model_copy(update={"notes": notes}))
    found = [each.text for each in judge(told, made=0.0).conditions if each.name == "source"]
    assert found == [f"{note}." for note in notes[:MOST_NOTES]]
