"""Keys behind the load tag: made with an end and an audience, shown without a secret, revoked."""

import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadtag import Revoked, Validity
from loadtag.keys import generate, load_private, load_public
from loadtag.validity import read_revoked
from reamp.cli import application
from rules.exits import UserError

app = application()
DAY = 86_400


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def mistake(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, UserError), error
    return str(error)


@pytest.mark.parametrize(
    ("options", "days", "audiences"),
    [
        ([], 365, ()),
        (["--expires", "90d", "--audience", "shop", "--audience", "bank"], 90, ("shop", "bank")),
        (["--expires", "never"], None, ()),
    ],
)
def test_keygen_says_the_id_and_what_the_pair_is_good_for(
    tmp_path: Path, options: list[str], days: int | None, audiences: tuple[str, ...]
) -> None:
    result = run("keygen", "load", "-o", tmp_path, *options)
    assert result.exit_code == 0, result.output
    signer, (public,) = load_private(tmp_path / "load.key"), load_public(tmp_path / "load.pub")
    assert f"key id:      {signer.key_id}   (" in result.output
    assert public.validity == signer.validity
    assert signer.validity.audiences == audiences
    if days is None:
        assert signer.validity.not_after is None
    else:
        assert signer.validity.not_after == pytest.approx(time.time() + days * DAY, abs=60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expires", "soon"], "write it like 90d"),
        (["--expires", "90"], "write it like 90d"),
        (["--expires", "0s"], "of no use"),
        (["--expires", "100ms"], "of no use"),
        (["--audience", "the shop"], "1 to 64 of the characters"),
        (["--age", "--expires", "90d"], "about load tags"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(tmp_path: Path, options: list[str], message: str) -> None:
    assert message in mistake("keygen", "load", "-o", tmp_path, *options)
    assert list(tmp_path.iterdir()) == []


def test_keys_are_shown_without_being_given_away(tmp_path: Path) -> None:
    _, old = generate(tmp_path, "old", Validity(None, 1_000_000_000))
    private, new = generate(tmp_path, "new", Validity(None, 4_000_000_000, ("shop",)))
    _, early = generate(tmp_path, "early", Validity(4_000_000_000))
    ring = tmp_path / "ring.pub"
    ring.write_text(old.read_text() + new.read_text() + early.read_text())
    ids = [key.key_id for key in load_public(ring)]
    (tmp_path / "revoked.txt").write_text(f"key {ids[2]}\n")
    lines = run("keys", "show", private, ring).output.splitlines()
    assert lines == [
        f"{ids[1]}  private  expires 2096-10-02T07:06:40Z, for shop  ({private})",
        f"{ids[0]}  public   expired 2001-09-09T01:46:40Z, for every audience  ({ring})",
        f"{ids[1]}  public   expires 2096-10-02T07:06:40Z, for shop  ({ring})",
        f"{ids[2]}  public   not good before 2096-10-02T07:06:40Z, never expires, for every audience  ({ring})",
    ]
    assert f"{ids[2]}  public   revoked" in run("keys", "show", ring, "--revoked", tmp_path / "revoked.txt").output
    secret = private.read_text().split("-----")[2].strip()
    assert secret not in "".join(lines)


def test_what_can_not_be_shown_is_said(tmp_path: Path) -> None:
    private, public = generate(tmp_path, "k")
    private.chmod(0o644)
    assert "chmod 600" in mistake("keys", "show", private)
    public.write_text(f"Not-Afer: 2030-01-01T00:00:00Z\n{public.read_text()}")
    assert "line 1 is no attribute" in mistake("keys", "show", public)
    assert "No such file" in mistake("keys", "show", tmp_path / "missing")


def test_revoking_adds_lines_and_changes_none(tmp_path: Path) -> None:
    file = tmp_path / "revoked.txt"
    assert run("keys", "revoke", "If4x36FUomF", "--list", file, "--reason", "the laptop\nwas stolen").exit_code == 0
    file.write_text(file.read_text() + "# a word of ours without an end of line")
    before = file.read_text()
    result = run("keys", "revoke", "If4x36FUomF", "-_--_--_--_", "--list", file)
    assert result.exit_code == 0, result.output
    assert "key If4x36FUomF was revoked already" in result.output
    assert run("keys", "revoke", "--run", "night-1", "--list", file).exit_code == 0
    text = file.read_text()
    assert text.startswith(before + "\n")
    assert read_revoked(text) == Revoked(frozenset({"If4x36FUomF", "-_--_--_--_"}), frozenset({"night-1"}))
    assert re.match(r"key If4x36FUomF  # \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ by \S+: the laptop was stolen\n", text)


def test_revoking_what_is_none_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "revoked.txt"
    assert "it has 11 characters" in mistake("keys", "revoke", "If4x36FUom", "--list", file)
    assert "no id of a run" in mistake("keys", "revoke", "--run", "a.b", "--list", file)
    assert not file.exists()
    file.write_text("who knows\n")
    assert "line 1, 'who knows'" in mistake("keys", "revoke", "If4x36FUomF", "--list", file)
    assert file.read_text() == "who knows\n"
    assert "No such file" in mistake("keys", "revoke", "If4x36FUomF", "--list", tmp_path / "nowhere" / "file")
