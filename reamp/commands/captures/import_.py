"""`reamp captures import`: other tools' files become a capture."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import typer
from rich.console import Console
from rich.progress import DownloadColumn, Progress
from rich.text import Text

from captures.batch import BatchWriter
from captures.errors import CaptureError
from captures.exchange.formats import FORMATS, Format, guess, readable
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, evenly
from captures.exchange.streams import GLANCE, told_as_broken, uncompressed
from captures.moments import SECOND, iso, parse
from captures.records import Record
from captures.redaction import DEFAULTS, Redactor, load_key, load_rules
from captures.rendering import printable
from loadtag.headers import find
from reamp.commands.captures.exchanging import as_object, complete, format_named, print_notes
from reamp.commands.captures.shared import AsJson, EncryptTo, as_size, progress, recipients, to_console, writing
from rules.exits import Exit, UserError
from rules.units import Rate, UnitError

_STDIN = Path("-")
_EVERY = 512
"""Records between two looks at how far a file was read."""

_TAGGED = "requests that bear a load tag: synthetic traffic is never replayed"


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to import; - is standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The new capture's folder.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help=f"One of {', '.join(readable())}; by default told by content."),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="Of access logs: common, combined, vhost_combined, json, the format string of nginx ($variables) or "
            "Apache (%directives) as it stands in the server's configuration, or a mapping of JSON keys.",
        ),
    ] = None,
    authority: Annotated[
        str, typer.Option("--authority", metavar="HOST", help="Host of requests that name none: shop.example.")
    ] = "",
    scheme: Annotated[
        str, typer.Option("--scheme", metavar="SCHEME", help="http or https, where the file does not say.")
    ] = "http",
    rate: Annotated[
        str | None,
        typer.Option("--rate", metavar="RATE", help="How close together, for formats without times; by default 1/s."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="TIME", help="When the first came, for formats without times; by default now."),
    ] = None,
    redaction_key: Annotated[
        Path, typer.Option("--redaction-key", metavar="FILE", help="Key of the pseudonyms; made if missing.")
    ] = Path(".reamp/redaction.key"),
    redaction_rules: Annotated[
        Path | None, typer.Option("--redaction-rules", metavar="FILE", help="What else is a secret, or none (YAML).")
    ] = None,
    no_redaction: Annotated[bool, typer.Option("--no-redaction", help="Keep secrets as they are.")] = False,
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
    options = ReadOptions(_times(rate, start), authority, _scheme(scheme), log_format or "")
    job = _Job(_chosen(format_, log_format), options, times_given=rate is not None or start is not None)
    redactor = None if no_redaction else _redactor(redaction_key, redaction_rules)
    if redactor is None:
        typer.echo("warning: nothing is redacted: passwords, tokens and cookies go into the capture", err=True)
    extra = {"made_by": "import", "from": [file.name for file in files][:20]}
    redaction = redactor.describe() if redactor else {"headers": [], "method": "none: --no-redaction"}
    out = BatchWriter(output, extra=extra, redaction=redaction, recipients=recipients(encrypt_to))
    with writing(out) as batch, progress(DownloadColumn()) as bar:
        for file in files:
            job.run(file, redactor, batch, bar)
        _refuse(job, batch, strict=strict)
    if as_json:
        typer.echo(json.dumps(job.summary(output), indent=2))
    else:
        console = to_console()
        job.print(console)
        size = as_size(batch.bytes)
        console.print(f"{batch.records:,} records in {size}, {iso(job.first_ns)} to {iso(job.last_ns)}: {output}")


def _refuse(job: "_Job", batch: BatchWriter, *, strict: bool) -> None:
    """Raise UserError if nothing is to be written after all."""
    broken = sum(one.notes.bad_count for one in job.done)
    if batch.records and not (strict and broken):
        return
    job.print(Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False))
    if strict and broken:
        raise UserError(f"--strict: broken entries: {broken:,}; nothing was written", Exit.FAILED)
    raise UserError("nothing was written: there is no request to import", Exit.FAILED)


# --- what was asked for ---


def _chosen(name: str | None, log_format: str | None) -> Format | None:
    chosen = None if name is None else format_named(name, readable(), "--format")
    if log_format is None:
        return chosen
    if chosen is not None and chosen.name != "log":
        raise UserError(f"--log-format is for access logs, and --format says {chosen.name}")
    return FORMATS["log"]


def _scheme(scheme: str) -> str:
    if scheme not in {"http", "https"}:
        raise UserError(f"--scheme: {scheme!r} is neither http nor https")
    return scheme


def _times(rate: str | None, start: str | None) -> Iterator[int]:
    """Give arrivals for what has none. Raises UserError."""
    try:
        per_second = 1.0 if rate is None else float(Rate.parse(rate))
    except UnitError as error:
        raise UserError(f"--rate: {error}") from None
    if per_second <= 0:
        raise UserError("--rate: at this rate nothing ever comes")
    try:
        begin = time.time_ns() // SECOND * SECOND if start is None else parse(start)
    except ValueError as error:
        raise UserError(f"--start: {error}") from None
    return evenly(begin, per_second)


def _redactor(key: Path, rules: Path | None) -> Redactor:
    """Make what replaces secrets. Raises UserError."""
    return Redactor(load_key(key), DEFAULTS if rules is None else load_rules(rules))


# --- file by file ---


class _Imported(NamedTuple):
    """What came of one file."""

    path: Path
    format: Format
    notes: Notes
    records: int


class _Job:
    """What is to be done with each file, and what came of those that are done."""

    def __init__(self, chosen: Format | None, options: ReadOptions, *, times_given: bool) -> None:
        self._chosen = chosen
        self._options = options
        self._times_given = times_given
        self.done: list[_Imported] = []
        self.first_ns = 1 << 63
        self.last_ns = 0

    def run(self, path: Path, redactor: Redactor | None, batch: BatchWriter, bar: Progress) -> None:
        """Import one file. Raises UserError if it cannot be read at all, or if the capture cannot be written."""
        before, withheld = batch.records, redactor.withheld if redactor else 0
        with _opened(path) as raw:
            task = bar.add_task(path.name, total=None if path == _STDIN else path.stat().st_size)
            with _told_of(path):
                file = uncompressed(raw)
                found, notes = self._format(path, file.peek(GLANCE)[:GLANCE])
            for number, record in enumerate(self._read(path, found, file, notes)):
                if not number % _EVERY and path != _STDIN:
                    bar.update(task, completed=raw.tell())
                if find(record.headers) is None:
                    self._write(redactor.record(record) if redactor else record, batch, notes)
                else:
                    notes.skip(_TAGGED)
            bar.remove_task(task)
        if redactor and redactor.withheld > withheld:
            notes.lose("bodies that could not be searched for secrets: not kept", redactor.withheld - withheld)
        self.done.append(_Imported(path, found, notes, batch.records - before))

    def _format(self, path: Path, start: bytes) -> tuple[Format, Notes]:
        """Find the format. Raises CaptureError."""
        found, notes = self._chosen or guess(path.name, start), Notes()
        if found is None:
            what = "it is empty" if not start else "it is in no format that is known by its content or its name"
            raise CaptureError(f"{what}: say which with --format ({', '.join(readable())})")
        if found.timed and self._times_given:
            raise CaptureError(f"--rate and --start are for formats without times, and this is {found.title}")
        if not found.timed and not self._times_given:
            notes.say("its requests have no times: they are put one second apart from now on (--rate, --start)")
        return complete(found), notes

    def _read(self, path: Path, found: Format, file: BinaryIO, notes: Notes) -> Iterator[Record]:
        """Read a file; what is wrong with all of it is told with its name. Raises UserError."""
        if found.read is None:
            raise UserError(f"{found.title} cannot be imported")
        with _told_of(path):
            yield from found.read(file, self._options, notes)

    def _write(self, record: Record, batch: BatchWriter, notes: Notes) -> None:
        if not record.authority:
            notes.lose("host: the file names none (--authority)")
        try:
            batch.write(record)
        except ValueError as error:
            notes.broken(f"the request of {iso(record.arrival_ns)}", str(error))
            return
        self.first_ns = min(self.first_ns, record.arrival_ns)
        self.last_ns = max(self.last_ns, record.arrival_ns)

    def print(self, console: Console) -> None:
        """Tell of each file."""
        for one in self.done:
            broken = f", {one.notes.bad_count:,} broken" if one.notes.bad_count else ""
            heading = f"{printable(str(one.path))} ({one.format.title}): {one.records:,} records{broken}"
            console.print(Text(heading, style="bold"))
            print_notes(console, one.notes)

    def summary(self, output: Path) -> dict[str, Any]:
        """Tell the same to machines."""
        return {
            "output": str(output),
            "records": sum(one.records for one in self.done),
            "first": iso(self.first_ns),
            "last": iso(self.last_ns),
            "files": [
                {"file": str(one.path), "format": one.format.name, "records": one.records, **as_object(one.notes)}
                for one in self.done
            ],
        }


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with it."""
    try:
        with told_as_broken():
            yield
    except CaptureError as error:
        raise UserError(f"{path}: {error}", Exit.FAILED) from None
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}", Exit.FAILED) from None


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file or standard input. Raises UserError."""
    if path == _STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
