"""`reamp captures show`: one record as HTTP or curl."""

from itertools import islice
from typing import Annotated

import typer

from captures.moments import parse
from captures.reader import Capture
from captures.records import Record
from captures.rendering import as_curl, as_http
from reamp.commands.captures.shared import DEFAULT, Where, complain, open_capture, told
from rules.exits import UserError


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
    capture = open_capture(folder)
    record = _find(capture, number, at)
    complain(capture)
    if curl and record.body_size > len(record.body):
        typer.echo(f"# only {len(record.body)} of {record.body_size} bytes of the body were kept", err=True)
    typer.echo(as_curl(record) if curl else as_http(record))


def _find(capture: Capture, number: int, at: str | None) -> Record:
    try:
        start = None if at is None else parse(at)
    except ValueError as error:
        raise UserError(f"--at: {error}") from None
    wanted = islice(told(capture.records(start), min(number, capture.count)), number - 1, None)
    record = next(wanted, None)
    if record is None:
        since = "" if at is None else f" from {at} on"
        raise UserError(f"there is no record number {number}{since}: the capture holds {capture.count}")
    return record
