"""A hidden folder beside what is written, for as long as it is needed. Edge."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Give a new folder in `folder` that only this user can look into. It goes when the block ends. Raises OSError.

    It has its name before it is there: `tempfile` gives the name afterwards, and a signal between the two would leave
    a folder that nobody knows of.
    """
    made = folder / f".incident-{secrets.token_hex(8)}"
    try:
        made.mkdir(mode=0o700)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
