"""Whole runs under rules: a real app, a control port that says what users get as told, real processes."""

import json
import re
import signal
import urllib.request
from itertools import pairwise
from typing import Any

import httpx
import pytest
from junitparser import JUnitXml

from replayer.books.report import Report
from replayer.counting.series import Second
from replayer.reporting.findings import seconds as written
from replayer.reporting.recovery import recovered, report_of
from rules.exits import Exit
from tests.replayer.test_run import RATE, Field, app, here
from tests.support.processes import eventually, free_port, run

__all__ = ["app", "here"]  # fixtures

QUICK = "window=1s for=0s grace=0s min_samples=1"


def users(here: Field, **told: Any) -> None:
    httpx.post(f"{here.control_url}/users", json=told, trust_env=False).raise_for_status()


def noted(here: Field, event: str) -> list[dict[str, Any]]:
    return [entry for entry in here.journal() if entry["event"] == event]


def seconds(here: Field) -> list[Second]:
    return list(written(next(iter(here.runs.glob("*")), here.runs)))


def told(here: Field, report: Report) -> str:
    """What `report.json` says, as text that a failing test can show."""
    return json.dumps(report.model_dump(mode="json")["slo"], indent=1) + json.dumps(here.journal(), indent=1)


def test_load_eases_off_when_users_suffer_and_comes_back_when_they_are_well(here: Field) -> None:
    port = free_port()
    rule = f"p(95)<500ms {QUICK} action=back-off"
    with here.start(*here.live("--duration", "60s", "--slo", rule, "--metrics", f"127.0.0.1:{port}")) as process:
        here.flowing()
        users(here, seconds=2.0)
        eventually(lambda: noted(here, "gain"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = answer.read().decode()
        users(here, seconds=0.05)
        eventually(lambda: noted(here, "gain")[-1]["after"] > noted(here, "gain")[-1]["before"], 20)
        process.signal(signal.SIGINT)
        assert process.wait() == Exit.INTERRUPTED
    report = here.report()
    first = noted(here, "gain")[0]
    assert (first["before"], first["after"], first["rule"], first["limit"]) == (1.0, 0.5, "p(95)<500ms", 0.5)
    assert first["value"] == pytest.approx(2.0, rel=0.01)
    assert first["samples"] > 0
    assert "p(95)<500ms does not hold: " in first["because"]
    assert {"slo breached", "slo held"} <= set(here.events())
    assert [a["after"] for a, _ in pairwise(noted(here, "gain"))] == [
        b["before"] for _, b in pairwise(noted(here, "gain"))
    ]
    gains = [entry for entry in seconds(here) if entry.gain is not None]
    assert min(entry.gain or 0 for entry in gains) <= 0.5
    assert max(entry.real_p95 or 0 for entry in seconds(here)) == pytest.approx(2.0, rel=0.01)
    assert report.accounts.shed["backed-off"] == sum(entry.shed.get("backed-off", 0) for entry in seconds(here)) > 0
    assert report.accounts.shed["backed-off"] == sum(route.shed.get("backed-off", 0) for route in report.routes)
    assert report.accounts.sent == report.sidecars[0].spent  # what was left out spent no credit
    (judgement,) = report.slo
    assert (judgement.verdict, judgement.action, judgement.breaches) == ("breached", "back-off", 1), told(here, report)
    assert report.back_off is not None
    assert report.back_off.least <= 0.5
    again = recovered(next(here.runs.iterdir()))
    assert again.back_off is not None
    assert again.back_off.model_dump(exclude={"mean"}) == report.back_off.model_dump(exclude={"mean"})
    assert again.back_off.mean == pytest.approx(report.back_off.mean, abs=0.2)
    assert again.slo[0].words.startswith("p(95)<500ms holds: ")
    same = {"rule", "expression", "action", "verdict", "breaches", "limit", "baseline"}
    assert again.slo[0].model_dump(include=same) == judgement.model_dump(include=same)
    assert re.search(r"^reamp_replay_gain 0\.\d+$", metrics, re.MULTILINE)
    assert re.search(r'^reamp_slo_breached\{rule="p\(95\)<500ms window=1s[^"]*"\} 1.0$', metrics, re.MULTILINE)
    page = next(here.runs.glob("*/report.html")).read_text()
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert [limit["at"] for limit in data["limits"]] == [500.0]
    assert min(data["gain"]) <= 0.5


def test_a_run_that_was_killed_still_tells_how_its_rules_fared(here: Field) -> None:
    rules = [f"p(95)<500ms {QUICK} action=back-off", f"p(95)<500ms {QUICK} action=warn", f"error_ratio<1% {QUICK}"]
    with here.start(*here.live("--duration", "60s", *(f"--slo={rule}" for rule in rules))) as process:
        eventually(lambda: len(seconds(here)) >= 4)
        users(here, seconds=2.0)
        eventually(lambda: noted(here, "gain") and min(one.gain or 1.0 for one in seconds(here)) < 1)
        process.kill()
    (folder,) = here.runs.iterdir()
    assert not (folder / "report.json").exists()
    report = report_of(folder)
    assert report.stop == "killed"
    assert [(one.action, one.verdict, one.breaches) for one in report.slo] == [
        ("back-off", "breached", 1),
        ("warn", "breached", 1),
        ("abort", "held", 0),
    ]
    assert report.slo[0].worst == pytest.approx(2.0, rel=0.01)
    assert report.slo[0].limit == 0.5
    assert report.back_off is not None
    assert report.back_off.last <= 0.5
    assert report.back_off.cuts >= 1
    assert report.back_off.mean < 1
    done = run("report", str(folder))
    assert done.returncode == 0, done.stderr
    assert "p(95)<500ms breached" in done.stdout
    assert "error_ratio<1% held" in done.stdout


def test_a_rule_that_ends_the_run_ends_it_with_k6_s_code_and_is_told_first(here: Field) -> None:
    users(here, errors=0.5)
    done = run(*here.live("--duration", "30s", "--slo", f"error_ratio<1% {QUICK}", "--slo", f"p(95)<1s {QUICK}"))
    assert done.returncode == Exit.SLO_BREACHED, done.stdout + done.stderr
    report = here.report()
    assert report.stop == "slo"
    assert "error_ratio<1% does not hold: " in report.reason
    assert [judgement.verdict for judgement in report.slo] == ["breached", "held"]
    lines = done.stdout[done.stdout.rindex("│ ended") :]
    assert lines.index("error_ratio<1% breached") < lines.index("p(95)<1s held") < lines.index("│ sent")
    (entry,) = noted(here, "slo abort")
    assert (entry["rule"], entry["limit"]) == ("error_ratio<1%", 0.01)
    assert entry["value"] == pytest.approx(0.5, rel=0.05)
    (junit,) = here.runs.glob("*/junit.xml")
    suite = next(suite for suite in JUnitXml.fromfile(str(junit)) if suite.name == "reamp.slo")
    assert [len(case.result) for case in suite] == [1, 0]


def test_why_a_rule_was_not_judged_is_told_everywhere(here: Field) -> None:
    done = run(*here.live("--duration", "2s", "--slo", "synthetic.p(95)<1s window=5s min_samples=5000"))
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    words = "there was never enough to judge (10s of grace, 5,000 requests in 5s)"
    assert here.report().slo[0].words == words
    told = " ".join(done.stdout.replace("│", " ").split())
    assert f"synthetic.p(95)<1s not judged (abort); {words}" in told
    (entry,) = noted(here, "slo not judged")
    assert (entry["rule"], entry["number"], entry["because"]) == ("synthetic.p(95)<1s", 1, words)


def test_who_can_not_tell_what_users_get_must_not_load_them(here: Field) -> None:
    rule = "p(95)<500ms window=1s for=0s grace=1s min_samples=1"
    with here.start(*here.live("--duration", "60s", "--slo", rule)) as process:
        here.flowing()
        users(here, silent=True)
        assert process.wait() == Exit.SLO_BREACHED
    assert re.search(r"no data.*; http://127.0.0.1:\d+: (it answers 503|the stream ended)$", here.report().reason)
    assert "experience lost" in here.events()


def test_a_baseline_is_learnt_before_anything_is_sent(here: Field) -> None:
    rule = f"p(95)<1.5x baseline {QUICK}"
    with here.start(*here.live("--duration", "60s", "--warm-up", "2s", "--slo", rule)) as process:
        eventually(lambda: [*here.runs.glob("*/journal.jsonl")] and "warm-up" in here.events())
        assert not here.arrivals()
        here.flowing()
        assert "learning what users get" in process.output
        users(here, seconds=0.08)
        assert process.wait() == Exit.SLO_BREACHED
    events = here.events()
    assert events.index("warm-up") < events.index("baseline") < events.index("start")
    assert noted(here, "baseline")[0]["value"] == pytest.approx(0.05, rel=0.01)
    (judgement,) = here.report().slo
    assert judgement.baseline == pytest.approx(0.05, rel=0.01)
    assert "the bound is 7" in here.report().reason
    per_second = [each.real or 0 for each in seconds(here)]
    (live,) = here.report().sidecars
    assert live.real == sum(per_second)  # the warm-up is no part of it
    assert per_second[0] < 1.6 * RATE


@pytest.mark.parametrize(
    ("fares", "why"),
    [
        ({"rate": 0.0}, "no real request was answered"),
        ({"rate": 10.0, "synthetic": 10.0}, "of another run"),
    ],
)
def test_a_warm_up_that_teaches_nothing_sends_nothing(here: Field, fares: dict[str, float], why: str) -> None:
    users(here, **fares)
    done = run(*here.live("--duration", "30s", "--warm-up", "2s", "--slo", f"p(95)<1.5x baseline {QUICK}"))
    assert done.returncode == Exit.SLO_BREACHED, done.stdout + done.stderr
    report = here.report()
    assert report.stop == "slo"
    assert "nothing was sent" in report.reason
    assert why in report.reason
    assert not here.arrivals()


def test_on_an_idle_target_the_run_s_own_requests_are_judged(here: Field) -> None:
    httpx.post(f"{here.app}/mood", json={"status": 500}, trust_env=False).raise_for_status()
    try:
        rules = ("--slo", f"error_ratio<1% {QUICK}", "--slo", f"p(95)<5s {QUICK} action=back-off")
        done = run(*here.arguments("--idle-target", *rules))
    finally:
        httpx.post(f"{here.app}/mood", json={"status": 200}, trust_env=False).raise_for_status()
    assert done.returncode == Exit.SLO_BREACHED, done.stdout + done.stderr
    report = here.report()
    assert "synthetic.error_ratio<1% does not hold: 100%" in report.reason
    assert report.accounts.sent < 300
    assert [judgement.verdict for judgement in report.slo] == ["breached", "held"]
