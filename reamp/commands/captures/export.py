"""`reamp captures export`: a capture becomes a file for other tools."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from captures.exchange.formats import FORMATS, Format, writable
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from reamp.commands.captures.exchanging import format_named, tell
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Choice,
    Except,
    From,
    Identity,
    Only,
    Where,
    choose,
    finish,
    open_capture,
)
from reamp.commands.captures.writing import STDOUT, Counted, checked, written
from rules.exits import UserError


def export(
    folder: Where = DEFAULT,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help=f"One of {', '.join(writable())}.")] = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file; - is standard output. x.gz is compressed.")
    ] = STDOUT,
    from_: From = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only what arrived before then.")] = None,
    only: Only = None,
    but: Except = None,
    target: Annotated[
        str,
        typer.Option("--target", metavar="URL", help="Where scripts and vegeta are to send to: http://127.0.0.1:8000."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
    identity: Identity = None,
) -> None:
    """Write a capture as a file for another tool. What the format has no place for is told and counted.

    har, mitmproxy, goreplay, vegeta and jsonl hold each request. k6, locust, artillery and vegeta-script are scripts
    that run as they are, with the same mix of requests at the same rates over time; where they send to can be changed
    with BASE_URL in their environment. Nothing that another tool sends is held under reamp's ceiling, or marked as
    synthetic: keep it off production.

    Examples:

        reamp captures export ./recordings --to har -o shop.har

        reamp captures export ./recordings --to k6 --target http://127.0.0.1:8000 -o shop.js && k6 run shop.js

        reamp captures export ./recordings --to jsonl --from -15m --only '~u /api' | jq -r .path
    """
    if not to:
        raise UserError(f"--to: say which format: {', '.join(writable())}")
    found = format_named(to, writable(), "--to")
    capture = open_capture(folder, identity)
    choice = choose(capture, from_, until, only, but)
    options = _options(choice, _target(target, found), folder)
    notes = Notes()
    records = Counted(choice.records(quiet=output == STDOUT and sys.stdout.isatty()), notes)
    with written(output, force=force) as file:
        if found.write is None:
            raise UserError(f"--to: {found.name} can only be imported")
        found.write(records.until(file), file, options, notes)
        if not records.count:
            raise choice.nothing()
    tell(output, found, records.count, notes, as_json=as_json)
    finish(capture)


def _options(choice: Choice, target: str, folder: Path) -> WriteOptions:
    first, last = choice.capture.first_ns or 0, choice.capture.last_ns or 0
    low, high = choice.span
    whole = low is None and high is None and choice.matches is None
    return WriteOptions(
        target,
        first if low is None else max(first, low),
        last if high is None else min(last, high - 1),
        choice.capture.count if whole else 0,
        folder.resolve().name,
    )


def _target(target: str, found: Format) -> str:
    """Check where requests are to go. Raises UserError."""
    if target and not found.aimed:
        aimed = ", ".join(sorted(one.name for one in FORMATS.values() if one.aimed))
        raise UserError(f"--target is for {aimed}: {found.title} tells what was, not where to send it")
    return checked(target)
