"""`reamp keys`: which keys there are and what they are good for; and how one is taken out of use at once."""

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reamp.helping import Command
from replayer.person import person
from rules.exits import UserError

if TYPE_CHECKING:
    from loadtag import PublicKey, Revoked, Validity

app = typer.Typer(
    name="keys",
    help="Show the keys behind the load tag, and revoke them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command(cls=Command)
def show(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Key files, private (.key) or public (.pub).")],
    revoked: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tell which of them stand on this list of revocations.")
    ] = None,
) -> None:
    """Show the keys in files: which kind, id, until when and for whom they are good. Never the keys themselves.

    Example:

        reamp keys show keys/*.pub --revoked revoked.txt
    """
    from loadtag.validity import NOBODY

    now = time.time()
    gone = _read(revoked).keys if revoked is not None else NOBODY.keys
    rows = [(str(path), kind, key) for path in files for kind, key in _keys(path)]
    for path, kind, key in rows:
        state = "revoked" if key.key_id in gone else described(key.validity, now)
        typer.echo(f"{key.key_id}  {kind:<7}  {state}  ({path})")


@app.command(cls=Command, context_settings={"ignore_unknown_options": True})  # one id in 64 begins with a hyphen
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of keys (reamp keys show).")],
    file: Annotated[
        Path, typer.Option("--list", metavar="FILE", help="The list that sidecars read (reamp sidecar --revoked).")
    ],
    run: Annotated[bool, typer.Option("--run", help="They are ids of runs, not of keys.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for people.")] = "",
) -> None:
    """Add keys to a list of revocations; sidecars that watch it refuse them within a second.

    The list is a text file, and this only adds lines like `key If4x36FUomF`. To take one back, remove its line. Leave
    the line there when the key itself is removed: requests that bear it are refused by its id alone.

    Examples:

        reamp keys revoke If4x36FUomF --list revoked.txt --reason "the laptop was stolen"

        reamp keys revoke --run shop-20261122-0300 --list revoked.txt
    """
    before = _read(file) if file.exists() else None
    what = "run" if run else "key"
    for one in ids:
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}" if run else "[A-Za-z0-9_-]{11}", one):
            told = "1 to 64 of the characters A-Z a-z 0-9 _ -" if run else "it has 11 characters (reamp keys show)"
            raise UserError(f"{one!r} is no id of a {what}: {told}")
    known = (before.runs if run else before.keys) if before else frozenset[str]()
    fresh = [one for one in dict.fromkeys(ids) if one not in known]
    why = " ".join(reason.split())
    note = f"# {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} by {person()}{f': {why}' if why else ''}"
    _append(file, "".join(f"{what} {one}  {note}\n" for one in fresh))
    for one in dict.fromkeys(ids):
        typer.echo(f"{what} {one} {'revoked' if one in fresh else 'was revoked already'} in {file}")


def described(validity: "Validity", now: float) -> str:
    """Say for people what a key is good for, seen from `now` (unix seconds)."""
    from loadtag.validity import write_moment

    before, after = validity.not_before, validity.not_after
    parts = []
    if before is not None and now < before:
        parts.append(f"not good before {write_moment(before)}")
    if after is None:
        parts.append("never expires")
    else:
        parts.append(f"{'expired' if now >= after else 'expires'} {write_moment(after)}")
    parts.append(f"for {', '.join(validity.audiences)}" if validity.audiences else "for every audience")
    return ", ".join(parts)


def _keys(path: Path) -> list[tuple[str, "PublicKey"]]:
    from loadtag import keys

    try:
        if b"PRIVATE KEY-----" in path.read_bytes()[: keys.MAX_FILE]:
            return [("private", keys.load_private(path).public_key)]
        return [("public", key) for key in keys.load_public(path)]
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except keys.KeyFileError as error:
        raise UserError(str(error)) from None


def _read(path: Path) -> "Revoked":
    from loadtag.validity import read_revoked

    try:
        return read_revoked(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise UserError(f"{path} is no list of revocations: {error}") from None


def _append(path: Path, lines: str) -> None:
    """Add whole lines with one write. What could be written only in part is taken back: it would be a damaged list."""
    if not lines:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            content = b"\n" * broken + lines.encode()
            if os.write(descriptor, content) != len(content):
                os.ftruncate(descriptor, size)
                raise UserError(f"{path}: the disk is full, and nothing was revoked")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}; nothing was revoked") from None
