"""Rules for third parties in reamp.yaml: a wrong one is refused at start, with its line and what to do."""

from pathlib import Path

import pytest

from addons.parties.policy import Policy
from reamp.commands.sidecar import SidecarSettings
from reamp.settings import effective
from rules.exits import UserError

RULES = """\
sidecar:
  upstream: http://127.0.0.1:8000
  egress: 127.0.0.1:8902
  inside: [default, "*.shop.example", 10.0.0.0/8]
  third-parties:
    - match: api.stripe.com/v1/charges
      method: POST
      action: stub
      latency: {p50: 80ms, p99: 400ms}
      error_share: 1%
      error: {status: 503}
      body:
        id: "ch_{{ id }}"
        amount: "{{ request.form.amount | int }}"
    - match: "*.sendgrid.net"
      action: block
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, text: str) -> SidecarSettings:
    (folder / "reamp.yaml").write_text(text)
    return effective(SidecarSettings, "sidecar", {})


def test_rules_are_read_and_come_to_the_egress_as_they_were_written(folder: Path) -> None:
    policy = read(folder, RULES).policy()
    assert [(str(rule.match), rule.action) for rule in policy.third_parties] == [
        ("api.stripe.com/v1/charges", "stub"),
        ("*.sendgrid.net", "block"),
    ]
    again = Policy.model_validate_json(policy.written())
    assert again == policy
    assert again.written() == policy.written()
    assert again.chooser().inside("a.shop.example")
    assert again.default_third_party == "block"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("action: stub", "action: drop", 8, "third_parties.0.action in reamp.yaml, line 8: Input should be 'pass'"),
        (
            "status: 503",
            "status: 5030",
            11,
            "third_parties.0.error.status in reamp.yaml, line 11: it has to be at most 599",
        ),
        ("error_share: 1%", "error_share: 101%", 10, ": it has to be at most 100%"),
        ("latency: {p50: 80ms", "latency: {p50: 80", 9, "'80' is not a duration: write it like"),
        ("error_share: 1%", "error_shar: 1%", 10, "there is no 'error_shar' here"),
        ("{{ id }}", "{{ idd }}", 6, "a template knows no 'idd', but request, id,"),
        ('"*.sendgrid.net"', "api.stripe.com/v1/charges\n      method: POST", 15, "no call ever comes to this rule"),
        ('"*.sendgrid.net"', "https://sendgrid.net", 15, "leave out http://"),
        ("10.0.0.0/8", "10.0.0.1/8", 4, "write it like 10.0.0.0/8"),
        ("10.0.0.0/8", '"*"', 4, "default_third_party: pass"),
        ("action: block", "action: pass\n      status: 200", 15, "leave out status"),
    ],
)
def test_a_wrong_rule_is_told_with_its_line(folder: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in RULES
    with pytest.raises(UserError) as told:
        read(folder, RULES.replace(old, new))
    assert words in str(told.value)
    assert f", line {line}: " in str(told.value)


@pytest.mark.parametrize(("old", "new"), [('"*.sendgrid.net"', "*.sendgrid.net"), ('"ch_{{ id }}"', "{{ id }}")])
def test_what_yaml_takes_for_something_else_is_to_be_put_into_quotes(folder: Path, old: str, new: str) -> None:
    with pytest.raises(UserError, match="in quotes"):
        read(folder, RULES.replace(old, new))


def test_rules_that_are_too_many_or_too_long_are_refused(folder: Path) -> None:
    long = "sidecar:\n  upstream: http://a\n  egress: 127.0.0.1:8902\n  third_parties:\n"
    with pytest.raises(UserError, match="at most 200"):
        read(folder, long + "".join(f"    - {{match: a{n}.com, action: block}}\n" for n in range(201)))
    body = "x" * 60_000
    with pytest.raises(UserError, match="body_file"):
        read(folder, long + "".join(f"    - {{match: a{n}.com, action: stub, body: {body}}}\n" for n in range(5)))


def test_the_default_is_to_block_and_a_flag_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"upstream": "http://a", "egress": "127.0.0.1:8902"}
    plain = effective(SidecarSettings, "sidecar", flags)
    assert plain.policy() == Policy()
    assert plain.policy().default_third_party == "block"
    monkeypatch.setenv("REAMP_SIDECAR_DEFAULT_THIRD_PARTY", "pass")
    assert effective(SidecarSettings, "sidecar", flags).policy().default_third_party == "pass"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("third_parties: [{match: a.com, action: block}]", "third_parties in reamp.yaml: it is for an egress"),
        ("inside: [a.com]", "inside in reamp.yaml: it is for an egress"),
        ("default_third_party: pass", "--default-third-party: it is for an egress"),
    ],
)
def test_rules_that_nothing_would_go_by_are_refused(folder: Path, line: str, words: str) -> None:
    """Who writes that charges are stubbed must not find out by charges that they are not."""
    with pytest.raises(UserError, match=words):
        read(folder, f"sidecar:\n  upstream: http://a\n  {line}\n")
