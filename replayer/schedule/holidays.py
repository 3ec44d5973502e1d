"""Days on which nothing runs, from a file: one date a line, or an iCalendar file. Pure: text comes in, dates go out.

    2026-12-25   # Christmas Day
    2026-12-26

An iCalendar file (RFC 5545) is what calendars export and what governments publish. Every day that an event of it
touches is a holiday, whole, whatever the event's hours are; what recurs is expanded; what was cancelled does not count.
"""

from datetime import date, datetime, timedelta
from typing import Any

from rules.units import UnitError

MOST_BYTES = 1 << 20
"""A file with the holidays of a century has some hundred KiB."""

MOST_EVENTS = 5000
"""Of a calendar, within the time that is looked at: there are not that many holidays, and each takes memory."""

_CHUNK = timedelta(days=100)

AHEAD = timedelta(days=800)
BEHIND = timedelta(days=40)
"""How much of what recurs is expanded around now. A run is over before, and so is the search for the next opening."""


def holidays(text: str, now: date) -> frozenset[date]:
    """Read a file's days. Raises UnitError that says what is wrong with which line.

    Of an iCalendar file those from `BEHIND` before `now` to `AHEAD` after it.
    """
    if text.lstrip("\ufeff \t\r\n")[:15].upper() == "BEGIN:VCALENDAR":
        return _of_icalendar(text, now)
    found = set()
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        try:
            found.add(datetime.strptime(written, "%Y-%m-%d").date())  # noqa: DTZ007 - a day, wherever
        except ValueError:
            raise UnitError(
                f"line {number}: {written[:40]!r} is not a date: write one a line, like 2026-12-25, with what it is "
                "after a #; or name an iCalendar file (.ics)"
            ) from None
    return frozenset(found)


def _of_icalendar(text: str, now: date) -> frozenset[date]:
    import recurring_ical_events  # noqa: PLC0415 - a tenth of a second that most runs do not need
    from icalendar import Calendar  # noqa: PLC0415

    first, last, found, count = now - BEHIND, now + AHEAD, set[date](), 0
    try:
        calendar = Calendar.from_ical(text)
        for rule in (event["RRULE"] for event in calendar.walk("VEVENT") if "RRULE" in event):
            _check_rule(rule)
        events = recurring_ical_events.of(calendar)
        since = first
        while since <= last:  # piece by piece, so that what has no end is found out early
            for event in events.between(since, since + _CHUNK):
                count += 1
                found |= _days_of(event, first, last)
            _check_count(count)
            since += _CHUNK
    except UnitError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise UnitError(f"it can't be read as an iCalendar file: {str(error)[:200]}") from None
    return frozenset(found)


def _check_count(count: int) -> None:
    if count > MOST_EVENTS:
        raise UnitError(f"it has more than {MOST_EVENTS} events in {(BEHIND + AHEAD).days} days: is it of holidays?")


def _check_rule(rule: Any) -> None:
    """Refuse what recurs more often than a day has an end: expanded, it would never end either."""
    for each in rule if isinstance(rule, list) else [rule]:
        often = str((each.get("FREQ") or [""])[0]).upper()
        if often in ("SECONDLY", "MINUTELY", "HOURLY") or any(f"BY{part}" in each for part in _FINE):
            raise UnitError("an event of it recurs within a day, which no holiday does")


_FINE = ("HOUR", "MINUTE", "SECOND")


def _days_of(event: Any, first: date, last: date) -> set[date]:
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return set()
    begin = event["DTSTART"].dt
    end = event["DTEND"].dt if "DTEND" in event else begin
    since, until = _day(begin), _day(end)
    # An end is not part of its event: midnight, or the day after the last one.
    if until > since and (not isinstance(end, datetime) or (end.hour, end.minute, end.second) == (0, 0, 0)):
        until -= timedelta(days=1)
    since, until = max(since, first), min(until, last)
    return {since + timedelta(days=each) for each in range((until - since).days + 1)}


def _day(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment
