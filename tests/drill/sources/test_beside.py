import sys
from pathlib import Path
from types import FrameType
from typing import Any

from drill.sources import beside as module
from drill.sources.beside import beside


class _Signal(BaseException):
    pass


def _enters(folder: Path, line: int) -> bool:
    """Whether the block is entered if a signal comes just before the so many-th line of what makes the folder."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != module.__file__:
            return None
        lines += event == "line"
        if lines == line:
            raise _Signal
        return trace

    sys.settrace(trace)
    try:
        with beside(folder) as made:
            sys.settrace(None)
            assert made.stat().st_mode & 0o777 == 0o700
            assert [made] == list(folder.iterdir())
            return True
    except _Signal:
        return False
    finally:
        sys.settrace(None)


def test_whenever_a_signal_ends_it_nothing_is_left_behind(tmp_path: Path) -> None:
    line = 1
    while not _enters(tmp_path, line):
        assert list(tmp_path.iterdir()) == []
        line += 1
    assert line > 3
    assert list(tmp_path.iterdir()) == []
