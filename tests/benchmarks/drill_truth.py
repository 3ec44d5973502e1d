"""What the verdict of a drill is worth: thousands of drills of targets whose truth is known, because they are made up.

No clock and no target: drills are drawn with fixed seeds. The figures are the same on any machine, however busy.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import get_args

import numpy as np

from drill.judging.bootstrap import exact
from drill.judging.judging import judge
from drill.judging.verdict import Outcome
from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import markdown
from tests.support.simulated import Noise, Truth, drill

PEERS = ()

DRILLS = 30
"""Of each truth under each noise."""

NOISES: tuple[Noise, ...] = get_args(Noise)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

LATE = (0.005, 0.01, 0.025, 0.04, 0.06, 0.07, 0.1, 0.15, 0.4)
FAILING = (0.001, 0.005, 0.012, 0.02, 0.05)

REPEATS = (2, 3, 5, 8)
"""Of a target that is 6% late, or 2.5%, and differs from replay to replay."""

RARE = (60.0, 180.0, 600.0, 1800.0)
"""Seconds from one breakdown to the next."""

_KINDS: tuple[tuple[bool, Outcome], ...] = (
    (True, "HOLDS"),
    (True, "DOES NOT HOLD"),
    (False, "DOES NOT HOLD"),
    (False, "HOLDS"),
)

WORDS = {
    "steady": "each request by itself",
    "drift": "slower and faster within some 10 s",
    "spells": "slow spells, a fifth of the time; failures in spells",
    "repeats": "15% from replay to replay",
    "bimodal": "two kinds of answers, one 20 times as slow",
    "few": "a tenth of the requests",
}


def run(bench: Bench) -> str:
    """Run it all; give the tables."""
    drills = max(1, DRILLS // 15) if bench.quick else DRILLS
    truths = [Truth(late=late) for late in LATE] + [Truth(failing=failing) for failing in FAILING]
    jobs = [
        (Truth(late=truth.late, failing=truth.failing, noise=noise), 1000 * place + seed)
        for place, truth in enumerate(truths)
        for noise in NOISES
        for seed in range(drills)
    ]
    rare = [(Truth(every=every), 1_000_000 + seed) for every in RARE for seed in range(drills * 3)]
    often = [
        (Truth(late=late, noise="repeats", repeats=repeats), 2_000_000 + seed)
        for repeats in REPEATS
        for late in (0.025, 0.06)
        for seed in range(drills * 3)
    ]
    bench.say(f"drill_truth: {len(jobs) + len(rare) + len(often)} drills")
    # Each process draws the same weights for itself: what is forked of a process with threads may hang.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        outcomes = list(pool.map(_outcome, [*jobs, *rare, *often], chunksize=20))
    found = list(zip([truth for truth, _ in jobs], outcomes[: len(jobs)], strict=True))
    seldom = list(zip([truth for truth, _ in rare], outcomes[len(jobs) : len(jobs) + len(rare)], strict=True))
    repeated = list(zip([truth for truth, _ in often], outcomes[len(jobs) + len(rare) :], strict=True))
    head = ["drills", *OUTCOMES]
    by_truth = [[_told(truth), *_shares(_of(found, truth.late, truth.failing))] for truth in truths]
    by_noise = [
        [WORDS[noise], *(_share(found, noise, works, outcome) for works, outcome in _KINDS)] for noise in NOISES
    ]
    by_rare = [
        [f"once in {every / 60:g} min", *_shares([outcome for truth, outcome in seldom if truth.every == every])]
        for every in RARE
    ]
    by_repeats = [
        [
            str(repeats),
            *(
                _share([each for each in repeated if each[0].repeats == repeats], "repeats", works, outcome)
                for works, outcome in _KINDS
            ),
        ]
        for repeats in REPEATS
    ]
    kinds = [f"{'works' if works else 'does not'}: {outcome}" for works, outcome in _KINDS]
    return "\n\n".join(
        [
            _sentence("HOLDS", [outcome for truth, outcome in found if not truth.works], "does not work"),
            _sentence("DOES NOT HOLD", [outcome for truth, outcome in found if truth.works], "works"),
            markdown(["truth", *head], by_truth),
            markdown(["noise", *kinds], by_noise),
            markdown(["repeats", *kinds], by_repeats),
            markdown(["all break down for 10 s", *head], by_rare),
        ]
    )


def _outcome(job: tuple[Truth, int]) -> Outcome:
    return judge(drill(*job), made=0.0).outcome


def _of(found: Iterable[tuple[Truth, Outcome]], late: float, failing: float) -> list[Outcome]:
    return [outcome for truth, outcome in found if (truth.late, truth.failing) == (late, failing)]


def _share(found: Iterable[tuple[Truth, Outcome]], noise: Noise, works: bool, outcome: Outcome) -> str:
    here = [each for truth, each in found if truth.noise == noise and truth.works == works]
    return f"{here.count(outcome) / len(here):.1%}"


def _told(truth: Truth) -> str:
    what = f"{truth.failing:.1%} fail" if truth.failing else f"{truth.late:.1%} late"
    return f"{what}: {'works' if truth.works else 'does not'}"


def _shares(outcomes: list[Outcome]) -> list[str]:
    counts = Counter(outcomes)
    return [str(len(outcomes)), *(f"{counts[each] / len(outcomes):.1%}" for each in OUTCOMES)]


def _sentence(wrong: Outcome, outcomes: list[Outcome], truth: str) -> str:
    count = outcomes.count(wrong)
    top = exact(np.array([float(count)]), float(len(outcomes)), 0.025)[1][0]
    return (
        f"False {wrong}: {count} of {len(outcomes)} drills of a fix that {truth}, {count / len(outcomes):.2%} "
        f"(at most {top:.2%} with 97.5% confidence)."
    )
