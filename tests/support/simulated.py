"""Drills of a target whose truth is known, because it is made up: what does the verdict say of it?

A target answers each request after `scale x noise`, and the scale is chosen such that in the long run exactly the share
of requests that is wanted takes a second or longer. So whether p(95)<1s holds is known, and by how much; and the same
with failures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drill.fairness.fairness import Fairness
from drill.judging.evidence import BLOCKS, Blocks, Evidence, Past, Played
from drill.running.record import DrillRecord
from drill.story import Story
from replayer.comparing.comparison import Block
from replayer.comparing.routes import Name
from rules.units import MILLION, Factor

Floats = NDArray[np.float64]

Noise = Literal["steady", "drift", "spells", "repeats", "bimodal", "few"]

LIMIT = 1.0
"""Seconds: p(95) has to be below, and less than 1% may fail."""

EASY = 0.0005
"""Share of late requests of a route that has nothing to fear."""


@dataclass(frozen=True)
class Truth:
    """What is true of the target, and how it shows."""

    late: float = 0.005
    """Share of the requests of the route in question that take `LIMIT` or longer."""
    failing: float = 0.0
    """Share of them that fail."""
    noise: Noise = "steady"
    everywhere: bool = False
    """Whether it is so for all routes, and not for one of ten."""
    rate: float = 100.0
    seconds: float = 60.0
    repeats: int = 3
    routes: int = 10
    every: float | None = None
    """Seconds from one breakdown to the next, on average: then every answer takes 5 s, for 10 s."""

    @property
    def works(self) -> bool:
        """Whether the criteria hold in truth."""
        return self.late < 0.05 and self.failing < 0.01


def drill(truth: Truth, seed: int) -> Evidence:
    """Make up a drill."""
    random = np.random.default_rng(seed)
    rate = truth.rate / 10 if truth.noise == "few" else truth.rate
    names: list[Name] = [("GET", f"/page{number}") for number in range(truth.routes)]
    played = []
    for repeat in range(truth.repeats):
        blocks: dict[Name, Blocks] = {}
        shift = random.normal(0, _BETWEEN) if truth.noise == "repeats" else 0.0
        moments = _course(truth.noise, truth.seconds, random) + shift
        trouble = _course(truth.noise, truth.seconds, random)
        if truth.every is not None:
            moments = moments + _breakdowns(truth.every, truth.seconds, random)
        for number, name in enumerate(names):
            ill = truth.everywhere or number == 1
            late, failing = (truth.late, truth.failing) if ill else (0.0, 0.0)
            count = random.poisson(rate / truth.routes * truth.seconds)
            blocks[name] = _blocks(truth, count, late, failing, (moments, trouble), random)
        sent = {name: sum(block.requests for block in each) for name, each in blocks.items()}
        played.append(
            Played(
                f"run{repeat}",
                "repeat",
                Factor(MILLION),
                0.0,
                truth.seconds,
                "ended",
                latency=blocks,
                service=blocks,
                sent=sent,
                own=dict.fromkeys(names, 0.01),
            )
        )
    every = round(rate / truth.routes * truth.seconds)
    return evidence(played, dict.fromkeys(names, Past(every)), truth.seconds)


def evidence(played: list[Played], past: Mapping[Name, Past], seconds: float, **changes: object) -> Evidence:
    """Make a whole drill of replays."""
    record = DrillRecord(
        drill="20261122-101500-sim1",
        started=0.0,
        ended=1.0,
        state="ended",
        to="http://127.0.0.1:8000",
        amplify=Factor(MILLION),
        repeat=sum(each.kind == "repeat" for each in played),
        criteria=("synthetic.error_ratio<1%", "synthetic.p(95)<1s"),
        defaulted=True,
        plan={},
    ).model_copy(update=changes)
    story = Story(
        source="capture",
        told="made up",
        begin_ns=0,
        end_ns=round(seconds * 1e9),
        times="kept",
        outcomes="none",
    )
    fair = Fairness(to=record.to, compared_share=1.0)
    return Evidence(record, story, past, tuple(played), 1.0, (), fair)


_BETWEEN = 0.15
"""Standard deviation of the logarithm of times, from replay to replay."""

_SPELL, _OFTEN, _SLOW = 4.0, 0.2, 1.2
"""A slow spell lasts so many seconds on average, takes so large a share of the time, and slows down by exp(1.2)."""


_DOWN = 10.0


def _course(noise: Noise, seconds: float, random: np.random.Generator) -> Floats:
    """Give how slow the target is in each tenth of a second, as a logarithm."""
    steps = round(seconds * 10)
    if noise == "drift":
        # An Ornstein-Uhlenbeck process: it forgets within some 10 s.
        keep = np.exp(-0.1 / 10)
        shocks = random.normal(0, 0.3 * np.sqrt(1 - keep**2), steps)
        powers = keep ** np.arange(1, steps + 1)
        wandering: Floats = powers * (random.normal(0, 0.3) + np.cumsum(shocks / powers))
        return wandering
    if noise == "spells":
        found = np.zeros(steps)
        ill = random.random() < _OFTEN
        at = 0.0
        while at < seconds:
            lasts = random.exponential(_SPELL if ill else _SPELL * (1 - _OFTEN) / _OFTEN)
            if ill:
                found[round(at * 10) : round((at + lasts) * 10)] = _SLOW
            at, ill = at + lasts, not ill
        return found
    return np.zeros(steps)


def _breakdowns(every: float, seconds: float, random: np.random.Generator) -> Floats:
    """Give the times at which a target breaks down, by a Poisson process, as a logarithm that no answer survives."""
    found = np.zeros(round(seconds * 10))
    at = random.exponential(every) - _DOWN
    while at < seconds:
        found[round(max(0.0, at) * 10) : round((at + _DOWN) * 10)] = 10.0
        at += random.exponential(every)
    return found


def _noise(noise: Noise, count: int, random: np.random.Generator) -> Floats:
    """Give each request's own part, as a logarithm."""
    own: Floats = random.normal(0, 0.5, count)
    if noise == "bimodal":  # a cache that misses every twelfth time
        own += np.where(random.random(count) < 1 / 12, 3.0, 0.0)
    return own


@lru_cache
def scale(noise: Noise, late: float) -> float:
    """Give the scale at which exactly this share is late in the long run."""
    late = late or EASY
    random = np.random.default_rng(7)
    parts = []
    for _ in range(400):
        moments = _course(noise, 60.0, random)
        if noise == "repeats":
            moments = moments + random.normal(0, _BETWEEN)
        parts.append(moments[random.integers(0, len(moments), 2500)] + _noise(noise, 2500, random))
    return float(LIMIT / np.exp(np.quantile(np.concatenate(parts), 1 - late)))


def _blocks(
    truth: Truth,
    count: int,
    late: float,
    failing: float,
    courses: tuple[Floats, Floats],
    random: np.random.Generator,
) -> Blocks:
    moments, trouble = courses
    at = random.integers(0, len(moments), count)
    times = scale(truth.noise, late) * np.exp(moments[at] + _noise(truth.noise, count, random))
    often = np.full(count, failing)
    if truth.noise == "spells":  # what fails does so in spells as well
        often = np.where(trouble[at] > 0, failing / _OFTEN, 0.0)
    failed = random.random(count) < often
    place = at * BLOCKS // len(moments)
    micros = np.round(np.floor(times * 1e3) * 1e3).astype(np.int64)
    found = []
    for number in range(BLOCKS):
        here = place == number
        values, counts = np.unique(micros[here], return_counts=True)
        mapping = dict(zip(values.tolist(), counts.tolist(), strict=True))
        found.append(Block(mapping, int(here.sum()), int(failed[here].sum())))
    return tuple(found)
