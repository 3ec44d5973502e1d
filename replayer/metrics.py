"""Prometheus metrics of a run, counted when they are asked for. Edge: serves them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from replayer.counting.accounts import Accounts, outcomes
from replayer.counting.latency import BUCKETS, Recorder
from replayer.safety.loop import Loop
from rules.exits import UserError
from rules.units import MILLION, UnitError, parse_address


class RunCollector(Collector):
    """Reads a run's counts. Called from another thread, which sees each number whole."""

    def __init__(
        self, accounts: Callable[[], Accounts], latency: Recorder, lag: Recorder, loop: Loop | None = None
    ) -> None:
        self._loop = loop
        self._accounts = accounts
        self._latency = latency
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        """Give the metrics to prometheus-client."""
        accounts = self._accounts()
        requests = CounterMetricFamily("reamp_replay_requests", "Requests sent, by outcome.", labels=["outcome"])
        for outcome, count in outcomes(accounts).items():
            requests.add_metric([outcome], count)
        shed = CounterMetricFamily("reamp_replay_shed", "Requests wanted and not sent, by reason.", labels=["reason"])
        for reason, count in dict(accounts.shed).items():
            shed.add_metric([reason], count)
        return [
            requests,
            shed,
            _histogram("reamp_replay_latency_seconds", "From the intended send time to the last byte.", self._latency),
            _histogram("reamp_replay_lag_seconds", "From the intended to the actual send time.", self._lag),
            *self._safety(),
        ]

    def _safety(self) -> Iterable[Metric]:
        value = self._loop.gain.value / MILLION if self._loop is not None else 1.0
        yield GaugeMetricFamily("reamp_replay_gain", "Share of the demand that back-off leaves.", value)
        breached = GaugeMetricFamily("reamp_slo_breached", "1 while a rule of the run is breached.", labels=["rule"])
        found = {str(rule): broken for rule, broken in self._loop.breached} if self._loop is not None else {}
        for rule, broken in found.items():
            breached.add_metric([rule], broken)
        yield breached


def _histogram(name: str, text: str, recorder: Recorder) -> HistogramMetricFamily:
    bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
    buckets = list(zip(bounds, accumulate(list(recorder.buckets)), strict=True))
    return HistogramMetricFamily(name, text, buckets, recorder.sum / 1e6)


@contextmanager
def serving(address: str | None) -> Iterator[CollectorRegistry]:
    """Serve what is registered at HOST:PORT while in the context; None: serve nothing. Raises UserError."""
    registry = CollectorRegistry()
    if address is None:
        yield registry
        return
    try:
        host, port = parse_address(address)
        server, thread = start_http_server(port, host or "127.0.0.1", registry)
    except UnitError as error:
        raise UserError(f"--metrics: {error}") from None
    except OSError as error:
        raise UserError(f"--metrics {address}: {error.strerror or error}") from None
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
