"""The sidecar's metrics, summed over all workers, for prometheus-client.

This takes the place of that library's multi-process mode, which keeps a file for each process and metric, can't say
what belongs together, and has to be cleaned up after processes that died. Here the counters are in shared memory
anyway: nothing is computed until somebody asks, a dead worker's counts stay in its row, and no total goes down.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from addons import reckoning
from addons.books import BOUNDS, KINDS, Books
from addons.credit import Credit
from addons.processes.aide import Annex
from rules.units import MILLION
from rules.wire import Judged, Worker, WorkerState


class Exposition:
    """A collector: register it with a registry."""

    def __init__(
        self,
        books: Books,
        workers: Callable[[], Iterable[Worker]] | None = None,
        rules: Callable[[], Iterable[Judged]] = list,
        annexes: Sequence[Annex] = (),
        doubt: Callable[[], str] = str,
    ) -> None:
        """`workers` tells who carries the traffic, if somebody knows better than the books; `rules` how they stand.

        `doubt` says why no load tag counts, if none does.
        """
        self._doubt = doubt
        self._annexes = annexes
        self._rules = rules
        self._books = books
        self._tell_workers = workers or (lambda: reckoning.workers(books.rows))
        self._credit = Credit(books)

    def collect(self) -> Iterable[Metric]:
        """Give all metrics as they stand."""
        beside = [metric for annex in self._annexes for metric in annex.metrics()]
        ours = [*self._traffic(), *self._tap(), *self._ceiling(), *self._slo(), *self._capture(), *self._workers()]
        return [*ours, *beside]

    def _traffic(self) -> list[Metric]:
        rows = self._books.rows
        # The gauge first: what ends meanwhile is then in both, and not in none.
        flying, tallies, times = reckoning.in_flight(rows), reckoning.requests(rows), reckoning.durations(rows)
        requests = CounterMetricFamily(
            "reamp_requests", "Requests by kind and by what became of them.", labels=["kind", "outcome"]
        )
        flight = GaugeMetricFamily("reamp_requests_in_flight", "Requests being answered.", labels=["kind"])
        seconds = HistogramMetricFamily(
            "reamp_request_duration_seconds", "First byte of the request to end of its answer.", labels=["kind"]
        )
        for kind in KINDS:
            for outcome, count in tallies[kind].items():
                requests.add_metric([kind, outcome], count)
            flight.add_metric([kind], flying[kind])
            counts, total = times[kind]
            seconds.add_metric([kind], _cumulative(counts), total)
        return [requests, flight, seconds]

    def _tap(self) -> list[Metric]:
        shared = self._books.shared
        if not shared.tap:
            return []
        # What is counted by kind are copies, each once: these two say for how many requests they stand.
        return [
            GaugeMetricFamily(
                "reamp_tap_share", "Share of the real requests that is copied to this tap.", shared.tap / MILLION
            ),
            CounterMetricFamily(
                "reamp_tap_real_requests",
                "Real requests that the copies stand for.",
                reckoning.real(self._books.rows, shared.share),
            ),
        ]

    def _ceiling(self) -> list[Metric]:
        shared = self._books.shared
        credit = 0.0 if shared.engaged else self._credit.balance()
        return [
            GaugeMetricFamily("reamp_credit_balance", "Synthetic requests that could pass now.", credit),
            GaugeMetricFamily(
                "reamp_ceiling_ratio", "Most synthetic traffic allowed, per real request.", shared.ratio / 1e6
            ),
            GaugeMetricFamily("reamp_lever_engaged", "1 if all synthetic traffic is stopped.", shared.engaged),
            GaugeMetricFamily(
                "reamp_tags_in_doubt",
                "1 while no load tag counts, since keys or the list of revocations can't be read.",
                bool(self._doubt()),
            ),
        ]

    def _slo(self) -> list[Metric]:
        breached = GaugeMetricFamily(
            "reamp_slo_breached", "1 while a rule of the owner is breached under synthetic load.", labels=["rule"]
        )
        value = GaugeMetricFamily(
            "reamp_slo_value", "What a rule measures: seconds, a ratio or requests per second.", labels=["rule"]
        )
        for judged in self._rules():
            breached.add_metric([judged.rule], judged.state == "breached")
            value.add_metric([judged.rule], math.nan if judged.value is None else judged.value)
        return [breached, value]

    def _workers(self) -> list[Metric]:
        workers = list(self._tell_workers())
        states = GaugeMetricFamily("reamp_workers", "Processes that carry the traffic.", labels=["state"])
        for state in get_args(WorkerState):
            states.add_metric([state], sum(worker.state == state for worker in workers))
        restarts = sum(worker.restarts for worker in workers)
        return [states, CounterMetricFamily("reamp_worker_restarts", "Workers that died and were replaced.", restarts)]

    def _capture(self) -> list[Metric]:
        accounting = reckoning.accounting(self._books.rows).model_dump()
        seen, pending = accounting.pop("seen"), accounting.pop("pending")
        records = CounterMetricFamily(
            "reamp_capture_records",
            "Where requests went. With what is pending, the sum is what was seen.",
            labels=["outcome"],
        )
        for outcome, count in accounting.items():
            records.add_metric([outcome], count)
        rows = self._books.rows
        written, (segments, size) = reckoning.bytes_written(rows), reckoning.removed(rows)
        healthy = reckoning.capturing(rows, time.monotonic_ns())
        return [
            CounterMetricFamily("reamp_capture_seen", "Requests that arrived.", seen),
            records,
            GaugeMetricFamily("reamp_capture_pending", "Requests being answered or waiting for the disk.", pending),
            CounterMetricFamily("reamp_capture_bytes", "Bytes written to the capture log.", written),
            CounterMetricFamily(
                "reamp_capture_removed_segments", "Old segments removed to keep within limits.", segments
            ),
            CounterMetricFamily("reamp_capture_removed_bytes", "Bytes of these segments.", size),
            CounterMetricFamily(
                "reamp_capture_withheld_bodies",
                "Bodies not kept, because they could not be searched for secrets. The requests are recorded.",
                reckoning.withheld_bodies(rows),
            ),
            GaugeMetricFamily(
                "reamp_capture_healthy",
                "1 while all that is recorded reaches the disk; 0 if nothing is recorded.",
                healthy,
            ),
        ]


def _cumulative(counts: Iterable[int]) -> list[tuple[str, float]]:
    cumulative, below = [], 0
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        below += count
        cumulative.append((bound, float(below)))
    return cumulative
