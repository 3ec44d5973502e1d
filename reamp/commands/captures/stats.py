"""`reamp captures stats`: a capture in figures."""

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from captures.moments import SECOND, iso
from captures.rates import resampled, sparkline
from captures.rendering import printable
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Except,
    From,
    Identity,
    Only,
    To,
    Where,
    as_size,
    choose,
    finish,
    new_table,
    open_capture,
    tell_left_out,
    to_console,
)
from rules.units import Duration

if TYPE_CHECKING:
    from captures.distribution import Quantiles
    from captures.sessions import Sessions
    from captures.summary import Summary

_SHOWN = 8
"""Different methods and so on that are shown; --json gives them all."""


def stats(
    folder: Where = DEFAULT,
    as_json: AsJson = False,
    from_: From = None,
    to: To = None,
    only: Only = None,
    but: Except = None,
    identity: Identity = None,
) -> None:
    """Show traffic in figures: rates and how bursty they are, statuses, methods, sizes, times, sessions.

    Dispersion is the variance of the requests in a window over their mean: 1 if they come independently of each
    other, as from many users; more if in bursts; less if evenly.

    Examples:

        reamp captures stats ./recordings

        reamp captures stats ./recordings --only '~u /checkout' --json | jq .seconds.p99
    """
    from captures.summary import summarise  # brings the histograms

    capture = open_capture(folder, identity)
    choice = choose(capture, from_, to, only, but)
    summary = summarise(choice.records())
    if as_json:
        typer.echo(json.dumps(summary.model_dump(), indent=2))
    elif not summary.records:
        typer.echo(str(choice.nothing()))
    else:
        console = to_console()
        _show(summary, console)
        tell_left_out(console, capture)
    finish(capture)


def _show(summary: "Summary", console: Console) -> None:
    first, last = summary.first_ns or 0, summary.last_ns or 0
    rate = f", {_number(summary.per_second)}/s" if summary.per_second is not None else ""
    seconds = (last - first) / SECOND
    span = Duration(round(seconds, 3 if seconds < 60 else None))
    console.print(f"{summary.records:,} records, {iso(first)} to {iso(last)} ({span}{rate})")
    buckets = min(60, max(10, console.width - 20))
    console.print(f"over time  {sparkline(resampled(summary.rate.counts, buckets))}")
    console.print()
    _bursts(summary, console)
    console.print()
    _distributions(summary, console)
    console.print()
    for name, counts in (
        ("methods", summary.methods),
        ("statuses", summary.statuses),
        ("hosts", summary.hosts),
        ("versions", summary.versions),
    ):
        console.print(_row(name, _shares(counts, summary.records)))
    console.print(_row("sessions", _sessions(summary.sessions, summary.records)))
    if summary.cut_bodies:
        console.print(_row("bodies", f"of {summary.cut_bodies:,} requests only a part was kept"))


def _row(name: str, text: str) -> Text:
    return Text(f"{name:<10} {text}")


def _bursts(summary: "Summary", console: Console) -> None:
    table = new_table()
    table.add_column("requests in", no_wrap=True)
    for name in ("mean", "peak", "peak rate", "dispersion"):
        table.add_column(name, justify="right", no_wrap=True)
    for window in summary.bursts:
        table.add_row(
            str(Duration(window.seconds)),
            "" if window.mean is None else _number(window.mean),
            f"{window.peak:,}",
            f"{_number(window.peak / window.seconds)}/s",
            "" if window.dispersion is None else f"{window.dispersion:,.2f}",
        )
    console.print(table)


def _distributions(summary: "Summary", console: Console) -> None:
    table = new_table()
    table.add_column("", no_wrap=True)
    for name in ("mean", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    sessions = summary.sessions
    for name, quantiles, words in (
        ("request body", summary.request_bytes, _bytes),
        ("answer body", summary.response_bytes, _bytes),
        ("first byte", summary.first_byte_seconds, _time),
        ("whole answer", summary.seconds, _time),
        ("session, requests", sessions.requests, _number),
        ("session, time", sessions.seconds, _time),
    ):
        table.add_row(name, *[words(value) for value in _values(quantiles)])
    console.print(table)


def _values(of: "Quantiles") -> tuple[float | None, ...]:
    return of.mean, of.p50, of.p90, of.p99, of.p99_9, of.max


def _bytes(value: float | None) -> str:
    return "" if value is None else as_size(round(value))


def _time(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 60:
        return str(Duration(round(value)))
    return f"{value:,.3g} s" if value >= 1 else f"{value * 1e3:,.3g} ms"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _shares(counts: dict[str, int], total: int) -> str:
    heaviest = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{printable(name) or '(none)'} {count / total:.1%}" for name, count in heaviest[:_SHOWN]]
    more = [f"and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
    return ", ".join([*shown, *more])


_KNOWN_BY = {
    "cookie": "a cookie",
    "authorization": "authorization",
    "hints": "address or browser",
    "none": "nothing",
}


def _sessions(sessions: "Sessions", total: int) -> str:
    about = "" if sessions.exact else "about "
    error = "" if sessions.exact else f" (±{sessions.standard_error:.1%})"
    known = _shares({_KNOWN_BY[kind]: count for kind, count in sessions.requests_by.items()}, total)
    return f"{about}{sessions.count:,}{error}; requests known by: {known}"
