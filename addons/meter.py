"""Add-on: counts and times requests by kind, and knows what real users get now."""

import time
from bisect import bisect_left
from collections.abc import Iterable

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from addons.passage import REFUSED, Kind, duration, kind_of
from addons.window import SlidingSignal
from rules.units import Duration, UnitError
from rules.wire import Signal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds: the Prometheus defaults, finer below and longer above."""

OUTCOMES = ("1xx", "2xx", "3xx", "4xx", "5xx", "error", "withheld", "denied")
"""What can become of a request: answered by the app (status class), never answered, refused by the guard (no credit
or lever), refused for its tag."""


class _Times:
    """One kind's durations, as Prometheus wants them. Plain integers: a label look-up costs ten times as much."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        cumulative, below = [], 0
        for bound, count in zip([*map(str, BUCKETS), "+Inf"], self.counts, strict=True):
            below += count
            cumulative.append((bound, float(below)))
        return cumulative


class Meter:
    """Counts what passes. It is also a collector for prometheus-client: nothing is computed until somebody asks."""

    def __init__(self) -> None:
        self.arrived = dict.fromkeys(Kind, 0)
        self.real = 0
        """Well-formed real requests since the start: those that earn credit."""
        self.ended = {kind: dict.fromkeys(OUTCOMES, 0) for kind in Kind}
        self._times = {kind: _Times() for kind in Kind}
        self._real = SlidingSignal(10, time.monotonic())

    @property
    def in_flight(self) -> int:
        """Requests being answered, of all kinds."""
        return sum(self.arrived.values()) - sum(sum(outcomes.values()) for outcomes in self.ended.values())

    def signal(self) -> Signal:
        """Tell what real users get now."""
        return self._real.signal(time.monotonic())

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_window", str, "10s", "How far the signal of real users looks back (whole seconds).")

    def configure(self, updated: set[str]) -> None:
        """Start the window anew when its length changes."""
        if "reamp_window" in updated:
            try:
                seconds = Duration.parse(ctx.options.reamp_window)
            except UnitError as error:
                raise exceptions.OptionsError(f"reamp_window: {error}") from error
            if not 1 <= seconds <= 600:
                raise exceptions.OptionsError("reamp_window: has to be between 1s and 10m")
            if round(seconds) != self._real.seconds:
                self._real = SlidingSignal(round(seconds), time.monotonic())

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Count the arrival."""
        kind = kind_of(flow)
        self.arrived[kind] += 1
        if kind is Kind.REAL:
            self._real.arrived(time.monotonic())
            self.real += flow.error is None

    def response(self, flow: http.HTTPFlow) -> None:
        """Count an answer, by whom it was given."""
        kind = kind_of(flow)
        if self._was_refused(flow, kind):
            return
        status = flow.response.status_code if flow.response else 500
        self.ended[kind][f"{min(max(status // 100, 1), 5)}xx"] += 1
        seconds = duration(flow)
        if seconds is not None:
            self._times[kind].add(seconds)
        if kind is Kind.REAL:
            self._real.finished(time.monotonic(), seconds, status >= 500)

    def error(self, flow: http.HTTPFlow) -> None:
        """Count a request that was never (wholly) answered."""
        kind = kind_of(flow)
        if self._was_refused(flow, kind):
            return
        self.ended[kind]["error"] += 1
        if kind is Kind.REAL:
            self._real.finished(time.monotonic(), None, error=True)

    def _was_refused(self, flow: http.HTTPFlow, kind: Kind) -> bool:
        """Count what the sidecar itself refused, whether it answered that or closed the connection."""
        reason = flow.metadata.get(REFUSED)
        if reason is not None:
            self.ended[kind]["denied" if reason == "tag" else "withheld"] += 1
        return reason is not None

    def collect(self) -> Iterable[Metric]:
        """Give the metrics to prometheus-client."""
        requests = CounterMetricFamily(
            "reamp_requests", "Requests by kind and by what became of them.", labels=["kind", "outcome"]
        )
        flight = GaugeMetricFamily("reamp_requests_in_flight", "Requests being answered.", labels=["kind"])
        times = HistogramMetricFamily(
            "reamp_request_duration_seconds", "First byte of the request to end of its answer.", labels=["kind"]
        )
        for kind in Kind:
            for outcome, count in self.ended[kind].items():
                requests.add_metric([kind, outcome], count)
            flight.add_metric([kind], self.arrived[kind] - sum(self.ended[kind].values()))
            times.add_metric([kind], self._times[kind].buckets(), self._times[kind].total)
        return [requests, flight, times]
