"""Four real services behind one sidecar: what a replay sends is known for it at each of them, and nothing else is.

The same with 5,000 synthetic and 20,000 real orders: ``python -m tests.benchmarks chain``.
"""

from pathlib import Path

import pytest

from tests.support.chain.reckoning import STATIONS, Sighting, reckon
from tests.support.chain.site import CALLS, site
from tests.support.chain.users import Users, has_a_trace

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("mode", ["library", "traces"])
def test_the_tag_arrives_at_every_service_with_what_a_replay_sends_and_with_nothing_else(
    tmp_path: Path, mode: str
) -> None:
    with site(tmp_path, mode) as shop:
        recording = shop.record(20)
        before = shop.calls()
        with Users(shop.stack.url, at_a_time=3) as users:
            report = shop.replay(recording, 40, users, 200, 100)
        shop.settle()
        outcome, calls = shop.reckon(users, report), shop.calls() - before
    assert users.failed == []
    assert outcome.wrong == []
    # For want of credit one or the other may not be sent, or be refused by the guard: those never come to a service.
    replayed = report.accounts.answered
    assert 20 <= replayed == 40 - report.accounts.shed.total() - report.accounts.withheld.total()
    for share in outcome.shares:
        assert share.right == share.arrived == (replayed if share.kind == "synthetic" else len(users.answered))
    if mode == "traces":
        # Every call went by the egress; those of the replay were known by their traces, and by nothing else.
        assert calls["synthetic (trace)"] == CALLS * replayed
        own = sum(has_a_trace(name) for name in users.answered)
        assert (calls["real (trace)"], calls["real (contested)"]) == (CALLS * own, 0)
        assert calls.total() == CALLS * (replayed + len(users.answered))


def whole(order: str, run: str) -> list[Sighting]:
    return [Sighting(station, order, run, run) for station in STATIONS]


def test_the_reckoning_notices_whatever_is_missing_too_much_or_mistaken() -> None:
    right = [*whole("user-1.0", "-"), *whole("user-2.1", "-"), *whole("recorded-1.2", "run")]

    def wrong(seen: list[Sighting]) -> list[str]:
        return list(reckon(seen, ["user-1", "user-2"], "recorded", 1, "run", library=True).wrong)

    assert wrong(right) == []
    for number, sighting in enumerate(right):
        rest = [*right[:number], *right[number + 1 :]]
        assert wrong(rest), "lost on the way"
        assert wrong([*right, sighting]), "came twice"
        for other in ("run", "-", "?1/0", "another"):
            if other != sighting.wire:
                assert wrong([*rest, sighting._replace(wire=other)])
                assert wrong([*rest, sighting._replace(told=other)])
    assert wrong([*right, *whole("user-2.3", "-")]), "an order that nobody sent"
    assert wrong([*right, *whole("recorded-7.3", "run")]), "more than the replay sent"
    assert wrong(right[len(STATIONS) :]), "an order that never came"
