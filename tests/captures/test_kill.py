import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captures.reader import Capture
from captures.verify import verify

FLUSH_NS = 1_000_000_000


@pytest.mark.parametrize("at_least", [0.6, 1.3])
def test_a_killed_writer_loses_no_more_than_the_flush_bound(tmp_path: Path, at_least: float) -> None:
    command = [sys.executable, "-m", "tests.captures.steady_writer", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = int(process.stdout.readline())
        time.sleep(at_least + random.random())  # the moment of the crash: any
        process.kill()
        killed_at = time.time_ns()
        offered = [first, *map(int, process.stdout.read().splitlines())]

    found = [one.arrival_ns for one in Capture(tmp_path).records()]
    assert found == offered[: len(found)], "whatever reads is a beginning without holes"
    lost = offered[len(found) :]
    assert not lost or killed_at - lost[0] <= FLUSH_NS
    report = verify(tmp_path)
    assert not report.ok
    (segment,) = report.segments
    assert (segment.state, segment.records, segment.damage) == ("torn", len(found), [])
    assert "has no footer" in segment.note
    assert "at most 1s of finished requests if the disk kept up" in segment.note
