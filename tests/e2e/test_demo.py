"""The demo as a process. (What it promises is judged by the demo itself, and its judgement in `tests/reamp`.)"""

import signal
from pathlib import Path

import pytest

from tests.support.processes import Process, eventually, reamp, run


def processes_about(folder: Path) -> list[str]:
    """Command lines of running processes whose output goes into `folder`."""
    lines = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "fd" / "2").readlink().is_relative_to(folder):
                lines.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has just ended
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_whoever_ends_the_demo_ends_its_whole_cast(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "demo"
    with Process(reamp("demo", "--out", str(out)), tmp_path / "demo.out") as demo:
        eventually(lambda: "recording" in demo.output, 40)
        eventually(lambda: len(processes_about(out)) == 3)  # the shop, its sidecar and the worker of that
        demo.signal(number)
        assert demo.wait() == 105, demo.output
    assert processes_about(out) == []
    assert "Traceback" not in demo.output


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    ended = run("demo", "--out", str(tmp_path))
    assert ended.returncode == 104
    assert "not empty" in ended.stderr
