"""The demo's verdicts: each promise is kept by good evidence, and broken by evidence that breaks it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from captures.records import Record
from reamp.demo.promises import SECOND, Arrival, Evidence, judge, read_account
from rules.units import Share
from rules.wire import Accounting, Lever, Signal, State

START = 1_800_000_000 * SECOND
RATE, LENGTH = 40, 50
REPLAY, CUT, RESTORED, LEVER = 10, 25, 35, 40


def record(request: str, *headers: tuple[bytes, bytes]) -> Record:
    fields = ((b"x-request-id", request.encode()), *headers)
    return Record(START, "GET", "http", "shop", "/", "HTTP/1.1", fields, b"", 0, 200, 5, 10, 20)


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
    untrusted = [
        Arrival(START + 12 * SECOND, "-", f"{kind}-{n}", "/") for kind in ("forged", "expired") for n in range(20)
    ]
    state = State(
        version="1",
        upstream="",
        audience="demo",
        started=0,
        max_extra=Share(250_000),
        credit=0,
        subscribers=0,
        requests={"real": {"2xx": number}, "synthetic": {"2xx": extra, "withheld": 1}, "untrusted": {"2xx": 40}},
        signal=Signal(window=10, rate=40),
        lever=Lever(engaged=True),
        accounting=Accounting(seen=number + extra + 1 + 40, written=number, synthetic=extra + 1, untrusted=40),
        capturing=True,
    )
    return Evidence(
        account=sorted(account + untrusted),
        records=[record(f"real-{n}") for n in range(number)],
        state=state,
        ceiling=Share(250_000),
        users_sent=number,
        users_statuses=Counter({200: number}),
        forged_sent=20,
        expired_sent=20,
        replay_began_ns=START + REPLAY * SECOND,
        cut_ns=START + CUT * SECOND,
        restored_ns=START + RESTORED * SECOND,
        lever_ns=START + LEVER * SECOND,
        replay_exit=91,
        verify_exit=0,
        credit_after_untrusted=0.0,
    )


def test_good_evidence_keeps_every_promise() -> None:
    assert [promise.promise for promise in judge(good()) if not promise.kept] == []


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
    broken = [judged.promise for judged in judge(break_it(good())) if not judged.kept]
    assert any(name.startswith(promise) for name in broken), broken


def test_the_account_is_read_in_order_of_time() -> None:
    assert read_account("2 - real-1 /a b\n1 run - /c\n") == [
        Arrival(1, "run", "-", "/c"),
        Arrival(2, "-", "real-1", "/a b"),
    ]
