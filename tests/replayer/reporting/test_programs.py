"""What programs read of a run: JUnit XML, JSON and its schema, and the comparison of two runs."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hdrh.log import HistogramLogReader
from junitparser import JUnitXml, TestSuite

from replayer.books.folder import read_report
from replayer.books.report import Report
from replayer.counting.latency import histogram
from replayer.reporting.junit import junit
from replayer.reporting.schema import SCHEMAS, schema
from replayer.reporting.versus import Comparison, compared
from rules.exits import UserError
from tests.support.processes import run

DOCS = Path(__file__).resolve().parents[3] / "docs"


def outcomes(path: Path) -> dict[str, str]:
    """What became of each test case."""
    found = {}
    for suite in JUnitXml.fromfile(str(path)):
        assert isinstance(suite, TestSuite)
        for case in suite:
            found[case.name] = type(case.result[0]).__name__ if case.result else "passed"
    return found


@pytest.mark.timeout(120)
def test_junit_tells_promises_and_routes(ended: Path) -> None:
    found = outcomes(ended / "junit.xml")
    assert found.pop("GET /failing/{id}") == "Failure"
    assert set(found.values()) == {"passed"}
    assert {"it ended as planned", "the sender kept its schedule", "GET /slow/{id}"} <= set(found)
    whole = JUnitXml.fromfile(str(ended / "junit.xml"))
    assert (whole.tests, whole.failures) == (9, 1)


def test_junit_of_a_run_that_was_stopped_and_of_strangers_text(ended: Path, tmp_path: Path) -> None:
    report = read_report(ended)
    evil = report.routes[0].model_copy(update={"template": "/\x00\x1b]]><&'\ud800", "changes": []})
    stopped = report.model_copy(
        update={"stop": "lever", "reason": "pulled \x07 by <ann>", "exit_code": 91, "valid": False,
                "invalid_because": ["lag"], "routes": [evil]}
    )  # fmt: skip
    (tmp_path / "junit.xml").write_text(junit(stopped))
    found = outcomes(tmp_path / "junit.xml")
    assert found["it ended as planned"] == "Error"
    assert found["the sender kept its schedule"] == "Failure"
    assert [result for name, result in found.items() if name.startswith("GET /")] == ["Skipped"]


@pytest.mark.timeout(120)
def test_two_runs_compared(ended: Path, slower: Path, tmp_path: Path) -> None:
    found = compared(slower, ended)
    verdicts = {route.template: {c.figure: c.verdict for c in route.changes} for route in found.routes}
    assert verdicts["/slow/{id}"]["p50"] == "worse"
    slow = next(route for route in found.routes if route.template == "/slow/{id}")
    assert slow.changes[0].change == pytest.approx(60 / 20, rel=0.3)
    assert verdicts["/failing/{id}"]["failed"] == "noise"
    assert slow.before is not None
    assert slow.before == next(r for r in read_report(ended).routes if r.template == "/slow/{id}").model_copy(
        update={"changes": slow.before.changes}
    )
    (tmp_path / "junit.xml").write_text(junit(read_report(slower), found))
    assert outcomes(tmp_path / "junit.xml")["GET /slow/{id}"] == "Failure"
    slowed = "worse" in verdicts["/failing/{id}"].values()  # by whoever else is busy on this machine
    assert outcomes(tmp_path / "junit.xml")["GET /failing/{id}"] == ("Failure" if slowed else "passed")


def test_a_run_compared_with_itself_has_not_changed(ended: Path) -> None:
    found = compared(ended, ended)
    assert Counter(c.verdict for r in found.routes for c in r.changes).keys() <= {"noise", "unclear"}
    assert all("less than a minute" in difference for difference in found.differences)


@pytest.mark.timeout(120)
def test_the_command_line_writes_it_all_again(ended: Path, slower: Path, tmp_path: Path) -> None:
    html, xml = tmp_path / "again.html", tmp_path / "again.xml"
    done = run("report", str(ended), "--html", str(html), "--junit", str(xml), "--json")
    assert done.returncode == 0, done.stderr
    assert Report.model_validate_json(done.stdout) == read_report(ended)
    assert html.read_text() == (ended / "report.html").read_text()
    assert xml.read_text() == (ended / "junit.xml").read_text()
    done = run("report", str(slower), "--against", str(ended), "--html", str(html), "--junit", str(xml))
    assert done.returncode == 0, done.stderr
    assert "/slow/{id}" in done.stdout
    assert read_report(ended).run in html.read_text()
    assert f"against <bdi>{read_report(ended).run}</bdi></h1>" in html.read_text()
    assert outcomes(xml)["GET /slow/{id}"] == "Failure"
    done = run("report", str(slower), "--against", str(ended), "--json")
    assert Comparison.model_validate_json(done.stdout) == compared(slower, ended)
    done = run("report", str(ended), "--html", str(tmp_path / "no" / "where.html"))
    assert done.returncode != 0
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_comparison_needs_is_told(ended: Path, tmp_path: Path) -> None:
    shutil.copy(ended / "report.json", tmp_path)
    with pytest.raises(UserError, match=r"routes\.msgpack"):
        compared(ended, tmp_path)


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_in_the_docs_are_current(name: str) -> None:
    assert (DOCS / name).read_text() == schema(name), "write them again: python -m replayer.reporting.schema docs"
    described = json.loads(schema(name))
    known = described["properties"]
    assert all(known[each]["description"] for each in {"routes", "from", "except", "event"} & known.keys())
    assert known.keys() & {"routes", "event"} or {"from", "except"} < known.keys()


def test_the_histogram_log_reads_with_the_library(ended: Path) -> None:
    report = read_report(ended)
    reader = HistogramLogReader(str(ended / "latency.hlog"), histogram())
    total = histogram()
    while (values := reader.get_next_interval_histogram()) is not None:
        if values.get_tag() == "latency":
            total.add(values)
    reader.input_file.close()
    assert total.total_count == report.latency.count
    assert total.get_value_at_percentile(99) / 1e6 == pytest.approx(report.latency.p99, rel=0.01)
