"""Clones of which the truth is known: how often they are called what they are not (`tests.benchmarks fairness`)."""

import random

import pytest

from tests.support.standins import TRUTHS, asked, incident

CLONES = 40


@pytest.mark.parametrize("name", TRUTHS)
def test_clones_are_called_what_they_are(name: str) -> None:
    draw = random.Random(7)
    incidents = [incident(draw, 800) for _ in range(4)]
    found = [asked(draw, incidents[n % 4], TRUTHS[name].answer) for n in range(CLONES)]
    unfair = sum(any(finding.severity == "unfair" for finding in each.findings) for each in found)
    if TRUTHS[name].fair:
        assert unfair <= 2, unfair
    else:
        assert unfair >= 0.8 * CLONES, unfair
