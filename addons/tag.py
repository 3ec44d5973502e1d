"""Add-on: tells real, synthetic and untrusted requests apart."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

import loadtag
from addons.books import Kind
from addons.glance import TRACE, UPGRADE, glance
from addons.passage import KIND, RUN
from addons.refusal import refuse
from loadtag import headers, keys

logger = logging.getLogger(__name__)

_SUSPICIOUS = TRACE | UPGRADE


class Tag:
    """Sets each flow's kind and run, and strips what does not verify.

    Everything downstream trusts what passes here, so whatever is unclear about a tag makes it untrusted.
    """

    def __init__(self) -> None:
        self.verifier = loadtag.Verifier([], audience="")
        self._deny = False

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option(
            "reamp_public_key",
            Sequence[str],
            [],
            "PEM files with the public keys whose load tags are valid. Without any, no tag is.",
        )
        loader.add_option("reamp_audience", str, "production", "What a load tag has to be addressed to.")
        loader.add_option(
            "reamp_untrusted",
            str,
            "strip",
            "What to do with a request whose tag does not verify: strip the tag and pass it on, or deny it with 403.",
            choices=("strip", "deny"),
        )

    def configure(self, updated: set[str]) -> None:
        """Read the keys again if they may have changed."""
        self._deny = ctx.options.reamp_untrusted == "deny"
        if {"reamp_public_key", "reamp_audience"} & updated:
            try:
                public = [key for file in ctx.options.reamp_public_key for key in keys.load_public(Path(file))]
                self.verifier = loadtag.Verifier(public, ctx.options.reamp_audience)
            except (keys.KeyFileError, OSError, ValueError) as error:
                raise exceptions.OptionsError(f"reamp_public_key: {error}") from error

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Classify the request before anything else sees it."""
        try:
            if glance(flow.request.data.headers.fields)[0] & _SUSPICIOUS:
                self._classify(flow)
            else:
                flow.metadata[KIND] = "real"  # nearly all are, and need no closer look
        except Exception:
            # Apps trust a tag that they get to see. If it could not be judged, it must not get there.
            logger.exception("A request could not be classified")
            flow.metadata[KIND] = Kind.UNTRUSTED.value
            for name in ("baggage", headers.RUN_HEADER):
                flow.request.headers.pop(name, None)

    def _classify(self, flow: http.HTTPFlow) -> None:
        found = headers.find(flow.request.headers.fields)
        self._limit_upgrade(flow.request, tagged=found is not None)
        if found is None:
            flow.metadata[KIND] = "real"
            return
        tag = self._verified(found.token)
        if found.token and tag:
            flow.metadata[KIND] = Kind.SYNTHETIC.value
            flow.metadata[RUN] = tag.run_id
            # People read the run's name in a header of its own; the token is what proves it, so the token decides.
            if flow.request.headers.get(headers.RUN_HEADER) != tag.run_id:
                flow.request.headers.fields = tuple(headers.put(flow.request.headers.fields, found.token, tag.run_id))
            return
        flow.metadata[KIND] = Kind.UNTRUSTED.value
        flow.request.headers.fields = tuple(headers.strip(flow.request.headers.fields))
        if self._deny:
            refuse(flow, 403, "tag", "Load tag refused", "The request bears a load tag that does not verify.")

    @staticmethod
    def _limit_upgrade(request: http.Request, *, tagged: bool) -> None:
        """Take away an upgrade to what can't be seen into: what came through it would be neither judged nor counted.

        Real users may have WebSockets. A server that is not asked for another protocol answers in this one
        (RFC 9110, 7.8).
        """
        if any(len(name) == 7 and name.lower() == b"upgrade" for name, _ in request.headers.fields) and (
            tagged or request.headers["upgrade"].strip().lower() != "websocket"
        ):
            del request.headers["upgrade"]

    def _verified(self, token: str | None) -> loadtag.LoadTag | None:
        try:
            return self.verifier.verify(token, time.time()) if token else None
        except loadtag.TagError:
            return None
