"""A checklist on the terminal. What comes from elsewhere is shown as it is, and moves no terminal."""

from rich.console import Console
from rich.text import Text

from captures.rendering import printable
from replayer.preflight.findings import Checklist, Finding, Outcome

_MARKS: dict[Outcome, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "warned": ("warning", "yellow"),
    "skipped": ("skipped", "dim"),
}
_WIDTH = 9


def show(console: Console, finding: Finding) -> None:
    """Print a finding: what was asked, what was seen, what to do."""
    mark, style = _MARKS[finding.outcome]
    console.print(
        Text.assemble((f"{mark:<{_WIDTH}}", style), (f"{finding.check}: ", "bold"), printable(finding.question))
    )
    _indented(console, Text(printable(finding.evidence)))
    if finding.advice:
        _indented(console, Text(f"-> {printable(finding.advice)}", style))


def _indented(console: Console, text: Text) -> None:
    for line in text.wrap(console, max(20, console.width - _WIDTH)):
        line.rstrip()
        console.print(Text(" " * _WIDTH).append_text(line), soft_wrap=True)


def sum_up(console: Console, checklist: Checklist) -> None:
    """Print what it comes to."""
    words: list[tuple[Outcome, str]] = [
        ("ok", "ok"),
        ("failed", "failed"),
        ("warned", "with a warning"),
        ("skipped", "skipped"),
    ]
    counts = ", ".join(f"{checklist.counts[each]} {word}" for each, word in words if checklist.counts[each])
    sent = f"{checklist.requests} requests to the target in {checklist.seconds:.1f} s"
    console.print(
        Text(
            f"{counts}; {sent}, GET {printable(checklist.canary)} for the most part",
            "red" if checklist.failures else "green",
        )
    )
