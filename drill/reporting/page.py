"""`verdict.html`: one file to look at, that needs no network and lets nothing in. Pure.

From top to bottom it tells less and less to a manager and more and more to an engineer: the outcome in a sentence, why,
the incident and the drill in five figures, over each other in a picture, what gave way and how much there is to spare,
each route, and on what conditions all of that is so.
"""

from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any, NamedTuple

from drill.judging.verdict import Curve, Estimate, Held, Known, Outcome, Row, Rung, Seen, Verdict
from drill.reporting.words import JUDGED, about, begun, between, moment, plainly, rate, reached, then, times, window
from replayer.reporting.figures import figure, interval, share, size, time
from replayer.reporting.offline import Offline
from rules.slo import Expression
from rules.units import MILLION

POINTS = 1200
"""Places of a chart at most: more than a screen has."""

COLUMNS = ("Route", "Requests", "Sent", "p50", "p95", "p99", "Failed", "Verdict")

MOODS: dict[Outcome, str] = {"HOLDS": "good", "DOES NOT HOLD": "bad", "NOT PROVEN": "open"}

_ENOUGH = 0.95
"""Of what was wanted: a route of which less was sent is marked."""


class Line(NamedTuple):
    """A figure of all requests: during the incident, before the fix, and now."""

    name: str
    told: str
    incident: str
    baseline: str
    now: str
    interval: str
    held: list[Held]


class Cell(NamedTuple):
    """A cell of the table of routes."""

    sort: str
    now: str = ""
    notes: tuple[tuple[str, str], ...] = ()
    kind: str = ""


class Step(NamedTuple):
    """A factor that was tried, as a bar."""

    rung: Rung
    width: float
    label: str


def page(verdict: Verdict) -> str:
    """Draw a verdict's page."""
    return _drawing().draw(
        verdict=verdict,
        mood=MOODS[verdict.outcome],
        window=window(verdict),
        made=moment(verdict.made),
        often=times(verdict.repeats),
        lines=list(_lines(verdict)),
        ladder=_ladder(verdict),
        columns=COLUMNS,
        rows=[(row, _cells(row)) for row in (verdict.overall, *verdict.routes)],
        defaulted=any(not criterion.given for criterion in verdict.criteria),
        confidence=f"{verdict.confidence:.0%}",
        conditions=_conditions(verdict),
        unknown=_unknown(verdict),
        data=_data(verdict),
    )


@cache
def _drawing() -> Offline:
    return Offline(
        files("drill.reporting") / "page",
        {
            "time": time,
            "share": share,
            "rate": rate,
            "figure": figure,
            "size": size,
            "interval": interval,
            "plainly": plainly,
            "about": about,
            "begun": begun,
            "judged": lambda judgement: JUDGED[judgement],
        },
    )


# --- what is in it ---


def _lines(verdict: Verdict) -> list[Line]:
    row = verdict.overall
    seen, known, before = row.replay or Seen(count=0, rate=0, share=0), row.incident, row.baseline

    def latency(name: str, told: str, found: Estimate) -> Line:
        return Line(
            name,
            told,
            then(known, name) or "not known",
            then(before, name),
            time(found.value),
            between(found, time),
            _about(row, name),
        )

    wanted = f"{reached(row)} of the {rate(row.wanted)} that {verdict.asked} stands for"
    return [
        Line("requests", "per second, on average", _rate(known), _rate(before), rate(row.reached), wanted, []),
        latency("p50", "half of the answers take at most", seen.p50),
        latency("p95", "95 of 100 answers take at most", seen.p95),
        latency("p99", "99 of 100 answers take at most", seen.p99),
        Line(
            "failed",
            "no answer, or an error of the server (5xx)",
            _failed(known) or "not known",
            _failed(before),
            share(seen.failed.value),
            between(seen.failed, share),
            _about(row, "failed"),
        ),
    ]


def _rate(known: Known | None) -> str:
    return "" if known is None else rate(known.rate)


def _failed(known: Known | None) -> str:
    return "" if known is None or known.failed is None else share(known.failed)


def _about(row: Row, name: str) -> list[Held]:
    """Give the criteria that are about a figure."""
    return [held for held in row.criteria if _figure(held.criterion) == name]


def _figure(text: str) -> str:
    try:
        found = Expression.parse(text)
    except ValueError:
        return ""
    if found.statistic == "p":
        return f"p{found.percentile:g}"
    return {"med": "p50", "error_ratio": "failed"}.get(found.statistic, "")


def _cells(row: Row) -> list[Cell]:
    seen = row.replay

    def latency(name: str, found: Estimate | None) -> Cell:
        kind = _kind(_about(row, name))
        notes = [("interval", between(found, time))] if found else []
        notes += [("incident", then(row.incident, name)), ("before", then(row.baseline, name))]
        value = found.value if found else None
        return Cell("" if value is None else repr(value), time(value), _some(notes), kind)

    failed = seen.failed if seen else Estimate()
    notes = [
        ("interval", between(failed, share)),
        ("incident", _failed(row.incident)),
        ("before", _failed(row.baseline)),
    ]
    short = row.reached < row.wanted * _ENOUGH
    return [
        Cell(row.name),
        Cell(repr(row.wanted), rate(row.wanted), _of_all(row, row.wanted_share)),
        Cell(
            repr(row.reached / row.wanted if row.wanted else 0.0),
            reached(row),
            _of_all(row, row.reached_share),
            "unclear" if short else "",
        ),
        latency("p50", seen.p50 if seen else None),
        latency("p95", seen.p95 if seen else None),
        latency("p99", seen.p99 if seen else None),
        Cell(
            "" if failed.value is None else repr(failed.value),
            share(failed.value),
            _some(notes),
            _kind(_about(row, "failed")),
        ),
        Cell(
            str(("breaks", "unclear", "untold", "holds").index(row.judgement)), JUDGED[row.judgement], (), row.judgement
        ),
    ]


def _of_all(row: Row, part: float) -> tuple[tuple[str, str], ...]:
    return (("share", f"{share(part)} of all"),) if row.template else ()


def _some(notes: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in notes if text)


def _kind(criteria: list[Held]) -> str:
    """Give what colours a figure: only what is not as it should be."""
    found = {held.judgement for held in criteria}
    return "breaks" if "breaks" in found else "unclear" if "unclear" in found else ""


def _conditions(verdict: Verdict) -> dict[str, list[str]]:
    """Put those of one name together."""
    found: dict[str, list[str]] = {}
    for condition in verdict.conditions:
        found.setdefault(condition.name, []).append(condition.text)
    return found


def _unknown(verdict: Verdict) -> list[str]:
    """Tell which of the incident's curves nobody knows."""
    if verdict.timeline is None:
        return []
    known = verdict.timeline.incident
    curves = (("how long answers took", known.p95), ("what failed", known.failed))
    return [name for name, curve in curves if not any(value is not None for value in curve)]


def _ladder(verdict: Verdict) -> list[Step]:
    if verdict.headroom is None:
        return []
    rungs = verdict.headroom.rungs
    most = max((max(rung.rate, 0.0) for rung in rungs), default=0.0) or 1.0
    return [Step(rung, round(100 * max(rung.rate, 0.0) / most, 2), _label(rung, verdict)) for rung in rungs]


def _label(rung: Rung, verdict: Verdict) -> str:
    if rung.factor == verdict.asked:
        return "asked for" if rung.factor != MILLION else "the incident, and asked for"
    return "the incident" if rung.factor == MILLION else ""


# --- what is drawn ---


def _data(verdict: Verdict) -> dict[str, Any]:
    """Give the charts' lines: times in milliseconds, shares and rates as they are."""
    timeline = verdict.timeline
    limits = [
        {"of": name, "at": held.limit, "text": plainly(held.criterion)}
        for held in verdict.overall.criteria
        if (name := _figure(held.criterion)) in ("p95", "failed") and held.limit is not None
    ]
    if timeline is None:
        return {"at": [], "curves": [], "limits": limits, "interval": 0, "gave_way": None}
    every = max(1, -(-len(timeline.at) // POINTS))
    curves = [("incident", timeline.incident), ("before", timeline.baseline), ("now", timeline.replay)]
    gave_way = verdict.gave_way
    shown = gave_way is not None and gave_way.factor <= verdict.asked
    return {
        "at": timeline.at[::every],
        "curves": [_curve(name, curve, every) for name, curve in curves if curve is not None],
        "limits": limits,
        "interval": timeline.interval * every,
        "begin": verdict.begin_ns / 1e9,
        "gave_way": gave_way.at if shown and gave_way is not None else None,
    }


def _curve(name: str, curve: Curve, every: int) -> dict[str, Any]:
    """Thin a curve out: of each few points the mean of the rates, and the worst of the rest."""
    return {
        "name": name,
        "rate": [_mean(part) for part in _parts(curve.rate, every)],
        "p95": [_worst(part) for part in _parts(curve.p95, every)],
        "failed": [_worst(part) for part in _parts(curve.failed, every)],
    }


def _parts(values: list[float | None], every: int) -> list[list[float]]:
    # What is no number (JSON has none for it) would leave the page without charts.
    known = [None if value is None or not isfinite(value) else value for value in values]
    return [[v for v in known[place : place + every] if v is not None] for place in range(0, len(known), every)]


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def _worst(values: list[float]) -> float | None:
    return round(max(values), 6) if values else None
