"""Writes what CI and people open beside a run's report.json. Edge."""

from collections.abc import Callable
from pathlib import Path

from replayer.books.folder import write_whole, written
from replayer.books.report import Report, lacking
from replayer.reporting.junit import junit
from replayer.reporting.page import page
from replayer.reporting.versus import Comparison
from rules.exits import UserError


def write_beside(report: Report, folder: Path, more: Path | None = None) -> Report:
    """Write report.html and junit.xml into a run's folder, the latter to `more`, too.

    Give the report as it stands then: what did not go is told in it, and in report.json.
    """
    before = report
    for path in (folder / "junit.xml", *(() if more is None else (more,))):
        report = _tried(report, path, junit)
    report = _tried(report, folder / "report.html", lambda found: page(found, folder))
    return report if report is before else written(report, folder, ())


def _tried(report: Report, path: Path, made_of: Callable[[Report], str]) -> Report:
    try:
        missing = write_whole(path, made_of(report))
    except Exception as error:  # noqa: BLE001 - whatever ails the drawing, what came of the run is told
        missing = f"{path}: it can't be made: {error!r}"
    return lacking(report, [missing] if missing else [])


def write_to(path: Path, text: str) -> None:
    """Write a file that a user asked for. Raises UserError."""
    if not path.name:
        raise UserError(f"'{path}' names no file")
    missing = write_whole(path, text)
    if missing is not None:
        raise UserError(missing)


def page_of(report: Report, folder: Path, comparison: Comparison | None) -> str:
    """Draw a page from a run's folder, or from its report alone."""
    return page(report, folder if folder.is_dir() else folder.parent, comparison)
