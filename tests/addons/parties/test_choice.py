"""Which rule a call falls under, and that a doubt ends it."""

from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from addons.parties.choice import Call, Choice, Chooser
from addons.parties.places import OURS, ListedError
from addons.parties.rule import PartyRule, check

Written = dict[str, Any]


def rules(*written: Written) -> tuple[PartyRule, ...]:
    return TypeAdapter(tuple[PartyRule, ...]).validate_python(written)


def chooser(*written: Written, default: Literal["pass", "block"] = "block") -> Chooser:
    return Chooser(rules(*written), OURS, default)


def call(destination: str, target: str = "/", method: str = "POST", host: str = "", port: int = 443) -> Call:
    return Call(destination, (host,) if host else (), port, method, target)


STRIPE: list[Written] = [
    {"match": "api.stripe.com/v1/charges", "method": "POST", "action": "stub"},
    {"match": "api.stripe.com/v1/*", "method": ["GET", "HEAD"], "action": "pass"},
    {"match": "*.stripe.com", "action": "block"},
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (call("api.stripe.com", "/v1/charges"), ("stub", 0)),
        (call("api.stripe.com", "/v1/charges?x=1"), ("stub", 0)),
        (call("API.stripe.com.", "/v1/charges"), ("stub", 0)),
        (call("api.stripe.com", "/v1/charges/"), ("stub", 0)),  # most servers answer it alike
        (call("api.stripe.com", "/v1/ch%61rges"), ("stub", 0)),
        (call("api.stripe.com", "/v1/charges", "GET"), ("pass", 1)),
        (call("api.stripe.com", "/v1/charges", "DELETE"), ("block", 2)),
        (call("api.stripe.com", "/v2/charges", "GET"), ("block", 2)),
        (call("files.stripe.com"), ("block", 2)),
        (call("stripe.com"), ("block", None)),
        (call("api.sendgrid.com"), ("block", None)),
    ],
)
def test_the_first_rule_that_fits_counts(asked: Call, expected: tuple[str, int | None]) -> None:
    chosen = chooser(*STRIPE).choose(asked)
    assert (chosen.action, chosen.rule) == expected
    assert not chosen.inside


@pytest.mark.parametrize(
    "target", ["/v1/x/../charges", "/v1//balance", "/v1/%2e%2e/v1/balance", "/v1/a%2fb", "/v1/\\..\\x", "/v1/a;b"]
)
@pytest.mark.parametrize("default", ["pass", "block"])
def test_a_path_that_could_be_another_one_ends_the_call(target: str, default: Literal["pass", "block"]) -> None:
    """Even where the default is to let calls pass: `/v1/x/../charges` may be a charge."""
    assert chooser(*STRIPE, default=default).choose(call("api.stripe.com", target, "GET")) == Choice(
        "block", False, 1, "doubt"
    )
    # Where no rule looks at paths, it makes no difference.
    assert chooser(default=default).choose(call("api.stripe.com", target)).why == "default"


def test_what_is_inside_passes_unless_a_rule_names_it() -> None:
    one = chooser({"match": "mailer", "action": "stub"}, {"match": "*", "action": "block"})
    assert one.choose(call("payments")) == Choice("pass", True, None, "inside")
    assert one.choose(call("mailer")) == Choice("stub", True, 0, "rule")
    assert one.choose(call("example.com")) == Choice("block", False, 1, "rule")


def test_the_host_header_can_stop_a_call_but_not_let_it_pass() -> None:
    one = chooser({"match": "ok.example", "action": "pass"}, {"match": "api.stripe.com", "action": "stub"})
    assert one.choose(call("ok.example")).action == "pass"
    assert one.choose(call("evil.example", host="ok.example")).action == "block"
    assert one.choose(call("evil.example", host="payments")).action == "block"
    assert one.choose(call("203.0.113.7", host="api.stripe.com")) == Choice("stub", False, 1, "rule")
    assert one.choose(call("127.0.0.1", host="api.stripe.com")) == Choice("stub", True, 1, "rule")


def test_a_name_that_the_owner_has_mapped_is_as_good_as_the_destination() -> None:
    one = chooser({"match": "stripe.example", "action": "pass"})
    said = Call("203.0.113.7", ("stripe.example",), 443, "GET", "/")
    assert one.choose(said) == Choice("block", False, None, "default")
    assert one.choose(said._replace(mapped=frozenset({"stripe.example"}))) == Choice("pass", False, 0, "rule")


def test_the_default_is_for_what_is_outside_only() -> None:
    assert chooser(default="pass").choose(call("example.com")) == Choice("pass", False, None, "default")
    assert chooser(default="block").choose(call("example.com")) == Choice("block", False, None, "default")
    assert chooser(default="block").choose(call("10.0.0.1")) == Choice("pass", True, None, "inside")


def test_ports_tell_apart() -> None:
    one = chooser({"match": "127.0.0.1:9000", "action": "stub"})
    assert one.choose(call("127.0.0.1", port=9000)).action == "stub"
    assert one.choose(call("127.0.0.1", port=9001)).action == "pass"


@pytest.mark.parametrize(
    ("written", "action"),
    [
        ([], "block"),
        ([{"match": "api.x.com", "action": "pass"}], "pass"),
        ([{"match": "api.x.com/a", "action": "pass"}], "block"),
        ([{"match": "api.x.com", "method": "GET", "action": "pass"}], "block"),
        ([{"match": "api.x.com/a", "action": "stub"}, {"match": "api.x.com", "action": "pass"}], "stub"),
        ([{"match": "b.x.com", "action": "stub"}, {"match": "api.x.com", "action": "pass"}], "pass"),
    ],
)
def test_a_tunnel_passes_only_if_every_call_in_it_would(written: list[Written], action: str) -> None:
    assert chooser(*written).tunnel(call("api.x.com")).action == action


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20), st.text(max_size=8))
def test_no_call_makes_it_raise_and_none_outside_passes_by_default(a: str, b: str, target: str, method: str) -> None:
    chosen = chooser(*STRIPE).choose(Call(a, (b,), 443, method, target))
    assert chosen.action != "pass" or chosen.inside or chosen.rule == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"match": "a.com", "action": "block"}, {"match": "a.com/v1", "action": "stub"}),
        ({"match": "*.a.com/*", "action": "block"}, {"match": "x.a.com/v1", "action": "stub"}),
        ({"match": "*.a.com", "action": "block"}, {"match": "*.x.a.com", "action": "stub"}),
        ({"match": "*", "action": "block"}, {"match": "*.a.com", "action": "stub"}),
        ({"match": "a.com/v1/*", "action": "block"}, {"match": "a.com/v1/c*", "method": "GET", "action": "stub"}),
        (
            {"match": "a.com", "method": ["GET", "PUT"], "action": "block"},
            {"match": "a.com", "method": "GET", "action": "stub"},
        ),
    ],
)
def test_a_rule_that_no_call_comes_to_is_told(first: Written, second: Written) -> None:
    with pytest.raises(ListedError, match="put the narrower one first") as told:
        check(rules(first, second))
    assert told.value.at == (1,)
    assert check(rules(second, first))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"match": "a.com", "action": "drop"}, "'pass', 'block' or 'stub'"),
        ({"match": "a.com"}, "action"),
        ({"action": "stub"}, "match"),
        ({"match": "a.com", "action": "stub", "statsu": 200}, "statsu"),
        ({"match": "a.com", "action": "pass", "status": 200}, "leave out status"),
        ({"match": "a.com", "action": "pass", "latency": "1s"}, "leave out latency"),
        ({"match": "a.com", "action": "block", "error_share": "1%"}, "say stub"),
        ({"match": "a.com", "action": "stub", "error": {"status": 500}}, "error_share"),
        ({"match": "a.com", "action": "stub", "error_share": "101%"}, "1000000"),
        ({"match": "a.com", "action": "stub", "status": 99}, "200"),
        ({"match": "a.com", "action": "stub", "status": 204, "body": "x"}, "no body"),
        ({"match": "a.com", "action": "stub", "body": "x", "body_file": "/dev/null"}, "not both"),
        ({"match": "a.com", "action": "stub", "body_file": "/no/such"}, "No such file"),
        ({"match": "a.com", "action": "stub", "body_file": "/dev/zero"}, "larger"),
        ({"match": "a.com", "action": "stub", "headers": {"a b": "x"}}, "not the name"),
        ({"match": "a.com", "action": "stub", "headers": {"a": "x\r\nb: c"}}, "one line"),
        ({"match": "a.com", "action": "stub", "headers": {"Content-Length": "3"}}, "leave it out"),
        ({"match": "a.com", "action": "stub", "latency": "80"}, "write it like"),
        ({"match": "a.com", "action": "stub", "latency": {"p50": "2s", "p99": "1s"}}, "less than"),
        ({"match": "a.com", "action": "stub", "latency": "1h"}, "10m"),
        ({"match": "a.com", "action": "stub", "method": []}, "POST"),
        ({"match": "a.com", "action": "stub", "method": "PO ST"}, "not a method"),
        ({"match": "a.com", "action": "stub", "body": "{{ amount }}"}, "knows no 'amount'"),
        ({"match": "a.com", "action": "stub", "body": {"a": ["{{ x"]}}, "template"),
        ({"match": "a.com", "action": "stub", "headers": {"a": "{{ request.nmae }}"}}, "no 'nmae'"),
        ({"match": "a.com", "action": "stub", "error_share": "1%", "error": {"body": "{% x %}"}}, "template"),
        ({"match": "a.com", "action": "stub", "idempotency": "a b"}, "not the name"),
        ({"match": "a.com", "action": "stub", "body": {"day": date(2026, 1, 2)}}, "put it into quotes"),
        ({"match": "a.com", "action": "stub", "body": [date(2026, 1, 2)], "template": False}, "put it into quotes"),
        ({"match": "a.com", "action": "stub", "body": [float("nan")]}, "no such number"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_with_what_to_do(written: Written, words: str) -> None:
    with pytest.raises(ValidationError) as told:
        PartyRule.model_validate(written)
    assert words in str(told.value)
