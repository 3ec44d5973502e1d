"""Figures, moments and outcomes of a verdict, written for people. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from drill.judging.verdict import Estimate, Judgement, Known, Reason, Row, Verdict
from replayer.reporting.figures import share, time
from rules.units import Duration

_SUBJECT = re.compile(r"\bsynthetic\.(?=p\(|(?:avg|med|min|max|error_ratio|rate)\b)")

_LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Later than that has no date. What stands in a file need not make sense."""

JUDGED: dict[Judgement, str] = {"holds": "holds", "breaks": "breaks", "unclear": "unclear", "untold": "not judged"}


def rate(value: float | None) -> str:
    """Write requests per second, with as many digits as say something."""
    if value is None:
        return "-"
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s" if value >= 1 else f"{value:.2g}/s"


def between(found: Estimate, written: Callable[[float | None], str]) -> str:
    """Write the interval of a figure, its unit once where both ends have the same; empty if there is none."""
    if found.value is None or (found.low is None and found.high is None):
        return ""
    low = written(found.low) if found.low else "0"
    high = "any" if found.high is None else written(found.high)
    if low == high:
        return f"about {high}"
    unit = high.lstrip("0123456789.")
    return f"{low.removesuffix(unit)} to {high}" if unit and low.lstrip("0123456789.") == unit else f"{low} to {high}"


def then(known: Known | None, name: str) -> str:
    """Write what is known of a time, p95 say; of a source that knows others, the nearest to it with its name."""
    if known is None:
        return ""
    if (value := getattr(known, name)) is not None:
        return time(value)
    wanted = float(name.removeprefix("p"))
    others = [(abs(at - wanted), other) for other in known.quantiles if (at := _percent(other)) is not None]
    distance, nearest = min(others, default=(100.0, ""))
    return f"{time(known.quantiles[nearest])} ({nearest.replace('_', '')})" if distance <= 1 else ""


def _percent(name: str) -> float | None:
    """Read the 96 of ``p96`` or ``p_96``."""
    try:
        return float(name.removeprefix("p").lstrip("_"))
    except ValueError:
        return None


def moment(seconds: float, pattern: str = "%-d %B %Y, %H:%M:%S UTC") -> str:
    """Write a moment, in UTC."""
    return _utc(seconds).strftime(pattern)


def window(verdict: Verdict) -> str:
    """Write when the incident was."""
    begin, end = _utc(round(verdict.begin_ns / 1e9)), _utc(round(verdict.end_ns / 1e9))
    seconds = max(0.0, (verdict.end_ns - verdict.begin_ns) / 1e9)
    clock = "%H:%M" if seconds >= 300 else "%H:%M:%S"
    until = clock if end.date() == begin.date() else f"%-d %B %Y, {clock}"
    return f"{begin:%-d %B %Y}, {begin.strftime(clock)} to {end.strftime(until)} UTC ({Duration(round(seconds))})"


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST), UTC)


def times(count: int) -> str:
    """Write how often the incident was played."""
    return {0: "and never to the end", 1: "once", 2: "twice"}.get(count, f"{count} times")


def reached(row: Row) -> str:
    """Write how much of what was wanted was sent."""
    if not row.wanted:
        return "-"
    part = row.reached / row.wanted
    return "100%" if abs(part - 1) < 0.005 else share(part)


def about(reason: Reason) -> str:
    """Name the route that a reason is about, if its text does not."""
    return reason.route if reason.route is not None and reason.route not in reason.text else ""


def plainly(text: str) -> str:
    """Write criteria, wherever they stand, without what goes without saying: all requests of a drill are synthetic."""
    return _SUBJECT.sub("", text)


def begun(text: str) -> str:
    """Begin a sentence as sentences begin. A criterion or a method is left as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
