"""Writes what CI and people open beside a run's report.json. Edge."""

from pathlib import Path

from replayer.folder import write_whole
from replayer.report import Report
from replayer.reporting.junit import junit
from replayer.reporting.page import page
from replayer.reporting.versus import Comparison
from rules.exits import UserError


def write_beside(report: Report, folder: Path, more: Path | None = None) -> list[str]:
    """Write report.html and junit.xml into a run's folder, the latter to `more`, too; tell what did not go."""
    cases = junit(report)
    files = [(folder / "report.html", page(report, folder)), (folder / "junit.xml", cases)]
    if more is not None:
        files.append((more, cases))
    return [missing for path, text in files if (missing := write_whole(path, text)) is not None]


def write_to(path: Path, text: str) -> None:
    """Write a file that a user asked for. Raises UserError."""
    missing = write_whole(path, text)
    if missing is not None:
        raise UserError(missing)


def page_of(report: Report, folder: Path, comparison: Comparison | None) -> str:
    """Draw a page from a run's folder, or from its report alone."""
    return page(report, folder if folder.is_dir() else folder.parent, comparison)
