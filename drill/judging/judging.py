"""From evidence to the verdict. Pure.

- HOLDS: every criterion, for all requests together and for each route, lies on the good side of its bound with its
  whole interval; the incident is what was played (mix and rates, sender, clone); replays agree, and all came to their
  end; requests did not pile up; and if there is a baseline, the clone did break before the fix.
- DOES NOT HOLD: some criterion lies on the bad side with its whole interval, corrected for all that were looked at; or
  every replay was stopped by the rules; or the target answered much less than it was asked, or went down and did not
  come back. On a clone that has it no harder than production had.
- NOT PROVEN: everything else, with the reasons and what would settle each.
"""

from collections.abc import Iterable, Sequence

from drill.judging import objections
from drill.judging.conditions import conditions
from drill.judging.criteria import Found, broken_words, criterion, joined
from drill.judging.down import down
from drill.judging.evidence import Evidence, Played, Point, settled
from drill.judging.headroom import gave_way, headroom, tried
from drill.judging.rows import Line, lines, with_figures
from drill.judging.saturation import Pile, pile
from drill.judging.verdict import Criterion, Curve, GaveWay, Headroom, Judgement, Outcome, Reason, Timeline, Verdict
from drill.running.plan import MOST_REPEATS
from rules.slo import Expression
from rules.units import MILLION, UnitError

MOST_REASONS = 20

JUDGED: dict[Outcome, Judgement] = {"HOLDS": "holds", "DOES NOT HOLD": "breaks", "NOT PROVEN": "unclear"}


def judge(evidence: Evidence, baseline: Evidence | None = None, *, made: float) -> Verdict:
    """Judge a drill, against one of the clone before the fix if there is any. `made` is the unix time of doing so."""
    if baseline is None:
        (evidence,) = settled(evidence)
    else:
        evidence, baseline = settled(evidence, baseline)
    record = evidence.record
    expressions = _expressions(record.criteria)
    played = evidence.repeats
    before = () if baseline is None else baseline.repeats
    judged = lines(evidence, played, record.amplify, expressions, before)
    with_figures(judged, evidence, played, before)
    piles = [pile(each) for each in played]

    bad = _bad(judged, played, piles)
    against_bad = _against_bad(evidence, played, judged) if bad else []
    against_good = _against_good(evidence, baseline, expressions, judged, piles)
    doubts = _doubts(judged, played)
    if not bad:
        doubts = objections.disagreeing(judged, played, "breaks") + doubts
    outcome: Outcome
    if bad and not against_bad:
        outcome, reasons = "DOES NOT HOLD", bad
    elif not bad and not against_good and not doubts and judged[0].found:
        outcome, reasons = "HOLDS", []
    else:
        outcome, reasons = "NOT PROVEN", [*against_bad, *(bad if against_bad else []), *against_good, *doubts]
        reasons = reasons or [Reason(kind="few", text="Nothing came back that could be judged.")]

    factors = tried(evidence, expressions, judged, JUDGED[outcome], before)
    if outcome == "HOLDS" and (quieter := objections.quieter([each.rung for each in factors], record.amplify)):
        outcome, reasons = "NOT PROVEN", quieter
        factors = tried(evidence, expressions, judged, JUDGED[outcome], before)
    room, way = headroom(factors), gave_way(evidence, factors, expressions)
    if outcome == "DOES NOT HOLD" and way is not None:
        reasons = sorted(reasons, key=lambda each: each.route != way.route)
    criteria = [criterion(each, given=not record.defaulted) for each in expressions]
    return Verdict(
        drill=record.drill,
        made=made,
        outcome=outcome,
        sentence=sentence(evidence, outcome, reasons, criteria, room, _at_asked(way, evidence), judged),
        asked=record.amplify,
        repeats=sum(each.whole for each in played),
        target=record.to,
        incident=evidence.story.told,
        begin_ns=evidence.story.begin_ns,
        end_ns=evidence.story.end_ns,
        baseline=None if baseline is None else baseline.record.drill,
        reasons=reasons[:MOST_REASONS],
        criteria=criteria,
        overall=judged[0].finished(),
        routes=[line.finished() for line in _ordered(judged[1:])],
        headroom=room,
        gave_way=way,
        conditions=conditions(evidence, played, judged, criteria, "" if baseline is None else baseline.record.drill),
        timeline=timeline(evidence, baseline),
    )


def _expressions(texts: Iterable[str]) -> list[Expression]:
    found = []
    for text in texts:
        try:
            found.append(Expression.parse(text))
        except UnitError:
            continue  # it was checked before the drill was run
    return found


# --- what speaks against the target ---


def _bad(judged: Sequence[Line], played: Sequence[Played], piles: Sequence[Pile]) -> list[Reason]:
    # Of small routes together one may break: it is told of by its own name if it shows.
    found = [
        (line.scope == "all", -each.off, _broken(line, each))
        for line in judged
        for each in line.found
        if each.judgement == "breaks" and not each.disagree
    ]
    reasons = [reason for _, _, reason in sorted(found, key=lambda each: each[:2])]
    falls = [(number, fell) for number, each in enumerate(played, 1) if (fell := down(each)) and fell.shown]
    # After replays that it bore, something else may have been to blame.
    if falls and not any(each.whole and down(each) is None for each in played):
        number, fell = falls[0]
        reasons.insert(0, Reason(kind="down", text=f"{objections.went_down(fell, number)}."))
    stopped = [each for each in played if each.stop == "slo"]
    # One replay that a rule stopped may be a slow spell. If none of several came through, it is none.
    if len(stopped) >= objections.REPEATS and not any(each.whole for each in played):
        reasons.append(
            Reason(kind="stopped", text=f"A rule stopped all {len(stopped)} replays: {stopped[0].reason.rstrip('.')}.")
        )
    lost = [each for each in piles if each.lost]
    if lost and 2 * len(lost) > len(piles):
        reasons.append(
            Reason(
                kind="saturated",
                text=f"The target answers less than it is asked: {max(each.left for each in lost)} requests had no "
                "answer when the replay was stopped.",
            )
        )
    return reasons


def _broken(line: Line, found: Found) -> Reason:
    return Reason(
        kind="broken",
        route=line.row.name if line.row.method else None,
        text=f"{found.held.criterion} does not hold for {line.row.name}: {found.held.told}.",
    )


def _against_bad(evidence: Evidence, played: Sequence[Played], judged: Sequence[Line]) -> list[Reason]:
    """Tell what forbids DOES NOT HOLD."""
    fairness = evidence.fairness
    harder = () if fairness is None else fairness.forbids_does_not_hold
    return [*objections.clone(harder, asked=True, verdict="gives way"), *objections.overdriven(judged, played)]


# --- what speaks against saying that it holds ---


def _against_good(
    evidence: Evidence,
    baseline: Evidence | None,
    expressions: Sequence[Expression],
    judged: Sequence[Line],
    piles: Sequence[Pile],
) -> list[Reason]:
    """Tell what forbids HOLDS."""
    fairness, played = evidence.fairness, evidence.repeats
    stopped = [each for each in played if each.stop == "slo"]
    reasons = [*objections.gone(played), *objections.unfinished(evidence)]
    reasons += objections.clone(
        () if fairness is None else fairness.forbids_holds, asked=fairness is not None, verdict="holds"
    )
    if stopped:
        reasons.append(
            Reason(
                kind="stopped",
                text=f"A rule stopped {len(stopped)} of {len(played)} replays: {stopped[0].reason.rstrip('.')}.",
                settle="Run it again with more --repeat: whether that was a slow spell, the others tell.",
            )
        )
    reasons += objections.turned(evidence, played, judged)
    reasons += objections.sender(played)
    reasons += objections.mix(evidence, played, judged)
    reasons += objections.saturated(piles)
    reasons += objections.disagreeing(judged, played, "holds")
    if baseline is not None:
        reasons += _against_baseline(evidence, baseline, expressions)
    return reasons


def _against_baseline(evidence: Evidence, baseline: Evidence, expressions: Sequence[Expression]) -> list[Reason]:
    """Tell why a baseline does not show what it is there to show."""
    name = baseline.record.drill
    if other := objections.other_incident(evidence, baseline):
        return other
    louder = baseline.record.amplify >= evidence.record.amplify
    if not louder or not baseline.repeats or not all(each.whole for each in baseline.repeats):
        return []
    before = lines(baseline, baseline.repeats, baseline.record.amplify, expressions)
    return objections.not_reproduced(before, name)


def _doubts(judged: Sequence[Line], played: Sequence[Played]) -> list[Reason]:
    """Tell which criteria are not shown to hold, and what would show it."""
    few: list[tuple[float, Reason]] = []
    unclear: list[tuple[float, Reason]] = []
    for line in judged:
        found = [each for each in line.found if each.judgement == "unclear"]
        if line.scope == "small":
            found = [each for each in found if each.p <= objections.DOUBT]
        unclear += [(-each.off, _unsure(line, each)) for each in found if not each.need]
        short = [each for each in found if each.need]
        if short:  # of several criteria the one that takes most
            most = max(short, key=lambda each: each.need / max(1, each.size))
            few.append((most.size / most.need, _too_few(line, most, max(1, len(played)))))
    return [
        reason for _, reason in (*sorted(unclear, key=lambda each: each[0]), *sorted(few, key=lambda each: each[0]))
    ]


def _too_few(line: Line, found: Found, repeats: int) -> Reason:
    """Say how many it takes: a quarter more than it must, for some will be slow or fail."""
    more = max(repeats + 1, -(-repeats * found.need * 5 // (4 * max(1, found.size))))
    settle = (
        f"Use --repeat {more}, or a longer window of the incident."
        if more <= MOST_REPEATS
        else "Play a longer window of the incident; or ask with --slo for what so few requests can show."
    )
    requests = "1 request is" if found.size == 1 else f"{found.size} requests are"
    return Reason(
        kind="few",
        route=line.row.name if line.row.method else None,
        text=f"{requests} too few to show {found.held.criterion} for {line.row.name}: it takes {found.need} at least.",
        settle=settle,
    )


def _unsure(line: Line, found: Found) -> Reason:
    if found.short:
        return Reason(
            kind="few",
            route=line.row.name if line.row.method else None,
            text=f"{found.held.criterion} can't be judged for {line.row.name}: what came back lies in too few "
            "intervals of time.",
            settle="Play a longer window of the incident.",
        )
    return Reason(
        kind="unclear",
        route=line.row.name if line.row.method else None,
        text=f"{found.held.criterion} may hold for {line.row.name}, or not: {found.held.told}.",
        settle="Use more --repeat. If it stays unclear, the target is at its limit.",
    )


# --- for people ---


def sentence(
    evidence: Evidence,
    outcome: Outcome,
    reasons: Sequence[Reason],
    criteria: Sequence[Criterion],
    room: Headroom | None,
    way: GaveWay | None,
    judged: Sequence[Line],
) -> str:
    """Say it in one sentence, for people who know what a request is, and no more."""
    asked = evidence.record.amplify
    load = "the incident's traffic" if asked == MILLION else f"{asked} of the incident's traffic"
    if outcome == "HOLDS":
        told = " and ".join(each.words.partition(" (")[0] for each in criteria)
        text = f"The fix holds under {load}: on every route {told}, in {_times(len(evidence.repeats))}"
        return f"{text}; it {room.text}." if room is not None and room.factor is not None else f"{text}."
    if outcome == "DOES NOT HOLD":
        why = _plainly(reasons[0], judged) or _going_on(reasons[0].text.rstrip("."))
        text = f"The fix does not hold under {load}: {why}"
        if way is not None and way.route is not None and way.route != reasons[0].route:
            text += f"; it gave way first under {way.route}"
        return f"{text}."
    why = reasons[0].text.rstrip(".")
    return f"Whether the fix holds under {load} is not proven: {_going_on(why)}."


def _plainly(reason: Reason, judged: Sequence[Line]) -> str:
    """Say what broke without the notation of criteria; empty if there is no figure to say it with."""
    if reason.kind != "broken":
        return ""
    for line in judged:
        name = line.row.name if line.row.method else None
        for each in line.found if name == reason.route else ():
            if each.judgement == "breaks" and reason.text.startswith(f"{each.held.criterion} "):
                return broken_words(Expression.parse(each.held.criterion), each.held.estimate, line.row.name)
    return ""


def _going_on(text: str) -> str:
    """Begin a sentence small, for it goes on from another; but not what begins with a name: `GET /products`."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _at_asked(way: GaveWay | None, evidence: Evidence) -> GaveWay | None:
    return way if way is not None and way.factor <= evidence.record.amplify else None


def _times(count: int) -> str:
    return "one replay" if count == 1 else f"{count} replays"


def _ordered(judged: Sequence[Line]) -> list[Line]:
    """Put what broke first, then what is not sure, then what takes most of the target's time."""
    rank = {"breaks": 0, "unclear": 1, "holds": 2, "untold": 3}
    return sorted(
        judged,
        key=lambda line: (
            line.scope == "rest",
            rank[
                "untold"
                if line.scope == "small" and not _breaks(line)
                else joined(each.judgement for each in line.found)
            ],
            -(line.row.work or 0.0),
            -line.row.wanted,
        ),
    )


def _breaks(line: Line) -> bool:
    return any(each.judgement == "breaks" for each in line.found)


def timeline(evidence: Evidence, baseline: Evidence | None) -> Timeline:
    """Put the incident and the drill over each other."""
    count = len(evidence.points)
    each = evidence.interval
    return Timeline(
        interval=each,
        at=[(place + 0.5) * each for place in range(count)],
        incident=_curve([evidence.points], count),
        replay=_curve([played.points for played in evidence.repeats], count),
        baseline=None
        if baseline is None or baseline.interval != each
        else _curve([played.points for played in baseline.repeats], count),
    )


def _curve(runs: Sequence[Sequence[Point]], count: int) -> Curve:
    """Add replays up, point by point. Percentiles of several can't be: of these it is the middle one."""
    rate: list[float | None] = []
    p95: list[float | None] = []
    failed: list[float | None] = []
    for place in range(count):
        points = [run[place] for run in runs if place < len(run) and run[place].seconds]
        seconds, done = sum(point.seconds for point in points), sum(point.done for point in points)
        rate.append(sum(point.requests for point in points) / seconds if seconds else None)
        failed.append(sum(point.failed for point in points) / done if done else None)
        known = sorted(point.p95 for point in points if point.p95 is not None)
        p95.append(known[len(known) // 2] if known else None)
    return Curve(rate=rate, p95=p95, failed=failed)
