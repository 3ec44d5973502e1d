"""How a command ends: exit codes that CI can act on, and the one exception for a user's mistake."""

import gc
import sys
from enum import IntEnum
from typing import NoReturn


class Exit(IntEnum):
    """Exit codes. Where k6 has a code for the same thing, it is k6's."""

    DONE = 0
    FAILED = 1
    SIGNAL_LOST = 90
    LEVER = 91
    OUTSIDE_WINDOW = 92
    INVALID = 93
    PREFLIGHT = 94
    NOT_PROVEN = PREFLIGHT  # of a drill: what has to be shown before anybody relies on it was not shown
    SLO_BREACHED = 99
    CONFIGURATION = 104
    INTERRUPTED = 105


class UserError(Exception):
    """Something that the user can put right. The message says what is wrong and what to do; no traceback is shown."""

    def __init__(self, message: str, code: Exit = Exit.CONFIGURATION) -> None:
        super().__init__(message)
        self.code = code


def leave(code: int) -> NoReturn:
    """End the process with `code`, in order, but without the garbage collector.

    It would look through all that was loaded several times before the interpreter lets go of it: up to a tenth of a
    second, for memory that is the system's a moment later.
    """
    gc.freeze()
    sys.exit(code)
