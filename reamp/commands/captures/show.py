"""`reamp captures show`: one record as HTTP or curl."""

from itertools import islice
from typing import Annotated

import typer

from captures.records import Record
from captures.rendering import as_curl, as_http
from reamp.commands.captures.shared import (
    DEFAULT,
    Choice,
    Except,
    Identity,
    Only,
    Where,
    choose,
    complain,
    held,
    open_capture,
)
from rules.exits import Exit, UserError


def show(
    folder: Where = DEFAULT,
    number: Annotated[
        int, typer.Argument(metavar="N", help="Which record, counted from 1 in order of arrival.", min=1)
    ] = 1,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Count from this time: ISO, epoch, 14:02, -15m before the end."),
    ] = None,
    only: Only = None,
    but: Except = None,
    curl: Annotated[bool, typer.Option("--curl", help="As a curl command.")] = False,
    identity: Identity = None,
) -> None:
    """Show one record as HTTP, or as a curl command.

    Examples:

        reamp captures show ./recordings 17

        reamp captures show ./recordings --at 2026-11-21T20:48:51Z --curl

        reamp captures show ./recordings --only '~c 500'
    """
    capture = open_capture(folder, identity)
    choice = choose(capture, at, None, only, but, option="--at")
    record = next(islice(choice.records(most=number), number - 1, None), None)
    damaged = complain(capture)
    if record is None:
        raise _missing(choice, number, at)
    _print(record, curl=curl)
    if damaged:  # so it may not be the one that was meant
        raise typer.Exit(int(Exit.FAILED))


def _print(record: Record, *, curl: bool) -> None:
    if curl and record.body_size > len(record.body):
        typer.echo(f"# only {len(record.body)} of {record.body_size} bytes of the body were kept", err=True)
    typer.echo(as_curl(record) if curl else as_http(record))


def _missing(choice: Choice, number: int, at: str | None) -> UserError:
    since = "" if at is None else f" from {at} on"
    which = " that matches" if choice.matches else ""
    return UserError(f"there is no record number {number}{which}{since}: {held(choice.capture)}")
