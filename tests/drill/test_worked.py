"""The worked examples of docs/incident-drill.md: every command as it stands there, on an evening of a few seconds.

Each example has a folder with what is left of the incident, and a clone that runs. The clone has an address of its own
on loopback, and `REAMP_REPLAY_RESOLVE` says that it is the document's `staging.shop.example`.
"""

import contextlib
import os
import re
import secrets
import shlex
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest

from drill.incident import read_incident
from drill.judging.verdict import Verdict
from loadtag import keys
from tests.support import worked
from tests.support.place import PATIENT
from tests.support.processes import ROOT, Process, eventually, python, reamp
from tests.support.upsun import overview

DOCUMENT = (ROOT / "docs" / "incident-drill.md").read_text()
EXAMPLES = ("From a reamp capture", "From Upsun", "From plain nginx logs")

SHORT = {
    "REAMP_DRILL_SWEEP": "off",
    "REAMP_DRILL_COOL_DOWN": "100ms",
    "REAMP_DRILL_SLO": "error_ratio<1%,p(95)<10s",
}
"""What the tests leave out of a drill, which takes minutes; and patience, for a machine on which other tests run."""


class Command(NamedTuple):
    """What stands behind a ``$``, and what is printed below it."""

    line: str
    output: list[str]


def commands(title: str) -> Iterator[Command]:
    """Give the commands of a section, in order."""
    section = re.split(r"\n#{2,3} ", DOCUMENT.partition(f"\n### {title}\n")[2])[0]
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for part in re.split(r"(?m)^\$ ", block.replace("\\\n", " "))[1:]:
            line, *output = part.rstrip("\n").split("\n")
            yield Command(line, output)


def drills_of(title: str) -> list[str]:
    """Give the ids of drills that a section speaks of, in order."""
    section = re.split(r"\n#{2,3} ", DOCUMENT.partition(f"\n### {title}\n")[2])[0]
    return list(dict.fromkeys(re.findall(r"drills/(\d{8}-\d{6}-\w{4})", section)))


class Example:
    """One of them, walked through."""

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder = title, folder
        self.address = f"127.{64 + secrets.randbelow(64)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        self.complaints: list[str] = []
        self.printed: list[str] = []
        self._code = 0
        folder.mkdir()
        worked.left_behind(folder, overview)
        keys.generate(folder, "load")

    @property
    def drills(self) -> list[Path]:
        """Folders of drills, in the order in which they were made."""
        return sorted((self.folder / "drills").iterdir()) if (self.folder / "drills").exists() else []

    def walk(self) -> "Example":
        """Do what the document says. What turns out otherwise is in `complaints`."""
        with contextlib.ExitStack() as running:
            first = EXAMPLES.index(self.title) == 0
            running.enter_context(self._clone("last-night" if first else "fix"))
            for command in commands(self.title):
                if command.line.startswith("deploy "):
                    running.close()
                    running.enter_context(self._clone("fix"))
                elif command.line == "echo $?":
                    self._expect(command.line, command.output, [str(self._code)])
                elif command.line.startswith("upsun "):
                    assert (self.folder / command.line.rpartition("> ")[2]).exists()  # there is no Upsun here to ask
                else:
                    self._run(command)
        return self

    def _run(self, command: Command) -> None:
        line = command.line
        for told, real in zip(drills_of(self.title), self.drills, strict=False):
            line = line.replace(told, real.name)
        program, *arguments = shlex.split(line)
        assert program == "reamp", line
        resolve = {"REAMP_REPLAY_RESOLVE": f"{worked.HOST}:{worked.PORT}:{self.address}"}
        done = subprocess.run(
            reamp(*arguments), cwd=self.folder, env={**os.environ, "COLUMNS": "100", **PATIENT, **SHORT, **resolve},
            capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._code = done.returncode
        self.printed.append(f"$ {line}\n{done.stdout}{done.stderr}")
        if arguments[:2] != ["drill", "run"]:
            self._expect(line, ["0"], [str(done.returncode)])
        if command.output:
            self._expect(line, command.output, [each.rstrip() for each in done.stdout.splitlines()])

    def _expect(self, line: str, told: list[str], real: list[str]) -> None:
        if told != real:
            self.complaints.append("\n".join([f"$ {line}", *real, "--- and the document says", *told]))

    @contextlib.contextmanager
    def _clone(self, release: str) -> Iterator[None]:
        command = ["-m", "uvicorn", "tests.support.worked:app", "--host", self.address, "--port", str(worked.PORT)]
        log = self.folder / f"{release}.out"
        with Process(python(*command, "--log-level", "warning"), log, {"RELEASE": release}):
            eventually(self._answers)
            yield

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, worked.PORT), 1):
            return True
        return False


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Example]:
    """All three, side by side: most of the time they wait for the clock."""
    folder = tmp_path_factory.mktemp("worked")
    with ThreadPoolExecutor(len(EXAMPLES)) as pool:
        walking = [pool.submit(Example(title, folder / title.split()[-1]).walk) for title in EXAMPLES]
        return {done.title: done for done in (each.result() for each in walking)}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("title", EXAMPLES)
def test_every_command_does_what_the_document_says(examples: dict[str, Example], title: str) -> None:
    found = examples[title]
    assert len(list(commands(title))) >= 4
    assert not found.complaints, "\n\n".join([*found.complaints, "--- all of it", *found.printed])


@pytest.mark.timeout(180)
def test_the_fault_of_last_night_is_named_and_the_fix_holds(examples: dict[str, Example]) -> None:
    found = examples[EXAMPLES[0]]
    before, after = (Verdict.model_validate_json((drill / "verdict.json").read_text()) for drill in found.drills)
    assert before.outcome == "DOES NOT HOLD"
    # Named it is in any case. Whether so few seconds show more of it alone is up to how busy the machine is.
    assert before.gave_way is not None
    assert before.gave_way.route == "GET /category/{id}"
    assert "GET /category/{id}" in before.sentence
    assert after.outcome == "HOLDS"
    assert after.baseline == before.drill
    assert after.sentence in unescape((found.drills[1] / "verdict.html").read_text())


@pytest.mark.timeout(180)
def test_all_three_sources_tell_of_the_same_traffic(examples: dict[str, Example]) -> None:
    files = ("incident.reamp", "upsun.reamp", "nginx.reamp")
    shares = [_shares(found.folder / name) for found, name in zip(examples.values(), files, strict=True)]
    for other in shares[1:]:
        assert other == pytest.approx(shares[0], abs=0.02)
    assert sum(shares[0].values()) == pytest.approx(1)


def _shares(path: Path) -> dict[str, float]:
    counts: dict[str, int] = {}
    for one in read_incident(path).capture.records():
        first = one.path.split("?")[0].split("/")[1]
        counts[first] = counts.get(first, 0) + 1
    return {name: count / sum(counts.values()) for name, count in counts.items()}
