"""The file of an incident: one segment of the capture log, with its story in the header.

So `reamp captures` looks into it, `reamp replay` plays it and `reamp export` writes it for other tools, as any capture.
A capture without a story is an incident too: all of it, as it was recorded.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from captures.batch import BatchWriter
from captures.codec import looks_like_ours
from captures.errors import CaptureError
from captures.keyring import NOBODY, Identities, Recipients
from captures.lineage import left_out, recorded, redaction
from captures.reader import Capture
from captures.records import Record
from captures.segments import sync_folder
from drill.story import Story
from rules.exits import Exit, UserError

_WHOLE = 1 << 62
"""Bytes of a segment that is never full."""

_SAID = 10
"""Different sidecars whose word about what they recorded is kept."""


class Incident(NamedTuple):
    """An incident: what is told of it, and its requests."""

    path: Path
    story: Story
    capture: Capture


def write_incident(
    path: Path,
    story: Story,
    records: Iterable[Record],
    *,
    source: Capture | None = None,
    redacted: Mapping[str, Any] | None = None,
    recipients: Recipients | None = None,
    force: bool = False,
) -> int:
    """Write an incident's file, which is there once it is whole; give the number of its records.

    `source` is the capture that the records are from: what its header says of redaction goes along; for records from
    elsewhere `redacted` says what was replaced (`Redactor.describe`). Records outside the
    story's time are a mistake of the caller's. Raises UserError if the file is there already, unless `force` is set; if
    there is nothing to write; and if it cannot be written.
    """
    check_free(path, force=force)
    beside = path.resolve().with_name(f".{path.name}.{secrets.token_hex(4)}")
    extra = story.as_header()
    if source is not None and (said := recorded(source)):
        extra["recorded"] = said[:_SAID]
    try:
        with BatchWriter(
            beside,
            extra=extra,
            redaction=(redacted or {}) if source is None else redaction(source),
            segment_size=_WHOLE,
            recipients=recipients,
        ) as out:
            for record in records:
                if not story.begin_ns <= record.arrival_ns < story.end_ns:
                    raise ValueError(
                        f"a record of {record.arrival_ns} lies outside of {story.begin_ns}..{story.end_ns}"
                    )
                out.write(record)
            if not out.records:
                raise UserError("nothing was written: no request of the incident is left", Exit.FAILED)
        (segment,) = beside.iterdir()
        segment.replace(path)
        sync_folder(path.resolve().parent)
    except (OSError, CaptureError) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot write {path}: {why}", Exit.FAILED) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out.records


def check_free(path: Path, *, force: bool = False) -> None:
    """See beforehand whether an incident's file can be written: reading what it is from may take long.

    Raises UserError.
    """
    if path.is_dir() or (path.exists() and not force):
        raise UserError(f"-o: {path} {'is a folder' if path.is_dir() else 'is there already: --force writes over it'}")
    if not path.parent.is_dir():
        raise UserError(f"-o: cannot write {path}: there is no folder {path.parent}")


def read_incident(path: Path, identities: Identities = NOBODY) -> Incident:
    """Open an incident's file, or a capture that is one. Raises UserError."""
    try:
        capture = Capture(path, identities)
        capture.unlock()
    except CaptureError as error:
        how = f". To make an incident of it: reamp drill from {path} -o incident.reamp" if _foreign(path) else ""
        raise UserError(f"{error}{how}") from None
    told = [segment.header.extra.get("incident") for segment in capture.segments if segment.header is not None]
    if told and isinstance(told[0], dict) and len(told) == 1:
        try:
            return Incident(path, Story.model_validate(told[0]), capture)
        except ValidationError as error:
            found = error.errors()[0]
            where = ".".join(map(str, found["loc"]))
            raise UserError(f"{path}: what it tells of the incident does not read: {where}: {found['msg']}") from None
    return Incident(path, story_of(capture, str(path), f"all of {path.name}", left_out(capture)), capture)


def story_of(capture: Capture, name: str, told: str, notes: Iterable[str]) -> Story:
    """Tell of all of a capture, as it was recorded. Raises UserError if it is empty."""
    if capture.first_ns is None or capture.last_ns is None:
        raise UserError(f"{name}: it holds no requests")
    return Story(
        source="capture",
        told=told,
        begin_ns=capture.first_ns,
        end_ns=capture.last_ns + 1,
        times="kept",
        outcomes="records",
        notes=tuple(notes),
    )


def _foreign(path: Path) -> bool:
    """Tell whether this is a file of something else, an access log for example."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return bool(start) and not looks_like_ours(start)
