"""Takes other tools' files in: told by content, unpacked, without secrets, into a capture that is being written. Edge.

What bears a load tag is left out: it is no real traffic. What does not go across is in each file's `Notes`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from captures.batch import BatchWriter
from captures.errors import CaptureError
from captures.exchange.formats import Format, guess, readable
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from captures.exchange.streams import GLANCE, told_as_broken, uncompressed
from captures.moments import iso
from captures.records import Record
from captures.redaction import Redactor
from loadtag.headers import find
from rules.exits import Exit, UserError

STDIN = Path("-")

_EVERY = 512
"""Records between two looks at how far a file was read."""

_TAGGED = "requests that bear a load tag: synthetic traffic is never replayed"


class Taken(NamedTuple):
    """What came of one file."""

    path: Path
    format: Format
    notes: Notes
    records: int


class Asked(NamedTuple):
    """What was said of the files."""

    options: ReadOptions
    format: Format | None = None
    """None: told by content."""
    times_given: bool = False
    """Whether `options` say when requests came whose format has no times."""
    times_needed: bool = False
    """Whether such formats are refused otherwise."""
    complete: Callable[[Format], Format] = lambda found: found
    """Brings what may not be imported here: mitmproxy's own reader and writer."""


class Intake:
    """Takes files in, one after the other, and knows what came of each."""

    def __init__(self, asked: Asked, redactor: Redactor | None) -> None:
        self._asked = asked
        self._redactor = redactor
        self.done: list[Taken] = []
        self.first_ns = 1 << 63
        """Earliest arrival of all that was written."""
        self.last_ns = 0

    def take(self, path: Path, batch: BatchWriter, reached: Callable[[int], None] = lambda _: None) -> None:
        """Write a file's requests into `batch`; `-` is standard input. `reached` is told how many bytes were read.

        Raises UserError if it cannot be read at all, and CaptureError if the capture cannot be written.
        """
        redactor = self._redactor
        before, withheld = batch.records, redactor.withheld if redactor else 0
        with _opened(path) as raw:
            with _told_of(path):
                file = uncompressed(raw)
                found, notes = self._format(path, file.peek(GLANCE)[:GLANCE])
            for number, record in enumerate(self._read(path, found, file, notes)):
                if not number % _EVERY and path != STDIN:
                    reached(raw.tell())
                if find(record.headers) is None:
                    self._write(redactor.record(record) if redactor else record, batch, notes)
                else:
                    notes.skip(_TAGGED)
        if redactor and redactor.withheld > withheld:
            notes.lose("bodies that could not be searched for secrets: not kept", redactor.withheld - withheld)
        self.done.append(Taken(path, found, notes, batch.records - before))

    def _format(self, path: Path, start: bytes) -> tuple[Format, Notes]:
        """Find the format. Raises CaptureError."""
        found, notes = self._asked.format or guess(path.name, start), Notes()
        if found is None:
            what = "it is empty" if not start else "it is in no format that is known by its content or its name"
            raise CaptureError(f"{what}: say which with --format ({', '.join(readable())})")
        if found.timed and self._asked.times_given:
            raise CaptureError(f"--rate and --start are for formats without times, and this is {found.title}")
        if not found.timed and not self._asked.times_given:
            if self._asked.times_needed:
                raise CaptureError("its requests have no times: say how close together they came with --rate 100/s")
            notes.say("its requests have no times: they are put one second apart from now on (--rate, --start)")
        return self._asked.complete(found), notes

    def _read(self, path: Path, found: Format, file: BinaryIO, notes: Notes) -> Iterator[Record]:
        """Read a file; what is wrong with all of it is told with its name. Raises UserError."""
        if found.read is None:
            raise UserError(f"{found.title} cannot be imported")
        with _told_of(path):
            yield from found.read(file, self._asked.options, notes)

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
    if path == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
