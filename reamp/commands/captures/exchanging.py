"""What import and export have in common: the formats with mitmproxy's own among them, and the report."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.console import Console
from rich.text import Text

from captures.exchange.formats import FORMATS, Format
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.records import Record
from captures.rendering import printable
from reamp.commands.captures.shared import as_size
from reamp.commands.captures.writing import STDOUT
from rules.exits import UserError

_INDENT = "    "


def format_named(name: str, known: Iterable[str], option: str) -> Format:
    """Find a format by its name. Raises UserError."""
    names = sorted(known)
    if name not in names:
        raise UserError(f"{option}: {name!r} is no format that can be chosen here: there are {', '.join(names)}")
    return complete(FORMATS[name])


def complete(found: Format) -> Format:
    """Bring mitmproxy in if it is needed, and only then: loading it takes a while."""
    return found._replace(read=_read_flows, write=_write_flows) if found.name == "mitmproxy" else found


def _read_flows(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:  # noqa: ARG001 - flows say it all
    from addons.flowfiles import read

    return read(file, notes)


def _write_flows(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:  # noqa: ARG001
    from addons.flowfiles import write

    write(records, file)


def print_notes(console: Console, notes: Notes) -> None:
    """Tell what did not go across."""
    for what in notes.said:
        _below(console, what)
    for what, count in notes.lost.most_common():
        _below(console, f"lost in {count:,}: {what}", "yellow")
    for what, count in notes.skipped.most_common():
        _below(console, f"left out {count:,}: {what}", "yellow")
    for line in notes.bad:
        _below(console, f"broken: {line}", "red")
    if notes.bad_count > len(notes.bad):
        _below(console, f"broken: {notes.bad_count - len(notes.bad):,} more", "red")


def tell(output: Path, found: Format, count: int, notes: Notes, *, as_json: bool) -> None:
    """Tell what was exported: on standard error, where that is where it went."""
    stdout = output == STDOUT
    size = None if stdout else output.stat().st_size
    if as_json:
        summary = {"output": str(output), "format": found.name, "records": count, "bytes": size}
        typer.echo(json.dumps({**summary, **as_object(notes)}, indent=2), err=stdout)
        return
    console = Console(stderr=stdout, soft_wrap=True, highlight=False, markup=False, emoji=False)
    told_size = "" if size is None else f" in {as_size(size)}"
    heading = f"{output} ({found.title}): {count:,} records{told_size}"
    console.print(Text(printable(heading), style="bold"))
    print_notes(console, notes)


def as_object(notes: Notes) -> dict[str, Any]:
    """Give the same for machines."""
    return {
        "notes": notes.said,
        "lost": dict(notes.lost),
        "left_out": dict(notes.skipped),
        "broken": notes.bad_count,
        "broken_first": notes.bad,
    }


def _below(console: Console, line: str, style: str = "") -> None:
    console.print(Text(_INDENT + printable(line), style=style))
