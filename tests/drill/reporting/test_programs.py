"""What programs and terminals get of a verdict: JUnit, JSON and its schema, a summary."""

import io
import json
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from rich.console import Console

from drill.judging.verdict import Estimate, Outcome, Verdict
from drill.reporting.junit import junit
from drill.reporting.schema import SCHEMAS, schema
from drill.reporting.terminal import show
from drill.reporting.words import begun, between, moment, plainly, rate, then, window
from drill.reporting.writing import write_verdict
from replayer.reporting.figures import share, time
from tests.support.verdicts import GUILTY, verdict

DOCS = Path(__file__).resolve().parents[3] / "docs"


def cases(found: Verdict, suite: str) -> dict[str, Element]:
    root = fromstring(junit(found))
    return {case.attrib["name"]: case for case in root.iterfind(f"testsuite[@name='reamp.drill.{suite}']/testcase")}


@pytest.mark.parametrize(
    ("outcome", "failures", "errors"), [("HOLDS", 0, 0), ("DOES NOT HOLD", 4, 0), ("NOT PROVEN", 0, 1)]
)
def test_ci_goes_on_only_when_the_fix_holds(outcome: Outcome, failures: int, errors: int) -> None:
    found = verdict(outcome)
    root = fromstring(junit(found))
    assert int(root.attrib["failures"]) == failures
    assert int(root.attrib["errors"]) == errors
    (case,) = cases(found, "verdict").values()
    assert found.sentence in (case.findtext("system-out") or "")


def test_the_route_that_broke_fails_with_its_figures() -> None:
    found = verdict("DOES NOT HOLD")
    routes = cases(found, "routes")
    assert [name for name, case in routes.items() if case.find("failure") is not None] == [f"GET {GUILTY}"]
    failure = routes[f"GET {GUILTY}"].find("failure")
    assert failure is not None
    assert "9.7 s (8.9 s to 11 s)" in failure.attrib["message"]
    assert float(routes[f"GET {GUILTY}"].attrib["time"]) == pytest.approx(9.7)


def test_what_was_not_judged_is_skipped_with_the_reason() -> None:
    left_out = cases(verdict("NOT PROVEN"), "routes")["POST /api/cart/items"].find("skipped")
    assert left_out is not None
    assert "left out" in left_out.attrib["message"]


def test_json_reads_back_and_schemas_are_those_in_docs(tmp_path: Path) -> None:
    found = verdict("HOLDS")
    assert write_verdict(found, tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "verdict.html", "verdict.json"]
    text = (tmp_path / "verdict.json").read_text()
    assert Verdict.model_validate_json(text) == found
    known = json.loads(schema("verdict.schema.json"))["properties"]
    assert json.loads(text).keys() == known.keys()
    for name in SCHEMAS:
        assert (DOCS / name).read_text() == schema(name), (
            f"make it anew: python -m drill.reporting.schema docs ({name})"
        )


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (missing, *rest) = write_verdict(verdict("HOLDS"), tmp_path / "nowhere")
    assert "verdict.json: it can't be written" in missing
    assert len(rest) == 2


def printed(found: Verdict, width: int) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width), found)
    return out.getvalue()


@pytest.mark.parametrize("outcome", ["HOLDS", "DOES NOT HOLD", "NOT PROVEN"])
@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_tells_the_verdict_and_why(outcome: Outcome, width: int) -> None:
    found = verdict(outcome)
    lines = printed(found, width).splitlines()
    assert all(len(line) <= width for line in lines)
    whole = " ".join(" ".join(lines).split())
    assert f"{outcome} {found.sentence}" in whole
    for reason in found.reasons:
        assert reason.text in whole
        assert reason.settle in whole
    assert found.headroom is not None
    assert found.headroom.text in whole
    assert len([line for line in lines if "█" in line]) == len(found.headroom.rungs)


def test_nothing_that_strangers_made_moves_the_terminal() -> None:
    found = verdict("DOES NOT HOLD")
    evil = "\x1b[2J[bold]\u202e"
    row = found.routes[0].model_copy(update={"template": f"/{evil}"})
    text = printed(found.model_copy(update={"routes": [row], "sentence": evil, "target": evil}), 120)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]" in text


def test_words() -> None:
    assert [rate(each) for each in (None, 0.0123, 4.25, 386.6, 12_345)] == [
        "-",
        "0.012/s",
        "4.2/s",
        "387/s",
        "12,345/s",
    ]
    assert between(Estimate(value=0.04, low=0.038, high=0.051), time) == "38 to 51 ms"
    assert between(Estimate(value=0.9, low=0.95, high=1.2), time) == "950 ms to 1.2 s"
    assert between(Estimate(value=0.01, low=None, high=0.02), share) == "0 to 2.00%"
    assert between(Estimate(value=0.01, low=0.002), share) == "0.20% to any"
    assert between(Estimate(), time) == ""
    assert then(None, "p95") == ""
    assert plainly("3 times synthetic.p(95)<1s, synthetic.rate>3/s") == "3 times p(95)<1s, rate>3/s"
    assert plainly("GET /synthetic.html") == "GET /synthetic.html"
    assert [begun(each) for each in ("the clone", "p(95)<1s holds", "")] == ["The clone", "p(95)<1s holds", ""]
    assert moment(1e30) == "31 December 9999, 00:00:00 UTC"
    found = verdict("HOLDS")
    assert window(found) == "21 November 2025, 13:02 to 13:31 UTC (29m)"
    assert window(found.model_copy(update={"end_ns": found.begin_ns + 20 * 10**9})).endswith(
        "13:02:00 to 13:02:20 UTC (20s)"
    )
    assert "22 November 2025, 13:02" in window(found.model_copy(update={"end_ns": found.begin_ns + 86_400 * 10**9}))
