"""`reamp captures verify`: whether all of it is there."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import DownloadColumn
from rich.text import Text

from captures.errors import CaptureError
from captures.keyring import Identities, load_identities
from captures.moments import SECOND, iso
from captures.rendering import printable
from captures.repair import RepairReport
from captures.repair import repair as repair_capture
from captures.verify import Report, SegmentReport
from captures.verify import verify as verify_capture
from reamp.commands.captures.shared import DEFAULT, AsJson, Identity, Where, as_size, progress, to_console, where
from rules.exits import Exit, UserError
from rules.units import Duration

_MOST_GAPS = 20
_CAUSES = {
    "stopped": "nothing was being recorded (no segment was open)",
    "dropped": "records were dropped while that segment was open",
    "quiet": "a segment was open and nothing came",
    "unknown": "a copy does not know why",
}


def verify(
    folder: Where = DEFAULT,
    as_json: AsJson = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write a clean copy of what reads; the original stays as it is.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="NEW", help="The new folder for the copy; with --repair.")
    ] = None,
    identity: Identity = None,
) -> None:
    """Read everything and reconcile the accounts. Exits with 1 if anything is damaged, missing or torn off.

    Of what is encrypted only the outside is checked (checksums, counts, accounts), unless --identity opens it.

    With --repair, what reads is copied into a new folder, and the copy is verified: the exit code is the copy's.

    Examples:

        reamp captures verify ./recordings && echo complete

        reamp captures verify ./recordings --repair -o ./clean
    """
    if repair != (out is not None):
        raise UserError("--repair needs a new folder for the copy, and -o needs --repair: --repair -o NEW")
    identities = load_identities(identity or ())
    if out is not None:
        told = _repair(folder, out, identities)
        if not as_json:
            _print_repair(told)
        folder = out
    with progress(DownloadColumn()) as bar:
        task = bar.add_task("read", total=None)
        try:
            report = verify_capture(
                folder, lambda done, total: bar.update(task, completed=done, total=total), identities
            )
        except CaptureError as error:
            raise where(folder, error) from None
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(int(Exit.FAILED))


def _repair(folder: Path, out: Path, identities: Identities) -> RepairReport:
    with progress(DownloadColumn()) as bar:
        task = bar.add_task("repair", total=None)
        try:
            return repair_capture(
                folder, out, lambda done, total: bar.update(task, completed=done, total=total), identities
            )
        except CaptureError as error:
            raise where(folder, error) from None


def _print_repair(report: RepairReport) -> None:
    console = to_console()
    for loss in report.losses:
        lost = f"{loss.records:,} records in {loss.blocks:,} blocks lost" if loss.records else "no counted record lost"
        console.print(Text(f"{printable(loss.file)}: {lost}", style="bold"))
        for line in loss.why:
            console.print(_below(printable(line), "red"))
    console.print(f"{report.copied:,} segments copied as they were, {report.rewritten:,} made whole again; the copy:\n")


def _print_report(report: Report) -> None:
    console = to_console()
    for segment in report.segments:
        _print_segment(console, segment)
    for part in _gaps(report):
        console.print(part)
    for writer in report.writers:
        accounts = writer.accounting
        parts = " + ".join(f"{value:,} {name}" for name, value in accounts.model_dump().items() if name != "seen")
        console.print(f"writer {printable(writer.writer)}")
        console.print(_below(f"{accounts.seen:,} seen = {parts.replace('_', ' ')}"))
        if not writer.covered:
            console.print(_below(f"as segment {writer.accounted} was opened; what came then is not accounted for yet"))
        for line in writer.problems:
            console.print(_below(printable(line), "red"))
    if report.first_ns is not None and report.last_ns is not None:
        console.print(f"{len(report.segments):,} segments, {iso(report.first_ns)} to {iso(report.last_ns)}")
    if report.lost_before:
        console.print(f"{report.lost_before:,} records were lost before the capture was repaired")
    words = "whole, and its accounts reconcile" if report.ok else "NOT in order"
    if unread := sum(segment.unread for segment in report.segments):
        words += f"; seen from the outside: {unread:,} encrypted blocks were not opened (--identity FILE)"
    console.print(Text(f"{report.records:,} records: the capture is {words}", style="green" if report.ok else "red"))


def _print_segment(console: Console, segment: SegmentReport) -> None:
    console.print(_verdict(segment))
    span = f", {iso(segment.first_ns)} to {iso(segment.last_ns)}" if segment.first_ns and segment.last_ns else ""
    console.print(_below(f"{segment.records:,} records, {segment.blocks:,} blocks, {as_size(segment.bytes)}{span}"))
    for part in _sealed(segment):
        console.print(part)
    for line in segment.damage:
        console.print(_below(f"damage: {printable(line)}", "red"))
    if segment.note:
        console.print(_below(segment.note, "red" if segment.lost else ""))


def _sealed(segment: SegmentReport) -> list[RenderableType]:
    """Say what of an encrypted segment could not be checked."""
    if not segment.unread:
        return []
    names = ", ".join(map(printable, segment.encrypted_to))
    return [_below(f"encrypted to {names}: {segment.unread:,} blocks were checked from the outside only")]


def _gaps(report: Report) -> list[RenderableType]:
    """List the longest gaps, in order of time."""
    if not report.gaps:
        return []
    longest = sorted(report.gaps, key=lambda gap: gap.from_ns - gap.to_ns)[:_MOST_GAPS]
    lines: list[RenderableType] = [f"gaps without any record, far longer than usual: {len(report.gaps)}"]
    for gap in sorted(longest, key=lambda gap: gap.from_ns):
        length = Duration(round((gap.to_ns - gap.from_ns) / SECOND, 1))
        lines.append(_below(f"{iso(gap.from_ns)} to {iso(gap.to_ns)}, {length}: {_CAUSES[gap.cause]}"))
    if len(report.gaps) > _MOST_GAPS:
        lines.append(_below(f"and {len(report.gaps) - _MOST_GAPS} shorter ones"))
    return lines


def _below(line: str, style: str = "") -> Padding:
    """Put a line under a heading, also where it wraps."""
    return Padding(Text(line, style=style), (0, 0, 0, 4), expand=False)


def _verdict(segment: SegmentReport) -> Text:
    good = not segment.damage and not segment.lost
    mark = Text("✓ " if good else "✗ ", style="green" if good else "red")
    return mark + Text(f"{printable(segment.file)} ({segment.state})", style="bold")
