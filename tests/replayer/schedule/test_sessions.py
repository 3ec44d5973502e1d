"""Sessions are multiplied whole, in order, each copy as somebody else, in bounded memory."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.reader import Capture
from captures.sampling import SessionBy, session_of
from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.requests.encoding import Encoder
from replayer.schedule import sessions
from replayer.schedule.amplification import PATIENCE
from replayer.schedule.sessions import IDLE_NS, LATEST_NS, Visitors, amplify_sessions
from replayer.schedule.stages import Loudness
from replayer.selection import Selection
from replayer.stock import stocked
from rules.units import MILLION, Factor
from tests.support.recording import START_NS, record, write

SECOND = 1_000_000_000

visits = st.lists(st.tuples(st.integers(0, 10**11), st.integers(0, 8)), max_size=80).map(sorted)
factors = st.integers(MILLION // 100, 5 * MILLION).map(Factor)


class Sent(NamedTuple):
    """A request of session `user`, the copy of it, and which request of the recording it is."""

    at: int
    user: int
    copy: int
    number: int


def play(arrivals: list[tuple[int, int]], factor: Factor, seed: int = 1, halting: bool = False) -> list[Sent]:
    def source() -> Iterator[tuple[int, tuple[int, tuple[int, int, int]]] | None]:
        for number, (at, user) in enumerate(arrivals):
            if halting:
                yield None
            yield at, (user, (user, 0, number))

    visitors = Visitors[int, tuple[int, int, int]](
        Loudness.steady(factor), seed, 0, lambda item, copy: (item[0], copy, item[2]), lambda _: 1
    )
    return [Sent(found[0], *found[1]) for found in amplify_sessions(source(), visitors) if found is not None]


def by_copy(found: list[Sent]) -> dict[tuple[int, int], list[Sent]]:
    copies: dict[tuple[int, int], list[Sent]] = defaultdict(list)
    for sent in found:
        copies[sent.user, sent.copy].append(sent)
    return copies


@given(visits, factors, st.integers(0, 2**32))
def test_every_copy_is_the_whole_session_in_order_at_its_own_rhythm(
    arrivals: list[tuple[int, int]], factor: Factor, seed: int
) -> None:
    found = play(arrivals, factor, seed)
    assert all(left.at <= right.at for left, right in pairwise(found))
    assert found == play(arrivals, factor, seed)
    assert found == play(arrivals, factor, seed, halting=True)
    numbers = defaultdict(list)
    for number, (_, user) in enumerate(arrivals):
        numbers[user].append(number)
    copies = by_copy(found)
    for (user, copy), sent in copies.items():
        assert [one.number for one in sent] == numbers[user]
        delays = {one.at - arrivals[one.number][0] for one in sent}
        assert len(delays) == 1
        assert (delays == {0}) if copy == 0 else all(0 <= delay <= LATEST_NS for delay in delays)
    for user in numbers:
        times = len([copy for other, copy in copies if other == user])
        assert math.floor(factor / MILLION) <= times <= math.ceil(factor / MILLION)
        assert sorted(copy for other, copy in copies if other == user) == list(range(times))


@pytest.mark.parametrize("factor", ["0.01x", "0.5x", "1.25x", "3.7x"])
def test_the_factor_is_reached_in_expectation(factor: str) -> None:
    wanted = Factor.parse(factor)
    arrivals = [(number * 10**6, number // 3) for number in range(30_000)]
    found = play(arrivals, wanted)
    fraction = wanted % MILLION / MILLION
    assert abs(len(found) / 3 - 10_000 * wanted / MILLION) <= 4 * math.sqrt(10_000 * fraction * (1 - fraction))


def test_a_thousand_times_holds_each_request_once() -> None:
    visitors = Visitors[int, int](Loudness.steady(Factor.parse("1000x")), 1, 0, lambda item, _: item, lambda _: 1)
    sent = held = 0
    for number in range(400):
        sent += sum(1 for _ in visitors.take(number * SECOND // 10, number // 4, number))
        held = max(held, len(visitors._due))
    sent += sum(1 for _ in visitors.rest())
    assert sent == 400_000
    assert held <= 110  # those of ten seconds


def test_a_user_who_comes_back_much_later_begins_another_session() -> None:
    arrivals = [(number * 2 * IDLE_NS, 1) for number in range(200)]
    assert 60 < len(play(arrivals, Factor.parse("0.5x"))) < 140
    arrivals = [(number * IDLE_NS // 2, 1) for number in range(200)]
    assert len(play(arrivals, Factor.parse("0.5x"))) in (0, 200)


@settings(max_examples=30)
@given(visits, st.integers(1, 20))
def test_with_too_many_held_copies_begin_earlier_and_keep_their_order(
    arrivals: list[tuple[int, int]], held: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sessions, "HELD", held)
        found = play(arrivals, Factor.parse("4x"))
    assert all(left.at <= right.at for left, right in pairwise(found))
    assert Counter(sent.number for sent in found) == dict.fromkeys(range(len(arrivals)), 4)
    for sent in by_copy(found).values():
        assert [one.number for one in sent] == sorted(one.number for one in sent)
        assert all(one.at >= arrivals[one.number][0] for one in sent)


def test_sessions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 50)
    visitors = Visitors[int, int](Loudness.steady(Factor.parse("2x")), 1, 0, lambda item, _: item, lambda _: 1)
    for number in range(1000):
        for _ in visitors.take(number, number, number):
            pass
        assert len(visitors._sessions) <= 50


def test_a_step_is_short() -> None:
    read = before = 0

    def endless() -> Iterator[tuple[int, tuple[int, int]]]:
        nonlocal read
        for number in count():
            read += 1
            yield number, (number, number)

    visitors = Visitors[int, int](Loudness.steady(Factor.parse("0.01x")), 1, 0, lambda item, _: item, lambda _: 1)
    steps = amplify_sessions(endless(), visitors)
    for _ in range(1000):
        next(steps)
        assert read - before <= PATIENCE
        before = read


# --- through the real wiring: what an app would see ---


def cookie(request: Any) -> bytes:
    (line,) = [line for line in request.prefix.split(b"\r\n") if line.lower().startswith(b"cookie:")]
    return bytes(line.partition(b": ")[2])


def requests(folder: Path, **changes: Any) -> list[tuple[int, bytes, str]]:
    """Due in ms, cookie, path, of thirty sessions with four requests each."""
    found = [
        record(
            user * 0.1 + step * 0.03,
            f"/{user}/{step}",
            headers=((b"host", b"shop.example"), (b"cookie", b"lang=de; sid=%08d" % (10_000_000 + user))),
        )
        for user in range(30)
        for step in range(4)
    ]
    capture = Capture(write(folder, sorted(found)))
    asked = {"recording": folder, "to": "http://h", "idle_target": True, "sessions": "auto", **changes}
    plan = Plan.model_validate(asked)
    stock = stocked(plan, Selection(capture), Encoder("run", plan.methods, "h"), Accounts())
    sent = []
    while not stock.ended:
        if stock.peek() is not None:
            at, request = stock.take()
            sent.append(((at - START_NS) // 10**6, cookie(request), request.prefix.split(b" ")[1].decode()))
    return sent


def test_the_app_sees_other_sessions_each_whole_and_in_order(tmp_path: Path) -> None:
    by_cookie = defaultdict(list)
    for at, who, path in requests(tmp_path / "r", amplify="3x"):
        by_cookie[who].append((at, path))
    assert len(by_cookie) == 90
    for sent in by_cookie.values():
        users = {path.split("/")[1] for _, path in sent}
        assert len(users) == 1
        assert [path.split("/")[2] for _, path in sent] == ["0", "1", "2", "3"]
        assert sent[3][0] - sent[0][0] in (89, 90, 91)
    recorded = requests(tmp_path / "as-recorded")
    assert len({who for _, who, _ in recorded}) == 30
    assert len({who.split(b";")[0] for who in by_cookie}) == 1  # what identifies nobody stays
    for at, who, path in recorded:
        assert (at, path) in by_cookie[who]


def test_the_next_round_is_somebody_elses(tmp_path: Path) -> None:
    sent = requests(tmp_path / "r", loop=True, max_requests=240)
    whose = [{who for _, who, _ in part} for part in (sent[:120], sent[120:])]
    assert [len(part) for part in whose] == [30, 30]
    assert not whose[0] & whose[1]


def test_below_once_a_session_is_sent_whole_or_not_at_all(tmp_path: Path) -> None:
    counts = Counter(who for _, who, _ in requests(tmp_path / "r", amplify="0.5x"))
    assert set(counts.values()) == {4}
    assert 5 < len(counts) < 25


def test_what_a_session_is_can_be_said(tmp_path: Path) -> None:
    by = SessionBy.parse("cookie:lang")
    sent = requests(tmp_path / "r", amplify="0.5x", sessions=str(by))
    assert len(sent) in (0, 120)  # all have the same
    assert session_of(((b"cookie", b"lang=de"),), "", by) == b"cookie\0de"
