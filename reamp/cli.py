"""The `reamp` command: it puts the subcommands together and turns every way to end into an exit code."""

import sys
from importlib.metadata import version as version_of
from typing import Annotated

import typer
from rich.console import Console

from reamp.commands.captures import app as captures
from reamp.commands.control import resume, status, stop
from reamp.commands.demo import demo
from reamp.commands.keygen import keygen
from reamp.commands.replay import replay, report
from reamp.commands.sidecar import sidecar
from reamp.helping import Command
from rules.exits import Exit, UserError

app = typer.Typer(
    name="reamp",
    help="Load-test in production, safely: record live traffic, play it back louder, never past a ceiling.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reamp {version_of('reamp')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before the subcommand."""


app.command(cls=Command)(demo)
app.command(cls=Command)(sidecar)
app.command(cls=Command)(replay)
app.command(cls=Command)(report)
app.command(cls=Command)(stop)
app.command(cls=Command)(resume)
app.command(cls=Command)(status)
app.command(cls=Command)(keygen)
app.add_typer(captures, name="captures")


def main() -> None:
    """Run the command line and exit with the code that fits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code. A user's mistake is told on stderr, without a traceback."""
    try:
        app(arguments, prog_name="reamp")
    except UserError as error:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        console.print(f"reamp: {error}", style="red")
        return int(error.code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except SystemExit as end:
        # What the command-line library says to a wrong flag, and to Ctrl-C.
        return int({2: Exit.CONFIGURATION, 130: Exit.INTERRUPTED}.get(int(end.code or 0), end.code or 0))
    return int(Exit.DONE)
