"""When a run may run: windows of the week, in the time of a place, and days on which nothing runs. Pure.

A window is judged as a person there would judge it, by the clock on the wall: it is open whenever that clock shows a
time between its begin and its end, on one of its days. So a time that is skipped when the clocks go forward never
comes, and one that comes twice when they go back counts twice: a window open from 01:00 to 01:30 opens twice that
night, and a window in which nothing may run closes twice.

Time zones are those of the IANA database, by `zoneinfo`, which takes the system's, or the package `tzdata`'s.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo, available_timezones

from rules.units import Duration, UnitError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

EXAMPLES = "'Sat,Sun 02:00-05:00 Europe/London', 'Mon-Fri 22:00-04:00 UTC' or 'daily 02:00-05:00 America/New_York'"

HORIZON = timedelta(days=400)
"""How far to look for the next opening: a window that does not open for more than a year never does."""

_MIDNIGHT = 24 * 60
"""Minutes."""


class Window(NamedTuple):
    """Days of the week, a begin and an end of the time there (minutes), and where "there" is.

    An end that is not after the begin is on the next day; the window belongs to the day on which it begins.
    """

    days: frozenset[int]
    """Monday is 0."""
    begin: int
    end: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``Sat,Sun 02:00-05:00 Europe/London``. Raises UnitError that says how to write one."""
        match = re.fullmatch(r"(\S.*?)\s+([0-9:]+)\s*(?:-|–)\s*([0-9:]+)(?:\s+(\S+))?", text.strip())  # noqa: RUF001
        if not match:
            missing = ""
            if re.match(r"[0-9]+:[0-9]+\s*-", text.strip()):
                missing = " it says no days ('daily' is all of them);"
            raise UnitError(f"{text!r} is not a window:{missing} write it like {EXAMPLES}")
        begin, end = _minutes(match[2], text), _minutes(match[3], text)
        if begin in (end, _MIDNIGHT):
            told = "all day is 00:00-24:00" if begin == end else "midnight at the beginning is 00:00"
            raise UnitError(f"{text!r} is not a window: {told}")
        if match[4] is None:
            raise UnitError(
                f"{text!r}: say whose time it is, by a time zone after it: UTC, or a place like Europe/London"
            )
        return cls(_days(match[1], text), begin, end, zone(match[4]))

    def holds(self, local: datetime) -> bool:
        """Tell whether it is open when the clock there shows `local`, and it is that day."""
        shown = local.hour * 60 + local.minute
        if self.begin < self.end:
            return local.weekday() in self.days and self.begin <= shown < self.end
        today, yesterday = local.weekday() in self.days, (local.weekday() - 1) % 7 in self.days
        return (today and shown >= self.begin) or (yesterday and shown < self.end)

    def __str__(self) -> str:
        ends = "24:00" if self.end == _MIDNIGHT else _clock(self.end)
        return f"{_told_days(self.days)} {_clock(self.begin)}-{ends} {self.zone.key}"


class Calendar:
    """When a run may run: in a window that allows it, if there are any, and in none that denies it."""

    def __init__(
        self, allowed: Iterable[Window] = (), denied: Iterable[Window] = (), holidays: Iterable[date] = ()
    ) -> None:
        """On `holidays` no window that allows anything is open: a day there, from midnight to midnight."""
        self.allowed, self.denied, self.holidays = tuple(allowed), tuple(denied), frozenset(holidays)

    def __bool__(self) -> bool:
        return bool(self.allowed or self.denied)

    def open(self, at: datetime) -> bool:
        """Tell whether a run may run at a moment."""
        return not self.why_not(at)

    def why_not(self, at: datetime) -> str:
        """Say why no run may run at a moment; empty if one may."""
        for window in self.denied:
            if window.holds(at.astimezone(window.zone)):
                return f"it is {told(at, window.zone)}, and --not-window {window} forbids it"
        local = {window: at.astimezone(window.zone) for window in self.allowed}
        held = [window for window in self.allowed if window.holds(local[window])]
        # A holiday in one place is none where it is still the day before.
        if not self.allowed or any(local[window].date() not in self.holidays for window in held):
            return ""
        if held:
            return f"it is {told(at, held[0].zone)}, a day that --holidays names"
        return f"it is {told(at, self.allowed[0].zone)}, outside of --window {' and '.join(map(str, self.allowed))}"

    def opens(self, at: datetime) -> datetime | None:
        """Give the first moment from `at` on at which a run may run (UTC); None: not within `HORIZON`."""
        return at if self.open(at) else next((each for each in self._turns(at) if self.open(each)), None)

    def closes(self, at: datetime) -> datetime | None:
        """Give the first moment from `at` on at which no run may run (UTC); None: not within `HORIZON`."""
        return next((each for each in self._turns(at) if not self.open(each)), None) if self.open(at) else at

    def next_opening(self, at: datetime) -> str:
        """Say when it opens next, for people."""
        opens = self.opens(at)
        if opens is None:
            return f"no window opens in the next {HORIZON.days} days"
        if opens == at:
            return "it is open now"
        return f"the next window opens {self.told(opens)}, in {ahead(opens - at)}"

    def told(self, at: datetime) -> str:
        """Write a moment in the time of the first window's place."""
        first = (self.allowed or self.denied)[:1]
        return told(at, first[0].zone if first else ZoneInfo("UTC"))

    def _turns(self, at: datetime) -> Iterator[datetime]:
        """Give every moment after `at` at which a window may open or close, in order; maybe others, too."""
        last = at + HORIZON
        windows = [*self.allowed, *self.denied]
        day = at.astimezone(UTC).date() - timedelta(days=1)
        before = at
        while before <= last:
            # What belongs to a day somewhere lies within a day and a half of it in UTC; sorted with its neighbours.
            found = {turn for window in windows for turn in _turns_of(window, day)}
            yield from sorted(turn for turn in found if turn > at)
            day += timedelta(days=1)
            before = datetime.combine(day, time(), UTC)


def _turns_of(window: Window, day: date) -> Iterator[datetime]:
    """Give the moments of a UTC day at which the clock there shows a begin, an end or midnight, or is set."""
    midnight = datetime.combine(day, time(), UTC)
    after = midnight + timedelta(days=1)
    for near in (day - timedelta(days=1), day, day + timedelta(days=1)):
        for minutes in {0, window.begin, window.end % _MIDNIGHT}:
            for fold in (0, 1):
                local = datetime.combine(near, time(*divmod(minutes, 60), fold=fold), window.zone)
                if midnight <= (turn := local.astimezone(UTC)) < after:
                    yield turn
    if (offset := midnight.astimezone(window.zone).utcoffset()) != after.astimezone(window.zone).utcoffset():
        low, high = 0, 24 * 3600
        while high - low > 1:
            middle = (low + high) // 2
            moment = midnight + timedelta(seconds=middle)
            low, high = (middle, high) if moment.astimezone(window.zone).utcoffset() == offset else (low, middle)
        yield midnight + timedelta(seconds=high)


def zone(name: str) -> ZoneInfo:
    """Give a time zone by its name in the IANA database. Raises UnitError with the names that are near."""
    names = _zones()
    if name in names:
        return ZoneInfo(name)
    lower = {each.lower(): each for each in sorted(names)}
    places = {each.rpartition("/")[2].lower(): each for each in sorted(names) if "/" in each}
    wanted = name.lower().replace(" ", "_")
    near = [lower[each] for each in difflib.get_close_matches(wanted, lower, 2, 0.75)]
    near += [places[each] for each in difflib.get_close_matches(wanted, places, 2, 0.8)]
    found = list(dict.fromkeys([*([lower[wanted]] if wanted in lower else []), *near]))[:3]
    hint = f": did you mean {' or '.join(found)}?" if found else ": write UTC, or a place like Europe/London"
    raise UnitError(f"{name!r} is not a time zone{hint}")


def told(at: datetime, where: ZoneInfo) -> str:
    """Write a moment in the time of a place: ``Sat 2026-11-28 02:00 GMT (Europe/London)``."""
    local = at.astimezone(where)
    name = local.strftime("%Z")
    short = f" {name}" if name != where.key and not name.startswith(("+", "-")) else ""
    return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}{short} ({where.key})"


def ahead(span: timedelta) -> str:
    """Write how long it is until something, in minutes: ``4d13h5m``."""
    return str(Duration(max(60, -(-span.total_seconds() // 60) * 60)))


def rejoined(texts: Iterable[str]) -> list[str]:
    """Put together again what was split at the commas between days, as the environment's lists are."""
    found: list[str] = []
    days = ""
    for text in texts:
        days += f",{text.strip()}" if days else text.strip()
        if ":" in text:
            found.append(days)
            days = ""
    return [*found, days] if days else found


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _minutes(text: str, whole: str) -> int:
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if not match or int(match[2]) > 59 or (minutes := int(match[1]) * 60 + int(match[2])) > _MIDNIGHT:
        raise UnitError(f"{whole!r}: {text!r} is not a time of the day: write it like 02:00, up to 24:00")
    return minutes


def _days(text: str, whole: str) -> frozenset[int]:
    if text.lower() == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in re.split(r"\s*,\s*", text):
        ends = [_day(name, whole) for name in re.split(r"\s*[-–]\s*", part)]  # noqa: RUF001
        if len(ends) > 2:
            raise UnitError(f"{whole!r}: {part!r} are no days: write them like Mon-Fri, Sat,Sun or daily")
        count = (ends[-1] - ends[0]) % 7
        found |= {(ends[0] + each) % 7 for each in range(count + 1)}
    return frozenset(found)


_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _day(name: str, whole: str) -> int:
    wanted = name.strip().lower()
    fits = [number for number, each in enumerate(_NAMES) if len(wanted) >= 3 and each.startswith(wanted)]
    if len(fits) == 1:
        return fits[0]
    close = difflib.get_close_matches(wanted, [*map(str.lower, DAYS), *_NAMES], 1)
    hint = f" (did you mean {close[0].capitalize()}?)" if close else ""
    raise UnitError(f"{whole!r}: {name.strip()!r} is no day{hint}: write days like Mon-Fri, Sat,Sun or daily")


def _told_days(days: frozenset[int]) -> str:
    if len(days) == 7:
        return "daily"
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(
        "-".join(DAYS[day] for day in (run[0], run[-1])) if len(run) > 2 else ",".join(DAYS[day] for day in run)
        for run in runs
    )


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
