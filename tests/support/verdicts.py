"""Verdicts as drills of a shop come to them, for whatever shows verdicts. Nothing in them was measured."""

import math
import random
from typing import Literal

from drill.judging.verdict import (
    Condition,
    Criterion,
    Curve,
    Estimate,
    GaveWay,
    Headroom,
    Held,
    Judgement,
    Known,
    Outcome,
    Reason,
    Row,
    Rung,
    Seen,
    Timeline,
    Verdict,
)
from replayer.comparing.comparison import Change
from rules.units import MILLION, Factor

BEGIN_NS = 1_763_730_120_000_000_000
"""2025-11-21 13:02 UTC."""

MINUTES = 29

# Of each route: requests per second, and seconds of an answer when nothing is wrong.
ROUTES: tuple[tuple[str, str, float, float], ...] = (
    ("GET", "/category/{id}", 19.1, 0.090),
    ("GET", "/search", 11.4, 0.071),
    ("GET", "/", 61.0, 0.012),
    ("GET", "/product/{id}", 96.3, 0.018),
    ("GET", "/api/cart", 38.8, 0.009),
    ("POST", "/api/cart/items", 7.6, 0.026),
    ("GET", "/api/recommendations/{id}/for/{hash}", 25.2, 0.031),
    ("GET", "/static/{file}", 118.0, 0.002),
)
GUILTY = "/category/{id}"

CRITERIA = (
    Criterion(text="p(95)<1s", given=False, words="95 of 100 answers take less than 1 s"),
    Criterion(text="error_ratio<1%", given=False, words="fewer than 1 of 100 requests fail"),
)


def verdict(outcome: Outcome, asked: float = 1.25, baseline: bool = True) -> Verdict:
    """Give one of a drill that ended so."""
    good = outcome != "DOES NOT HOLD"
    unclear = outcome == "NOT PROVEN"
    rows = [_row(*route, asked=asked, good=good, unclear=unclear, baseline=baseline) for route in ROUTES]
    rows.append(
        Row(
            template="41 others", routes=41, wanted=9.2 * asked, wanted_share=0.024, reached=9.2 * asked,
            reached_share=0.024, work=0.01, incident=Known(count=16008, rate=9.2, share=0.024, p95=2.2, failed=0.11),
            replay=Seen(count=24012, rate=9.2 * asked, share=0.024, p95=_about(0.05)), judgement="untold",
        )
    )  # fmt: skip
    total = sum(rate for _, _, rate, _ in ROUTES) + 9.2
    now = 0.084 if good else 6.94
    overall = Row(
        wanted=total * asked, wanted_share=1, reached=total * asked * (0.9991 if good else 0.874), reached_share=1,
        incident=_known(total, 1, 0.31, 11.8, 0.184),
        replay=_seen(total * asked, 1, now / 4, now, 0.0002 if good else 0.0731),
        baseline=_known(total * asked, 1, 0.29, 12.6, 0.2013) if baseline else None,
        criteria=_held(now, 0.0002 if good else 0.0731, unclear), judgement=_judgement(good, unclear),
    )  # fmt: skip
    return Verdict(
        drill="20251122-091502-k3f9",
        made=BEGIN_NS / 1e9 + 90_000,
        outcome=outcome,
        sentence=_SENTENCES[outcome].format(asked=Factor(round(asked * MILLION))),
        asked=Factor(round(asked * MILLION)),
        repeats=3,
        target="https://staging.shop.example",
        incident="production's capture, the evening's peak and what followed",
        begin_ns=BEGIN_NS,
        end_ns=BEGIN_NS + MINUTES * 60 * 10**9,
        baseline="20251122-081140-m2xq" if baseline else None,
        reasons=_REASONS[outcome],
        criteria=list(CRITERIA),
        overall=overall,
        routes=rows,
        headroom=_headroom(good, unclear),
        gave_way=_gave_way(good, unclear),
        conditions=_CONDITIONS,
        timeline=_timeline(total, asked, good, baseline),
    )


_SENTENCES: dict[Outcome, str] = {
    "HOLDS": "The fix holds: under {asked} of the incident's traffic, three times over, every route kept to what was "
    "asked of it, and up to 1.75x of the incident nothing gives way.",
    "DOES NOT HOLD": "The fix does not hold: under {asked} of the incident's traffic GET /category/{{id}} takes 9.7 s "
    "(p95) where 1 s is allowed, and 7% of all requests fail.",
    "NOT PROVEN": "It is not proven that the fix holds: nothing gave way under {asked} of the incident's traffic, but "
    "the clone has less to do than production had.",
}
_REASONS: dict[Outcome, list[Reason]] = {
    "HOLDS": [],
    "DOES NOT HOLD": [
        Reason(
            kind="broken", route="GET /category/{id}",
            text="p95 is 9.7 s (8.9 s to 10.6 s) in all three repeats, and 1 s is allowed.",
        ),
        Reason(kind="broken", text="7.31% (6.80% to 7.88%) of all requests fail, and 1% is allowed."),
        Reason(
            kind="saturated", route="GET /category/{id}",
            text="Requests under way grow from 2 to 214 within four minutes, and come down only when the traffic does.",
        ),
    ],
    "NOT PROVEN": [
        Reason(
            kind="clone", route="GET /category/{id}",
            text="Its answers are 4.1 kB on the clone where production's had 16 MB: it renders some 12 products where "
            "production rendered 50,000.",
            settle="Load production's catalogue into the clone, and run the drill again.",
        ),
        Reason(
            kind="few", route="POST /api/cart/items",
            text="It was left out, for it changes things: 2% of the incident's requests, and 3% of its time, were not "
            "played.",
            settle="Allow it (--allow 'POST /api/cart/items') if the clone may be written to.",
        ),
    ],
}  # fmt: skip
_CONDITIONS = [
    Condition(
        name="clone", text="The clone stands in for production with a doubt: 2 processors where production had 4."
    ),
    Condition(name="caches", text="Cold: nothing was replayed before the first repeat counted."),
    Condition(name="sender", text="It kept its schedule: p99 of its own lag 0.8 ms, and it was never the bottleneck."),
    Condition(name="mix", text="Each route's share of the traffic was that of the incident, within 0.3%."),
    Condition(
        name="times", text="Arrivals are those of the recording; at 1.25x a seeded quarter comes twice (seed 7)."
    ),
    Condition(name="method", text="Block bootstrap over 30-second intervals and repeats, 10,000 drawings, seed 1."),
]


def _row(
    method: str, template: str, rate: float, usual: float, *, asked: float, good: bool, unclear: bool, baseline: bool
) -> Row:
    guilty = template == GUILTY
    total = sum(each for _, _, each, _ in ROUTES) + 9.2
    now = 9.7 if guilty and not good else usual * (3.1 if good else 22)
    failing = 0.0 if good else 0.21 if guilty else 0.004
    left_out = unclear and method == "POST"
    then = usual * 130
    return Row(
        method=method,
        template=template,
        wanted=rate * asked,
        wanted_share=rate / total,
        reached=0 if left_out else rate * asked,
        reached_share=0 if left_out else rate / total,
        work=rate * usual / sum(each * took for _, _, each, took in ROUTES),
        incident=_known(rate, rate / total, then / 3, then, 0.31 if guilty else 0.12),
        replay=None if left_out else _seen(rate * asked, rate / total, now / 3, now, failing),
        baseline=_known(rate * asked, rate / total, then / 3, then * 1.1, 0.3) if baseline else None,
        changes=[
            Change(
                figure="p95", before=then, after=now, change=now / then, low=now / then * 0.9, high=now / then * 1.1,
                p=0.00001, adjusted=0.00002, verdict="better" if now < then else "worse",
            )
        ],
        criteria=[] if left_out else _held(now, failing, unclear and guilty),
        judgement="untold" if left_out else _judgement(good or not guilty, unclear and guilty),
    )  # fmt: skip


def _judgement(good: bool, unclear: bool) -> Judgement:
    return "unclear" if unclear else "holds" if good else "breaks"


def _about(value: float) -> Estimate:
    return Estimate(value=value, low=value * 0.92, high=value * 1.09)


def _known(rate: float, share: float, p50: float, p95: float, failed: float) -> Known:
    return Known(
        count=round(rate * MINUTES * 60), rate=rate, share=share, mean=p50 * 1.3, p50=p50, p95=p95, p99=p95 * 1.7,
        failed=failed,
    )  # fmt: skip


def _seen(rate: float, share: float, p50: float, p95: float, failed: float) -> Seen:
    return Seen(
        count=round(rate * MINUTES * 180), rate=rate, share=share, p50=_about(p50), p95=_about(p95),
        p99=_about(p95 * 1.8), failed=Estimate(value=failed, low=failed * 0.8, high=failed * 1.2 + 0.0003),
    )  # fmt: skip


def _held(p95: float, failed: float, unclear: bool) -> list[Held]:
    latency, failures = _about(p95), Estimate(value=failed, low=failed * 0.8, high=failed * 1.2 + 0.0003)
    return [
        Held(
            criterion="p(95)<1s", estimate=latency, limit=1.0, judgement=_judgement(p95 < 1, unclear),
            told=f"{p95:.2g} s ({latency.low:.2g} s to {latency.high:.2g} s), and 1 s is allowed",
        ),
        Held(
            criterion="error_ratio<1%", estimate=failures, limit=0.01, judgement=_judgement(failed < 0.01, False),
            told=f"{failed:.2%} ({failures.low:.2%} to {failures.high:.2%}), and 1% is allowed",
        ),
    ]  # fmt: skip


def _headroom(good: bool, unclear: bool) -> Headroom:
    factors = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0) if good else (0.5, 0.75, 1.0, 1.25)
    rungs = []
    for factor in factors:
        breaks = factor > (1.75 if good else 0.75)
        rungs.append(
            Rung(
                factor=Factor(round(factor * MILLION)), runs=3 if factor == 1.25 else 1, rate=386.6 * factor,
                p95=2.31 if breaks and good else 6.9 if breaks else 0.04 * math.exp(factor),
                failed=0.062 if breaks else 0.0001,
                judgement="breaks" if breaks else "unclear" if unclear and factor == 1.75 else "holds",
                text="GET /category/{id}: p95 2.3 s, and 1 s is allowed" if breaks else "",
            )
        )  # fmt: skip
    if not good:
        text = "holds to 0.75x of the incident, and gives way at 1x"
        return Headroom(factor=Factor(750_000), broke=Factor(MILLION), text=text, rungs=rungs)
    text = "holds to 1.75x of the incident, and gives way at 2x"
    return Headroom(factor=Factor(1_750_000), broke=Factor(2 * MILLION), text=text, rungs=rungs)


def _gave_way(good: bool, unclear: bool) -> GaveWay | None:
    if unclear:
        return None
    return GaveWay(
        factor=Factor(2 * MILLION if good else MILLION),
        what="latency",
        route="GET /category/{id}",
        at=492,
        text="At 2x of the incident GET /category/{id} gave way first, 8 minutes in: p95 2.3 s, and 1 s is allowed."
        if good
        else "At 1x of the incident GET /category/{id} gave way first, 8 minutes in: p95 9.7 s, and 1 s is allowed.",
    )


def _timeline(total: float, asked: float, good: bool, baseline: bool) -> Timeline:
    """Give a peak that comes up in eight minutes, and what it did."""
    dice = random.Random(5)
    at = [10.0 * place + 5 for place in range(MINUTES * 6)]
    shape = [0.55 + 0.75 * math.exp(-(((moment - 800) / 420) ** 2)) for moment in at]

    def curve(kind: Literal["incident", "replay", "baseline"], factor: float, broken: bool) -> Curve:
        rate: list[float | None] = []
        p95: list[float | None] = []
        failed: list[float | None] = []
        for moment, level in zip(at, shape, strict=True):
            rate.append(total * level * factor * dice.gauss(1, 0.03))
            down = broken and 480 < moment < 1500
            p95.append(max(0.02, (min(14.0, (moment - 480) / 30) if down else 0.05 * level**3) * dice.gauss(1, 0.1)))
            failed.append(min(1.0, max(0.0, 0.35 * dice.gauss(1, 0.15) if down and moment > 600 else 0.0003)))
        if kind == "incident":
            p95[30] = failed[30] = None
        return Curve(rate=rate, p95=p95, failed=failed)

    return Timeline(
        interval=10,
        at=at,
        incident=curve("incident", 1, True),
        replay=curve("replay", asked, not good),
        baseline=curve("baseline", asked, True) if baseline else None,
    )
