"""What follows from what a preflight has seen: tables with their reasons, and properties."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from loadtag import Signer, headers
from loadtag.validity import Validity
from replayer.plan import Plan
from replayer.preflight import verdicts
from replayer.preflight.findings import Checklist, Finding, Found, Outcome
from replayer.preflight.survey import Survey, host_name
from replayer.preflight.verdicts import Clock, Read, Seen, Shot, Watched
from replayer.requests.writes import SAFE_METHODS, Writes
from replayer.schedule.calendar import Calendar, Window
from rules.exits import Exit
from rules.slo import Reading, Rule
from rules.units import Share
from tests.support.recording import record

QUARTER = Share.parse("25%")
MS = 1_000_000


# --- recordings ---


def surveyed(*records: Any, allow: tuple[str, ...] = ()) -> Survey:
    survey = Survey(SAFE_METHODS, Writes(allow))
    for one in records:
        survey.look(one)
    return survey


def test_a_canary_only_reads_and_was_asked_for_most_often() -> None:
    tag = headers.put([(b"host", b"x")], "v1.a.b.1.c.d", "b")
    survey = surveyed(
        *(record(0, "/often") for _ in range(3)),
        *(record(0, "/more-often", headers=tag) for _ in range(5)),  # synthetic
        *(record(0, "/cart", "POST") for _ in range(9)),
        *(record(0, "/search", body=b"q") for _ in range(9)),
        *(record(0, "/head", "HEAD") for _ in range(9)),
        record(0, "/seldom"),
    )
    assert [one.path for one in survey.canaries] == ["/often", "/seldom"]
    assert (survey.records, survey.tagged, survey.unsafe) == (36, 5, 9)


def judged(*records: Any, **said: Any) -> Found:
    wanted = {"recording": "recording", "to": "http://shop", "sidecars": ["http://shop:8901"], "amplify": "1.05x"}
    plan = Plan.model_validate({**wanted, "key": "load.key", **said})
    return verdicts.only_safe(surveyed(*records, allow=plan.allow), "3 records", plan)


def test_every_way_out_is_named_for_what_changes_things() -> None:
    records = [record(0, "/cart/1", "POST"), record(0, "/cart/2", "POST"), record(0, "/item/3", "DELETE")]
    found = judged(*records)
    assert (found.outcome, "POST /cart/{id} (2), DELETE /item/{id} (1)" in found.evidence) == ("failed", True)
    assert "--except '~m POST | ~m DELETE'" in found.advice
    assert "--allow 'POST /cart/{id}'" in found.advice
    assert judged(*records, allow=("POST /cart/{id}", "DELETE *")).outcome == "ok"


def test_advice_that_is_copied_does_what_it_says_and_no_more() -> None:
    # What was excepted stays so; a route that was allowed stays allowed; and a stranger's method is no shell command.
    posts = [record(0, "/cart/1", "POST"), record(0, "/order", "POST")]
    assert "--except '(~u /health | ~c 404) | ~m POST'" in judged(*posts, except_="~u /health | ~c 404").advice
    partly = judged(*posts, allow=("POST /cart/{id}",)).advice
    assert "--skip-check 'recording is safe'" in partly
    assert "--except" not in partly
    odd = judged(record(0, "/", "A'|reboot|'")).advice
    assert "--skip-check 'recording is safe'" in odd
    assert "reboot" not in odd
    assert "--host 'a;b'" in verdicts.fits_host(Counter({"a;b": 1}), "shop").advice


@pytest.mark.parametrize(
    ("hosts", "sent", "outcome"),
    [
        ({"shop.example": 5}, "shop.example", "ok"),
        ({"shop.example": 5}, "other.example", "failed"),
        ({"shop.example": 5}, None, "ok"),  # each request names its own
        ({"shop.example": 5, "cdn.example": 1}, "shop.example", "warned"),
        ({"shop.example": 5, "": 9}, "shop.example", "ok"),  # of some it is not known
        ({"": 9}, "shop.example", "skipped"),
        ({}, "shop.example", "skipped"),
        ({"localhost": 1}, "127.0.0.1", "ok"),
        ({"::1": 1}, "localhost", "ok"),
        ({"10.0.0.1": 1}, "10.0.0.2", "failed"),
    ],
)
def test_hosts(hosts: dict[str, int], sent: str | None, outcome: Outcome) -> None:
    assert verdicts.fits_host(Counter(hosts), sent).outcome == outcome


@pytest.mark.parametrize(
    ("authority", "name"),
    [("Shop.Example:80", "shop.example"), ("[::1]:80", "::1"), ("::1", "::1"), ("shop.example.", "shop.example"),
     ("user@shop.example", "shop.example"), ("", ""), ("[", ""), (":", "")],
)  # fmt: skip
def test_names_of_hosts_are_compared_without_what_varies(authority: str, name: str) -> None:
    assert host_name(authority) == name


# --- permits ---


@pytest.mark.parametrize(
    ("validity", "outcome", "words"),
    [
        (Validity(), "ok", "has no end"),
        (Validity(not_after=1000 + 3600), "ok", "ends 1970-01-01"),
        (Validity(not_after=1000 + 3599), "failed", "and the run takes 1h"),
        (Validity(not_after=1000), "failed", "has ended"),
        (Validity(not_before=1001), "failed", "begins"),
        (Validity(audiences=("cart",)), "failed", "is good for cart, and the tag is for shop"),
        (Validity(audiences=("cart", "shop")), "ok", "has no end"),
    ],
)
def test_keys(validity: Validity, outcome: Outcome, words: str) -> None:
    found = verdicts.key_lasts(Signer(Ed25519PrivateKey.generate(), validity), "shop", 1000, 3600)
    assert found.outcome == outcome
    assert words in found.evidence


@pytest.mark.parametrize(
    ("at", "seconds", "outcome"), [(2, 3600, "ok"), (4, 3601, "warned"), (4, 3600, "ok"), (5, 1, "failed")]
)
def test_windows(at: int, seconds: float, outcome: Outcome) -> None:
    calendar = Calendar([Window.parse("Sun 02:00-05:00 UTC")])
    now = datetime(2026, 11, 22, at, tzinfo=UTC)
    assert verdicts.window_is_open(calendar, now, seconds).outcome == outcome
    assert verdicts.window_is_open(Calendar(), now, seconds).outcome == "ok"


# --- sidecars ---


@pytest.mark.parametrize(
    ("ahead", "lifetime", "outcome"),
    [(0, 60, "ok"), (14, 60, "ok"), (-15, 60, "warned"), (30, 60, "failed"), (-31, 60, "failed"), (30, 3600, "ok"),
     (1, 2, "failed"), (0.4, 2, "ok")],
)  # fmt: skip
def test_clocks(ahead: float, lifetime: float, outcome: Outcome) -> None:
    clocks = {"a": Clock(0, 0.01), "b": Clock(ahead, 0.01)}
    assert verdicts.clocks_agree(clocks, lifetime).outcome == outcome


@pytest.mark.parametrize(
    ("seen", "outcome", "words"),
    [
        (Watched(20, 0.4, 5, 0.02, 50), "ok", ""),
        (Watched(0, 2.5, 0, 2.5, 0), "failed", "is stale"),
        (Watched(20, 2.5, 5, 1.01, 50), "failed", "is stale"),
        (Watched(120, 2.5, 0, 0.02, 0), "failed", "no real request passes b"),
        (Watched(120, 2.5, 0, 0.02, 0.2), "warned", "too few real users"),
    ],
)
def test_signals_of_which_one_is_bad(seen: Watched, outcome: Outcome, words: str) -> None:
    found = verdicts.signal_moves({"a": Watched(20, 0.4, 5, 0.02, 50), "b": seen}, 1.0)
    assert found.outcome == outcome
    assert words in found.advice


# --- canaries ---


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(0, 1, 0, True), "does not believe it"),
        (Seen(0, 0, 0, True), "it is the app itself"),
    ],
)
def test_why_a_canary_was_not_seen(seen: Seen, words: str) -> None:
    found = verdicts.seen_as_synthetic(1, seen, "GET /: 200", "http://app:8000", ["http://app:8000"])
    assert found.outcome == "failed"
    assert words in found.advice


@pytest.mark.parametrize(
    ("seen", "capturing", "outcome"),
    [(Seen(1, 0, 1, True), True, "ok"), (Seen(1, 0, 0, True), True, "failed"), (Seen(1, 0, 1, False), True, "failed"),
     (Seen(1, 0, 1, True), False, "warned")],
)  # fmt: skip
def test_what_is_recorded(seen: Seen, capturing: bool, outcome: Outcome) -> None:
    assert verdicts.unrecorded(1, seen, capturing).outcome == outcome


# --- the lever and the ceiling ---


def shots(*results: str, every: int = 10 * MS) -> list[Shot]:
    return [Shot(n * every, n * every + MS, result) for n, result in enumerate(results)]


@pytest.mark.parametrize(
    ("results", "held", "outcome"),
    [
        (("passed", "passed", "lever", "lever", "lever"), 2, "ok"),
        (("credit", "credit", "lever", "lever", "lever"), 2, "ok"),  # too few users: it shows all the same
        (("passed", "passed", "passed", "lever", "lever"), 3, "ok"),  # on its way while the lever was pulled
        (("passed", "passed", "passed", "lever", "passed"), 3, "failed"),
        (("passed", "passed", "closed", "closed", "closed"), 2, "failed"),  # nothing was refused: the target is gone
        (("passed", "passed", "credit", "credit", "credit"), 2, "failed"),
    ],
)
def test_levers(results: tuple[str, ...], held: int, outcome: Outcome) -> None:
    found = verdicts.lever_holds(shots(*results), 15 * MS, held * 10 * MS, 1.0, "reset again")
    assert found.outcome == outcome, found


def test_a_lever_that_takes_too_long() -> None:
    late = shots("passed", "passed", "passed", "lever", every=600 * MS)
    found = verdicts.lever_holds(late, 100 * MS, 1250 * MS, 1.0, "reset again")
    assert found.outcome == "failed"
    assert "the last to pass 1100 ms after the pull" in found.evidence


@given(
    passed=st.integers(0, 40), refused=st.integers(0, 40), real=st.lists(st.integers(0, 100), min_size=1, max_size=3)
)
def test_a_ceiling_holds_exactly_if_no_more_passed_than_was_earned_and_one(
    passed: int, refused: int, real: list[int]
) -> None:
    fired = shots(*["passed"] * passed, *["credit"] * refused)
    found = verdicts.ceiling_holds(fired, QUARTER, [(count, QUARTER) for count in real])
    assert (found.outcome == "failed") == (passed > sum(real) // 4 + 1)
    assert (found.outcome == "warned") == (passed <= sum(real) // 4 + 1 and not refused)


# --- rules ---


@pytest.mark.parametrize(
    ("rule", "reading", "rate", "outcome", "words"),
    [
        ("p(95)<500ms", Reading(0.1, 300), 50, "ok", ""),
        ("p(95)<500ms", Reading(None, 0, "a said nothing yet"), 50, "failed", "counts as breached"),
        ("p(95)<500ms", Reading(0.6, 300), 50, "warned", "does not hold now, before any load"),
        ("p(95)<500ms window=10s min_samples=20", Reading(0.1, 10), 1, "warned", "give it a longer window"),
        ("p(99)<1.1x baseline", Reading(0.6, 300), 50, "ok", ""),  # what it is held against is learnt later
        ("value<0.8 plugin=a:b", Reading(0.5, 1), 0, "ok", ""),
    ],
)
def test_rules(rule: str, reading: Reading, rate: float, outcome: Outcome, words: str) -> None:
    found = verdicts.rules_have_data([Read(Rule.parse(rule), reading)], rate, {})
    assert found.outcome == outcome, found
    assert words in found.advice


# --- the list ---


def checklist(*outcomes: Outcome) -> Checklist:
    findings = tuple(
        Finding(check=str(n), question="?", outcome=one, evidence="", seconds=0) for n, one in enumerate(outcomes)
    )
    return Checklist(run="r", target="t", sidecars=(), canary="/", started=0, seconds=0, requests=0, findings=findings)


def test_only_a_failure_forbids_a_run() -> None:
    assert checklist("ok", "warned", "skipped").exit_code == Exit.DONE
    assert checklist("ok", "failed", "skipped").exit_code == Exit.PREFLIGHT
    found = checklist("failed", "ok")
    assert Checklist.model_validate_json(found.model_dump_json()) == found
