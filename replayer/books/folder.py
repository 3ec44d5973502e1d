"""A run's folder: the effective plan, the journal, the histograms, the report. Edge.

runs/20261121-210305-k3f9/
    plan.json       the effective configuration
    preflight.json  what was found before the first request (`preflight.findings.Checklist`)
    journal.jsonl   every decision that changed the load; a line is on its way to the disk before the next one
    latency.hlog    HdrHistogram log 1.3, microseconds, each second a line for each of latency, service, lag, wait
    seconds.jsonl   each second a line of counts (`counting.series.Second`)
    routes.msgpack  now and then the counts of each route (`counting.series.Stretch`)
    report.json     everything that came of the run; there only once it is whole
    report.html     the same to look at, with charts; needs no network
    junit.xml       the same for CI

A full disk ends no run, for nobody comes to harm by a missing line. But the run says so (`Folder.unwritten`), and does
not end well. What is written is whole: lines that did not go leave nothing behind, and a file that is replaced stays
as it was until the new one is there.
"""

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram
from pydantic import ValidationError

from replayer.books.report import Report, lacking
from replayer.plan import Plan
from rules.exits import UserError
from rules.units import Duration, Factor, Rate, Share

logger = logging.getLogger(__name__)

QUANTITIES = (Duration, Factor, Rate, Share)

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without the ones that are taken for others


def new_run_id(now: float) -> str:
    """Name a run by its start (UTC), so that folders sort, and by chance: ``20261121-210305-k3f9``."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + "".join(secrets.choice(_LETTERS) for _ in range(4))


class _Book:
    """A file that grows by whole entries. What the disk does not take is counted, and nothing of it stays."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._path, self._name = path, name
        self._size, self._lost = self._file.tell(), 0
        self._why = ""

    def add(self, entry: str | bytes) -> None:
        """Add an entry. Never fails: the first one that did not go is logged, the rest is in `unwritten`."""
        left = memoryview(entry.encode() if isinstance(entry, str) else entry)
        size = self._size + len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            self._lose(error)
        else:
            self._size = size

    @property
    def unwritten(self) -> str:
        """Say what did not go; empty if everything did."""
        entries = "entry of it was" if self._lost == 1 else "entries of it were"
        return f"{self._name}: {self._lost} {entries} not written ({self._why})" if self._lost else ""

    def close(self) -> None:
        """Close it. Some file systems tell only now that the disk is full."""
        try:
            self._file.close()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self._lost += 1
        if not self._why:
            self._why = os.strerror(error.errno or 0)
            logger.warning("%s in %s can't be written: %s", self._name, self._path.parent, self._why)


class Folder:
    """Writes one run's folder. Raises UserError if it can't be made."""

    def __init__(self, runs: Path, run_id: str, plan: Plan) -> None:
        self.path = runs / run_id
        self._started = time.time()
        self._begun = False
        made = False
        self._books: list[_Book] = []
        try:
            self.path.mkdir(parents=True)
            made = True
            (self.path / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n")
            (self.path / "latency.hlog").write_text(self._header())
            self._journal = self._book("journal.jsonl", "the journal")
            self._histograms = self._book("latency.hlog", "the histogram log")
            self._seconds = self._book("seconds.jsonl", "the counts of each second")
            self._routes = self._book("routes.msgpack", "the counts of each route")
        except OSError as error:
            for book in self._books:
                book.close()
            if made:
                shutil.rmtree(self.path, ignore_errors=True)
            raise UserError(f"the run's folder {self.path} can't be written: {os.strerror(error.errno or 0)}") from None

    def _book(self, file: str, name: str) -> _Book:
        book = _Book(self.path / file, name)
        self._books.append(book)
        return book

    @property
    def unwritten(self) -> list[str]:
        """Say what the disk did not take; empty if it took everything."""
        return [book.unwritten for book in self._books if book.unwritten]

    def _header(self) -> str:
        # hdrh's own writer fails on a start time, knows no tags, and cuts the maximum to whole units.
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started))
        return (
            "#[Histogram log format version 1.3]\n"
            "#[values are in microseconds, maxima in seconds]\n"
            f"#[BaseTime: {self._started:.3f} (seconds since epoch)]\n"
            f"#[StartTime: {self._started:.3f} (seconds since epoch), {stamp}]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )

    def begin(self, event: str, now: float, **details: Any) -> None:
        """Add the first line to the journal; nothing if it has one."""
        if not self._begun:
            self.note(event, now, **details)

    def note(self, event: str, now: float, **details: Any) -> None:
        """Add a line to the journal."""
        self._begun = True
        # Quantities are numbers inside; people are told "25%".
        plain = {key: str(value) if isinstance(value, QUANTITIES) else value for key, value in details.items()}
        entry = {"at": round(now, 3), "elapsed": round(now - self._started, 3), "event": event, **plain}
        self._journal.add(json.dumps(entry, default=str) + "\n")

    def interval(self, tag: str, values: HdrHistogram, start: float, end: float) -> None:
        """Add a second's histogram; times are seconds since the run's start."""
        self._histograms.add(
            f"Tag={tag},{start:.3f},{end - start:.3f},{values.max_value / 1e6:.6f},{values.encode().decode()}\n"
        )

    def second(self, line: str) -> None:
        """Add a second's counts."""
        self._seconds.add(line + "\n")

    def route(self, stretch: bytes) -> None:
        """Add what came back on a route in a stretch of time."""
        self._routes.add(stretch)

    def finish(self, report: Report) -> Report:
        """Write the report and close. Give the report as it stands then: it says what the disk did not take."""
        for book in self._books:
            book.close()
        return written(report, self.path, self.unwritten)


def written(report: Report, folder: Path, unwritten: Iterable[str]) -> Report:
    """Write a run's report.json, in which stands what of the run's books was not written; give it as it stands then."""
    report = lacking(report, unwritten)
    missing = write_whole(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    return report if missing is None else lacking(report, [missing])


def write_whole(path: Path, text: str) -> str | None:
    """Write a file that is there only once it is whole; tell if the disk does not take it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        return f"{path}: it can't be written: {os.strerror(error.errno or 0)}"
    return None


def read_report(run: Path) -> Report:
    """Read a run's report again. Raises UserError."""
    path = run / "report.json" if run.is_dir() else run
    try:
        return Report.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{run} holds no report.json: is it a run's folder, and has the run ended?") from None
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except ValidationError as error:
        raise UserError(f"{path} is not the report of a run: {error.errors()[0]['msg']}") from None
