"""What a verdict rests on: the incident, and every replay of it, in intervals of time. Pure.

Names of routes are settled over all that is compared (`settled`): a word that stands for a thing shows only by the
number of its siblings, and two runs need not have met the same ones.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Self

from drill.fairness.fairness import Fairness
from drill.running.record import DrillRecord, Kind
from drill.story import Story
from replayer.comparing.comparison import Block
from replayer.comparing.routes import Name, Route, final_names
from replayer.stopping import Stop
from rules.units import Factor

BLOCKS = 10
"""Intervals that a replay is cut into: long enough to hold a slow spell, as in `replayer.comparing.comparison`."""

POINTS = 90
"""Of a timeline, about."""

_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

Blocks = tuple[Block, ...]

EMPTY: Blocks = (Block({}, 0, 0),) * BLOCKS


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of one route during the incident."""

    count: int
    blocks: Blocks = EMPTY
    """Where outcomes are known of each record; durations that nobody knows are not in it."""
    time: float | None = None
    """Seconds that its answers took together."""
    told: "Told | None" = None
    """Where a source tells of routes and not of requests."""
    turned: Mapping[int, int] = field(default_factory=dict)
    """Statuses of 4xx by how often, where outcomes are known of each record."""


@dataclass(frozen=True, slots=True)
class Told:
    """Figures of a route that a source knows, without the requests they are of. Seconds."""

    failed: float | None = None
    mean: float | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a timeline. Counts, so that points of several replays add up."""

    requests: int = 0
    failed: int = 0
    done: int = 0
    """Requests of which it is known how they ended."""
    p95: float | None = None
    seconds: float = 0.0
    """How much of its time was covered."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A second of a replay."""

    at: float
    """Its end, in seconds since the start of the replay."""
    sent: int
    done: int
    """Answered, or given up."""
    backlog: int
    """On their way, or due and not yet sent, when it ended."""
    good: int = 0
    """Answers that are no failures."""
    lost: int = 0
    """Failed, or due and never sent because the target took no connection."""


@dataclass(frozen=True, slots=True)
class Played:
    """One replay of the incident, or of a part of it."""

    run: str
    kind: Kind
    factor: Factor
    begin: float
    """Seconds after the incident's begin that its first second stands for."""
    seconds: float
    """For how long it sent."""
    stop: Stop
    reason: str = ""
    valid: bool = True
    invalid_because: tuple[str, ...] = ()
    lag: float = 0.0
    """The most by which the sender itself was late. Seconds."""
    unanswered: int = 0
    """Requests on their way when it was stopped."""
    calm: bool | None = None
    silence: str = ""
    """How the last request failed that was sent afterwards, if not one of them was answered."""
    cut: float | None = None
    """Seconds after which there was no way to the target. What was sent then says nothing, and is not here."""
    latency: Mapping[Name, Blocks] = field(default_factory=dict)
    """From the intended send time, as users would have found it."""
    service: Mapping[Name, Blocks] = field(default_factory=dict)
    """From the actual send: nothing that the sender was late by is in it."""
    sent: Mapping[Name, int] = field(default_factory=dict)
    left_out: Mapping[Name, int] = field(default_factory=dict)
    """Not sent because they change things."""
    turned: Mapping[Name, Mapping[int, int]] = field(default_factory=dict)
    """Answers of 4xx: statuses by how often."""
    own: Mapping[Name, float] = field(default_factory=dict)
    """Seconds that a request took in the quietest moment that was seen."""
    course: tuple[Instant, ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it came to its own end."""
        return self.stop == "ended"

    @property
    def rate(self) -> float:
        """Requests sent per second."""
        return sum(self.sent.values()) / self.seconds if self.seconds else 0.0

    def evidence(self) -> Mapping[Name, Blocks]:
        """Give what may speak against the target.

        Of a replay whose sender lagged that is the time from the actual send, less the most that the sender was ever
        late by: what is left is nobody's but the target's.
        """
        if self.valid:
            return self.latency
        late = round(self.lag * 1e6)
        return {name: tuple(_less(block, late) for block in blocks) for name, blocks in self.service.items()}

    def renamed(self, names: Mapping[Name, Name]) -> Self:
        """Give it with the final names of routes."""
        return replace(
            self,
            latency=_merged(self.latency, names),
            service=_merged(self.service, names),
            sent=_summed(self.sent, names),
            left_out=_summed(self.left_out, names),
            turned=_added(self.turned, names),
            own=_least(self.own, names),
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """A drill, as far as the verdict is concerned."""

    record: DrillRecord
    story: Story
    past: Mapping[Name, Past]
    played: tuple[Played, ...]
    """In their order; those that were not over are not here."""
    interval: float
    """Seconds to a point of the timelines."""
    points: tuple[Point, ...] = ()
    """Of the incident."""
    fairness: Fairness | None = None
    """None: nobody looked."""

    @property
    def requests(self) -> int:
        """Requests of the incident."""
        return sum(past.count for past in self.past.values())

    @property
    def repeats(self) -> tuple[Played, ...]:
        """The replays that the verdict is about."""
        return tuple(played for played in self.played if played.kind == "repeat")

    def renamed(self, names: Mapping[Name, Name]) -> Self:
        """Give it with the final names of routes."""
        past: dict[Name, Past] = {}
        for name, each in self.past.items():
            into = names.get(name, name)
            past[into] = _both(past[into], each) if into in past else each
        return replace(self, past=past, played=tuple(played.renamed(names) for played in self.played))


def settled(*given: Evidence) -> tuple[Evidence, ...]:
    """Give drills with names of routes that are the same in all of them."""
    counts: Counter[Name] = Counter()
    for evidence in given:
        for name, past in evidence.past.items():
            counts[name] += past.count
        for name, sent in chain.from_iterable(played.sent.items() for played in evidence.played):
            counts[name] += sent
    names = final_names(Route(*name, sent=count) for name, count in counts.items())
    return tuple(evidence.renamed(names) for evidence in given)


def interval_of(seconds: float) -> float:
    """Give the seconds to a point of a timeline."""
    return next((step for step in _STEPS if seconds / step <= POINTS), seconds / POINTS)


def together(blocks: Iterable[Blocks]) -> Blocks:
    """Put several routes together, interval by interval."""
    return tuple(_sum(each) for each in zip(*blocks, strict=True)) or EMPTY


def _sum(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    times: Counter[int] = Counter()
    for block in blocks:
        times.update(block.times)
    return Block(times, sum(block.requests for block in blocks), sum(block.failed for block in blocks))


def _less(block: Block, late: int) -> Block:
    times: Counter[int] = Counter()
    for value, count in block.times.items():
        times[max(0, value - late)] += count
    return block._replace(times=times)


def _merged(given: Mapping[Name, Blocks], names: Mapping[Name, Name]) -> dict[Name, Blocks]:
    found: dict[Name, list[Blocks]] = {}
    for name, blocks in given.items():
        found.setdefault(names.get(name, name), []).append(blocks)
    return {name: blocks[0] if len(blocks) == 1 else together(blocks) for name, blocks in found.items()}


def _summed(given: Mapping[Name, int], names: Mapping[Name, Name]) -> dict[Name, int]:
    found: Counter[Name] = Counter()
    for name, count in given.items():
        found[names.get(name, name)] += count
    return dict(found)


def _added(given: Mapping[Name, Mapping[int, int]], names: Mapping[Name, Name]) -> dict[Name, Counter[int]]:
    found: dict[Name, Counter[int]] = {}
    for name, counts in given.items():
        found.setdefault(names.get(name, name), Counter()).update(counts)
    return found


def _least(given: Mapping[Name, float], names: Mapping[Name, Name]) -> dict[Name, float]:
    found: dict[Name, float] = {}
    for name, value in given.items():
        into = names.get(name, name)
        found[into] = min(value, found.get(into, value))
    return found


def _both(a: Past, b: Past) -> Past:
    """Add two routes up. Quantiles that a source tells can't be added, so those of the busier one stay."""
    return Past(
        a.count + b.count,
        together((a.blocks, b.blocks)),
        None if a.time is None or b.time is None else a.time + b.time,
        (a if a.count >= b.count else b).told,
        Counter(a.turned) + Counter(b.turned),
    )
