"""The page of a report: as a browser shows it, and as a file."""

import json
import re
import shutil
from pathlib import Path

import pytest

from replayer.books.folder import read_report
from replayer.books.report import Report
from replayer.counting.series import Second
from replayer.reporting.course import POINTS, Course
from replayer.reporting.figures import share, size_of, time
from replayer.reporting.page import page
from replayer.reporting.versus import compared
from tests.support.chromium import opened

EVIL = """'"><img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}</script><!--"""


def drawn(folder: Path, where: Path, report: Report | None = None) -> Path:
    path = where / "report.html"
    path.write_text(page(report or read_report(folder), folder), encoding="utf-8")
    return path


@pytest.mark.timeout(120)
def test_a_browser_sorts_filters_and_shows_the_figures_of_the_report(ended: Path) -> None:
    report = Report.model_validate_json((ended / "report.json").read_bytes())
    with opened(ended / "report.html") as (shown, seen):
        assert shown.evaluate("document.body.dataset.charts") == "drawn", seen
        assert seen == []  # no request but for the file itself, and no complaint
        assert "None" not in shown.locator("body").inner_text()

        def column(number: int) -> list[str]:
            cells = shown.locator(f"#routes > tbody:visible > tr.row > :nth-child({number})").all()
            return [cell.inner_text().split("\n")[0].strip() for cell in cells]

        shown.locator("#routes thead button", has_text="p50").click()
        by_p50 = sorted(report.routes, key=lambda route: -(route.service.p50 or 0))
        assert column(1) == [f"{route.method} {route.template}" for route in by_p50]
        assert column(4) == [time(route.service.p50) for route in by_p50]
        assert column(3) == [share(route.failed) for route in by_p50]
        assert column(7) == [time(route.service.p99_9) for route in by_p50]
        assert column(9) == [size_of(route.bytes_received) for route in by_p50]
        shown.locator("#routes thead button", has_text="p50").click()
        upwards = sorted(by_p50, key=lambda route: route.service.p50 or 0)  # what is equal stays as it was
        assert column(1) == [f"{route.method} {route.template}" for route in upwards]
        shown.locator("#routes thead button", has_text="Route").click()
        assert column(1) == sorted(column(1))

        shown.get_by_label("Filter").fill("get slow")
        assert column(1) == ["GET /slow/{id}"]
        assert shown.locator("#shown").inner_text() == "1 of 4 routes"
        shown.get_by_label("Filter").fill("")
        shown.get_by_label("only what changed").check()
        changed = {r.template for r in report.routes if any(c.verdict in ("worse", "better") for c in r.changes)}
        assert {name.removeprefix("GET ") for name in column(1)} == changed
        shown.get_by_label("only what changed").uncheck()

        slow = next(route for route in report.routes if route.template == "/slow/{id}")
        shown.get_by_role("button", name="/slow/{id}").click()
        details = shown.locator("#routes tr.more:visible").inner_text()
        assert slow.recorded is not None
        for figure in (slow.latency.p99, slow.service.p95, slow.recorded.duration.p50, slow.recorded.ttfb.max):
            assert time(figure) in details

        text = shown.locator("body").inner_text()
        assert report.run in text
        assert f"{report.accounts.sent:,}" in text
        assert time(report.latency.p99_9) in text
        assert report.bottleneck is not None
        assert report.bottleneck.reason in text
        for chart in ("rate", "latency", "failures", "sender"):
            assert shown.locator(f"#chart-{chart} .main-svg").count() > 0, chart
        points = shown.evaluate("document.getElementById('chart-rate').data.find((t) => t.name.startsWith('sent')).y")
        assert sum(points) == pytest.approx(report.accounts.sent, rel=0.15)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1200, True)])
def test_it_fits_a_phone_and_the_dark(ended: Path, width: int, dark: bool) -> None:
    with opened(ended / "report.html", width=width, dark=dark) as (shown, seen):
        assert seen == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll, the page does not
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in re.findall(r"\d+", paper)[:3])
        assert (brightness < 150) == dark
        missing = shown.evaluate(
            "(({scrollWidth: a, clientWidth: b}) => a - b)(document.querySelector('#by-route .scroll'))"
        )
        assert (missing > 0) == (width < 640)  # where there is room, every column is seen


@pytest.mark.timeout(120)
def test_what_strangers_made_is_text(ended: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ended, folder)
    report = read_report(ended)
    route = report.routes[0]
    named = {"template": f"/{EVIL}", "method": EVIL, "errors": {EVIL: 3}, "shed": {EVIL: 1}}
    evil = report.model_copy(
        update={
            "run": f"run{EVIL}",
            "reason": EVIL,
            "invalid_because": [EVIL],
            "caveats": [EVIL],
            "reasons": {"reset": EVIL},
            "plan": {**report.plan, "to": EVIL, "set_header": [EVIL]},
            "accounts": report.accounts,
            "routes": [route.model_copy(update=named)],
        }
    )
    evil.accounts.errors[EVIL] += 1
    with (folder / "journal.jsonl").open("a") as file:
        entry = {"at": report.started + 2, "event": EVIL, "reason": f"{EVIL}\x1b[31m\u202e", EVIL: 1}
        file.write(json.dumps(entry) + "\n")
    with (folder / "seconds.jsonl").open("a") as file:
        file.write(Second(start=8.1, end=9.1, errors={EVIL: 3}).model_dump_json() + "\n")
    path = drawn(folder, tmp_path, evil)
    assert "<img src=x" not in path.read_text()
    assert "<script>alert" not in path.read_text()
    with opened(path) as (shown, seen):
        assert shown.evaluate("document.body.dataset.charts") == "drawn"
        assert seen == []
        assert shown.locator("img").count() == 0
        assert EVIL in shown.locator("#routes").inner_text()
        assert EVIL in shown.locator("#journal").inner_text()
        # And if something got in: the page's policy lets no script run that is not its own, and no request out.
        shown.evaluate(
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x\" onerror=\"alert(1)\">');"
            "const s = document.createElement('script'); s.textContent = 'alert(3)'; document.body.append(s);"
        )
        shown.wait_for_function("document.images[0].complete")
        assert not [line for line in seen if line.startswith("dialog")], seen
        refused = " ".join(line for line in seen if "Content Security Policy" in line)
        assert "script-src" in refused
        assert "img-src" in refused


def test_the_file_names_no_other_place(ended: Path) -> None:
    text = (ended / "report.html").read_text()
    assert (
        re.findall(
            r"\b(?:https?|wss?|ftp):|\bsrc=|\bhref=|@import|url\(", text.replace(read_report(ended).plan["to"], "")
        )
        == []
    )
    assert len(text) < 2_500_000


def test_a_page_of_a_folder_that_holds_only_the_report(ended: Path, tmp_path: Path) -> None:
    shutil.copy(ended / "report.json", tmp_path)
    assert "/slow/{id}" in page(read_report(tmp_path), tmp_path)


def test_a_page_beside_another_run(ended: Path, slower: Path) -> None:
    text = page(read_report(slower), slower, compared(slower, ended))
    assert read_report(ended).run in text
    assert "p99, actual" in text
    assert "p99, intended" not in text
    assert re.search(r'class="worse"><span class="now">\d\d\.?\d* ms</span><small>2\d\.?\d* ms</small>', text)


def test_however_long_a_run_lasted_its_charts_have_so_many_points(tmp_path: Path) -> None:
    count = 3 * POINTS + 17
    lines = (Second(start=n, end=n + 1, sent=n % 7, statuses={500: n % 2}).model_dump_json() for n in range(count))
    (tmp_path / "seconds.jsonl").write_text("\n".join(lines) + "\n")
    course = Course(tmp_path)
    data = course.data()
    assert POINTS / 2 < len(data["at"]) <= POINTS
    assert {len(data[name]) for name in ("sent", "p50", "lag", "real")} == {len(data["at"])}
    assert sum(data["sent"]) * data["each"] == pytest.approx(sum(n % 7 for n in range(count)), rel=0.01)
    assert len(data["errors"]["5xx"]) == len(data["at"])


def test_percentiles_of_many_seconds_are_those_of_their_histograms_together(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replayer.reporting.course.POINTS", 1)
    (merged,) = Course(ended).data()["p99"]
    assert merged == pytest.approx(read_report(ended).latency.p99, rel=0.01)
