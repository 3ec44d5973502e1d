"""Moments and spans in words. Pure. Moments are Unix time in nanoseconds."""

import re
from datetime import UTC, datetime

SECOND = 1_000_000_000


def iso(at_ns: int) -> str:
    """``2026-11-21T20:48:51.123Z``, cut to milliseconds."""
    seconds, rest = divmod(at_ns, SECOND)
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # beyond the year 9999
        return f"{seconds}.{rest // 1_000_000:03d}s"
    return f"{at:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def parse(text: str) -> int:
    """Read ``2026-11-21T20:48:51Z`` (UTC unless it says otherwise) or seconds since 1970. Raises ValueError."""
    stripped = text.strip()
    if number := re.fullmatch(r"(\d{1,10})(?:\.(\d{1,9}))?", stripped):
        return int(number[1]) * SECOND + int((number[2] or "").ljust(9, "0"))
    try:
        at = datetime.fromisoformat(stripped)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: write it like 2026-11-21T20:48:51Z or as seconds since 1970"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    whole = at.replace(microsecond=0)
    return int(whole.timestamp()) * SECOND + at.microsecond * 1000
