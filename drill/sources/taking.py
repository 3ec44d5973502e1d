"""Finds out what the files of a source are, and has the incident written. Edge."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from captures.errors import CaptureError
from captures.exchange.intake import STDIN
from captures.exchange.streams import told_as_broken, uncompressed
from drill.incident import check_free
from drill.sources.beside import beside
from drill.sources.kinds import FOREIGN, KINDS, RATED, Kind
from drill.sources.wanted import Drawing, Wanted
from drill.story import Story
from rules.exits import Exit, UserError

GLANCE = 64 << 10
"""First bytes of a file by which its kind is told."""


def take(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident that `files` tell of to `output`, and give its story.

    A folder is a capture. Raises UserError if a file cannot be read, or is of no kind that is known, or if files of
    different kinds were given; and for all that is wrong with what they hold.
    """
    check_free(output, force=wanted.force)
    with _standard_input(files, output) as given:
        kinds = {path: _kind(path, wanted) for path in given}
        names = {kind.name: (kind, path) for path, kind in kinds.items()}
        if len(names) > 1:
            told = " and ".join(f"{path} ({kind.title})" for kind, path in names.values())
            raise UserError(f"{told} are of different kinds: take an incident from one kind of source")
        ((kind, path),) = names.values()
        if kind not in RATED and wanted.drawing != Drawing():
            raise UserError(
                f"{path}: {kind.title} that are there need no filling in: leave out what is for sources that know "
                "rates only (--fill-from, --values, --scale-to-total, --duration and the like)"
            )
        if kind is not FOREIGN and wanted.asked.times_given and not wanted.drawing.fill_from:
            raise UserError(f"{path}: --rate and --start are for requests without times, and {kind.title} tells them")
        with _told(output):
            return kind.take(given, wanted, output)


def _kind(path: Path, wanted: Wanted) -> Kind:
    """Tell what kind of source a file is. Raises UserError."""
    if path.is_dir():
        return KINDS[0]
    if wanted.asked.format is not None:
        return FOREIGN
    with _told(path):
        start = first_bytes(path)
    found = next((kind for kind in KINDS if kind.looks_like(path.name, start)), None)
    if found is None:
        if not start:
            raise UserError(f"{path}: it is empty: what else is left of the incident?")
        raise UserError(
            f"{path}: it is nothing that an incident can be taken from by itself: of an access log say the format with "
            "--log-format. Read are captures, access logs, HAR, CSV, Upsun's and Prometheus' JSON "
            "(docs/incident-sources.md)"
        )
    return found


@contextmanager
def _standard_input(files: Sequence[Path], output: Path) -> Iterator[list[Path]]:
    """Give a file in place of standard input, which can be read only once. It goes when the block ends."""
    if STDIN not in files:
        yield list(files)
        return
    with ExitStack() as opened:
        with _told(output, Exit.FAILED):
            kept = opened.enter_context(beside(output.resolve().parent)) / "standard input"
            with kept.open("xb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield [kept if path == STDIN else path for path in dict.fromkeys(files)]


def first_bytes(path: Path) -> bytes:
    """Give the first bytes of what is in a file, unpacked. Raises CaptureError and OSError."""
    with path.open("rb") as raw, told_as_broken():
        return uncompressed(raw).read(GLANCE)


@contextmanager
def _told(path: Path, code: Exit = Exit.CONFIGURATION) -> Iterator[None]:
    """Say of a file what is wrong with it."""
    try:
        yield
    except CaptureError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}", Exit.FAILED) from None
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}", code) from None
