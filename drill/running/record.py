"""What a drill writes down of itself: the model behind `drill.json`. Pure.

A step is a run of the replayer, whose folder lies in the drill's own `runs/` and tells everything of it. Here stands
what the runs can't tell: what each was for, which part of the incident it played, and how the clone was afterwards.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from replayer.stopping import Stop
from rules.units import Factor

Kind = Literal["warm-up", "repeat", "sweep"]
"""A warm-up proves nothing. A repeat plays the whole incident at the factor that was asked for, a sweep its heaviest
part at another one."""

Found = Literal["held", "broke", "unclear"]
"""Whether the rules held in a step, at a glance: it decides what is run next, and is no verdict.

unclear: the sender did not keep its schedule, or the step did not come to its end for another reason.
"""

State = Literal["running", "ended", "interrupted", "lever", "outside-window", "failed"]
"""running: it still runs, or was killed. ended: it came to its own end, whatever it found."""


class Step(BaseModel):
    """One run of a drill."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int = Field(description="of the drill's steps, from 1")
    kind: Kind
    factor: Factor
    run: str = Field(description="name of its folder in the drill's `runs`")
    begin_ns: int = Field(description="unix time in the incident: the part of it that is played begins here")
    end_ns: int = Field(description="and ends here, exclusive")
    zero_ns: int = Field(description="unix time in the incident that the run's second 0 stands for")
    started: float = Field(description="unix time")
    ended: float | None = Field(None, description="unix time; None: it runs, or was killed")
    stop: Stop | None = Field(None, description="how it ended; None: it did not")
    reason: str = Field("", description="why it ended, for people")
    valid: bool | None = Field(None, description="whether the sender kept its schedule")
    found: Found = "unclear"
    because: tuple[str, ...] = Field((), description="what did not hold, or why it is unclear, each in a sentence")
    calm: bool | None = Field(None, description="whether the clone came to rest after it; None: nobody waited")
    rest: float | None = Field(None, description="seconds after its end in which the clone came to rest, or did not")
    silence: str = Field(
        "",
        description="how the last request failed that was sent while it was waited for, if not one of them was "
        "answered: a kind of failure, or a status of 5xx; empty: some were, or nobody waited",
    )

    @property
    def over(self) -> bool:
        """Whether it came to its end, so that its run's folder is whole."""
        return self.stop is not None


class DrillRecord(BaseModel):
    """A drill, as far as it has come: `drill.json` in its folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = 1
    drill: str = Field(description="its name, which is its folder's")
    started: float = Field(description="unix time")
    ended: float | None = Field(None, description="unix time; None: it runs, or was killed")
    state: State = "running"
    reason: str = Field("", description="why it ended, for people")
    to: str = Field(description="URL of the clone")
    amplify: Factor = Field(description="the factor that was asked for: the verdict is about it")
    repeat: int = Field(description="repeats that were asked for")
    sweep: tuple[Factor, Factor, Factor] | None = Field(
        None, description="the search for the breaking point: from, to, and by how much at a time; None: there is none"
    )
    criteria: tuple[str, ...] = Field(description="what has to hold, as expressions of `rules.slo`")
    defaulted: bool = Field(description="whether nobody said what has to hold, so that `criteria` are reamp's own")
    against: str | None = Field(None, description="name of the drill of the clone before the fix")
    exit_code: int | None = Field(None, description="what the command ended with, where that is not the verdict's")
    plan: dict[str, Any] = Field(description="the effective configuration")
    steps: tuple[Step, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it came to its own end."""
        return self.state == "ended"
