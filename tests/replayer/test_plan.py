"""A plan is refused before anything is sent, with the arithmetic."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from replayer.plan import Plan, check_factor
from replayer.preparing.terms import agree
from rules.exits import Exit, UserError
from rules.units import MILLION, Duration, Factor, Share
from rules.wire import Accounting, Lever, Signal, State

SIDECAR = "http://127.0.0.1:8901"
LIVE = {"sidecars": [SIDECAR], "amplify": "1.25x"}
IDLE = {"idle_target": True}


def plan(**changes: Any) -> Plan:
    return Plan.model_validate({"recording": Path("recordings"), "to": "http://127.0.0.1:8080", **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as error:
        plan(**changes)
    return str(error.value)


def state(max_extra: str = "25%", **changes: Any) -> State:
    return State(
        version="1",
        upstream="http://app",
        audience=changes.pop("audience", "shop"),
        started=0,
        max_extra=Share.parse(max_extra),
        credit=0,
        subscribers=0,
        requests={},
        signal=Signal(window=10, rate=100),
        lever=changes.pop("lever", Lever()),
        accounting=Accounting(),
        capturing=True,
    )


def test_defaults_follow_the_target() -> None:
    assert plan(**LIVE).of == "live"
    idle = plan(**IDLE)
    assert (idle.of, idle.amplify) == ("recording", Factor(MILLION))
    assert plan(**IDLE, to="https://shop.example").address == ("shop.example", 443)


def test_a_live_target_needs_a_sidecar() -> None:
    message = refusal()
    assert "--sidecar" in message
    assert "--idle-target" in message
    assert "--sidecar" in refusal(of="live", amplify="1.25x")
    assert "--sidecar" in refusal(of="live", amplify="1.25x", idle_target=True)
    assert "one of the two" in refusal(**LIVE, idle_target=True)


def test_the_factor_has_to_fit_under_the_ceiling() -> None:
    message = refusal(**LIVE | {"amplify": "1.5x"}, ceiling="25%")
    assert "1.5x of live traffic sends 50% of real traffic as extra; the ceiling is 25%" in message
    assert "lower --amplify to 1.25x" in message
    assert plan(**LIVE | {"amplify": "1.1x"}, ceiling="10%").loudest == Factor.parse("1.1x")  # no float would say so


@given(st.integers(1, 10 * MILLION), st.integers(0, 10 * MILLION))
def test_a_factor_passes_exactly_if_its_extra_does(extra: int, ceiling: int) -> None:
    factor = Factor(MILLION + extra)
    if extra <= ceiling:
        check_factor(factor, Share(ceiling))
    else:
        with pytest.raises(ValueError, match="the ceiling is"):
            check_factor(factor, Share(ceiling))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({**LIVE, "amplify": "1x"}, "adds nothing"),
        ({**LIVE, "amplify": "0.5x"}, "adds nothing"),
        ({"sidecars": [SIDECAR]}, "say how much"),
        ({**LIVE, "top_up": "500/s"}, "--amplify and --top-up both say how much to send: give one"),
        ({**LIVE, "squeeze": True}, "--squeeze"),
        ({**IDLE, "top_up": "500/s"}, "--top-up fills up real traffic, and an --idle-target has none"),
        ({"sidecars": [SIDECAR], "of": "recording", "top_up": "5/s"}, "error, --top-up fills up live traffic"),
        ({**IDLE, "ceiling": "25%"}, "--sidecar"),
        ({**IDLE, "amplify": "0x"}, "too small: from 0.01x to 1000x"),
        ({**IDLE, "amplify": "0.009x"}, "too small: from 0.01x to 1000x"),
        ({**IDLE, "amplify": "1000.000001x"}, "too large: from 0.01x to 1000x"),
        ({**IDLE, "stage": ["5m:1x..1001x"]}, "too large: from 0.01x to 1000x"),
        ({**IDLE, "stage": ["5m"]}, "write it like 5m:1.25x, or 5m:1x..2x"),
        ({**IDLE, "stage": ["5:1x"]}, "write it like 10s"),
        ({**IDLE, "stage": ["100ms:2x"]}, "a second at least"),
        ({**IDLE, "stage": ["5m:2x"], "amplify": "2x"}, "--amplify and --stage both say how much to send"),
        ({**IDLE, "stage": ["5m:2x"], "duration": "6m"}, "the stages last 5m in all"),
        ({**IDLE, "stage": ["5m:2x"], "squeeze": True}, "instead of --stage"),
        ({**IDLE, "rate": "0/s"}, "more than zero"),
        ({**IDLE, "rate": "5/s", "amplify": "2x"}, "--amplify and --rate both say how much to send"),
        ({**IDLE, "rate": "5/s", "squeeze": True}, "--rate does not use them"),
        ({**IDLE, "even": True}, "--even is how the requests of a --rate come"),
        ({**IDLE, "loop": True}, "--loop has no end"),
        ({**IDLE, "max_requests": 0}, "greater than or equal to 1"),
        ({"sidecars": [SIDECAR], "of": "live", "rate": "5/s"}, "leave --of live out"),
        ({**LIVE, "loop": True}, "over anyway"),
        ({**LIVE, "sessions": "auto"}, "--of recording"),
        ({**IDLE, "sessions": "name"}, "write auto, address, cookie:NAME or header:NAME"),
        ({**IDLE, "sessions": "auto", "rate": "5/s"}, "--rate sends requests one by one"),
        ({**IDLE, "sessions": "auto", "squeeze": True}, "--squeeze sends every request once"),
        ({"sidecars": [SIDECAR], "stage": ["5m:0.5x"]}, "can't be made less"),
        ({"sidecars": [SIDECAR], "stage": ["5m:1x"]}, "add nothing"),
        ({"sidecars": [SIDECAR], "stage": ["5m:1x..1.5x"], "ceiling": "25%"}, "25%: lower --stage to 1.25x"),
        ({**IDLE, "amplify": 2}, "write it like 1.25x"),
        ({**IDLE, "duration": "10"}, "write it like 10s"),
        ({**IDLE, "to": "shop"}, "write it like http://"),
        ({**IDLE, "to": "http://shop/path"}, "only scheme, host and port"),
        ({**IDLE, "to": "http://me:secret@shop"}, "only scheme, host and port"),
        ({**IDLE, "host": "a b"}, "not a host"),
        ({**IDLE, "host": "a\r\nx: y"}, "not a host"),
        ({**IDLE, "methods": "GET,P0ST!"}, "write methods like"),
        (
            {**IDLE, "methods": "GET,POST"},
            "POST may change things, so it is allowed route by route: --allow 'POST /cart/{id}'",
        ),
        ({**IDLE, "allow": ["POST"]}, "like 'POST /cart/{id}', or 'POST *' for all"),
        ({**IDLE, "set_header": ["Host: shop"]}, "--host says"),
        ({**IDLE, "set_header": ["A: 1", "a: 2"]}, "a is given twice"),
        ({**IDLE, "remove_header": ["a b"]}, "no name of a header"),
        ({**IDLE, "remove_header": ["a"] * 101}, "at most 100"),
        ({**IDLE, "rewrite": ["/a => /b", "/a(b => /"]}, "missing ): /a(b"),
        ({**IDLE, "tag_lifetime": "1s"}, "between 2s and 1h"),
        ({**LIVE, "sidecars": ["127.0.0.1:8901"]}, "write it like http://127.0.0.1:8901"),
        ({**IDLE, "speed": "2x"}, "Extra inputs"),
    ],
)
def test_refused(changes: dict[str, Any], part: str) -> None:
    assert part in refusal(**changes)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("target", None),
        ("recorded", None),
        ("shop", "shop"),
        ("shop:8443", "shop"),
        ("[::1]", "::1"),
        ("[::1]:1", "::1"),
    ],
)
def test_whose_certificate_is_asked_for(host: str, name: str | None) -> None:
    assert plan(**IDLE, host=host).server_name == name


def test_both_ends_have_to_be_named() -> None:
    for given_fields in ({}, {"to": "http://127.0.0.1:8080"}, {"recording": "recordings"}):
        with pytest.raises(ValidationError, match="reamp replay DIR --to URL"):
            Plan.model_validate({**IDLE, **given_fields})


def test_a_sidecar_named_twice_grants_once() -> None:
    assert plan(sidecars=[SIDECAR, SIDECAR + "/"], amplify="1.1x").sidecars == (SIDECAR,)


OTHERS = (
    plan(**IDLE, stage=["5m:1.05x", "90s: 1x..2x"], loop=True, from_="-15m", until="20:48", only="~u /a", except_="~b"),
    plan(sidecars=[SIDECAR], rate="200/s", even=True, max_requests=7),
    plan(sidecars=[SIDECAR], stage="5m:1.05x,10m:1.1x"),
    plan(**IDLE, sessions="header:X-User", amplify="2x"),
)


def test_what_follows_from_stages_and_rates() -> None:
    stages, rate, live, _ = OTHERS
    assert (stages.of, stages.duration) == ("recording", Duration(390))
    assert stages.stage == ("5m:1.05x", "1m30s:1x..2x")
    assert (stages.amplify, str(stages.loudest)) == (None, "2x")
    assert (rate.of, rate.amplify, rate.duration) == ("recording", None, None)
    assert (live.of, live.duration, live.loudest) == ("live", Duration(900), Factor.parse("1.1x"))


def test_the_plan_survives_its_own_file() -> None:
    for given_plan in (
        plan(**LIVE, ceiling="25%", duration="90s"),
        plan(**IDLE, amplify="3x", methods="get,head", allow=["POST *"]),
        *OTHERS,
    ):
        assert Plan.model_validate_json(given_plan.model_dump_json()) == given_plan


def test_settings_bear_the_names_that_users_give_them() -> None:
    written = plan(**IDLE, from_="-15m", except_="~u /healthz").model_dump(mode="json")
    assert (written["from"], written["except"]) == ("-15m", "~u /healthz")
    assert not any(name.endswith("_") for name in written)


# --- what the sidecars' owners say ---


def test_the_owner_sets_the_ceiling_and_a_run_can_only_lower_it() -> None:
    assert agree(plan(**LIVE), {SIDECAR: state()}).ceiling == Share.parse("25%")
    low = plan(**LIVE | {"amplify": "1.1x"}, ceiling="10%")
    assert agree(low, {SIDECAR: state()}).ceiling == Share.parse("10%")
    with pytest.raises(UserError, match="can only lower the ceiling"):
        agree(plan(**LIVE, ceiling="30%"), {SIDECAR: state()})


def test_the_lowest_ceiling_of_several_sidecars_counts() -> None:
    with pytest.raises(UserError, match="sends 25% of real traffic as extra; the ceiling is 10%"):
        agree(plan(**LIVE), {SIDECAR: state(), "http://127.0.0.1:8902": state("10%")})


def test_top_up_and_recordings_are_cut_by_the_ceiling_and_not_refused() -> None:
    for changes in ({"top_up": "9000/s"}, {"of": "recording", "amplify": "10x"}):
        assert agree(plan(sidecars=[SIDECAR], **changes), {SIDECAR: state()}).ceiling == Share.parse("25%")


def test_a_pulled_lever_refuses() -> None:
    with pytest.raises(UserError, match="db is on fire") as error:
        agree(plan(**LIVE), {SIDECAR: state(lever=Lever(engaged=True, reason="db is on fire", by="ann"))})
    assert error.value.code == Exit.LEVER


def test_audiences() -> None:
    assert agree(plan(**LIVE), {SIDECAR: state()}).audience == "shop"
    assert agree(plan(**IDLE, to="http://stage.shop.example:80"), {}).audience == "stage-shop-example"
    assert agree(plan(**IDLE, to="http://[::1]:80"), {}).audience == "1"
    assert agree(plan(**IDLE, to="http://[::]:80"), {}).audience == "target"
    with pytest.raises(UserError, match="accepts only tags for shop"):
        agree(plan(**LIVE, audience="other"), {SIDECAR: state()})
    with pytest.raises(UserError, match="different targets"):
        agree(plan(**LIVE), {SIDECAR: state(), "http://127.0.0.1:8902": state(audience="other")})


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"first_byte_timeout": "40s"}, "never reached"),
        ({"cert_key": "key.pem"}, "--cert"),
        ({"cert": "cert.pem"}, "https://"),
        ({"resolve": "shop.example:443"}, "HOST:PORT:ADDRESS"),
        ({"resolve": "shop.example:0:10.0.0.5"}, "no port 0"),
        ({"resolve": "shop.example:443:staging.example"}, "no IP address"),
        ({"resolve": ["a:1:::1", "a:1:10.0.0.5"]}, "by commas"),
        ({"resolve": "shop.example:443:10.0.0.5"}, "--host recorded"),
    ],
)
def test_what_makes_no_sense_of_connections_is_explained(changes: dict[str, Any], advice: str) -> None:
    assert advice in refusal(**IDLE, **changes)


def test_addresses_for_hosts() -> None:
    made = plan(**IDLE, host="recorded", resolve=["Shop.Example:443:10.0.0.5,[::1]", "[2001:db8::1]:80:::1"])
    assert made.addresses == {("shop.example", 443): ("10.0.0.5", "::1"), ("2001:db8::1", 80): ("::1",)}
    own = plan(**IDLE, to="http://shop.example", resolve="shop.example:80:10.0.0.5")
    assert own.addresses == {("shop.example", 80): ("10.0.0.5",)}
    # Beside a sidecar nothing may go where it does not look.
    assert "sidecar" in refusal(**LIVE, host="recorded", resolve="other.example:443:10.0.0.5")


@pytest.mark.parametrize(("told", "understood"), [(True, "always"), (False, "never"), ("auto", "auto")])
def test_http_2_is_yes_no_or_what_the_target_agrees_to(told: object, understood: str) -> None:
    assert plan(**IDLE, http2=told).http2 == understood


@pytest.mark.parametrize("rule", ["p(95)<500ms", "error_ratio<1%"])
def test_a_rule_that_a_tap_has_no_data_for_is_refused_before_anything_is_sent(rule: str) -> None:
    tap = state().model_copy(update={"tap": Share.parse("10%")})
    with pytest.raises(UserError, match="is a tap, which gets copies of requests and sees no answers"):
        agree(plan(**LIVE, slo=[rule]), {SIDECAR: tap})
    for known in ("rate>1/s", f"synthetic.{rule}", "value<0.8 prometheus=http://127.0.0.1:9090 query=up"):
        assert agree(plan(**LIVE, slo=[known]), {SIDECAR: tap}).ceiling == Share.parse("25%")
