"""Whom to tell: what is wrong with a URL or a file is told, and never the URL."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from replayer.announcing.courier import harmless
from replayer.announcing.receivers import MOST, receivers
from replayer.plan import Plan
from rules.exits import UserError

SECRET = "T0KEN5ECRET"
GIVEN = {"recording": "r", "to": "http://h", "idle_target": True}


def test_receivers_are_named_by_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("# the team\n\nslack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#load\n")
    path.chmod(0o600)
    found = receivers([SecretStr(f"json://127.0.0.1/{SECRET}"), SecretStr("mailto://u:p@mail.example")], path)
    assert [receiver.name for receiver in found] == ["JSON (1)", "E-Mail (2)", "Slack (3)"]
    assert SECRET not in repr(found)
    assert found[2].url.get_secret_value().endswith("/#load")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"slak://{SECRET}/{SECRET}", "--announce 1: Apprise knows no such slak:// URL (did you mean slack://?)"),
        (SECRET, "it is no URL: write it as on https://appriseit.com/services/"),
        (f"slack://{SECRET}", "Apprise knows no such slack:// URL"),
    ],
)
def test_what_is_no_receiver_is_told_without_its_secret(url: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        receivers([SecretStr(url)], None)
    assert words in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"json://h/T0KEN5ECRET", 0o644, "may be read by others (mode 0644): chmod 600"),
        (b"json://h/T0KEN5ECRET", 0o640, "may be read by others (mode 0640)"),
        (b"# nobody\n", 0o600, "holds no URL: write one a line"),
        (b"\xff\xfe", 0o600, "not text in UTF-8"),
        (b"#" * (1 << 17), 0o600, "larger than 64 KiB"),
        (b"\nslak://T0KEN5ECRET", 0o600, "line 2: Apprise knows no such slak:// URL"),
        (None, 0, "No such file"),
    ],
)
def test_a_file_that_is_none_or_that_others_may_read_is_refused(
    tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    path = tmp_path / "urls"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(UserError, match="--announce-file") as told:
        receivers([], path)
    assert words in str(told.value)
    assert SECRET not in str(told.value)


def test_too_many_receivers_are_refused() -> None:
    with pytest.raises(UserError, match="21 receivers are too many"):
        receivers([SecretStr("json://h")] * (MOST + 1), None)


def test_a_plan_holds_urls_but_never_shows_them() -> None:
    url = f"mailto://u:{SECRET}@h?to=a,b"
    plan = Plan.model_validate({**GIVEN, "announce": [f"json://h/{SECRET}", *url.split(",")]})
    assert [each.get_secret_value() for each in plan.announce] == [f"json://h/{SECRET}", url]
    for shown in (repr(plan), str(plan), plan.model_dump_json(), repr(plan.model_dump())):
        assert SECRET not in shown
    assert Plan.model_validate_json(plan.model_dump_json()).announce == ()


def test_a_wrong_plan_does_not_show_them_either() -> None:
    with pytest.raises(ValidationError) as told:
        Plan.model_validate({**GIVEN, "announce": f"json://h/{SECRET}", "announce_before": "1h", "max_time": "1h"})
    messages = [problem["msg"] for problem in told.value.errors(include_input=False)]
    assert any("--max-time 1h would be over before the start" in message for message in messages)
    assert SECRET not in "".join(messages)


@pytest.mark.parametrize(
    ("reason", "url", "told"),
    [
        ("error=404.", "json://h/abcd", "error=404."),
        ("could not send to TOKENA", "slack://TokenA/TokenB", "could not send to ..."),
        ("bad path a%20secret and 'a secret'", "json://h/a%20secret", "bad path a%... and 'a ...'"),
    ],
)
def test_reasons_hold_nothing_of_a_url(reason: str, url: str, told: str) -> None:
    assert harmless(reason, url) == told
