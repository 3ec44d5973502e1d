"""Add-on: the control port, served in the proxy's own loop. For one process; a supervisor serves it for many."""

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from addons.books import Books
from addons.controlport.access import Tokens, objection
from addons.controlport.certificate import Certificate
from addons.controlport.port import ControlPort, Facts
from addons.internals.modes import as_reverse
from addons.lever.latch import LatchingLever
from addons.lever.stopsignal import announced
from addons.ruling import check
from addons.tag import Tag
from captures.undumped import undumped
from rules.exits import UserError
from rules.slo import Rule
from rules.units import Duration, UnitError, parse_address

logger = logging.getLogger(__name__)

OPTIONS = (
    "reamp_control",
    "reamp_control_cert",
    "reamp_control_key",
    "reamp_control_insecure",
    "reamp_lever",
    "reamp_lever_file",
    "reamp_window",
    "reamp_slo",
)
"""The options that only this add-on knows."""


class Control:
    """Declares the control port's options and runs it."""

    def __init__(self, books: Books, tag: Tag) -> None:
        self._tag = tag
        self._books = books
        self._obeying = contextlib.ExitStack()
        self.port = ControlPort(books, LatchingLever(shared=books.shared), tag.verifier, Facts(), doubt=tag.doubt)

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
        loader.add_option("reamp_control_cert", str, "", "PEM file: the control port speaks TLS with this certificate.")
        loader.add_option("reamp_control_key", str, "", "PEM file with its private key, if that is another one.")
        loader.add_option("reamp_control_insecure", bool, False, "Open the control port to others without TLS.")
        loader.add_option(
            "reamp_lever", str, ".reamp/lever.json", "File that remembers the lever over a restart. Empty: none does."
        )
        loader.add_option(
            "reamp_lever_file", str, ".reamp/stop", "File that pulls the lever while it is there. Empty: none does."
        )
        loader.add_option("reamp_window", str, "10s", "How far the signal of real users looks back (1s to 10m).")

        loader.add_option(
            "reamp_slo", Sequence[str], [], "Rules on what users get, like p(95)<500ms: a breach pulls the lever."
        )

    def configure(self, updated: set[str]) -> None:
        """Check the options, and find the lever as it was left."""
        try:
            window = Duration.parse(ctx.options.reamp_window)
        except UnitError as error:
            raise exceptions.OptionsError(f"reamp_window: {error}") from error
        if not 1 <= window <= 600:
            raise exceptions.OptionsError("reamp_window: has to be between 1s and 10m")
        tokens = _tokens()
        if ctx.options.reamp_control:
            try:
                host, _ = parse_address(ctx.options.reamp_control)
            except ValueError as error:
                raise exceptions.OptionsError(f"reamp_control: {error}") from error
            tls, insecure = bool(ctx.options.reamp_control_cert), ctx.options.reamp_control_insecure
            if wrong := objection(host, tokens, tls=tls, insecure=insecure):
                raise exceptions.OptionsError(f"reamp_control: {wrong}")
        try:
            rules = tuple(check(Rule.parse(text)) for text in ctx.options.reamp_slo)
        except UnitError as error:
            raise exceptions.OptionsError(f"reamp_slo: {error}") from error
        lever = None
        if "reamp_lever" in updated:
            file = ctx.options.reamp_lever
            lever = LatchingLever(Path(file) if file else None, self._books.shared)
        facts = Facts(
            upstream=" ".join(as_reverse(ctx.options.mode)),
            audience=ctx.options.reamp_audience,
            tokens=tokens,
            window=float(window),
            slo=rules,
        )
        self.port.configure(facts, self._tag.verifier, lever)

    async def running(self) -> None:
        """Open the port."""
        undumped()
        if not ctx.options.reamp_control or self.port.address:
            return
        file = ctx.options.reamp_lever_file
        await self.port.watch(Path(file) if file else None)
        cert, key = ctx.options.reamp_control_cert, ctx.options.reamp_control_key
        try:
            certificate = Certificate(Path(cert), Path(key) if key else None) if cert else None
            await self.port.start(ctx.options.reamp_control, certificate)
            self._obeying.enter_context(announced(self.port.pull))
        except (OSError, UserError) as error:
            # As with any other port that can't be had: said at start, and the proxy does not come up half.
            logger.error("The control port %s can't be opened: %s", ctx.options.reamp_control, error)  # noqa: TRY400

    async def done(self) -> None:
        """Close the port."""
        self._obeying.close()
        await self.port.close()


def _tokens() -> Tokens:
    """Take the tokens from the environment: options are there for everybody to read who can reach mitmproxy's own."""
    return Tokens(
        os.environ.get("REAMP_SIDECAR_CONTROL_TOKEN", ""),
        os.environ.get("REAMP_SIDECAR_ADMIN_TOKEN", ""),
    )
