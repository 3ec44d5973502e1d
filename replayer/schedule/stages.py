"""How loud a run is over time: steps, and ramps between two factors. Pure.

A stage is a duration with a factor, ``5m:1.25x``, or with two, ``5m:1x..2x``, between which it rises (or falls) evenly,
in steps of a second. One stage follows the other, at once; after the last one the run is over.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Self

from rules.units import Duration, Factor, UnitError

SECOND_NS = 1_000_000_000


class Stage(NamedTuple):
    """A duration, and the factor at its beginning and at its end."""

    seconds: Duration
    begin: Factor
    end: Factor

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``5m:1.25x`` or ``5m:1x..2x``. Raises UnitError."""
        match = re.fullmatch(r"([^:]+):\s*(.+?)(?:\.\.(.+))?", text.strip())
        if not match:
            raise UnitError(f"{text!r} is not a stage: write it like 5m:1.25x, or 5m:1x..2x for a ramp")
        seconds, begin = Duration.parse(match[1]), Factor.parse(match[2])
        if seconds < 1:
            raise UnitError(f"{text!r}: a stage lasts a second at least")
        return cls(seconds, begin, begin if match[3] is None else Factor.parse(match[3]))

    def __str__(self) -> str:
        return f"{self.seconds}:{self.begin}" + (f"..{self.end}" if self.end != self.begin else "")


class Loudness:
    """The factor at each moment of a run."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """`stages`: one at least."""
        self.stages = stages
        self._ends = list(accumulate(round(stage.seconds * SECOND_NS) for stage in stages))
        self.most = Factor(max(max(stage.begin, stage.end) for stage in stages))
        self.least = Factor(min(min(stage.begin, stage.end) for stage in stages))
        self.end_ns = self._ends[-1]

    @classmethod
    def steady(cls, factor: Factor) -> Self:
        """Make one that never changes."""
        return cls([Stage(Duration(1), factor, factor)])

    def stage(self, ns: int) -> Stage:
        """Give the stage that the run is in so long after the start."""
        return self.stages[min(bisect_right(self._ends, ns), len(self._ends) - 1)]

    def at(self, ns: int) -> Factor:
        """Give the factor so long after the start. The first one holds before, the last one afterwards."""
        if self.least == self.most:
            return self.most
        number = min(bisect_right(self._ends, ns), len(self._ends) - 1)
        stage = self.stages[number]
        if stage.begin == stage.end:
            return stage.begin
        begin = self._ends[number - 1] if number else 0
        # Exact, in whole seconds: the first is at `begin`, the last one at `end`.
        last = max(1, (self._ends[number] - begin - 1) // SECOND_NS)
        second = min(max(0, ns - begin) // SECOND_NS, last)
        return Factor(stage.begin + (stage.end - stage.begin) * second // last)

    def mean(self, seconds: float) -> float:
        """Tell the mean factor over the first so many seconds, as a plain number."""
        whole, since = 0.0, 0.0
        for stage, end_ns in zip(self.stages, self._ends, strict=True):
            until = min(seconds, end_ns / SECOND_NS)
            if until <= since:
                break
            part = (until - since) / stage.seconds
            last = stage.begin + (stage.end - stage.begin) * part
            whole += (until - since) * (stage.begin + last) / 2
            since = until
        whole += max(0.0, seconds - since) * self.stages[-1].end
        return whole / seconds / 1e6 if seconds else self.stages[0].begin / 1e6
