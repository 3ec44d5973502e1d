"""Keys for recordings, made without any other tool."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from captures import keyring
from captures.keyring import Recipients
from reamp.cli import application
from rules.exits import UserError

app = application()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["keygen", "--age", *map(str, arguments)])


def test_an_identity_opens_what_is_encrypted_to_its_public_key(tmp_path: Path) -> None:
    path = tmp_path / "me.txt"
    result = run("-o", path)
    assert result.exit_code == 0, result.output
    assert path.stat().st_mode & 0o777 == 0o600
    (public,) = [word for word in result.stdout.split() if word.startswith("age1")]
    key, encryption = Recipients([public]).new_key()
    assert keyring.load_identities([path]).unwrap(encryption) == key
    assert f"# public key: {public}\n" in path.read_text()
    assert "AGE-SECRET-KEY-" not in result.output


def test_no_key_is_ever_written_over(tmp_path: Path) -> None:
    path = tmp_path / "me.txt"
    path.write_text("mine")
    error = run("-o", path).exception
    assert isinstance(error, UserError)
    assert "never written over" in str(error)
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    error = run("-o", tmp_path / "nowhere" / "me.txt").exception
    assert isinstance(error, UserError)
    assert "No such file" in str(error)


def test_without_a_name_the_file_is_named_like_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("team").exit_code == 0
    assert (tmp_path / "team.txt").exists()
