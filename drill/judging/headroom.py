"""How much of the incident's traffic the target bears, and what gives way first. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from drill.judging.criteria import Found, first_bad
from drill.judging.down import down
from drill.judging.evidence import BLOCKS, EMPTY, Evidence, Played, together
from drill.judging.figures import p95
from drill.judging.rows import Line, lines, work
from drill.judging.saturation import pile
from drill.judging.turned import turned_away
from drill.judging.verdict import GaveWay, Headroom, Judgement, Rung
from replayer.comparing.comparison import Block
from replayer.comparing.routes import Name
from replayer.reporting.figures import share as share_text
from rules.slo import Expression
from rules.units import Factor

What = Literal["errors", "latency", "saturation", "down"]

MUCH = 0.2
"""Share of a target's time from which a route is named with it."""


class Tried(NamedTuple):
    """What was played at one factor, and what came of it."""

    factor: Factor
    played: tuple[Played, ...]
    lines: Sequence[Line]
    rung: Rung


def tried(
    evidence: Evidence,
    expressions: Sequence[Expression],
    asked: Sequence[Line],
    judgement: Judgement,
    baseline: Sequence[Played] = (),
) -> list[Tried]:
    """Judge every factor that was played; `asked`, with its judgement, is the one that the verdict is about.

    A step of a sweep is short. It holds if all requests together do and no route shows that it breaks; but a louder one
    proves nothing while what was asked for is not proven.
    """
    factors = sorted({each.factor for each in evidence.played if each.kind != "warm-up"})
    found = []
    for factor in factors:
        played = tuple(each for each in evidence.played if each.factor == factor and each.kind != "warm-up")
        own = factor == evidence.record.amplify and any(each.kind == "repeat" for each in played)
        if own:
            played = tuple(each for each in played if each.kind == "repeat")
            found.append(_tried(factor, played, asked, judgement, _why(asked, played, judgement)))
        else:
            judged = lines(evidence, played, factor, expressions, baseline)
            here, why = _judgement(judged, played), ""
            away = turned_away(evidence, played, judged[0].names)
            if here == "holds" and away is not None:
                here, why = "unclear", f"{share_text(away.share)} were turned away, most with {away.status}"
            if here == "holds" and judgement != "holds" and factor > evidence.record.amplify:
                here, why = "unclear", f"all requests together hold, but {evidence.record.amplify} is not proven"
            found.append(_tried(factor, played, judged, here, why or _why(judged, played, here)))
    return found


def headroom(found: Sequence[Tried]) -> Headroom | None:
    """Tell how far it bears the incident's traffic; None if one factor was tried only."""
    rungs = [each.rung for each in found]
    if len(rungs) < 2:
        return None
    broke = min((rung.factor for rung in rungs if rung.judgement == "breaks"), default=None)
    held = max(
        (rung.factor for rung in rungs if rung.judgement == "holds" and (broke is None or rung.factor < broke)),
        default=None,
    )
    if held is None:
        text = "is not shown to hold at any factor that was tried"
    elif broke is None and held == rungs[-1].factor:
        text = f"holds to {held} of the incident, and nothing louder was tried"
    elif broke is None:
        text = f"holds to {held} of the incident; what is louder is not proven"
    else:
        text = f"holds to {held} of the incident"
    if broke is not None:
        text += f", and gives way at {broke}"
    return Headroom(factor=held, broke=broke, text=text, rungs=rungs)


def gave_way(evidence: Evidence, found: Sequence[Tried], expressions: Sequence[Expression]) -> GaveWay | None:
    """Tell what gave way at the smallest factor at which something did, and under which route."""
    first = next((each for each in found if each.rung.judgement == "breaks"), None)
    if first is None:
        return None
    name = culprit(evidence, first)
    seen, at = _first(first, name, expressions)
    what: What = seen or "saturation"
    fell = next((fell for each in first.played if (fell := down(each)) and fell.shown), None)
    if fell is not None and (at is None or at >= fell.at - first.played[0].seconds / BLOCKS):
        # What failed with it says nothing of what took it down.
        name, what, at = None, "down", fell.at
    return GaveWay(
        factor=first.factor,
        what=what,
        route=None if name is None else " ".join(name),
        at=at,
        text=_sentence(evidence, first, name, what),
    )


def culprit(evidence: Evidence, tried: Tried) -> Name | None:
    """Name the route under which it gave way: of those that broke, the one that takes most of the target's time.

    Where it is all of them, most only wait for the one that holds the others up.
    """
    broken = [line.names[0] for line in tried.lines if line.scope in ("one", "small") and _breaks(line.found)]
    if not broken:
        broken = [
            line.names[0] for line in tried.lines if line.scope == "one" and any(each.off > 1 for each in line.found)
        ]
    if not broken:
        return None
    works = work(evidence, tried.played, [line.names[0] for line in tried.lines if line.scope in ("one", "small")])
    return max(broken, key=lambda name: (works.get(name, _silent(tried.played, name)), name))


def _silent(played: Sequence[Played], name: Name) -> float:
    """Give what a route weighs of which nothing is known: if it was asked and never answered, all of it."""
    blocks = [block for each in played for block in each.latency.get(name, EMPTY)]
    return 1.0 if any(block.requests for block in blocks) and not any(block.times for block in blocks) else 0.0


def _tried(
    factor: Factor, played: tuple[Played, ...], judged: Sequence[Line], judgement: Judgement, text: str
) -> Tried:
    seconds = sum(each.seconds for each in played)
    blocks = [block for run in judged[0].seen for block in run]
    whole = together((block,) for block in blocks)[0] if blocks else Block({}, 0, 0)
    rung = Rung(
        factor=factor,
        runs=len(played),
        rate=sum(sum(each.sent.values()) for each in played) / seconds if seconds else 0.0,
        p95=p95(whole.times),
        failed=whole.failed / whole.requests if whole.requests else None,
        judgement=judgement,
        text=text,
    )
    return Tried(factor, played, judged, rung)


def _judgement(judged: Sequence[Line], played: Sequence[Played]) -> Judgement:
    if any(_breaks(line.found) for line in judged) or all(each.stop == "slo" for each in played):
        return "breaks"
    piles = [pile(each) for each in played]
    if any(each.lost for each in piles) or any((fell := down(each)) and fell.shown for each in played):
        return "breaks"
    fine = all(each.whole and each.valid for each in played) and not any(each.grows for each in piles)
    held = all(each.judgement in ("holds", "untold") for each in judged[0].found)
    return "holds" if fine and held and judged[0].found else "unclear"


def _breaks(found: Sequence[Found]) -> bool:
    return any(each.judgement == "breaks" for each in found)


def _why(judged: Sequence[Line], played: Sequence[Played], judgement: Judgement) -> str:
    """Say why a factor is judged as it is."""
    if judgement == "holds":
        return "all criteria hold"
    if judgement == "breaks":
        told = _told(judged, "breaks", "does not hold")
        stopped = next((run.reason for run in played if run.stop == "slo"), "")
        return told or stopped or "requests piled up"
    for run in played:
        if not run.valid:
            return f"the sender did not keep its schedule: {', '.join(run.invalid_because)}"
        if not run.whole:
            return run.reason or "it did not come to its end"
    return _told(judged, "unclear", "is not sure") or "requests piled up"


def _told(judged: Sequence[Line], judgement: Judgement, what: str) -> str:
    for line in judged:
        for each in line.found:
            if each.judgement == judgement:
                return f"{each.held.criterion} {what} for {line.row.name}: {each.held.told}"
    return ""


def _first(tried: Tried, name: Name | None, expressions: Sequence[Expression]) -> tuple[What | None, float | None]:
    """Tell what broke first, and when."""
    earliest: tuple[float, What] | None = None
    for played in tried.played:
        given = played.evidence()
        blocks = given.get(name, EMPTY) if name is not None else together(given.values())
        for expression in expressions:
            place = first_bad(expression, blocks)
            if place is None:
                continue
            at = played.begin + place * played.seconds / BLOCKS
            what: What = "errors" if expression.statistic == "error_ratio" else "latency"
            # Where both show in the same interval, slowness came first: what fails had to wait before.
            if earliest is None or (at, what != "latency") < (earliest[0], earliest[1] != "latency"):
                earliest = at, what
    return (None, None) if earliest is None else (earliest[1], earliest[0])


def _sentence(evidence: Evidence, tried: Tried, name: Name | None, what: str) -> str:
    text = f"At {tried.factor} of the incident's traffic"
    if what == "down":
        return f"{text} the clone went down and did not come back; no route had shown anything before."
    words = {"errors": "requests fail", "latency": "answers get slow", "saturation": "requests pile up"}[what]
    text += f" {words}"
    if name is None:
        return f"{text}; under which route first does not show."
    text += f" first under {' '.join(name)}"
    share = work(evidence, tried.played, evidence.past or [name]).get(name)
    requests = evidence.past[name].count / evidence.requests if name in evidence.past and evidence.requests else 0.0
    if share is not None and share >= MUCH and share > requests:
        text += f", which has {share_text(requests)} of the requests and takes {share_text(share)} of the target's time"
    return f"{text}."
