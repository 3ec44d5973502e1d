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


def pace(now_ns: int, due_ns: int, max_lag_ns: int, awake_ns: int) -> Pace:
    """Decide about a request that is due at `due_ns`; it is sent at most `max_lag_ns` late.

    Nothing is sent that fell due before `awake_ns` (see `awake`), or what a standstill left over would come at once.
    """
    if due_ns > now_ns:
        return _WAIT
    return _SEND if now_ns - due_ns <= max_lag_ns and due_ns >= awake_ns else _SHED


LOOK_NS = 100_000_000
"""A sender that is not held up looks at its schedule at least this often, whether or not anything is due."""


def awake(awake_ns: int, looked_ns: int, now_ns: int, max_lag_ns: int) -> int:
    """Tell since when a sender has been awake that looked at its schedule at `looked_ns` and does so again now.

    That is now, if it was held up for longer than a request may be late; else since when it was before.
    """
    return now_ns if looked_ns and now_ns - looked_ns > LOOK_NS + max_lag_ns else awake_ns
