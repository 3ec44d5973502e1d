"""`reamp keygen`: make the pair of keys behind the load tag."""

from pathlib import Path
from typing import Annotated

import typer

from rules.exits import UserError


def keygen(
    name: Annotated[str, typer.Argument(help="Name of the pair: NAME.key and NAME.pub are made.")] = "load",
    directory: Annotated[Path, typer.Option("--out", "-o", help="Folder to put them into.")] = Path(),
) -> None:
    """Make a pair of keys: the private one signs load tags, the public one lets sidecars check them.

    Give the private key to whoever may replay, and to nobody else. Sidecars need only the public one.
    """
    from loadtag import keys

    try:
        private, public = keys.generate(directory, name)
    except (keys.KeyFileError, OSError) as error:
        raise UserError(str(error)) from None
    typer.echo(f"private key: {private}   (for reamp replay --key; keep it secret)")
    typer.echo(f"public key:  {public}   (for reamp sidecar --public-key)")
