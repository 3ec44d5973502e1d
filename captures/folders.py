"""A new folder that is there when it is whole, and never before."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from captures.errors import CaptureError
from rules.exits import UserError


@contextmanager
def new_folder(named: Path) -> Iterator[Path]:
    """Give a hidden folder beside `named` to write into; it takes its place at the end, and goes if anything was wrong.

    Raises UserError if `named` exists and is not an empty folder, and CaptureError if it cannot be made or written,
    also for an OSError from inside.
    """
    folder = named.resolve()  # a link to an empty folder stays, and gets its content
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    try:
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{named} exists and is not an empty folder: name one that is not there yet")
        if not folder.parent.is_dir():
            raise UserError(f"cannot write {named}: there is no folder {named.parent}")
        beside.mkdir(mode=0o700)
        try:
            yield beside
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)  # is not there any more if all went well
        descriptor = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CaptureError(f"cannot write {named}: {os.strerror(error.errno or 0)}") from None
