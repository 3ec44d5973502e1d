"""`reamp captures export`: a capture becomes a file for other tools."""

import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
from captures.rendering import printable
from loadtag.headers import find
from reamp.commands.captures.exchanging import as_object, format_named, print_notes
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Choice,
    Except,
    From,
    Identity,
    Only,
    Where,
    as_size,
    choose,
    finish,
    open_capture,
)
from rules.exits import Exit, UserError

_STDOUT = Path("-")


def export(
    folder: Where = DEFAULT,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help=f"One of {', '.join(writable())}.")] = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file; - is standard output. x.gz is compressed.")
    ] = _STDOUT,
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

    har, mitmproxy, goreplay, vegeta and jsonl hold each request. k6 and locust are scripts that run as they are, with
    the same mix of requests at the same rates; where they send to can be changed with BASE_URL in their environment.
    Nothing that another tool sends is held under reamp's ceiling, or marked as synthetic: keep it off production.

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
    records = _Counted(choice.records(quiet=output == _STDOUT and sys.stdout.isatty()), notes)
    with _written(output, force=force) as file:
        if found.write is None:
            raise UserError(f"--to: {found.name} can only be imported")
        found.write(records.until(file), file, options, notes)
        if not records.count:
            raise choice.nothing()
    size = None if output == _STDOUT else output.stat().st_size
    if as_json:
        summary = {"output": str(output), "format": found.name, "records": records.count, "bytes": size}
        typer.echo(json.dumps({**summary, **as_object(notes)}, indent=2), err=output == _STDOUT)
    else:
        console = Console(stderr=output == _STDOUT, soft_wrap=True, highlight=False, markup=False, emoji=False)
        told_size = "" if size is None else f" in {as_size(size)}"
        heading = f"{output} ({found.title}): {records.count:,} records{told_size}"
        console.print(Text(printable(heading), style="bold"))
        print_notes(console, notes)
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


class _Counted:
    """Counts what goes out, and keeps back what must not."""

    def __init__(self, records: Iterator[Record], notes: Notes) -> None:
        self._records = records
        self._notes = notes
        self.count = 0

    def until(self, file: BinaryIO) -> Iterator[Record]:
        """Give the records, no more once nobody reads `file` any more."""
        for record in self._records:
            if getattr(file, "unread", False):
                break
            if find(record.headers) is not None:
                self._notes.skip("records that bear a load tag: synthetic traffic is never replayed")
                continue
            self.count += 1
            yield record
        # Now, not when the interpreter ends: what shows the progress has a thread to wait for.
        self._records = iter(())


class _Pipe:
    """Standard output, which may have a reader that has seen enough."""

    unread = False

    def write(self, data: bytes) -> int:
        """Write, unless nobody reads any more."""
        if not self.unread:
            try:
                return sys.stdout.buffer.write(data)
            except BrokenPipeError:
                self.leave()
        return len(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is held back."""
        try:
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self.leave()

    def leave(self) -> None:
        """Let nothing be written any more, not at the end of the process either."""
        self.unread = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        pipe = _Pipe()
        yield cast("BinaryIO", pipe)
        pipe.flush()
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
