"""The pace: an absolute schedule, and no catching up. Pure.

The shape is that of vegeta's pacer (time in, decision out, no clock inside); the difference is `Pace.SHED`. A sender
that was held up does not send what it missed in one burst afterwards: that would test something that never happened.
What is late is shed and counted, and a run that shed much is invalid. Nor does a slow target slow the schedule (the
open model): that would leave out just those requests that would have been slow (coordinated omission).
"""

from enum import Enum


class Pace(Enum):
    """What to do with the next request."""

    WAIT = "wait"
    SEND = "send"
    SHED = "shed"


# Looked up once: this is asked for every request.
_WAIT, _SEND, _SHED = Pace.WAIT, Pace.SEND, Pace.SHED


def pace(now_ns: int, due_ns: int, max_lag_ns: int) -> Pace:
    """Decide about a request that is due at `due_ns`; it is sent at most `max_lag_ns` late."""
    if due_ns > now_ns:
        return _WAIT
    return _SEND if now_ns - due_ns <= max_lag_ns else _SHED
