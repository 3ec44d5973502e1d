"""Rules in a plan: by option, in YAML, in the environment. What makes no sense is refused before anything is sent."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reamp.settings import effective
from replayer.plan import MOST_SLO, Plan
from rules.exits import UserError

COMMON = {"recording": "recordings", "to": "http://127.0.0.1:8080"}
LIVE = {**COMMON, "sidecars": ["http://127.0.0.1:8901"], "amplify": "1.25x"}
IDLE = {**COMMON, "idle_target": True}


def test_a_rule_is_text_or_a_mapping_and_reads_back_from_the_plan_that_was_written() -> None:
    plan = Plan.model_validate(
        {**LIVE, "slo": ["p(95)<500ms action=back-off", {"expression": "error_ratio<1%", "for": "10s"}]}
    )
    assert [str(rule).partition(" ")[0] for rule in plan.slo] == ["p(95)<500ms", "error_ratio<1%"]
    assert [rule.action for rule in plan.slo] == ["back-off", "abort"]
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert Plan.model_validate({**LIVE, "slo": "p(95)<500ms action=back-off"}).slo == plan.slo[:1]


def test_files_and_the_environment_may_hold_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "reamp.yaml"
    file.write_text(
        "replay:\n  slo:\n    - p(95)<500ms action=warn\n    - {expression: error_ratio<1%, for: 10s, min_samples: 5}\n"
    )
    first, second = effective(Plan, "replay", LIVE, file).slo
    assert first.action == "warn"
    assert (float(second.for_), second.min_samples) == (10.0, 5)
    monkeypatch.setenv("REAMP_REPLAY_SLO", "p(95)<1s, error_ratio<2%")
    assert [str(rule.expression) for rule in effective(Plan, "replay", LIVE, file).slo] == [
        "p(95)<1s",
        "error_ratio<2%",
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({**LIVE, "slo": ["p(95)<500"]}, "500ms"),
        ({**LIVE, "slo": ["p(95)<1s"] * (MOST_SLO + 1)}, "too many"),
        ({**LIVE, "slo": ["p(99)<1.1x baseline"]}, "--warm-up 1m"),
        ({**LIVE, "slo": ["synthetic.p(99)<1.1x baseline"], "warm_up": "1m"}, "there is none"),
        ({**LIVE, "warm_up": "500ms"}, "from 1s to 10m"),
        ({**IDLE, "slo": ["p(99)<1.1x baseline"]}, "give a figure"),
        ({**IDLE, "slo": ["real.p(99)<1s"]}, "no real users"),
        ({**IDLE, "warm_up": "1m"}, "has none"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_do(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as error:
        Plan.model_validate(given)
    assert why in str(error.value)


def test_a_wrong_rule_is_named_as_it_was_given() -> None:
    with pytest.raises(UserError, match=r"^--slo: .*p95"):
        effective(Plan, "replay", {**LIVE, "slo": ["p95<1s"]}, None, {"slo": "--slo"})
