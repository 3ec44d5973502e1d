"""The `reamp` command: it puts the subcommands together, or only the one that is asked for."""

import sys
from importlib import import_module

import typer

from captures.undumped import undumped
from reamp.front import ending, new_app
from reamp.helping import Command
from rules.exits import leave

COMMANDS = {
    "demo": "demo",
    "sidecar": "sidecar",
    "replay": "replay",
    "preflight": "preflight",
    "report": "replay",
    "stop": "control",
    "resume": "control",
    "status": "control",
    "keygen": "keygen",
    "keys": "keys",
    "captures": "captures",
    "drill": "drill",
    "export": "export",
}
"""Subcommands, and the module of `reamp.commands` that each is in."""

GROUPS = ("keys", "captures", "drill")
"""Those that have subcommands of their own: ``app`` in their module."""


def application(only: str = "") -> typer.Typer:
    """Put the command line together, with all subcommands or with `only` one."""
    app = new_app()
    for name in (only,) if only else COMMANDS:
        module = import_module(f"reamp.commands.{COMMANDS[name]}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name, cls=Command)(getattr(module, name))
    return app


def main() -> None:
    """Run the command line and exit with the code that fits."""
    undumped()
    leave(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and give its exit code. A user's mistake is told on stderr, without a traceback.

    Whoever stops something does not wait until all of `reamp` has been loaded, which takes longer than stopping it.
    """
    first = arguments[0] if arguments else ""
    return ending(application(first if first in COMMANDS else ""), arguments)
