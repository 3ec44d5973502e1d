"""Reading what somebody else may be writing at this moment."""

from pathlib import Path


def whole_lines(log: Path) -> list[str]:
    """The lines of a log so far; one that has not ended yet is not there yet."""
    return log.read_text().rpartition("\n")[0].splitlines()
