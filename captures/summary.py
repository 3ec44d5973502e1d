"""What a capture holds, in figures: one pass over its records, in bounded memory. Pure."""

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, Field

from captures.bursts import Bursts, Rate, Window
from captures.distribution import Distribution, Quantiles
from captures.records import Record
from captures.sessions import SessionCounter, Sessions

OTHERS = "(others)"

_KINDS = 64
"""Different methods, hosts and so on that are told apart: what strangers make up must not fill the memory."""

_SHORT = 100  # characters


class Summary(BaseModel):
    """Traffic in figures. Times are seconds, sizes bytes."""

    records: int = 0
    first_ns: int | None = Field(None, description="earliest arrival")
    last_ns: int | None = Field(None, description="latest arrival")
    per_second: float | None = Field(None, description="mean rate; null: it all came within a second")
    rate: Rate
    bursts: list[Window] = Field(description="how evenly requests came, in windows of four widths")
    methods: dict[str, int]
    statuses: dict[str, int] = Field(description="'none': there was no answer; 'unknown': nobody knows")
    hosts: dict[str, int]
    versions: dict[str, int]
    request_bytes: Quantiles = Field(description="body, as sent")
    response_bytes: Quantiles = Field(description="body of the answer")
    first_byte_seconds: Quantiles = Field(description="of answered requests")
    seconds: Quantiles = Field(description="of answered requests, to the end of the answer")
    cut_bodies: int = Field(0, description="requests of whose body only a part was kept")
    sessions: Sessions


def summarise(records: Iterable[Record]) -> Summary:
    """Sum up `records`, which come sorted by arrival."""
    bursts, sessions = Bursts(), SessionCounter()
    sent, answered, first_byte, took = (Distribution() for _ in range(4))
    methods, statuses, hosts, versions = (Counter[str]() for _ in range(4))
    number = cut = 0
    for record in records:
        number += 1
        bursts.add(record.arrival_ns)
        sessions.add(record.headers, record.arrival_ns)
        _count(methods, record.method)
        _count(hosts, record.authority)
        _count(versions, record.http_version)
        sent.add(record.body_size)
        cut += record.body_size > len(record.body)
        if record.status:
            _count(statuses, str(record.status) if 100 <= record.status <= 599 else OTHERS)
            answered.add(record.response_size)
            first_byte.add(record.ttfb_ns // 1000)
            took.add(record.duration_ns // 1000)
        else:
            statuses["unknown" if record.unknown else "none"] += 1
    windows, rate = bursts.result()
    first, last = bursts.first_ns, bursts.last_ns
    span = (last - first) / 1e9 if first is not None else 0
    return Summary(
        records=number,
        first_ns=first,
        last_ns=last if first is not None else None,
        per_second=number / span if span >= 1 else None,
        rate=rate,
        bursts=windows,
        methods=dict(methods.most_common()),
        statuses=dict(sorted(statuses.items())),
        hosts=dict(hosts.most_common()),
        versions=dict(versions.most_common()),
        request_bytes=sent.quantiles(),
        response_bytes=answered.quantiles(),
        first_byte_seconds=first_byte.quantiles(scale=1e-6),
        seconds=took.quantiles(scale=1e-6),
        cut_bodies=cut,
        sessions=sessions.result(),
    )


def _count(counter: Counter[str], name: str) -> None:
    name = name[:_SHORT]
    counter[name if name in counter or len(counter) < _KINDS else OTHERS] += 1
