"""Answers that are like the real thing, made of what was asked, within bounds whatever that was."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from addons.parties.asked import MAX_ASKED, Asked
from addons.parties.drawing import Draws, Ids
from addons.parties.rule import MAX_BODY, Answer, PartyRule
from addons.parties.sandbox import RenderError
from addons.parties.standin import MOST_BYTES, MOST_REMEMBERED, REMEMBERED_FOR, Said, StandIn
from addons.parties.template import Rendered, compiled

CHARGE: dict[str, Any] = {
    "match": "api.stripe.com/v1/charges",
    "action": "stub",
    "headers": {"Request-Id": "req_{{ id }}"},
    "body": {
        "id": "ch_{{ id }}",
        "object": "charge",
        "amount": "{{ request.form.amount | int }}",
        "currency": "{{ request.form.currency | default('usd') }}",
        "balance_transaction": "txn_{{ random_id(10) }}",
        "created": "{{ now }}",
        "paid": True,
        "description": "{{ request.form.description | default(none) }}",
        "metadata": {"order": "{{ request.form['metadata[order]'] | default('') }}"},
    },
}


def rule(**written: Any) -> PartyRule:
    return PartyRule.model_validate({**CHARGE, **written})


def asked(
    body: bytes = b"amount=4200&currency=eur",
    target: str = "/v1/charges",
    headers: tuple[tuple[str, str], ...] = (),
    method: str = "POST",
) -> Asked:
    return Asked(method, "api.stripe.com", target, headers, body)


def answer(stand_in: StandIn, what: Asked | None = None, run: str = "r1", at: float = 0.0) -> Said:
    return stand_in.answer(0, what or asked(), run, at, 1_700_000_000.7)


def fields(rendered: Rendered) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in rendered.fields}


def render(template: Any, what: Asked | None = None) -> bytes:
    return compiled(Answer(body=template)).render(what or asked(), Ids.of("x"), 0.0).body


def test_a_charge_is_answered_as_the_provider_would() -> None:
    said = answer(StandIn([rule()]), asked(b"amount=4200&currency=eur&metadata[order]=7&description=%22a%22%2C+%7B%7D"))
    made = json.loads(said.answer.body)
    assert (said.answer.status, said.outcome, said.seconds) == (200, "stubbed", 0.0)
    assert (made["amount"], made["currency"], made["paid"]) == (4200, "eur", True)
    assert (made["created"], made["metadata"], made["description"]) == (1_700_000_000, {"order": "7"}, '"a", {}')
    assert made["id"].startswith("ch_")
    assert len(made["id"]) == 27
    assert fields(said.answer) == {
        "request-id": "req_" + made["id"].removeprefix("ch_"),  # one id for one answer
        "content-type": "application/json",
        "reamp-third-party": "stub",
    }


def test_no_two_calls_get_one_id_but_those_that_say_that_they_are_one() -> None:
    stand_in = StandIn([rule()])
    plain = {answer(stand_in).answer.body for _ in range(50)}
    assert len(plain) == 50
    one = asked(headers=(("Idempotency-Key", "order-7"),))
    first = answer(stand_in, one)
    assert answer(stand_in, one, at=1.0) == first
    other_run, other_key = answer(stand_in, one, run="r2"), asked(headers=(("idempotency-key", "order-8"),))
    assert len({first.answer, other_run.answer, answer(stand_in, other_key).answer}) == 3
    assert answer(stand_in, asked(target="/v1/charges/x", headers=(("idempotency-key", "order-7"),))) != first


def test_a_key_stands_for_the_same_ids_after_a_restart_too() -> None:
    one = asked(headers=(("Idempotency-Key", "order-7"),))
    assert answer(StandIn([rule()]), one) == answer(StandIn([rule()]), one)


def test_a_key_is_forgotten_after_a_day_and_memory_is_bounded() -> None:
    stand_in = StandIn([rule(body="{{ now }} {{ request.text }}")])
    one = asked(headers=(("idempotency-key", "k"),))
    first = stand_in.answer(0, one, "r", 0.0, 1.0).answer.body
    assert stand_in.answer(0, one, "r", REMEMBERED_FOR, 2.0).answer.body == first
    assert stand_in.answer(0, one, "r", REMEMBERED_FOR + 1, 3.0).answer.body != first
    large = asked(b"x" * 200_000, headers=(("idempotency-key", "k"),))
    for run in range(200):
        answer(stand_in, large, str(run))
    assert 0 < stand_in.remembered <= MOST_BYTES // 200_000
    small = StandIn([rule(body="x", headers={})])
    for run in range(MOST_REMEMBERED + 5):
        answer(small, one, str(run))
    assert 1000 < small.remembered <= MOST_REMEMBERED


@pytest.mark.parametrize("key", ["", "x" * 513])
def test_what_is_no_key_stands_for_nothing(key: str) -> None:
    stand_in = StandIn([rule()])
    one = asked(headers=(("idempotency-key", key),))
    assert answer(stand_in, one) != answer(stand_in, one)
    assert stand_in.remembered == 0


def test_the_header_of_the_key_is_chosen_and_can_be_none() -> None:
    theirs = asked(headers=(("PayPal-Request-Id", "k"),))
    ours = asked(headers=(("Idempotency-Key", "k"),))
    chosen, none = StandIn([rule(idempotency="PayPal-Request-Id")]), StandIn([rule(idempotency="")])
    assert answer(chosen, theirs) == answer(chosen, theirs)
    assert answer(chosen, ours) != answer(chosen, ours)
    assert answer(none, ours) != answer(none, ours)


def test_errors_come_in_their_share_and_are_not_remembered() -> None:
    stand_in = StandIn([rule(error_share="20%", error={"status": 429, "body": {"error": {"type": "rate_limit"}}})])
    one = asked(headers=(("idempotency-key", "k"),))
    said = [answer(stand_in, one) for _ in range(1000)]
    erred = [each for each in said if each.outcome == "erred"]
    assert 150 < len(erred) < 250
    assert {each.answer.status for each in erred} == {429}
    assert json.loads(erred[0].answer.body) == {"error": {"type": "rate_limit"}}
    assert fields(erred[0].answer)["reamp-third-party"] == "error"
    assert len({each.answer for each in said if each.outcome == "stubbed"}) == 1


def test_an_error_without_words_is_a_503() -> None:
    said = answer(StandIn([rule(error_share="100%")]))
    assert (said.answer.status, json.loads(said.answer.body)["type"]) == (503, "urn:reamp:third-party-error")


def test_a_seed_gives_the_same_times_and_errors_and_another_one_others() -> None:
    one = rule(latency={"p50": "80ms", "p99": "400ms"}, error_share="10%")
    draws = [Draws(one, seed, 0) for seed in ("a", "a", "b")]
    first, again, other = ([each.draw() for _ in range(50)] for each in draws)
    assert first == again != other
    without = Draws(rule(latency={"p50": "80ms", "p99": "400ms"}), "a", 0)
    assert [each.seconds for each in first] == [without.draw().seconds for _ in range(50)]


def test_half_take_less_than_the_median_and_a_hundredth_more_than_the_99th_percentile() -> None:
    draws = Draws(rule(latency={"p50": "80ms", "p99": "400ms"}), "", 0)
    times = sorted(draws.draw().seconds for _ in range(20_000))
    assert 0.077 < times[10_000] < 0.083
    assert 0.36 < times[19_800] < 0.44
    assert times[-1] <= 4.0
    assert {Draws(rule(latency="80ms"), "", 0).draw().seconds for _ in range(5)} == {0.08}


def test_a_block_says_why_or_what_the_owner_chose() -> None:
    plain = answer(StandIn([PartyRule.model_validate({"match": "*.stripe.com", "action": "block"})]))
    problem = json.loads(plain.answer.body)
    assert (plain.answer.status, plain.outcome, problem["status"]) == (403, "blocked", 403)
    assert problem["type"] == "urn:reamp:third-party-blocked"
    assert "*.stripe.com" in problem["detail"]
    assert fields(plain.answer)["content-type"] == "application/problem+json"
    chosen = answer(StandIn([rule(action="block", status=402, body="no {{ request.form.amount }}", headers={})]))
    assert (chosen.answer.status, chosen.answer.body, chosen.outcome) == (402, b"no 4200", "blocked")


def test_what_can_not_be_made_of_a_request_is_told_and_nothing_else() -> None:
    said = answer(StandIn([rule()]), asked(b"{}"))
    assert (said.answer.status, said.outcome) == (500, "failed")
    assert "'amount'" in json.loads(said.answer.body)["detail"]


def test_files_are_sent_as_they_are_or_filled_in(tmp_path: Path) -> None:
    picture, page = tmp_path / "a.png", tmp_path / "a.html"
    picture.write_bytes(b"\x89PNG{{ id }}")
    page.write_text("<p>{{ request.form.amount }}</p>")
    raw = compiled(Answer(body_file=picture, template=False)).render(asked(), Ids.fresh(), 0.0)
    assert (raw.body, fields(raw)["content-type"]) == (b"\x89PNG{{ id }}", "image/png")
    filled = compiled(Answer(body_file=page)).render(asked(), Ids.fresh(), 0.0)
    assert (filled.body, fields(filled)["content-type"]) == (b"<p>4200</p>", "text/html")
    with pytest.raises(ValidationError, match="template: false"):
        Answer(body_file=picture)


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ({"a": 1}, "application/json"),
        ([], "application/json"),
        ('{"a": 1}', "application/json"),
        ("{{ id }}", "text/plain; charset=utf-8"),
        ("hello", "text/plain; charset=utf-8"),
    ],
)
def test_the_type_of_a_body_follows_from_it_unless_it_is_said(body: Any, type_: str) -> None:
    made = compiled(Answer(body=body)).render(asked(), Ids.fresh(), 0.0)
    assert fields(made)["content-type"] == type_
    said = compiled(Answer(body=body, headers={"Content-Type": "x/y"})).render(asked(), Ids.fresh(), 0.0)
    assert fields(said) == {"content-type": "x/y"}


def test_texts_keep_their_type_in_json_if_they_are_one_expression() -> None:
    what = asked(b'{"n": 1.5, "list": [1, {"a": null}], "items": "theirs", "t": "x\\"y"}')
    body = {"n": "{{ request.json.n }}", "l": " {{ request.json.list }} ", "i": "{{ request.json.items }}"}
    assert json.loads(render({**body, "t": "<{{ request.json.t }}>", "two": "{{ 1 }}{{ 2 }}"}, what)) == {
        "n": 1.5,
        "l": [1, {"a": None}],
        "i": "theirs",
        "t": '<x"y>',
        "two": "12",
    }
    assert json.loads(render({"a": "{{ request.query.q }}"}, asked(target="/?q=%22%7D"))) == {"a": '"}'}


def test_headers_are_found_in_any_case_and_paths_by_their_parts() -> None:
    what = asked(target="/v1/charges/ch_1/refund?x=1", headers=(("X-Order", "7"), ("x-order", "8")))
    assert render("{{ request.headers['x-Order'] }} {{ request.segments[2] }} {{ request.query.x }}", what) == (
        b"7 ch_1 1"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 100000000 }}",
        "{{ [1] * 100000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ request.text.replace('', request.text) }}",
        "{{ request.__class__ }}",
        "{{ request['__class__'] }}",
        "{{ request.json.__class__.__mro__ }}",
        "{{ request.json.pop('a') }}",
        "{{ random_id.__call__(3) }}",
        "{{ random_id(100000) }}",
        "{{ random_id.__globals__ }}",
        "{{ request._body }}",
        "{% for x in request.json.list %}{% for y in request.json.list %}{% endfor %}{% endfor %}",
        "{% for x in request.json.list %}{{ x }}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 99999999999999999999 * 9 }}",
        "{% include 'x' %}",
        "{% set n = namespace(a='x') %}",
        "{{ range(1000000000) }}",
        "{{ lipsum(1000) }}",
        "{{ cycler }}",
        "{{ ''|format }}",
        "{{ request.json.list | join(request.text) }}",
        "{{ self }}",
        "{{ request.json.list | map('x') }}",
        "{{ 1 / 0 }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ loop }}",
    ],
)
def test_a_template_can_do_no_harm(template: str) -> None:
    """Refused when it is read, or when it is filled in: always within an instant, and never by anything worse."""
    what = asked(json.dumps({"a": 1, "list": list(range(40_000))}).encode())
    with pytest.raises((RenderError, ValidationError)):
        render(template, what)


def test_an_answer_has_a_largest_size() -> None:
    with pytest.raises(RenderError, match=f"{MAX_BODY:,}"):
        render("{{ request.text }}" * 6, asked(b"x" * MAX_ASKED))
    with pytest.raises(RenderError, match=f"{MAX_BODY:,}"):
        render({"a": ["{{ request.text }}"] * 6}, asked(b"x" * MAX_ASKED))
    with pytest.raises(ValidationError, match="characters"):
        Answer(body="{{ 1 }}" * 20_000)


def test_a_header_takes_no_second_line_of_a_request() -> None:
    one = compiled(Answer(headers={"location": "/{{ request.query.to }}"}))
    with pytest.raises(RenderError, match="one line"):
        one.render(asked(target="/?to=a%0d%0aset-cookie:%20b"), Ids.fresh(), 0.0)


def test_of_a_body_that_is_too_long_only_the_text_is_known() -> None:
    long = asked(b'{"a": "' + b"x" * MAX_ASKED + b'"}')
    assert len(render("{{ request.text }}", long)) == MAX_ASKED
    assert render("{{ request.form }}", long) == b"{}"
    with pytest.raises(RenderError, match="too long"):
        render("{{ request.json.a }}", long)


ANYTHING = StandIn(
    [
        rule(
            body={
                "all": "{{ request.method }} {{ request.host }} {{ request.path }} {{ request.segments }}",
                "more": "{{ request.query }} {{ request.form }} {{ request.headers }} {{ request.text }}",
                "json": "{{ request.json | default(none) }}",
            },
            headers={"x": "{{ request.path }}"},
        )
    ]
)


@settings(max_examples=60)
@given(
    st.binary(max_size=300),
    st.text(max_size=50),
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5),
)
@example(b"[" * 100_000, "/", [])
@example(b'{"a": NaN}', "/", [])
@example(b'"\\ud800"', "/?a=%ff", [("idempotency-key", "\udc80")])
@example(b"&" * 5000, "/?" + "a=1&" * 5000, [])
def test_whatever_is_asked_there_is_an_answer(body: bytes, target: str, headers: list[tuple[str, str]]) -> None:
    said = answer(ANYTHING, asked(body, target, tuple(headers)))
    assert said.outcome in ("stubbed", "failed")
    json.loads(said.answer.body)
