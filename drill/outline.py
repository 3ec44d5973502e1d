"""What is in an incident, in figures, for people and programs. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, Field

from captures.distribution import Distribution, Quantiles
from captures.endpoints import endpoints
from captures.moments import iso
from captures.records import Record
from drill.sources.course import Course
from drill.story import Outside, Story

_PARTS = 120
"""Parts of the time in the picture of it."""


class Peak(BaseModel):
    """The interval with most requests."""

    at: str
    seconds: float = Field(description="width of the interval: a second, or the grain of the source")
    per_second: float


class Route(BaseModel):
    """What requests to one route add up to. Times are seconds; null: nobody knows."""

    method: str
    path: str
    count: int
    share: float
    mean: float | None
    failed: float | None = Field(description="share without an answer, or with one of 5xx")


class Picture(BaseModel):
    """Counts over time, in equal parts."""

    seconds: float = Field(description="width of a part")
    requests: list[int]
    failed: list[int] | None


class Outline(BaseModel):
    """An incident in figures. Times are seconds; null: nobody knows."""

    source: str
    told: str
    begin: str
    end: str = Field(description="exclusive")
    seconds: float
    times: str = Field(description="'kept' as they were, or 'drawn' from rates")
    grain: float | None
    outcomes: str = Field(description="known of each record ('records'), by route ('routes'), or not at all ('none')")
    requests: int
    per_second: float
    peak: Peak
    failed: float | None = Field(description="share without an answer, or with one of 5xx")
    statuses: dict[str, int] = Field(description="answers by class; 'none': there was no answer")
    latency: Quantiles | None = Field(description="of answered requests")
    routes: list[Route] = Field(description="most requests first")
    routes_known: int
    picture: Picture
    outside: Outside | None
    notes: list[str]


def outline(story: Story, records: Iterable[Record], most: int = 20) -> Outline:
    """Sum up an incident, with at most so many of its routes. `records` are all of it, by arrival."""
    span_ns = story.end_ns - story.begin_ns
    fine = Course(story.begin_ns, story.end_ns, round(max(1.0, story.grain or 0) * 1e9))
    picture = Course(story.begin_ns, story.end_ns, -(-span_ns // _PARTS))
    statuses: Counter[str] = Counter()
    took = Distribution()
    timed = 0

    def counted() -> Iterator[Record]:
        nonlocal timed
        for record in records:
            fine.add(record)
            picture.add(record)
            if not record.unknown:
                statuses[_class(record.status)] += 1
            if record.status:
                took.add(record.duration_ns // 1000)
                timed += record.duration_ns > 0
            yield record

    found = endpoints(counted(), "count")
    count = sum(fine.requests)
    highest = max(range(len(fine.requests)), key=fine.requests.__getitem__)
    by_record = story.outcomes == "records"
    told = {(route.method, route.template): route for route in story.routes}
    routes = []
    for one in found[:most]:
        known = told.get((one.method, one.path))
        mean, bad = (one.mean_ns / 1e9 if timed else None, one.failed / one.count) if by_record else (None, None)
        if known is not None:
            mean, bad = known.mean, known.failed
        routes.append(
            Route(method=one.method, path=one.path, count=one.count, share=one.count / count, mean=mean, failed=bad)
        )
    shown = dict(statuses) if by_record else story.statuses
    answered = sum(shown.values())
    bad_ones = sum(shown.get(name, 0) for name in ("5XX", "none"))
    return Outline(
        source=story.source,
        told=story.told,
        begin=iso(story.begin_ns),
        end=iso(story.end_ns),
        seconds=story.seconds,
        times=story.times,
        grain=story.grain,
        outcomes=story.outcomes,
        requests=count,
        per_second=count / story.seconds,
        peak=Peak(
            at=iso(fine.begin_ns + highest * fine.width_ns),
            seconds=min(fine.width_ns, span_ns) / 1e9,
            per_second=fine.requests[highest] / (min(fine.width_ns, span_ns) / 1e9),
        ),
        failed=bad_ones / answered if answered else None,
        statuses=dict(sorted(shown.items())),
        latency=took.quantiles(scale=1e-6) if timed and by_record else None,
        routes=routes,
        routes_known=len(found),
        picture=Picture(
            seconds=picture.width_ns / 1e9, requests=picture.requests, failed=picture.failed if by_record else None
        ),
        outside=story.outside,
        notes=list(story.notes),
    )


def _class(status: int) -> str:
    if not status:
        return "none"
    return f"{status // 100}XX" if 100 <= status <= 599 else "other"
