"""A sidecar that writes what it cannot read, and a replay that can."""

from pathlib import Path

import pytest

from captures import keyring
from tests.support.client import Client
from tests.support.place import PATIENT
from tests.support.processes import eventually, run
from tests.support.stack import Stack

MARK = "only-who-has-the-key-may-see-this"


def make_identity(path: Path) -> str:
    """Make a pair as a user would; give the public key."""
    made = run("keygen", "--age", "-o", str(path))
    assert made.returncode == 0, made.stderr
    return next(word for word in made.stdout.split() if word.startswith("age1"))


async def visit(site: Stack, number: int) -> None:
    async with Client(site.url) as client:
        for item in range(number):
            # Hexadecimal noise: what does not compress would stand in a segment as it is.
            noise = keyring.generate()[1][5:]
            assert (await client.request("GET", f"/item/{item}?{MARK}-{noise}")).status == 200


def everything_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.timeout(120)
async def test_only_who_has_an_identity_reads_and_replays(
    site: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    safe = tmp_path_factory.mktemp("safe")  # another machine's disk
    mine, other = make_identity(safe / "me.txt"), make_identity(safe / "other.txt")
    make_identity(safe / "stranger.txt")
    team = site.folder / "team.txt"
    team.write_text(f"# who may read\n{mine}\n{other}\n")

    with site.sidecar(**{"encrypt-to": str(team), "flush": "100ms", "workers": "2"}):
        await visit(site, 60)
        eventually(lambda: site.state().accounting.pending == 0)

    left = everything_under(site.captures) + everything_under(site.folder / "state")
    for secret in (MARK, "AGE-SECRET-KEY-", mine):
        assert secret.encode() not in left
    captures = str(site.captures)
    assert "are encrypted to" in run("captures", "ls", captures).stdout
    outside = run("captures", "verify", captures)
    assert outside.returncode == 0, outside.stdout
    assert "checked from the outside only" in outside.stdout
    assert "encrypted blocks were not opened (--identity FILE)" in outside.stdout.splitlines()[-1]

    for command in (["show", captures], ["top", captures], ["slice", captures, "-o", str(site.folder / "part")]):
        refused = run("captures", *command)
        assert refused.returncode == 104
        assert f"encrypted to {mine[:12]}…, {other[:12]}…: give --identity FILE" in refused.stderr
    wrong = run("captures", "show", captures, "--identity", str(safe / "stranger.txt"))
    assert "none of the identities that were given is among them" in wrong.stderr

    for identity in (safe / "me.txt", safe / "other.txt"):
        shown = run("captures", "show", captures, "--identity", str(identity))
        assert shown.returncode == 0, shown.stderr
        assert MARK in shown.stdout
        inside = run("captures", "verify", captures, "--identity", str(identity))
        assert (inside.returncode, "outside" in inside.stdout) == (0, False)

    part = str(site.folder / "part")
    sliced = run("captures", "slice", captures, "-o", part, "--identity", str(safe / "me.txt"), "--encrypt-to", other)
    assert sliced.returncode == 0, sliced.stderr
    assert run("captures", "cat", part, "--identity", str(safe / "me.txt")).returncode == 104
    by_other = run("captures", "cat", part, env={"REAMP_IDENTITY": str(safe / "other.txt")})
    assert by_other.stdout.count(MARK) == 60

    before = len(site.seen_by_app())
    target = [
        "--to",
        site.app,
        "--idle-target",
        "--key",
        str(site.folder / "load.key"),
        "--runs",
        str(site.folder / "runs"),
    ]
    refused = run("replay", captures, *target)
    assert refused.returncode == 104
    assert "give --identity FILE" in refused.stderr
    played = run("replay", captures, *target, "--identity", str(safe / "me.txt"), env=PATIENT)
    assert played.returncode == 0, played.stderr
    assert len(site.seen_by_app()) - before == 60


@pytest.mark.timeout(120)
async def test_what_a_killed_sidecar_left_reads_up_to_the_last_whole_block(
    site: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    safe = tmp_path_factory.mktemp("safe") / "me.txt"
    with site.sidecar(**{"encrypt-to": make_identity(safe), "flush": "50ms"}) as sidecar:
        await visit(site, 20)
        eventually(lambda: site.state().accounting.written == 20)
        sidecar.kill()
    read = run("captures", "cat", str(site.captures), "--identity", str(safe))
    assert read.stdout.count(MARK) == 20
    told = run("captures", "verify", str(site.captures), "--identity", str(safe))
    assert told.returncode == 1
    assert "has no footer" in told.stdout


@pytest.mark.parametrize("value", ["age1nobody", "nowhere.txt"])
def test_what_is_no_recipient_is_told_at_the_start(site: Stack, value: str) -> None:
    started = run("sidecar", *site.options(**{"encrypt-to": value}))
    assert started.returncode == 104
    assert "--encrypt-to" in started.stderr
    assert value in started.stderr
    assert not site.captures.exists()
