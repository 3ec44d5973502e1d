"""What was promised, what was measured, and the verdict. Pure: everything comes in as data.

The sidecar decides at one moment, and the app notes what it passed at a later one. On a machine that has the time the
two are a few milliseconds apart; on one that is overloaded a request lies about for long enough to be counted into
another window than the one in which it was allowed. So a promise about time has two bounds:

    within the strict one (`REORDER`)            holds
    past it, within what this run's own delays
    can have made of a kept promise              can't tell: the machine was too busy
    past that                                    BROKEN

The delays are measured in the run itself, where nobody could have a reason to be late: from the sidecar's record of
each real request to the app's line about it, and on a clock that the demo has for nothing else. Without any, the second
bound is the first. "Holds" never has the benefit of the doubt.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from captures.records import Record
from rules.units import Share
from rules.wire import State

SECOND = 1_000_000_000
REORDER = SECOND // 20
"""Requests that are on their way at once may reach the app in another order than the sidecar."""


class Arrival(NamedTuple):
    """One line of the app's own account."""

    at_ns: int
    run: str
    request: str
    path: str

    @property
    def synthetic(self) -> bool:
        """Whether the app was told that a load test sent it."""
        return self.run != "-"


def read_account(text: str) -> list[Arrival]:
    """Read the app's account, in order of time."""
    lines = (line.split(" ", 3) for line in text.splitlines())
    return sorted(Arrival(int(at), run, request, path) for at, run, request, path in lines)


class Stall(NamedTuple):
    """The demo's own process should have gone on at a time, and did so only later."""

    at_ns: int
    """When it went on, unix time."""
    length_ns: int


class Verdict(StrEnum):
    """What became of a promise."""

    HOLDS = "holds"
    BROKEN = "BROKEN"
    UNTOLD = "can't tell"


class Promise(NamedTuple):
    """One line of the list at the end."""

    promise: str
    measured: str
    verdict: Verdict


def _verdict(kept: bool, excused: bool) -> Verdict:
    """`excused`: delays that were measured can make what was observed of a promise that was kept."""
    if kept:
        return Verdict.HOLDS
    return Verdict.UNTOLD if excused else Verdict.BROKEN


@dataclass
class Evidence:
    """Everything that was observed."""

    account: list[Arrival]
    records: list[Record]
    state: State
    ceiling: Share
    users_sent: int
    users_statuses: Counter[int]
    users_timeouts: int
    """Requests that users gave up."""
    forged_sent: int
    expired_sent: int
    replay_began_ns: int
    cut_ns: int
    restored_ns: int
    lever_ns: int
    replay_exit: int
    verify_exit: int
    credit_after_untrusted: float
    stalls: list[Stall]
    real: list[int] = field(init=False)
    extra: list[int] = field(init=False)
    late_ns: int = field(init=False)
    """The longest that a real request took from the sidecar to the app."""
    slack_ns: int = field(init=False)
    """How far the app's account may be from the sidecar's decisions. A real request was this late at most; of the fewer
    synthetic ones, one may have been held up for longer: twice that."""

    def __post_init__(self) -> None:
        self.real = [one.at_ns for one in self.account if one.request.startswith("real-") and not one.synthetic]
        self.extra = [one.at_ns for one in self.account if one.synthetic]
        arrived = {_request_id(record): record.arrival_ns for record in self.records}
        ways = (one.at_ns - arrived.get(one.request, one.at_ns) for one in self.account if not one.synthetic)
        self.late_ns = max(ways, default=0)
        self.slack_ns = max(REORDER, 2 * self.late_ns) if self.late_ns > REORDER else REORDER

    @property
    def delayed(self) -> bool:
        """Whether requests took longer to the app than the strict bounds allow for."""
        return self.slack_ns > REORDER

    def stalled_ns(self, after: int, until: int) -> int:
        """Sum up for how long the demo itself was held up in a time."""
        return sum(stall.length_ns for stall in self.stalls if after < stall.at_ns <= until + stall.length_ns)


def between(times: Sequence[int], after: int, until: int) -> int:
    """Count the sorted `times` in ``(after, until]``."""
    return bisect_right(times, until) - bisect_right(times, after)


def judge(seen: Evidence) -> list[Promise]:
    """Hold what was measured against what was promised."""
    return [
        _real_traffic(seen),
        _recording_complete(seen),
        _nothing_synthetic_recorded(seen),
        _ceiling(seen),
        _amplification(seen),
        _follows(seen),
        *_untrusted(seen),
        _lever(seen),
        _accounts(seen),
    ]


def _real_traffic(seen: Evidence) -> Promise:
    answered = sum(count for status, count in seen.users_statuses.items() if 200 <= status < 400)
    return Promise(
        "real users are always served",
        f"{answered} of {seen.users_sent} answered well",
        # Where everything takes long, users give up without anybody having failed them.
        _verdict(
            answered == seen.users_sent == len(seen.real),
            seen.delayed and answered + seen.users_timeouts == seen.users_sent,
        ),
    )


def _recording_complete(seen: Evidence) -> Promise:
    on_disk = Counter(_request_id(record) for record in seen.records)
    at_app = Counter(one.request for one in seen.account if one.request.startswith("real-") and not one.synthetic)
    return Promise(
        "the recording is what real users sent",
        f"{len(seen.records)} on the disk, {at_app.total()} reached the app, {(on_disk - at_app).total()} foreign,"
        f" {(at_app - on_disk).total()} missing",
        _verdict(on_disk == at_app and seen.verify_exit == 0, excused=False),
    )


def _nothing_synthetic_recorded(seen: Evidence) -> Promise:
    tagged = sum(
        any(name.lower() == b"x-load-test" or b"loadtest" in value for name, value in record.headers)
        for record in seen.records
    )
    return Promise(
        "nothing synthetic is recorded: a replay can't feed on itself",
        f"{tagged} of {len(seen.records)} records bear a tag; {len(seen.extra)} synthetic requests passed",
        _verdict(tagged == 0 and len(seen.extra) > 0, excused=False),
    )


def _allowed(seen: Evidence, start: int, end: int, before: int, after: int) -> float:
    """Tell how many extra requests a window may hold: ratio x real of it, plus what the second before it had earned.

    Real requests count from `before` earlier than the window until `after` later.
    """
    ratio = seen.ceiling / 1e6
    earned_before = ratio * between(seen.real, start - SECOND - max(REORDER, before), start)
    return ratio * between(seen.real, start - before, end + after) + max(1.0, earned_before)


def _over(seen: Evidence, before: int, after: int) -> float:
    """Tell by how many requests the worst of all windows passes what it may hold; below zero if none does."""
    worst = float("-inf")
    for begin in seen.extra:
        start = begin - 1
        for length in (SECOND // 10, SECOND, 5 * SECOND, 10**6 * SECOND):
            end = start + length
            worst = max(worst, between(seen.extra, start, end) - _allowed(seen, start, end, before, after))
    return worst


def _ceiling(seen: Evidence) -> Promise:
    worst = _over(seen, 0, REORDER)
    total = len(seen.extra) / max(1, between(seen.real, seen.replay_began_ns - SECOND, seen.lever_ns))
    return Promise(
        f"extra traffic stays under {seen.ceiling} of real, in every window",
        f"{total:.1%} over the run; nearest to the limit in any window: {-worst:.1f} requests below",
        _verdict(
            worst <= 0 and len(seen.extra) > 0,
            # What the app sees in a window was allowed in it, or up to the delay before it; the real requests that
            # earned it came in that time, and were seen until as much later.
            seen.delayed and len(seen.extra) > 0 and _over(seen, seen.slack_ns, seen.slack_ns) <= 0,
        ),
    )


def _amplification(seen: Evidence) -> Promise:
    start, end = seen.replay_began_ns + 2 * SECOND, seen.cut_ns
    real, extra = between(seen.real, start, end), between(seen.extra, start, end)
    factor = 1 + extra / max(1, real)
    # While a replay is held up its credit expires, and what is still on its way is not counted yet.
    lost_ns = seen.stalled_ns(start, end) + (seen.slack_ns if seen.delayed else 0)
    lost = real * seen.ceiling / 1e6 * lost_ns / max(1, end - start)
    return Promise(
        "1.25x is reached, not only stayed under",
        f"{factor:.2f}x before the cut",
        _verdict(factor >= 1.22, extra > 0 and 1 + (extra + lost) / max(1, real) >= 1.22),
    )


def _follows(seen: Evidence) -> Promise:
    """Find the last moment of the cut at which the second before held more extra than its real traffic allows.

    What happens once real traffic is back is no matter of following: that is the ceiling's.
    """
    ratio, slack, followed, moments = seen.ceiling / 1e6, seen.slack_ns, 0, True
    for at in seen.extra[bisect_left(seen.extra, seen.cut_ns) : bisect_right(seen.extra, seen.restored_ns)]:
        real, extra = between(seen.real, at - SECOND - REORDER, at), between(seen.extra, at - SECOND, at)
        if extra > max(1.0, ratio * real) + 1:
            followed = at - seen.cut_ns
            moments = moments and (followed <= SECOND or extra <= _allowed(seen, at - SECOND, at, slack, slack))
    start, end, span = seen.cut_ns + SECOND, seen.restored_ns, (seen.restored_ns - seen.cut_ns - SECOND) / SECOND
    before = between(seen.real, seen.cut_ns - 12 * SECOND, seen.cut_ns) / 12
    extra = between(seen.extra, start, end)
    after, extra_after = between(seen.real, start, end) / span, extra / span
    fell, goes_on, bounded = after < before / 2, extra > 0, extra_after <= ratio * after + 1
    return Promise(
        "when real traffic falls, extra follows within a second",
        f"real {before:.0f}/s -> {after:.0f}/s, extra then {extra_after:.1f}/s; followed after {followed / 1e6:.0f} ms",
        _verdict(
            followed <= SECOND and fell and goes_on and bounded,
            (followed <= SECOND or (seen.delayed and moments))
            # Users that are held up ask for less before the cut: then nothing fell that could have been followed.
            and (fell or seen.stalled_ns(seen.cut_ns - 12 * SECOND, end) > 0)
            # A signal that is a second old counts for nothing.
            and (goes_on or seen.stalled_ns(start, end) > SECOND)
            and (bounded or (seen.delayed and extra <= _allowed(seen, start, end, slack, slack))),
        ),
    )


def _untrusted(seen: Evidence) -> list[Promise]:
    arrived = [one for one in seen.account if one.request.startswith(("forged-", "expired-"))]
    passed = sum(one.synthetic for one in arrived)
    recorded = sum(_request_id(record).startswith(("forged-", "expired-")) for record in seen.records)
    sent = seen.forged_sent + seen.expired_sent
    counted = sum(seen.state.requests["real"].values())
    # Anybody may have sent what is forged, so it goes on without its tag. Only a replay can have sent what expired.
    forged = sum(one.request.startswith("forged-") for one in arrived)
    found_out = seen.state.accounting.untrusted == sent and forged == seen.forged_sent == len(arrived)
    return [
        Promise(
            "forged and expired tags do not pass for synthetic, and are not recorded",
            f"{sent} sent, {seen.state.accounting.untrusted} found out, {len(arrived) - forged} expired ones reached "
            f"the app, {passed} passed, {recorded} recorded",
            _verdict(found_out and passed == recorded == 0, excused=False),
        ),
        Promise(
            "forged and expired tags earn no credit",
            f"credit after {sent // 2} of them alone: {seen.credit_after_untrusted:g}; counted as real: {counted} of"
            f" {seen.users_sent}",
            _verdict(seen.credit_after_untrusted == 0 and counted == seen.users_sent, excused=False),
        ),
    ]


def _lever(seen: Evidence) -> Promise:
    last = max(seen.extra, default=0)
    distance = (last - seen.lever_ns) / 1e6
    when = f"{distance:.0f} ms after" if distance > 0 else f"{-distance:.0f} ms before"
    real_after = between(seen.real, seen.lever_ns, seen.lever_ns + 10**6 * SECOND)
    return Promise(
        "the lever stops synthetic traffic at once, real traffic goes on",
        f"last synthetic request {when} the pull, {real_after} real ones since; the replay exited {seen.replay_exit}",
        _verdict(
            last - seen.lever_ns <= SECOND // 10 and real_after > 0 and seen.replay_exit == 91,
            # Passed before the pull, and late at the app; or the sidecar was held up while it pulled.
            last - seen.lever_ns <= SECOND // 10 + seen.slack_ns + seen.stalled_ns(seen.lever_ns, last)
            and (seen.delayed or bool(seen.stalls))
            and real_after > 0
            and seen.replay_exit == 91,
        ),
    )


def _accounts(seen: Evidence) -> Promise:
    accounting, outcomes = seen.state.accounting, seen.state.requests["synthetic"]
    withheld = outcomes["withheld"]
    parts = f"{accounting.written} written + {accounting.synthetic} synthetic + {accounting.untrusted} untrusted"
    reconciles = (
        accounting.reconciles()
        and accounting.pending == 0
        and accounting.written == len(seen.records)
        and accounting.seen - accounting.synthetic - accounting.untrusted == seen.users_sent
    )
    missing = accounting.synthetic - withheld - len(seen.extra)
    return Promise(
        "every request is accounted for",
        f"{accounting.seen} seen = {parts} + {accounting.dropped} dropped; {withheld} withheld by the guard",
        _verdict(
            reconciles and missing == 0,
            # The replay may have gone before the app could be asked, which on a slow machine takes its time.
            reconciles and seen.delayed and 0 <= missing <= outcomes.get("error", 0),
        ),
    )


def _request_id(record: Record) -> str:
    return next((value.decode("latin-1") for name, value in record.headers if name.lower() == b"x-request-id"), "-")
