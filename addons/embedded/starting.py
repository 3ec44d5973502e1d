"""Add-ons that see a master of our own through its start: what goes wrong is told, and only then users come in."""

import asyncio
import logging
from collections.abc import Callable

from addons.processes.doors import Doors
from rules.exits import UserError


class StartErrors(logging.Handler):
    """Collects what goes wrong while starting. mitmproxy asks for it under the name ``errorcheck``."""

    name = "errorcheck"

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.name = "errorcheck"
        self.messages: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note what was said."""
        self.messages.append(record.getMessage())

    async def shutdown_if_errored(self) -> None:
        """Refuse to run half-started. Raises UserError."""
        await asyncio.sleep(0)  # lets what was logged from tasks arrive
        if self.messages:
            raise UserError("\n".join(self.messages))

    def finish(self) -> None:
        """Stop collecting: from now on traffic goes on whatever happens."""
        logging.getLogger().removeHandler(self)


class Started:
    """Last in the chain: when it runs, all the others do, and users can come in.

    mitmproxy itself lets them in before that. But they have been waiting at the door since the worker before died: the
    first ones would not be recorded, and an error that they run into would count as one of the start.
    """

    def __init__(self, errors: StartErrors, doors: Doors, started: Callable[[], None]) -> None:
        self._errors, self._doors, self._started = errors, doors, started

    async def running(self) -> None:
        """Open the doors, unless something went wrong."""
        if not self._errors.messages:
            try:
                await self._doors.open()
            except OSError as error:
                self._errors.messages.append(str(error))
                return
            self._errors.finish()
            self._started()
