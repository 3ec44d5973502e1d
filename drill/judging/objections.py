"""What stands against a verdict, however good or bad the figures are. Pure.

What is wrong with a drill mostly makes it easier for the target (less was sent, a page has less to render, the sender
could not keep up) and so forbids HOLDS; some makes it harder, and forbids DOES NOT HOLD.
"""

from collections.abc import Iterable, Sequence
from math import sqrt

from drill.fairness.fairness import Finding
from drill.judging.down import Down, down
from drill.judging.evidence import Evidence, Played
from drill.judging.rows import Line
from drill.judging.saturation import Pile
from drill.judging.turned import turned_away
from drill.judging.verdict import Judgement, Reason, Rung
from replayer.reporting.figures import share as share_text
from replayer.reporting.figures import time as time_text
from rules.units import Factor

MIX = 0.05
"""Share of the requests that may be other ones than in the incident."""

RATE = 0.05
"""Share by which the rate of a route may be another one than was asked for."""

DOUBT = 0.01
"""p of a small route being bad by chance, from which it stands in the way."""

REPEATS = 2
"""Replays without which nobody knows whether another would go the same way."""


def unfinished(evidence: Evidence) -> list[Reason]:
    """Tell what of the drill is missing."""
    record, whole = evidence.record, sum(each.whole for each in evidence.repeats)
    found = []
    cut = [each for each in evidence.repeats if not each.whole and each.stop != "slo"]
    if not record.whole or cut or len(evidence.repeats) < record.repeat:
        ended = record.reason or (cut[0].reason if cut else "")
        why = f": {ended.rstrip('.')}" if ended else ""
        found.append(
            Reason(
                kind="unfinished",
                text=f"The drill did not come to its end, {whole} of {record.repeat} replays did{why}.",
                settle="Run the drill again.",
            )
        )
    if len(evidence.repeats) < REPEATS and record.whole:
        found.append(
            Reason(
                kind="repeats",
                text="The incident was played once only: whether it would go the same way again is not known.",
                settle="Use --repeat 3.",
            )
        )
    return found


def gone(played: Sequence[Played]) -> list[Reason]:
    """Tell where a target was not there any more when a replay was over, and it is not sure that it was by its load."""
    found = []
    for number, each in enumerate(played, 1):
        fell = down(each)
        if fell is not None:
            text = went_down(fell, number)
            if not fell.shown:
                text = f"After replay {number} the clone answered nothing any more ({fell.why})"
            elif before := sum(other.whole and down(other) is None for other in played):
                text += f"; {_replays(before)} it had borne"
            found.append(
                Reason(
                    kind="down",
                    text=f"{text}.",
                    settle="See in the clone's own log why it went down, and run the drill again, with more --repeat.",
                )
            )
        elif each.cut is not None:
            found.append(
                Reason(
                    kind="way",
                    text=f"There was no way to the clone after second {round(each.cut)} of replay {number}, nor "
                    f"afterwards ({each.silence}): whether it went down, or the network between, nobody knows.",
                    settle="Ask the clone from another machine. If it is down, see in its own log since when and why; "
                    "else run the drill again.",
                )
            )
    return found


def went_down(fell: Down, number: int) -> str:
    """Say how it went down in a replay."""
    return (
        f"The clone went down in second {fell.second} of replay {number} and did not come back: {fell.lost} requests "
        f"were lost from then on, and so were those that it was sent afterwards, without load ({fell.why})"
    )


def sender(played: Iterable[Played]) -> list[Reason]:
    """Tell where the figures are the sender's, and not the target's."""
    lagged = [each for each in played if not each.valid]
    if not lagged:
        return []
    why = lagged[0].invalid_because[0] if lagged[0].invalid_because else "it was late"
    return [
        Reason(
            kind="sender",
            text=f"The sender did not keep its schedule in {_replays(len(lagged))}: {why}.",
            settle="Give the sender a machine of its own, or more --processes or --max-connections.",
        )
    ]


def mix(evidence: Evidence, played: Sequence[Played], lines: Sequence[Line]) -> list[Reason]:
    """Tell where what was sent is not what came in the incident. Only whole replays can be held against it."""
    whole = [each for each in played if each.whole]
    sent = sum(sum(each.sent.values()) for each in whole)
    if not whole or not evidence.requests or not sent:
        return []
    outside = evidence.story.outside
    missing = outside.share if outside is not None and outside.filled == "left-out" else 0.0
    more = {
        name: sum(each.sent.get(name, 0) for each in whole) / sent
        - (1 - missing) * (evidence.past[name].count if name in evidence.past else 0) / evidence.requests
        for name in sorted({name for line in lines for name in line.names})
    }
    apart = missing + sum(max(0.0, -each) for each in more.values())
    left = sum(sum(each.left_out.values()) for each in whole)
    found = []
    if apart > MIX:
        text = f"{share_text(apart)} of the requests were other ones than in the incident, and {MIX:.0%} would do"
        least, most = min(more, key=more.__getitem__), max(more, key=more.__getitem__)
        settle = (
            f"See which routes differ in the table: most of all {' '.join(least)} is lacking, and there is more of "
            f"{' '.join(most)}."
        )
        if missing > MIX:
            text += f": {share_text(missing)} are of routes that the source does not name"
            settle = "Fill them with --fill-from a capture or a log, or scale the known ones with --scale-to-total."
        elif left:
            text += f": {_left(whole)} was not sent, because it changes things"
            settle = "Allow what may be sent to the clone with --allow."
        found.append(Reason(kind="mix", text=f"{text}.", settle=settle))
    return found + _rates(whole, lines, left=bool(left))


def _left(whole: Sequence[Played]) -> str:
    names = sorted({name for each in whole for name in each.left_out})
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{' '.join(names[0])}{more}"


def _rates(whole: Sequence[Played], lines: Sequence[Line], *, left: bool) -> list[Reason]:
    seconds = sum(each.seconds for each in whole)
    for line in lines:
        if line.scope == "small":
            continue
        row = line.row
        wanted = row.wanted * seconds
        reached = sum(each.sent.get(name, 0) for each in whole for name in line.names)
        # Of 1.25x a seeded quarter is sent twice: by chance that is not a quarter of each route.
        chance = 3 * sqrt(wanted)
        if wanted and abs(reached - wanted) > max(RATE * wanted, chance):
            return [
                Reason(
                    kind="rate",
                    route=row.name if row.method else None,
                    text=f"Of {row.name} {reached / seconds:.3g} requests came a second, and {row.wanted:.3g} should "
                    "have.",
                    settle="Allow what may be sent to the clone with --allow."
                    if left and reached < wanted
                    else "See in the run's report what was skipped or shed.",
                )
            ]
    return []


def turned(evidence: Evidence, played: Sequence[Played], lines: Sequence[Line]) -> list[Reason]:
    """Tell of which routes users were turned away: whoever sends them away bears any load."""
    changed = set() if evidence.fairness is None else {f.route for f in evidence.fairness.findings if f.on_purpose}
    found = []
    for line in lines:
        # A route that production always answered with 404 shows only where its own answers are known.
        judged = line.scope == "all" or (line.scope == "one" and evidence.story.outcomes == "records")
        away = turned_away(evidence, played, line.names) if judged and line.row.name not in changed else None
        if away is None:
            continue
        known = (
            "what production answered is not known" if away.before is None else f"production {share_text(away.before)}"
        )
        found.append(
            Reason(
                kind="clone",
                route=line.row.name if line.row.method else None,
                text=f"The clone turned {share_text(away.share)} of {line.row.name} away, most with {away.status}; "
                f"{known}: that costs it nothing, and those users were not served.",
                settle=_ADMITTED.get(away.status, _ADMITTED[404]),
            )
        )
    # All together are told of only if no route shows it.
    return found[1:] if len(found) > 1 and found[0].route is None else found


_LOGIN = "Send it what the clone takes for a valid session: --token-from, --set-header."
_ADMITTED = {
    401: _LOGIN,
    403: _LOGIN,
    404: "See what the clone answers and why: data that are missing, forms and sessions of last night, --rewrite.",
    429: "Take the clone's limit of requests off for the drill; if the fix is that limit, it serves so many fewer.",
}


def clone(findings: Sequence[Finding], asked: bool, verdict: str) -> list[Reason]:
    """Tell why the clone is no stand-in. `asked`: whether anybody looked."""
    if not asked:
        return [
            Reason(
                kind="clone",
                text="Nobody compared the clone with what went down.",
                settle="Run the drill with its check, or reamp drill check.",
            )
        ]
    return [
        Reason(
            kind="clone",
            text=f"The clone is too different from production to show that it {verdict}: {finding.what.rstrip('.')}.",
            route=finding.route,
            settle=finding.advice,
        )
        for finding in findings
    ]


def saturated(piles: Sequence[Pile]) -> list[Reason]:
    """Tell that requests piled up: it would have given way, had it gone on."""
    growing = [each for each in piles if each.grows]
    if not growing:
        return []
    worst = max(growing, key=lambda each: each.last)
    return [
        Reason(
            kind="saturated",
            text=f"Requests piled up in {_replays(len(growing))}: each spent {time_text(worst.first)} at the target in "
            f"the first third and {time_text(worst.last)} in the last, and it was still growing.",
            settle="Play a longer window of the incident.",
        )
    ]


def disagreeing(lines: Sequence[Line], played: Sequence[Played], judgement: Judgement) -> list[Reason]:
    """Tell which replays by themselves are on the other side than what is said of all together."""
    other = "did not hold" if judgement == "holds" else "held"
    for line in lines:
        if line.scope == "small":
            continue
        for found in line.found:
            if found.disagree and found.judgement == judgement:
                runs = ", ".join(str(place + 1) for place in found.disagree)
                return [
                    Reason(
                        kind="repeats",
                        route=line.row.name if line.row.method else None,
                        text=f"The replays do not agree: {found.held.criterion} {other} for {line.row.name} in replay "
                        f"{runs} of {len(played)}.",
                        settle=f"Use --repeat {2 * len(played) + 1}, and see what else the clone does meanwhile.",
                    )
                ]
    return []


def quieter(rungs: Sequence[Rung], asked: Factor) -> list[Reason]:
    """Tell that it gave way under less than what it held."""
    return [
        Reason(
            kind="repeats",
            text=f"At {asked} it held in all replays, and at {rung.factor}, which is less, it gave way: {rung.text}.",
            settle="Run the drill again, and see what else the clone does meanwhile.",
        )
        for rung in rungs
        if rung.judgement == "breaks" and rung.factor < asked
    ]


def other_incident(evidence: Evidence, baseline: Evidence) -> list[Reason]:
    """Tell that a baseline is a drill of something else: sources of one incident tell of about the same time."""
    one, other = evidence.story, baseline.story
    shared = min(one.end_ns, other.end_ns) - max(one.begin_ns, other.begin_ns)
    if 2 * shared >= max(one.end_ns, other.end_ns) - min(one.begin_ns, other.begin_ns):
        return []
    return [
        Reason(
            kind="baseline",
            text=f"The drill to hold this one against ({baseline.record.drill}) played another time: {other.told}.",
            settle="Play the same incident onto the clone as it was before the fix, and name that with --against.",
        )
    ]


def not_reproduced(before: Sequence[Line], name: str) -> list[Reason]:
    """Tell that the clone bore it before the fix, too. `before`: how it fared then."""
    judgements = {line.finished().judgement for line in before if line.scope != "small"}
    if "breaks" in judgements or not before[0].found:
        return []
    if not judgements <= {"holds", "untold"}:
        return []
    return [
        Reason(
            kind="not-reproduced",
            text=f"The clone held before the fix, too ({name}): this is not what brought the site down, or the clone "
            "is not like it was.",
            settle="Look for what the pattern lacks: writes, logged-in users, data, a cold cache, a louder factor.",
        )
    ]


def overdriven(lines: Sequence[Line], played: Sequence[Played]) -> list[Reason]:
    """Tell where more was sent than asked for: that it breaks then shows nothing."""
    whole = [each for each in played if each.whole]
    seconds = sum(each.seconds for each in whole)
    wanted = lines[0].row.wanted * seconds
    reached = sum(sum(each.sent.values()) for each in whole)
    if wanted and reached - wanted > max(RATE * wanted, 3 * sqrt(wanted)):
        return [
            Reason(
                kind="rate",
                text=f"{reached / seconds:.3g} requests came a second, and only {lines[0].row.wanted:.3g} should have.",
            )
        ]
    return []


def _replays(count: int) -> str:
    return "one replay" if count == 1 else f"{count} replays"
