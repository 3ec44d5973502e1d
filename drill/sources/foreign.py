"""An incident from files of other tools that know each request. Edge.

Access logs, HAR, CSV, and all else that `captures.exchange` reads. They become a capture first, in a hidden folder
beside the incident that goes away again: so they are sorted by time, without secrets, and whatever can be asked of a
capture can be asked of them. If the incident is to be encrypted, so is that capture, with a key that is kept nowhere.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyrage

from captures.batch import BatchWriter
from captures.exchange.formats import FORMATS, guess
from captures.exchange.intake import Intake, Taken
from captures.keyring import NOBODY, Identities, Recipients
from captures.reader import Capture
from captures.rendering import printable
from drill.sources.beside import beside
from drill.sources.captured import part
from drill.sources.wanted import Wanted
from drill.story import Source, Story
from rules.exits import Exit, UserError

COARSE_NS = 100_000_000
"""Times that count in such steps or larger ones are drawn within them; what is finer is kept as it is written."""

_SOURCES: dict[str, Source] = {"log": "log", "har": "har", "csv": "csv"}

_NAMES = 5
"""Files that are named."""

_BROKEN = 3
"""Entries that did not read and are shown."""


def looks_like(name: str, start: bytes) -> bool:
    """Tell whether a file is in a format that holds requests."""
    return guess(name, start) is not None


class Read(NamedTuple):
    """Files of other tools as a capture, and what became of each."""

    capture: Capture
    files: list[Taken]


def take(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident of files that know each request. Raises UserError."""
    with as_capture(files, wanted, output.resolve().parent) as read:
        return part(read.capture, _story(read, wanted), wanted, output)


@contextmanager
def as_capture(files: Sequence[Path], wanted: Wanted, folder: Path) -> Iterator[Read]:
    """Give files of other tools as a capture, which is kept in `folder` as long as the block lasts.

    Raises UserError if one does not read, or if there is no request in them.
    """
    key = pyrage.x25519.Identity.generate() if wanted.recipients else None
    redactor = wanted.redactor()
    intake = Intake(wanted.asked, redactor)
    with beside(folder) as kept:
        with BatchWriter(
            kept / "read",
            redaction=redactor.describe() if redactor else {"headers": [], "method": "none: --no-redaction"},
            recipients=None if key is None else Recipients([str(key.to_public())]),
        ) as batch:
            for file in files:
                with wanted.telling(f"reading {file.name}", _size(file)) as reached:
                    intake.take(file, batch, reached)
            if not batch.records:
                broken = next((line for one in intake.done for line in one.notes.bad), "")
                why = f": {printable(broken)}" if broken else ""
                raise UserError(f"there is no request in {_named(files)}{why}", Exit.FAILED)
        yield Read(Capture(kept / "read", NOBODY if key is None else Identities([key])), intake.done)


def _story(read: Read, wanted: Wanted) -> Story:
    """Tell all that the files tell."""
    formats = list(dict.fromkeys(one.format.name for one in read.files))
    step_ns = max(one.notes.step_ns for one in read.files)
    coarse = step_ns if step_ns >= COARSE_NS else 0
    made_up = not all(one.format.timed for one in read.files)
    first_ns, last_ns = read.capture.first_ns or 0, read.capture.last_ns or 0
    notes = list(told(read.files))
    if coarse:
        notes.append(
            f"times are known to {coarse / 1e9:g} s: within that they are drawn, as requests that are independent "
            "of each other arrive"
        )
    if made_up:
        notes.append("when requests came is not known: arrivals are drawn at the rate that was given (--rate)")
    return Story(
        source=_SOURCES.get(formats[0], "other") if len(formats) == 1 else "other",
        told=f"{_named([one.path for one in read.files])} ({', '.join(FORMATS[name].title for name in formats)})",
        begin_ns=first_ns - first_ns % (coarse or 1),
        end_ns=last_ns + (coarse - last_ns % coarse if coarse else 1),
        times="drawn" if coarse or made_up else "kept",
        grain=coarse / 1e9 if coarse else None,
        seed=wanted.seed if coarse or made_up else None,
        outcomes="records",
        notes=tuple(notes),
    )


def told(files: Sequence[Taken]) -> Iterator[str]:
    """Say what of files did not go across, a sentence each."""
    lost: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for one in files:
        lost.update(one.notes.lost)
        skipped.update(one.notes.skipped)
    yield from dict.fromkeys(line for one in files for line in one.notes.said)
    for what, count in lost.most_common():
        yield f"lost of {count:,} requests: {what}"
    for what, count in skipped.most_common():
        yield f"left out are {count:,}: {what}"
    if bad := sum(one.notes.bad_count for one in files):
        # Only where they stand: what stands there was not searched for secrets, and an incident is shown around.
        named = ((one.path.name, line.partition(": ")[0]) for one in files for line in one.notes.bad)
        places = ", ".join(f"{name} {place}" if len(files) > 1 else place for name, place in islice(named, _BROKEN))
        more = ", ..." if bad > _BROKEN else ""
        yield f"{bad:,} entries did not read and are left out ({places}{more}; captures import tells why)"


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None  # reading it will say why


def _named(files: Sequence[Path]) -> str:
    names = [file.name for file in files]
    return ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
