"""A file that pulls the lever: ``touch STATE/stop``, from whatever can make a file there.

It is looked for every few milliseconds by a thread of its own, because a file system may hang; nobody waits for it.
Whoever can't be asked may have said stop: a file system that errs or hangs counts as a pull too.
"""

import asyncio
import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from addons.lever.people import user
from rules.wire import Lever

EVERY = 0.005
"""Seconds between two looks: a look takes some microseconds."""

HANGS = 2.0
"""Seconds that one look may take."""

PAUSE = 0.1
"""Seconds between two questions whether the thread still looks."""

ANSWER = 1.0
"""Seconds that somebody waits who has to know whether the file is there now."""

WRITING = 0.05
"""Seconds that whoever made the file has to write a reason into it."""

WORDS = 500
"""Characters of it that are read."""

Pull = Callable[[str, str], object]
"""Takes the reason and who it was. Called in the event loop."""


class LeverFile:
    """Looks for one file until it is closed. As long as it is there the lever is pulled; its removal resets nothing."""

    def __init__(self, path: Path, lever: Callable[[], Lever], pull: Pull) -> None:
        """Begin to look; a loop has to run. `lever` tells where the lever stands."""
        self.path = path
        self._lever, self._pull = lever, pull
        self._reason = f"the file {path} is there"
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._there: bool | None = None
        """What the last look found; None: it could not be told."""
        self._looks = 0
        """Looks that have ended. Counted after `_there` is set."""
        self._void = 0
        """What looks up to this one found is out of date: the file has been seen to be gone since."""
        threading.Thread(target=self._watch, name="reamp-lever-file", daemon=True).start()
        self._checking = self._loop.create_task(self._check(), name="reamp-lever-file")

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._checking.cancel()

    async def there(self) -> bool | None:
        """Look now, and tell whether the file is there; None if that can't be told."""
        # The look that is under way may have begun before the question: the one after it counts.
        wanted, end = self._looks + 2, time.monotonic() + ANSWER
        while self._looks < wanted:
            if time.monotonic() >= end or self._closed:
                return None
            await asyncio.sleep(EVERY)
        if self._there is False:
            self._void = self._looks
        return self._there

    def _watch(self) -> None:
        # Folders under /run are gone after a boot, and a file to stop with must not wait for one. Others may pass by it
        # (a proxy before a tap looks for the file), but not look around.
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        while not self._closed:
            there, by, doubt = self._look()
            self._there = there
            self._looks += 1
            if there is not False and not self._lever().engaged:
                self._tell(doubt or self._reason, by)
                if there and (words := self._read()):
                    self._tell(words, by, amends=True)
            time.sleep(EVERY)

    def _look(self) -> tuple[bool | None, str, str]:
        """Tell whether it is there, whose it is, and what keeps from telling."""
        try:
            found = self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False, "", ""
        except OSError as error:
            return None, "reamp", f"whether the file {self.path} is there can't be told: {error.strerror}"
        return True, user(found.st_uid), ""

    def _read(self) -> str:
        """Give the reason that somebody wrote into it, if any."""
        time.sleep(WRITING)
        try:
            # Neither a pipe nor a link that leads elsewhere is waited for.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return ""
                text = os.read(descriptor, 4 * WORDS).decode(errors="replace")
            finally:
                os.close(descriptor)
        except OSError:
            return ""
        return text.strip()[:WORDS]

    def _tell(self, reason: str, by: str, amends: bool = False) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hear, self._looks, reason, by, amends)
        except RuntimeError:  # the loop is closed
            self._closed = True

    def _hear(self, look: int, reason: str, by: str, amends: bool) -> None:
        lever = self._lever()
        if self._closed or look <= self._void:
            return
        if not lever.engaged or (amends and lever.reason == self._reason):
            self._pull(reason, by)

    async def _check(self) -> None:
        """Notice that the thread hangs. Counted in turns of this loop, so that a process that was stopped is none."""
        before, still = -1, 0
        while True:
            still, before = (still + 1 if self._looks == before else 0), self._looks
            if still * PAUSE >= HANGS and not self._lever().engaged:
                self._pull(f"whether the file {self.path} is there can't be told: the file system hangs", "reamp")
            await asyncio.sleep(PAUSE)
