"""Mistakes that people make on the command line: told in a line that says what to do, before anything is sent."""

from pathlib import Path

import pytest

from captures.batch import BatchWriter
from loadtag.keys import generate
from reamp.cli import run
from rules.exits import Exit
from tests.support.recording import record


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with BatchWriter(tmp_path / "recording") as batch:
        batch.write(record(0, "/item/7"))
    generate(tmp_path, "load")
    (tmp_path / "file").touch()
    return tmp_path


def replayed(*flags: str, to: str = "http://127.0.0.1:1") -> int:
    # Only what is wrong is to keep it from sending: a run that began would end with 1, nobody listens there.
    return run(["replay", "recording", "--to", to, "--idle-target", "--key", "load.key", *flags])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--plugin", ""], "write a module and a function"),
        (["--audience", ""], "1 to 64 of the characters"),
        (["--audience", "a shop"], "1 to 64 of the characters"),
        (["--audience", "a" * 65], "1 to 64 of the characters"),
        (["--host", "http://shop.example"], "'http://shop.example' is not a host: write target, recorded, or a name"),
        (["--host", "shop.example:99999"], "is not a host"),
        (["--host", "shop.example:http"], "write target, recorded, or a name"),
        (["--host", "shop..example"], "is not a host"),
        (["--resolve", "a:x:10.0.0.5"], "'a:x:10.0.0.5': write HOST:PORT:ADDRESS"),
        (["--methods", "GET,CONNECT"], "CONNECT opens a tunnel, and is never replayed"),
        (["--metrics", "localhost:x"], "--metrics: 'localhost:x' is not an address: write it like 127.0.0.1:8901"),
        (["--max-lag", "10000000h"], "longer than a century"),
        (["--runs", "file"], "--runs file: "),
        (["--runs", "file/runs"], "file is no folder"),
        (["--junit", ""], "write it like junit.xml"),
        (["--junit", "recording"], "--junit recording is a folder: name a file"),
        (["--junit", "there/is/none.xml"], "--junit there/is/none.xml: there is no folder there/is"),
        (["--slo", "p(95)<500ms action=stop"], "--slo: action: Input should be 'warn', 'back-off' or 'abort'"),
        (["--sidecar", "http://shop..example:8901"], "--sidecar: 'shop..example' is no name of a host"),
    ],
    ids=" ".join,
)
def test_mistakes_are_told_before_anything_is_sent(
    flags: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replayed(*flags) == Exit.CONFIGURATION
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.startswith("reamp: ")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("http://shop..example", "'shop..example' is no name of a host"),
        ("http://" + "a" * 300, "is no name of a host"),
        ("http://a shop", "'a shop' is no name of a host"),
        ("http://127.0.0.1:0", "nothing listens on port 0"),
        ("http://münchen.example", "write the name as it is looked up, xn--mnchen-3ya.example"),
        ("http://[::1", "Invalid IPv6"),
    ],
)
def test_targets_that_no_name_leads_to(to: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(to=to) == Exit.CONFIGURATION
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--ca", "recording"], "--ca recording: Is a directory"),
        (["--ca", "none.pem"], "--ca none.pem: No such file or directory"),
        (["--ca", "file"], "--ca file: no certificates in PEM form can be read from it"),
        (["--cert", "recording"], "--cert recording: Is a directory"),
        (["--cert", "load.pub", "--cert-key", "recording"], "--cert-key recording: Is a directory"),
    ],
    ids=" ".join,
)
def test_files_for_tls_that_are_none(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(*flags, to="https://127.0.0.1:1") == Exit.CONFIGURATION
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("to", ["http://[::1]:8080", "http://app_1:80", "https://shop.example.", "HTTP://SHOP:8080"])
def test_targets_that_are_fine(to: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed("--host", "Recorded", "--dry-run", to=to) == Exit.DONE
    assert "everything is in order" in capsys.readouterr().out


def test_a_dry_run_finds_that_nothing_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed("--dry-run", "--runs", "file") == Exit.CONFIGURATION
    assert "--runs file: " in capsys.readouterr().err


def test_what_yaml_makes_of_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "reamp.yaml").write_text("replay:\n  until: 14:00\n")  # 840, in base 60
    assert replayed() == Exit.CONFIGURATION
    assert "replay.until in reamp.yaml: YAML takes this for something else than text: put it" in capsys.readouterr().err


def test_what_a_sidecar_can_not_do_without_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sidecar"]) == Exit.CONFIGURATION
    assert "--upstream: give it, the URL of the app" in capsys.readouterr().err


def test_an_option_that_excludes_one_in_the_file_is_told_where_that_stands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reamp.yaml").write_text("replay: {amplify: 2x}")
    assert replayed("--stage", "1s:1x") == Exit.CONFIGURATION
    shown = " ".join(capsys.readouterr().err.split())
    assert "--amplify and --stage both say how much to send: give one of them (--amplify: from reamp.yaml)" in shown


def test_a_mistyped_option_of_a_rule_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "reamp.yaml").write_text("replay: {slo: [{expression: p(95)<500ms, windw: 1m}]}")
    assert replayed() == Exit.CONFIGURATION
    assert "replay.slo.0.windw in reamp.yaml, line 1: there is no 'windw' here" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--tap", "--upstream", "http://127.0.0.1:8000"], "--upstream: not with --tap: what comes are copies"),
        (["--tap", "--untrusted", "deny"], "--untrusted: not with --tap: it gets copies, and can deny nothing"),
        (["--tap", "--forwarded"], "--forwarded: not with --tap: there is no app behind it"),
        (["--tap", "--via", "reamp"], "--via: not with --tap: there is no app behind it"),
        (["--tap", "--dark", "http://127.0.0.1:8001"], "--dark: not with --tap: the proxy that sends copies"),
        (["--tap", "--egress", "127.0.0.1:8902"], "--egress: not with --tap: it learns of a request when the app has"),
        (["--tap", "--slo", "p(95)<500ms"], "--slo p(95)<500ms: a tap gets copies of requests and sees no answers"),
        (["--tap", "--slo", "error_ratio<1%"], "--slo error_ratio<1%: a tap gets copies of requests"),
        (["--tap", "--slo", "synthetic.p(95)<1s"], "a tap gets copies of requests and sees no answers"),
        (["--tap-share", "10%", "--upstream", "http://127.0.0.1:8000"], "--tap-share: it is for a tap only"),
        (["--tap", "--tap-share", "0%"], "--tap-share: it has to be more than 0%"),
        (["--tap", "--tap-share", "110%"], "--tap-share: it has to be at most 100%"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_tap_can_not_do_is_said_before_it_starts(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sidecar", *flags]) == Exit.CONFIGURATION
    assert told in " ".join(capsys.readouterr().err.split())
