"""A verdict in short, on the terminal. Whatever strangers made (paths above all) is text and moves no terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from captures.rendering import printable
from drill.judging.verdict import Estimate, GaveWay, Headroom, Judgement, Known, Outcome, Row, Verdict
from drill.reporting.words import JUDGED, about, begun, between, plainly, rate, reached, then, times, window
from replayer.reporting.figures import share, time

MOST_ROUTES, MOST_REASONS = 12, 8

BAR = 30
"""Characters of the longest bar."""

_COLORS: dict[Outcome, str] = {"HOLDS": "green", "DOES NOT HOLD": "red", "NOT PROVEN": "yellow"}
_JUDGED: dict[Judgement, str] = {"holds": "green", "breaks": "red", "unclear": "yellow", "untold": "dim"}


def show(console: Console, verdict: Verdict) -> None:
    """Print it: the outcome first and last, for what is printed last is what people see."""
    console.print(summary(verdict), soft_wrap=False)


def summary(verdict: Verdict) -> RenderableType:
    """Put it into what a terminal shows."""
    return Group(*_parts(verdict))


def _parts(verdict: Verdict) -> Iterator[RenderableType]:
    played = f"{verdict.asked}, {times(verdict.repeats)}, onto {verdict.target}"
    against = f", against drill {verdict.baseline}" if verdict.baseline else ""
    yield _text(f"drill {verdict.drill}{against}", "bold")
    yield _text(f"{window(verdict)}: {verdict.incident}", "dim")
    yield _text(f"played at {played}", "dim")
    yield _routes(verdict)
    if verdict.headroom is not None:
        yield _headroom(verdict.headroom)
    if verdict.gave_way is not None:
        yield _gave_way(verdict.gave_way)
    yield Text()
    yield Text.assemble(
        (f" {verdict.outcome} ", f"bold reverse {_COLORS[verdict.outcome]}"), "  ", printable(verdict.sentence)
    )
    for reason in verdict.reasons[:MOST_REASONS]:
        route = f"{name}: " if (name := about(reason)) else ""
        yield _item(Text(printable(f"{route}{plainly(begun(reason.text))}")))
        if reason.settle:
            yield Padding(_text(f"To settle it: {begun(reason.settle)}", "dim"), (0, 0, 0, 4))
    if len(verdict.reasons) > MOST_REASONS:
        yield _item(Text(f"and {len(verdict.reasons) - MOST_REASONS} more, see verdict.html"))
    if any(not criterion.given for criterion in verdict.criteria):
        said = " and ".join(plainly(criterion.text) for criterion in verdict.criteria)
        yield _text(f"Held against {said}, since nobody said what has to hold: --slo does.", "dim")


def _routes(verdict: Verdict) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("route", overflow="fold")
    past = "p95 then\nbefore" if verdict.baseline else "p95 then"
    for name in ("wanted", "sent", past, "p95 now", "failed", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for row in (verdict.overall, *verdict.routes[:MOST_ROUTES]):
        table.add_row(*_cells(row, bool(verdict.baseline)))
    if len(verdict.routes) > MOST_ROUTES:
        table.add_row(Text(f"and {len(verdict.routes) - MOST_ROUTES} more, see verdict.html", "dim"))
    return table


def _cells(row: Row, baseline: bool) -> Iterator[Text]:
    yield Text(printable(row.name), "" if row.template else "bold")
    yield Text(rate(row.wanted))
    yield Text(reached(row), "" if row.reached >= row.wanted * 0.95 else "yellow")
    before = f"\n{_then(row.baseline) or '-'}" if baseline else ""
    yield Text(f"{_then(row.incident) or '-'}{before}", "dim")
    if row.replay is None:
        yield Text("not sent", "yellow")
        yield Text("-")
    else:
        yield _estimate(row.replay.p95, time(row.replay.p95.value), between(row.replay.p95, time))
        yield Text(share(row.replay.failed.value))
    yield Text("-" if row.judgement == "untold" else JUDGED[row.judgement], _JUDGED[row.judgement])


def _then(known: Known | None) -> str:
    return then(known, "p95")


def _estimate(found: Estimate, value: str, interval: str) -> Text:
    return Text.assemble(value, (f"\n{interval}", "dim")) if found.value is not None and interval else Text(value)


def _headroom(headroom: Headroom) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    most = max((rung.rate for rung in headroom.rungs), default=0) or 1
    for rung in headroom.rungs:
        bar = "█" * max(1, round(rung.rate / most * BAR))
        said = f"p95 {time(rung.p95)}, failed {share(rung.failed)}"
        table.add_row(
            Text(str(rung.factor)),
            Text(bar, _JUDGED[rung.judgement]),
            Text(rate(rung.rate)),
            Text(said, "dim"),
            Text(JUDGED[rung.judgement], _JUDGED[rung.judgement]),
        )
    return Group(Text.assemble(("Headroom: ", "bold"), printable(headroom.text)), Padding(table, (0, 0, 0, 2)))


def _gave_way(found: GaveWay) -> Text:
    return Text.assemble(("Gave way first: ", "bold"), printable(found.text))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _item(text: Text) -> Padding:
    return Padding(Text.assemble("- ", text), (0, 0, 0, 2))
