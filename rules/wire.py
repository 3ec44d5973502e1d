"""The messages of the control port, and how the guard says that it withheld a request.

A grant stream (``GET /v1/credits``) is a sequence of JSON lines, each one `Grant`. Its counters are cumulative since
the subscription began, so a reader that sees only every tenth message has lost nothing.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rules.units import Share

GRANT_INTERVAL = 0.02
"""Seconds between two grants."""

SIGNAL_TIMEOUT = 1.0
"""Seconds after which a grant is stale. No fresh grant means no credit, and no credit means no traffic."""

WITHHELD_HEADER = "reamp-withheld"
"""Response header that only the guard sets. A response that bears it never reached the app."""

Withheld = Literal["credit", "lever"]


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


class Worker(Message):
    """A process that carries traffic."""

    pid: int
    state: WorkerState = "serving"
    since: float = Field(description="unix time")
    restarts: int = Field(0, description="how many before it died in its place")


class State(Message):
    """The answer of ``GET /v1/state``."""

    version: str
    upstream: str
    audience: str
    started: float = Field(description="unix time")
    max_extra: Share = Field(description="the largest ceiling that the owner allows")
    credit: float = Field(description="credits that could be spent now")
    subscribers: int = Field(description="replayers on the grant stream")
    requests: dict[str, dict[str, int]] = Field(description="counts by kind, then by outcome")
    signal: Signal
    lever: Lever
    accounting: Accounting
    capturing: bool = Field(description="whether records reach the disk at the moment")
    workers: list[Worker] = Field([], description="the processes that carry the traffic")
