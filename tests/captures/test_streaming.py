"""The tools on a capture far larger than the memory that they take, and ended in the middle."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captures.batch import BatchWriter
from captures.reader import Capture
from tests.captures.making import NOON, record

COUNT = 400
MILLION = 1_000_000


def body(number: int) -> bytes:
    """Give a megabyte that packs to next to nothing, and is no other record's."""
    return b'{"number":%d,"items":[' % number + b'{"id":%d,"name":"kettle"},' % number * 40_000 + b"0]}"


SIZE = len(body(100))

RUN = """
import sys
from pathlib import Path
from reamp.cli import run
code = run(sys.argv[2:])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
Path(sys.argv[1]).write_text(f"{code} {int(status['VmHWM'].split()[0]) * 1024}")
"""
"""Runs a command and says how it ended and what memory it had at most."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of 400 MB in a few segments."""
    folder = tmp_path_factory.mktemp("large") / "recordings"
    with BatchWriter(folder, segment_size=10_000) as out:
        for number in range(COUNT):
            headers, sent = ((b"cookie", b"session=%d" % (number % 50)),), body(number)
            out.write(record(NOON + number * MILLION, headers=headers, body=sent, body_size=len(sent), method="POST"))
    assert len(Capture(folder).segments) > 2
    return folder


def peak(told: Path, *arguments: object) -> int:
    """Run a command; give the most memory it had."""
    with (told.parent / "out").open("wb") as out:
        command = [sys.executable, "-c", RUN, str(told), "captures", *map(str, arguments)]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    code, most = map(int, told.read_text().split())
    assert code == 0
    return most


@pytest.fixture(scope="module")
def bare(large: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The memory of the program itself: of a command that reads no block."""
    return peak(tmp_path_factory.mktemp("bare") / "told", "ls", large)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="nothing here tells the memory of a process")
@pytest.mark.parametrize(
    "command",
    [
        ["cat", "--json"],
        ["cat"],
        ["stats"],
        ["top"],
        ["show", str(COUNT)],
        ["slice", "--from", "+10ms", "-o", "NEW"],
        ["merge", "--unique", "-o", "NEW"],
    ],
    ids=lambda command: command[0] + (command[1] if command[1:2] == ["--json"] else ""),
)
def test_memory_stays_flat_on_a_capture_larger_than_it(
    large: Path, bare: int, tmp_path: Path, command: list[str]
) -> None:
    assert COUNT * SIZE > 400 * MILLION
    name, *rest = [str(tmp_path / "new") if word == "NEW" else word for word in command]
    assert peak(tmp_path / "told", name, large, *rest) - bare < 60 * MILLION


def running(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reamp", "captures", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_pipe_that_is_closed_ends_it_quietly(large: Path) -> None:
    with running("cat", large, "--json") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(20).startswith('{"time":')
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 1


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["slice", "merge"])
def test_what_is_ended_in_the_middle_leaves_nothing(
    large: Path, tmp_path: Path, command: str, by: signal.Signals
) -> None:
    with running(command, large, "-o", tmp_path / "new") as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.rglob("*.reamp")):  # it has begun to write
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(by)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (105, "")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_reading_ends_it_quietly(large: Path) -> None:
    with running("cat", large) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == ""
        assert process.wait(20) == 105
