"""The incident's own figures, by route and overall: from its records, or as its source told them. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from captures.records import Record
from drill.judging.evidence import BLOCKS, Blocks, Past, Point, Told, interval_of
from drill.judging.verdict import Known
from drill.story import Story
from replayer.comparing.comparison import Block
from replayer.comparing.routes import Name, Routes, rounded
from replayer.counting.latency import quantiles_of, rank
from replayer.requests.encoding import AS_RECORDED
from replayer.requests.rewriting import Rewriting


class _Gathered:
    """Counts of one route, while records are read."""

    def __init__(self) -> None:
        self.count = 0
        self.times: list[Counter[int]] = [Counter() for _ in range(BLOCKS)]
        self.known = [0] * BLOCKS
        self.failed = [0] * BLOCKS
        self.total_ns = 0
        self.turned: Counter[int] = Counter()

    def blocks(self) -> Blocks:
        found = zip(self.times, self.known, self.failed, strict=True)
        return tuple(Block(dict(times), known, failed) for times, known, failed in found)


def past(
    story: Story, records: Iterable[Record], rewriting: Rewriting = AS_RECORDED
) -> tuple[dict[Name, Past], tuple[Point, ...]]:
    """Add an incident up: by route, under the names that paths show by themselves, and over time.

    Paths are those that are sent in a drill, so that a route has one name then and now. A duration of 0 is one that
    nobody knows, as in an access log without times.
    """
    seconds = story.seconds
    interval = interval_of(seconds)
    routes = Routes()
    gathered: list[_Gathered] = []
    number_of = max(1, -int(-seconds // interval))
    requests, done, failures = ([0] * number_of for _ in range(3))
    times: list[Counter[int]] = [Counter() for _ in range(number_of)]
    tells = story.outcomes == "records"
    length = max(1, story.end_ns - story.begin_ns)
    for record in records:
        number = routes.number(record.method, _sent(record.path, rewriting))
        if number == len(gathered):
            gathered.append(_Gathered())
        into = gathered[number]
        into.count += 1
        since = record.arrival_ns - story.begin_ns
        point = min(number_of - 1, max(0, int(since / 1e9 / interval)))
        requests[point] += 1
        if not tells or record.unknown:
            continue
        place = min(BLOCKS - 1, max(0, since * BLOCKS // length))
        failed = record.status == 0 or record.status >= 500
        into.known[place] += 1
        into.failed[place] += failed
        if 400 <= record.status < 500:
            into.turned[record.status] += 1
        done[point] += 1
        failures[point] += failed
        if record.duration_ns > 0:
            into.total_ns += record.duration_ns
            if record.status:
                micros = rounded(record.duration_ns // 1000)
                into.times[place][micros] += 1
                times[point][micros] += 1
    points = tuple(
        Point(requests[each], failures[each], done[each], p95(times[each]), interval) for each in range(number_of)
    )
    names = [(route.method, route.template) for route in routes.all]
    timed = any(each.total_ns for each in gathered)
    found = {
        name: Past(each.count, each.blocks(), each.total_ns / 1e9 if timed else None, turned=each.turned)
        for name, each in zip(names, gathered, strict=True)
    }
    return _with_told(found, story, rewriting), points


def _sent(path: str, rewriting: Rewriting) -> str:
    """Give what is sent in the place of a path; itself, if it is not sent."""
    return (rewriting.path(path) or path) if rewriting.paths else path


def _with_told(found: dict[Name, Past], story: Story, rewriting: Rewriting) -> dict[Name, Past]:
    """Add what a source tells of routes only."""
    if story.outcomes != "routes":
        return found
    for route in story.routes:
        name = (route.method, _sent(route.template, rewriting))
        counted = found.get(name)
        found[name] = Past(
            counted.count if counted else 0,
            time=None if route.mean is None else route.mean * route.count,
            told=Told(route.failed, route.mean, route.quantiles),
        )
    return found


def known(past: Past, story: Story, requests: int) -> Known:
    """Give the figures of one route of an incident."""
    share = past.count / requests if requests else 0.0
    rate = past.count / story.seconds if story.seconds else 0.0
    told = past.told
    if told is not None:
        return Known(
            count=past.count,
            rate=rate,
            share=share,
            mean=told.mean,
            p50=told.quantiles.get("p50"),
            p95=told.quantiles.get("p95"),
            p99=told.quantiles.get("p99"),
            quantiles={name: value for name, value in told.quantiles.items() if name not in ("p50", "p95", "p99")},
            failed=told.failed,
        )
    return of_blocks(past.count, rate, share, past.blocks)


def of_blocks(count: int, rate: float, share: float, blocks: Blocks) -> Known:
    """Give the figures of requests that are known one by one."""
    times: Counter[int] = Counter()
    for block in blocks:
        times.update(block.times)
    requests = sum(block.requests for block in blocks)
    found = quantiles_of(times)
    return Known(
        count=count,
        rate=rate,
        share=share,
        mean=found.mean,
        p50=found.p50,
        p95=found.p95,
        p99=found.p99,
        failed=sum(block.failed for block in blocks) / requests if requests else None,
    )


def overall(found: Mapping[Name, Past], story: Story) -> Known:
    """Give the figures of all requests together.

    Quantiles of several routes can't be put together: where a source tells only of routes there are none.
    """
    requests = sum(each.count for each in found.values())
    rate = requests / story.seconds if story.seconds else 0.0
    if story.outcomes != "routes":
        every = tuple(block for each in found.values() for block in each.blocks)
        return of_blocks(requests, rate, 1.0, every)
    timed = [(each.told.mean, each.count) for each in found.values() if each.told and each.told.mean is not None]
    weight = sum(count for _, count in timed)
    answers = sum(story.statuses.values())
    return Known(
        count=requests,
        rate=rate,
        share=1.0,
        mean=sum(mean * count for mean, count in timed) / weight if weight else None,
        failed=story.statuses.get("5XX", 0) / answers if answers else None,
    )


def p95(times: Mapping[int, int]) -> float | None:
    """Give the 95th percentile of microseconds and how often they were, in seconds."""
    count = sum(times.values())
    place = rank(95.0, count) if count else 0
    for value in sorted(times):
        place -= times[value]
        if place <= 0:
            return value / 1e6
    return None
