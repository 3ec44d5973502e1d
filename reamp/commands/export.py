"""`reamp export`: an incident, or a drill of it, becomes a load script for another tool."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reamp.commands.captures.shared import AsJson, Except, Identity, Only
from rules.exits import UserError
from rules.units import Factor, UnitError

if TYPE_CHECKING:
    from captures.exchange.notes import Notes
    from captures.records import Record
    from drill.onward import Onward

TOOLS = {"k6": "k6", "locust": "locust", "artillery": "artillery", "vegeta": "vegeta-script"}
"""The tools, and the format of `captures.exchange` that is a script for each."""

_STDOUT = Path("-")


def export(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help=f"One of {', '.join(TOOLS)}.")],
    incident: Annotated[
        Path, typer.Argument(metavar="INCIDENT", help="An incident's file, the folder of a drill, or a capture.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The script; - is standard output.")
    ] = _STDOUT,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="URL",
            help="Where it sends to unless BASE_URL says otherwise. Default: a drill's clone, else BASE_URL has to.",
        ),
    ] = "",
    amplify: Annotated[
        str | None,
        typer.Option("--amplify", metavar="FACTOR", help="How much of it: 1.25x. Default: the drill's, else 1x."),
    ] = None,
    only: Only = None,
    but: Except = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
    identity: Identity = None,
) -> None:
    """Write a load script of an incident: the same mix of requests, with the rate of each route over time.

    The script is one file that runs as it is. Its requests are in there, so it holds what the incident's file holds.

    Each request names the run in its header x-load-test, and says synthetic_request=true in its baggage. **Neither is
    signed**, as only reamp's own replays are: whoever reads logs sees what was load, but no sidecar and no app trusts
    it. An app does its work as for users, with mails and payments. Nothing is held under reamp's ceiling: keep it off
    production.

    From a drill, only what the drill sent goes into the script: no writes that it did not allow. From an incident's
    file all of it does, and how many writes there are is told.

    Examples:

        reamp export k6 incident.reamp --target http://127.0.0.1:8000 -o incident.js && k6 run incident.js

        reamp export locust drills/20261121-210305-k3f9 -o locustfile.py && locust --headless

        reamp export artillery incident.reamp --amplify 1.25x -o incident.js

        reamp export vegeta incident.reamp --except '~m POST' --target http://127.0.0.1:8000 | bash
    """
    from captures.exchange.notes import Notes
    from captures.keyring import load_identities
    from drill.onward import onward
    from reamp.commands.captures.exchanging import format_named, tell
    from reamp.commands.captures.shared import finish
    from reamp.commands.captures.writing import Counted, checked, written
    from reamp.commands.choosing import chosen

    if tool not in TOOLS:
        raise UserError(f"{tool!r} is no tool that there are scripts for: there are {', '.join(TOOLS)}")
    found = format_named(TOOLS[tool], TOOLS.values(), "TOOL")
    factor, target = _factor(amplify), checked(target)
    source = onward(incident, load_identities(identity or ()))
    notes = Notes()
    matches = [each for each in (chosen(only, but), chosen(source.only, source.but)) if each is not None]
    records = Counted(_wanted(source, matches, notes, quiet=output == _STDOUT and sys.stdout.isatty()), notes)
    with written(output, force=force) as file:
        if found.write is None:
            raise AssertionError(found)
        found.write(records.until(file), file, source.options(target, factor), notes)
    for note in (*source.notes, *source.incident.story.notes):
        notes.say(note)
    if any(segment.lock is not None for segment in source.incident.capture.segments):
        notes.say("what is read is encrypted, and the script is not")
    if not (target or source.to):
        notes.say("it sends nothing until BASE_URL says where: BASE_URL=http://127.0.0.1:8000")
    tell(output, found, records.count, notes, as_json=as_json)
    finish(source.incident.capture)


def _factor(text: str | None) -> Factor | None:
    if text is None:
        return None
    try:
        factor = Factor.parse(text)
    except UnitError as error:
        raise UserError(f"--amplify: {error}") from None
    if not factor:
        raise UserError("--amplify: at 0x nothing is sent")
    return factor


def _wanted(
    source: "Onward", matches: "list[Callable[[Record], bool]]", notes: "Notes", *, quiet: bool
) -> "Iterator[Record]":
    from reamp.commands.captures.shared import told

    capture = source.incident.capture
    for record in told(capture.records(), capture.count, quiet=quiet):
        if not all(match(record) for match in matches):
            continue
        if why := source.unsent(record):
            notes.skip(why)
            continue
        yield record
