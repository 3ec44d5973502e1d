"""Which was the bottleneck: the sender, its connections, or neither. Pure.

A replay's figures are the target's only as long as the sender could have done more. What shows that it could not: it
was late, it stood still, its busiest thread used up a core, or all its connections were in use. These are in use also
if the sender has no time for answers: where it wants a core and gets none, that is its own fault and not the target's.
"""

from collections.abc import Iterable
from typing import Literal, Protocol

from pydantic import BaseModel, Field

BUSY = 0.9
"""Share of a core from which a thread has no time left to be in time."""

FULL = 0.5
"""Share of a second in which all connections were in use, from which that second was short of them."""

LONG = 0.1
"""Share of the run's seconds that may be so."""


class Second(Protocol):
    """What is looked at of a second."""

    sent: int
    cpu: float | None
    cpu_wanted: float | None
    full: float


class Bottleneck(BaseModel):
    """What held the run back, if something on the sending side did."""

    what: Literal["none", "sender", "connections"]
    reason: str = Field(description="for people: how it shows, or why there is none")
    cpu: float | None = Field(None, description="share of a core that the sender's busiest thread used, on average")
    cpu_peak: float | None = Field(None, description="the same in the busiest second")
    busy: int = Field(0, description=f"seconds in which it used at least {BUSY:.0%} of a core")
    starved: int = Field(0, description=f"seconds of which it had a core, or waited for one, {BUSY:.0%} of the time")
    full: int = Field(0, description="seconds in which all connections were in use for at least half of the time")
    seconds: int = Field(0, description="seconds that were looked at")


class Strain:
    """Adds up seconds, however many."""

    def __init__(self, seconds: Iterable[Second] = ()) -> None:
        self.seconds = self.busy = self.starved = self.full = self._measured = 0
        self.peak: float | None = None
        self._cpu = 0.0
        for second in seconds:
            self.add(second)

    def add(self, second: Second) -> None:
        """Take in a second."""
        self.seconds += 1
        self.full += second.full >= FULL
        if second.cpu is not None:
            self._measured += 1
            self._cpu += second.cpu
            self.peak = max(self.peak or 0.0, second.cpu)
            self.busy += second.cpu >= BUSY
            self.starved += max(second.cpu, second.cpu_wanted or 0.0) >= BUSY

    @property
    def cpu(self) -> float | None:
        """Give the mean share of a core."""
        return self._cpu / self._measured if self._measured else None


def bottleneck(
    strain: Strain, faults: list[str], lag_p99: float | None, lag_bound: float, connections: int, shed: int
) -> Bottleneck:
    """Tell what the bottleneck was. `faults`: why the run is invalid; `shed`: requests that found no connection."""
    found = Bottleneck(
        what="none",
        reason="",
        cpu=strain.cpu,
        cpu_peak=strain.peak,
        busy=strain.busy,
        starved=strain.starved,
        full=strain.full,
        seconds=strain.seconds,
    )
    late = lag_p99 is not None and lag_p99 > lag_bound
    short = strain.full > LONG * strain.seconds or shed > 0
    worn = strain.busy > LONG * strain.seconds
    starved = short and strain.starved > LONG * strain.seconds
    if worn or starved or (late and not short):
        reasons = []
        if worn:
            reasons.append(
                f"its busiest thread used at least {BUSY:.0%} of a core in {strain.busy} of {strain.seconds} s"
            )
        elif starved:
            reasons.append(
                f"its busiest thread had a core, or waited for one that others used, {BUSY:.0%} of the time in "
                f"{strain.starved} of {strain.seconds} s, and so had none for answers that had come"
            )
        if late:
            reasons.append(f"p99 of its lag was {(lag_p99 or 0) * 1000:.1f} ms")
        advice = (
            "give it a quieter or faster machine, or --processes where each makes its own requests; the target could "
            "take more than this shows"
        )
        return found.model_copy(update={"what": "sender", "reason": f"{' and '.join(reasons)}: {advice}"})
    if short:
        reason = (
            f"all {connections} connections were in use in {strain.full} of {strain.seconds} s"
            f"{f', and {shed} requests found none' if shed else ''}: the target answers more slowly than the rate "
            "needs, or --max-connections is too low for it"
        )
        return found.model_copy(update={"what": "connections", "reason": reason})
    if faults:
        return found.model_copy(update={"what": "sender", "reason": faults[0]})
    lag = "it had nothing to send" if lag_p99 is None else f"p99 of its lag was {lag_p99 * 1000:.2f} ms"
    if strain.cpu is None:
        return found.model_copy(update={"reason": f"{lag}; how busy it was is not known"})
    core = f"its busiest thread used {strain.cpu:.0%} of a core"
    return found.model_copy(update={"reason": f"it had time to spare: {core}, {lag}"})
