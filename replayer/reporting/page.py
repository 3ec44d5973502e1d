"""`report.html`: one file to look at, that needs no network and lets nothing in."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from captures.rendering import printable
from replayer.books.report import Report, RouteReport
from replayer.comparing.comparison import Change, Figure
from replayer.counting.latency import Quantiles
from replayer.reporting.course import Course
from replayer.reporting.figures import counts, figure, interval, p, share, size, size_of, time
from replayer.reporting.findings import journal
from replayer.reporting.offline import Offline
from replayer.reporting.versus import Comparison
from rules.exits import Exit
from rules.slo import Expression
from rules.units import Duration

MOST_ENTRIES = 500
"""Lines of the journal that are shown."""

LEAD = 0.05
"""Seconds from the journal's "start" to the first second of the run."""

COLUMNS = ("Route", "Sent", "Failed", "p50", "p95", "p99", "p99.9")

LOUDNESS = (("rate", "at"), ("top_up", "topped up to"), ("amplify", "amplified"))
"""Settings that say how much was to be sent, and the words before their values."""


class Tile(NamedTuple):
    """A figure that stands out."""

    name: str
    value: str
    note: str = ""
    bad: bool = False


class Cell(NamedTuple):
    """A cell of the table of routes: the figure, the one before, and what lies between."""

    sort: str
    now: str = ""
    before: str = ""
    change: str = ""
    interval: str = ""
    verdict: str = ""


@dataclass
class Row:
    """A route."""

    method: str
    template: str
    cells: list[Cell]
    distributions: list[tuple[str, Quantiles]]
    facts: list[tuple[str, str]]
    changes: list[Change]

    @property
    def changed(self) -> bool:
        """Whether anything is more than noise."""
        return any(change.verdict in ("worse", "better") for change in self.changes)

    @property
    def text(self) -> str:
        """Give what the filter looks at."""
        verdicts = {change.verdict for change in self.changes}
        facts = " ".join(value for name, value in self.facts if name in ("statuses", "errors"))
        return f"{self.method} {self.template} {' '.join(sorted(verdicts))} {facts}".lower()


def page(report: Report, folder: Path, comparison: Comparison | None = None) -> str:
    """Draw a run's page; `comparison`: beside another run instead of beside the recording."""
    course = Course(folder)
    entries = list(journal(folder))
    start = next((_number(e.get("at")) + LEAD for e in entries if e.get("event") == "start"), report.started)
    marks = [
        {
            "at": round(max(0.0, _number(e.get("at")) - start), 3),
            "text": f"{_text(e.get('event'))} {_details(e)}".strip(),
        }
        for e in entries[:MOST_ENTRIES]
        if e.get("event") not in ("plan", "start")
    ]
    rows = _compared(comparison) if comparison else [_row(route) for route in report.routes]
    return _drawing().draw(
        report=report,
        against=comparison.before if comparison else "",
        verdict=report.stop,
        mood={Exit.DONE: "good", Exit.INTERRUPTED: "plain"}.get(Exit(report.exit_code), "bad"),
        bottleneck_name={"none": "not the sender", "sender": "the sender", "connections": "its connections"}.get(
            report.bottleneck.what if report.bottleneck else "none"
        ),
        tiles=_tiles(report),
        columns=(*COLUMNS, "p99, actual" if comparison else "p99, intended", "Received"),
        rows=rows,
        notes=comparison.differences if comparison else report.caveats,
        failures=_failures(report),
        journal=[
            {"at": _clock(_number(e.get("at")) - start), "event": _text(e.get("event")), "details": _details(e)}
            for e in entries[:MOST_ENTRIES]
        ],
        journal_left=max(0, len(entries) - MOST_ENTRIES),
        plan=json.dumps(report.plan, indent=2, ensure_ascii=False),
        accounts=json.dumps(report.model_dump(mode="json")["accounts"], indent=2),
        data={**course.data(), "marks": marks, "limits": _limits(report), "length": round(report.seconds, 3)},
    )  # fmt: skip


@cache
def _drawing() -> Offline:
    return Offline(
        files("replayer.reporting") / "page",
        {"time": time, "figure": figure, "size": size, "interval": interval, "p": p},
    )


def _limits(report: Report) -> list[dict[str, Any]]:
    """Give what real users' p95 was held against, for the chart: milliseconds."""
    found = {}
    for judgement in report.slo:
        expression = Expression.parse(judgement.expression)
        is_p95 = expression.statistic == "p" and expression.percentile == 95
        if is_p95 and expression.subject == "real" and judgement.limit:
            found[round(judgement.limit * 1000, 3)] = judgement.expression
    return [{"at": limit, "text": text} for limit, text in sorted(found.items())]


def _tiles(report: Report) -> list[Tile]:
    accounts = report.accounts
    rate = f"{accounts.sent / report.seconds:.1f}/s" if report.seconds >= 1 else ""
    failed = accounts.errors.total() + sum(count for status, count in accounts.statuses.items() if status >= 500)
    tiles = [
        Tile("wanted", f"{accounts.wanted:,}", f"shed {accounts.shed.total():,}"),
        Tile("sent", f"{accounts.sent:,}", rate),
        Tile("answered", f"{accounts.answered:,}", counts(accounts.statuses)),
        Tile("failed", f"{failed:,}", f"{share(failed / accounts.sent)} of those sent" if failed else "", bool(failed)),
    ]
    tiles += [
        Tile(f"real at {printable(s.url)}", f"{s.real:,}", f"ceiling {s.ceiling}, spent {s.spent:,}")
        for s in report.sidecars
    ]
    tiles += [
        Tile("latency, p50", time(report.latency.p50), f"from sending {time(report.service.p50)}"),
        Tile("latency, p99", time(report.latency.p99), f"from sending {time(report.service.p99)}"),
        Tile("latency, p99.9", time(report.latency.p99_9), f"max {time(report.latency.max)}"),
        Tile("sender's lag, p99", time(report.lag.p99), f"max {time(report.lag.max)}"),
        Tile(
            "lasted",
            str(Duration(round(report.seconds, 1))),
            next((f"{what} {report.plan[name]}" for name, what in LOUDNESS if report.plan.get(name)), ""),
        ),
        Tile(
            "to", str(report.plan.get("to", "")), f"ceiling {report.ceiling}" if report.ceiling is not None else "idle"
        ),
    ]
    return tiles


def _row(route: RouteReport) -> Row:
    """Set a route beside its recording."""
    seen = route.recorded
    found = {change.figure: change for change in route.changes}
    distributions = [("from the actual send", route.service), ("from the intended send", route.latency)]
    facts = _facts(route)
    if seen is not None:
        distributions += [("recorded", seen.duration), ("recorded, first byte", seen.ttfb)]
        facts += [("recorded statuses", counts(seen.statuses)), ("recorded bytes of bodies", size_of(seen.bytes))]
    return Row(
        route.method,
        route.template,
        _cells(
            route, route.service, seen.duration if seen else None, seen.failed if seen else None, found, route.latency
        ),
        distributions,
        facts,
        route.changes,
    )


def _compared(comparison: Comparison) -> list[Row]:
    """Set the routes of a run beside those of another."""
    rows = []
    for route in comparison.routes:
        after, before = route.after or _nothing(route.method, route.template), route.before
        distributions = [("intended send, after", after.latency), ("actual send, after", after.service)]
        facts = _facts(after)
        if before is not None:
            distributions += [("intended send, before", before.latency), ("actual send, before", before.service)]
            facts += [(f"{name}, before", value) for name, value in _facts(before)]
        found = {change.figure: change for change in route.changes}
        cells = _cells(
            after,
            after.latency,
            before.latency if before else None,
            before.failed if before else None,
            found,
            after.service,
        )
        rows.append(Row(route.method, route.template, cells, distributions, facts, route.changes))
    return rows


def _nothing(method: str, template: str) -> RouteReport:
    none = Quantiles()
    return RouteReport(
        method=method, template=template, wanted=0, allowed=0, sent=0, answered=0, withheld=0, shed={}, statuses={},
        errors={}, failed=None, bytes_received=0, latency=none, service=none,
    )  # fmt: skip


def _facts(route: RouteReport) -> list[tuple[str, str]]:
    return [
        ("wanted, allowed, sent", f"{route.wanted:,}, {route.allowed:,}, {route.sent:,}"),
        ("statuses", counts(route.statuses) or "none"),
        ("errors", counts(route.errors) or "none"),
        ("shed", counts(route.shed) or "none"),
        ("withheld by the sidecar", str(route.withheld)),
        ("bytes received", size_of(route.bytes_received)),
    ]


def _cells(
    route: RouteReport,
    now: Quantiles,
    before: Quantiles | None,
    failed: float | None,
    found: dict[Figure, Change],
    other: Quantiles,
) -> list[Cell]:
    """Give a row: times `now` and `before`, and at its end those from the `other` moment of sending."""

    def quantile(name: str, shown: Figure | None) -> Cell:
        value = getattr(now, name)
        old = getattr(before, name) if before is not None else None
        change = found.get(shown) if shown else None
        return Cell(
            "" if value is None else repr(value),
            time(value),
            "" if before is None else time(old),
            "" if change is None or change.change is None else size(change),
            "" if change is None or change.change is None else interval(change),
            change.verdict if change else "",
        )

    failing = found.get("failed")
    return [
        Cell(f"{route.template} {route.method}"),
        Cell(str(route.sent), f"{route.sent:,}", f"of {route.wanted:,}" if route.wanted != route.sent else ""),
        Cell(
            "" if route.failed is None else repr(route.failed),
            share(route.failed),
            "" if failed is None else share(failed),
            "" if failing is None or not failing.change else size(failing),
            "",
            failing.verdict if failing else "",
        ),
        quantile("p50", "p50"),
        quantile("p95", "p95"),
        quantile("p99", "p99"),
        quantile("p99_9", None),
        Cell("" if other.p99 is None else repr(other.p99), time(other.p99)),
        Cell(str(route.bytes_received), size_of(route.bytes_received)),
    ]


def _failures(report: Report) -> list[tuple[str, str, str, str, str]]:
    accounts = report.accounts
    rows: list[tuple[str, str, int, int, str]] = []
    rows += [("error", kind, n, accounts.sent, report.reasons.get(kind, "")) for kind, n in _largest(accounts.errors)]
    rows += [("status", str(s), n, accounts.answered, "") for s, n in _largest(accounts.statuses) if s >= 500]
    rows += [("withheld", kind, n, accounts.sent, "refused by the sidecar") for kind, n in _largest(accounts.withheld)]
    rows += [("shed", kind, n, accounts.wanted, "") for kind, n in _largest(accounts.shed)]
    rows += [("unanswered", "stopped", accounts.unanswered, accounts.sent, "on their way when the run was stopped")]
    rows += [("skipped", kind, n, accounts.read, "of the records read") for kind, n in _largest(accounts.skipped)]
    return [(what, kind, f"{n:,}", share(n / of) if of else "-", text) for what, kind, n, of, text in rows if n]


def _largest(values: dict[Any, int]) -> Iterable[tuple[Any, int]]:
    return sorted(values.items(), key=lambda each: -each[1])


def _details(entry: dict[str, Any]) -> str:
    left_out = ("at", "elapsed", "event", "plan")  # that is on the page by itself
    said = {key: value for key, value in entry.items() if key not in left_out and value not in (None, [])}
    lists = {key: ", ".join(map(str, value)) for key, value in said.items() if isinstance(value, list)}
    return ", ".join(f"{key}: {_text(value)}" for key, value in (said | lists).items())


def _text(value: object) -> str:
    return printable(str(value))[:500]


def _clock(seconds: float) -> str:
    sign = "-" if seconds <= -0.05 else ""
    minutes, rest = divmod(abs(seconds), 60)
    return f"{sign}{minutes:.0f}:{rest:04.1f}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
