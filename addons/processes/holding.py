"""Who holds a port: one supervisor at a time, and the workers that it may have left behind. And who has a state folder.

Two files beside the lever: ``sidecar-PORT.lock`` is locked by the supervisor for as long as it lives, and says in words
which one is in charge once its workers serve. ``sidecar-PORT.workers`` is locked (shared) by a supervisor and all its
workers together, so that after a supervisor's end it tells whether any of them are left. ``sidecar.lock`` is locked by
the one supervisor whose lever is remembered there.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from rules.exits import Exit, UserError

logger = logging.getLogger(__name__)

POLL = 0.25
"""Seconds between two looks at who is in charge."""


class Holding:
    """A supervisor's hold on a port, for the rest of its life."""

    def __init__(self, folder: Path, port: int) -> None:
        self.name = f"{os.getpid()} {secrets.token_hex(8)}"
        self.path = folder / f"sidecar-{port}.lock"
        self.orphans = False
        """Whether workers of an earlier supervisor still serve here."""
        self._port = port
        self._opened = contextlib.ExitStack()
        self._lock: int | None = None
        self._workers: int | None = None

    def __enter__(self) -> Self:
        """Take hold. Raises UserError if another supervisor holds the port."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self._open(self.path)
            workers = self._open(self.path.with_suffix(".workers"))
        except OSError as error:
            # No reason to keep real users waiting. What is lost is that a successor could take over smoothly.
            logger.warning(
                "%s can't be locked (%s): after a crash, a new sidecar can't take over here", self.path, error
            )
            return self
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            by = in_charge(self.path).partition(" ")[0] or "unknown"
            raise UserError(
                f"port {self._port} is in use: a sidecar (pid {by}) serves it, with its state in {self.path.parent}",
                Exit.FAILED,  # it may be free in a moment: whoever starts sidecars has to try again
            ) from None
        try:
            fcntl.flock(workers, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.orphans = True
        fcntl.flock(workers, fcntl.LOCK_SH)
        os.ftruncate(lock, 0)
        self._lock, self._workers = lock, workers
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def kept(self) -> list[int]:
        """Descriptors that workers have to inherit."""
        return [] if self._workers is None else [self._workers]

    def take_charge(self) -> None:
        """Tell workers of an earlier supervisor that they can go: those of this one serve."""
        if self._lock is not None:
            try:
                os.ftruncate(self._lock, 0)
                os.pwrite(self._lock, self.name.encode(), 0)
            except OSError as error:
                logger.warning("%s can't be written: %s", self.path, error)

    def _open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._opened.callback(os.close, descriptor)
        return descriptor


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Have a state folder for oneself while the block lasts. Raises UserError if another sidecar has it.

    Of two that shared it, each would write its lever into the same file: to reset one of them would be to forget, over
    a restart, that the other is pulled.
    """
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError):  # as with a port: no reason to keep real users waiting
            lock = os.open(folder / "sidecar.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            opened.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"the state folder {folder} is in use by another sidecar, and remembers the lever of one only: "
                    "name a folder of its own with --state",
                    Exit.FAILED,
                ) from None
        yield


async def taken_over(path: Path, name: str) -> None:
    """Wait until somebody other than `name` is in charge, for as long as that takes."""
    while in_charge(path) in ("", name):  # noqa: ASYNC110 - another process announces nothing
        await asyncio.sleep(POLL)


def in_charge(path: Path) -> str:
    """Read who is in charge: a process id and a random word. Empty if that can't be told."""
    try:
        return path.read_text()[:100]
    except (OSError, UnicodeDecodeError):
        return ""
