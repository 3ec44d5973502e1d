"""The journal's lines are what its schema and the document say, wherever in the code one is written."""

import ast
import re
from pathlib import Path

import pytest

from replayer.books.journal import EVENTS

ROOT = Path(__file__).resolve().parents[3]


def notes() -> list[tuple[str, str | None, set[str] | None]]:
    """Every place that writes a line: where, the event, and the fields; None: made elsewhere."""
    found: list[tuple[str, str | None, set[str] | None]] = []
    for path in sorted((ROOT / "replayer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("note", "_note", "begin") or "snapshot.py" in path.name:
                continue
            if node.func.attr == "begin" and not (node.args and isinstance(node.args[0], ast.Constant)):
                continue  # of other things
            where, event = f"{path.relative_to(ROOT)}:{node.lineno}", node.args[0]
            plain = str(event.value) if isinstance(event, ast.Constant) else None
            fields = {each.arg for each in node.keywords}
            found.append((where, plain, None if None in fields else {str(field) for field in fields}))
    return found


def test_every_line_that_is_written_is_one_of_the_journals() -> None:
    assert len(notes()) > 20
    for where, event, fields in notes():
        assert event is None or event in EVENTS, f"{where} writes {event!r}, of which the journal's list does not know"
        if event is not None and fields is not None:
            missing = set(EVENTS[event]) - fields
            assert not missing, f"{where}: {event!r} lacks {missing}"


def test_every_line_of_the_list_is_written_somewhere() -> None:
    written = {event for _, event, _ in notes() if event is not None}
    assert set(EVENTS) - written == {"slo breached", "slo held"}  # named by what the loop found


@pytest.mark.parametrize("event", EVENTS)
def test_the_document_names_each_event_with_its_fields(event: str) -> None:
    rows = re.findall(r"^\| `([a-z -]+)` \| (.*?) \|", (ROOT / "docs/safety.md").read_text(), re.MULTILINE)
    named = {name: tuple(re.findall(r"`([a-z_]+)`", fields)) for name, fields in rows}
    assert named[event] == EVENTS[event]
