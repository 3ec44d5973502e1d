"""What was promised, what was measured, and the verdict. Pure: everything comes in as data."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
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


class Promise(NamedTuple):
    """One line of the list at the end."""

    promise: str
    measured: str
    kept: bool


@dataclass
class Evidence:
    """Everything that was observed."""

    account: list[Arrival]
    records: list[Record]
    state: State
    ceiling: Share
    users_sent: int
    users_statuses: Counter[int]
    forged_sent: int
    expired_sent: int
    replay_began_ns: int
    cut_ns: int
    restored_ns: int
    lever_ns: int
    replay_exit: int
    verify_exit: int
    credit_after_untrusted: float
    real: list[int] = field(init=False)
    extra: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.real = [one.at_ns for one in self.account if one.request.startswith("real-") and not one.synthetic]
        self.extra = [one.at_ns for one in self.account if one.synthetic]


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
        answered == seen.users_sent == len(seen.real),
    )


def _recording_complete(seen: Evidence) -> Promise:
    on_disk = Counter(_request_id(record) for record in seen.records)
    at_app = Counter(one.request for one in seen.account if one.request.startswith("real-") and not one.synthetic)
    return Promise(
        "the recording is what real users sent",
        f"{len(seen.records)} on the disk, {at_app.total()} reached the app, {(on_disk - at_app).total()} foreign,"
        f" {(at_app - on_disk).total()} missing",
        on_disk == at_app and seen.verify_exit == 0,
    )


def _nothing_synthetic_recorded(seen: Evidence) -> Promise:
    tagged = sum(
        any(name.lower() == b"x-load-test" or b"loadtest" in value for name, value in record.headers)
        for record in seen.records
    )
    return Promise(
        "nothing synthetic is recorded: a replay can't feed on itself",
        f"{tagged} of {len(seen.records)} records bear a tag; {len(seen.extra)} synthetic requests passed",
        tagged == 0 and len(seen.extra) > 0,
    )


def _ceiling(seen: Evidence) -> Promise:
    """In every window: at most ratio x real of that window, plus the cap (what the second before it had earned)."""
    ratio, worst = seen.ceiling / 1e6, float("-inf")
    for begin in seen.extra:
        start = begin - 1
        earned_before = ratio * between(seen.real, start - SECOND - REORDER, start)
        for length in (SECOND // 10, SECOND, 5 * SECOND, 10**6 * SECOND):
            end = start + length
            allowed = ratio * between(seen.real, start, end + REORDER) + max(1.0, earned_before)
            worst = max(worst, between(seen.extra, start, end) - allowed)
    total = len(seen.extra) / max(1, between(seen.real, seen.replay_began_ns - SECOND, seen.lever_ns))
    return Promise(
        f"extra traffic stays under {seen.ceiling} of real, in every window",
        f"{total:.1%} over the run; nearest to the limit in any window: {-worst:.1f} requests below",
        worst <= 0 and len(seen.extra) > 0,
    )


def _amplification(seen: Evidence) -> Promise:
    start, end = seen.replay_began_ns + 2 * SECOND, seen.cut_ns
    real, extra = between(seen.real, start, end), between(seen.extra, start, end)
    factor = 1 + extra / max(1, real)
    return Promise("1.25x is reached, not only stayed under", f"{factor:.2f}x before the cut", factor >= 1.22)


def _follows(seen: Evidence) -> Promise:
    """Find the last moment after the cut at which the second before held more extra than its real traffic allows."""
    ratio, followed = seen.ceiling / 1e6, 0
    for at in seen.extra[bisect_left(seen.extra, seen.cut_ns) :]:
        real = between(seen.real, at - SECOND - REORDER, at)
        if between(seen.extra, at - SECOND, at) > max(1.0, ratio * real) + 1:
            followed = at - seen.cut_ns
    start, end, span = seen.cut_ns + SECOND, seen.restored_ns, (seen.restored_ns - seen.cut_ns - SECOND) / SECOND
    before = between(seen.real, seen.cut_ns - 12 * SECOND, seen.cut_ns) / 12
    after, extra_after = between(seen.real, start, end) / span, between(seen.extra, start, end) / span
    return Promise(
        "when real traffic falls, extra follows within a second",
        f"real {before:.0f}/s -> {after:.0f}/s, extra then {extra_after:.1f}/s; followed after {followed / 1e6:.0f} ms",
        followed <= SECOND and after < before / 2 and 0 < extra_after <= ratio * after + 1,
    )


def _untrusted(seen: Evidence) -> list[Promise]:
    arrived = [one for one in seen.account if one.request.startswith(("forged-", "expired-"))]
    passed = sum(one.synthetic for one in arrived)
    recorded = sum(_request_id(record).startswith(("forged-", "expired-")) for record in seen.records)
    sent = seen.forged_sent + seen.expired_sent
    counted = sum(seen.state.requests["real"].values())
    return [
        Promise(
            "forged and expired tags do not pass for synthetic, and are not recorded",
            f"{sent} sent, {seen.state.accounting.untrusted} found out, {passed} passed, {recorded} recorded",
            seen.state.accounting.untrusted == sent == len(arrived) and passed == recorded == 0,
        ),
        Promise(
            "forged and expired tags earn no credit",
            f"credit after {sent // 2} of them alone: {seen.credit_after_untrusted:g}; counted as real: {counted} of"
            f" {seen.users_sent}",
            seen.credit_after_untrusted == 0 and counted == seen.users_sent,
        ),
    ]


def _lever(seen: Evidence) -> Promise:
    after = [at for at in seen.extra if at > seen.lever_ns]
    last = max(seen.extra, default=0)
    distance = (last - seen.lever_ns) / 1e6
    when = f"{distance:.0f} ms after" if distance > 0 else f"{-distance:.0f} ms before"
    real_after = between(seen.real, seen.lever_ns, seen.lever_ns + 10**6 * SECOND)
    return Promise(
        "the lever stops synthetic traffic at once, real traffic goes on",
        f"last synthetic request {when} the pull, {real_after} real ones since; the replay exited {seen.replay_exit}",
        all(at - seen.lever_ns <= SECOND // 10 for at in after) and real_after > 0 and seen.replay_exit == 91,
    )


def _accounts(seen: Evidence) -> Promise:
    accounting = seen.state.accounting
    withheld = seen.state.requests["synthetic"]["withheld"]
    parts = f"{accounting.written} written + {accounting.synthetic} synthetic + {accounting.untrusted} untrusted"
    return Promise(
        "every request is accounted for",
        f"{accounting.seen} seen = {parts} + {accounting.dropped} dropped; {withheld} withheld by the guard",
        accounting.reconciles()
        and accounting.pending == 0
        and accounting.written == len(seen.records)
        and accounting.synthetic == len(seen.extra) + withheld
        and accounting.seen - accounting.synthetic - accounting.untrusted == seen.users_sent,
    )


def _request_id(record: Record) -> str:
    return next((value.decode("latin-1") for name, value in record.headers if name.lower() == b"x-request-id"), "-")
