"""One row for each route, one for all requests together, and one for all the routes that are too small. Pure.

A route is judged by itself if it has `SMALL` of the incident's requests, or `SMALL_TIME` of the time that its answers
took. Smaller ones are judged together, if that is as much in all, for no drill has enough requests of each to say
anything of it; but where one of them shows that it breaks, that counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from drill.judging.criteria import Found, Sample, corrected, estimates, joined, judge, seems_bad
from drill.judging.evidence import EMPTY, Blocks, Evidence, Past, Played, together
from drill.judging.figures import known, of_blocks, overall
from drill.judging.verdict import Estimate, Known, Row, Seen
from replayer.comparing.comparison import Block, Change, compare, judged
from replayer.comparing.routes import Name
from rules.slo import Expression
from rules.units import MILLION, Factor

SMALL, SMALL_TIME = 0.01, 0.05

MOST_BOUNDED = 200
"""Routes whose percentiles have intervals: the busiest. (All criteria are tested on all routes.)"""

Scope = Literal["all", "one", "small", "rest"]


@dataclass
class Line:
    """A row while it is made."""

    scope: Scope
    names: tuple[Name, ...]
    row: Row
    found: list[Found] = field(default_factory=list)
    runs: list[Blocks] = field(default_factory=list)
    """What is judged: of each replay."""
    seen: list[Blocks] = field(default_factory=list)
    """What is shown. Of a replay whose sender lagged less is judged than was seen (`Played.evidence`)."""

    @cached_property
    def sample(self) -> Sample:
        """Give all of it together."""
        return Sample(self.runs)

    def finished(self) -> Row:
        """Give the row with what came of its criteria."""
        judgement = joined(each.judgement for each in self.found)
        if self.scope == "small" and judgement == "unclear":
            judgement = "untold"  # it is judged with the others
        return self.row.model_copy(update={"criteria": [each.held for each in self.found], "judgement": judgement})


def lines(
    evidence: Evidence,
    played: Sequence[Played],
    factor: Factor,
    expressions: Sequence[Expression],
    baseline: Sequence[Played] = (),
) -> list[Line]:
    """Judge replays at one factor: all together first, then the routes with the most work."""
    names = _names(evidence, played)
    large = _large(evidence)
    small = dict.fromkeys(name for name in names if name not in large)
    works = work(evidence, played, names)
    scopes: list[tuple[Scope, tuple[Name, ...]]] = [("all", names)]
    scopes += [("small" if name in small else "one", (name,)) for name in names]
    if len(small) > 1 and sum(evidence.past[name].count for name in small if name in evidence.past) >= (
        SMALL * evidence.requests
    ):
        scopes.append(("rest", tuple(small)))
    given = [each.evidence() for each in played]
    found = []
    for scope, of in scopes:
        runs, seen = ([_of(blocks, of) for blocks in each] for each in (given, (each.latency for each in played)))
        if scope == "all":
            runs, seen = (
                [_with_unanswered(blocks, each) for blocks, each in zip(which, played, strict=True)]
                for which in (runs, seen)
            )
        found.append(Line(scope, of, _row(evidence, played, factor, scope, of), runs=runs, seen=seen))
    seconds = sum(each.seconds for each in played)
    fine = 0
    for line in found:
        others = Sample([_of(each.latency, line.names) for each in baseline]) if baseline else None
        rate = sum(each.sent.get(name, 0) for each in played for name in line.names) / seconds if seconds else 0.0
        # How many requests come to one route is nothing that its criteria are about.
        asked = [each for each in expressions if line.scope == "all" or each.statistic not in ("rate", "value")]
        if line.scope == "small":
            # There may be thousands. Only one that seems bad can show that it breaks.
            kept = [each for each in asked if seems_bad(each, line.sample)]
            fine, asked = fine + len(asked) - len(kept), kept
        if line.sample.count or line.scope == "all":
            line.found = [judge(each, line.sample, others, rate) for each in asked]
        if len(line.names) == 1 and works:
            line.row = line.row.model_copy(update={"work": works.get(line.names[0])})
    _correct(found, fine)
    return found


def with_figures(
    found: Sequence[Line], evidence: Evidence, played: Sequence[Played], baseline: Sequence[Played]
) -> None:
    """Add to rows what was seen, what is known of the incident and the baseline, and what changed."""
    seconds, sent = sum(each.seconds for each in played), sum(sum(each.sent.values()) for each in played)
    # A small route after the others, however busy: what it tells is told of all of them.
    bounded = {
        id(line) for line in sorted(found, key=lambda line: (line.scope == "small", -_count(line)))[:MOST_BOUNDED]
    }
    for line in found:
        row = line.row
        count = sum(each.sent.get(name, 0) for each in played for name in line.names)
        past = _past(evidence, line)
        before = _before(baseline, line.names)
        row = row.model_copy(
            update={
                "incident": past,
                "baseline": before,
                "replay": _seen(line, count, seconds, sent, bounded=id(line) in bounded) if count else None,
            }
        )
        line.row = row
    changes = judged(compare(_recorded(evidence, line), _joint(line.seen)) for line in found)
    against = judged(
        compare(_joint([_of(each.latency, line.names) for each in baseline]), _joint(line.seen)) for line in found
    )
    for line, one, other in zip(found, changes, against, strict=True):
        line.row = line.row.model_copy(update={"changes": _told(one), "against": _told(other)})


def work(evidence: Evidence, played: Sequence[Played], names: Iterable[Name]) -> dict[Name, float]:
    """Give the share of the target's time that each route takes when nothing stands in its way.

    When a target is overloaded all of its routes are slow, most of them only because they wait for the others. What a
    request takes in the quietest moment that was seen, times how many there are, tells whom they wait for.
    """
    own: dict[Name, float] = {}
    for each in (*evidence.played, *played):
        for name, value in each.own.items():
            own[name] = min(value, own.get(name, value))
    total = {name: own[name] * _wanted(evidence, played, name) for name in names if name in own}
    every = sum(total.values())
    return {name: value / every for name, value in total.items()} if every else {}


def _wanted(evidence: Evidence, played: Sequence[Played], name: Name) -> float:
    past = evidence.past.get(name)
    return past.count if past is not None else sum(each.sent.get(name, 0) for each in played) / max(1, len(played))


def _names(evidence: Evidence, played: Sequence[Played]) -> tuple[Name, ...]:
    """Give all routes, the busiest first."""
    counts = {name: past.count for name, past in evidence.past.items()}
    for each in played:
        for name in each.sent:
            counts.setdefault(name, 0)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def _large(evidence: Evidence) -> set[Name]:
    """Give the routes that are judged each by itself."""
    requests, seconds = evidence.requests, sum(past.time or 0.0 for past in evidence.past.values())
    return {
        name
        for name, past in evidence.past.items()
        if past.count >= SMALL * requests or (past.time is not None and past.time >= SMALL_TIME * seconds > 0)
    }


def _row(
    evidence: Evidence,
    played: Sequence[Played],
    factor: Factor,
    scope: Scope,
    names: tuple[Name, ...],
) -> Row:
    seconds, sent = sum(each.seconds for each in played), sum(sum(each.sent.values()) for each in played)
    wanted = sum(evidence.past[name].count for name in names if name in evidence.past)
    reached = sum(each.sent.get(name, 0) for each in played for name in names)
    method, template = names[0] if scope in ("one", "small") else ("", "")
    if scope == "rest":
        template = f"{len(names)} small routes together"
    return Row(
        method=method,
        template=template,
        routes=len(names),
        wanted=wanted / evidence.story.seconds * factor / MILLION,
        wanted_share=wanted / evidence.requests if evidence.requests else 0.0,
        reached=reached / seconds if seconds else 0.0,
        reached_share=reached / sent if sent else 0.0,
    )


def _correct(found: Sequence[Line], fine: int) -> None:
    """Take back, over all rows, what may be bad by chance."""
    every = iter(corrected([each for line in found for each in line.found], fine))
    for line in found:
        line.found = [next(every) for _ in line.found]


def _of(blocks: Mapping[Name, Blocks], names: Sequence[Name]) -> Blocks:
    """Give what came back on some routes, together."""
    there = [blocks[name] for name in names if name in blocks]
    return there[0] if len(there) == 1 else together(there) if there else EMPTY


def _with_unanswered(blocks: Blocks, played: Played) -> Blocks:
    """Add what was on its way when a replay was stopped: else the slowest requests of all would count as nothing.

    How long each had waited is not written down, but it can't be less than this: the last one that was sent for no time
    at all, and each before it for as much longer as requests lay apart.
    """
    if not played.unanswered or played.seconds <= 0:
        return blocks
    recent = [each.sent for each in played.course[-10:]]
    rate = max(recent, default=0) or played.rate
    if rate <= 0:
        return blocks
    times = [dict(block.times) for block in blocks]
    more = [0] * len(blocks)
    for place in range(played.unanswered):
        waited = place / rate
        if waited >= played.seconds:
            break
        into = min(len(blocks) - 1, int((played.seconds - waited) / played.seconds * len(blocks)))
        micros = int(waited * 1e6)
        times[into][micros] = times[into].get(micros, 0) + 1
        more[into] += 1
    return tuple(
        Block(each, block.requests + extra, block.failed)
        for each, extra, block in zip(times, more, blocks, strict=True)
    )


def _seen(line: Line, count: int, seconds: float, sent: int, *, bounded: bool) -> Seen:
    share, rate = count / sent if sent else 0.0, count / seconds if seconds else 0.0
    if bounded:
        found = estimates(line.sample if line.seen == line.runs else Sample(line.seen))
    else:
        plain = of_blocks(count, rate, share, tuple(block for run in line.seen for block in run))
        found = {name: Estimate(value=getattr(plain, name)) for name in ("p50", "p95", "p99", "failed")}
    return Seen(count=count, rate=rate, share=share, **found)


def _count(line: Line) -> int:
    return sum(block.requests for run in line.runs for block in run)


def _past(evidence: Evidence, line: Line) -> Known | None:
    if line.scope == "all":
        return overall(evidence.past, evidence.story) if evidence.past else None
    there = [evidence.past[name] for name in line.names if name in evidence.past]
    if not there:
        return None
    if len(there) == 1:
        return known(there[0], evidence.story, evidence.requests)
    whole = Past(sum(each.count for each in there), together(each.blocks for each in there))
    return known(whole, evidence.story, evidence.requests)


def _before(baseline: Sequence[Played], names: Sequence[Name]) -> Known | None:
    seconds, sent = sum(each.seconds for each in baseline), sum(sum(each.sent.values()) for each in baseline)
    count = sum(each.sent.get(name, 0) for each in baseline for name in names)
    if not count or not seconds:
        return None
    blocks = tuple(block for each in baseline for block in _of(each.latency, names))
    return of_blocks(count, count / seconds, count / sent, blocks)


def _recorded(evidence: Evidence, line: Line) -> Sequence[Block]:
    return together(evidence.past[name].blocks for name in line.names if name in evidence.past) or EMPTY


def _joint(runs: Sequence[Blocks]) -> list[Block]:
    """Put replays over each other: the same interval of all of them is one, as it is one of the incident."""
    return list(together(runs)) if runs else []


def _told(changes: list[Change]) -> list[Change]:
    """Leave out a comparison of which nothing is known."""
    return changes if any(each.before is not None for each in changes) else []
