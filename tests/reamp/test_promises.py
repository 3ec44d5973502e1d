"""The demo's verdicts: each promise is kept by good evidence, and broken by evidence that breaks it."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from reamp.demo.promises import SECOND, Arrival, Evidence, Stall, Verdict, judge, read_account
from rules.units import Share
from rules.wire import Accounting, Lever, Signal, State

MILLISECOND = SECOND // 1000
START = 1_800_000_000 * SECOND
RATE, LENGTH = 40, 50
REPLAY, CUT, RESTORED, LEVER = 10, 25, 35, 40


def record(request: str, *headers: tuple[bytes, bytes], at_ns: int = START + LENGTH * SECOND) -> Record:
    fields = ((b"x-request-id", request.encode()), *headers)
    return Record(at_ns, "GET", "http", "shop", "/", "HTTP/1.1", fields, b"", 0, 200, 5, 10, 20)


def good() -> Evidence:
    """A run as it should be: 40/s, a third of it between the cut and its end, an extra quarter right behind."""
    account, number, extra = [], 0, 0
    for step in range(RATE * LENGTH):
        at = step / RATE
        if CUT <= at < RESTORED and step % 3:
            continue
        account.append(Arrival(START + int(at * SECOND), "-", f"real-{number}", "/"))
        number += 1
        if REPLAY <= at < LEVER - 0.2 and number % 4 == 0:
            account.append(Arrival(START + int((at + 0.02) * SECOND), "run", "-", "/"))
            extra += 1
    untrusted = [Arrival(START + 12 * SECOND, "-", f"forged-{n}", "/") for n in range(20)]
    state = State(
        version="1",
        upstream="",
        audience="demo",
        started=0,
        max_extra=Share(250_000),
        credit=0,
        subscribers=0,
        requests={
            "real": {"2xx": number},
            "synthetic": {"2xx": extra, "withheld": 1},
            "untrusted": {"2xx": 20, "denied": 20},
        },
        signal=Signal(window=10, rate=40),
        lever=Lever(engaged=True),
        accounting=Accounting(seen=number + extra + 1 + 40, written=number, synthetic=extra + 1, untrusted=40),
        capturing=True,
    )
    return Evidence(
        account=sorted(account + untrusted),
        records=[record(one.request, at_ns=one.at_ns - MILLISECOND) for one in account if not one.synthetic],
        state=state,
        ceiling=Share(250_000),
        users_sent=number,
        users_statuses=Counter({200: number}),
        users_timeouts=0,
        forged_sent=20,
        expired_sent=20,
        replay_began_ns=START + REPLAY * SECOND,
        cut_ns=START + CUT * SECOND,
        restored_ns=START + RESTORED * SECOND,
        lever_ns=START + LEVER * SECOND,
        replay_exit=91,
        verify_exit=0,
        credit_after_untrusted=0.0,
        stalls=[],
    )


def test_good_evidence_keeps_every_promise() -> None:
    assert {promise.verdict for promise in judge(good())} == {Verdict.HOLDS}


def with_extra(seen: Evidence, *seconds: float) -> Evidence:
    more = [Arrival(START + int(at * SECOND), "run", "-", "/") for at in seconds]
    return replace(seen, account=sorted(seen.account + more))


def with_accounting(evidence: Evidence, **changes: int) -> Evidence:
    accounting = evidence.state.accounting.model_copy(update=changes)
    return replace(evidence, state=evidence.state.model_copy(update={"accounting": accounting}))


BREAKS: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a user got an error": (
        "real users",
        lambda e: replace(e, users_statuses=Counter({200: e.users_sent - 1, 500: 1})),
    ),
    "a user was never answered": ("real users", lambda e: replace(e, users_sent=e.users_sent + 1)),
    "a record is missing": ("the recording is", lambda e: replace(e, records=e.records[1:])),
    "a foreign record": ("the recording is", lambda e: replace(e, records=[*e.records, record("forged-1")])),
    "verify found damage": ("the recording is", lambda e: replace(e, verify_exit=1)),
    "a tag was recorded": (
        "nothing synthetic",
        lambda e: replace(e, records=[record("real-0", (b"X-Load-Test", b"run")), *e.records[1:]]),
    ),
    "a burst of extra": ("extra traffic stays", lambda e: with_extra(e, *(20 + n / 1000 for n in range(15)))),
    "extra without real": ("extra traffic stays", lambda e: with_extra(e, *(70 + n for n in range(3)))),
    "hardly any extra": (
        "1.25x is reached",
        lambda e: replace(e, account=[a for n, a in enumerate(e.account) if not a.synthetic or n % 2]),
    ),
    "extra goes on at the old rate": (
        "when real traffic falls",
        lambda e: with_extra(e, *(26 + n / 8 for n in range(40))),
    ),
    "a forged tag passed": (
        "forged and expired tags do not pass",
        lambda e: replace(e, account=[a._replace(run="run") if a.request == "forged-3" else a for a in e.account]),
    ),
    "an expired tag reached the app": (
        "forged and expired tags do not pass",
        lambda e: replace(e, account=sorted([*e.account, Arrival(START + 12 * SECOND, "-", "expired-3", "/")])),
    ),
    "a forged tag was not found out": (
        "forged and expired tags do not pass",
        lambda e: with_accounting(e, untrusted=39),
    ),
    "forged tags earned credit": ("forged and expired tags earn", lambda e: replace(e, credit_after_untrusted=2.5)),
    "synthetic after the lever": ("the lever stops", lambda e: with_extra(e, LEVER + 0.5)),
    "the replay went on": ("the lever stops", lambda e: replace(e, replay_exit=0)),
    "a request is unaccounted for": ("every request", lambda e: with_accounting(e, seen=e.state.accounting.seen + 1)),
    "records are still pending": ("every request", lambda e: with_accounting(e, pending=1, written=e.users_sent - 1)),
}


@pytest.mark.parametrize("what", BREAKS)
def test_evidence_that_breaks_a_promise_is_not_overlooked(what: str) -> None:
    promise, break_it = BREAKS[what]
    assert verdict_on(promise, break_it(good())) is Verdict.BROKEN


def verdict_on(promise: str, evidence: Evidence) -> Verdict:
    return next(judged.verdict for judged in judge(evidence) if judged.promise.startswith(promise))


def through(evidence: Evidence, delay: Callable[[Arrival], int]) -> Evidence:
    """Let the app hear of each request later than it did; what the sidecar has recorded stays as it was."""
    return replace(evidence, account=sorted(one._replace(at_ns=one.at_ns + delay(one)) for one in evidence.account))


def stopped(*seconds: tuple[float, float]) -> Callable[[Arrival], int]:
    """Let the app stand still from a time until another, and then take everything at once."""

    def delay(one: Arrival) -> int:
        at = one.at_ns - START
        return max((int(end * SECOND) - at for begin, end in seconds if begin * SECOND <= at < end * SECOND), default=0)

    return delay


def test_what_a_slow_app_makes_of_a_kept_ceiling_is_neither_kept_nor_broken() -> None:
    # The app stands still for three seconds, and then takes the extra requests first.
    busy = through(good(), lambda one: stopped((18, 21))(one) + (0 if one.synthetic else 200 * MILLISECOND))
    assert verdict_on("extra traffic stays", busy) is Verdict.UNTOLD
    assert "BROKEN" not in {judged.verdict for judged in judge(busy)}


def test_an_extra_request_that_is_late_after_the_pull_is_told_from_one_that_passed_only_by_its_delay() -> None:
    late = with_extra(good(), LEVER + 0.3)
    assert verdict_on("the lever stops", late) is Verdict.BROKEN
    assert verdict_on("the lever stops", through(late, stopped((20, 20.2)))) is Verdict.UNTOLD
    assert verdict_on("the lever stops", through(late, stopped((20, 20.06)))) is Verdict.BROKEN


def test_extra_that_a_held_up_replay_did_not_send_is_missed_only_as_far_as_it_was_held_up() -> None:
    less = replace(good(), account=[a for n, a in enumerate(good().account) if not a.synthetic or n % 3])
    assert verdict_on("1.25x is reached", less) is Verdict.BROKEN
    short = replace(less, stalls=[Stall(START + 15 * SECOND, SECOND // 2)])
    assert verdict_on("1.25x is reached", short) is Verdict.BROKEN
    long = replace(less, stalls=[Stall(START + (13 + n) * SECOND, SECOND) for n in range(8)])
    assert verdict_on("1.25x is reached", long) is Verdict.UNTOLD


def test_real_traffic_that_did_not_fall_tells_nothing() -> None:
    steady = replace(good(), cut_ns=START + 12 * SECOND, restored_ns=START + 22 * SECOND)
    assert verdict_on("when real traffic falls", steady) is Verdict.BROKEN
    busy = replace(steady, stalls=[Stall(START + 6 * SECOND, SECOND // 10)])
    assert verdict_on("when real traffic falls", busy) is Verdict.UNTOLD


def test_a_request_whose_client_left_before_the_app_was_asked_is_accounted_for_as_far_as_anybody_can_tell() -> None:
    accounting = good().state.accounting
    more = with_accounting(good(), synthetic=accounting.synthetic + 1, seen=accounting.seen + 1)
    more.state.requests["synthetic"]["error"] = 1
    assert verdict_on("every request", more) is Verdict.BROKEN
    assert verdict_on("every request", through(more, stopped((20, 20.3)))) is Verdict.UNTOLD
    twice = through(with_extra(good(), 20.5), stopped((20, 20.3)))
    twice.state.requests["synthetic"]["error"] = 5
    assert verdict_on("every request", twice) is Verdict.BROKEN


def test_a_burst_at_the_lever_is_not_taken_for_extra_that_followed_late() -> None:
    burst = with_extra(good(), *(LEVER + n / 1000 for n in range(30)))
    assert verdict_on("when real traffic falls", burst) is Verdict.HOLDS
    assert verdict_on("extra traffic stays", burst) is Verdict.BROKEN
    assert verdict_on("every request", burst) is Verdict.BROKEN


@pytest.mark.parametrize("what", BREAKS)
def test_delays_excuse_nothing_that_they_can_not_have_done(what: str) -> None:
    """On a busy machine what is broken never holds, and most of it still is seen to be broken."""
    promise, break_it = BREAKS[what]
    busy = through(break_it(good()), stopped((20, 20.1)))
    assert busy.delayed
    assert verdict_on(promise, busy) is not Verdict.HOLDS
    if what not in {"a burst of extra", "a user was never answered"}:
        assert verdict_on(promise, busy) is Verdict.BROKEN


@given(
    stops=st.lists(st.tuples(st.floats(0, LENGTH), st.floats(0, 1.5)), max_size=8),
    jitter=st.integers(0, 400 * MILLISECOND),
    seed=st.integers(0, 1000),
)
def test_no_delay_breaks_a_promise_that_was_kept(stops: list[tuple[float, float]], jitter: int, seed: int) -> None:
    choice, still = random.Random(seed), stopped(*((at, at + length) for at, length in stops))
    evidence = through(good(), lambda one: still(one) + choice.randint(0, jitter))
    # In the run, the stalls of the one machine show on the demo's own clock as well.
    stalls = [Stall(START + int((at + length) * SECOND), int(length * SECOND)) for at, length in stops]
    judged = judge(replace(evidence, stalls=stalls))
    assert [one for one in judged if one.verdict is Verdict.BROKEN] == []


def test_the_account_is_read_in_order_of_time() -> None:
    assert read_account("2 - real-1 /a b\n1 run - /c\n") == [
        Arrival(1, "run", "-", "/c"),
        Arrival(2, "-", "real-1", "/a b"),
    ]
