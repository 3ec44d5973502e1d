"""What the commands on captures have in common: opening, choosing records, progress, tables."""

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NamedTuple

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
from rich.table import Table

from captures.batch import BatchWriter
from captures.errors import CaptureError
from captures.keyring import Recipients, load_identities, recipient_keys
from captures.lineage import left_out
from captures.moments import HOW, Span, iso, span
from captures.reader import Capture
from captures.records import Record
from captures.rendering import printable
from reamp.commands.choosing import chosen
from rules.exits import Exit, UserError

DEFAULT = Path("recordings")

Where = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The folder of the capture, or one of its files."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help=f"Only what arrived from then on. TIME is {HOW}."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Only what arrived before then."),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="FILTER", help="Only what matches, in mitmproxy's filter language: '~m POST & ~u /api'."
    ),
]
Except = Annotated[
    str | None,
    typer.Option("--except", metavar="FILTER", help="Not what matches: '~u /healthz'."),
]
Output = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="NEW", help="The folder to write; not there yet, or empty."),
]


Identity = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        envvar="REAMP_IDENTITY",
        help="Secret key, of age or SSH, that opens an encrypted capture; may be given again.",
    ),
]
EncryptTo = Annotated[
    list[str] | None,
    typer.Option(
        "--encrypt-to",
        metavar="KEY",
        help="Encrypt what is written: age1..., an SSH public key, or a file of them; may be given again.",
    ),
]


def recipients(given: Sequence[str] | None, sources: Sequence[Capture] = ()) -> Recipients:
    """Understand who may read what is written; a warning if that is less than could read the source."""
    found = Recipients(recipient_keys(given or ()))
    if not found and any(segment.lock is not None for source in sources for segment in source.segments):
        typer.echo("warning: what is read is encrypted, and what is written is not (--encrypt-to)", err=True)
    return found


def open_capture(folder: Path, identity: Sequence[Path] | None = None) -> Capture:
    """Open a capture; what is wrong is said with what to do about it. Raises UserError."""
    identities = load_identities(identity or ())
    try:
        return Capture(folder, identities)
    except CaptureError as error:
        raise where(folder, error) from None


def where(folder: Path, error: CaptureError) -> UserError:
    """Say what is wrong with a folder, and how another one is named."""
    hint = "\nSay where the recordings are: reamp captures ls DIR" if folder == DEFAULT else ""
    return UserError(f"{error}{hint}", error.code)


def progress(count: ProgressColumn, what: str = "reading") -> Progress:
    """Make a progress bar, drawn on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = (what, BarColumn(), count, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def told(records: Iterator[Record], total: int, *, quiet: bool = False) -> Iterator[Record]:
    """Give `records` on and show how far they have come."""
    if quiet:
        yield from records
        return
    with progress(MofNCompleteColumn()) as bar:
        yield from bar.track(records, total=total)


_NAMED = 3
"""Records left out that are named; of the rest the number is enough."""


class Choice(NamedTuple):
    """Which records of a capture were asked for."""

    capture: Capture
    span: Span
    only: str | None
    but: str | None
    matches: Callable[[Record], bool] | None

    def records(self, *, most: int | None = None, quiet: bool = False) -> Iterator[Record]:
        """Give them by arrival, and show how far it has come (unless `quiet`). Not more than `most` will be taken."""
        total = self._total() if most is None or self.matches else min(most, self.capture.count)
        found = told(self.capture.records(*self.span), total, quiet=quiet)
        return found if self.matches is None else filter(self.matches, found)

    def _total(self) -> int:
        """Count the records in the blocks that will be read."""
        low, high = self.span
        if low is None and high is None:
            return self.capture.count
        return sum(
            frame.records
            for segment in self.capture.segments
            for frame in segment.frames()
            if (high is None or frame.first_ns < high) and (low is None or frame.last_ns >= low)
        )

    def described(self) -> dict[str, Any]:
        """Say what was asked for, as a header keeps it."""
        return {
            name: value
            for name, value in (
                ("from_ns", self.span.start_ns),
                ("to_ns", self.span.end_ns),
                ("only", self.only),
                ("except", self.but),
            )
            if value is not None
        }

    def nothing(self) -> UserError:
        """Say that no record is left."""
        low, high = self.span
        asked = (
            (low, f"from {iso(low or 0)} on"),
            (high, f"before {iso(high or 0)}"),
            (self.only, f"that matches {self.only!r}"),
            (self.but, f"that does not match {self.but!r}"),
        )
        words = [text for given, text in asked if given is not None]
        return UserError(f"there is no record {', '.join(words)}".rstrip() + f": {held(self.capture)}")


def choose(
    capture: Capture,
    from_: str | None = None,
    to: str | None = None,
    only: str | None = None,
    but: str | None = None,
    option: str = "--from",
) -> Choice:
    """Understand what was asked for; `option` is the name of the one that said `from_`. Raises UserError."""
    try:
        asked = span(from_, to, capture.first_ns or 0, capture.last_ns or 0, (option, "--to"))
    except ValueError as error:
        raise UserError(str(error)) from None
    return Choice(capture, asked, only, but, chosen(only, but))


def held(capture: Capture) -> str:
    """Say what a capture holds."""
    first, last = capture.first_ns, capture.last_ns
    span = f", {iso(first)} to {iso(last)}" if first is not None and last is not None else ""
    return f"the capture holds {capture.count:,} records{span}"


@contextmanager
def writing(out: BatchWriter) -> Iterator[BatchWriter]:
    """Write a capture. An end by SIGTERM leaves nothing behind either."""
    with tidily(), out:
        yield out


@contextmanager
def tidily() -> Iterator[None]:
    """Let SIGTERM end what is done as Ctrl-C does: with what there is to put away."""

    def ended(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(int(Exit.INTERRUPTED))

    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_all(records: Iterator[Record], out: BatchWriter) -> int:
    """Write `records`; give how many the format cannot hold. Raises UserError if the disk fails."""
    unfit = 0
    for record in records:
        try:
            out.write(record)
        except ValueError as error:
            unfit += 1
            if unfit <= _NAMED:
                typer.echo(f"left out: the record of {iso(record.arrival_ns)}: {error}", err=True)
    if unfit > _NAMED:
        typer.echo(f"left out: {unfit - _NAMED} records more", err=True)
    return unfit


def tell_written(
    output: Path, source: Capture, unfit: int, known: Iterable[str] = (), *, as_json: bool = False
) -> None:
    """Say what was written, and what was not. Ends with 1 if it is not all that was there."""
    made = Capture(output)
    size = sum(segment.size for segment in made.segments)
    if as_json:
        told = {
            "output": str(output),
            "records": made.count,
            "bytes": size,
            "first_ns": made.first_ns,
            "last_ns": made.last_ns,
            "left_out": unfit,
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        first, last = made.first_ns, made.last_ns
        span = f", {iso(first)} to {iso(last)}" if first is not None and last is not None else ""
        typer.echo(f"{made.count:,} records in {as_size(size)}{span}: {output}")
    finish(source, known)
    if unfit:
        raise typer.Exit(int(Exit.FAILED))


def complain(capture: Capture, known: Iterable[str] = ()) -> bool:
    """Name on standard error what did not read, and say whether there is any such thing."""
    lines = list(dict.fromkeys([*known, *capture.damage]))
    for line in lines:
        typer.echo(f"damaged: {printable(line)}", err=True)
    return bool(lines)


def finish(capture: Capture, known: Iterable[str] = ()) -> None:
    """Name on standard error what did not read; if there is any such thing, end with 1: this was not all of it."""
    if complain(capture, known):
        raise typer.Exit(int(Exit.FAILED))


def to_console() -> Console:
    """Make a console that cuts nothing off, and wraps nothing, when its output goes to a file or a pipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=1000)


def tell_left_out(console: Console, capture: Capture) -> None:
    """Say if what is shown was never all of the traffic."""
    for words in left_out(capture):
        console.print(printable(words), soft_wrap=True)


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
