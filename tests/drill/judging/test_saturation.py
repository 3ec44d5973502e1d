"""Requests that pile up are told from those that are just many."""

from dataclasses import replace

import pytest

from drill.judging.evidence import Instant, Played
from drill.judging.saturation import pile
from rules.units import MILLION, Factor

QUIET = Played("run", "repeat", Factor(MILLION), 0.0, 60.0, "ended", sent={("GET", "/"): 6000})


def course(backlog: list[int], sent: list[int] | None = None) -> tuple[Instant, ...]:
    sent = sent or [100] * len(backlog)
    return tuple(Instant(place + 1.0, sent[place], sent[place], each) for place, each in enumerate(backlog))


@pytest.mark.parametrize(
    ("backlog", "sent", "grows"),
    [
        ([5] * 60, None, False),
        (list(range(0, 600, 10)), None, True),
        ([500] * 60, None, False),  # slow, but no slower than at first
        ([n // 2 for n in range(60)], None, False),  # grows, but nobody waits long
        ([5, 200, 40, 7] * 15, None, False),  # comes and goes
        ([n // 2 for n in range(60)], [5 * n + 1 for n in range(60)], False),  # more on the way as more are sent
        ([400 if 20 <= n < 40 else 5 for n in range(60)], None, False),  # a spell in the middle
        ([], None, False),
    ],
)
def test_only_what_grows_to_the_end_is_told(backlog: list[int], sent: list[int] | None, grows: bool) -> None:
    assert pile(replace(QUIET, course=course(backlog, sent))).grows == grows


def test_what_has_no_answer_when_a_replay_is_stopped() -> None:
    growing = course(list(range(0, 600, 10)))
    assert pile(replace(QUIET, course=growing, unanswered=900)).lost
    assert not pile(replace(QUIET, course=growing, unanswered=50)).lost
    assert not pile(replace(QUIET, course=course([3] * 60), unanswered=3, sent={("GET", "/"): 10})).lost
