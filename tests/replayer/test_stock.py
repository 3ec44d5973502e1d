"""From the plan to the requests that it wants, through the real wiring; reading ahead in small steps."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from captures.moments import Span
from captures.reader import Capture
from replayer.counting.accounts import Accounts
from replayer.permission.ceiling import Heard
from replayer.plan import Plan
from replayer.preparing.length import run_seconds
from replayer.preparing.prepared import Prepared
from replayer.requests.encoding import Encoder
from replayer.schedule.demand import INTERVAL_NS
from replayer.selection import Selection
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
        plan, stocked(plan, Selection(capture), Encoder("run", plan.methods, "h"), Accounts()), START_NS, 1_000_000_000
    )
    if ready.echo is not None:
        ready.echo.hear(Heard(8, 1_000_000_000 - INTERVAL_NS, 1_000_000_000), 1_000_000_000)
    found: list[tuple[int, str]] = []
    while len(found) < count and not ready.demand.exhausted:
        if (due := ready.demand.due()) is None:
            if ready.echo is not None:
                break
            continue  # none is at hand yet
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
        ({**LIVE, "stage": ["1m:1.25x", "1m:1.5x"]}, [(0, "/0"), (10, "/1")]),
        ({**IDLE, "rate": "200/s", "even": True}, [(0, "/0"), (5, "/1"), (10, "/2"), (15, "/3")]),
    ],
    ids=["as-it-was", "squeezed", "a-quarter-more", "half-more", "topped-up", "nothing-lacks", "staged", "even"],
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
    stock = stocked(plan, Selection(capture), Encoder("run", plan.methods, "h"), accounts)
    while stock.peek() is None:
        assert accounts.read - before <= 100
        before, steps = accounts.read, steps + 1
    assert steps > 50
    assert not stock.ended


# --- which requests, and how many ---


def everything(capture: Capture, selection: Selection | None = None, **changes: Any) -> list[tuple[int, str]]:
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", **IDLE, **changes})
    accounts = Accounts()
    stock = stocked(plan, selection or Selection(capture), Encoder("run", plan.methods, "h"), accounts)
    demand = supply(plan, stock, START_NS, START_NS).demand
    found = []
    while not demand.exhausted:
        if (due := demand.due()) is not None:
            found.append(((due - START_NS) // MS, demand.take().prefix.split(b" ")[1].decode()))
    assert demand.wanted == len(found)
    return found


def test_no_more_than_asked_for(capture: Capture) -> None:
    assert len(everything(capture, max_requests=7)) == 7
    assert len(everything(capture, max_requests=7000)) == 50
    assert len(everything(capture, max_requests=120, amplify="10x")) == 120
    assert len(everything(capture, max_requests=120, rate="10/s", loop=True)) == 120


def test_live_traffic_wants_no_more_than_asked_for(capture: Capture) -> None:
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://h", **LIVE, "amplify": "2x", "max_requests": 5})
    accounts = Accounts()
    echo = supply(plan, stocked(plan, Selection(capture), Encoder("r", plan.methods, "h"), accounts), 0, 0).echo
    assert echo is not None
    for step in range(3):
        echo.hear(Heard(3, step * INTERVAL_NS, (step + 1) * INTERVAL_NS), (step + 1) * INTERVAL_NS)
    assert (echo.wanted, echo.pending, echo.exhausted) == (5, 5, False)
    for _ in range(5):
        assert echo.due() is not None
        echo.take()
    assert (echo.due(), echo.exhausted) == (None, True)


def test_a_loop_goes_on_at_the_recordings_own_pace(capture: Capture) -> None:
    """50 records, 10 ms apart: a round lasts 500 ms, with the gap to the next one."""
    found = everything(capture, max_requests=125, loop=True)
    assert found == [(number * 10, f"/{number % 50}") for number in range(125)]


@pytest.mark.parametrize(("at", "second"), [([0.0], 1000), ([0.0, 0.0], 1000), ([0.0, 0.3], 600)])
def test_the_seam_of_a_loop_is_neither_a_clash_nor_a_pause(tmp_path: Path, at: list[float], second: int) -> None:
    recording = Capture(write(tmp_path / "recordings", (record(moment) for moment in at)))
    found = everything(recording, max_requests=len(at) + 1, loop=True)
    assert found[-1] == (second, "/")


def test_a_span_begins_where_it_says_and_what_lies_outside_is_not_read(capture: Capture) -> None:
    part = Selection(capture, Span(START_NS + 100 * MS, START_NS + 150 * MS))
    assert everything(capture, part) == [(100 + 10 * n, f"/{10 + n}") for n in range(5)]
    assert (part.first_ns, part.last_ns) == (START_NS + 100 * MS, START_NS + 150 * MS)


def test_what_is_not_chosen_is_counted_and_does_not_keep_the_loop(tmp_path: Path) -> None:
    recording = Capture(write(tmp_path / "recordings", (record(i * 0.001, f"/{i}") for i in range(3000))))
    chosen = Selection(recording, chosen=lambda one: one.path.endswith("999"))
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://h", **IDLE})
    accounts, before, found = Accounts(), 0, []
    stock = stocked(plan, chosen, Encoder("run", plan.methods, "h"), accounts)
    while not stock.ended:
        if stock.peek() is not None:
            found.append(stock.take()[0] - START_NS)
        assert accounts.read - before <= 100
        before = accounts.read
    assert found == [999 * MS, 1999 * MS, 2999 * MS]
    assert accounts.skipped == Counter(filtered=2997)
    assert [one.path for one in chosen.records()] == ["/999", "/1999", "/2999"]


def test_stages_change_the_factor_while_the_time_axis_stays(tmp_path: Path) -> None:
    recording = Capture(write(tmp_path / "recordings", (record(i * 0.01) for i in range(3000))))
    found = everything(recording, stage=["10s:1x", "10s:3x", "10s:0.5x"])
    counts = Counter(at // 10_000 for at, _ in found)
    assert counts[0] == pytest.approx(1000, abs=40)
    assert counts[1] == pytest.approx(3000, abs=60)
    assert counts[2] == pytest.approx(500, abs=60)


def test_a_ramp_rises_evenly(tmp_path: Path) -> None:
    recording = Capture(write(tmp_path / "recordings", (record(i * 0.01) for i in range(2000))))
    counts = Counter(at // 1000 for at, _ in everything(recording, stage=["20s:1x..5.75x"]))
    for second in range(20):
        assert counts[second] == pytest.approx(100 * (1 + second / 4), abs=60)


# --- how long it will take ---


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 0.49),
        ({"amplify": "10x"}, 0.49),
        ({"amplify": "10x", "max_requests": 250}, 0.245),
        ({"amplify": "10x", "max_requests": 5000}, 0.49),
        ({"amplify": "2x", "squeeze": True}, 0.245),
        ({"amplify": "2x", "squeeze": True, "max_requests": 25}, 0.1225),
        ({"duration": "100ms"}, 0.1),
        ({"duration": "1h"}, 0.49),
        ({"duration": "1h", "loop": True}, 3600),
        ({"loop": True, "max_requests": 500}, 4.9),
        ({"rate": "100/s"}, 0.5),
        ({"rate": "100/s", "max_requests": 7000}, 0.5),
        ({"rate": "100/s", "max_requests": 7000, "loop": True}, 70),
        ({"rate": "100/s", "duration": "10s"}, 10),
        ({"sessions": "auto", "duration": "10s"}, 10),
        ({"stage": ["1s:1x", "5s:2x"], "loop": True}, 6),
        (LIVE | {"idle_target": False, "amplify": "1.1x"}, 0.49),
        (LIVE | {"idle_target": False, "amplify": "1.1x", "duration": "9s"}, 9),
    ],
)
def test_how_long_it_will_last(capture: Capture, changes: dict[str, Any], seconds: float) -> None:
    plan = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", **IDLE, **changes})
    prepared = cast("Prepared", SimpleNamespace(capture=Selection(capture), seconds=0.49, share=1.0))
    assert run_seconds(plan, prepared) == pytest.approx(seconds)
