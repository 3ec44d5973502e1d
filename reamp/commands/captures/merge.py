"""`reamp captures merge`: several captures as one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from captures.batch import BatchWriter
from captures.lineage import Unique, joined, lineage, overlapping, redaction
from captures.records import Record
from captures.rendering import printable
from reamp.commands.captures.shared import (
    AsJson,
    EncryptTo,
    Identity,
    Output,
    open_capture,
    recipients,
    tell_written,
    told,
    write_all,
    writing,
)

Sources = Annotated[list[Path], typer.Argument(metavar="DIR...", help="The captures: folders, or single files.")]


def merge(
    folders: Sources,
    output: Output,
    unique: Annotated[
        bool,
        typer.Option("--unique", help="Equal records once: for slices of one capture that overlap."),
    ] = False,
    as_json: AsJson = False,
    identity: Identity = None,
    encrypt_to: EncryptTo = None,
) -> None:
    """Write several captures as one, by arrival. A segment that is in more than one of them is taken once.

    Examples:

        reamp captures merge ./monday ./tuesday -o ./both

        reamp captures merge ./slice-1 ./slice-2 --unique -o ./whole
    """
    captures = [open_capture(folder, identity) for folder in folders]
    known = [line for capture in captures[1:] for line in capture.damage]
    capture, twice = joined(captures)
    for line in twice:
        typer.echo(printable(line), err=True)
    if not unique:
        for path in overlapping(capture):
            hint = "was made of others that are here too: --unique takes equal records once"
            typer.echo(f"{printable(str(path))} {hint}", err=True)
    records: Iterator[Record] = told(capture.records(), capture.count)
    seen = Unique()
    extra = lineage("merge", capture, {"unique": True} if unique else {})
    readers = recipients(encrypt_to, captures)
    with writing(BatchWriter(output, extra=extra, redaction=redaction(capture), recipients=readers)) as out:
        unfit = write_all(seen.filter(records) if unique else records, out)
    if seen.left_out:
        typer.echo(f"left out: {seen.left_out:,} records that were there already", err=True)
    tell_written(output, capture, unfit, known, as_json=as_json)
