"""`reamp captures import`: other tools' files become a capture."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import DownloadColumn
from rich.text import Text

from captures.batch import BatchWriter
from captures.exchange.intake import STDIN, Intake
from captures.moments import iso
from captures.rendering import printable
from reamp.commands.captures.exchanging import as_object, print_notes
from reamp.commands.captures.reading import (
    DEFAULT_KEY,
    Authority,
    FormatName,
    LogFormat,
    NoRedaction,
    RedactionKey,
    RedactionRules,
    Scheme,
    TimesRate,
    TimesStart,
    asked_of,
    described,
    redactor_of,
)
from reamp.commands.captures.shared import AsJson, EncryptTo, as_size, progress, recipients, to_console, writing
from rules.exits import Exit, UserError


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to import; - is standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The new capture's folder.")],
    format_: FormatName = None,
    log_format: LogFormat = None,
    authority: Authority = "",
    scheme: Scheme = "http",
    rate: TimesRate = None,
    start: TimesStart = None,
    redaction_key: RedactionKey = DEFAULT_KEY,
    redaction_rules: RedactionRules = None,
    no_redaction: NoRedaction = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="If anything in the files is broken, write nothing and exit with 1.")
    ] = False,
    encrypt_to: EncryptTo = None,
    as_json: AsJson = False,
) -> None:
    """Make a capture of what other tools recorded, as if it had come through the sidecar.

    Secrets are replaced as they are when recording, and requests that bear a load tag are left out: they are no real
    traffic. What a file says and a capture has no place for is told, and so is every line that does not read.

    Formats: mitmproxy flow files, HAR, GoReplay, access logs of Apache, nginx, Caddy, Traefik and Envoy, vegeta
    targets, curl commands, JSON lines; compressed with gzip or zstd, or not.

    Examples:

        reamp captures import requests.gor.gz -o ./recordings/shop

        reamp captures import access.log --authority shop.example --scheme https -o ./recordings/shop

        reamp captures import targets.json --rate 100/s -o ./recordings/targets
    """
    asked = asked_of(format_, log_format, authority, scheme, rate, start)
    redactor = redactor_of(redaction_key, redaction_rules, no_redaction=no_redaction)
    intake = Intake(asked, redactor)
    extra = {"made_by": "import", "from": [file.name for file in files][:20]}
    out = BatchWriter(output, extra=extra, redaction=described(redactor), recipients=recipients(encrypt_to))
    with writing(out) as batch, progress(DownloadColumn()) as bar:
        for file in files:
            task = bar.add_task(file.name, total=None if file == STDIN or not file.exists() else file.stat().st_size)
            intake.take(file, batch, lambda reached, task=task: bar.update(task, completed=reached))  # type: ignore[misc]
            bar.remove_task(task)
        _refuse(intake, batch, strict=strict)
    if as_json:
        typer.echo(json.dumps(_summary(intake, output), indent=2))
    else:
        console = to_console()
        _print(intake, console)
        size = as_size(batch.bytes)
        console.print(f"{batch.records:,} records in {size}, {iso(intake.first_ns)} to {iso(intake.last_ns)}: {output}")


def _refuse(intake: Intake, batch: BatchWriter, *, strict: bool) -> None:
    """Raise UserError if nothing is to be written after all."""
    broken = sum(one.notes.bad_count for one in intake.done)
    if batch.records and not (strict and broken):
        return
    _print(intake, Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False))
    if strict and broken:
        raise UserError(f"--strict: broken entries: {broken:,}; nothing was written", Exit.FAILED)
    raise UserError("nothing was written: there is no request to import", Exit.FAILED)


# --- what came of it ---


def _print(intake: Intake, console: Console) -> None:
    """Tell of each file."""
    for one in intake.done:
        broken = f", {one.notes.bad_count:,} broken" if one.notes.bad_count else ""
        heading = f"{printable(str(one.path))} ({one.format.title}): {one.records:,} records{broken}"
        console.print(Text(heading, style="bold"))
        print_notes(console, one.notes)


def _summary(intake: Intake, output: Path) -> dict[str, Any]:
    """Tell the same to machines."""
    return {
        "output": str(output),
        "records": sum(one.records for one in intake.done),
        "first": iso(intake.first_ns),
        "last": iso(intake.last_ns),
        "files": [
            {"file": str(one.path), "format": one.format.name, "records": one.records, **as_object(one.notes)}
            for one in intake.done
        ],
    }
