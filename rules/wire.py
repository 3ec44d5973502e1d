"""The messages of the control port, and how the sidecar says that it withheld a request.

A grant stream (``GET /v1/credits``) is a sequence of JSON lines, each one `Grant`. Its counters are cumulative since
the subscription began, so a reader that sees only every tenth message has lost nothing. The stream of experience
(``GET /v1/experience``, about one `Experience` a second) carries what came since the line before.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from rules.experience import SECOND_NS, Tally
from rules.latency import CELLS
from rules.units import Share

GRANT_INTERVAL = 0.02
"""Seconds between two grants."""

SIGNAL_TIMEOUT = 1.0
"""Seconds after which a grant is stale. No fresh grant means no credit, and no credit means no traffic."""

EXPERIENCE_INTERVAL = 1.0
"""Seconds between two lines of the stream of experience."""

EXPERIENCE_TIMEOUT = 3.0
"""Seconds without a line after which nobody knows what users get: three lines, so that one that is late is none."""

MAX_EXPERIENCE = 256 * 1024
"""Bytes that a line of it may have. Every cell of two histograms used, it has less than half of that."""

WITHHELD_HEADER = "reamp-withheld"
"""Response header that only the sidecar sets. A request whose answer bears it never reached the app."""

Withheld = Literal["credit", "lever", "tag"]
"""Why: no credit was left, the lever is pulled (both the guard says), or the load tag does not count."""

WITHHELD_STATUSES = (403, 429, 503)
"""Statuses of such answers."""


class Message(BaseModel):
    """Base of all messages: unknown fields of a newer sender are ignored, values can't be changed."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(Message):
    """Why a request was refused, as RFC 9457 ``application/problem+json``."""

    type: str
    title: str
    status: int
    detail: str


PROBLEM_JSON = "application/problem+json"


class Signal(Message):
    """What real users get at the sidecar, over the last `window` seconds."""

    window: float = Field(description="seconds looked back over")
    rate: float = Field(description="real requests per second")
    error_ratio: float | None = Field(None, description="share answered with 5xx or not at all; None without requests")
    p50: float | None = Field(None, description="seconds; None without requests")
    p95: float | None = None
    p99: float | None = None


class Lever(Message):
    """The latching stop."""

    engaged: bool = False
    reason: str = ""
    by: str = ""
    at: float | None = Field(None, description="unix time of the last change")
    persisted: bool = Field(True, description="whether a restart of the sidecar will find it so")


class LeverOrder(Message):
    """The body of ``POST /v1/lever``."""

    engaged: bool
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field("", max_length=200)
    seen: float | None = Field(
        None,
        description="`Lever.at` as the sender knows it (0: none). If somebody has pulled it since, a reset leaves it "
        "pulled, and a pull leaves it theirs; without it a pull takes the place of any",
    )


class Grant(Message):
    """One line of the grant stream.

    Credit ages by the sender's clock (`elapsed_ns`), not by when a line is read: a reader that was held up finds a
    pile of lines, and must not take old credit for new.
    """

    elapsed_ns: int = Field(
        0, description="nanoseconds since this subscription began, by the sidecar's monotonic clock"
    )
    real: int = Field(description="real requests since this subscription began")
    granted: int = Field(description="whole credits given to this subscriber since it began")
    ratio: Share = Field(description="the ceiling in force for this subscriber")
    lever: Lever
    signal: Signal


class Counted(Message):
    """What was counted of the requests of one kind in a span."""

    arrived: int = Field(0, ge=0, description="requests that came")
    finished: int = Field(0, ge=0, description="that ended, but for those that the sidecar refused")
    errors: int = Field(0, ge=0, description="of the finished, answered with 5xx or not at all")
    latency: dict[Annotated[int, Field(ge=0, lt=CELLS)], Annotated[int, Field(ge=0)]] = Field(
        {}, description="cells of `rules.latency`, and how many answered requests took that long"
    )


class Experience(Message):
    """One line of ``GET /v1/experience``: what was counted since the line before of this subscription.

    Nothing is lost between two lines, and nothing is counted twice: a reader that is slow gets lines of longer spans.
    """

    elapsed_ns: int = Field(ge=0, description="nanoseconds since this subscription began, by the sidecar's clock")
    span_ns: int = Field(ge=0, description="nanoseconds since the line before")
    kinds: dict[Literal["real", "synthetic"], Counted] = {}

    def tallies(self) -> dict[str, Tally]:
        """Give what was counted in the form in which it is merged, by kind."""
        seconds = self.span_ns / SECOND_NS
        return {
            kind: Tally(seconds, counted.arrived, counted.finished, counted.errors, counted.latency)
            for kind, counted in self.kinds.items()
        }


class Accounting(Message):
    """Where every request went. ``seen == sum of all the others``, exactly, at every moment."""

    seen: int = 0
    written: int = 0
    synthetic: int = 0
    untrusted: int = 0
    filtered: int = 0
    sampled_out: int = 0
    dropped: int = 0
    pending: int = Field(0, description="being answered, or recorded but not yet on the disk")

    def reconciles(self) -> bool:
        """Whether nothing is missing and nothing counted twice."""
        return self.seen == (
            self.written
            + self.synthetic
            + self.untrusted
            + self.filtered
            + self.sampled_out
            + self.dropped
            + self.pending
        )


WorkerState = Literal["starting", "serving", "stalled", "retiring", "dead"]
"""Starting: does not serve yet. Stalled: shows no sign of life. Retiring: takes no new connections and is about to end.
Dead: has ended, and its replacement is due."""


class Judged(Message):
    """How one of the owner's rules stands."""

    rule: str = Field(description="as it could be written for `--slo`")
    expression: str = Field(description="what has to hold")
    action: str = Field(description="abort: a breach pulls the lever. warn: it is only told")
    state: Literal["idle", "fine", "pending", "breached"] = Field(description="idle: no synthetic requests pass")
    value: float | None = Field(None, description="seconds, a share or events per second; None: no data")
    words: str = Field("", description="for people")


class DarkTimes(Message):
    """How long answers took, in seconds; None without any."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Dark(Message):
    """How the copies of real requests fare that are sent to a service which users do not see.

    ``seen == sum of outcomes + answering + waiting + in_flight``, exactly.
    """

    url: str
    name: str = Field(description="what the mark of the copies says")
    share: Share = Field(description="of real requests that are copied")
    lever: Lever
    serving: bool = Field(description="whether the process that sends them is there")
    pid: int = Field(0, description="which process that is; 0: none is there")
    restarts: int = Field(0, description="how many of it died and were replaced")
    seen: int = Field(0, description="real requests that came")
    outcomes: dict[str, int] = Field({}, description="what became of their copies")
    answering: int = Field(0, description="being answered to users: handed over only then")
    waiting: int = Field(0, description="handed over and not taken yet")
    in_flight: int = Field(0, description="being sent")
    sent: int = Field(0, description="of the outcomes, those that the service may have seen")
    compared: dict[str, dict[Literal["same", "different"], int]] = Field({}, description="by what was compared")
    times: dict[Literal["real", "dark"], DarkTimes] = Field({}, description="of the copies that were answered")

    def reconciles(self) -> bool:
        """Whether nothing is missing and nothing counted twice."""
        return self.seen == sum(self.outcomes.values()) + self.answering + self.waiting + self.in_flight


class Worker(Message):
    """A process that carries traffic."""

    pid: int
    state: WorkerState = "serving"
    since: float = Field(description="unix time")
    restarts: int = Field(0, description="how many before it died in its place")


class EgressState(Message):
    """How the egress is, through which the app's calls go."""

    listen: str
    pid: int = Field(description="0: none carries calls at the moment")
    serves: bool
    restarts: int = Field(description="how many of its processes died")
    calls: dict[str, dict[str, int]] = Field(description="calls that ended, by kind, then by what that was told")
    answered: dict[str, int] = Field({}, description="of these, what rules for third parties kept here, by how")
    forged: int = Field(description="forged tags taken away")
    refused: int = Field(description="connections not made as they led to the sidecar itself")
    traces: dict[str, int] = Field(description="traces that requests bore, by what was done with them")
    held: int = Field(description="synthetic traces remembered at the moment, about")
    room: int = Field(description="how many there is room for")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """The share of calls with a trace, and no tag of their own, whose trace was known; None: there was none."""
        known = sum(counts.get(by, 0) for counts in self.calls.values() for by in ("trace", "contested"))
        unknown = self.calls.get("unattributed", {}).get("unknown", 0)
        return known / (known + unknown) if known + unknown else None


class State(Message):
    """The answer of ``GET /v1/state``."""

    version: str
    upstream: str
    audience: str
    started: float = Field(description="unix time")
    now: float | None = Field(None, description="unix time by the sidecar's clock; None: it does not tell")
    max_extra: Share = Field(description="the largest ceiling that the owner allows")
    credit: float = Field(description="credits that could be spent now")
    subscribers: int = Field(description="replayers on the grant stream")
    requests: dict[str, dict[str, int]] = Field(description="counts by kind, then by outcome")
    signal: Signal
    lever: Lever
    doubt: str = Field(
        "", description="why no load tag counts, whoever signed it (a list that can't be read); empty: they do"
    )
    accounting: Accounting
    capturing: bool = Field(description="whether records reach the disk at the moment")
    slo: list[Judged] = Field([], description="the owner's rules")
    workers: list[Worker] = Field([], description="the processes that carry the traffic")
    tap: Share | None = Field(
        None,
        description="this sidecar gets copies of so many of the real requests instead of the traffic itself: it can "
        "refuse nothing, and knows nothing of answers. `requests` counts copies; `signal` is of what they stand for",
    )
    dark: Dark | None = Field(None, description="copies to a service that users do not see; None: none are made")
    egress: EgressState | None = Field(None, description="the egress, if there is one")


CONTROL_TOKEN = "REAMP_CONTROL_TOKEN"  # noqa: S105 - its name
"""Environment variable with the token that control ports elsewhere ask for."""

SECRETS = frozenset({CONTROL_TOKEN, "REAMP_SIDECAR_CONTROL_TOKEN", "REAMP_SIDECAR_ADMIN_TOKEN"})
"""Environment variables that are nobody's business in processes that know no control port."""


def bearing(token: str | None) -> dict[str, str]:
    """Give the header field that shows a token, none without one. Raises ValueError if no header can carry it."""
    if not token:
        return {}
    if not token.isascii() or not token.isprintable():
        raise ValueError("it holds characters that no HTTP header can carry")
    return {"authorization": f"Bearer {token}"}
