"""Days on which nothing runs, from lines and from calendars as others write them."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.schedule.holidays import AHEAD, holidays
from rules.units import UnitError

NOW = date(2026, 11, 22)


def ics(*events: str) -> str:
    body = "".join(
        f"BEGIN:VEVENT\nUID:{n}@x\nDTSTAMP:20200101T000000Z\n{e}\nEND:VEVENT\n" for n, e in enumerate(events)
    )
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//y//EN\n{body}END:VCALENDAR\n".replace("\n", "\r\n")


def found(*events: str) -> list[str]:
    return sorted(map(str, holidays(ics(*events), NOW)))


def test_dates_one_a_line_with_comments() -> None:
    text = "\ufeff# public holidays\n2026-12-25  # Christmas\n\n 2026-12-26\r\n2019-01-01\n"
    assert sorted(map(str, holidays(text, NOW))) == ["2019-01-01", "2026-12-25", "2026-12-26"]
    assert holidays("", NOW) == frozenset()


@pytest.mark.parametrize("line", ["25.12.2026", "2026-02-30", "Christmas", "2026-12-25 2026-12-26"])
def test_what_is_no_date_is_told_with_its_line(line: str) -> None:
    with pytest.raises(UnitError, match=r"line 2: .* is not a date: write one a line, like 2026-12-25"):
        holidays(f"2026-12-25\n{line}\n", NOW)


def test_days_of_a_calendar() -> None:
    assert found(
        "SUMMARY:Christmas\nDTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227",
        "SUMMARY:One day\nDTSTART;VALUE=DATE:20270101",
        "SUMMARY:Off\nSTATUS:CANCELLED\nDTSTART;VALUE=DATE:20270102",
        "SUMMARY:Sale\nDTSTART;TZID=Europe/London:20261127T180000\nDTEND;TZID=Europe/London:20261129T000000",
    ) == ["2026-11-27", "2026-11-28", "2026-12-25", "2026-12-26", "2027-01-01"]


def test_what_recurs_is_expanded_but_for_exceptions() -> None:
    assert found(
        "DTSTART;VALUE=DATE:20200501\nRRULE:FREQ=YEARLY",
        "DTSTART;VALUE=DATE:20261201\nRRULE:FREQ=WEEKLY;COUNT=3\nEXDATE;VALUE=DATE:20261208",
    ) == ["2026-12-01", "2026-12-15", "2027-05-01", "2028-05-01"]


def test_a_calendar_that_is_none_and_ones_that_never_end_are_refused() -> None:
    with pytest.raises(UnitError, match="can't be read as an iCalendar file"):
        holidays("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:2026\r\n", NOW)
    for rule in ("FREQ=SECONDLY", "FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=1,2,3"):
        with pytest.raises(UnitError, match="recurs within a day"):
            found(f"DTSTART:20261201T000000Z\nRRULE:{rule}")
    many = ["DTSTART;VALUE=DATE:20261123\nRRULE:FREQ=DAILY"] * 60
    with pytest.raises(UnitError, match="more than 5000 events"):
        found(*many)


def test_an_event_of_all_times_is_no_more_than_what_is_looked_at() -> None:
    days = holidays(ics("DTSTART;VALUE=DATE:19000101\nDTEND;VALUE=DATE:29981231"), NOW)
    assert max(days) == NOW + AHEAD
    assert len(days) < 900


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for whole in (text, f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:{text}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"):
        try:
            assert all(isinstance(each, date) for each in holidays(whole, NOW))
        except UnitError:
            continue


def test_the_day_after_a_holiday_is_none() -> None:
    days = holidays(ics("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261226"), NOW)
    assert days == {date(2026, 12, 25)}
    assert date(2026, 12, 25) + timedelta(days=1) not in days
