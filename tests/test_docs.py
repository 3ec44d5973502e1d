"""What the documents say, held against the code: every command parses, every metric and every path exists."""

import contextlib
import re
import shlex
from pathlib import Path

import pytest
import typer
from prometheus_client.core import Metric

from addons.books import Books
from addons.controlport.exposition import Exposition
from addons.egress.annex import EgressPlan
from reamp.cli import application
from replayer.counting.accounts import Accounts
from replayer.counting.latency import Recorder
from replayer.metrics import RunCollector
from tests.support.dark import dark_plan

app = application()
ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "deploy/README.md",
    ROOT / "loadtag/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def commands() -> list[str]:
    """Every `reamp` command line in a console block, with its continuation lines."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```console\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("$ reamp "):
                    found.append(line.removeprefix("$ reamp ").partition(" #")[0].strip())
    return found


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_documents_parses(line: str) -> None:
    """An unknown command, flag or argument raises a usage error here."""
    command, arguments = typer.main.get_command(app), shlex.split(line)
    ends = [arguments.index(word) for word in ("|", ">", "&&") if word in arguments]
    arguments = arguments[: min(ends, default=len(arguments))]
    context = command.make_context("reamp", arguments)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        assert name
        assert command
        context = command.make_context(name, rest, parent=context)


def metrics(folder: Path) -> set[str]:
    """The names that the sidecar and a replay really serve."""
    replay = RunCollector(Accounts, Recorder(), Recorder())
    tap = Books.alone()
    tap.shared.tap = 100_000
    with (
        contextlib.closing(EgressPlan("127.0.0.1:0", folder, age=60).open()) as egress,
        contextlib.closing(dark_plan(folder).open()) as dark,
    ):
        families: list[Metric] = [
            *Exposition(Books.alone(), annexes=[egress, dark]).collect(),
            *Exposition(tap).collect(),
            *replay.collect(),
        ]
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_every_metric_in_the_readme_is_served_and_none_is_missing_there(tmp_path: Path) -> None:
    named = set(re.findall(r"`(reamp_[a-z_]+)(?:\{[a-z,]+\})?`", (ROOT / "README.md").read_text()))
    assert {name for name in named if not name.endswith("_")} == metrics(tmp_path)


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_test_that_the_safety_case_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/safety-case.md").read_text())
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).exists(), f"{file}::{test}"
