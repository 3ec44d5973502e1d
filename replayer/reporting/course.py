"""How a run went over time, for charts: at most `POINTS` points, however long it lasted.

Counts of neighbouring seconds are added up. Percentiles can't be: the histograms of their seconds are merged.
"""

import math
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from replayer.counting.latency import histogram, quantiles
from replayer.counting.series import Second
from replayer.reporting.findings import seconds
from replayer.reporting.histograms import read

POINTS = 600

BANDS = ("p50", "p90", "p99", "p99_9")
COLUMNS = (
    *("at", "sent", "wanted", "real", "ceiling", "failed", "shed", "withheld"),  # seconds, and rates per second
    *("lag", "cpu", "full", "real_p95"),  # the worst second's
    "gain",  # the lowest
)

SHORTEST = 0.2
"""Seconds. Of a shorter rest, rates say nothing."""


class Course:
    """Columns of equal length: one place for each point."""

    def __init__(self, folder: Path) -> None:
        found = sum(1 for _ in seconds(folder))
        self.each = max(1, math.ceil(found / POINTS))
        self.columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *BANDS)}
        self.errors: Counter[str] = Counter()
        """All kinds of failures in the run: errors, and statuses from 500 on as ``5xx``."""
        self.by_error: list[dict[str, float]] = []
        self._starts: list[float] = []
        group: list[Second] = []
        for second in seconds(folder):
            group.append(second)
            if len(group) == self.each:
                self._add(group)
                group = []
        if group:
            self._add(group)
        if self.each > 1:
            self._merge_histograms(folder)

    def data(self) -> dict[str, Any]:
        """Give what charts are drawn from."""
        kinds = [kind for kind, count in self.errors.most_common() if count]
        return {
            **self.columns,
            "errors": {kind: [point.get(kind, 0) for point in self.by_error] for kind in kinds},
            "each": self.each,
        }

    def _add(self, group: list[Second]) -> None:
        start, end = group[0].start, group[-1].end
        span = end - start
        if span < SHORTEST:
            return
        columns = self.columns
        self._starts.append(start)

        def rate(counts: list[int] | list[float]) -> float:
            return round(sum(counts) / span, 3)

        columns["at"].append(round((start + end) / 2, 3))
        columns["sent"].append(rate([second.sent for second in group]))
        columns["wanted"].append(rate([second.wanted for second in group]))
        for name in ("real", "ceiling"):
            known = [value for second in group if (value := getattr(second, name)) is not None]
            columns[name].append(rate(known) if known else None)
        columns["shed"].append(rate([sum(second.shed.values()) for second in group]))
        columns["withheld"].append(rate([sum(second.withheld.values()) for second in group]))
        failures: Counter[str] = Counter()
        for second in group:
            failures.update(second.errors)
            failures["5xx"] += sum(count for status, count in second.statuses.items() if status >= 500)
        self.errors += failures
        self.by_error.append({kind: round(count / span, 3) for kind, count in failures.items()})
        columns["failed"].append(rate(list(failures.values())))
        for name in ("cpu", "full", "real_p95"):
            columns[name].append(_most([getattr(second, name) for second in group]))
        columns["gain"].append(min((second.gain for second in group if second.gain is not None), default=None))
        columns["lag"].append(_most([second.lag.p99 for second in group]))
        for name in BANDS:
            columns[name].append(getattr(group[0].latency, name) if len(group) == 1 else None)

    def _merge_histograms(self, folder: Path) -> None:
        merged: list[HdrHistogram | None] = [None] * len(self.columns["at"])
        for tag, start, values in read(folder):
            place = bisect_right(self._starts, start) - 1
            if tag == "latency" and place >= 0:
                into = merged[place] = merged[place] or histogram()
                into.add(values)
        for place, values in enumerate(merged):
            if values is not None and values.total_count:
                found = quantiles(values)
                for name in BANDS:
                    self.columns[name][place] = getattr(found, name)


def _most(values: list[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
