"""What the commands on captures have in common: opening, progress, tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
from rich.table import Table

from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from captures.rendering import printable
from rules.exits import UserError

DEFAULT = Path("recordings")

Where = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The folder of the capture, or one of its files."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


def open_capture(folder: Path) -> Capture:
    """Open a capture; what is wrong is said with what to do about it. Raises UserError."""
    try:
        return Capture(folder)
    except CaptureError as error:
        raise where(folder, error) from None


def where(folder: Path, error: CaptureError) -> UserError:
    """Say what is wrong with a folder, and how another one is named."""
    hint = "\nSay where the recordings are: reamp captures ls DIR" if folder == DEFAULT else ""
    return UserError(f"{error}{hint}", error.code)


def progress(count: ProgressColumn) -> Progress:
    """Make a progress bar, drawn on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = ("reading", BarColumn(), count, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def told(records: Iterator[Record], total: int) -> Iterator[Record]:
    """Give `records` on and show how far they have come."""
    with progress(MofNCompleteColumn()) as bar:
        yield from bar.track(records, total=total)


def complain(capture: Capture) -> None:
    """Name on standard error what did not read."""
    for line in capture.damage:
        typer.echo(f"damaged: {printable(line)}", err=True)


def to_console() -> Console:
    """Make a console that cuts nothing off, and wraps nothing, when its output goes to a file or a pipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=1000)


def new_table() -> Table:
    """Make a table of our style."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def as_size(count: int) -> str:
    """Give bytes in the unit that reads best."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
