"""Which step of a drill comes next, given what was found so far. Pure.

The repeats come first: the verdict is about them. Then the breaking point is looked for, from the factor that was asked
for outwards: upwards where it held, a step of the sweep at a time, so that the clone is never hit much harder than what
it has just borne; downwards where it did not. Between the largest factor that held and the smallest that did not, the
gap is halved until it is a quarter of a step.

What is unclear at a factor does not hold there, and nothing louder is tried: where the sender could not keep up, it
would not with more.
"""

from collections.abc import Sequence
from typing import NamedTuple

from drill.running.record import Found, Kind
from rules.units import MILLION, Factor

FINEST = 10_000
"""Millionths: factors between are rounded to 0.01x, since nothing here is known any finer."""

_HALVINGS = 2
"""How often a step of the sweep is halved."""


class Sweep(NamedTuple):
    """Where to look for the breaking point."""

    low: Factor
    high: Factor
    by: Factor

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that are tried, in rising order: from `low` by steps, and `high` at last."""
        return (*(Factor(each) for each in range(self.low, self.high, self.by)), self.high)


class Scheme(NamedTuple):
    """What was asked for."""

    asked: Factor
    repeat: int
    warm: bool
    sweep: Sweep | None


class Done(NamedTuple):
    """What came of a step."""

    kind: Kind
    factor: Factor
    found: Found


class Next(NamedTuple):
    """A step that is to be run."""

    kind: Kind
    factor: Factor
    why: str
    """For people."""


class Over(NamedTuple):
    """There is nothing left to run."""

    why: str


def following(scheme: Scheme, done: Sequence[Done]) -> Next | Over:
    """Tell what is to be run after these steps."""
    if scheme.warm and not done:
        return Next("warm-up", min(scheme.asked, Factor(MILLION)), "warm-up")
    repeats = [each for each in done if each.kind == "repeat"]
    if len(repeats) < scheme.repeat:
        return Next("repeat", scheme.asked, f"repeat {len(repeats) + 1} of {scheme.repeat}")
    if scheme.sweep is None:
        return Over("all repeats were run")
    return _search(scheme.asked, scheme.sweep, done)


def most_left(scheme: Scheme, done: Sequence[Done]) -> tuple[int, int]:
    """Give the most steps that may be left: of the whole incident, and of the sweep."""
    whole = scheme.repeat - sum(each.kind == "repeat" for each in done)
    # How repeats go matters to the sweep only by whether all of them held.
    ends = ([*done, *whole * [Done("repeat", scheme.asked, found)]] for found in ("held", "broke"))
    return whole, max(_longest(scheme, end) for end in ends)


def _longest(scheme: Scheme, done: list[Done]) -> int:
    step = following(scheme, [Done("warm-up", scheme.asked, "held"), *done])
    if isinstance(step, Over):
        return 0
    return 1 + max(_longest(scheme, [*done, Done(step.kind, step.factor, found)]) for found in ("held", "broke"))


def _close(sweep: Sweep) -> int:
    return (sweep.by >> _HALVINGS) + FINEST


def _bounds(asked: Factor, done: Sequence[Done]) -> tuple[Factor | None, Factor | None]:
    """Give the largest factor that held below all that did not, and the smallest that did not."""
    repeats = [each.found for each in done if each.kind == "repeat"]
    known = {each.factor: each.found == "held" for each in done if each.kind == "sweep"}
    if repeats:
        known[asked] = all(found == "held" for found in repeats)
    high = min((factor for factor, held in known.items() if not held), default=None)
    held = (factor for factor, held in known.items() if held and (high is None or factor < high))
    return max(held, default=None), high


def _search(asked: Factor, sweep: Sweep, done: Sequence[Done]) -> Next | Over:
    low, high = _bounds(asked, done)
    if high is None:
        above = [each for each in sweep.factors if each > (low or 0)]
        if above:
            return Next("sweep", above[0], f"{above[0]}: louder, as {low} held")
        return Over(f"it held at {low}, and nothing louder was asked for")
    if low is None:
        below = [each for each in sweep.factors if each < high]
        if below:
            return Next("sweep", below[-1], f"{below[-1]}: quieter, as {high} did not hold")
        return Over(f"it did not hold at {high}, and nothing quieter was asked for")
    middle = Factor((low + high) // 2 // FINEST * FINEST)
    if high - low <= _close(sweep) or not low < middle < high:
        return Over(f"it held at {low} and not at {high}")
    return Next("sweep", middle, f"{middle}: between {low}, which held, and {high}, which did not")
