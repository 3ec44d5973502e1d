"""A drill's folder: what was asked for, the incident, each step's run, what was found. Edge.

drills/20261121-210305-k3f9/
    drill.json      what was asked for and each step (`record.DrillRecord`); written anew after each
    incident.reamp  the incident that was played
    check.json      how fair a stand-in the clone is (`fairness.Fairness`)
    journal.jsonl   what was decided, a line each
    runs/<run>/     the folder of each step's run, as `reamp replay` writes it
    verdict.json    what came of it (`judging.verdict.Verdict`); also verdict.html and junit.xml

What is there is whole: a file that is replaced stays as it was until the new one is there. A drill that was killed is
judged by what is there.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drill.fairness.fairness import Fairness
from drill.running.record import DrillRecord
from replayer.books.folder import QUANTITIES, write_whole
from rules.exits import Exit, UserError
from rules.files import read_small

LARGEST = 64 << 20
"""Bytes of a file of ours that is read."""


class DrillFolder:
    """Writes one drill's folder. Raises UserError if it can't be made, and if what matters can't be written."""

    def __init__(self, drills: Path, name: str, incident: Path) -> None:
        """`incident`: the incident's file, of which a copy goes along."""
        self.path = drills / name
        made = False
        try:
            self.runs.mkdir(parents=True)
            made = True
            _copy(incident, self.incident)
            self._journal = (self.path / "journal.jsonl").open("a", encoding="utf-8")
        except OSError as error:
            if made:
                shutil.rmtree(self.path, ignore_errors=True)
            raise UserError(
                f"the drill's folder {self.path} can't be written: {os.strerror(error.errno or 0)}", Exit.FAILED
            ) from None
        self._began = time.time()
        self.unwritten: list[str] = []

    @property
    def runs(self) -> Path:
        """Where the folders of its runs are."""
        return self.path / "runs"

    @property
    def incident(self) -> Path:
        """The incident's file."""
        return self.path / "incident.reamp"

    def write(self, record: DrillRecord) -> None:
        """Write how far it has come. Raises UserError: without this nobody could judge it."""
        self._whole("drill.json", record.model_dump_json(indent=2) + "\n")

    def write_check(self, fairness: Fairness) -> None:
        """Write how fair the clone is. Raises UserError."""
        self._whole("check.json", fairness.model_dump_json(indent=2) + "\n")

    def note(self, event: str, **details: Any) -> None:
        """Write a line into the journal. What the disk does not take is told at the end, and ends nothing."""
        now = time.time()
        plain = {key: str(value) if isinstance(value, QUANTITIES) else value for key, value in details.items()}
        entry = {"at": round(now, 3), "elapsed": round(now - self._began, 3), "event": event, **plain}
        try:
            self._journal.write(json.dumps(entry, default=str) + "\n")
            self._journal.flush()
        except OSError as error:
            told = f"the journal: not all of it was written ({os.strerror(error.errno or 0)})"
            if told not in self.unwritten:
                self.unwritten.append(told)

    def close(self) -> None:
        """Close the journal."""
        try:
            self._journal.close()
        except OSError as error:
            self.unwritten.append(f"the journal: not all of it was written ({os.strerror(error.errno or 0)})")

    def _whole(self, name: str, text: str) -> None:
        if missing := write_whole(self.path / name, text):
            raise UserError(missing, Exit.FAILED)


def _copy(incident: Path, to: Path) -> None:
    """Copy it. What users sent is for nobody's eyes but its owner's, as in all captures. Raises OSError."""
    to.touch(0o600, exist_ok=False)
    with incident.open("rb") as source, to.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())


def read_record(folder: Path) -> DrillRecord:
    """Read a drill's own record. Raises UserError."""
    path = folder / "drill.json"
    found = _read(path)
    if found is None:
        raise UserError(f"{folder} holds no drill.json: name the folder of a drill, like drills/20261121-210305-k3f9")
    try:
        return DrillRecord.model_validate_json(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} does not read: {where + ': ' if where else ''}{first['msg']}") from None


def _read(path: Path) -> bytes | None:
    try:
        return read_small(path, LARGEST, f"it is larger than {LARGEST >> 20} MiB: is it the file?")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
