"""Whether the rules held in a step, at a glance."""

from collections import Counter
from typing import Any

import pytest

from drill.running.outcome import failing, outcome
from replayer.books.report import Report
from replayer.comparing.routes import Route
from replayer.counting.accounts import Accounts
from replayer.counting.latency import Quantiles
from replayer.counting.series import Second
from rules.slo import Rule

RULES = [Rule.parse("synthetic.p(95)<300ms"), Rule.parse("synthetic.error_ratio<1%")]


def route(template: str, times: dict[int, int], failed: int = 0) -> Route:
    """Give a route: milliseconds by how often, and how many of the answers were 503."""
    answered = sum(times.values())
    return Route(
        "GET",
        template,
        sent=answered,
        answered=answered,
        statuses=Counter({200: answered - failed, 503: failed}),
        latency=Counter({milliseconds * 1000: count for milliseconds, count in times.items()}),
    )


def report(**more: Any) -> Report:
    none = Quantiles()
    plain = {"run": "r", "plan": {}, "audience": "a", "started": 0, "ended": 60, "seconds": 60, "stop": "ended"}
    plain |= {"reason": "the recording was played to its end", "valid": True, "exit_code": 0}
    accounts = Accounts(sent=1000, answered=1000)
    return Report.model_validate({**plain, "accounts": accounts, "latency": none, "service": none, "lag": none, **more})


def test_what_held_held() -> None:
    found = outcome(report(), [route("/a", {10: 950, 290: 50}, failed=9)], RULES)
    assert (found.found, found.because) == ("held", ())


def test_a_route_that_breaks_under_all_that_hold_is_found() -> None:
    found = outcome(report(), [route("/a", {10: 9500}), route("/b", {500: 200})], RULES)
    assert found.found == "broke"
    assert found.because == ("GET /b: p(95)<300ms does not hold: 501.8ms",)


def test_a_slow_answer_of_few_is_chance() -> None:
    assert outcome(report(), [route("/a", {10: 9500}), route("/b", {10: 28, 900: 2})], RULES).found == "held"
    assert outcome(report(), [route("/a", {10: 9500}), route("/b", {10: 30}, failed=1)], RULES).found == "held"
    assert outcome(report(), [route("/a", {10: 9500}), route("/b", {10: 19}, failed=19)], RULES).found == "held"


def test_a_route_that_fails_beyond_chance_broke() -> None:
    found = outcome(report(), [route("/a", {10: 9500}), route("/b", {10: 30}, failed=5)], RULES)
    assert found.because == ("GET /b: error_ratio<1% does not hold: 16.67%",)


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        ({"stop": "slo", "reason": "p(95)"}, "broke"),
        ({"stop": "interrupted", "reason": "SIGINT"}, "unclear"),
        ({"valid": False, "invalid_because": ["the sender lagged"]}, "unclear"),
        ({"accounts": Accounts(sent=9, errors=Counter({"refused": 8, "closed": 1})), "reason": "no answer"}, "broke"),
        ({"accounts": Accounts(sent=9, errors=Counter({"refused": 9})), "reason": "no answer"}, "unclear"),
        ({"accounts": Accounts()}, "unclear"),
    ],
)
def test_how_a_run_ended_counts(ended: dict[str, object], found: str) -> None:
    told = outcome(report(**ended), [route("/a", {10: 100})], RULES)
    assert told.found == found
    assert told.because


def test_a_clone_that_breaks_while_the_sender_can_not_keep_up_broke() -> None:
    late = report(valid=False, invalid_because=["requests were shed: connections"])
    assert outcome(late, [route("/a", {900: 1000})], RULES).found == "broke"


@pytest.mark.parametrize(
    ("last", "fails"),
    [
        ([{"wanted": 50, "statuses": {200: 50}}], False),
        ([{"wanted": 50, "statuses": {200: 49, 503: 1}}], True),
        ([{"wanted": 50, "statuses": {200: 9}, "shed": {"backoff": 41}}], True),
        ([{"wanted": 50, "in_flight": 50}], True),  # it hangs
        ([{"wanted": 50, "statuses": {200: 9}, "errors": {"reset": 1}}, {}], True),  # a sliver after the end
        ([{"wanted": 50, "errors": {"reset": 1}}, {"wanted": 50, "statuses": {404: 50}}], False),
        ([], False),
    ],
)
def test_what_failed_at_the_end_of_a_run(last: list[dict[str, Any]], fails: bool) -> None:
    assert failing(Second.model_validate({"start": 0, "end": 1, **each}) for each in last) == fails
