"""`reamp captures`: look into recordings and check them."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from captures.endpoints import Order, endpoints
from captures.errors import CaptureError
from captures.moments import SECOND, iso, parse
from captures.rates import sparkline, spread
from captures.reader import Capture, Segment
from captures.records import Record
from captures.rendering import as_curl, as_http, printable
from captures.verify import Report, SegmentReport
from captures.verify import verify as verify_capture
from rules.exits import Exit, UserError
from rules.units import Duration

app = typer.Typer(
    name="captures",
    help="Look into recordings and check that they are whole.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

DEFAULT = Path("recordings")

Where = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The folder of the capture, or one of its files."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]

_BUCKETS = 20
_WIDE, _NARROW = 150, 130  # columns: from here on whole names, below this only what tells segments apart
_SHORT_NAME = len("8f3a01bc-000001")


@app.command("ls")
def list_segments(folder: Where = DEFAULT) -> None:
    """List the segments: when, how much, how even, closed or torn.

    Example: `reamp captures ls ./recordings`
    """
    capture = _open(folder)
    console = _console()
    rows = [_row(segment, wide=console.width >= _WIDE) for segment in capture.segments]
    table = _table()
    table.add_column("segment", overflow="fold", min_width=min(_SHORT_NAME, max(len(row[0]) for row in rows)))
    table.add_column("from (UTC)", no_wrap=True)
    for name in ("span", "records", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    if console.width >= _NARROW:
        table.add_column("B/record", justify="right", no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("over time", min_width=_BUCKETS, no_wrap=True)
    else:
        rows = [[*row[:5], row[-1]] for row in rows]
    table.add_column("state", min_width=len("closed"), no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    first, last = capture.first_ns, capture.last_ns
    size = sum(segment.size for segment in capture.segments)
    if first is not None and last is not None:
        console.print(f"{capture.count:,} records in {_size(size)}, {iso(first)} to {iso(last)}", highlight=False)
    else:
        console.print("no records", highlight=False)
    _complain(capture)


def _row(segment: Segment, *, wide: bool) -> list[str | Text]:
    name = segment.path.name if wide else segment.path.stem.partition("Z-")[2] or segment.path.name
    first, last = segment.first_ns, segment.last_ns
    state = Text(segment.state, style={"closed": "green", "open": "cyan", "torn": "red"}[segment.state])
    if first is None or last is None:
        return [printable(name), "", "", "0", _size(segment.size), "", "", "", state]
    seconds = (last - first) / SECOND
    return [
        printable(name),
        iso(first)[:19].replace("T", " "),
        str(Duration(round(seconds, 1 if seconds < 60 else None))),
        f"{segment.count:,}",
        _size(segment.size),
        f"{segment.size / max(segment.count, 1):.1f}",
        f"{segment.count / seconds:.4g}/s" if seconds >= 1 else "",  # of less than a second there is no rate
        sparkline(spread(segment.frames(), first, last, _BUCKETS)),
        state,
    ]


@app.command()
def show(
    folder: Where = DEFAULT,
    number: Annotated[
        int, typer.Argument(metavar="N", help="Which record, counted from 1 in order of arrival.", min=1)
    ] = 1,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Count from this time: ISO, or seconds since 1970.")
    ] = None,
    curl: Annotated[bool, typer.Option("--curl", help="As a curl command.")] = False,
) -> None:
    """Show one record as HTTP, or as a curl command.

    Examples:
        reamp captures show ./recordings 17

        reamp captures show ./recordings --at 2026-11-21T20:48:51Z --curl
    """
    capture = _open(folder)
    record = _find(capture, number, at)
    _complain(capture)
    if curl and record.body_size > len(record.body):
        typer.echo(f"# only {len(record.body)} of {record.body_size} bytes of the body were kept", err=True)
    typer.echo(as_curl(record) if curl else as_http(record))


def _find(capture: Capture, number: int, at: str | None) -> Record:
    try:
        start = None if at is None else parse(at)
    except ValueError as error:
        raise UserError(f"--at: {error}") from None
    wanted = islice(_told(capture.records(start), min(number, capture.count)), number - 1, None)
    record = next(wanted, None)
    if record is None:
        since = "" if at is None else f" from {at} on"
        raise UserError(f"there is no record number {number}{since}: the capture holds {capture.count}")
    return record


@app.command()
def top(
    folder: Where = DEFAULT,
    number: Annotated[int, typer.Option("-n", "--number", help="How many endpoints.", min=1)] = 20,
    by: Annotated[Order, typer.Option("--by", help="What to sort by; impact is count x mean time.")] = "impact",
    as_json: AsJson = False,
) -> None:
    """List the endpoints that carry the load. Numbers and ids in paths count as one: /item/{id}.

    Examples:
        reamp captures top ./recordings -n 10

        reamp captures top ./recordings --by time --json | jq '.endpoints[].path'
    """
    capture = _open(folder)
    found = endpoints(_told(capture.records(), capture.count), by)
    count = sum(endpoint.count for endpoint in found)
    total_ns = sum(endpoint.total_ns for endpoint in found)
    _complain(capture)
    if as_json:
        rows = [
            {
                "method": endpoint.method,
                "path": endpoint.path,
                "count": endpoint.count,
                "share": endpoint.count / count,
                "mean_seconds": endpoint.mean_ns / 1e9,
                "impact_seconds": endpoint.total_ns / 1e9,
                "impact_share": endpoint.total_ns / total_ns if total_ns else 0.0,
                "failed": endpoint.failed,
            }
            for endpoint in found[:number]
        ]
        typer.echo(json.dumps({"records": count, "endpoints": rows}, indent=2))
        return
    table = _table()
    table.add_column("endpoint", overflow="fold")
    for name in ("count", "share", "mean", "impact", "impact share", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for endpoint in found[:number]:
        table.add_row(
            Text(printable(f"{endpoint.method} {endpoint.path}")),
            f"{endpoint.count:,}",
            f"{endpoint.count / count:.1%}",
            f"{endpoint.mean_ns / 1e6:,.2f} ms",
            f"{endpoint.total_ns / 1e9:,.2f} s",
            f"{endpoint.total_ns / total_ns:.1%}" if total_ns else "",
            f"{endpoint.failed / endpoint.count:.1%}" if endpoint.failed else "",
        )
    console = _console()
    console.print(table)
    more = f", {len(found) - number:,} more not shown" if len(found) > number else ""
    console.print(f"{count:,} records, {len(found):,} endpoints{more}", highlight=False)


@app.command()
def verify(folder: Where = DEFAULT, as_json: AsJson = False) -> None:
    """Read everything and reconcile the accounts. Exits with 1 if anything is damaged, missing or torn off.

    Example: `reamp captures verify ./recordings && echo complete`
    """
    with _bar(DownloadColumn()) as bar:
        task = bar.add_task("read", total=None)
        try:
            report = verify_capture(folder, lambda done, total: bar.update(task, completed=done, total=total))
        except CaptureError as error:
            raise _where(folder, error) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(int(Exit.FAILED))


def _print_report(report: Report) -> None:
    console = _console()
    for segment in report.segments:
        console.print(_verdict(segment))
        span = f", {iso(segment.first_ns)} to {iso(segment.last_ns)}" if segment.first_ns and segment.last_ns else ""
        console.print(_below(f"{segment.records:,} records, {segment.blocks:,} blocks, {_size(segment.bytes)}{span}"))
        for line in segment.damage:
            console.print(_below(f"damage: {printable(line)}", "red"))
        if segment.note:
            console.print(_below(segment.note, "red" if segment.lost else ""))
    for writer in report.writers:
        accounts = writer.accounting
        parts = " + ".join(f"{value:,} {name}" for name, value in accounts.model_dump().items() if name != "seen")
        console.print(f"writer {printable(writer.writer)}")
        console.print(_below(f"{accounts.seen:,} seen = {parts.replace('_', ' ')}"))
        if not writer.covered:
            console.print(_below(f"as segment {writer.accounted} was opened; what came then is not accounted for yet"))
        for line in writer.problems:
            console.print(_below(printable(line), "red"))
    words = "whole, and its accounts reconcile" if report.ok else "NOT in order"
    console.print(Text(f"{report.records:,} records: the capture is {words}", style="green" if report.ok else "red"))


def _below(line: str, style: str = "") -> Padding:
    """Put a line under a heading, also where it wraps."""
    return Padding(Text(line, style=style), (0, 0, 0, 4), expand=False)


def _verdict(segment: SegmentReport) -> Text:
    good = not segment.damage and not segment.lost
    mark = Text("✓ " if good else "✗ ", style="green" if good else "red")
    return mark + Text(f"{printable(segment.file)} ({segment.state})", style="bold")


# --- shared ---


def _open(folder: Path) -> Capture:
    try:
        return Capture(folder)
    except CaptureError as error:
        raise _where(folder, error) from None


def _where(folder: Path, error: CaptureError) -> UserError:
    hint = "\nSay where the recordings are: reamp captures ls DIR" if folder == DEFAULT else ""
    return UserError(f"{error}{hint}", error.code)


def _bar(count: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    columns = ("reading", BarColumn(), count, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _told(records: Iterator[Record], total: int) -> Iterator[Record]:
    """Give `records` on and show how far they have come."""
    with _bar(MofNCompleteColumn()) as bar:
        yield from bar.track(records, total=total)


def _complain(capture: Capture) -> None:
    for line in capture.damage:
        typer.echo(f"damaged: {printable(line)}", err=True)


def _console() -> Console:
    """Make a console that cuts nothing off, and wraps nothing, when its output goes to a file or a pipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=1000)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
