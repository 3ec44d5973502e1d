"""The key of the pseudonyms: a file of 32 random bytes, outside the recordings."""

import logging
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from captures.errors import CaptureError
from captures.redaction.pseudonyms import KEY_SIZE

log = logging.getLogger(__name__)


def load_key(path: Path) -> bytes:
    """Read the pseudonym key, making it (32 random bytes, readable by its owner only) if there is none.

    Keep it outside the recordings. Raises CaptureError if it cannot be read, made, or is not a key.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
        if path.stat().st_mode & 0o077:
            log.warning("the redaction key %s can be read by others: chmod 600 it", path)
    except OSError as error:
        raise CaptureError(f"redaction key {path}: {os.strerror(error.errno or 0)}") from None
    if len(key) != KEY_SIZE:
        raise CaptureError(f"{path} is not a redaction key: it has {len(key)} bytes, a key has {KEY_SIZE}")
    return key


def _make_key(path: Path) -> None:
    """Make the key whole or not at all; if another process is quicker, its key stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".key-") as draft:
        draft.write(secrets.token_bytes(KEY_SIZE))
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            os.link(draft.name, path)
