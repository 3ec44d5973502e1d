"""What an incident was, beside its requests: where it is from, when, what came back, and what is not known. Pure.

The requests themselves are records, with the time of each. What records hold is not told here again: the rate of each
route over time is that of its records, and where a source told what became of each request (`Story.outcomes` is
"records"), its figures are theirs as well.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ROOM = 40_000
"""Bytes that the figures of routes may take; those with less impact find no room. A whole header has 64 KiB."""

ROOM_FOR_NOTES = 10_000

Source = Literal["capture", "upsun", "log", "har", "csv", "prometheus", "other"]


class RouteFigures(BaseModel):
    """What is known of one route during an incident. Times are seconds; None: nobody knows."""

    model_config = ConfigDict(frozen=True)

    method: str
    template: str = Field(description="path, with {id} and the like for what identifies one thing")
    count: int
    failed: float | None = Field(None, description="share without an answer, or with one of 5xx")
    mean: float | None = None
    quantiles: dict[str, float] = Field(default={}, description="like p50, p96: seconds")
    bytes: float | None = Field(None, description="mean size of an answer's body")


class Outside(BaseModel):
    """Traffic of which a source knows the amount, but not the routes: what is outside its list of top URLs."""

    model_config = ConfigDict(frozen=True)

    share: float = Field(ge=0, le=1, description="of all requests of the incident")
    filled: Literal["left-out", "example", "scaled"] = Field(
        description="left out; drawn from a capture or a log that was given; or the known routes scaled up to the total"
    )
    by: str = Field("", description="what it was filled from, for people")


class Story(BaseModel):
    """What is told of an incident beside its records."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = 1
    source: Source
    told: str = Field(description="where it is from, in a sentence for people, without a path of the machine")
    begin_ns: int = Field(description="unix time: when the incident's time begins")
    end_ns: int = Field(description="and ends, exclusive; records lie within")
    times: Literal["kept", "drawn"] = Field(description="arrivals as they were, or drawn from rates")
    grain: float | None = Field(None, description="seconds over which rates are known; None: each time is")
    seed: int | None = Field(None, description="what arrivals and values were drawn with; None: nothing was drawn")
    outcomes: Literal["records", "routes", "none"] = Field(
        description="what came back then: known of each record, only by route (`routes`), or not at all"
    )
    routes: tuple[RouteFigures, ...] = Field(
        (), description="where outcomes are known by route only; most impact first"
    )
    statuses: dict[str, int] = Field(
        default={}, description="answers by class: 2XX, 5XX; where they are not in records"
    )
    mean_bytes: float | None = Field(
        None, description="mean size of an answer's body, where it is known of all answers together only"
    )
    outside: Outside | None = Field(None, description="None: the source knows all traffic")
    notes: tuple[str, ...] = Field((), description="what was left out, changed, drawn or filled, each in a sentence")

    @property
    def seconds(self) -> float:
        """How long the incident's time is; a second at least: of less, a rate says nothing."""
        return max(1.0, (self.end_ns - self.begin_ns) / 1e9)

    def fitting(self) -> "Story":
        """Give as much of it as a header holds, and say what there was no room for."""
        routes = _first(self.routes, ROOM, lambda route: route.model_dump_json(exclude_defaults=True))
        notes = _first(self.notes, ROOM_FOR_NOTES, lambda note: note)
        lost = []
        if len(routes) < len(self.routes):
            lost.append(f"the figures of {len(self.routes) - len(routes)} routes are not kept: there is no room")
        if len(notes) < len(self.notes):
            lost.append(f"{len(self.notes) - len(notes)} more notes are not kept: there is no room")
        return self.model_copy(update={"routes": routes, "notes": (*notes, *lost), "told": self.told[:1000]})

    def as_header(self) -> dict[str, Any]:
        """Give it as it stands in a segment's header."""
        return {"made_by": "drill", "incident": self.fitting().model_dump(mode="json", exclude_defaults=True)}


def _first[T](given: tuple[T, ...], room: int, text: Callable[[T], str]) -> tuple[T, ...]:
    """Give the first ones, as many as there is room for."""
    sizes = accumulate(len(text(one).encode()) + 10 for one in given)
    return tuple(one for one, size in zip(given, sizes, strict=True) if size <= room)
