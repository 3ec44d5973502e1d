"""What people are told: each kind of decision, in words that what comes from elsewhere can't forge."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.announcing.pace import EVERY_NS, REPEATED, Pace
from replayer.announcing.wording import EVENTS, LONGEST, Facts, Words, orphaned, stop_command, words
from replayer.books import journal

FACTS = Facts(
    run="20261121-210305-k3f9",
    to="http://shop:8080",
    operator="ann",
    host="box",
    what="5% of real traffic on top of it",
    stop="reamp stop --sidecar http://shop:8901 --reason WHY",
    folder="/runs/20261121-210305-k3f9",
)


def said(event: str, **details: Any) -> Words:
    found = words(event, details, FACTS)
    assert found is not None
    return found


def test_a_start_says_who_does_what_to_whom_and_how_to_stop_it() -> None:
    found = said("start", of="live", amplify="1.05x")
    assert found.title == "Load test 20261121-210305-k3f9 onto http://shop:8080 starts"
    assert found.body.splitlines() == [
        "Sends: 5% of real traffic on top of it",
        "By: ann at box",
        "Stop it: reamp stop --sidecar http://shop:8901 --reason WHY",
        "Report: /runs/20261121-210305-k3f9 at box",
    ]
    assert found.kind == "info"


def test_a_start_to_come_says_when() -> None:
    found = said("ahead", ahead="1h", starts="Sat 2026-11-28 02:00 GMT (Europe/London)")
    assert "will start in 1h" in found.title
    assert "It will start at Sat 2026-11-28 02:00 GMT (Europe/London)." in found.body
    assert "Stop it: reamp stop" in found.body


@pytest.mark.parametrize(
    ("details", "kind", "title"),
    [
        ({"why": "ended", "exit_code": 0, "sent": 10, "reason": "as planned"}, "success", "has ended"),
        ({"why": "ended", "exit_code": 93, "sent": 10, "reason": "as planned"}, "failure", "has ended"),
        ({"why": "lever", "exit_code": 91, "sent": 10, "reason": "by ann"}, "failure", "was stopped"),
        ({"why": "interrupted", "exit_code": 105, "sent": 0, "reason": "SIGINT"}, "warning", "was cancelled before"),
    ],
)
def test_the_end_is_told_with_its_verdict(details: dict[str, Any], kind: str, title: str) -> None:
    found = said("stopped", **details)
    assert found.kind == kind
    assert title in found.title
    assert f"{details['why']}: {details['reason']} (exit code {details['exit_code']})" in found.body
    assert ("the run is invalid, its sender lagged" in found.body) == (details["exit_code"] == 93)
    assert "Stop it:" not in found.body


def test_the_lever_is_told_with_who_and_why() -> None:
    found = said("lever", sidecar="http://shop:8901", by="bob", reason="users complain")
    assert "Pulled by bob at http://shop:8901: users complain" in found.body


@pytest.mark.parametrize(
    ("event", "kind", "title"),
    [
        ("slo breached", "warning", "breaks a rule"),
        ("slo held", "info", "keeps a rule again"),
        ("slo abort", "failure", "is stopped by a rule"),
    ],
)
def test_what_the_rules_decide_is_told_with_its_figures(event: str, kind: str, title: str) -> None:
    found = said(event, rule="p(95)<500ms", because="p(95) is 612 ms, the limit 500 ms", value=0.612)
    assert found.kind == kind
    assert found.title.endswith(title)
    assert found.body.splitlines()[:2] == ["p(95) is 612 ms, the limit 500 ms", "Rule: p(95)<500ms"]


def test_back_off_and_topping_up_are_told_apart() -> None:
    down = said("gain", before=1.0, after=0.725, rule="p(95)<500ms", because="from 100.0% to 72.5% of the demand: ...")
    up = said("gain", before=0.5, after=0.55, because="from 50.0% to 55.0% of the demand: all rules are well inside")
    assert (down.kind, up.kind) == ("warning", "info")
    assert down.title.endswith("backs off: 72.5% of what is wanted may go on")
    assert up.title.endswith("tops up again: 55.0% of what is wanted may go on")


def test_what_people_need_not_know_is_not_told() -> None:
    assert words("stalled", {"seconds": 1}, FACTS) is None
    assert words("stage", {"stage": "5m:1x", "number": 1}, FACTS) is None
    assert words("stage", {"stage": "5m:2x", "number": 2}, FACTS) is not None
    assert set(journal.EVENTS) >= EVENTS
    assert {"ahead", "start", "stage", "gain", "slo abort", "lever", "stopped"} <= EVENTS


@given(st.sampled_from(sorted(EVENTS)), st.text(max_size=2 * LONGEST))
def test_what_comes_from_elsewhere_makes_no_line_of_its_own(event: str, text: str) -> None:
    names = ("reason", "by", "sidecar", "stage", "ahead", "starts", "why", "rule", "because")
    given, plain = dict.fromkeys(names, text), dict.fromkeys(names, "x")
    found, usual = said(event, **given), said(event, **plain)
    assert found.title.isprintable()
    if text:  # what is empty is left out
        assert len(found.body.split("\n")) == len(usual.body.split("\n"))
    assert all(line.isprintable() and len(line) <= LONGEST for line in found.body.split("\n"))


def test_how_to_stop_it() -> None:
    both = ("http://a:8901", "http://b:8901")
    assert stop_command(both, "box", 7) == (
        "reamp stop --sidecar http://a:8901 --sidecar http://b:8901 --reason WHY (or kill -INT 7 at box)"
    )
    assert stop_command((), "box", 7) == "kill -INT 7 at box"


def test_a_run_that_is_gone_is_told_with_what_is_left_of_it() -> None:
    found = orphaned(FACTS)
    assert found.kind == "failure"
    assert "sends nothing any more" in found.body
    assert "reamp report /runs/20261121-210305-k3f9" in found.body


# --- not too much of it ---


def changed(number: int) -> Words:
    return Words("gain", f"change {number}", "because", "warning")


def test_what_repeats_itself_is_told_once_a_minute_and_the_newest_follows() -> None:
    pace = Pace()
    assert pace.offer(changed(0), 0) == changed(0)
    assert pace.offer(changed(1), 1) is None
    assert pace.offer(changed(2), EVERY_NS - 1) is None
    assert pace.due(EVERY_NS - 1) == []
    (told,) = pace.due(EVERY_NS)
    assert told.title == "change 2"
    assert "(2 changes of this kind since it was last told; this is the newest.)" in told.body
    assert pace.due(10 * EVERY_NS) == []


@given(st.lists(st.tuples(st.integers(0, EVERY_NS // 2), st.booleans()), max_size=40))
def test_each_kind_keeps_its_pace_and_the_last_is_never_lost(steps: list[tuple[int, bool]]) -> None:
    pace, now, told, last = Pace(), 0, list[tuple[int, Words]](), None
    for number, (wait, look) in enumerate(steps):
        now += wait
        if look:
            told += [(now, each) for each in pace.due(now)]
        else:
            last = changed(number)
            if (said := pace.offer(last, now)) is not None:
                told.append((now, said))
    told += [(now + EVERY_NS, each) for each in pace.due(now + EVERY_NS)]
    assert all(b[0] - a[0] >= EVERY_NS for a, b in pairwise(told))
    assert last is None or told[-1][1].title == last.title


def test_what_happens_once_is_told_at_once() -> None:
    pace = Pace()
    for event in sorted(EVENTS - REPEATED):
        once = Words(event, "t", "b", "info")
        assert [pace.offer(once, 0), pace.offer(once, 0)] == [once, once]
