"""`reamp keygen`: make the keys behind the load tag, or those that recordings are encrypted to and read with."""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rules.exits import UserError
from rules.units import Duration, UnitError

if TYPE_CHECKING:
    from loadtag import Validity

EXPIRES = "365d"
"""A key that was forgotten shall not be good for ever. When it ends, load tests stop and say so; nobody else minds."""


def keygen(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the pair: NAME.key and NAME.pub are made.")
    ] = "load",
    directory: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Folder to put them into; with --age, the file to make."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION|never", help="How long the pair is good.", show_default=EXPIRES),
    ] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Sidecars that the pair is good for, by their --audience; may be repeated.",
            show_default="all",
        ),
    ] = None,
    age: Annotated[
        bool, typer.Option("--age", help="Make an age identity instead, as age-keygen does, to encrypt recordings to.")
    ] = False,
) -> None:
    """Make a pair of keys: the private one signs load tags, the public one lets sidecars check them.

    Give the private key to whoever may replay, and to nobody else. Sidecars need only the public one. Both files say
    what the pair is good for, in lines before the key: until when (--expires), and for whom (--audience). To change
    keys without a gap, see docs/safety.md; `reamp keys` shows keys and revokes them.

    With --age it makes an identity instead: its public key is what `reamp sidecar --encrypt-to` takes, and the file is
    what `--identity` takes. Keep the file away from the machines that record; who loses it loses the recordings.

    Examples:

        reamp keygen load -o keys

        reamp keygen night-runs --expires 90d --audience staging --audience production

        reamp keygen --age -o me.txt
    """
    if age:
        if expires is not None or audience:
            raise UserError("--expires and --audience are about load tags: an --age identity has neither")
        _make_identity(directory or Path(f"{name}.txt"))
        return
    from loadtag import keys
    from reamp.commands.keys import described

    validity = _validity(expires or EXPIRES, audience or [])
    try:
        private, public = keys.generate(directory or Path(), name, validity)
        key = keys.load_private(private).public_key
    except (keys.KeyFileError, OSError) as error:
        raise UserError(str(error)) from None
    typer.echo(f"private key: {private}   (for reamp replay --key; keep it secret)")
    typer.echo(f"public key:  {public}   (for reamp sidecar --public-key)")
    typer.echo(f"key id:      {key.key_id}   ({described(key.validity, time.time())})")


def _validity(expires: str, audiences: list[str]) -> "Validity":
    from loadtag import Validity

    for audience in audiences:
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", audience):
            raise UserError(f"--audience {audience!r}: 1 to 64 of the characters A-Z a-z 0-9 _ -")
    if expires == "never":
        return Validity(audiences=tuple(audiences))
    try:
        seconds = Duration.parse(expires)
    except UnitError:
        raise UserError(f"--expires {expires!r}: write it like 90d or 12h, or never") from None
    if seconds < 1:
        raise UserError(f"--expires {expires}: such a key is of no use")
    return Validity(None, int(time.time() + seconds), tuple(audiences))


def _make_identity(path: Path) -> None:
    """Write a new age identity, for its owner's eyes only; a file that is there stays as it is."""
    from captures import keyring

    secret, public = keyring.generate()
    text = keyring.identity_file(secret, public, datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists, and a key is never written over: name another file with -o") from None
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    typer.echo(f"identity:   {path}   (for --identity; keep it secret, and keep it: without it nothing can be read)")
    typer.echo(f"public key: {public}   (for reamp sidecar --encrypt-to)")
