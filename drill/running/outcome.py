"""Whether the rules held in a step, at a glance: that decides what is run next. Pure.

It is no verdict: that rests on intervals of confidence (`drill.judging`). Here a rule is broken overall if its figure
says so, and on a route only if that is hardly chance: a route of twenty requests has one slow one now and then.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, get_args

from drill.running.record import Found
from replayer.books.report import Report
from replayer.comparing.routes import Route
from replayer.counting.series import Second
from replayer.transport.failures import Unconnected
from rules.experience import Tally
from rules.latency import longest, place
from rules.slo import Expression, Rule

FEWEST = 20
"""Requests of a route of which something is said."""

BEYOND, FEWEST_BEYOND = 3.0, 3
"""Standard deviations by which, and requests in which, a route has to be beyond a bound."""

_MOST_SAID = 5

_UNCONNECTED: frozenset[str] = frozenset(get_args(Unconnected))

ASTRAY: frozenset[str] = frozenset(("dns", "connect", "connect-timeout"))
"""Failures that say nothing of the clone: the network between may be cut, on our side. Who refuses or resets a
connection, or takes it and does not answer, was reached."""


class Outcome(NamedTuple):
    """What came of a step."""

    found: Found
    because: tuple[str, ...]


def unreached(report: Report) -> bool:
    """Whether there was never a connection to the clone: nobody was there, or the way to it was shut."""
    kinds = {kind for kind, count in report.accounts.errors.items() if count}
    return not report.accounts.answered and bool(kinds) and kinds <= _UNCONNECTED


def failing(seconds: Iterable[Second]) -> bool:
    """Whether requests failed at the end of a run, or none was answered: the clone may have gone down."""
    busy = (second for second in seconds if second.wanted or answered(second) or lost(second))
    return any(lost(second) or not answered(second) for second in deque(busy, maxlen=1))


def answered(second: Second) -> int:
    """Count the answers of a second that are no failures."""
    return sum(count for status, count in second.statuses.items() if status < 500)


def lost(second: Second) -> int:
    """Count what failed in a second, or was due and never sent because the clone took no connection."""
    failed = sum(count for status, count in second.statuses.items() if status >= 500)
    return failed + sum(second.errors.values()) + second.shed.get("backoff", 0)


def outcome(report: Report, routes: Iterable[Route], rules: Sequence[Rule]) -> Outcome:
    """Tell whether the rules held. `routes`: what the run counted, by final names."""
    if unreached(report):
        return Outcome("unclear", ("there was never a connection to the clone",))
    judged = [rule.expression for rule in rules if not rule.external]
    routes = list(routes)
    broken = [report.reason] if report.stop == "slo" else []
    broken += [told for expression in judged if (told := _overall(expression, routes, report.seconds))]
    broken += [
        f"{route.method} {route.template}: {told}"
        for route in routes
        for expression in judged
        if (told := _on_route(expression, route, report.seconds))
    ]
    if len(broken) > _MOST_SAID:
        broken = [*broken[:_MOST_SAID], f"and {len(broken) - _MOST_SAID} more"]
    if report.stop in ("ended", "slo") and broken:
        return Outcome("broke", tuple(broken))
    if report.stop != "ended":
        return Outcome("unclear", (f"it was stopped: {report.reason}",))
    if not report.accounts.answered:
        return Outcome("broke" if report.accounts.errors else "unclear", (report.reason,))
    if not report.valid or report.unwritten:
        return Outcome("unclear", (*report.invalid_because, *report.unwritten))
    return Outcome("held", ())


def _tally(route: Route, seconds: float) -> Tally:
    latency: Counter[int] = Counter()
    for microseconds, count in route.latency.items():
        latency[place(microseconds / 1e6)] += count
    failed = route.errors.total() + sum(count for status, count in route.statuses.items() if status >= 500)
    return Tally(seconds, route.sent, route.answered + route.errors.total(), failed, latency)


def _overall(expression: Expression, routes: Iterable[Route], seconds: float) -> str:
    tally = sum((_tally(route, 0.0) for route in routes), Tally(seconds))
    reading = expression.measure(tally)
    if reading.value is None or (reading.samples < FEWEST and expression.statistic != "rate"):
        return ""
    if expression.holds(reading.value, expression.bound):
        return ""
    return _told(expression, reading.value)


def _on_route(expression: Expression, route: Route, seconds: float) -> str:
    if expression.statistic == "rate":
        return ""  # a rate is of all together
    tally = _tally(route, seconds)
    reading = expression.measure(tally)
    if reading.value is None or reading.samples < FEWEST or expression.holds(reading.value, expression.bound):
        return ""
    beyond = _beyond(expression, tally)
    if beyond is not None and not _hardly_chance(*beyond):
        return ""
    return _told(expression, reading.value)


def _told(expression: Expression, value: float) -> str:
    return f"{str(expression).removeprefix('synthetic.')} does not hold: {expression.tell(value)}"


def _beyond(expression: Expression, tally: Tally) -> tuple[int, int, float] | None:
    """Give how many requests are beyond the bound, of how many, and the share that may be; None: not to be said."""
    if expression.operator not in ("<", "<="):
        return None
    if expression.statistic == "error_ratio":
        return tally.errors, tally.finished, expression.bound
    if expression.statistic not in ("p", "med"):
        return None
    share = 0.5 if expression.statistic == "med" else float(expression.percentile) / 100
    slow = sum(count for cell, count in tally.latency.items() if longest(cell) > expression.bound)
    return slow, sum(tally.latency.values()), 1 - share


def _hardly_chance(count: int, of: int, share: float) -> bool:
    """Whether so many of so many are hardly chance where a share of them may be (normal approximation)."""
    expected = of * share
    return count >= FEWEST_BEYOND and count - expected > BEYOND * math.sqrt(expected * (1 - share))
