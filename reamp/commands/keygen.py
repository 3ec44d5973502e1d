"""`reamp keygen`: make the keys behind the load tag, or those that recordings are encrypted to and read with."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rules.exits import UserError


def keygen(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the pair: NAME.key and NAME.pub are made.")
    ] = "load",
    directory: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Folder to put them into; with --age, the file to make."),
    ] = None,
    age: Annotated[
        bool, typer.Option("--age", help="Make an age identity instead, as age-keygen does, to encrypt recordings to.")
    ] = False,
) -> None:
    """Make a pair of keys: the private one signs load tags, the public one lets sidecars check them.

    Give the private key to whoever may replay, and to nobody else. Sidecars need only the public one.

    With --age it makes an identity instead: its public key is what `reamp sidecar --encrypt-to` takes, and the file is
    what `--identity` takes. Keep the file away from the machines that record; who loses it loses the recordings.

    Examples:

        reamp keygen load -o keys

        reamp keygen --age -o me.txt
    """
    if age:
        _make_identity(directory or Path(f"{name}.txt"))
        return
    from loadtag import keys

    try:
        private, public = keys.generate(directory or Path(), name)
    except (keys.KeyFileError, OSError) as error:
        raise UserError(str(error)) from None
    typer.echo(f"private key: {private}   (for reamp replay --key; keep it secret)")
    typer.echo(f"public key:  {public}   (for reamp sidecar --public-key)")


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
