"""Add-on: the ceiling. Real requests earn credit; a synthetic one spends a whole credit or is refused."""

import time

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons.books import Books, Row
from addons.credit import Credit
from addons.glance import WITHHELD, glance
from addons.passage import EXCESS, KIND, REFUSED
from addons.refusal import refuse
from rules.units import Share, UnitError
from rules.wire import WITHHELD_HEADER


class Guard:
    """Decides about every synthetic request, whoever sent it. It is the authority; replayers help to keep to it."""

    def __init__(self, books: Books, row: Row) -> None:
        self.books = books
        self.bucket = Credit(books, row)
        self.orphaned = False
        """Set when the process that serves the control port is gone: with nobody to pull the lever, nothing passes."""
        if books.exclusive:
            self.bucket.set_ratio(Share.parse("25%"))

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option(
            "reamp_max_extra", str, "25%", "The ceiling: most synthetic traffic allowed, as a share of real traffic."
        )

    def configure(self, updated: set[str]) -> None:
        """Take over the ceiling. A worker of several does not: theirs is in the books, the same for all."""
        if "reamp_max_extra" in updated:
            try:
                ratio = Share.parse(ctx.options.reamp_max_extra)
            except UnitError as error:
                raise exceptions.OptionsError(f"reamp_max_extra: {error}") from error
            if self.books.exclusive:
                self.bucket.set_ratio(ratio)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Let credit in or take it."""
        kind = flow.metadata.get(KIND)
        if kind == "real":
            if flow.error is None:  # what is malformed never reaches the app, and earns nothing
                self.bucket.earn()
        elif kind == "synthetic":
            self._decide(flow)

    def request(self, flow: http.HTTPFlow) -> None:
        """Look at the lever again when the body has come, which may have taken its time: the app has seen nothing yet.

        (It has, of one that is passed on as it comes.)
        """
        if self.books.shared.engaged and flow.metadata.get(KIND) == "synthetic" and not self.books.shared.tap:
            untouched = flow.response is None and flow.error is None and not flow.request.stream
            if untouched:
                self._stop(flow)

    def _stop(self, flow: http.HTTPFlow) -> None:
        reason = self.books.shared.reason or "no reason given"
        refuse(flow, 503, "lever", "Load test stopped", f"The lever is pulled: {reason}")

    def _decide(self, flow: http.HTTPFlow) -> None:
        shared = self.books.shared
        if shared.tap:
            # The request itself is with the app already. What nobody has let pass can only be counted.
            if shared.engaged or not shared.watched(time.monotonic_ns()) or not self.bucket.spend():
                flow.metadata[REFUSED] = EXCESS
        elif shared.engaged:
            self._stop(flow)
        elif self.orphaned or not shared.watched(time.monotonic_ns()):
            detail = "The process that watches over this sidecar is gone or hangs, so no synthetic traffic passes."
            refuse(flow, 429, "credit", "No credit for synthetic traffic", detail)
        elif not self.bucket.spend():
            detail = f"Synthetic traffic has reached its ceiling, {Share(shared.ratio)} of current real traffic."
            refuse(flow, 429, "credit", "No credit for synthetic traffic", detail)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Keep the mark of a refusal for our own: an app that sets it would have its errors overlooked."""
        response = flow.response
        if response and glance(response.data.headers.fields)[0] & WITHHELD and REFUSED not in flow.metadata:
            del response.headers[WITHHELD_HEADER]

    def credit(self) -> float:
        """Tell how many synthetic requests could pass now."""
        return 0.0 if self.books.shared.engaged or self.orphaned else self.bucket.balance()
