"""A drill for CI, as JUnit XML: the verdict, each criterion, and each route is a test case.

The verdict's case fails if the fix does not hold, and is an error if that is not proven: nothing was found out, and a
pipeline that goes on only when the fix holds has to stop. A route fails if it breaks a criterion; what could not be
judged is skipped, with the reason. A case's time is its p95 in seconds, which CI servers draw over builds.
"""

import io

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from captures.rendering import printable
from drill.judging.verdict import Held, Reason, Row, Verdict
from drill.reporting.words import about, moment, plainly, rate
from replayer.reporting.figures import share


def junit(verdict: Verdict) -> str:
    """Write a verdict's test cases."""
    whole = JUnitXml("reamp drill")
    for name, cases in (
        ("verdict", [_verdict(verdict)]),
        ("criteria", [_criterion(verdict.overall, held) for held in verdict.overall.criteria]),
        ("routes", [_route(verdict, row) for row in verdict.routes]),
    ):
        suite = TestSuite(f"reamp.drill.{name}")
        suite.timestamp = moment(verdict.made, "%Y-%m-%dT%H:%M:%S")
        suite.add_property("drill", printable(verdict.drill))
        suite.add_property("to", printable(verdict.target))
        suite.add_property("incident", printable(verdict.incident))
        suite.add_property("asked", str(verdict.asked))
        suite.add_property("against", printable(verdict.baseline or ""))
        suite.add_testcases(cases)
        whole.add_testsuite(suite)
    whole.update_statistics()
    out = io.BytesIO()
    whole.write(out, pretty=True)
    return out.getvalue().decode()


def _verdict(verdict: Verdict) -> TestCase:
    case = TestCase(
        f"the fix holds under {verdict.asked} of the incident", "reamp.drill.verdict", _p95(verdict.overall)
    )
    told = printable(f"{verdict.outcome}: {verdict.sentence}")
    if verdict.outcome == "DOES NOT HOLD":
        case.result = [Failure(told)]
    elif verdict.outcome == "NOT PROVEN":
        case.result = [Error(told)]
    lines = [told]
    lines += [_told(reason) for reason in verdict.reasons]
    if verdict.headroom is not None:
        lines.append(f"headroom: {verdict.headroom.text}")
    if verdict.gave_way is not None:
        lines.append(f"gave way first: {verdict.gave_way.text}")
    lines += [f"{condition.name}: {condition.text}" for condition in verdict.conditions]
    case.system_out = printable("\n".join(lines), "\n")
    return case


def _told(reason: Reason) -> str:
    return " ".join(filter(None, ("-", about(reason), plainly(reason.text), reason.settle)))


def _criterion(overall: Row, held: Held) -> TestCase:
    case = TestCase(printable(f"all requests: {plainly(held.criterion)}"), "reamp.drill.criteria", _p95(overall))
    told = printable(held.told)
    if held.judgement == "breaks":
        case.result = [Failure(told)]
    elif held.judgement != "holds":
        case.result = [Skipped(told or "not judged")]
    case.system_out = told
    return case


def _route(verdict: Verdict, row: Row) -> TestCase:
    case = TestCase(printable(row.name), "reamp.drill.routes", _p95(row))
    why = [reason.text for reason in verdict.reasons if reason.route == row.name]
    told = [f"{plainly(held.criterion)}: {held.told}" for held in row.criteria]
    broken = [f"{plainly(held.criterion)}: {held.told}" for held in row.criteria if held.judgement == "breaks"]
    if row.judgement == "breaks":
        case.result = [Failure(printable("; ".join(broken or why or ["it breaks"])))]
    elif row.judgement != "holds":
        case.result = [Skipped(printable("; ".join(why) or "too few requests to tell, or none was sent"))]
    told.append(f"wanted {rate(row.wanted)}, reached {rate(row.reached)}: {share(row.reached_share)} of all")
    case.system_out = printable("\n".join(told), "\n")
    return case


def _p95(row: Row) -> float:
    return (row.replay.p95.value or 0.0) if row.replay else 0.0
