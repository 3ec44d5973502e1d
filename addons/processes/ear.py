"""A child's side of what is said between the supervisor and its processes (`orders`)."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from typing import Self

from addons.processes.orders import MAX_LINE, Order, Report

logger = logging.getLogger(__name__)

PULSE = 1.0
"""Seconds between two signs of life of an aide."""


class Ear:
    """Hears what comes on stdin, and answers on what was stdout."""

    def __init__(self, stdin: asyncio.StreamReader, reports: int = -1) -> None:
        self.stdin, self._reports = stdin, reports

    @classmethod
    async def begin(cls) -> Self:
        """Take stdin and stdout over."""
        # Whatever prints shall not end up in what the supervisor reads.
        reports = os.dup(1)
        os.dup2(2, 1)
        stdin = asyncio.StreamReader(limit=MAX_LINE)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
        return cls(stdin, reports)

    async def first(self) -> bytes:
        """Wait for the first line, which says what to do. Empty: the supervisor has gone already."""
        return await self.stdin.readline()

    async def orders(self) -> AsyncIterator[Order]:
        """Give every further line, until the supervisor is gone."""
        while line := await self.stdin.readline():
            try:
                yield Order.model_validate_json(line)
            except ValueError:  # the next one may make sense
                logger.exception("An order could not be understood")

    def report(self, message: Report) -> None:
        """Tell the supervisor, if there still is one."""
        try:
            os.write(self._reports, message.line())
        except OSError:
            logger.debug("nobody listens to: %s", message)

    async def beat(self, every: float = PULSE) -> None:
        """Give signs of life, for ever: whoever has begun to and gives none for long is taken to hang."""
        os.set_blocking(self._reports, False)  # a supervisor that is stopped reads nothing, and is not waited for
        while True:
            self.report(Report())
            await asyncio.sleep(every)
