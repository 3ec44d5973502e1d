"""From the plan to the requests that it wants, through the real wiring; reading ahead in small steps."""

from pathlib import Path
from typing import Any

import pytest

from captures.reader import Capture
from replayer.accounts import Accounts
from replayer.ceiling import Heard
from replayer.demand import INTERVAL_NS
from replayer.encoding import Encoder
from replayer.plan import Plan
from replayer.stock import Supply, stocked, supply
from tests.support.recording import START_NS, record, write

MS = 1_000_000
IDLE = {"idle_target": True}
LIVE = {"sidecars": ["http://127.0.0.1:8901"]}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return Capture(write(tmp_path_factory.mktemp("r") / "recordings", (record(i * 0.01, f"/{i}") for i in range(50))))


def first(capture: Capture, count: int = 8, **changes: Any) -> list[tuple[int, str]]:
    """The first requests: (milliseconds since the start, path)."""
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", **changes})
    ready: Supply = supply(
        plan, stocked(plan, capture, Encoder("run", plan.methods, "h"), Accounts()), START_NS, 1_000_000_000
    )
    if ready.echo is not None:
        ready.echo.hear(Heard(8, 1_000_000_000 - INTERVAL_NS, 1_000_000_000), 1_000_000_000)
    found: list[tuple[int, str]] = []
    while len(found) < count and (due := ready.demand.due()) is not None:
        path = ready.demand.take().prefix.split(b" ")[1].decode()
        found.append(((due - 1_000_000_000) // MS, path))
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (IDLE, [(0, "/0"), (10, "/1"), (20, "/2"), (30, "/3")]),
        ({**IDLE, "amplify": "2x", "squeeze": True}, [(0, "/0"), (5, "/1"), (10, "/2"), (15, "/3")]),
        ({**LIVE, "amplify": "1.25x"}, [(0, "/0"), (10, "/1")]),
        ({**LIVE, "amplify": "1.5x"}, [(0, "/0"), (5, "/1"), (10, "/2"), (15, "/3")]),
        ({**LIVE, "top_up": "500/s"}, [(0, "/0"), (10, "/1")]),
        ({**LIVE, "top_up": "400/s"}, []),
    ],
    ids=["as-it-was", "squeezed", "a-quarter-more", "half-more", "topped-up", "nothing-lacks"],
)
def test_what_a_plan_wants_first(capture: Capture, changes: dict[str, Any], expected: list[tuple[int, str]]) -> None:
    assert first(capture, 4, **changes) == expected


def test_the_seed_decides_what_is_added(capture: Capture) -> None:
    one, same, other = (first(capture, 40, **IDLE, amplify="1.5x", seed=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_a_step_is_short_however_much_is_skipped(tmp_path: Path) -> None:
    records = [record(i * 0.001, "/", method="POST") for i in range(5000)] + [record(6, "/found")]
    capture = Capture(write(tmp_path / "recordings", records))
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", **IDLE})
    accounts, before, steps = Accounts(), 0, 0
    stock = stocked(plan, capture, Encoder("run", plan.methods, "h"), accounts)
    while stock.peek() is None:
        assert accounts.read - before <= 100
        before, steps = accounts.read, steps + 1
    assert steps > 50
    assert not stock.ended
