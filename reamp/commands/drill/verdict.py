"""`reamp drill verdict`: judge a drill once more, from its folder."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reamp.commands.captures.shared import AsJson, Identity
from rules.exits import Exit, UserError

if TYPE_CHECKING:
    from drill.judging.verdict import Verdict


def verdict(
    drill: Annotated[Path, typer.Argument(metavar="DRILL", help="Folder of a drill.")],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="DRILL2",
            help="Folder of a drill of the clone before the fix: tell what the fix changed.",
            show_default="what `drill run --against` named",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page here, too; it needs no network.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML for CI here, too.")] = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Judge a drill once more, whole or not, and write what came of it into its folder: verdict.html above all.

    Examples:

        reamp drill verdict drills/20261121-210305-k3f9

        reamp drill verdict drills/20261121-210305-k3f9 --against drills/20261120-090000-abcd --html fix.html

    Exit codes: 0 HOLDS; 99 DOES NOT HOLD; 94 NOT PROVEN, of a drill that was stopped, too; 104 a mistake in the
    settings; 1 anything else.
    """
    from drill.reporting.junit import junit as junit_of
    from drill.reporting.page import page
    from replayer.reporting.writing import write_to

    found = judged(drill, against, identity or ())
    if html is not None:
        write_to(html, page(found))
    if junit is not None:
        write_to(junit, junit_of(found))
    raise typer.Exit(told(drill, found, as_json=as_json))


def judged(drill: Path, against: Path | None, identity: Sequence[Path]) -> "Verdict":
    """Judge a drill. Raises UserError."""
    from captures.keyring import load_identities
    from drill.judging.judging import judge
    from drill.judging.reading import read

    identities = load_identities(identity)
    evidence = read(drill, identities)
    before = against if against is not None else _named(drill, evidence.record.against)
    return judge(evidence, None if before is None else read(before, identities), made=time.time())


def told(drill: Path, found: "Verdict", *, as_json: bool) -> int:
    """Write a verdict into its drill's folder and print it; give the exit code."""
    from drill.reporting.terminal import show
    from drill.reporting.writing import as_json as written
    from drill.reporting.writing import write_verdict
    from replayer.progress import screen

    missing = write_verdict(found, drill)
    if as_json:
        typer.echo(written(found), nl=False)
    else:
        console = screen()
        show(console, found)
        where = drill / "verdict.html"
        if where.exists():
            console.print(f"written to {drill}, look at {where}", highlight=False, markup=False, soft_wrap=True)
    if missing:
        raise UserError("\n".join(missing), Exit.FAILED)
    return found.exit_code


def _named(drill: Path, name: str | None) -> Path | None:
    """Find the drill of the clone before the fix that a drill names: it lies beside it, or is not there any more."""
    if name is None:
        return None
    beside = drill.absolute().parent / Path(name).name
    return beside if (beside / "drill.json").is_file() else None


__all__ = ["verdict"]
