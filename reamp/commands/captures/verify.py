"""`reamp captures verify`: whether all of it is there."""

import typer
from rich.padding import Padding
from rich.progress import DownloadColumn
from rich.text import Text

from captures.errors import CaptureError
from captures.moments import iso
from captures.rendering import printable
from captures.verify import Report, SegmentReport
from captures.verify import verify as verify_capture
from reamp.commands.captures.shared import DEFAULT, AsJson, Where, as_size, progress, to_console, where
from rules.exits import Exit


def verify(folder: Where = DEFAULT, as_json: AsJson = False) -> None:
    """Read everything and reconcile the accounts. Exits with 1 if anything is damaged, missing or torn off.

    Example: `reamp captures verify ./recordings && echo complete`
    """
    with progress(DownloadColumn()) as bar:
        task = bar.add_task("read", total=None)
        try:
            report = verify_capture(folder, lambda done, total: bar.update(task, completed=done, total=total))
        except CaptureError as error:
            raise where(folder, error) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(int(Exit.FAILED))


def _print_report(report: Report) -> None:
    console = to_console()
    for segment in report.segments:
        console.print(_verdict(segment))
        span = f", {iso(segment.first_ns)} to {iso(segment.last_ns)}" if segment.first_ns and segment.last_ns else ""
        console.print(_below(f"{segment.records:,} records, {segment.blocks:,} blocks, {as_size(segment.bytes)}{span}"))
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
