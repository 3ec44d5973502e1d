"""A run's folder: the effective plan, the journal, the histograms, the report. Edge.

runs/20261121-210305-k3f9/
    plan.json       the effective configuration
    journal.jsonl   every decision that changed the load; a line is on its way to the disk before the next one
    latency.hlog    HdrHistogram log 1.3, microseconds, each second a line for each of latency, service, lag, wait
    seconds.jsonl   each second a line of counts (`series.Second`)
    routes.msgpack  now and then the counts of each route (`series.Stretch`)
    report.json     everything that came of the run; there only once it is whole
    report.html     the same to look at, with charts; needs no network
    junit.xml       the same for CI
"""

import json
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from hdrh.histogram import HdrHistogram
from pydantic import ValidationError

from replayer.plan import Plan
from replayer.report import Report
from rules.exits import UserError
from rules.units import Duration, Factor, Rate, Share

logger = logging.getLogger(__name__)

QUANTITIES = (Duration, Factor, Rate, Share)

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without the ones that are taken for others


def new_run_id(now: float) -> str:
    """Name a run by its start (UTC), so that folders sort, and by chance: ``20261121-210305-k3f9``."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + "".join(secrets.choice(_LETTERS) for _ in range(4))


class Folder:
    """Writes one run's folder. Raises UserError if it can't be made."""

    def __init__(self, runs: Path, run_id: str, plan: Plan) -> None:
        self.path = runs / run_id
        self._started = time.time()
        try:
            self.path.mkdir(parents=True)
            (self.path / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n")
            self._journal = (self.path / "journal.jsonl").open("a", buffering=1)
            self._histograms = (self.path / "latency.hlog").open("w", buffering=1)  # a line each second
            self._seconds = (self.path / "seconds.jsonl").open("w", buffering=1)
            self._routes = (self.path / "routes.msgpack").open("wb", buffering=0)
            self._write_header()
        except OSError as error:
            raise UserError(f"the run's folder {self.path} can't be written: {os.strerror(error.errno or 0)}") from None
        self._warned: set[str] = set()

    def _write_header(self) -> None:
        # hdrh's own writer fails on a start time, knows no tags, and cuts the maximum to whole units.
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started))
        self._histograms.write(
            "#[Histogram log format version 1.3]\n"
            "#[values are in microseconds, maxima in seconds]\n"
            f"#[BaseTime: {self._started:.3f} (seconds since epoch)]\n"
            f"#[StartTime: {self._started:.3f} (seconds since epoch), {stamp}]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )

    def note(self, event: str, now: float, **details: Any) -> None:
        """Add a line to the journal. A full disk does not end a run: real users come to no harm by a missing line."""
        # Quantities are numbers inside; people are told "25%".
        plain = {key: str(value) if isinstance(value, QUANTITIES) else value for key, value in details.items()}
        entry = {"at": round(now, 3), "elapsed": round(now - self._started, 3), "event": event, **plain}
        try:
            self._journal.write(json.dumps(entry, default=str) + "\n")
        except OSError as error:
            self._warn("the journal", error)

    def interval(self, tag: str, values: HdrHistogram, start: float, end: float) -> None:
        """Add a second's histogram; times are seconds since the run's start."""
        line = f"Tag={tag},{start:.3f},{end - start:.3f},{values.max_value / 1e6:.6f},{values.encode().decode()}\n"
        try:
            self._histograms.write(line)
        except OSError as error:
            self._warn("the histogram log", error)

    def second(self, line: str) -> None:
        """Add a second's counts."""
        self._append(self._seconds, line, "the counts of each second")

    def route(self, stretch: bytes) -> None:
        """Add what came back on a route in a stretch of time."""
        try:
            self._routes.write(stretch)
        except OSError as error:
            self._warn("the counts of each route", error)

    def finish(self, report: Report) -> str | None:
        """Write the report and close; tell if the disk does not take it. A run is not undone by that."""
        missing = self._write_report(report)
        for file in (self._journal, self._histograms, self._seconds, self._routes):
            with suppress(OSError):  # it was told of when the line was written
                file.close()
        return missing

    def _append(self, file: TextIO, line: str, what: str) -> None:
        try:
            file.write(line + "\n")
        except OSError as error:
            self._warn(what, error)

    def _warn(self, what: str, error: OSError) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s in %s can't be written: %s", what, self.path, error.strerror)

    def _write_report(self, report: Report) -> str | None:
        return write_whole(self.path / "report.json", report.model_dump_json(indent=2) + "\n")


def write_whole(path: Path, text: str) -> str | None:
    """Write a file that is there only once it is whole; tell if the disk does not take it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
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
