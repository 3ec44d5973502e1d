"""The lever: a stop that latches. Once pulled, no synthetic request passes until somebody resets it.

Its state is kept in a file, so that a restart of the sidecar does not let it go.
"""

import logging
import os
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from rules.wire import Lever

logger = logging.getLogger(__name__)


class Shown(Protocol):
    """Where others see it."""

    def move_lever(self, engaged: bool, reason: str) -> None:
        """Tell them where it stands."""


class LatchingLever:
    """The lever of one sidecar, in the process that serves the control port; all others see it in the books.

    All but `persist` belongs to one thread, so that a pull is never undone by another one that it overtook.

    `path` None: it does not survive a restart.
    """

    def __init__(self, path: Path | None = None, shared: Shown | None = None) -> None:
        self.path = path
        self.state = Lever() if path is None else _read(path)
        self._shared = shared
        self._show()

    @property
    def engaged(self) -> bool:
        """Whether synthetic traffic is stopped."""
        return self.state.engaged

    def move(self, engaged: bool, reason: str, by: str, at: float) -> None:
        """Pull or reset it, for as long as this process lives."""
        self.state = Lever(engaged=engaged, reason=reason, by=by, at=at)
        self._show()

    def _show(self) -> None:
        if self._shared is not None:
            self._shared.move_lever(self.state.engaged, self.state.reason)

    def persist(self) -> tuple[Lever, bool]:
        """Write down for the next process where it stands. Gives what was written, and whether that worked: `settle`.

        Waits for the disk, so it is not for an event loop. A failed reset fails safe: the file still says pulled.
        """
        moved = self.state.model_copy(update={"persisted": True})
        if self.path is None:
            return moved, False
        try:
            _write(self.path, moved)
        except OSError as error:
            logger.warning("The lever moved but %s could not be written: %s", self.path, error)
            return moved, False
        return moved, True

    def settle(self, moved: Lever, persisted: bool) -> None:
        """Tell in the state whether it was written down, unless it was moved again meanwhile."""
        if self.state.model_copy(update={"persisted": moved.persisted}) == moved:
            self.state = moved.model_copy(update={"persisted": persisted})


def _read(path: Path) -> Lever:
    try:
        return Lever.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lever()
    except (OSError, ValidationError) as error:
        # In doubt, stop: a file that can't be read may have said so. (A warning: errors at start end the process.)
        logger.warning("%s can't be read, so the lever counts as pulled: %s", path, error)
        return Lever(engaged=True, reason=f"{path.name} could not be read", by="reamp")


def _write(path: Path, state: Lever) -> None:
    """Replace the file whole: after a crash it says the old or the new, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(state.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
