"""What came of a run: the model behind `report.json`, and the verdict. Pure."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from replayer.comparing.comparison import Change
from replayer.comparing.differences import Differences
from replayer.counting.accounts import Accounts
from replayer.counting.bottleneck import Bottleneck
from replayer.counting.latency import Quantiles
from replayer.counting.series import Second
from replayer.plan import Plan
from replayer.safety.loop import Backing, Judgement
from replayer.stopping import Stop
from rules.exits import Exit
from rules.units import MILLION, Share
from rules.wire import Signal

_EXITS = {
    "ended": Exit.DONE,
    "interrupted": Exit.INTERRUPTED,
    "lever": Exit.LEVER,
    "outside-window": Exit.OUTSIDE_WINDOW,
    "slo": Exit.SLO_BREACHED,
    "signal-lost": Exit.SIGNAL_LOST,
    "failed": Exit.FAILED,
    "killed": Exit.FAILED,
    "preflight": Exit.PREFLIGHT,
}


class Live(BaseModel):
    """What one sidecar reported during the run."""

    url: str
    real: int = Field(description="real requests")
    granted: int = Field(description="credits granted to this run")
    spent: int = Field(description="credits spent by it")
    ceiling: Share
    signal: Signal | None = Field(None, description="what real users got at the end")


class RecordedRoute(BaseModel):
    """What the recording tells of the very records that were sent on a route, each as often as it was sent."""

    count: int
    statuses: dict[int, int] = Field(description="0: there was no answer; records of which nobody knows are in none")
    failed: float | None = Field(
        description="share without an answer, or with one of 5xx, of those that are known; null: none is"
    )
    bytes: int = Field(description="of bodies")
    duration: Quantiles = Field(description="from the arrival at the sidecar to the last byte of the answer")
    ttfb: Quantiles = Field(description="from the arrival at the sidecar to the first byte of the answer")


class RouteReport(BaseModel):
    """What came back on one route."""

    method: str
    template: str = Field(description="path, with {id} and the like for what identifies one thing")
    wanted: int = Field(description="requests that fell due on it")
    allowed: int = Field(description="of these, what was not withheld for want of credit, or of a signal")
    sent: int
    answered: int
    withheld: int = Field(description="answered by the sidecar: no credit, its lever, or a bad load tag")
    shed: dict[str, int] = Field(description="wanted and not sent, by reason")
    statuses: dict[int, int]
    errors: dict[str, int]
    failed: float | None = Field(description="share of the requests not withheld without an answer, or with one of 5xx")
    bytes_received: int = Field(description="heads and bodies")
    latency: Quantiles = Field(description="from the intended send time to the last byte")
    service: Quantiles = Field(description="from the actual send to the last byte")
    recorded: RecordedRoute | None = None
    changes: list[Change] = Field([], description="of service and failures, against the recording")


class LeftOut(BaseModel):
    """A route of requests that change things, which the plan does not allow."""

    method: str
    template: str
    count: int = Field(description="records of it that were left out, as often as they were read")
    option: str = Field("", description="what to say for them to be sent; empty: nothing would do")


class Report(BaseModel):
    """A run, whole, however it ended."""

    version: int = 1
    run: str
    plan: dict[str, Any] = Field(description="the effective configuration, as in plan.json")
    ceiling: Share | None = Field(None, description="the agreed ceiling; None: an idle target")
    audience: str
    started: float = Field(description="unix time")
    ended: float = Field(description="unix time")
    seconds: float = Field(description="from the start until nothing more was sent")
    stalled: float = Field(0.0, description="seconds in which the sender's process stood still")
    accounts: Accounts
    sidecars: list[Live] = []
    latency: Quantiles = Field(description="from the intended send time to the last byte, whole answers only")
    service: Quantiles = Field(description="from the actual send to the last byte")
    lag: Quantiles = Field(description="by how much the sender itself was late, of everything sent")
    wait: Quantiles = Field(Quantiles(), description="for a connection, of those requests that had to wait for one")
    reasons: dict[str, str] = Field({}, description="of each kind of failure, the first one in words")
    damage: list[str] = Field([], description="what of the recording could not be read")
    stop: Stop
    reason: str = Field(description="why it stopped, for people")
    valid: bool = Field(description="whether the sender kept to its schedule, so that the figures are the target's")
    invalid_because: list[str] = []
    bottleneck: Bottleneck | None = Field(None, description="whether the sender held the run back, and not the target")
    routes: list[RouteReport] = Field([], description="the busiest first")
    left_out: list[LeftOut] = Field([], description="routes not sent because they change things, the busiest first")
    caveats: list[str] = Field([], description="what lies between the recording and the replay")
    differences: Differences | None = Field(None, description="the answers compared (--diff); null: nobody asked")
    slo: list[Judgement] = Field([], description="how each rule fared")
    back_off: Backing | None = Field(None, description="what back-off left of the demand; null: no rule may change it")
    unwritten: list[str] = Field([], description="what of the run's books, this one among them, did not reach the disk")
    exit_code: int


def lacking(report: Report, unwritten: Iterable[str]) -> Report:
    """Say in a report that some of the run's books were not written. A run that lacks them has failed."""
    more = [each for each in unwritten if each not in report.unwritten]
    if not more:
        return report
    code = Exit.FAILED if report.exit_code == Exit.DONE else report.exit_code
    return report.model_copy(update={"unwritten": [*report.unwritten, *more], "exit_code": int(code)})


class Lateness:
    """The longest time in a row in which the sender did not keep its schedule.

    A second counts if the p99 of its lag passed `Plan.lag_bound`, or if more than `Plan.late_bound` of what fell due in
    it was shed as late. A second in which nothing fell due tells nothing, and neither goes on with such a time nor
    ends it.
    """

    def __init__(self, plan: Plan, seconds: Iterable[Second] = ()) -> None:
        self.longest = 0.0
        """Seconds."""
        self._plan = plan
        self._since: float | None = None
        for second in seconds:
            self.add(second)

    def add(self, second: Second) -> None:
        """Take in the next second."""
        late = second.shed.get("late", 0)
        if (second.lag.p99 or 0.0) > self._plan.lag_bound or late * MILLION > self._plan.late_bound * second.wanted:
            self._since = second.start if self._since is None else self._since
            self.longest = max(self.longest, second.end - self._since)
        elif second.wanted:
            self._since = None


def faults(
    plan: Plan,
    accounts: Accounts,
    lag: Quantiles,
    stalled: float,
    seconds: float,
    crowded: int = 0,
    lagging: float = 0.0,
) -> list[str]:
    """Tell why the figures of a run can't be trusted: it was the sender that was slow. Empty: they can.

    Bounds: p99 of the lag (`Plan.lag_bound`), over the run and, for longer than `Plan.lag_for`, of each second in a row
    (`lagging`, see `Lateness`: however long a run is, a bad minute is one); and of `Plan.late_bound` the share of
    requests shed because the sender was late or had no connection for them, the share that was sent but waited for a
    free connection for longer than the lag may be (`crowded`: the schedule was not kept, whoever was too slow), and the
    share of the time in which the sender stood still. The last one matters in a live run, which does not even learn
    what it missed meanwhile.
    """
    found = []
    if stalled * MILLION > plan.late_bound * seconds:
        found.append(f"the sender stood still for {stalled:.1f} of {seconds:.1f} s: this machine is too busy")
    if lag.p99 is not None and lag.p99 > plan.lag_bound:
        found.append(f"the sender lagged: p99 of the lag is {lag.p99 * 1000:.1f} ms, the bound {plan.lag_bound}")
    if lagging > plan.lag_for:
        found.append(
            f"the sender lagged for {lagging:.0f} s in a row, the bound is {plan.lag_for}: p99 of its lag was above "
            f"{plan.lag_bound}, or requests were shed as late"
        )
    # Sheds for want of a connection count too: the schedule was not kept, and more connections might have kept it.
    for reason, advice in (
        ("late", "this machine is too slow or too busy for the rate"),
        ("connections", "raise --max-connections, or this machine or the target is too slow for the rate"),
    ):
        count = accounts.shed[reason]
        if count * MILLION > plan.late_bound * accounts.wanted:
            found.append(f"{count} of {accounts.wanted} requests were shed ({reason}): {advice}")
    if crowded * MILLION > plan.late_bound * accounts.wanted:
        found.append(
            f"{crowded} of {accounts.wanted} requests waited for a free connection for more than {plan.lag_bound}: "
            "raise --max-connections, or this machine or the target is too slow for the rate"
        )
    return found


def exit_code(stop: Stop, invalid_because: list[str], accounts: Accounts) -> Exit:
    """Turn the end of a run into an exit code. What stopped it comes first, then whether it is to be believed."""
    if stop != "ended":
        return _EXITS[stop]
    if accounts.errors and not accounts.answered:
        return Exit.FAILED
    return Exit.INVALID if invalid_because else Exit.DONE
