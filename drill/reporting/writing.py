"""Puts a verdict's files into its drill's folder: verdict.json, verdict.html and junit.xml. Edge."""

from collections.abc import Callable
from pathlib import Path

from drill.judging.verdict import Verdict
from drill.reporting.junit import junit
from drill.reporting.page import page
from replayer.books.folder import write_whole


def write_verdict(verdict: Verdict, folder: Path) -> list[str]:
    """Write all three; give what could not be written, each in a sentence. None of them is ever there in halves."""
    made: tuple[tuple[str, Callable[[], str]], ...] = (
        ("verdict.json", lambda: as_json(verdict)),
        ("verdict.html", lambda: page(verdict)),
        ("junit.xml", lambda: junit(verdict)),
    )
    return [missing for name, text in made if (missing := _tried(folder / name, text))]


def as_json(verdict: Verdict) -> str:
    """Give it for programs."""
    return verdict.model_dump_json(indent=2) + "\n"


def _tried(path: Path, text: Callable[[], str]) -> str | None:
    try:
        return write_whole(path, text())
    except Exception as error:  # noqa: BLE001 - whatever ails the drawing, the verdict is told
        return f"{path}: it can't be made: {error!r}"
