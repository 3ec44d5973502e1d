"""Whether a clone is called unfair: how often one that is as good as production, and how often one that is not.

No clock and no target: incidents and clones are drawn with fixed seeds. The figures are the same on any machine.
"""

import random

from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import markdown
from tests.support.standins import TRUTHS, asked, incident

PEERS = ()

CLONES, OF_EACH = 1000, 20
"""Clones of each kind, and how many of them are compared with the same incident."""


def run(bench: Bench) -> str:
    """Run it all; give the table."""
    clones = CLONES // 20 if bench.quick else CLONES
    draw = random.Random(1)
    incidents = [incident(draw) for _ in range(clones // OF_EACH)]
    rows = []
    for name, truth in TRUTHS.items():
        bench.say(f"fairness: {name}")
        found = [asked(draw, known, truth.answer) for known in incidents for _ in range(OF_EACH)]
        directions = [{f.direction for f in each.findings if f.severity == "unfair"} for each in found]
        easy = sum(bool(each & {"easy", "either"}) for each in directions)
        hard = sum(bool(each & {"hard", "either"}) for each in directions)
        doubted = sum(any(f.severity == "doubt" for f in each.findings) for each in found)
        rows.append([name, *(f"{count / len(found):.1%}" for count in (easy, hard, doubted))])
    return markdown(["the clone", "forbids HOLDS", "forbids DOES NOT HOLD", "some doubt"], rows)
