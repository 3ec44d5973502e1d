"""Writes what CI and people open beside a run's report.json. Edge."""

from pathlib import Path

from replayer.folder import write_whole, written
from replayer.report import Report, lacking
from replayer.reporting.junit import junit
from replayer.reporting.page import page
from replayer.reporting.versus import Comparison
from rules.exits import UserError


def write_beside(report: Report, folder: Path, more: Path | None = None) -> Report:
    """Write report.html and junit.xml into a run's folder, the latter to `more`, too.

    Give the report as it stands then: what did not go is told in it, and in report.json.
    """
    cases = junit(report)
    files = [folder / "junit.xml", *([] if more is None else [more])]
    before, report = report, lacking(report, filter(None, [write_whole(path, cases) for path in files]))
    drawn = write_whole(folder / "report.html", page(report, folder))
    missing = [] if drawn is None else [drawn]
    return report if before is report and not missing else written(report, folder, missing)


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
