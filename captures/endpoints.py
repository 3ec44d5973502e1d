"""Which endpoints carry the load. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from captures.records import Record
from captures.templates import generalised, template

Order = Literal["impact", "count", "time"]

MAX_ENDPOINTS = 10_000
"""Endpoints told apart. A scanner that asks for a million paths must not fill the memory."""

OTHERS = "(others)"

_METHOD = 20  # characters of a method that are kept


@dataclass(slots=True)
class Endpoint:
    """What requests to one endpoint added up to."""

    method: str
    path: str
    count: int = 0
    answered: int = 0
    failed: int = 0
    """Answered with 5xx, or not at all."""
    total_ns: int = 0
    """Sum of the durations of answered requests: count x mean, the endpoint's impact."""

    @property
    def mean_ns(self) -> float:
        """Mean duration of an answered request; 0 without any."""
        return self.total_ns / self.answered if self.answered else 0.0

    def add(self, other: "Endpoint") -> None:
        """Take in what another one added up to."""
        self.count += other.count
        self.answered += other.answered
        self.failed += other.failed
        self.total_ns += other.total_ns


def endpoints(records: Iterable[Record], by: Order = "impact") -> list[Endpoint]:
    """Add up `records` by endpoint, the heaviest first. Of more endpoints than `MAX_ENDPOINTS` the rest is one."""
    found: dict[tuple[str, str], Endpoint] = {}
    full = False
    for record in records:
        key = (record.method, template(record.path))
        endpoint = found.get(key)
        if endpoint is None:
            if len(found) >= MAX_ENDPOINTS and not full:
                found = _generalised(found, pressed=True)
                full = len(found) > MAX_ENDPOINTS // 2  # it would not pay to try again soon
            if len(found) >= MAX_ENDPOINTS:
                key = (OTHERS, OTHERS)
            key = (key[0][:_METHOD], key[1])
            endpoint = found.setdefault(key, Endpoint(*key))
        endpoint.count += 1
        if record.status:
            endpoint.answered += 1
            endpoint.total_ns += record.duration_ns
        elif not record.unknown:
            endpoint.failed += 1
        if record.status >= 500:
            endpoint.failed += 1
    weights = {
        "impact": lambda e: (e.total_ns, e.count),
        "count": lambda e: (e.count, e.total_ns),
        "time": lambda e: (e.mean_ns, e.count),
    }
    return sorted(_generalised(found).values(), key=weights[by], reverse=True)


def _generalised(found: dict[tuple[str, str], Endpoint], *, pressed: bool = False) -> dict[tuple[str, str], Endpoint]:
    """Make one of the endpoints whose paths differ only in words that stand for things."""
    changes = generalised(((e.method, e.path, e.count) for e in found.values() if e.path != OTHERS), pressed)
    if not changes:
        return found
    fewer: dict[tuple[str, str], Endpoint] = {}
    for (method, path), endpoint in found.items():
        key = (method, changes.get((method, path), path))
        fewer.setdefault(key, Endpoint(*key)).add(endpoint)
    return fewer
