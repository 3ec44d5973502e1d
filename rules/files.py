"""Reads a small file that somebody named, and never more of it than a bound. Edge: reads files."""

import errno
import os
from pathlib import Path


def read_small(path: Path, most: int, too_large: str) -> bytes:
    """Read all of a file of at most `most` bytes.

    What it is does not matter, so a secret may also come through a pipe, as of a shell's ``<(...)``; one that nobody
    writes to is waited for. Nothing without end is read on and on: not a device, nor a file that grows meanwhile.

    Raises OSError, whose `strerror` says in words why not: the system's, or `too_large`. Whoever asked names the file.
    """
    try:
        with path.open("rb") as file:
            # The size is not asked for before: another file may stand there by then, and a device says 0.
            content = file.read(most + 1)
    except ValueError:
        # A name that no file can have, with a NUL in it.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if len(content) > most:
        raise OSError(errno.EFBIG, too_large)
    return content
