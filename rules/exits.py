"""How a command ends: exit codes that CI can act on, and the one exception for a user's mistake."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes. Where k6 has a code for the same thing, it is k6's."""

    DONE = 0
    FAILED = 1
    SIGNAL_LOST = 90
    LEVER = 91
    OUTSIDE_WINDOW = 92
    INVALID = 93
    SLO_BREACHED = 99
    CONFIGURATION = 104
    INTERRUPTED = 105


class UserError(Exception):
    """Something that the user can put right. The message says what is wrong and what to do; no traceback is shown."""

    def __init__(self, message: str, code: Exit = Exit.CONFIGURATION) -> None:
        super().__init__(message)
        self.code = code
