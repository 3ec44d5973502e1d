"""Upsun's observability JSON of any capture: what its API would have told of the same traffic.

The shapes are those of the public OpenAPI description of Upsun's API (schemas `http_metrics_overview` and
`http_metrics_timeline_urls`): times in milliseconds, sizes in bytes, timestamps at the beginning of a grain, unix
seconds. URLs are without their queries. The grain's `codes` count all requests; its `urls` those of the top ones.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from captures.moments import SECOND
from captures.records import Record

MOST_URLS = 100
"""More top URLs than that the API does not give."""

MOST_HITS = 15
"""URLs of which the breakdown has a timeline."""

CLASSES = ("UNKNOWN", "1XX", "2XX", "3XX", "4XX", "5XX")


def overview(records: Iterable[Record], *, grain: int = 60, top: int = MOST_URLS) -> dict[str, Any]:
    """Give what `/observability/http-metrics/overview` answers: the `top` URLs by impact, `grain` in seconds."""
    told = _Told(records, grain)
    keys = told.keys()[:top]
    return {
        **told.head(),
        "_top_urls_count": top,
        "data": {"urls": {key: told.figures(key) for key in keys}, "timelines": told.timelines(keys)},
    }


def breakdown(
    records: Iterable[Record], *, grain: int = 60, limit: int = 200, top_hits: int = MOST_HITS
) -> dict[str, Any]:
    """Give what `/observability/http/breakdown/urls` answers: `limit` URLs, the first `top_hits` with timelines."""
    told = _Told(records, grain)
    keys = told.keys()[:limit]
    hits = keys[:top_hits]
    return {
        **told.head(),
        "_breakdown_limit": limit,
        "_breakdown_top_hits": {"max_quantity": top_hits, "max_percentage": 1.0},
        "breakdown": {
            "kind": "url",
            "total": len(told.keys()),
            "data": [{**told.figures(key), "top_hit": key in hits} for key in keys],
        },
        "top_hits_timeline": {
            "data": [
                {**one, "total_count": told.count(one["timestamp"]), "total_consumed": told.busy(one["timestamp"])}
                for one in told.timelines(hits)
            ],
        },
        "filters": {"fields": {}},
    }


def key_of(record: Record) -> str:
    """Give the name under which a request is counted: ``GET-https://shop.example/item/7``."""
    return f"{record.method}-{record.scheme}://{record.authority}{record.path.partition('?')[0]}"


class _Told:
    """Requests by URL and by grain."""

    def __init__(self, records: Iterable[Record], grain: int) -> None:
        self._grain = grain
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self._moments: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._codes: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self._sizes: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for record in records:
            at = record.arrival_ns // SECOND // grain * grain
            taken, key = record.duration_ns / 1e6, key_of(record)
            self._durations[key].append(taken)
            self._moments[at][key].append(taken)
            self._codes[at][f"{record.status // 100}XX" if record.status else "UNKNOWN"] += 1
            self._sizes[at][0] += record.body_size
            self._sizes[at][1] += record.response_size
        for durations in self._durations.values():
            durations.sort()

    def head(self) -> dict[str, Any]:
        """Tell what all answers begin with."""
        return {
            "_grain": self._grain,
            "_from": min(self._moments),
            "_to": max(self._moments) + self._grain,
            "_project_id": "abcdefgh1234567",
            "_environment_id": "main",
            "_environment_type": "production",
            "_branch_machine_name": "main-bvxea6i",
        }

    def keys(self) -> list[str]:
        """Name the URLs, most impact first."""
        return sorted(self._durations, key=lambda key: (-sum(self._durations[key]), key))

    def figures(self, key: str) -> dict[str, Any]:
        """Tell of one URL."""
        method, _, url = key.partition("-")
        durations = self._durations[key]
        return {
            "url": url,
            "method": method,
            "impact": sum(durations),
            "average": sum(durations) / len(durations),
            "p_50": _quantile(durations, 0.5),
            "p_96": _quantile(durations, 0.96),
            "count": len(durations),
        }

    def timelines(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Tell of each grain, those without a request too."""
        return [self._moment(at, keys) for at in range(min(self._moments), max(self._moments) + 1, self._grain)]

    def _moment(self, at: int, keys: Sequence[str]) -> dict[str, Any]:
        here: Mapping[str, list[float]] = self._moments.get(at, {})
        return {
            "timestamp": at,
            "request_size": self._sizes[at][0],
            "response_size": self._sizes[at][1],
            "urls": {key: {"count": len(here[key]), "impact": sum(here[key])} for key in keys if key in here},
            "codes": {name: self._codes[at][name] for name in CLASSES},
        }

    def count(self, at: int) -> int:
        """Count the requests of a grain."""
        return sum(map(len, self._moments.get(at, {}).values()))

    def busy(self, at: int) -> float:
        """Add up the response times of a grain, milliseconds."""
        return sum(map(sum, self._moments.get(at, {}).values()))


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
