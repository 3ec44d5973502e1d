"""Runs made up as targets are: a lognormal body, a Pareto tail, and slow spells that last some seconds."""

import math
import random
from collections import Counter

from replayer.comparing.comparison import Block
from replayer.comparing.routes import rounded


def run(
    chance: random.Random,
    slower: float = 1.0,
    failing: float = 0.01,
    intervals: int = 120,
    rate: float = 20,
    tail: float = 1.0,
) -> list[Block]:
    """Make the run of one route: `rate` requests in each of `intervals`, of which neighbours are alike."""
    blocks = []
    load = 0.0
    for _ in range(intervals):
        load = 0.6 * load + chance.gauss(0, 0.15)  # neighbouring seconds are alike
        times: Counter[int] = Counter()
        failed = 0
        count = round(chance.gauss(rate, rate / 8))
        for _ in range(count):
            seconds = chance.lognormvariate(math.log(0.02) + load, 0.5)
            if chance.random() < 0.05:
                seconds *= tail * chance.paretovariate(1.5)
            times[rounded(round(seconds * slower * 1e6))] += 1
            failed += chance.random() < failing * math.exp(2 * load)
        blocks.append(Block(times, count, failed))
    return blocks
