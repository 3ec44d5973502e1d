"""The page of a verdict: as a browser shows it, and as a file."""

import json
import re
from pathlib import Path

import pytest

from drill.judging.verdict import Condition, Estimate, Outcome, Reason, Row, Timeline, Verdict
from drill.reporting.page import POINTS, page
from replayer.reporting.figures import time
from tests.support.chromium import launched, opened
from tests.support.verdicts import GUILTY, verdict

EVIL = """'"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}</script><!--"""


def drawn(found: Verdict, folder: Path) -> Path:
    path = folder / "verdict.html"
    path.write_text(page(found), encoding="utf-8")
    return path


@pytest.mark.timeout(120)
def test_a_manager_reads_one_sentence_and_an_engineer_finds_the_route(tmp_path: Path) -> None:
    found = verdict("DOES NOT HOLD")
    with opened(drawn(found, tmp_path)) as (shown, seen):
        assert shown.evaluate("document.body.dataset.charts") == "drawn", seen
        assert seen == []  # no request but for the file itself, and no complaint
        text = shown.locator("body").inner_text()
        assert not re.search(r"\bNone\b(?! of them)", text)
        assert "undefined" not in text
        assert shown.locator("h1").inner_text() == found.sentence
        assert shown.locator(".outcome").inner_text().strip() == "DOES NOT HOLD"
        assert shown.locator("h1").bounding_box()["y"] < 300  # type: ignore[index]
        for reason in found.reasons:
            assert reason.text in text
        assert found.gave_way is not None
        assert found.gave_way.text in text
        assert shown.locator(".ladder li.breaks").count() == 2

        def names() -> list[str]:
            return [
                cell.inner_text().strip()
                for cell in shown.locator("#routes > tbody:visible:not(.all) > tr.row > th").all()
            ]

        shown.locator("#routes thead button", has_text="p95").click()
        by_p95 = sorted(found.routes, key=lambda row: -(row.replay.p95.value or 0 if row.replay else 0))
        assert names() == [row.name for row in by_p95]
        assert shown.locator("#routes > tbody").first.locator("th").first.inner_text().strip() == "all requests"
        shown.get_by_label("only what does not hold").check()
        assert names() == [row.name for row in by_p95 if row.judgement != "holds"]
        shown.get_by_label("only what does not hold").uncheck()
        shown.get_by_label("Filter").fill("breaks")
        assert names() == [f"GET {GUILTY}"]
        shown.get_by_role("button", name=GUILTY).click()
        details = shown.locator("#routes tr.more:visible").inner_text()
        (guilty,) = [row for row in found.routes if row.template == GUILTY]
        for held in guilty.criteria:
            assert held.told in details

        for chart, what in (("rate", "rate"), ("p95", "p95"), ("failed", "failed")):
            curves = shown.evaluate(f"document.getElementById('chart-{chart}').data.map((t) => [t.name, t.y])")
            assert [name for name, _ in curves] == ["the incident", "the clone before", "the clone now"]
            assert found.timeline is not None
            assert curves[2][1] == pytest.approx(getattr(found.timeline.replay, what), abs=0.01)
        limits = shown.evaluate("document.getElementById('chart-p95').layout.shapes.filter((s) => s.xref === 'paper')")
        assert [limit["y0"] for limit in limits] == [1]


@pytest.mark.timeout(120)
def test_it_fits_a_phone_and_the_dark(tmp_path: Path) -> None:
    shapes: list[tuple[int, bool, Outcome]] = [
        (390, False, "NOT PROVEN"),
        (390, True, "DOES NOT HOLD"),
        (1200, True, "HOLDS"),
    ]
    with launched() as (shown, seen):
        for width, dark, outcome in shapes:
            path = drawn(verdict(outcome), tmp_path)
            shown.set_viewport_size({"width": width, "height": 900})
            shown.emulate_media(color_scheme="dark" if dark else "light")
            shown.goto(path.as_uri())
            shown.wait_for_function("document.body.dataset.charts")
            assert shown.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll, the page does not
            paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(int(part) for part in re.findall(r"\d+", paper)[:3]) < 150) == dark
            now = shown.locator(".figures tbody tr td .now").first.bounding_box()
            assert now is not None
            assert now["x"] + now["width"] <= width  # what it is about is seen without scrolling sideways
        assert seen == [f"request {path.as_uri()}"] * len(shapes)


@pytest.mark.timeout(120)
def test_what_strangers_made_is_text(tmp_path: Path) -> None:
    plain = verdict("DOES NOT HOLD")
    evil = plain.model_copy(
        update={
            "drill": EVIL, "sentence": EVIL, "target": EVIL, "incident": EVIL, "baseline": EVIL,
            "reasons": [Reason(kind="broken", text=EVIL, route=EVIL, settle=EVIL)],
            "routes": [plain.routes[0].model_copy(update={"template": f"/{EVIL}", "method": EVIL})],
            "conditions": [Condition(name=EVIL, text=EVIL)],
            "gave_way": plain.gave_way.model_copy(update={"text": EVIL, "route": EVIL}) if plain.gave_way else None,
            "headroom": plain.headroom.model_copy(update={"text": EVIL}) if plain.headroom else None,
            "overall": plain.overall.model_copy(
                update={"criteria": [plain.overall.criteria[0].model_copy(update={"told": EVIL})]}
            ),
        }
    )  # fmt: skip
    path = drawn(evil, tmp_path)
    assert "<img src=x" not in path.read_text()
    assert "<script>alert" not in path.read_text()
    with opened(path) as (shown, seen):
        assert seen == []
        assert shown.locator("img").count() == 0
        for place in ("h1", "#why", "#routes", "#conditions", "#headroom"):
            assert EVIL in shown.locator(place).inner_text()


@pytest.mark.parametrize("outcome", ["HOLDS", "DOES NOT HOLD", "NOT PROVEN"])
def test_the_file_names_no_other_place(outcome: Outcome) -> None:
    found = verdict(outcome)
    text = page(found)
    assert re.findall(r"\b(?:https?|wss?|ftp):|\bsrc=|\bhref=|@import|url\(", text.replace(found.target, "")) == []
    assert len(text) < 2_500_000


def test_where_nothing_was_played_it_says_so() -> None:
    bare = Verdict(
        drill="d", made=0, outcome="NOT PROVEN", sentence="Nothing was played.", asked=verdict("HOLDS").asked,
        repeats=0, target="http://127.0.0.1:9", incident="nobody knows", begin_ns=0, end_ns=1,
        overall=Row(wanted=0, wanted_share=0, reached=0, reached_share=0),
    )  # fmt: skip
    text = page(bare)
    assert "There is nothing to draw" in text
    assert "How much it bears" not in text


def test_figures_that_nobody_knows_are_not_made_up() -> None:
    plain = verdict("HOLDS", baseline=False)
    assert plain.overall.incident is not None
    known = plain.overall.incident.model_copy(
        update={"p50": None, "p95": None, "p99": None, "failed": None, "quantiles": {"p96": 8.25}}
    )
    text = page(plain.model_copy(update={"overall": plain.overall.model_copy(update={"incident": known})}))
    rows = re.findall(r'<th scope="row">(\w+)<small>.*?<td class="past">(.*?)</td>', text, re.DOTALL)
    assert dict(rows) | {"requests": ""} == {
        "requests": "", "p50": "not known", "p95": "8.25 s (p96)", "p99": "not known", "failed": "not known",
    }  # fmt: skip


def test_however_long_the_incident_was_its_charts_have_so_many_points() -> None:
    plain = verdict("HOLDS")
    assert plain.timeline is not None
    count = 3 * POINTS + 17
    curve = plain.timeline.replay.model_copy(
        update={"rate": [4.0] * count, "p95": [None] * 5 + [0.1] * (count - 5), "failed": [0.0] * count}
    )
    long = Timeline(interval=1, at=[float(at) for at in range(count)], incident=curve, replay=curve)
    text = page(plain.model_copy(update={"timeline": long}))
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    assert data.count("4.0") >= 2 * POINTS / 2
    assert len(re.findall(r'"at": \[(.*?)\]', data)[0].split(",")) <= POINTS


def test_what_is_no_number_leaves_a_gap() -> None:
    plain = verdict("HOLDS")
    assert plain.timeline is not None
    odd = plain.timeline.replay.model_copy(update={"p95": [float("nan"), float("inf"), 0.5]})
    text = page(plain.model_copy(update={"timeline": plain.timeline.model_copy(update={"replay": odd})}))
    (data,) = re.findall(r'id="data">(.*?)</script>', text)
    assert json.loads(data, parse_constant=pytest.fail)["curves"][-1]["p95"] == [None, None, 0.5]


def test_curves_that_nobody_knows_are_told() -> None:
    plain = verdict("HOLDS")
    assert plain.timeline is not None
    assert "is not known: where it is from" not in page(plain)
    nothing = plain.timeline.incident.model_copy(update={"failed": [None] * len(plain.timeline.at)})
    text = page(plain.model_copy(update={"timeline": plain.timeline.model_copy(update={"incident": nothing})}))
    assert "what failed over time is not known: where it is from" in text


def test_a_figure_without_an_interval_has_none() -> None:
    plain = verdict("HOLDS")
    assert plain.overall.replay is not None
    alone = plain.overall.replay.model_copy(update={"p99": Estimate(value=0.3333)})
    text = page(plain.model_copy(update={"overall": plain.overall.model_copy(update={"replay": alone})}))
    assert f'<span class="now">{time(0.3333)}</span></td>' in text
