"""Add-on: the control port, served in the proxy's own loop. For one process; a supervisor serves it for many."""

import logging
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from addons.books import Books
from addons.controlport import ControlPort, Facts
from addons.internals.modes import as_reverse
from addons.lever import LatchingLever
from addons.tag import Tag
from rules.units import Duration, UnitError, parse_address

logger = logging.getLogger(__name__)

OPTIONS = ("reamp_control", "reamp_control_token", "reamp_lever", "reamp_window")
"""The options that only this add-on knows."""


class Control:
    """Declares the control port's options and runs it."""

    def __init__(self, books: Books, tag: Tag) -> None:
        self._tag = tag
        self._books = books
        self.port = ControlPort(books, LatchingLever(shared=books.shared), tag.verifier, Facts())

    @property
    def lever(self) -> LatchingLever:
        """The lever."""
        return self.port.lever

    @property
    def address(self) -> str:
        """Where the port is open; empty: nowhere."""
        return self.port.address

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_control", str, "127.0.0.1:8901", "HOST:PORT of the control port. Empty: none.")
        loader.add_option(
            "reamp_control_token", str, "", "Token that changes from another machine need. Empty: none are allowed."
        )
        loader.add_option(
            "reamp_lever", str, ".reamp/lever.json", "File that remembers the lever over a restart. Empty: none does."
        )
        loader.add_option("reamp_window", str, "10s", "How far the signal of real users looks back (1s to 10m).")

    def configure(self, updated: set[str]) -> None:
        """Check the options, and find the lever as it was left."""
        try:
            window = Duration.parse(ctx.options.reamp_window)
        except UnitError as error:
            raise exceptions.OptionsError(f"reamp_window: {error}") from error
        if not 1 <= window <= 600:
            raise exceptions.OptionsError("reamp_window: has to be between 1s and 10m")
        if "reamp_control" in updated and ctx.options.reamp_control:
            try:
                parse_address(ctx.options.reamp_control)
            except ValueError as error:
                raise exceptions.OptionsError(f"reamp_control: {error}") from error
        lever = None
        if "reamp_lever" in updated:
            file = ctx.options.reamp_lever
            lever = LatchingLever(Path(file) if file else None, self._books.shared)
        facts = Facts(
            upstream=" ".join(as_reverse(ctx.options.mode)),
            audience=ctx.options.reamp_audience,
            token=ctx.options.reamp_control_token,
            window=float(window),
        )
        self.port.configure(facts, self._tag.verifier, lever)

    async def running(self) -> None:
        """Open the port."""
        if not ctx.options.reamp_control or self.port.address:
            return
        try:
            await self.port.start(ctx.options.reamp_control)
        except OSError as error:
            # As with any other port that can't be had: said at start, and the proxy does not come up half.
            logger.error("The control port %s can't be opened: %s", ctx.options.reamp_control, error)  # noqa: TRY400

    async def done(self) -> None:
        """Close the port."""
        await self.port.close()
