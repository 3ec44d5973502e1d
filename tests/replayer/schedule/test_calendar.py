"""When a run may run: tables over the hours in which clocks are set, and a property against looking at each minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replayer.schedule.calendar import DAYS, Calendar, Window, rejoined
from rules.units import UnitError

LONDON, NEW_YORK = "Europe/London", "America/New_York"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def calendar(*windows: str, denied: tuple[str, ...] = (), holidays: tuple[str, ...] = ()) -> Calendar:
    return Calendar(map(Window.parse, windows), map(Window.parse, denied), map(date.fromisoformat, holidays))


def openings(found: Calendar, since: str, until: str) -> list[tuple[str, str]]:
    """From when until when it is open (UTC), by walking from turn to turn."""
    spans, at, end = [], utc(since), utc(until)
    while (opens := found.opens(at)) is not None and opens < end:
        closes = found.closes(opens)
        at = min(closes or end, end)
        spans.append((f"{opens:%a %H:%M}", f"{at:%a %H:%M}"))
        if at == end:
            break
    return spans


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Sat,Sun 02:00-05:00 Europe/London", "Sat,Sun 02:00-05:00 Europe/London"),
        ("mon - fri 22:00 - 4:00 UTC", "Mon-Fri 22:00-04:00 UTC"),
        ("daily 0:00-24:00 America/New_York", "daily 00:00-24:00 America/New_York"),
        ("Fri-Mon 10:00-11:00 UTC", "Mon,Fri-Sun 10:00-11:00 UTC"),
        ("saturday, Tues 1:30-2:00 Asia/Kolkata", "Tue,Sat 01:30-02:00 Asia/Kolkata"),
        ("Mon,Wed-Fri 20:00-24:00 UTC", "Mon,Wed-Fri 20:00-24:00 UTC"),
    ],
)
def test_windows_are_read_and_printed(text: str, printed: str) -> None:
    window = Window.parse(text)
    assert str(window) == printed
    assert Window.parse(printed) == window


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a window: write it like 'Sat,Sun 02:00-05:00 Europe/London'"),
        ("weekends", "is not a window: write it like"),
        ("02:00-05:00 UTC", "it says no days ('daily' is all of them)"),
        ("Sat 02:00-05:00", "say whose time it is, by a time zone after it: UTC, or a place like Europe/London"),
        ("Sat 02:00-05:00 Europe/Londn", "'Europe/Londn' is not a time zone: did you mean Europe/London"),
        ("Sat 02:00-05:00 london", "did you mean Europe/London"),
        ("Sat 02:00-05:00 EUROPE/LONDON", "did you mean Europe/London"),
        ("Sat 02:00-05:00 xyzzyx", "is not a time zone: write UTC, or a place like Europe/London"),
        ("Sat 02:00-05:00 ../../etc/passwd", "is not a time zone"),
        ("Sta 02:00-05:00 UTC", "'Sta' is no day (did you mean Sat?)"),
        ("T 02:00-05:00 UTC", "'T' is no day"),
        ("Mon-Wed-Fri 02:00-05:00 UTC", "'Mon-Wed-Fri' are no days"),
        ("Sat 02:00-25:00 UTC", "'25:00' is not a time of the day"),
        ("Sat 02:00-24:01 UTC", "'24:01' is not a time of the day"),
        ("Sat 02:60-03:00 UTC", "'02:60' is not a time of the day"),
        ("Sat 2-5 UTC", "'2' is not a time of the day: write it like 02:00"),
        ("Sat 02:00-02:00 UTC", "all day is 00:00-24:00"),
        ("Sat 24:00-02:00 UTC", "midnight at the beginning is 00:00"),
    ],
)
def test_mistakes_are_told_with_how_to_write_it(text: str, words: str) -> None:
    with pytest.raises(UnitError) as told:
        Window.parse(text)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("window", "since", "until", "spans"),
    [
        # The clocks in London go forward on Sunday 2026-03-29 at 01:00 UTC (01:00 to 02:00 BST),
        # and back on Sunday 2026-10-25 at 01:00 UTC (02:00 BST to 01:00 GMT).
        pytest.param("daily 01:15-01:45", "2026-03-29", "2026-03-30", [], id="a time that is skipped never comes"),
        pytest.param(
            "daily 01:30-03:00", "2026-03-29", "2026-03-30", [("Sun 01:00", "Sun 02:00")],
            id="begins in what is skipped",
        ),
        pytest.param(
            "daily 00:30-01:30", "2026-03-29", "2026-03-29T12:00", [("Sun 00:30", "Sun 01:00")],
            id="ends in what is skipped",
        ),
        pytest.param(
            "daily 00:00-04:00", "2026-03-29", "2026-03-30", [("Sun 00:00", "Sun 03:00"), ("Sun 23:00", "Mon 00:00")],
            id="an hour less",
        ),
        pytest.param(
            "daily 01:00-01:30", "2026-10-25", "2026-10-26", [("Sun 00:00", "Sun 00:30"), ("Sun 01:00", "Sun 01:30")],
            id="a time that comes twice opens twice",
        ),
        pytest.param(
            "daily 00:30-01:30", "2026-10-24T20:00", "2026-10-26",
            [("Sat 23:30", "Sun 00:30"), ("Sun 01:00", "Sun 01:30")], id="ends in what comes twice",
        ),
        pytest.param(
            "daily 01:30-03:00", "2026-10-25", "2026-10-26", [("Sun 00:30", "Sun 01:00"), ("Sun 01:30", "Sun 03:00")],
            id="begins in what comes twice",
        ),
        pytest.param(
            "Sat 22:00-04:00", "2026-10-24", "2026-10-26", [("Sat 21:00", "Sun 04:00")],
            id="an hour more, over midnight",
        ),
        pytest.param("Sat 23:00-24:00", "2026-11-28", "2026-11-30", [("Sat 23:00", "Sun 00:00")], id="until midnight"),
        pytest.param(
            "Sat,Sun 00:00-24:00", "2026-11-27", "2026-12-01", [("Sat 00:00", "Mon 00:00")], id="one day to the next"
        ),
        pytest.param("Sun 23:00-01:00", "2026-11-28", "2026-12-01", [("Sun 23:00", "Mon 01:00")], id="over the week"),
    ],
)  # fmt: skip
def test_windows_over_the_hours_in_which_clocks_are_set(
    window: str, since: str, until: str, spans: list[tuple[str, str]]
) -> None:
    assert openings(calendar(f"{window} {LONDON}"), since, until) == spans


def test_what_is_denied_wins() -> None:
    found = calendar("daily 00:00-24:00 UTC", denied=(f"Mon-Fri 09:00-17:00 {NEW_YORK}", "Sat 00:00-24:00 UTC"))
    assert openings(found, "2026-11-27T12:00", "2026-11-30") == [("Fri 12:00", "Fri 14:00"), ("Fri 22:00", "Sat 00:00"),
                                                                 ("Sun 00:00", "Mon 00:00")]  # fmt: skip
    assert "--not-window Mon-Fri 09:00-17:00 America/New_York forbids it" in found.why_not(utc("2026-11-27T15:00"))


def test_without_an_allowed_window_all_is_allowed_that_is_not_denied() -> None:
    assert openings(calendar(denied=("daily 08:00-20:00 UTC",)), "2026-11-27", "2026-11-28") == [
        ("Fri 00:00", "Fri 08:00"),
        ("Fri 20:00", "Sat 00:00"),
    ]
    assert Calendar().open(utc("2026-11-27"))
    assert Calendar().closes(utc("2026-11-27")) is None
    assert not Calendar()


def test_no_run_on_a_holiday_from_midnight_to_midnight_there() -> None:
    """Also of a window that began the evening before, and not of what follows on the day after."""
    found = calendar("daily 22:00-04:00 Asia/Tokyo", holidays=("2026-11-28",))  # 15:00 UTC is midnight in Tokyo
    assert openings(found, "2026-11-27", "2026-11-29T12:00") == [("Fri 13:00", "Fri 15:00"), ("Sat 15:00", "Sat 19:00")]
    assert "a day that --holidays names" in found.why_not(utc("2026-11-27T18:00"))


def test_a_holiday_in_one_place_is_none_where_it_is_still_the_day_before() -> None:
    """Whichever of two windows that both hold is written first."""
    windows = ["daily 00:00-24:00 Asia/Tokyo", f"daily 00:00-24:00 {NEW_YORK}"]
    for order in (windows, windows[::-1]):
        found = calendar(*order, holidays=("2026-11-28",))
        assert openings(found, "2026-11-27", "2026-11-30") == [("Fri 00:00", "Sat 05:00"), ("Sat 15:00", "Mon 00:00")]
    found = calendar(windows[0], f"daily 00:00-12:00 {NEW_YORK}", holidays=("2026-11-28",))
    assert openings(found, "2026-11-27T12:00", "2026-11-28T18:00") == [
        ("Fri 12:00", "Fri 17:00"),
        ("Sat 15:00", "Sat 18:00"),
    ]


def test_the_next_opening_is_told_in_the_time_of_the_place() -> None:
    found = calendar(f"Sat,Sun 02:00-05:00 {LONDON}")
    assert found.next_opening(utc("2026-10-21T10:00")) == (
        "the next window opens Sat 2026-10-24 02:00 BST (Europe/London), in 2d15h"
    )
    assert found.why_not(utc("2026-10-21T10:00")) == (
        "it is Wed 2026-10-21 11:00 BST (Europe/London), outside of --window Sat,Sun 02:00-05:00 Europe/London"
    )
    never = calendar("Sat 02:00-05:00 UTC", denied=("Sat 00:00-24:00 UTC",))
    assert never.next_opening(utc("2026-10-21T10:00")) == "no window opens in the next 400 days"


def test_what_the_environment_split_at_commas_is_put_together_again() -> None:
    assert rejoined(["Sat", "Sun 02:00-05:00 UTC", "daily 10:00-11:00 UTC"]) == [
        "Sat,Sun 02:00-05:00 UTC",
        "daily 10:00-11:00 UTC",
    ]
    assert rejoined(["Sat"]) == ["Sat"]
    assert rejoined([]) == []


# --- against looking at the clock there, minute by minute ---

_minute = st.integers(0, 24 * 60 - 1)
_windows = st.builds(
    lambda days, begin, length, zone: (days, begin, (begin + length) % 1440, zone),
    st.frozensets(st.integers(0, 6), min_size=1),
    _minute,
    st.integers(1, 1439),
    # Lord Howe is set by half an hour, Kolkata never; in Casablanca it goes back in spring.
    st.sampled_from([LONDON, NEW_YORK, "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "UTC"]),
)
_lists = st.lists(_windows, max_size=2)


def plainly_open(
    at: datetime, allowed: list[tuple[frozenset[int], int, int, str]],
    denied: list[tuple[frozenset[int], int, int, str]], holidays: frozenset[date],
) -> bool:  # fmt: skip
    """What a person would say who looks at the clocks."""

    def shown(window: tuple[frozenset[int], int, int, str]) -> tuple[bool, date]:
        days, begin, end, zone = window
        local = at.astimezone(ZoneInfo(zone))
        minute = local.hour * 60 + local.minute
        of_today = range(begin, end if end > begin else 1440)
        of_yesterday = range(end if end <= begin else 0)
        inside = (local.weekday() in days and minute in of_today) or (
            (local.date() - timedelta(days=1)).weekday() in days and minute in of_yesterday
        )
        return inside, local.date()

    if any(shown(window)[0] for window in denied):
        return False
    return not allowed or any(inside and day not in holidays for inside, day in map(shown, allowed))


@given(
    st.sampled_from(["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31", "2026-02-14"]),
    _minute,
    _lists,
    _lists,
    st.frozensets(st.sampled_from([date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1)]), max_size=2),
)
@example("2026-10-24", 0, [(frozenset({6}), 60, 90, LONDON)], [], frozenset())
def test_openings_are_what_looking_at_every_minute_finds(
    day: str, minute: int, allowed: list[tuple[frozenset[int], int, int, str]],
    denied: list[tuple[frozenset[int], int, int, str]], holidays: frozenset[date],
) -> None:  # fmt: skip
    def window(given: tuple[frozenset[int], int, int, str]) -> Window:
        days, begin, end, zone = given
        first, last = (f"{each // 60:02d}:{each % 60:02d}" for each in (begin, end))
        return Window.parse(f"{','.join(DAYS[each] for each in days)} {first}-{last} {zone}")

    found = Calendar(map(window, allowed), map(window, denied), holidays)
    start, seen = utc(day) + timedelta(minutes=minute), []
    for step in range(1800):  # thirty hours from then, over the night in which the clocks are set
        seen.append(plainly_open(start + timedelta(minutes=step), allowed, denied, holidays))
    end = start + timedelta(minutes=len(seen))
    at, step = start, 0
    while at < end:
        now_open = seen[step]
        assert found.open(at) is now_open
        assert (found.opens(at) == at) is now_open
        turn = (found.closes if now_open else found.opens)(at)
        there = next((n for n in range(step, len(seen)) if seen[n] is not now_open), None)
        if there is None:
            assert turn is None or turn >= end
            return
        assert turn == start + timedelta(minutes=there)
        at, step = turn, there
