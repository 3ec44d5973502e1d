"""The `reamp` command: it puts the subcommands together and turns every way to end into an exit code."""

import sys

import typer
from rich.console import Console

from reamp import __version__
from rules.exits import Exit, UserError

app = typer.Typer(
    name="reamp",
    help="Load-test in production, safely: record live traffic, play it back louder, never past a ceiling.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Take what stands before the subcommand."""
    if version:
        typer.echo(f"reamp {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit with the code that fits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code. A user's mistake is told on stderr, without a traceback."""
    try:
        app(arguments, prog_name="reamp")
    except UserError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"reamp: {error}", markup=False, style="red")
        return int(error.code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except SystemExit as end:
        # 2 is what the command-line library says to a wrong flag.
        return int(Exit.CONFIGURATION) if end.code == 2 else int(end.code or 0)
    return int(Exit.DONE)
