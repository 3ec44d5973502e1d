"""A comparison on the terminal. What comes from elsewhere is shown as it is, and moves no terminal."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from captures.rendering import printable
from drill.fairness.fairness import Fairness, Finding, RouteSeen, Severity, Sizes
from replayer.reporting.figures import share, size_of

MOST_ROUTES, MOST_FINDINGS = 20, 30
"""Routes of a table, and findings, that are shown; all of them are in the JSON."""

_MARKS: dict[Severity, tuple[str, str]] = {
    "unfair": ("UNFAIR", "bold red"),
    "doubt": ("doubt", "yellow"),
    "says nothing": ("ok", "green"),
}
_COLORS = {"unfair": "red", "doubt": "yellow", "alike": "green", "not compared": "dim"}
_WIDTH = 8


def show(console: Console, fairness: Fairness) -> None:
    """Print the routes, what was found, and what it comes to."""
    console.print(_routes(fairness))
    meant = ""
    for finding in fairness.findings[:MOST_FINDINGS]:
        _finding(console, finding, again=finding.means == meant)
        meant = finding.means
    if len(fairness.findings) > MOST_FINDINGS:
        console.print(f"and {len(fairness.findings) - MOST_FINDINGS} more, see --json", highlight=False)
    asked = f"{fairness.requests} requests to {printable(fairness.to)} in {fairness.seconds:.1f} s"
    compared = f"compared: routes with {share(fairness.compared_share)} of the incident's requests"
    console.print(Text(f"{asked}; {compared}"), soft_wrap=True)
    unfair = fairness.forbids_holds or fairness.forbids_does_not_hold
    color = "red" if unfair else "yellow" if fairness.doubts else "green"
    console.print(Text(fairness.sentence, color), soft_wrap=True)


def _finding(console: Console, finding: Finding, *, again: bool) -> None:
    """Print one; what it means only if that is not what the one before meant."""
    mark, style = _MARKS[finding.severity]
    _indented(console, Text(f"{mark:<{_WIDTH}}", style), Text(printable(finding.what)))
    if not again:
        _indented(console, Text(" " * _WIDTH), Text(printable(finding.means), "dim"))
    if finding.advice:
        _indented(console, Text(" " * _WIDTH), Text(f"-> {printable(finding.advice)}", style))


def _indented(console: Console, first: Text, text: Text) -> None:
    for line in text.wrap(console, max(20, console.width - _WIDTH)):
        line.rstrip()
        console.print(first.copy().append_text(line), soft_wrap=True)
        first = Text(" " * _WIDTH)


def _routes(fairness: Fairness) -> Table:
    title = Text("the incident's routes, and how the clone answers them")
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("route", overflow="fold")
    for name in ("share", "time", "asked", "production", "clone"):
        table.add_column(name, justify="right")
    table.add_column("")
    for route in fairness.routes[:MOST_ROUTES]:
        table.add_row(
            Text(printable(f"{route.method} {route.template}")),
            share(route.share),
            share(route.time_share),
            str(route.asked),
            Text(_told(route.recorded, route.recorded_sizes)),
            Text(_told(route.clone, route.clone_sizes)),
            Text(_outcome(route), _COLORS[route.outcome]),
        )
    if len(fairness.routes) > MOST_ROUTES:
        table.add_row(Text(f"and {len(fairness.routes) - MOST_ROUTES} more, see --json"))
    return table


def _outcome(route: RouteSeen) -> str:
    return route.outcome if route.outcome != "not compared" else f"not compared: {printable(route.why)}"


def _told(statuses: Mapping[str, int], sizes: Sizes | None) -> str:
    """Put statuses and a size into two short lines."""
    total = sum(statuses.values())
    told = [f"{status} {share(count / total)}" if count < total else status for status, count in _most(statuses)]
    return "\n".join([*map(printable, told), *([] if sizes is None else [size_of(sizes.median)])]) or "-"


def _most(statuses: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(statuses.items(), key=lambda each: -each[1])[:2]
