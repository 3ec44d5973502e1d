"""What is exported goes out: counted, to a file that is whole when it is there, or to standard output."""

import gzip
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from captures.exchange.notes import Notes
from captures.records import Record
from loadtag.headers import find
from rules.exits import Exit, UserError

STDOUT = Path("-")


class Counted:
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


def checked(target: str) -> str:
    """Check where requests are to go. Raises UserError."""
    if target and not re.fullmatch(r"https?://[^/?#\s]+/?", target):
        raise UserError(f"--target: write it like http://127.0.0.1:8000, without a path, not {target!r}")
    return target.rstrip("/")


@contextmanager
def written(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open what is written to: standard output, or a file beside `path` that takes its place when all is done.

    Raises UserError.
    """
    if path == STDOUT:
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
