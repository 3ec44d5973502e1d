"""Reading what somebody else may be writing at this moment."""

from pathlib import Path


def whole_lines(log: Path, begin: int = 0) -> list[str]:
    """The lines of a log so far, from a place in it on; one that has not ended yet is not there yet."""
    with log.open() as file:
        file.seek(begin)
        return file.read().rpartition("\n")[0].splitlines()
