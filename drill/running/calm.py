"""Whether a clone has come to rest after a step: it answers as fast as before the load. Pure.

Before the first step some requests are sent, one at a time, and how long their answers take is remembered. After each
step the same requests are sent again until they are answered as quickly, several rounds in a row: whoever begins to
load a clone that still works off the last step measures that step twice.
"""

from collections.abc import Sequence
from typing import NamedTuple

MOST = 3
"""Requests in a round."""

FIRST_ROUNDS = 5
"""Rounds before the load. The first ones of a cold clone are slow, so the median counts."""

ROUNDS = 3
"""Rounds in a row that have to be quick."""

PAUSE = 0.25
"""Seconds between two of them."""

BAND, SLACK = 2.0, 0.05
"""An answer is as quick as before within so many times its time, or that and so many seconds: the larger one. Of a
request that takes a millisecond, twice as long is nothing."""


class Answered(NamedTuple):
    """What came back to one request."""

    seconds: float | None
    """None: there was no whole answer."""
    status: int = 0
    failure: str = ""
    """Why there was none; empty: it was not even sent."""

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure."""
        return self.seconds is None or self.status >= 500


class Rested(NamedTuple):
    """What came of waiting for a clone to come to rest."""

    calm: bool
    silence: str = ""
    """How the last request failed, if not one was answered."""


class Calm:
    """Remembers how a clone answers without load."""

    def __init__(self, rounds: Sequence[Sequence[Answered]]) -> None:
        """Take in what came back before the load, round by round: the same requests in the same order in each."""
        self._bounds: list[float | None] = []
        for answers in zip(*rounds, strict=True):
            times = sorted(answer.seconds for answer in answers if answer.seconds is not None and not answer.failed)
            # One that mostly fails without any load says nothing about the load.
            usual = times[len(times) // 2] if 2 * len(times) > len(answers) else None
            self._bounds.append(None if usual is None else max(BAND * usual, usual + SLACK))
        self._row = 0
        self._failures: list[str] | None = []  # since it was begun; None: something was answered

    @property
    def known(self) -> bool:
        """Whether there is anything to go by."""
        return any(bound is not None for bound in self._bounds)

    def begin(self) -> None:
        """Take note that a step is over, and the clone is not known to be at rest."""
        self._row, self._failures = 0, []

    @property
    def silence(self) -> str:
        """How the last request failed, if not one was answered.

        The first one says nothing: it may have gone over a connection of before, whose end is not the clone's.
        """
        return self._failures[-1] if self._failures is not None and len(self._failures) > 1 else ""

    @property
    def back(self) -> bool:
        """Whether anything was answered since it was begun."""
        return self._failures is None

    def answered(self, answer: Answered) -> None:
        """Take in one answer, as soon as it is there: a clone that hangs may not give all of a round."""
        if not answer.failed:
            self._failures = None
        elif self._failures is not None and (why := answer.failure or answer.status):
            self._failures.append(str(why))

    def look(self, answers: Sequence[Answered]) -> bool:
        """Take in a round; tell whether the clone is at rest."""
        quick = all(
            bound is None or (not answer.failed and (answer.seconds or 0.0) <= bound)
            for answer, bound in zip(answers, self._bounds, strict=True)
        )
        self._row = self._row + 1 if quick else 0
        return self._row >= ROUNDS
