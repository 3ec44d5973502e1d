"""What a run writes down while it lasts: a line a second, and the counts of each route now and then. Pure.

`seconds.jsonl` and `routes.msgpack` (maps, one after the other) hold counts of their own stretch of time and no sums,
so that they can be added up in any way. A run that was killed gives its report from them, and intervals of time are
what changes are judged by. A route's stretches grow with the run (`stretch`), so the folder hardly does.

A stretch is msgpack, for it has a thousand numbers and is written between two requests: JSON takes three times as long.
"""

from collections import Counter
from collections.abc import Iterable

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from replayer.comparing.routes import Recorded, Route
from replayer.counting.accounts import Accounts
from replayer.counting.latency import Quantiles

SHORTEST = 1.0
PARTS = 30
"""A stretch is at least a second, and then a thirtieth of what has passed."""


class Second(BaseModel):
    """One second of a run. Counts are of this second only; times in seconds since the start of the run."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    start: float
    end: float
    wanted: int = 0
    granted: int | None = Field(None, description="credits that sidecars granted; null: there is no ceiling")
    real: int | None = Field(None, description="real requests; null: nothing tells")
    ceiling: float | None = Field(None, description="requests that the ceiling allowed for them")
    sent: int = 0
    answered: int = 0
    retried: int = 0
    read: int = 0
    shed: dict[str, int] = {}
    statuses: dict[int, int] = {}
    errors: dict[str, int] = {}
    withheld: dict[str, int] = {}
    skipped: dict[str, int] = {}
    bytes_sent: int = 0
    bytes_received: int = 0
    in_flight: int = Field(0, description="on their way when the second ended")
    waiting: int = Field(0, description="wanted, and not sent yet when it ended")
    full: float = Field(0.0, description="share of it in which all connections were in use")
    cpu: float | None = Field(None, description="share of a core that the sender's busiest thread used")
    cpu_wanted: float | None = Field(None, description="share of it in which a thread had a core, or waited for one")
    latency: Quantiles = Quantiles()
    lag: Quantiles = Quantiles()
    real_p95: float | None = Field(None, description="of real users, as sidecars saw it")
    gain: float | None = Field(None, description="share of the demand that back-off left; null: no rule changes it")


_SUMS = ("wanted", "sent", "answered", "retried", "read", "bytes_sent", "bytes_received")
_COUNTERS = ("shed", "statuses", "errors", "withheld", "skipped")


class Tally:
    """Tells how much the accounts grew since it was asked last."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(_SUMS, 0)
        self._counters: dict[str, Counter[str]] = {name: Counter() for name in _COUNTERS}

    def growth(self, accounts: Accounts) -> dict[str, int | Counter[str]]:
        """Give it by the names of `Second`."""
        found: dict[str, int | Counter[str]] = {}
        for name in _SUMS:
            now = getattr(accounts, name)
            found[name] = now - self._sums[name]
            self._sums[name] = now
        for name in _COUNTERS:
            counter = Counter(getattr(accounts, name))
            found[name] = counter - self._counters[name]
            self._counters[name] = counter
        return found


def totals(seconds: Iterable[Second]) -> Accounts:
    """Add seconds up. What was on its way at the end of the last one is unanswered, what was wanted is shed."""
    accounts = Accounts()
    last: Second | None = None
    for second in seconds:
        last = second
        for name in _SUMS:
            setattr(accounts, name, getattr(accounts, name) + getattr(second, name))
        for name in _COUNTERS:
            getattr(accounts, name).update(getattr(second, name))
    if last is not None:
        accounts.unanswered = last.in_flight
        accounts.shed["stopped"] += last.waiting
    return accounts


class Stretch(BaseModel):
    """What came back on one route in a stretch of time. Times are microseconds: value by how often."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    start: float
    end: float
    method: str
    template: str
    sent: int = 0
    answered: int = 0
    withheld: int = 0
    statuses: dict[int, int] = {}
    errors: dict[str, int] = {}
    shed: dict[str, int] = {}
    left_out: int = 0
    bytes_received: int = 0
    latency: dict[int, int] = {}
    service: dict[int, int] = {}
    recorded: "Told"

    def route(self) -> Route:
        """Give the counts as a run holds them."""
        told = self.recorded
        return Route(
            self.method,
            self.template,
            self.sent,
            self.answered,
            self.withheld,
            Counter(self.statuses),
            Counter(self.errors),
            Counter(self.shed),
            self.left_out,
            self.bytes_received,
            Counter(self.latency),
            Counter(self.service),
            Recorded(told.count, Counter(told.statuses), told.bytes, Counter(told.duration), Counter(told.ttfb)),
        )


class Told(BaseModel):
    """The same of the recording (`replayer.comparing.routes.Recorded`)."""

    count: int = 0
    statuses: dict[int, int] = {}
    bytes: int = 0
    duration: dict[int, int] = {}
    ttfb: dict[int, int] = {}


def packed(route: Route, start: float, end: float) -> bytes:
    """Write a stretch. By hand: checking what was just counted would take longer than writing it."""
    seen = route.recorded
    told: dict[str, object] = {
        "count": seen.count,
        "statuses": seen.statuses,
        "bytes": seen.bytes,
        "duration": seen.duration,
        "ttfb": seen.ttfb,
    }
    stretch: dict[str, object] = {
        "start": round(start, 3),
        "end": round(end, 3),
        "method": route.method,
        "template": route.template,
        "sent": route.sent,
        "answered": route.answered,
        "withheld": route.withheld,
        "statuses": route.statuses,
        "errors": route.errors,
        "shed": route.shed,
        "left_out": route.left_out,
        "bytes_received": route.bytes_received,
        "latency": route.latency,
        "service": route.service,
        "recorded": told,
    }
    made: bytes = msgpack.packb(stretch)
    return made


def stretch(elapsed: float) -> float:
    """Tell how many seconds a route's next stretch should have when a run has lasted for so long."""
    return max(SHORTEST, elapsed / PARTS)


def parsed[M: BaseModel](lines: Iterable[str], model: type[M]) -> Iterable[M]:
    """Read lines. A last one that is torn, as when a process was killed, is left out; so is what is no such line."""
    for line in lines:
        try:
            yield model.model_validate_json(line)
        except ValidationError:
            continue
