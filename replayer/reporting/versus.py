"""Two runs, route by route: what changed from one to the other, and whether that is more than noise."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from replayer.books.report import Report, RouteReport
from replayer.comparing.comparison import Change, compare, judged
from replayer.comparing.routes import final_names, settled
from replayer.reporting.findings import LONG, SHORT, Course, blocks, courses, report_routes, routes_of
from replayer.reporting.recovery import report_of
from rules.exits import UserError

_APART = frozenset(("key", "identity", "runs", "metrics", "dry_run", "junit"))
"""Of a plan, what makes no difference to the target."""


class RouteComparison(BaseModel):
    """One route of two runs."""

    method: str
    template: str
    before: RouteReport | None = Field(None, description="null: nothing was sent on it")
    after: RouteReport | None = None
    changes: list[Change] = Field(description="of the latency from the intended send time, and of failures")


class Comparison(BaseModel):
    """What changed from one run to another, as `reamp report RUN --against RUN2 --json` prints it."""

    before: str = Field(description="the run compared with (RUN2)")
    after: str = Field(description="the run looked at (RUN)")
    differences: list[str] = Field(description="of the plans, and what else speaks against comparing")
    routes: list[RouteComparison] = Field(description="the busiest first")


def compared(run: Path, against: Path) -> Comparison:
    """Compare two runs from their folders. Raises UserError."""
    after, before = report_of(run), report_of(against)
    for folder in (run, against):
        if not (folder / "routes.msgpack").is_file():
            raise UserError(f"{folder} holds no routes.msgpack, which a comparison needs: is it a run's whole folder?")
    first, second = routes_of(against), routes_of(run)
    names = final_names([*second, *first])  # of both together, or a route may have two names
    a = {(route.method, route.template): route for route in report_routes(settled(first, names), {})}
    b = {(route.method, route.template): route for route in report_routes(settled(second, names), {})}
    going, gone, empty = courses(run, names), courses(against, names), Course()
    both = [*b, *(name for name in a if name not in b)]
    changes = judged(
        compare(blocks(gone.get(name, empty).latency), blocks(going.get(name, empty).latency)) for name in both
    )
    return Comparison(
        before=before.run,
        after=after.run,
        differences=_differences(before, after),
        routes=[
            RouteComparison(method=name[0], template=name[1], before=a.get(name), after=b.get(name), changes=row)
            for name, row in zip(both, changes, strict=True)
        ],
    )


def _differences(before: Report, after: Report) -> list[str]:
    found = []
    plans: tuple[dict[str, Any], dict[str, Any]] = (before.plan, after.plan)
    for name in sorted(plans[0].keys() | plans[1].keys()):
        a, b = (plan.get(name) for plan in plans)
        if a != b and name not in _APART:
            found.append(f"{name}: {_told(a)} before, {_told(b)} after")
    for report in (before, after):
        if report.seconds < LONG:
            found.append(f"{report.run}: {SHORT}")
        if not report.valid:
            found.append(f"{report.run} is invalid: {'; '.join(report.invalid_because)}")
        if report.bottleneck is not None and report.bottleneck.what != "none":
            found.append(f"{report.run} was held back by its {report.bottleneck.what}: {report.bottleneck.reason}")
    return found


def _told(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value is None else str(value)
