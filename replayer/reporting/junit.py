"""A run for CI, as JUnit XML: what it promised, and each route, is a test case.

A route fails if its share of failures is worse than before beyond noise. Its latency is judged only against another run
(`reamp report RUN --against RUN2`): between the recording and a replay lie another network and other hardware, so a
factor there is no regression; it is told in the case's output. Answers that differ (`--diff`) fail a case of their
own, and so does a rule whose breach ends a run (`--slo`); what only warns or eases the load off is told in the output.
What can't be judged is skipped, with the reason. A case's time is its p95 in seconds, which CI servers draw over
builds.
"""

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from captures.rendering import printable
from replayer.books.report import Report, RouteReport
from replayer.comparing.comparison import Change
from replayer.comparing.differences import Differences
from replayer.reporting.figures import figure, interval, size
from replayer.reporting.versus import Comparison
from rules.exits import Exit


def junit(report: Report, comparison: Comparison | None = None) -> str:
    """Write a run's test cases."""
    whole = JUnitXml("reamp")
    parts = [("promises", _promises(report)), ("routes", _routes(report, comparison))]
    if report.slo:
        parts.append(("slo", _rules(report)))
    if report.differences is not None:
        parts.append(("answers", _answers(report.differences)))
    for name, cases in parts:
        suite = TestSuite(f"reamp.{name}")
        suite.timestamp = datetime.fromtimestamp(max(0.0, report.started), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        suite.add_property("run", printable(report.run))
        suite.add_property("to", printable(str(report.plan.get("to", ""))))
        suite.add_property("compared with", printable(comparison.before) if comparison else "the recording")
        suite.add_testcases(cases)
        whole.add_testsuite(suite)
    whole.update_statistics()
    out = io.BytesIO()
    whole.write(out, pretty=True)
    return out.getvalue().decode()


def _promises(report: Report) -> list[TestCase]:
    cases = []
    accounts = report.accounts
    reached = bool(accounts.answered) or not accounts.sent
    done = report.stop == "ended"
    for name, kept, why in (
        ("it ended as planned", done, f"{report.stop}: {report.reason} (exit code {report.exit_code})"),
        ("the sender kept its schedule", report.valid, "; ".join(report.invalid_because)),
        ("the target answered", reached, f"none of {accounts.sent} requests was answered"),
        ("its books were written", not report.unwritten, "; ".join(report.unwritten)),
        ("every request is accounted for", accounts.reconciles(), "the accounts do not reconcile"),
    ):
        case = TestCase(name, "reamp.promises", 0.0)
        if not kept:
            # A lever that was pulled is no test that failed: nothing was found out.
            stopped = name == "it ended as planned" and report.exit_code != Exit.FAILED
            case.result = [(Error if stopped else Failure)(printable(why))]
        cases.append(case)
    return cases


def _routes(report: Report, comparison: Comparison | None) -> list[TestCase]:
    cases = []
    for method, template, route, changes in _rows(report, comparison):
        case = TestCase(printable(f"{method} {template}"), "reamp.routes", _seconds(route))
        judged = [change for change in changes if change.verdict != "unclear"]
        bad = [c for c in judged if c.verdict == "worse" and (comparison is not None or c.figure == "failed")]
        if bad:
            case.result = [Failure("; ".join(map(_told, bad)))]
        elif route is None or not judged:
            case.result = [Skipped("too few requests, or too short a time, to tell")]
        case.system_out = "\n".join(f"{_told(change)}: {change.verdict}" for change in changes) or "nothing to compare"
        cases.append(case)
    return cases


def _rules(report: Report) -> list[TestCase]:
    cases = []
    for judgement in report.slo:
        case = TestCase(printable(judgement.rule), "reamp.slo", judgement.seconds)
        told = printable(f"{judgement.verdict} for {judgement.seconds} s; {judgement.told}; {judgement.words}")
        if judgement.verdict == "not judged":
            case.result = [Skipped(told)]
        elif judgement.verdict == "breached" and judgement.action == "abort":
            case.result = [Failure(told)]
        case.system_out = told
        cases.append(case)
    return cases


def _answers(found: Differences) -> list[TestCase]:
    cases = []
    for route in found.routes:
        case = TestCase(printable(f"answers of {route.method} {route.template}"), "reamp.answers", 0.0)
        real = [each for each in route.found if each.verdict == "differs"]
        if real:
            told = (f"{e.what} in {e.differing} of {route.compared}, noise {e.noise} {e.example}".strip() for e in real)
            case.result = [Failure(printable("; ".join(told)))]
        cases.append(case)
    return cases


def _rows(
    report: Report, comparison: Comparison | None
) -> Iterable[tuple[str, str, RouteReport | None, Sequence[Change]]]:
    if comparison is None:
        return [(route.method, route.template, route, route.changes) for route in report.routes]
    return [(route.method, route.template, route.after, route.changes) for route in comparison.routes]


def _seconds(route: RouteReport | None) -> float:
    return (route.latency.p95 or 0.0) if route else 0.0


def _told(change: Change) -> str:
    before, after = figure(change.before, change.figure), figure(change.after, change.figure)
    if change.change is None:
        return f"{change.figure} {before} before, {after} after"
    return f"{change.figure} {before} before, {after} after: {size(change)} ({interval(change)})"
