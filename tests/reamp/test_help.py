"""`--help` of every command: what to write behind an option, and examples."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from reamp.cli import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def shown(*path: str) -> str:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_options_say_what_to_write(path: tuple[str, ...]) -> None:
    text = shown(*path)
    assert not re.search(r"<\w+(\[\w+\])?>|\b(BOOLEAN|TEXT\[|INTEGER|FLOAT)\b", text), text
    assert re.search(r"--help +Show this message", text)  # nothing stands behind a flag


def test_help_of_a_replay_teaches() -> None:
    text = shown("replay")
    for group in ("Target and ceiling", "How much", "Requests", "Connections", "Sender", "Answers"):
        assert f"─ {group} ─" in text
    for example in ("--amplify 1.25x", "--amplify 3x", "--stage 20m:2x..5x", "--allow 'POST /cart/{id}'", "--dry-run"):
        assert example in text
    for option in (
        "--timeout DURATION",
        "--amplify FACTOR",
        "--ceiling SHARE",
        "--top-up RATE",
        "--rewrite 'REGEX => NEW'",
        "--key FILE",
        "--sidecar URL",
        "--stage DURATION:FACTOR",
    ):
        assert re.search(re.sub(" ", " +", re.escape(option).replace("\\ ", " "), count=1), text), option
    assert "Exit codes: 0 done" in text
