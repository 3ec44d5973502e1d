"""Add-on: the ceiling. Real requests earn credit; a synthetic one spends a whole credit or is refused."""

import time
from collections.abc import Iterable
from pathlib import Path

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from prometheus_client.core import GaugeMetricFamily, Metric

from addons.granting import Granter
from addons.lever import LatchingLever
from addons.meter import Meter
from addons.passage import REFUSED, Kind, kind_of
from addons.refusal import refuse
from rules.credit import Bucket
from rules.units import Share, UnitError
from rules.wire import WITHHELD_HEADER


class Guard:
    """Decides about every synthetic request, whoever sent it. It is the authority; replayers help to keep to it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.max_extra = Share.parse("25%")
        self.bucket = Bucket()
        self.granter = Granter(self.max_extra)
        self.lever = LatchingLever()

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option(
            "reamp_max_extra", str, "25%", "The ceiling: most synthetic traffic allowed, as a share of real traffic."
        )
        loader.add_option(
            "reamp_lever", str, ".reamp/lever.json", "File that remembers the lever over a restart. Empty: none does."
        )

    def configure(self, updated: set[str]) -> None:
        """Take over the ceiling and find the lever as it was left."""
        if "reamp_max_extra" in updated:
            try:
                self.max_extra = Share.parse(ctx.options.reamp_max_extra)
            except UnitError as error:
                raise exceptions.OptionsError(f"reamp_max_extra: {error}") from error
            self.granter.max_extra = self.max_extra
        if "reamp_lever" in updated:
            self.lever = LatchingLever(Path(ctx.options.reamp_lever) if ctx.options.reamp_lever else None)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Let credit in or take it."""
        kind = kind_of(flow)
        if kind is Kind.REAL and flow.error is None:  # what is malformed never reaches the app, and earns nothing
            self.bucket.earn(self.max_extra, time.monotonic_ns())
        elif kind is Kind.SYNTHETIC:
            if self.lever.engaged:
                reason = self.lever.state.reason or "no reason given"
                refuse(flow, 503, "lever", "Load test stopped", f"The lever is pulled: {reason}")
            elif not self.bucket.spend(time.monotonic_ns()):
                detail = f"Synthetic traffic has reached its ceiling, {self.max_extra} of current real traffic."
                refuse(flow, 429, "credit", "No credit for synthetic traffic", detail)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Keep the mark of a refusal for our own: an app that sets it would have its errors overlooked."""
        if flow.response and REFUSED not in flow.metadata:
            flow.response.headers.pop(WITHHELD_HEADER, None)

    def credit(self) -> float:
        """Tell how many synthetic requests could pass now."""
        return 0.0 if self.lever.engaged else self.bucket.balance(time.monotonic_ns())

    def collect(self) -> Iterable[Metric]:
        """Give the metrics to prometheus-client."""
        return [
            GaugeMetricFamily("reamp_credit_balance", "Synthetic requests that could pass now.", self.credit()),
            GaugeMetricFamily(
                "reamp_ceiling_ratio", "Most synthetic traffic allowed, per real request.", self.max_extra / 1e6
            ),
            GaugeMetricFamily("reamp_lever_engaged", "1 if all synthetic traffic is stopped.", int(self.lever.engaged)),
        ]
