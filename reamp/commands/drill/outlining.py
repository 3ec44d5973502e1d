"""What is in an incident, told to people."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from captures.rates import resampled, sparkline
from captures.rendering import printable
from reamp.commands.captures.shared import new_table
from rules.exits import UserError
from rules.units import Duration

if TYPE_CHECKING:
    from pathlib import Path

    from drill.outline import Outline, Route
    from drill.sources.wanted import Wanted

_SHOWN = 10
"""Routes that are shown; --json gives twice as many."""


def outlined(path: "Path", wanted: "Wanted") -> "Outline | None":
    """Sum up the file of an incident that was just written. None: it is encrypted to others."""
    from drill.incident import read_incident
    from drill.outline import outline

    try:
        incident = read_incident(path, wanted.identities)
    except UserError:
        if wanted.recipients:
            return None
        raise
    return outline(incident.story, incident.capture.records())


def show(found: "Outline", console: Console) -> None:
    """Print it."""
    drawn = f"; arrivals are drawn within {Duration(found.grain)}" if found.grain and found.times == "drawn" else ""
    rows = [
        ("incident", f"{printable(found.told)}"),
        ("time", f"{found.begin} to {found.end} ({Duration(_round(found.seconds))})"),
        ("requests", f"{found.requests:,}, {_number(found.per_second)}/s{drawn}"),
        ("peak", f"{_number(found.peak.per_second)}/s over {Duration(found.peak.seconds)} at {found.peak.at}"),
        ("errors", _errors(found)),
    ]
    if found.latency is not None:
        p50, p90, p99 = (_time(value) for value in (found.latency.p50, found.latency.p90, found.latency.p99))
        rows.append(("answers", f"p50 {p50}, p90 {p90}, p99 {p99}"))
    buckets = min(60, max(10, console.width - 20))
    rows.append(("over time", sparkline(resampled(found.picture.requests, buckets))))
    if found.picture.failed is not None and any(found.picture.failed):
        rows.append(("errors", sparkline(resampled(found.picture.failed, buckets))))
    for name, text in rows:
        console.print(Text(f"{name:<10} {text}"), soft_wrap=True)
    console.print()
    _routes(found, console)
    if found.notes:
        console.print()
    for note in found.notes:
        console.print(Text(f"- {printable(note)}"), soft_wrap=True)


def _routes(found: "Outline", console: Console) -> None:
    table = new_table()
    table.add_column("route", overflow="fold")
    for name in ("requests", "share", "mean", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.routes[:_SHOWN]:
        table.add_row(*_row(one))
    console.print(table)
    if found.routes_known > min(_SHOWN, len(found.routes)):
        console.print(f"and {found.routes_known - min(_SHOWN, len(found.routes)):,} routes more")


def _row(one: "Route") -> tuple[Text, str, str, str, str]:
    return (
        Text(printable(f"{one.method} {one.path}")),
        f"{one.count:,}",
        f"{one.share:.1%}",
        _time(one.mean),
        f"{one.failed:.1%}" if one.failed else "",
    )


def _errors(found: "Outline") -> str:
    if found.failed is None:
        return "not known"
    classes = ", ".join(f"{name} {count:,}" for name, count in found.statuses.items())
    return f"{found.failed:.2%} failed ({classes})"


def _round(seconds: float) -> float:
    return round(seconds, 3 if seconds < 60 else None)


def _time(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.3g} s" if value >= 1 else f"{value * 1e3:,.3g} ms"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
