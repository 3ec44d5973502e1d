"""Whether all of it arrives, in numbers: a replay of 5,000 requests among 20,000 real ones, through four services.

`tests.support.chain` says what stands there. Users order as fast as they are served, eight at a time; the replay adds
a quarter to them, as the ceiling allows, so that real and synthetic orders are in the services side by side. Each
service writes down what reached it, and every order is followed through all of them. Once with loadtag in the services,
once with services that pass on `traceparent` and nothing else, whose calls go by the sidecar's egress, once with both.

It fails unless everything comes out even. CPU time is that of each process and its children, by the kernel, over the
time between the first order and the last.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.benchmarks.measuring import Bench, tree_cpu
from tests.benchmarks.tables import figure, markdown
from tests.support.chain.reckoning import KINDS, STATIONS, Reckoning
from tests.support.chain.site import CALLS, Site, site
from tests.support.chain.users import Users, has_a_trace

PEERS: tuple[str, ...] = ()
MODES = ("library", "traces", "both")
"""See `tests.support.chain`."""
TOLD_BY = {"traces": "trace", "both": "tag"}
"""By what the egress knows a synthetic call."""
SYNTHETIC, REAL = 5_000, 20_000
RECORDED = 200
"""Orders in the recording: it is played over and over."""
MORE = 1.01
"""Times as many are sent: the guard may refuse one or the other for want of credit, and those never arrive."""
LONGEST = 1_800.0
"""Seconds that it may take."""


class Told(NamedTuple):
    """What came of one way."""

    mode: str
    outcome: Reckoning
    seconds: float
    orders: int
    refused: int
    """Synthetic ones for which there was no credit: they never came to the first service."""
    cpu: dict[str, float]
    calls: Counter[str]
    """That went by the egress, by whose they were and how that was told."""


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    told = [_way(bench, mode) for mode in MODES]
    arrivals = [
        [f"{one.mode}, {station}", *(part for kind in KINDS for part in _row(one.outcome, station, kind))]
        for one in told
        for station in STATIONS
        if one.mode != "traces" or station != "queue"  # which holds the trace and no tag
    ]
    costs = [
        [one.mode, name, figure(seconds), figure(seconds / one.orders * 1e3)]
        for one in told
        for name, seconds in one.cpu.items()
    ]
    head = ["way, station", "synthetic", "known as the run's", "share", "real", "untagged", "share"]
    rates = "\n".join(
        f"{one.mode}: {one.orders:,} orders in {one.seconds:.0f} s, {one.orders / one.seconds:.0f}/s; "
        f"{one.refused} more were refused by the guard"
        for one in told
    )
    by_egress = [[one.mode, how, f"{count:,}"] for one in told for how, count in sorted(one.calls.items())]
    return (
        f"{markdown(head, arrivals)}\n\n{rates}\n\n"
        f"{markdown(['calls by the egress', 'whose, and how that was told', 'calls'], by_egress)}\n\n"
        f"{markdown(['way', 'process', 'CPU seconds', 'CPU ms/order'], costs)}"
    )


def _row(outcome: Reckoning, station: str, kind: str) -> list[str]:
    (share,) = (share for share in outcome.shares if (share.station, share.kind) == (station, kind))
    # Rounded down: one of 20,000 that is wrong shows.
    percent = f"{math.floor(share.right / share.arrived * 1e6) / 1e4:g}%" if share.arrived else ""
    return [f"{share.arrived:,}", f"{share.right:,}", percent]


def _way(bench: Bench, mode: str) -> Told:
    synthetic, real = (50, 200) if bench.quick else (SYNTHETIC, REAL)
    with site(bench.folder / mode, mode) as shop:
        recording = shop.record(RECORDED)
        before, calls, began = _cpu(shop), shop.calls(), time.monotonic()
        with Users(shop.stack.url) as users:
            report = shop.replay(recording, math.ceil(synthetic * MORE), users, real, LONGEST)
        shop.settle()
        seconds, after = time.monotonic() - began, _cpu(shop)
        outcome, calls = shop.reckon(users, report), shop.calls() - calls
    bench.say(f"  {mode}: {report.accounts.answered:,} synthetic, {len(users.answered):,} real, {seconds:.0f} s")
    wrong = [*users.failed, *outcome.wrong]
    accounts = report.accounts
    if accounts.answered < synthetic or accounts.answered + accounts.withheld.total() != accounts.sent:
        wrong.append(f"of the replay's requests fewer than {synthetic} were answered, or some were lost: {accounts}")
    if len(users.answered) < real:
        wrong.append(f"{len(users.answered)} real orders were answered, not {real}")
    if calls:
        wrong += _miscounted(mode, calls, accounts.answered, users.answered)
    if wrong:
        raise RuntimeError(f"{mode}: {len(wrong)} things are wrong: " + "; ".join(wrong[:5]))
    orders = accounts.answered + len(users.answered)
    cpu = {name: after[name] - before[name] for name in before}
    return Told(mode, outcome, seconds, orders, accounts.withheld.total(), cpu, calls)


def _miscounted(mode: str, calls: Counter[str], synthetic: int, users: Sequence[str]) -> Iterator[str]:
    """Tell what the egress has counted otherwise than it should have."""
    # Where the library is in the services, no trace is passed on.
    known = sum(map(has_a_trace, users)) if mode == "traces" else 0
    expected = Counter(
        {
            f"synthetic ({TOLD_BY[mode]})": CALLS * synthetic,
            "real (trace)": CALLS * known,
            f"unattributed ({'unknown' if mode == 'traces' else 'nothing'})": CALLS * (len(users) - known),
        }
    )
    if calls != expected:  # where one of them is none, it is the same as missing
        yield f"the egress has told calls as {calls}, which are {expected}"


def _cpu(shop: Site) -> dict[str, float]:
    found = {name: tree_cpu(process.pid) for name, process in shop.processes.items() if process.running()}
    if egress := shop.stack.state().egress:
        found["egress"] = tree_cpu(egress.pid)
        found["sidecar"] -= found["egress"]
    return found
