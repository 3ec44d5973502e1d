"""What a preflight makes of a sidecar that gets copies: what it can't do is said, and what is wrong is found."""

import pytest

from replayer.preflight import taps, verdicts
from replayer.preflight.verdicts import Read, Seen, Shot
from rules.slo import Reading, Rule

MS = 1_000_000


def seen(synthetic: int, untrusted: int = 0) -> Seen:
    return Seen(synthetic, untrusted, synthetic, reconciles=True)


@pytest.mark.parametrize(
    ("counts", "outcome", "advice"),
    [
        (seen(4), "ok", ""),
        (seen(8), "failed", "requests are copied more than once"),
        (seen(1), "failed", "the proxy copies only a share of what is tagged"),
        (seen(0), "failed", "this machine is not on its list of those that may send one"),
        (seen(0, 4), "failed", "its --public-key has to belong to the --key used here"),
    ],
)
def test_every_tagged_request_has_to_be_copied_once(counts: Seen, outcome: str, advice: str) -> None:
    found = taps.copied(4, counts, "GET /: 200")
    assert found.outcome == outcome
    assert advice in found.advice


def test_a_tag_that_is_not_valid_is_told_apart_and_that_it_is_not_refused_is_said() -> None:
    found = taps.believed("expired: 200; forged: 200", seen(0, 2), ["forged"], alone=True)
    assert found.outcome == "warned"
    assert "the app got to see the tag (forged)" in found.evidence
    assert "can refuse none" in found.advice
    assert taps.believed("", seen(0, 1), [], alone=True).outcome == "failed"
    assert taps.believed("", seen(1, 1), [], alone=True).outcome == "failed"
    assert "stop using it" in taps.believed("", seen(1, 1), [], alone=True).advice


def test_a_lever_that_ends_runs_is_one_and_a_proxy_that_refuses_as_well_is_better() -> None:
    passed = [Shot(100 + at, 101 + at, "passed") for at in range(6)]
    refused = [Shot(200 + at, 201 + at, "lever") for at in range(6)]
    both = taps.lever_is_told(passed + refused, 100, 30 * MS, 6, "reset again")
    assert (both.outcome, both.advice) == ("ok", "")
    assert "runs are told within 30 ms" in both.evidence
    at_first = [Shot(200 + at, 201 + at, "credit") for at in range(4)]
    assert taps.lever_is_told(passed + at_first + refused[4:], 100, 30 * MS, 6, "").outcome == "ok"
    assert taps.lever_is_told(passed + at_first * 2, 100, 30 * MS, 6, "").outcome == "warned"
    only_runs = taps.lever_is_told(passed, 100, 30 * MS, 6, "reset again")
    assert only_runs.outcome == "warned"
    assert "have it refuse" in only_runs.advice
    assert taps.lever_is_told(refused[:5], 100, 30 * MS, 6, "").outcome == "warned"
    assert taps.lever_is_told(refused, 100, None, 6, "").outcome == "failed"


def test_a_rule_that_a_tap_has_no_data_for_is_told_where_to_get_it() -> None:
    read = [Read(Rule.parse("p(95)<500ms"), Reading(None, 0, "no requests"))]
    found = verdicts.rules_have_data(read, 50, {}, "http://127.0.0.1:8901")
    assert found.outcome == "failed"
    assert "http://127.0.0.1:8901 is a tap: it sees no answers" in found.advice
    assert "prometheus=URL" in found.advice
