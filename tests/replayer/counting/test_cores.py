"""How busy a process's busiest thread is, where it has a core to itself and where it has not."""

import os
from pathlib import Path

import pytest

from replayer.counting.cores import Cores
from tests.support.processes import Process, eventually, python

_BUSY = "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass"


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not count what waits")
def test_two_that_share_a_core_both_want_all_of_it(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with (
        Process(python("-c", _BUSY % core), tmp_path / "one"),
        Process(python("-c", _BUSY % core), tmp_path / "other"),
    ):
        cores = Cores()  # children count

        def torn() -> bool:
            found = cores.busiest()
            assert 0 <= found.used <= found.wanted <= 1
            return found.wanted > 0.9 and found.used < 0.75

        eventually(torn, every=0.3)
