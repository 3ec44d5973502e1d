"""What every `reamp` command has in common: its name, ``--version``, and how it ends."""

from typing import Annotated

import typer

from rules.exits import Exit, UserError


def new_app() -> typer.Typer:
    """Make the command line, without subcommands."""
    app = typer.Typer(
        name="reamp",
        help="Load-test in production, safely: record live traffic, play it back louder, never past a ceiling.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as version_of  # noqa: PLC0415 - only this needs it

        typer.echo(f"reamp {version_of('reamp')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before the subcommand."""


def ending(app: typer.Typer, arguments: list[str]) -> int:
    """Run one command line and give its exit code. A user's mistake is told on stderr, without a traceback."""
    try:
        app(arguments, prog_name="reamp")
    except UserError as error:
        from rich.console import Console  # noqa: PLC0415 - only this needs it

        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        console.print(f"reamp: {error}", style="red")
        return int(error.code)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except SystemExit as end:
        # What the command-line library says to a wrong flag, and to Ctrl-C.
        return int({2: Exit.CONFIGURATION, 130: Exit.INTERRUPTED}.get(int(end.code or 0), end.code or 0))
    return int(Exit.DONE)
