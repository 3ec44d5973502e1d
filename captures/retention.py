"""Which segments have to go: too old, too many, or in the way of others. Pure.

Oldest whole segments first, and never one that is being written. Of one writer always the first ones: `verify` takes
missing first segments for removed and a hole for a loss.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rules.units import Duration, Size

Why = Literal["max-age", "max-bytes", "min-free-disk"]


class Limits(BaseModel):
    """How much may be kept; None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: Size | None = Field(None, description="of all segments together")
    max_age: Duration | None = Field(None, description="since a segment was last written to")
    min_free: Size | None = Field(None, description="bytes to leave to others on the disk")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError("max_bytes has to be above zero")
        if self.max_age is not None and self.max_age <= 0:
            raise ValueError("max_age has to be above zero")
        return self

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return (self.max_bytes, self.max_age, self.min_free) != (None, None, None)


class Stored(NamedTuple):
    """A segment on the disk."""

    name: str
    writer: str
    sequence: int
    size: int
    changed_ns: int
    """When it was last written to, unix time."""
    in_use: bool
    """Somebody writes it, or that can't be ruled out."""


class Surplus(NamedTuple):
    """What has to go, in this order, and why each."""

    segments: list[tuple[Stored, Why]]
    short: bool
    """Even without all that may go, too little of the disk is free."""


def surplus(stored: Iterable[Stored], limits: Limits, now_ns: int, free: int) -> Surplus:
    """Decide. `free` is how many bytes of the disk are free."""
    kept = _oldest_first(stored)
    total = sum(one.size for one, _ in kept)
    gone: list[tuple[Stored, Why]] = []
    untouchable: set[str] = set()
    for one, changed_ns in kept:
        if one.in_use:
            untouchable.add(one.writer)  # and what it wrote after that, or there would be a hole
        why = _why(limits, now_ns - changed_ns, total, free)
        if why and one.writer not in untouchable:
            gone.append((one, why))
            total -= one.size
            free += one.size
    return Surplus(gone, short=limits.min_free is not None and free < limits.min_free)


def _why(limits: Limits, age_ns: int, total: int, free: int) -> Why | None:
    if limits.max_age is not None and age_ns > float(limits.max_age) * 1e9:
        return "max-age"
    if limits.max_bytes is not None and total > limits.max_bytes:
        return "max-bytes"
    if limits.min_free is not None and free < limits.min_free:
        return "min-free-disk"
    return None


def _oldest_first(stored: Iterable[Stored]) -> list[tuple[Stored, int]]:
    """Sort, with the time that counts for each: no later than that of any that its writer wrote after it.

    Only where a clock was set back does that differ from the file's own.
    """
    ordered = sorted(stored, key=lambda one: (one.writer, one.sequence, one.name), reverse=True)
    timed: list[tuple[Stored, int]] = []
    for one in ordered:
        after = timed[-1] if timed and timed[-1][0].writer == one.writer else None
        timed.append((one, min(one.changed_ns, after[1]) if after else one.changed_ns))
    return sorted(timed, key=lambda pair: (pair[1], pair[0].writer, pair[0].sequence, pair[0].name))


def has_room(free: int, limits: Limits, paused: bool) -> bool:
    """Tell whether there is room to record. After a pause a little more is asked for, or it would come and go."""
    if limits.min_free is None:
        return True
    return free >= limits.min_free + (limits.min_free >> 4 if paused else 0)
