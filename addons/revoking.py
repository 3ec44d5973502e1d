"""Which keys and runs were revoked: a text file that the owner edits, read again by itself.

Whoever is revoked counts no more within a quarter of a second. Taking a line back takes about a second, in which the
file has to stay the same: an editor that writes it anew may leave it empty for a moment.

A list that is missing, damaged or can't be read in time may be one on which somebody was just put. So no load tag
counts until it reads well again, be it at the start or later. Real users have nothing to do with it: it keeps no
sidecar from starting, as that may be the restart that they wait for.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from captures.worker import Worker
from loadtag import Revoked
from loadtag.validity import NOBODY, read_revoked
from rules.files import read_small

logger = logging.getLogger(__name__)

POLL = 0.2
"""Seconds between two looks at the file."""

SETTLED = 0.6
"""Seconds that the file has to stay the same before what is no longer on it counts again."""

PATIENCE = 1.0
"""Seconds to wait for the disk."""

_SILENT = "the disk does not answer"

MAX_FILE = 1 << 20
"""Bytes that a list may have."""

MOST_TOLD = 20
"""Names that a log gets at once: who writes it is the event loop."""


class ListError(ValueError):
    """The list can't be read. The message says why, and names the file."""


class Course:
    """What counts as revoked, look by look. Pure: the time (in seconds, of a clock that never steps back) comes in."""

    def __init__(self, first: Revoked | None) -> None:
        self.held = first
        """What counts; None: nobody knows, so no load tag does."""
        self._known = first or NOBODY
        self._seen = first
        self._since = 0.0

    def look(self, found: Revoked | None, now: float) -> Revoked | None:
        """Take in what the file says, or that it can't be read; give what counts from now on."""
        if found != self._seen:
            self._seen, self._since = found, now
        if found is None:
            self.held = None
            return None
        if now - self._since < SETTLED:
            found = Revoked(found.keys | self._known.keys, found.runs | self._known.runs)
        self.held = self._known = found
        return found


class Revocations:
    """Follows one list, and tells whenever something else counts. Belongs to one event loop."""

    def __init__(self, path: Path | None, tell: Callable[[Revoked | None], None]) -> None:
        """Follow nothing yet. Without a path, nobody is ever revoked."""
        self.path = path
        self._tell = tell
        self._course = Course(NOBODY)
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why nobody knows what counts; empty: it is known."""

    @property
    def held(self) -> Revoked | None:
        """What counts as revoked now; None: nobody knows."""
        return self._course.held

    @property
    def follows(self) -> bool:
        """Whether it looks again by itself."""
        return self._task is not None

    def begin(self) -> None:
        """Read the list for the first time. Waits for the disk, but not for long."""
        if self.path is None:
            return
        disk = Worker("reamp-revoked")
        reading = disk.submit(_look, self.path, None, None)
        disk.shutdown()
        try:
            self._course = Course(reading.result(PATIENCE)[1])
        except (ListError, TimeoutError) as error:
            self._course = Course(None)
            self._doubt(str(error) or f"{self.path}: {_SILENT}")

    def follow(self) -> None:
        """Look again and again, from within the event loop."""
        if self.path is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow(self.path), name="reamp-revoked")

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _follow(self, path: Path) -> None:
        disk = Worker("reamp-revoked")
        last: bytes | None = None
        found: Revoked | None = None
        try:
            while True:
                await asyncio.sleep(POLL)
                reading = asyncio.wrap_future(disk.submit(_look, path, last, found))
                if not (await asyncio.wait({reading}, timeout=PATIENCE))[0]:
                    self._take(None, f"{path}: {_SILENT}")
                    await asyncio.wait({reading})
                    last = None
                why = ""
                try:
                    last, found = reading.result()
                except ListError as error:
                    found, why = None, str(error)
                self._take(found, why)
        finally:
            disk.shutdown()

    def _take(self, found: Revoked | None, why: str) -> None:
        before = self.held
        after = self._course.look(found, time.monotonic())
        if after is None:
            self._doubt(why)
        elif after != before:
            self.trouble = ""
            _log(before, after, self.path)
        if after != before:
            self._tell(after)

    def _doubt(self, why: str) -> None:
        trouble = f"the list of revocations can't be read: {why}"
        if trouble != self.trouble:
            # A warning: errors are reasons not to start.
            logger.warning("No load tag counts: %s", trouble)
        self.trouble = trouble


def _log(before: Revoked | None, after: Revoked, path: Path | None) -> None:
    if before is None:
        logger.warning("The list of revocations reads well again: %s", path)
        before = NOBODY
    for what, old, new in (("key", before.keys, after.keys), ("run", before.runs, after.runs)):
        _log_each("Revoked", what, new - old, path)
        _log_each("No longer revoked", what, old - new, path)


def _log_each(news: str, what: str, which: frozenset[str], path: Path | None) -> None:
    for one in sorted(which)[:MOST_TOLD]:
        logger.warning("%s: %s %s, on %s", news, what, one, path)
    if len(which) > MOST_TOLD:
        logger.warning("%s: %d more of these, on %s", news, len(which) - MOST_TOLD, path)


def _look(path: Path, last: bytes | None, found: Revoked | None) -> tuple[bytes, Revoked]:
    """Read the list, in the disk's thread: a long one takes a while, and the event loop carries real users."""
    content = _content(path)
    return content, found if found is not None and content == last else _parsed(path, content)


def _content(path: Path) -> bytes:
    try:
        return read_small(path, MAX_FILE, "too large for a list of revocations")
    except OSError as error:
        raise ListError(f"{path}: {error.strerror}") from None


def _parsed(path: Path, content: bytes) -> Revoked:
    try:
        return read_revoked(content.decode())
    except ValueError as error:
        raise ListError(f"{path}: {error}") from None
