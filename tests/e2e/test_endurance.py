"""Many requests while the app dies and comes back. ``python -m tests.benchmarks million`` is the same, fifty times."""

from pathlib import Path

import pytest

from tests.support.endurance.course import run
from tests.support.lanes import Lane


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("workers", "lane"), [(1, "fast"), (2, "fast"), (1, "full")])
def test_nothing_is_lost_mixed_up_or_done_twice(tmp_path: Path, workers: int, lane: Lane) -> None:
    requests = 20_000 if lane == "fast" else 4_000
    result = run(tmp_path, requests, workers, lane, restarts=4, limit=120)
    assert result.faults() == []
    assert result.restarts == 4
    assert result.ended["answered"] > requests / 2  # the rest, while the app was away: `faults` would say so
