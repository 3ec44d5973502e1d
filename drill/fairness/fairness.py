"""What a comparison of the clone with the incident found, and what it means for the verdict. Pure.

A difference has a direction. Where the clone has less to do than production had (12 products in place of 50,000, error
pages in place of answers, twice the processors), that the load is held says nothing of production: such a difference is
on the *easy* side, and while there is one that is unfair, no drill HOLDS. Where the clone has more to do, or less to do
it with (half the memory, nothing in its caches), that it gives way says nothing: the *hard* side, no DOES NOT HOLD.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

Severity = Literal["says nothing", "doubt", "unfair"]
Direction = Literal["easy", "hard", "either"]
Kind = Literal[
    "status",
    "missing",
    "login",
    "failing",
    "size",
    "compression",
    "not-compared",
    "resources",
    "cache",
    "shared-cache",
]
"""What a finding is about: another status, a thing that is not there (404, 410), a way to a login (or 401, 403), no
answer or one of 5xx, sizes of bodies, their packing, what could not be compared, processors and memory, the clone's
caches, a cache of HTTP before it."""


class Finding(BaseModel):
    """One thing that was found."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    severity: Severity
    direction: Direction | None = Field(None, description="who has less to do because of it; None: nobody")
    what: str = Field(description="what was seen, in a sentence")
    means: str = Field(description="what that means for the verdict, in a sentence")
    advice: str = Field("", description="what to do about it; empty: nothing")
    method: str | None = Field(None, description="of the route; None: it is about all of the clone")
    template: str | None = None
    share: float = Field(1.0, ge=0, le=1, description="of the incident's requests that it is about")
    time_share: float | None = Field(None, description="of the time that the incident's answers took; None: not known")

    on_purpose: bool = Field(False, description="whether it is said that the fix itself changed this")

    @property
    def route(self) -> str | None:
        """The route's name as people write it."""
        return None if self.template is None else f"{self.method} {self.template}"


class Sizes(BaseModel):
    """Sizes of answers' bodies, in bytes as they were sent."""

    model_config = ConfigDict(frozen=True)

    smallest: int
    median: int
    largest: int
    mean: float


class RouteSeen(BaseModel):
    """One route, as the incident has it and as the clone answers. Only routes of methods that read are asked."""

    model_config = ConfigDict(frozen=True)

    method: str
    template: str
    share: float = Field(description="of the incident's requests")
    time_share: float | None = Field(None, description="of the time that the incident's answers took; None: not known")
    asked: int = Field(0, description="requests sent to the clone")
    recorded: dict[str, int] = Field({}, description="statuses of the incident, by how often; empty: not known")
    clone: dict[str, int] = Field({}, description="statuses of the clone, or why there was no answer, by how often")
    recorded_sizes: Sizes | None = Field(None, description="None: not known")
    clone_sizes: Sizes | None = None
    outcome: Literal["alike", "doubt", "unfair", "not compared"] = "not compared"
    why: str = Field("", description="why it was not compared")


class Part(BaseModel):
    """One service of several, and what all its instances have together. None: not known."""

    model_config = ConfigDict(frozen=True)

    name: str
    cpu: float | None = Field(None, gt=0, le=1e6)
    memory: int | None = Field(None, gt=0, le=1 << 60)


class Resources(BaseModel):
    """What there is to answer with. None: not known."""

    model_config = ConfigDict(frozen=True)

    cpu: float | None = Field(None, gt=0, le=1e6, description="processors, of all parts and instances")
    memory: int | None = Field(None, gt=0, le=1 << 60, description="bytes, of all parts and instances")
    parts: tuple[Part, ...] = Field((), description="where there are several services, each by its name")
    told: str = Field("", description="where this is from")
    notes: tuple[str, ...] = Field((), description="what makes it uncertain, each in a sentence")


class Fairness(BaseModel):
    """A comparison of a clone with an incident: `check.json`."""

    version: int = 1
    to: str = Field(description="the clone")
    findings: tuple[Finding, ...] = Field((), description="the gravest first")
    routes: tuple[RouteSeen, ...] = Field((), description="the busiest first")
    requests: int = Field(0, description="sent to the clone for it, one at a time")
    seconds: float = Field(0.0, description="that it took, without warming")
    compared_share: float = Field(0.0, description="of the incident's requests: those of routes that were compared")
    clone: Resources | None = Field(None, description="None: nobody said, and there was nothing to read")
    production: Resources | None = None
    cache: Literal["unknown", "cold", "warmed"] = "unknown"
    warmed_seconds: float = Field(0.0, description="of the incident that were replayed first")

    @property
    def forbids_holds(self) -> tuple[Finding, ...]:
        """What stands against HOLDS."""
        return tuple(f for f in self.findings if f.severity == "unfair" and f.direction in ("easy", "either"))

    @property
    def forbids_does_not_hold(self) -> tuple[Finding, ...]:
        """What stands against DOES NOT HOLD."""
        return tuple(f for f in self.findings if f.severity == "unfair" and f.direction in ("hard", "either"))

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """What a verdict has to be told with."""
        return tuple(f for f in self.findings if f.severity == "doubt")

    @computed_field(description="all in a sentence")  # type: ignore[prop-decorator]
    @property
    def sentence(self) -> str:
        """All of it in a sentence."""
        easy, hard = self.forbids_holds, self.forbids_does_not_hold
        if easy and hard:
            return "The clone is no fair stand-in: whatever a drill finds on it is NOT PROVEN."
        if easy:
            return "The clone has less to do than production had: a drill on it can't say HOLDS."
        if hard:
            return "The clone has it harder than production had: a drill on it can't say DOES NOT HOLD."
        if not self.compared_share:
            return "Nothing of the incident could be compared with the clone: whether it is fair is not known."
        if self.doubts:
            return f"The clone stands in for production with {_doubts(len(self.doubts))}."
        return "The clone is a fair stand-in, as far as this can be seen."


def _doubts(count: int) -> str:
    return "a doubt" if count == 1 else f"{count} doubts"
