"""Accounts, histograms, the verdict, the watch over the signal, the folder, what people see."""

import gc
import io
import json
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from replayer.books.folder import Folder, new_run_id, read_report
from replayer.books.report import Lateness, Report, RouteReport, exit_code, faults
from replayer.comparing.comparison import Change as Shift
from replayer.comparing.differences import Differences, Found, RouteDifferences
from replayer.counting.accounts import Accounts
from replayer.counting.bottleneck import Bottleneck
from replayer.counting.latency import Quantiles, Recorder, quantiles, quantiles_of
from replayer.counting.series import Second
from replayer.counting.snapshot import Observer
from replayer.permission.ceiling import Ceiling, Source, Unbounded
from replayer.permission.vigil import Change, Vigil
from replayer.plan import Plan
from replayer.progress import comparison, differences, one_line, routes, shown, summary
from replayer.reporting.versus import Comparison, RouteComparison
from replayer.stopping import Stop
from rules.exits import Exit, UserError
from rules.units import Share

PLAN = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", "idle_target": True})
GOOD = Accounts(wanted=10, sent=8, shed=Counter(credit=2), answered=8, statuses=Counter({200: 7, 500: 1}))


def report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "run": "20261121-210305-k3f9",
        "plan": PLAN.model_dump(mode="json"),
        "audience": "shop",
        "started": 1.0,
        "ended": 3.0,
        "seconds": 2.0,
        "accounts": GOOD,
        "latency": Quantiles(),
        "service": Quantiles(),
        "lag": Quantiles(),
        "stop": "ended",
        "reason": "the recording was played to its end",
        "valid": True,
        "exit_code": 0,
        **changes,
    }
    return Report(**values)


# --- accounts ---


def test_accounts_reconcile_or_do_not() -> None:
    assert GOOD.reconciles()
    assert not Accounts(wanted=1).reconciles()
    assert not Accounts(wanted=1, sent=1).reconciles()
    assert Accounts(wanted=1, sent=1, unanswered=1).reconciles()
    assert Accounts(wanted=2, sent=2, withheld=Counter(credit=1), errors=Counter(reset=1)).reconciles()
    assert not Accounts(wanted=1, sent=1, answered=1).reconciles()  # an answer without a status


# --- latency ---


@given(st.lists(st.integers(0, 4_000_000_000), max_size=200), st.integers(1, 50))
def test_what_is_recorded_is_in_the_total_and_in_one_interval(values: list[int], chunk: int) -> None:
    recorder, intervals = Recorder(), 0
    for start in range(0, len(values), chunk):
        recorder.pending.extend(values[start : start + chunk])
        recorder.digest()
        if start % 3 == 0:
            intervals += recorder.interval().total_count
    intervals += recorder.interval().total_count
    assert recorder.total.total_count == intervals == len(values) == sum(recorder.buckets)
    found = quantiles(recorder.total)
    assert found.count == len(values)
    assert (found.mean or 0.0) == recorder.total.get_mean_value() / 1e6
    if values:
        top = min(max(values), 3_600_000_000) / 1e6
        assert found.max == pytest.approx(top, rel=0.002, abs=2e-6)
        assert found.p50 is not None
        assert found.p99_9 is not None
        assert found.p50 <= found.p99_9 <= top * 1.001 + 2e-6


@given(st.dictionaries(st.integers(1, 2047), st.integers(1, 1000), min_size=1))
def test_the_quick_way_to_percentiles_gives_the_same(counts: dict[int, int]) -> None:
    recorder = Recorder()
    recorder.count(Counter(counts))
    slow, quick = quantiles(recorder.interval()), quantiles_of(counts)
    assert quick.model_dump() == pytest.approx(slow.model_dump(), rel=1e-9)
    assert quantiles_of({}) == Quantiles()


@given(st.dictionaries(st.integers(1, 2047), st.integers(1, 3000), min_size=1))
def test_a_percentile_is_the_least_value_that_so_many_are_not_above(counts: dict[int, int]) -> None:
    found, count = quantiles_of(counts), sum(counts.values())
    for told, thousandths in ((found.p50, 500), (found.p90, 900), (found.p99, 990), (found.p99_9, 999)):
        value = round((told or 0) * 1e6)
        assert 1000 * sum(often for each, often in counts.items() if each <= value) >= thousandths * count
        assert 1000 * sum(often for each, often in counts.items() if each < value) < thousandths * count


def test_percentiles_to_three_digits() -> None:
    recorder = Recorder()
    recorder.pending.extend(range(1, 100_001))
    found = quantiles(recorder.interval())
    assert (found.p50, found.p95, found.p99) == pytest.approx((0.05, 0.095, 0.099), rel=0.001)


def test_an_interval_is_gone_when_it_is_written_down() -> None:
    """A run lasts for hours, and its garbage collector hardly ever works: four a second would fill the memory."""
    recorder = Recorder()
    recorder.pending.append(17)
    gc.disable()
    try:
        values = recorder.interval()
        assert values.encode()
        kept = weakref.ref(values)
        del values
        assert kept() is None
    finally:
        gc.enable()


# --- the verdict ---


@pytest.mark.parametrize(
    ("accounts", "p99", "stalled", "part"),
    [
        (GOOD, 0.01, 0.0, None),
        (GOOD, None, 0.0, None),
        (GOOD, 0.06, 0.0, "p99 of the lag is 60.0 ms"),
        (GOOD, 0.01, 0.5, "stood still for 0.5 of 2.0 s"),
        (Accounts(wanted=1000, sent=990, shed=Counter(late=10)), 0.01, 0.0, None),
        (Accounts(wanted=1000, sent=989, shed=Counter(late=11)), 0.01, 0.0, "too slow or too busy"),
        (Accounts(wanted=1000, sent=900, shed=Counter(connections=100)), 0.01, 0.0, "--max-connections"),
        (Accounts(wanted=1000, sent=0, shed=Counter(credit=1000)), None, 0.0, None),  # withheld is as it should be
    ],
)
def test_a_run_whose_sender_lagged_is_invalid(
    accounts: Accounts, p99: float | None, stalled: float, part: str | None
) -> None:
    found = faults(PLAN, accounts, Quantiles(p99=p99), stalled, 2.0)
    assert not found if part is None else part in found[0]


def a_second(number: int, lag: float | None, wanted: int = 100, late: int = 0) -> Second:
    return Second(start=number, end=number + 1, wanted=wanted, shed={"late": late}, lag=Quantiles(p99=lag))


BAD, FINE, LATE, IDLE = (0.06, 100, 0), (0.01, 100, 0), (0.01, 100, 2), (None, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "longest"),
    [
        ([], 0),
        ([FINE, (0.05, 100, 1)], 0),  # both bounds are met
        ([BAD] * 3 + [FINE] + [BAD] * 2, 3),
        ([BAD, LATE, BAD], 3),
        ([BAD, IDLE, IDLE, BAD], 4),
        ([BAD, IDLE, IDLE], 1),
    ],
)
def test_how_long_the_schedule_was_not_kept(seconds: list[tuple[float | None, int, int]], longest: float) -> None:
    found = Lateness(PLAN, (a_second(number, *each) for number, each in enumerate(seconds)))
    assert found.longest == longest


def test_a_bad_minute_makes_a_run_of_hours_invalid() -> None:
    def found(lagging: float) -> list[str]:
        return faults(PLAN, Accounts(wanted=10**6, sent=10**6), Quantiles(p99=0.001), 0.0, 36_000.0, lagging=lagging)

    assert found(10.0) == []
    assert "lagged for 60 s in a row" in found(60.0)[0]


def test_a_run_that_kept_its_schedule_only_by_waiting_for_connections_is_invalid() -> None:
    def found(crowded: int) -> list[str]:
        return faults(PLAN, Accounts(wanted=1000, sent=1000), Quantiles(p99=0.0), 0.0, 2.0, crowded)

    assert found(10) == []
    assert "waited for a free connection" in found(11)[0]


@pytest.mark.parametrize(
    ("stop", "invalid", "accounts", "code"),
    [
        ("ended", [], GOOD, Exit.DONE),
        ("ended", ["lag"], GOOD, Exit.INVALID),
        ("ended", [], Accounts(wanted=1, sent=1, errors=Counter(refused=1)), Exit.FAILED),
        ("lever", ["lag"], GOOD, Exit.LEVER),
        ("signal-lost", [], GOOD, Exit.SIGNAL_LOST),
        ("interrupted", ["lag"], GOOD, Exit.INTERRUPTED),
        ("failed", [], GOOD, Exit.FAILED),
    ],
)
def test_exit_codes(stop: Stop, invalid: list[str], accounts: Accounts, code: Exit) -> None:
    assert exit_code(stop, invalid, accounts) == code


# --- the watch ---


def test_the_watch_tells_changes_once_and_gives_up_only_when_all_are_silent() -> None:
    vigil = Vigil(2, patience_ns=100)
    assert vigil.look([], 0) == Change([], [], False)
    assert vigil.look(["a"], 10) == Change(["a"], [], False)
    assert vigil.look(["a"], 500) == Change([], [], False)  # b still grants
    assert vigil.look(["a", "b"], 510) == Change(["b"], [], False)
    assert vigil.look(["a", "b"], 610) == Change([], [], False)
    assert vigil.look(["b"], 611) == Change([], ["a"], False)
    assert vigil.look(["a", "b"], 700) == Change(["a"], [], False)
    assert vigil.look(["a", "b"], 801) == Change([], [], True)


def test_without_a_sidecar_nothing_is_missed() -> None:
    assert Vigil(0, 100).look([], 10**12) == Change([], [], False)


# --- the folder ---


def test_a_journal_line_is_there_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "run", PLAN)
    folder.note("start", 5.0, of="live", ceiling=Share.parse("25%"))
    (line,) = (folder.path / "journal.jsonl").read_text().splitlines()
    assert json.loads(line) | {"elapsed": 0} == {
        "at": 5.0,
        "elapsed": 0,
        "event": "start",
        "of": "live",
        "ceiling": "25%",
    }
    folder.finish(report())
    assert read_report(folder.path) == report()
    assert not list(folder.path.glob("*.part"))


def test_run_ids_sort_by_time_and_fit_into_a_tag() -> None:
    ids = [new_run_id(moment) for moment in (0, 1_795_294_985, 1_795_294_986)]
    assert ids == sorted(ids)
    assert ids[1].startswith("20261121-210305-")
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in ids)


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(UserError, match="can't be written"):
        Folder(tmp_path / "runs", "run", PLAN)


def test_what_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(UserError, match="not the report of a run"):
        read_report(tmp_path)


# --- what people see ---


def test_a_line_now_and_then_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=200)
    observer = Observer(Unbounded())
    with shown(console) as show:
        for second in range(1, 11):
            accounts = Accounts(wanted=100 * second, sent=100 * second)
            show(observer.observe(accounts, second, 1.0, 10 - second, 0.0123, set()))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 3
    assert lines[0].split("  ")[:4] == ["0:01", "sent 100.0/s", "wanted 100.0/s", "p95 12.3 ms"]


def test_a_terminal_is_drawn_in_place() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with shown(console) as show:
        show(Observer(Unbounded()).observe(Accounts(wanted=5, sent=5), 1, 1.0, 9, None, {"http://gone"}))
    assert "no signal from http://gone" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_others_wrote_is_shown_as_it_is() -> None:
    """It may look like markup, and must not break the end of a run."""
    odd = "see [/ticket-5] [red]now"
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with shown(console) as show:
        show(Observer(Unbounded()).observe(Accounts(), 1, 1.0, 9, None, {odd}))
    found = report(reason=odd, run=odd, damage=[odd] * 7, reasons={"tls": odd}, invalid_because=[odd])
    console.print(summary(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count(odd) >= 1 + 3 + 5 + 1
    assert "and 2 more" in text


def test_what_others_wrote_moves_no_terminal() -> None:
    odd = "a\x1b]0;title\x07b\x9b2Jc\u202ed"
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    found = report(reason=odd, run=odd, damage=[odd], reasons={"http2": odd}, invalid_because=[odd])
    limit = Bottleneck(what="sender", reason=odd)
    console.print(summary(found.model_copy(update={"bottleneck": limit})))
    snapshot = Observer(Unbounded()).observe(Accounts(), 1, 1.0, 9, None, {odd})
    console.print(one_line(snapshot), markup=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count(r"a\x1b]0;title\x07b\x9b2Jc\u202ed") >= 6
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_of_two_sidecars_one_may_be_lost() -> None:
    ceiling = Ceiling([Source("http://a", Share(1)), Source("http://b", Share(1))])
    notes = [
        Observer(ceiling).observe(Accounts(), 1, 1.0, 9, None, lost).note
        for lost in (set[str](), {"http://a"}, {"http://a", "http://b"})
    ]
    assert notes == [
        "",
        "no signal from http://a: nothing on its account is sent",
        "no signal from http://a, http://b: nothing is sent",
    ]


def test_at_the_end_the_last_answers_are_waited_for_and_told_of_at_the_usual_interval() -> None:
    console = Console(file=io.StringIO(), width=200)
    with shown(console) as show:
        for second in range(1, 21):
            show(Observer(Unbounded()).observe(Accounts(in_flight=3), second, 1.0, 0, None, set(), ended=True))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4
    assert lines[0].endswith("waiting for the last answers: 3")


def test_a_rate_of_a_moment_is_not_told() -> None:
    for seconds, told in ((0.05, False), (2.0, True)):
        console = Console(file=io.StringIO(), width=160)
        console.print(summary(report(seconds=seconds)))
        assert ("/s" in console.file.getvalue()) == told  # type: ignore[attr-defined]


def test_a_report_that_can_not_be_written_fails_the_run(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "run", PLAN)
    (folder.path / "report.json.part").mkdir()  # in the way
    ended = folder.finish(report())
    assert "report.json: it can't be written" in ended.unwritten[0]
    assert ended.exit_code == Exit.FAILED


def test_tables_show_what_strangers_made_as_it_is() -> None:
    evil = "[red]/[/red][link=http://x]a[/link]"
    worse = Shift(figure="p50", before=0.001, after=0.004, change=4.0, low=3.0, high=5.0, p=0.0, verdict="worse")
    noise = Shift(figure="failed", before=0.0, after=0.01, change=0.01, low=-0.1, high=0.1, p=0.5, verdict="noise")
    many = [
        RouteReport(
            method="GET", template=f"{evil}{n}", wanted=9, allowed=9, sent=9, answered=9, withheld=0, shed={},
            statuses={200: 9}, errors={}, failed=0.01, bytes_received=1, latency=Quantiles(p50=0.004),
            service=Quantiles(p50=0.004), changes=[worse, noise],
        )
        for n in range(30)
    ]  # fmt: skip
    found = Found(what=evil, differing=9, noise=0, p=0, adjusted=0, verdict="differs")
    compared = Differences(
        aspects=["json"], against=evil, sent=1, compared=9, failed={evil: 2}, without_credit=1,
        routes=[RouteDifferences(method="GET", template=evil, compared=9, found=[found])],
    )  # fmt: skip
    runs = Comparison(
        before=evil, after="b", differences=[],
        routes=[RouteComparison(method="GET", template=evil, after=many[0], changes=[worse])],
    )  # fmt: skip
    limit = Bottleneck(what="sender", reason=evil)
    console = Console(file=io.StringIO(), width=200)
    console.print(summary(report(bottleneck=limit)))
    console.print(routes(report(routes=many)))
    console.print(differences(compared))
    console.print(comparison(runs))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count(evil) >= 20 + 5
    for part in (
        "the sender: ",
        "4 ms",
        "4.00x",
        "+1.00 pp ~",
        "and 10 more",
        "in 9 of 9, noise 0",
        "without credit: 1",
    ):
        assert part in text, part


def test_a_table_of_routes_fits_into_80_columns(ended_report: Report) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(routes(ended_report))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= 80 for line in lines)
    head = next(line for line in lines if "sent" in line and "failed" in line)
    assert head.split() == ["route", "sent", "failed", "p50", "p95", "p99", "p99.9"]
    (row,) = (line for line in lines if "12.3" in line and "%" in line)
    assert row.split() == ["GET", "/item/{id}/more", "123456", "12.3%", "20.3", "ms", "20.3", "ms", "20.3", "ms",
                           "20.3", "ms"]  # fmt: skip


@pytest.fixture
def ended_report() -> Report:
    times = Quantiles(p50=0.0203, p95=0.0203, p99=0.0203, p99_9=0.0203)
    shifts = [
        Shift(figure=figure, before=0.0043, after=0.0203, change=4.72, low=3.0, high=5.0, p=0.5, verdict="noise")
        for figure in ("failed", "p50", "p95", "p99")
    ]
    route = RouteReport(
        method="GET", template="/item/{id}/more", wanted=9, allowed=9, sent=123456, answered=9, withheld=0, shed={},
        statuses={200: 9}, errors={}, failed=0.123, bytes_received=1, latency=times, service=times, changes=shifts,
    )  # fmt: skip
    return report(routes=[route])


def test_one_line_and_summary_say_what_is_wrong() -> None:
    snapshot = Observer(Unbounded()).observe(GOOD, 61, 1.0, 9, 0.002, {"http://gone"})
    assert one_line(snapshot).startswith("1:01  ")
    assert "  failed 1  " in one_line(snapshot)
    assert one_line(snapshot).endswith("no signal from http://gone: nothing is sent")
    console = Console(file=io.StringIO(), width=160)
    console.print(summary(report(valid=False, invalid_because=["the sender lagged"], exit_code=93)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("exit code 93", "the sender lagged", "credit: 2", "200: 7, 500: 1", "reconcile"):
        assert part in text
