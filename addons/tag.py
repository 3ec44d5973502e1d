"""Add-on: tells real, synthetic and untrusted requests apart."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

import loadtag
from addons.books import Kind
from addons.dark.mark import is_mark, unmarked
from addons.glance import DARK, TRACE, UPGRADE, glance
from addons.passage import KIND, RUN
from addons.refusal import refuse
from addons.revoking import Revocations
from loadtag import headers, keys

logger = logging.getLogger(__name__)

_SUSPICIOUS = TRACE | UPGRADE | DARK

_OURS = (b"baggage", headers.RUN_HEADER.encode())


class Tag:
    """Sets each flow's kind and run, and strips what does not verify.

    Everything downstream trusts what passes here, so whatever is unclear about a tag makes it untrusted.
    """

    def __init__(self, supervised: bool = False, tap: bool = False) -> None:
        """Know no key yet. `supervised`: somebody else tells that keys can't be read.

        For a worker it must not be a reason to leave real users waiting. `tap`: what comes are copies, of which none
        can be refused.
        """
        self._tap = tap
        self.verifier = loadtag.Verifier([], audience="")
        self._supervised = supervised
        self.unread = ""
        """Why keys can't be read: what looks like a tag may then be one of ours, and none counts. Empty: they can."""
        self._deny = self._trusts_dark = False
        self._revocations = Revocations(None, self._revoke)

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
        loader.add_option(
            "reamp_trust_dark",
            bool,
            False,
            "Believe the mark of dark copies: this sidecar stands before a service that gets them.",
        )
        loader.add_option(
            "reamp_revoked", str, "", "File with the keys and runs whose load tags count no more. Empty: none are."
        )

    def configure(self, updated: set[str]) -> None:
        """Read the keys again if they may have changed."""
        self._deny = ctx.options.reamp_untrusted == "deny"
        self._trusts_dark = ctx.options.reamp_trust_dark
        path = Path(ctx.options.reamp_revoked) if ctx.options.reamp_revoked else None
        if path != self._revocations.path:
            self._follow(path)
        if {"reamp_public_key", "reamp_audience"} & updated:
            audience, held = ctx.options.reamp_audience, self._revocations.held
            try:
                public = [key for file in ctx.options.reamp_public_key for key in keys.load_public(Path(file))]
                self.verifier, self.unread = loadtag.Verifier(public, audience, held), ""
            except (keys.KeyFileError, OSError, ValueError) as error:
                if not self._supervised:
                    raise exceptions.OptionsError(f"reamp_public_key: {error}") from error
                # A warning: errors are reasons not to start.
                logger.warning("No load tag counts, as public keys can't be read: %s", error)
                self.verifier, self.unread = loadtag.Verifier([], audience, held), str(error) or repr(error)

    def running(self) -> None:
        """Watch the list of revocations from now on."""
        self._revocations.follow()

    def done(self) -> None:
        """Watch it no more."""
        self._revocations.stop()

    def doubt(self) -> str:
        """Say why no load tag counts, whoever signed it; empty: those of known keys do."""
        return self._revocations.trouble

    def _follow(self, path: Path | None) -> None:
        revocations = Revocations(path, self._revoke)
        revocations.begin()
        followed, self._revocations = self._revocations, revocations
        self._revoke(revocations.held)
        if followed.follows:
            followed.stop()
            revocations.follow()

    def _revoke(self, revoked: loadtag.Revoked | None) -> None:
        self.verifier.revoke(revoked)

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
            flow.request.headers.fields = tuple(unmarked(flow.request.headers.fields))

    def _classify(self, flow: http.HTTPFlow) -> None:
        found = headers.find(flow.request.headers.fields)
        self._limit_upgrade(flow.request, tagged=found is not None)
        marks = [value for name, value in flow.request.headers.fields if is_mark(name)]
        believed = self._trusts_dark and found is None and len(marks) == 1
        if marks and not believed:
            flow.request.headers.fields = tuple(unmarked(flow.request.headers.fields))
        if found is None:
            # Nobody waits for a copy: it earns nothing and is neither recorded nor copied again, forged or not.
            odd = marks or (self._tap and _looks_tagged(flow.request))
            flow.metadata[KIND] = Kind.UNTRUSTED.value if odd else "real"
            if marks and self._deny and not believed:
                refuse(flow, 403, "tag", "Mark refused", "The request bears the mark of a dark copy, and is none.")
            return
        tag = self._verified(found.token)
        if found.token and isinstance(tag, loadtag.LoadTag):
            flow.metadata[KIND] = Kind.SYNTHETIC.value
            flow.metadata[RUN] = tag.run_id
            fields = flow.request.headers.fields
            # People read the run's name in a header of its own; the token is what proves it, so the token decides. And
            # whatever takes no more baggage than it has to must not drop the tag: the app would take it for a user.
            if flow.request.headers.get(headers.RUN_HEADER) != tag.run_id or not headers.fits(fields):
                flow.request.headers.fields = tuple(headers.put(fields, found.token, tag.run_id))
            _keep(flow.request)
            return
        flow.metadata[KIND] = Kind.UNTRUSTED.value
        flow.request.headers.fields = tuple(headers.strip(flow.request.headers.fields))
        if self._tap:
            return
        if isinstance(tag, loadtag.TagError) and tag.by_known_key:
            # No real user bears such a thing. Passed on without its tag it would be load that nobody holds back.
            refuse(flow, 403, "tag", "Load tag refused", f"The load tag does not count: {tag}.")
        elif self.unread:
            refuse(flow, 403, "tag", "Load tag refused", "This sidecar can't read its public keys: no load tag counts.")
        elif self._deny:
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

    def _verified(self, token: str | None) -> loadtag.LoadTag | loadtag.TagError | None:
        try:
            return self.verifier.verify(token, time.time()) if token else None
        except loadtag.TagError as error:
            return error


def _looks_tagged(request: http.Request) -> bool:
    """Whether a proxy may have copied this for certain, as it does with what bears a tag, and not by the share.

    It would stand for others that were not there, and they would earn credit.
    """
    key = headers.BAGGAGE_KEY.encode()
    return any(key in value.lower() for name, value in request.headers.fields if name.lower() == b"baggage")


def _keep(request: http.Request) -> None:
    """See to it that no proxy takes the tag away, as it does with what ``Connection`` names (RFC 9110, 7.6.1)."""
    fields = request.headers.fields
    if not any(
        name.lower() == b"connection" and any(ours in value.lower() for ours in _OURS) for name, value in fields
    ):
        return
    kept = []
    for name, value in fields:
        if name.lower() != b"connection":
            kept.append((name, value))
        elif left := [option for option in map(bytes.strip, value.split(b",")) if option.lower() not in _OURS]:
            kept.append((name, b", ".join(left)))
    request.headers.fields = tuple(kept)
