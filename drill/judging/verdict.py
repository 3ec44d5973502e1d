"""What came of a drill: the model behind `verdict.json`. Pure.

Every figure that was measured stands beside the interval in which the true one lies with `CONFIDENCE`, and a verdict
rests on the ends of intervals only. Times are seconds, shares 0 to 1, rates requests per second of the pattern as it
was asked for (so at 1.5x, `wanted` is one and a half of the incident's rate).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from replayer.comparing.comparison import Change
from rules.exits import Exit
from rules.units import Factor

CONFIDENCE = 0.99
"""Of every interval: the true figure lies below it in at most 0.5% of drills, and above it in as many."""

Outcome = Literal["HOLDS", "DOES NOT HOLD", "NOT PROVEN"]

Judgement = Literal["holds", "breaks", "unclear", "untold"]
"""The whole interval lies on the good side of the bound, on the bad side, on both; or nothing was judged."""

Kind = Literal[
    "broken",
    "stopped",
    "saturated",
    "down",
    "way",
    "few",
    "unclear",
    "repeats",
    "mix",
    "rate",
    "sender",
    "clone",
    "unfinished",
    "not-reproduced",
    "baseline",
]

EXITS = {"HOLDS": Exit.DONE, "DOES NOT HOLD": Exit.SLO_BREACHED, "NOT PROVEN": Exit.NOT_PROVEN}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Estimate(_Told):
    """A figure that was measured, and the interval that the true one lies in."""

    value: float | None = Field(None, description="seconds or a share; null: too few requests to tell")
    low: float | None = Field(None, description="lower end of the 99% interval; null: there is none")
    high: float | None = Field(None, description="upper end; null: there is none")


class Known(_Told):
    """What is known of one route, or of all together, during the incident or in the baseline. Null: nobody knows."""

    count: int = Field(description="requests")
    rate: float = Field(description="requests per second, on average")
    share: float = Field(description="of all requests")
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    quantiles: dict[str, float] = Field({}, description="others that a source knows, like p96")
    failed: float | None = Field(None, description="share without an answer, or with one of 5xx")


class Seen(_Told):
    """What came back in the drill, at the factor asked for, all repeats together."""

    count: int = Field(description="requests that were sent, in all repeats together")
    rate: float = Field(description="requests per second, on average")
    share: float = Field(description="of all requests sent")
    p50: Estimate = Estimate()
    p95: Estimate = Estimate()
    p99: Estimate = Estimate()
    failed: Estimate = Estimate()


class Criterion(_Told):
    """What has to hold."""

    text: str = Field(description="like p(95)<1s")
    given: bool = Field(description="by the user; false: the default, which nobody asked for")
    words: str = Field(description="the same for people")


class Held(_Told):
    """One criterion on one route, or on all together."""

    criterion: str = Field(description="text of the criterion")
    estimate: Estimate = Field(description="of what it is about, in its unit")
    limit: float | None = Field(description="what it is held against; null: a multiple of a baseline that is not known")
    judgement: Judgement
    told: str = Field(description="for people: 0.42 s (0.38 s to 0.51 s), and 1 s is allowed")


class Row(_Told):
    """One route; all requests together; or routes that are too small to be judged each by itself."""

    method: str = Field("", description="empty: several routes together")
    template: str = Field("", description="path, with {id} and the like for what identifies one thing")
    routes: int = Field(1, description="how many routes these are")
    wanted: float = Field(description="requests per second: the incident's, times the factor")
    wanted_share: float = Field(description="of all requests of the incident")
    reached: float = Field(description="requests per second that were sent")
    reached_share: float = Field(description="of all requests sent")
    work: float | None = Field(
        None, description="share of the target's time that it takes when nothing stands in the way; null: unknown"
    )
    incident: Known | None = Field(None, description="null: it had no such requests")
    replay: Seen | None = Field(None, description="null: none was sent")
    baseline: Known | None = Field(None, description="of the clone before the fix; null: not there")
    changes: list[Change] = Field([], description="from the incident to the replay, for what is known of both")
    against: list[Change] = Field([], description="from the baseline to the replay")
    criteria: list[Held] = []
    judgement: Judgement = "untold"

    @property
    def name(self) -> str:
        """Name it for people."""
        if self.method:
            return f"{self.method} {self.template}"
        return self.template or "all requests"


class Reason(_Told):
    """Why the verdict is what it is. The weightiest comes first."""

    kind: Kind
    text: str = Field(description="a sentence for people")
    route: str | None = Field(None, description="like GET /search; null: it is about the whole")
    settle: str = Field("", description="what would settle it, for people; empty: nothing has to be settled")


class Rung(_Told):
    """One factor that was tried."""

    factor: Factor
    runs: int = Field(description="replays at this factor")
    rate: float = Field(description="requests per second that were sent, on average")
    p95: float | None = None
    failed: float | None = None
    judgement: Judgement
    text: str = Field("", description="why, for people")


class Headroom(_Told):
    """How much of the incident's traffic the target bears."""

    factor: Factor | None = Field(description="the largest that held, with all below it; null: none did")
    broke: Factor | None = Field(None, description="the smallest that did not hold; null: none was found")
    text: str = Field(description='like "holds to 1.8x of the incident, and gives way at 2x"')
    rungs: list[Rung] = Field([], description="smallest factor first")


class GaveWay(_Told):
    """What gave way first."""

    factor: Factor = Field(description="the smallest factor at which something did")
    what: Literal["errors", "latency", "saturation", "down"]
    route: str | None = Field(None, description="under which route; null: it does not show")
    at: float | None = Field(None, description="seconds after the begin of the pattern at which it first showed")
    text: str = Field(description="a sentence for people")


class Condition(_Told):
    """Something that the verdict depends on, and that a reader should know."""

    name: str = Field(description="one or two words")
    text: str = Field(description="a sentence or two for people")


class Curve(_Told):
    """How something went over time: one place for each point of the timeline. Null: nothing is known of it."""

    rate: list[float | None] = Field(description="requests per second")
    p95: list[float | None] = Field(description="seconds")
    failed: list[float | None] = Field(description="share without an answer, or with one of 5xx")


class Timeline(_Told):
    """The incident and the drill over each other, for the picture. The drill's rates are not divided by its factor."""

    interval: float = Field(description="seconds to a point")
    at: list[float] = Field(description="middle of each, in seconds since the incident's begin")
    incident: Curve
    replay: Curve = Field(description="all repeats together: rates are averages of them")
    baseline: Curve | None = Field(None, description="of the drill of the clone before the fix")


class Verdict(_Told):
    """The verdict, whole."""

    version: int = 1
    drill: str = Field(description="the drill's id")
    made: float = Field(description="unix time of the judgement")
    outcome: Outcome
    sentence: str = Field(description="the verdict in one sentence")
    asked: Factor = Field(description="of the incident's traffic: what HOLDS is said of")
    repeats: int = Field(description="replays at that factor that the verdict rests on")
    target: str = Field(description="where it was played onto")
    incident: str = Field(description="what the incident was, in a sentence")
    begin_ns: int = Field(description="unix time: when the incident began")
    end_ns: int
    baseline: str | None = Field(None, description="id of the drill it is held against")
    confidence: float = CONFIDENCE
    reasons: list[Reason] = []
    criteria: list[Criterion] = []
    overall: Row
    routes: list[Row] = Field([], description="broken ones first, then those with the most work")
    headroom: Headroom | None = Field(None, description="null: no other factor was tried")
    gave_way: GaveWay | None = None
    conditions: list[Condition] = []
    timeline: Timeline | None = None

    @computed_field(description="0 HOLDS, 99 DOES NOT HOLD, 94 NOT PROVEN")  # type: ignore[prop-decorator]
    @property
    def exit_code(self) -> int:
        """Give the code with which a command ends that found this."""
        return int(EXITS[self.outcome])
