"""Whether a change between two runs is called one: how often where there is none, and how often where there is.

No clock and no target: runs are drawn with fixed seeds. The figures are the same on any machine, however busy.
"""

import random
from collections import Counter

from replayer.comparing.comparison import FALSE_ALARMS, Block, Change, compare, judged
from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import markdown
from tests.support.spells import run as drawn

PEERS = ()

PAIRS, RATE = 400, 20
SECONDS = (30, 60, 120, 300)
FIGURES = ("p50", "p95", "p99", "failed")


def run(bench: Bench) -> str:
    """Run it all; give the tables."""
    pairs = PAIRS // 20 if bench.quick else PAIRS
    chance = random.Random(1)
    alarms, power = [], []
    for seconds in SECONDS:
        bench.say(f"noise: runs of {seconds} s")
        same = [compare(_drawn(chance, seconds), _drawn(chance, seconds)) for _ in range(pairs)]
        naive = [compare(_shuffled(chance, seconds), _shuffled(chance, seconds)) for _ in range(pairs)]
        alarms.append([f"{seconds} s", *_called(same), _covered(same), _called(naive)[0], _routes(same)])
        if seconds in SECONDS[1:3]:
            for slower, failing in ((1.1, 0.015), (1.25, 0.02), (1.5, 0.03), (2.0, 0.05)):
                changed = [
                    compare(_drawn(chance, seconds), drawn(chance, slower, failing, seconds, RATE))
                    for _ in range(pairs // 4)
                ]
                power.append([f"{seconds} s, {slower}x, 1% to {failing:.1%}", *_called(changed)])
    head = ["no difference", *FIGURES, "interval of p50 holds it", "p50, requests independent", "a run of 50 routes"]
    found = markdown(head, alarms)
    return f"{found}\n\n{markdown(['a difference', *FIGURES], power)}"


def _drawn(chance: random.Random, seconds: int) -> list[Block]:
    return drawn(chance, intervals=seconds, rate=RATE)


def _shuffled(chance: random.Random, seconds: int) -> list[Block]:
    """Draw a run and lose its order, as who counts requests as independent does."""
    values = [value for block in _drawn(chance, seconds) for value in Counter(block.times).elements()]
    chance.shuffle(values)
    each = len(values) // seconds
    return [Block(Counter(values[n * each : (n + 1) * each]), each, 0) for n in range(seconds)]


def _called(rows: list[list[Change]]) -> list[str]:
    """Tell how often each figure by itself was called changed, of those that could be tested."""
    found = []
    for place in range(len(FIGURES)):
        ps = [row[place].p for row in rows if row[place].p is not None]
        found.append(f"{sum(p <= FALSE_ALARMS for p in ps if p is not None) / len(ps):.1%}" if ps else "untested")
    return found


def _covered(rows: list[list[Change]]) -> str:
    ends = [(row[0].low, row[0].high) for row in rows]
    return f"{sum((low or 0) <= 1 <= (high or 2) for low, high in ends) / len(rows):.1%}"


def _routes(rows: list[list[Change]]) -> str:
    """Tell how many runs of fifty routes called anything a change, after the correction and by all rules."""
    runs = [judged(rows[start : start + 50]) for start in range(0, len(rows), 50)]
    wrong = sum(any(c.verdict in ("worse", "better") for row in each for c in row) for each in runs)
    return f"{wrong} of {len(runs)}"
