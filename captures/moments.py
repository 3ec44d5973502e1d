"""Moments and spans in words. Pure. Moments are Unix time in nanoseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rules.units import Duration, UnitError

SECOND = 1_000_000_000

HOW = "2026-11-21T20:48:51Z, 20:48 or 21:48+01:00 (UTC unless it says otherwise, on \
the day the capture begins), -15m (before its end), +15m (after its beginning), or Unix time"
"""How a moment in a capture can be written, for help texts."""

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?(?:Z|([+-])(\d\d):?(\d\d))?")
_EPOCH = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?|(\d{13}|\d{16}|\d{19})")
_DAY = 86_400 * SECOND


class Span(NamedTuple):
    """From the first moment that is in it to the first one that is not; None: no bound."""

    start_ns: int | None
    end_ns: int | None


def iso(at_ns: int) -> str:
    """``2026-11-21T20:48:51.123Z``, cut to milliseconds."""
    seconds, rest = divmod(at_ns, SECOND)
    return f"{_to_seconds(seconds)}.{rest // 1_000_000:03d}" + ("Z" if _has_date(seconds) else "s")


def iso_ns(at_ns: int) -> str:
    """``2026-11-21T20:48:51.123456789Z``, exact."""
    seconds, rest = divmod(at_ns, SECOND)
    return f"{_to_seconds(seconds)}.{rest:09d}" + ("Z" if _has_date(seconds) else "s")


_LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def _has_date(seconds: int) -> bool:
    return 0 <= seconds <= _LAST_SECOND


def _to_seconds(seconds: int) -> str:
    if not _has_date(seconds):
        return str(seconds)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse(text: str) -> int:
    """Read ``2026-11-21T20:48:51Z`` (UTC unless it says otherwise) or Unix time. Raises ValueError.

    Unix time is in seconds, or with 13, 16 or 19 digits in milli-, micro- or nanoseconds, as programs write it.
    """
    stripped = text.strip()
    if number := _EPOCH.fullmatch(stripped):
        if number[3]:
            return int(number[3].ljust(19, "0"))
        return int(number[1]) * SECOND + int((number[2] or "").ljust(9, "0"))
    try:
        at = datetime.fromisoformat(stripped)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: write it like 2026-11-21T20:48:51Z or as seconds since 1970"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - _EPOCH_BEGAN) // timedelta(microseconds=1) * 1000


_EPOCH_BEGAN = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str, first_ns: int, last_ns: int) -> int:
    """Read a moment in a capture that spans `first_ns` to `last_ns`. Raises ValueError.

    Beside what `parse` reads: ``-15m`` counts back from the capture's end, since a recording is rarely looked at while
    it is made; ``+15m`` counts from its beginning; ``20:48`` is UTC on the day it begins, or on the next one if only
    then it falls into the capture; ``21:48+01:00`` is the same on a clock elsewhere, and on the day it has there.
    """
    stripped = text.strip()
    if stripped[:1] in {"-", "+"}:
        try:
            ago = round(float(Duration.parse(stripped[1:])) * 1e9)
        except UnitError:
            raise ValueError(f"{text!r} is not a time: write it like -15m or +1h30m") from None
        return last_ns - ago if stripped[0] == "-" else first_ns + ago
    if clock := _CLOCK.fullmatch(stripped):
        hour, minute, second = (int(part or 0) for part in clock.groups()[:3])
        of_day = (hour * 3600 + minute * 60 + second) * SECOND + int((clock[4] or "").ljust(9, "0"))
        _, _, _, _, sign, hours, minutes = clock.groups()
        ahead = (int(hours or 0) * 3600 + int(minutes or 0) * 60) * SECOND * (-1 if sign == "-" else 1)
        at = first_ns - (first_ns + ahead) % _DAY + of_day
        return at + _DAY if at < first_ns and at + _DAY <= last_ns else at
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write it like {HOW}") from None


def span(since: str | None, until: str | None, first_ns: int, last_ns: int, names: tuple[str, str]) -> Span:
    """Read the moments between which a time lies that was asked for of a capture. Raises ValueError.

    An end on the clock, ``00:10`` after 23:50, is on the next day, even if the capture ends before; half a day later
    at most, for what is longer than that is a mistake. `names` are the options that said them.
    """
    found: list[int | None] = []
    for name, text in zip(names, (since, until), strict=True):
        try:
            found.append(None if text is None else moment(text, first_ns, last_ns))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    start, end = found
    low = first_ns if start is None else start
    if until is not None and end is not None and end <= low < end + _DAY <= low + _DAY // 2:
        end += _DAY if _CLOCK.fullmatch(until.strip()) else 0
    if start is not None and end is not None and start >= end:
        raise ValueError(f"{names[0]} ({iso(start)}) has to lie before {names[1]} ({iso(end)})")
    return Span(start, end)
