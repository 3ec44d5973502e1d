"""How the rules of a run fared that wrote no report, from its journal and its seconds. Pure.

The journal has each breach with its beginning and its end, each change of the load and each baseline; the seconds have
the gain and the 95th percentile of real users. So verdicts, breaches, cuts and gains are the run's own. Not written
down is each value that a rule was held against: its worst one is the worst of those that were. And that a rule held is
concluded: no data is a breach, so what was never breached, long enough after its time of grace, had data and held.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from replayer.counting.series import Second
from replayer.safety.loop import Backing, Judgement, blank, judged, load, told
from rules.slo import Rule

Entry = Mapping[str, Any]
"""A line of the journal. Nothing in it is taken on trust: it may be torn, or somebody else's."""

BEAT = 2.0
"""Seconds that a breach may last before the loop, which looks once a second, has written it down."""


class Past(NamedTuple):
    """What a run left, as far as its rules are concerned."""

    rules: Sequence[Rule]
    """As they were judged."""
    entries: Sequence[Entry]
    seconds: Sequence[Second]


def past(rules: Iterable[Rule], *, live: bool, entries: Iterable[Entry], seconds: Iterable[Second]) -> Past:
    """Pick out what tells of the rules. `rules`: the plan's; `live`: whether sidecars told what real users get."""
    telling = {"start", "baseline", "slo breached", "slo held", "slo abort", "gain"}
    kept = [entry for entry in entries if isinstance(event := entry.get("event"), str) and event in telling]
    return Past(judged(rules, live=live), kept, list(seconds))


def judgements(run: Past) -> list[Judgement]:
    """Sum up how every rule fared, in the plan's order."""
    return [_judgement(run, rule, number) for number, rule in enumerate(run.rules, 1)]


def backing(run: Past) -> Backing | None:
    """Sum up what back-off did; None if no rule may do that."""
    if not any(rule.action == "back-off" for rule in run.rules):
        return None
    changes = [
        (before, after, bool(entry.get("number")))
        for entry in run.entries
        if entry["event"] == "gain"
        and (before := _share(entry.get("before"))) is not None
        and (after := _share(entry.get("after"))) is not None
    ]
    spans = [(second.end - second.start, second.gain) for second in run.seconds if second.gain is not None]
    passed = sum(span for span, _ in spans)
    mean = sum(span * gain for span, gain in spans) / passed if passed > 0 else 1.0
    return Backing(
        last=changes[-1][1] if changes else 1.0,
        least=min((after for _, after, _ in changes), default=1.0),
        mean=round(mean, 4),
        # (Load that is held down only because the demand rises has no rule's number.)
        cuts=sum(1 for before, after, caused in changes if caused and after < before),
    )


def _judgement(run: Past, rule: Rule, number: int) -> Judgement:
    found, worst_load, since = blank(rule), -1.0, None
    mine = [entry for entry in run.entries if entry.get("number") == number]
    begun = next((_number(entry.get("elapsed")) for entry in run.entries if entry["event"] == "start"), None)
    ended = max((_number(entry.get("elapsed")) or 0.0 for entry in run.entries), default=0.0)
    lasted = max((second.end for second in run.seconds), default=0.0)
    ended = max(ended, (begun or 0.0) + lasted)
    values: list[float | None] = []
    for entry in mine:
        event, at = entry["event"], _number(entry.get("elapsed")) or 0.0
        if event == "baseline":
            found.baseline = _number(entry.get("value"))
            continue
        if event == "slo breached":
            found.verdict, since = "breached", at
            found.breaches += 1
        elif event == "slo held" and since is not None:
            found.seconds += max(0.0, at - since)
            since = None
        found.words = str(entry.get("because") or "")
        values.append(_number(entry.get("value")))
    if since is not None:
        found.seconds += max(0.0, ended - since)
    found.limit = rule.expression.limit(found.baseline)
    for value in [*values, *_percentiles(run, rule)]:
        used = load(rule.expression, value, found.limit)
        if used is not None and used > worst_load:
            worst_load, found.worst = used, value
    if found.verdict == "not judged" and lasted > rule.grace + rule.for_ + BEAT and _could_be_judged(run, rule):
        found.verdict = "held"
    return told(found, rule)


def _percentiles(run: Past, rule: Rule) -> list[float | None]:
    """Give the values of a rule that stand in the seconds: p(95) of real users, over the shortest window of theirs."""
    expression = rule.expression
    windows = [one.window for one in run.rules if one.expression.subject == "real" and not one.external]
    if rule.external or (expression.subject, expression.statistic) != ("real", "p"):
        return []
    if expression.percentile != Fraction(95) or rule.window != min(windows):
        return []
    return [second.real_p95 for second in run.seconds if second.start >= rule.grace]


def _could_be_judged(run: Past, rule: Rule) -> bool:
    """Tell whether there was enough to judge. What too few synthetic requests get is no breach, and not judged."""
    if rule.external or rule.expression.subject != "synthetic":
        return True
    within: deque[Second] = deque()
    sent = 0
    for second in run.seconds:
        within.append(second)
        sent += second.sent
        while within[0].end <= second.end - rule.window:
            sent -= within.popleft().sent
        if sent >= max(1, rule.min_samples):
            return True
    return False


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _share(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None
