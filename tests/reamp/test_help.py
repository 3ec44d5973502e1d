"""`--help` of every command: what to write behind an option, and examples."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from reamp.cli import application
from rules.exits import Exit
from tests.support.processes import run

app = application()


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
    for group in ("Target, key and ceiling", "How much", "Requests", "Connections", "Sender", "Answers"):
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
    told = [str(int(code)) for code in Exit if code not in (Exit.DONE, Exit.FAILED)]
    assert [code for code in told if f" {code} " not in " ".join(text.split())] == []


def test_help_of_a_sidecar_is_in_groups() -> None:
    text = shown("sidecar")
    for group in ("Users and app", "Control port and lever", "Synthetic traffic", "What is recorded", "How it is kept"):
        assert f"─ {group} ─" in text


def test_who_stops_does_not_wait_for_what_it_takes_to_replay() -> None:
    """A command loads itself only."""
    code = "import sys; from reamp.cli import run; run(['stop', '--help']); sys.exit(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Pull the lever" in done.stdout
    loaded = done.stderr.split()
    assert [name for name in loaded if name.startswith("reamp.commands.")] == ["reamp.commands.control"]
    others = {"replayer", "addons", "loadtag", "mitmproxy", "yaml", "zstandard", "cryptography", "pydantic_settings"}
    assert not others & {name.partition(".")[0] for name in loaded}


def test_a_mistake_is_told_as_of_every_command() -> None:
    done = run("stop", "--reason", "")
    assert done.returncode == 104
    assert "--reason: write between 1 and 500" in done.stderr
    assert run("stop", "--nonsense").returncode == 104
