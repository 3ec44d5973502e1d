"""What a drill was asked to do: one frozen model, checked before anything is sent. Pure."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from captures.moments import iso_ns
from drill.running.record import Kind
from drill.running.steps import Scheme, Sweep
from replayer.plan import LEAST, MOST, MOST_SLO, Plan
from rules.slo import WINDOWS, Expression, Rule
from rules.units import MILLION, Duration, Factor

DEFAULT_SLO = ("synthetic.error_ratio<1% for=10s", "synthetic.p(95)<1s for=10s")
"""What has to hold where nobody said it."""

DEFAULT_SWEEP = "0.5x:2x:0.25x"
DEFAULT_STEP = "0.25x"

MOST_REPEATS, MOST_SWEPT = 20, 100

SHORTEST_STEP = 5.0
"""Seconds: of less, nothing can be said of a clone."""

CONNECTIONS = 2000
"""Where nobody said how many: when a site hangs its users wait, each on a connection, and so does a drill. With fewer
connections than there are who wait, a broken clone would be asked less, and look better than it is."""

EVIDENCE = 60.0
"""Seconds of a repeat, or half of it if it is shorter, that are played even if the clone breaks at once."""

_OFF = ("off", "no", "none")


def sweep_of(text: str) -> Sweep:
    """Read ``0.5x:2x`` or ``0.5x:2x:0.25x``. Raises ValueError."""
    parts = text.split(":")
    if len(parts) not in (2, 3):
        raise ValueError(f"{text!r} is no sweep: write it like 0.5x:2x, or 0.5x:2x:0.25x with the step")
    low, high, by = map(Factor.parse, [*parts, DEFAULT_STEP][:3])
    for factor in (low, high):
        if not LEAST <= factor <= MOST:
            raise ValueError(
                f"{factor} is too {'small' if factor < LEAST else 'large'}: from {LEAST} to {MOST} will do"
            )
    if low >= high:
        raise ValueError(f"{text!r}: a sweep begins below where it ends: 0.5x:2x")
    if by < LEAST or (high - low) // by >= MOST_SWEPT:
        raise ValueError(f"{text!r}: by {by} at a time there would be more than {MOST_SWEPT} steps")
    return Sweep(low, high, by)


def _in_range(factor: Factor) -> Factor:
    if not LEAST <= factor <= MOST:
        raise ValueError(f"{factor} is too {'small' if factor < LEAST else 'large'}: from {LEAST} to {MOST} will do")
    return factor


def criterion(rule: Rule) -> Rule:
    """Give a rule about the drill's own requests: an idle clone has no others. Raises ValueError."""
    expression = rule.expression
    if rule.action == "back-off":
        raise ValueError(f"{expression}: action=back-off would change the load that the verdict is about: leave it out")
    if rule.external or expression.subject == "synthetic":
        return rule
    if expression.text.startswith("real"):
        raise ValueError(f"{expression}: a clone has no real users: write {expression.text.removeprefix('real.')}")
    if expression.relative:
        raise ValueError(f"{expression}: a clone has no baseline of real users: give a figure, and --against a drill")
    own = replace(expression, subject="synthetic", text=f"synthetic.{expression.text}")
    return rule.model_copy(update={"expression": own})


def hurried(rule: Rule, seconds: float) -> Rule:
    """Give a rule as it can be judged in a step of so many seconds: its times take at most half of that."""
    takes = rule.window + rule.for_ + rule.grace
    if takes <= seconds / 2:
        return rule
    scale = seconds / 2 / takes
    window = min(rule.window, max(WINDOWS[0], rule.window * scale))
    # Rounded, for it is written down and read again.
    times = {"window": window, "for_": rule.for_ * scale, "grace": rule.grace * scale}
    return rule.model_copy(update={name: Duration(round(float(each), 3)) for name, each in times.items()})


def patient(rule: Rule, seconds: float) -> Rule:
    """Give a rule as it may end a repeat, of so many seconds: not before there is something to judge by.

    A step of the sweep is over as soon as it is broken. But a verdict rests on the repeats, and what was stopped after
    its first seconds proves next to nothing.
    """
    return rule.model_copy(update={"grace": Duration(max(rule.grace, round(min(EVIDENCE, seconds / 2), 3)))})


class Part(NamedTuple):
    """A part of an incident's time, in unix nanoseconds; the end is exclusive."""

    begin_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9

    def rounded(self) -> "Part":
        """Give it as moments are written, in microseconds; with all that it has."""
        return Part(self.begin_ns // 1000 * 1000, -(-self.end_ns // 1000) * 1000)


class DrillPlan(BaseModel):
    """Everything that a drill can be told, beside how requests are sent. Raises ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_target: bool = Field(False, description="the target carries no real traffic: a drill is for no other")
    amplify: Factor = Field(Factor(MILLION), description="the factor that the verdict is about")
    repeat: int = Field(3, ge=1, le=MOST_REPEATS, description="how often the incident is played")
    sweep: Sweep | None = Field(
        default_factory=lambda: sweep_of(DEFAULT_SWEEP), description="where the breaking point is looked for"
    )
    step: Duration = Field(Duration(60), description="how long a step of the sweep lasts")
    cool_down: Duration = Field(Duration(10), description="shortest rest of the clone between two steps")
    calm_within: Duration = Field(Duration(120), description="longest wait until it answers as before the load")
    warm: Duration | None = Field(None, description="how long the incident is played first, to fill caches; None: cold")
    slo: tuple[Rule, ...] = Field((), description="what has to hold, overall and on each route; empty: `DEFAULT_SLO`")
    against: str | None = Field(None, description="name of the drill of the clone before the fix")
    sending: Plan = Field(description="how requests are sent: the plan that each step's own is made of")

    @field_validator("sweep", mode="before")
    @classmethod
    def _is_sweep(cls, value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]  # the environment's lists are split at commas, and this is none
        if isinstance(value, str):
            return None if value.strip().lower() in _OFF else sweep_of(value)
        return value

    @field_serializer("sweep")
    def _as_text(self, value: Sweep | None) -> str:
        return "off" if value is None else ":".join(map(str, value))

    @field_validator("amplify")
    @classmethod
    def _is_in_range(cls, value: Factor) -> Factor:
        return _in_range(value)

    @field_validator("step")
    @classmethod
    def _is_long_enough(cls, value: Duration) -> Duration:
        if value < SHORTEST_STEP:
            raise ValueError(f"{value} is too short to see what a clone bears: from {Duration(SHORTEST_STEP)} will do")
        return value

    @field_validator("warm", "calm_within")
    @classmethod
    def _is_positive(cls, value: Duration | None) -> Duration | None:
        if value is not None and value <= 0:
            raise ValueError("has to be more than zero")
        return value

    @field_validator("slo", mode="before")
    @classmethod
    def _are_rules(cls, value: Any) -> Any:
        rules = [value] if isinstance(value, str | dict) else list(value)
        if len(rules) > MOST_SLO:
            raise ValueError(f"{len(rules)} are too many: at most {MOST_SLO}")
        return rules

    @field_validator("slo")
    @classmethod
    def _are_criteria(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(map(criterion, value))

    @model_validator(mode="after")
    def _is_idle(self) -> Self:
        if not self.idle_target:
            raise ValueError(
                f"{self.sending.to} may carry real users, and a drill looks for the point at which its target breaks: "
                "run it on a clone that carries none, and say so: --idle-target"
            )
        return self

    @property
    def defaulted(self) -> bool:
        """Whether nobody said what requests have to get. A query or a plugin may end a step all the same."""
        return all(rule.external for rule in self.slo)

    @property
    def criteria(self) -> tuple[Rule, ...]:
        """What has to hold in a step."""
        return (*self.slo, *map(Rule.parse, DEFAULT_SLO)) if self.defaulted else self.slo

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """What the verdict is about: what requests get."""
        return tuple(rule.expression for rule in self.criteria if not rule.external)

    @property
    def scheme(self) -> Scheme:
        """What is to be run, for `steps.following`."""
        return Scheme(self.amplify, self.repeat, self.warm is not None, self.sweep)

    def of_step(self, kind: Kind, factor: Factor, number: int, part: Part, whole: bool, incident: Path) -> Plan:
        """Give the replay that a step is. `part`: what it plays, which is the `whole` incident or not.

        `number` is the step's. Arrivals that are added to an incident are others in each.
        """
        asked = self.sending.model_dump(mode="json")
        asked |= {
            "recording": str(incident),
            "runs": str(incident.parent / "runs"),
            "amplify": str(factor),
            "seed": self.sending.seed + number - 1,
            "slo": [],
        }
        if kind == "warm-up" and self.warm is not None:
            asked |= {"duration": str(self.warm), "loop": self.warm > part.seconds}
        else:
            rules = (hurried(rule, part.seconds) for rule in self.criteria)
            asked |= {"slo": [str(patient(rule, part.seconds) if kind == "repeat" else rule) for rule in rules]}
        if not whole:
            asked |= {"from": iso_ns(part.begin_ns), "until": iso_ns(part.end_ns)}
        return Plan.model_validate(asked)
