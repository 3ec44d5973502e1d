"""Which endpoints carry the load. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from captures.records import Record

Order = Literal["impact", "count", "time"]

MAX_ENDPOINTS = 10_000
"""Endpoints told apart. A scanner that asks for a million paths must not fill the memory."""

OTHERS = "(others)"

# Numbers, UUIDs, and hexadecimal of eight digits or more that holds at least one number (`deadbeef` is a word).
_ID = re.compile(
    r"\d+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}"
)


def template(path: str) -> str:
    """Give the path without query, with ``{id}`` in place of segments that identify one thing."""
    path = path.partition("?")[0].partition("#")[0]
    return "/".join("{id}" if _ID.fullmatch(part) else part for part in path.split("/"))


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


def endpoints(records: Iterable[Record], by: Order = "impact") -> list[Endpoint]:
    """Add up `records` by endpoint, the heaviest first."""
    found: dict[tuple[str, str], Endpoint] = {}
    for record in records:
        key = (record.method, template(record.path))
        endpoint = found.get(key)
        if endpoint is None:
            if len(found) >= MAX_ENDPOINTS:
                key = (OTHERS, OTHERS)
            endpoint = found.setdefault(key, Endpoint(*key))
        endpoint.count += 1
        if record.status:
            endpoint.answered += 1
            endpoint.total_ns += record.duration_ns
        if not record.status or record.status >= 500:
            endpoint.failed += 1
    weights = {
        "impact": lambda e: (e.total_ns, e.count),
        "count": lambda e: (e.count, e.total_ns),
        "time": lambda e: (e.mean_ns, e.count),
    }
    return sorted(found.values(), key=weights[by], reverse=True)
