"""What can be said of an egress on the command line and in reamp.yaml, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from addons.parties.policy import Policy
from reamp.commands.sidecar import SidecarSettings
from reamp.settings import effective
from rules.exits import UserError

APP = {"upstream": "http://127.0.0.1:8000"}
HERE = {**APP, "egress": "127.0.0.1:8902"}


def read(**settings: Any) -> SidecarSettings:
    return effective(SidecarSettings, "sidecar", settings)


def test_without_it_there_is_none() -> None:
    settings = read(**APP)
    assert settings.egress_plan(settings.state, settings.control, settings.options()) is None


def test_all_of_it_reaches_those_who_go_by_it(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    settings = read(
        **HERE,
        egress_map=["payments=http://10.0.0.7"],
        egress_intercept=["*.example.com"],
        egress_ca=str(ca),
        egress_trace=["b3", "datadog"],
        egress_trace_sampled=True,
        egress_trace_age="5m",
        state=str(tmp_path),
    )
    plan = settings.egress_plan(settings.state, settings.control, settings.options())
    assert plan is not None
    assert (plan.listen, plan.age) == ("127.0.0.1:8902", 300)
    assert plan.options() == {"reamp_trace": ["b3", "datadog"], "reamp_trace_sampled": True}
    told = plan.settings()
    assert told["mapped"] == ["payments=http://10.0.0.7"]
    assert told["intercepted"] == ["*.example.com"]
    assert told["trust"] == str(ca)
    assert told["options"]["reamp_audience"] == "production"
    assert "looks into tunnels to *.example.com" in str(plan)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "beware: other tunnels pass as they are, with what is synthetic in them"),
        ({"egress_tunnels": "block"}, "other tunnels to third parties pass only if every call in them could"),
        ({"egress_intercept": ["*"]}, None),
        ({"default_third_party": "pass"}, None),
    ],
)
def test_what_becomes_of_tunnels_is_said_and_reaches_who_goes_by_it(changes: dict[str, Any], said: str | None) -> None:
    settings = read(**HERE, **changes)
    plan = settings.egress_plan(settings.state, settings.control, settings.options())
    assert plan is not None
    assert (said or "no rule") in str(plan)
    assert ("other tunnels" in str(plan)) == bool(said)
    wanted = changes.get("egress_tunnels", "pass")
    assert Policy.model_validate_json(plan.settings()["policy"]).tunnels == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.1"])
def test_this_machine_alone_needs_no_word(host: str) -> None:
    assert read(**APP, egress=f"{host}:8902").egress


@pytest.mark.parametrize("host", ["0.0.0.0", "", "[::]", "10.0.0.7", "box.example", "localhost.evil.example"])
def test_for_others_it_is_open_only_if_that_is_said(host: str) -> None:
    with pytest.raises(UserError, match="other machines could send what they like through it"):
        read(**APP, egress=f"{host}:8902")
    assert read(**APP, egress=f"{host}:8902", egress_open=True).egress


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"egress": "8902"}, "is not an address"),
        ({"egress_tunnels": "deny"}, "--egress-tunnels: Input should be 'pass' or 'block'"),
        ({"control": "127.0.0.1:0"}, "--control: give it a port, with --egress"),
        ({"listen": "0.0.0.0:8902"}, "--egress 127.0.0.1:8902: --listen has that port already"),
        ({"control": "127.0.0.1:8902"}, "--egress 127.0.0.1:8902: --control has that port already"),
        ({"egress_map": ["payments"]}, "--egress-map: 'payments': write it like payments=http://10.0.0.7:8080"),
        ({"egress_map": ["payments=http://127.0.0.1:8902"]}, "127.0.0.1:8902 is the sidecar itself"),
        ({"egress_map": ["me=http://localhost:8901"]}, "localhost:8901 is the sidecar itself"),
        (
            {"egress_intercept": ["https://api.example.com/"]},
            "--egress-intercept: 'https://api.example.com/' is no pattern of hosts",
        ),
        ({"egress_ca": "nowhere.pem"}, "nowhere.pem can't be read"),
        ({"egress_ca": "/dev/null"}, "there is no certificate in"),
        ({"egress_trace": ["zipkin"]}, "'zipkin' is none of traceparent, b3, b3multi, datadog"),
        ({"egress_trace_age": "0s"}, "between 1s and 24h"),
    ],
)
def test_what_makes_no_sense_is_told_with_what_to_do(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(**{**HERE, **settings})


@pytest.mark.parametrize("settings", [{"egress_open": True}, {"egress_map": ["a=http://b"]}, {"egress_trace": ["b3"]}])
def test_what_is_for_an_egress_needs_one(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="it is for an egress: say --egress as well"):
        read(**APP, **settings)
