"""Times as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import moments
from captures.moments import SECOND, Span, moment, parse, span
from tests.captures.making import MS, NOON

HOUR = 3600 * SECOND
BEGIN, END = NOON + HOUR // 2, NOON + 3 * HOUR  # 12:30 to 15:00


@given(st.integers(0, 4 * 10**18))
def test_moments_go_there_and_back(at: int) -> None:
    assert parse(moments.iso(at)) == at // MS * MS
    assert parse(moments.iso_ns(at)) == at // 1000 * 1000, "the standard library reads microseconds"
    assert parse(f"{at // SECOND}.{at % SECOND:09d}") == at


def test_moments_beyond_the_calendar_are_still_printed() -> None:
    assert moments.iso(2**63 - 1).startswith("2262-")
    assert moments.iso(10**30).endswith("s")
    assert moments.iso_ns(-1) == "-1.999999999s"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-15m", END - HOUR // 4),
        ("-1h30m", END - HOUR * 3 // 2),
        ("-0s", END),
        ("+250ms", BEGIN + 250 * MS),
        ("14:02", NOON + 2 * HOUR + 120 * SECOND),
        (" 14:02:03.5 ", NOON + 2 * HOUR + 123 * SECOND + 500 * MS),
        ("9:00", NOON - 3 * HOUR),
        ("2026-11-21T13:00:00Z", NOON + HOUR),
        ("2026-11-21 14:00+01:00", NOON + HOUR),
        ("2026-11-21", NOON - 12 * HOUR),
        ("1795262400", NOON),
        ("1795262400.25", NOON + 250 * MS),
        ("1795262400250", NOON + 250 * MS),
        ("1795262400250000", NOON + 250 * MS),
        ("1795262400250000001", NOON + 250 * MS + 1),
        ("0", 0),
        ("1969-12-31T23:59:59Z", -SECOND),
    ],
)
def test_times_in_a_capture(text: str, expected: int) -> None:
    assert moment(text, BEGIN, END) == expected


def test_a_time_of_day_after_midnight_is_found_in_a_capture_over_midnight() -> None:
    begin = int(datetime(2026, 11, 21, 23, 50, tzinfo=UTC).timestamp()) * SECOND
    end = begin + HOUR
    assert moment("0:15", begin, end) == begin + 25 * 60 * SECOND
    assert moment("23:55", begin, end) == begin + 5 * 60 * SECOND
    assert moment("23:40", begin, end) == begin - 10 * 60 * SECOND, "before it, and not a day later"
    assert moment("1:00", begin, end) == begin - 22 * HOUR - 50 * 60 * SECOND, "the next day's is after it"


@pytest.mark.parametrize(
    ("text", "hour"),
    [("23:30Z", 23.5), ("0:30+01:00", 23.5), ("00:10+0100", 23 + 1 / 6), ("18:30-05:00", 23.5), ("05:15+05:30", 23.75)],
)
def test_a_time_of_day_may_be_of_another_clock(text: str, hour: float) -> None:
    """It is of the day which that clock shows when the capture begins."""
    day = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * SECOND
    begin, end = day + 23 * HOUR, day + 24 * HOUR
    assert moment(text, begin, end) == day + round(hour * HOUR / SECOND) * SECOND


@pytest.mark.parametrize("text", ["", "-", "-15", "+x", "yesterday", "25:00", "14:60", "--15m", "12345678901"])
def test_what_is_no_time_is_told_with_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: write it like"):
        moment(text, BEGIN, END)


def test_a_time_over_midnight_ends_on_the_next_day() -> None:
    day = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * SECOND
    late, names = day - 10 * 60 * SECOND, ("--from", "--to")

    def asked(since: str | None, until: str, first_ns: int, hours: float) -> Span:
        return span(since, until, first_ns, first_ns + round(hours * HOUR), names)

    from_to = Span(late + 5 * 60 * SECOND, day + 10 * 60 * SECOND)
    assert asked("23:55", "00:10", late, 0.5) == from_to
    assert asked("23:55", "00:10", late, 0.25) == from_to, "though the capture ends before"
    assert asked("23:55", "00:10", day - 24 * HOUR, 48) == from_to, "though there is such a time on the first day, too"
    assert asked("00:55+01:00", "01:10+01:00", late, 0.25) == from_to
    assert asked(None, "00:10", late, 0.25) == Span(None, from_to.end_ns)
    with pytest.raises(ValueError, match=r"--from .* has to lie before --to"):
        asked("14:31", "14:02", day, 24)
    with pytest.raises(ValueError, match=r"--from .* has to lie before --to"):
        asked("23:55", "2026-11-21T00:10Z", late, 0.5)
    with pytest.raises(ValueError, match="--to: 'x' is not a time"):
        asked("23:55", "x", late, 0.5)
