"""Settings in layers, and mistakes in any of them told by name."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from reamp.commands.sidecar import SidecarSettings, _keep_key, _plan
from reamp.settings import effective
from replayer.plan import Plan
from rules.exits import UserError
from rules.units import Share


class Settings(BaseModel):
    ceiling: Share = Share.parse("25%")
    hosts: list[str] = []
    number: int = 3


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flags_win_over_the_environment_and_that_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "reamp.yaml").write_text("replay:\n  ceiling: 1%\n  hosts: [a]\n  number: 1\n")
    monkeypatch.setenv("REAMP_REPLAY_CEILING", "2%")
    monkeypatch.setenv("REAMP_REPLAY_HOSTS", "b, c")
    settings = effective(Settings, "replay", {"ceiling": "3%", "number": None})
    assert (str(settings.ceiling), settings.hosts, settings.number) == ("3%", ["b", "c"], 1)


def test_without_any_layer_there_are_defaults() -> None:
    assert effective(Settings, "replay", {}) == Settings()


def test_a_file_that_was_named_has_to_be_there(folder: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        effective(Settings, "replay", {}, folder / "other.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("replay:\n  ceilng: 1%\n", "did you mean 'ceiling'"),
        ("replai:\n  ceiling: 1%\n", "sections drill, replay, sidecar"),
        ("replay:\n  ceiling: 25\n", "replay.ceiling in reamp.yaml: '25' is not a share"),
        ("replay: 3\n", "mapping"),
        ("- replay\n", "sections"),
        ("replay: [\n", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
    ],
)
def test_mistakes_in_the_file_are_told(folder: Path, content: str | bytes, words: str) -> None:
    (folder / "reamp.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError) as told:
        effective(Settings, "replay", {})
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REAMP_REPLAY_NUMBER", "many", "REAMP_REPLAY_NUMBER: "),
        ("REAMP_REPLAY_CEILIN", "5%", "did you mean 'ceiling'"),
        ("REAMP_REPLAY_HOSTS", "[a", "write lists like a,b"),
    ],
)
def test_mistakes_in_the_environment_are_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as told:
        effective(Settings, "replay", {})
    assert words in str(told.value)


def test_a_wrong_flag_is_told_by_its_name() -> None:
    with pytest.raises(UserError, match="--ceiling: '25' is not a share"):
        effective(Settings, "replay", {"ceiling": "25"})


@pytest.mark.parametrize(
    "flags",
    [
        {"upstream": "http://h/?x=1"},
        {"upstream": "http://h/path"},
        {"upstream": "ftp://h"},
        {"audience": "bad audience!"},
        {"captures": ""},
        {"listen": "localhost"},
        {"untrusted": "maybe"},
    ],
)
def test_what_a_sidecar_cannot_do_is_refused(flags: dict[str, str]) -> None:
    with pytest.raises(UserError):
        effective(SidecarSettings, "sidecar", {"upstream": "http://127.0.0.1:8000", **flags})


def test_recording_can_be_switched_off_in_every_layer() -> None:
    assert effective(SidecarSettings, "sidecar", {"upstream": "http://h", "captures": "none"}).captures is None


def test_a_reload_keeps_the_redaction_key_that_the_recording_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, again = (
        _plan({"upstream": "http://h", "state": state, "via": state}, None, no_capture=False) for state in ("a", "b")
    )
    kept = _keep_key(first, again)
    assert (kept.options["reamp_redaction_key"], kept.options["reamp_via"]) == (str(Path("a") / "redaction.key"), "b")


@pytest.mark.parametrize("layer", ["file", "environment", "flag"])
def test_a_setting_may_be_called_like_a_word_of_pythons_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    flags = {"upstream": "http://app"}
    if layer == "file":
        (folder / "reamp.yaml").write_text("sidecar:\n  except: ~u /health\n")
    elif layer == "environment":
        monkeypatch.setenv("REAMP_SIDECAR_EXCEPT", "~u /health")
    else:
        flags["except_"] = "~u /health"
    settings = effective(SidecarSettings, "sidecar", flags)
    assert settings.except_ == settings.options()["reamp_except"] == "~u /health"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"except_": 3}, "--except: Input should be a valid string"),
        ({"sample": "0%"}, "--sample: it has to be more than 0%"),
        ({"sample": "101%"}, "--sample"),
        ({"session_by": "cookie"}, "--session-by: 'cookie' names no session"),
        ({"bodies": "image/*"}, "'image/*' is no rule for bodies"),
        ({"bodies": "image/*=3"}, "comes keep, drop or a size"),
        ({"max_age": "0s"}, "--max-age: it has to be more than 0s"),
        ({"dark": "http://127.0.0.1:1", "dark_allow": 1}, "--dark-allow: it has to be a list"),
        ({"workers": 65}, "--workers: it has to be at most 64"),
        ({"dark": "http://127.0.0.1:1", "dark_body_limit": "1MiB"}, "--dark-body-limit: it has to be at most 128KiB"),
        ({"dark": "http://127.0.0.1:1", "dark_rate": "0/s"}, "--dark-rate: it has to be more than 0/s"),
        ({"fsync": "always"}, "--fsync: Input should be 'none', 'interval' or 'block'"),
        ({"max_bytes": "100MiB"}, "Allow at least 128MiB, or take smaller segments"),
        ({"max_bytes": "400MiB", "workers": 4}, "Allow at least 512MiB"),
    ],
)
def test_what_cannot_be_recorded_like_that_is_told(flags: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as told:
        effective(SidecarSettings, "sidecar", {"upstream": "http://app", **flags})
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("p(95)<500", "--slo: 'p(95)<500': 500 what? A time needs its unit: write 500ms or 500s"),
        ("p(95)<500ms windw=3s", "--slo: 'p(95)<500ms windw=3s': there is no option 'windw'"),
        ("p(95)<500ms window=3", "--slo: '3' is not a duration: write it like 10s"),
        ("p(95)<500ms action=back-off", "--slo: p(95)<500ms: a sidecar can't ease the load"),
    ],
)
def test_a_wrong_rule_of_the_owner_is_told_with_how_to_write_it(rule: str, words: str) -> None:
    with pytest.raises(UserError) as told:
        effective(SidecarSettings, "sidecar", {"upstream": "http://app", "slo": ["error_ratio<1%", rule]})
    assert words in str(told.value)


def test_rules_of_the_owner_come_from_all_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "reamp.yaml").write_text(
        "sidecar:\n  upstream: http://app\n  slo:\n  - p(95)<500ms for=3s\n"
        "  - {expression: error_ratio<1%, window: 1m}\n"
    )
    told = [str(rule).partition(" ")[0] for rule in _plan({}, None, no_capture=False).slo]
    assert told == ["p(95)<500ms", "error_ratio<1%"]
    monkeypatch.setenv("REAMP_SIDECAR_SLO", "max<2s window=10s, rate>1/s")
    told = [str(rule).partition(" ")[0] for rule in _plan({}, None, no_capture=False).slo]
    assert told == ["max<2s", "rate>1/s"]


@pytest.mark.parametrize(
    ("layer", "name"),
    [("flag", "--window"), ("environment", "REAMP_REPLAY_WINDOW"), ("file", "replay.window in reamp.yaml")],
)
def test_a_wrong_window_is_told_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, layer: str, name: str
) -> None:
    flags = {"recording": "r", "to": "http://h", "idle_target": True}
    wrong = "Sat,Sun 02:00-05:00 Europe/Londno"
    if layer == "file":
        (folder / "reamp.yaml").write_text(f"replay:\n  window: ['{wrong}']\n")
    elif layer == "environment":
        monkeypatch.setenv("REAMP_REPLAY_WINDOW", wrong)
    with pytest.raises(UserError) as told:
        effective(Plan, "replay", {**flags, "window": [wrong] if layer == "flag" else None})
    assert f"{name}: 'Europe/Londno' is not a time zone: did you mean Europe/London" in str(told.value)
