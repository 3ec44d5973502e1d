"""`reamp captures export`: a capture becomes a file for other tools."""

import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer
from rich.console import Console
from rich.text import Text

from captures.exchange.formats import FORMATS, Format, writable
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.records import Record
from loadtag.headers import find
from reamp.commands.captures.exchanging import as_object, format_named, print_notes
from reamp.commands.captures.shared import DEFAULT, AsJson, Identity, Where, as_size, complain, open_capture, told
from rules.exits import Exit, UserError

_STDOUT = Path("-")


def export(
    folder: Where = DEFAULT,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help=f"One of {', '.join(writable())}.")] = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file; - is standard output. x.gz is compressed.")
    ] = _STDOUT,
    target: Annotated[
        str,
        typer.Option("--target", metavar="URL", help="Where scripts and vegeta are to send to: http://127.0.0.1:8000."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
    identity: Identity = None,
) -> None:
    """Write a capture as a file for another tool. What the format has no place for is told and counted.

    har, mitmproxy, goreplay, vegeta and jsonl hold each request. k6 and locust are scripts that run as they are, with
    the same mix of requests at the same rates; where they send to can be changed with BASE_URL in their environment.
    Nothing that another tool sends is held under reamp's ceiling, or marked as synthetic: keep it off production.

    Examples:
        reamp captures export ./recordings --to har -o shop.har

        reamp captures export ./recordings --to k6 --target http://127.0.0.1:8000 -o shop.js && k6 run shop.js

        reamp captures export ./recordings --to jsonl -o - | jq -r .path
    """
    if not to:
        raise UserError(f"--to: say which format: {', '.join(writable())}")
    found = format_named(to, writable(), "--to")
    capture = open_capture(folder, identity)
    options = WriteOptions(
        _target(target, found), capture.first_ns or 0, capture.last_ns or 0, capture.count, folder.name
    )
    notes = Notes()
    records = _Counted(told(capture.records(), capture.count), notes)
    with _written(output, force=force) as file:
        if found.write is None:
            raise UserError(f"--to: {found.name} can only be imported")
        found.write(iter(records), file, options, notes)
        if not records.count:
            raise UserError("nothing was written: there is no record to export", Exit.FAILED)
    complain(capture)
    size = None if output == _STDOUT else output.stat().st_size
    if as_json:
        summary = {"output": str(output), "format": found.name, "records": records.count, "bytes": size}
        typer.echo(json.dumps({**summary, **as_object(notes)}, indent=2), err=output == _STDOUT)
        return
    console = Console(stderr=output == _STDOUT, soft_wrap=True, highlight=False, markup=False, emoji=False)
    told_size = "" if size is None else f" in {as_size(size)}"
    console.print(Text(f"{output} ({found.title}): {records.count:,} records{told_size}", style="bold"))
    print_notes(console, notes)


class _Counted:
    """Counts what goes out, and keeps back what must not."""

    def __init__(self, records: Iterator[Record], notes: Notes) -> None:
        self._records = records
        self._notes = notes
        self.count = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            if find(record.headers) is not None:
                self._notes.skip("records that bear a load tag: synthetic traffic is never replayed")
                continue
            self.count += 1
            yield record


def _target(target: str, found: Format) -> str:
    """Check where requests are to go. Raises UserError."""
    if target and not found.aimed:
        aimed = ", ".join(sorted(one.name for one in FORMATS.values() if one.aimed))
        raise UserError(f"--target is for {aimed}: {found.title} tells what was, not where to send it")
    if target and not re.fullmatch(r"https?://[^/?#\s]+/?", target):
        raise UserError(f"--target: write it like http://127.0.0.1:8000, without a path, not {target!r}")
    return target.rstrip("/")


@contextmanager
def _written(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open what is written to: standard output, or a file beside `path` that takes its place when all is done.

    Raises UserError.
    """
    if path == _STDOUT:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # whoever reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if path.is_dir() or (path.exists() and not force):
        what = "is a folder" if path.is_dir() else "is there already: --force writes over it"
        raise UserError(f"-o: {path} {what}")
    try:
        draft = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
    try:
        with draft:
            if path.suffix == ".gz":
                with gzip.GzipFile(path.stem, "wb", 6, draft, mtime=0) as packed:
                    yield cast("BinaryIO", packed)
            else:
                yield cast("BinaryIO", draft)
            draft.flush()
            os.fsync(draft.fileno())
        Path(draft.name).replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {os.strerror(error.errno or 0)}", Exit.FAILED) from None
    finally:
        with suppress(FileNotFoundError):
            Path(draft.name).unlink()
