"""What findings forbid, and how a comparison reads when it is written and read again."""

import pytest

from drill.fairness.fairness import Direction, Fairness, Finding, Severity


def finding(severity: Severity, direction: Direction | None) -> Finding:
    return Finding(kind="size", severity=severity, direction=direction, what="", means="", method="GET", template="/")


@pytest.mark.parametrize(
    ("direction", "holds", "does_not_hold"),
    [("easy", False, True), ("hard", True, False), ("either", False, False), (None, True, True)],
)
def test_what_is_unfair_forbids_the_verdict_that_it_would_bring_about(
    direction: Direction | None, holds: bool, does_not_hold: bool
) -> None:
    found = Fairness(to="http://clone", findings=(finding("unfair", direction), finding("doubt", "either")))
    assert (not found.forbids_holds) is holds
    assert (not found.forbids_does_not_hold) is does_not_hold
    assert len(found.doubts) == 1
    assert Fairness.model_validate_json(found.model_dump_json()) == found


def test_a_doubt_forbids_nothing_and_is_told() -> None:
    found = Fairness(to="http://clone", findings=(finding("doubt", "easy"), finding("doubt", "hard")), compared_share=1)
    assert not found.forbids_holds
    assert not found.forbids_does_not_hold
    assert "2 doubts" in found.sentence
    assert "fair stand-in" in Fairness(to="http://clone", compared_share=0.9).sentence
    assert "not known" in Fairness(to="http://clone").sentence


def test_the_sentence_names_the_verdict_that_is_out_of_the_question() -> None:
    assert "can't say HOLDS" in Fairness(to="c", findings=(finding("unfair", "easy"),)).sentence
    assert "can't say DOES NOT HOLD" in Fairness(to="c", findings=(finding("unfair", "hard"),)).sentence
    both = Fairness(to="c", findings=(finding("unfair", "easy"), finding("unfair", "hard")))
    assert "NOT PROVEN" in both.sentence
