"""What can be wrong with a capture.

    UserError
        CaptureError       the folder, file or key file cannot be used: the message names it and says what to do
            VersionError   it is of a version of the format that this version of reamp does not read
            LockedError    it is encrypted, and no identity was given that opens it
            GoneError      a file was deleted after it was listed: no damage, it is no part of the capture any more

What is wrong *inside* a segment that can still be read is no exception: it is `Damage`, collected while reading.
"""

from typing import NamedTuple

from rules.exits import UserError


class CaptureError(UserError):
    """This is not a capture, or not one that can be read. The message names the file."""


class VersionError(CaptureError):
    """A newer reamp wrote it. What it means is not guessed."""


class LockedError(CaptureError):
    """It is encrypted, and none of the identities that were given opens it."""


class GoneError(CaptureError):
    """The file was there a moment ago."""


class Damage(NamedTuple):
    """Bytes of a segment that could not be read. It costs the block that they lie in and nothing else."""

    offset: int
    what: str

    def __str__(self) -> str:
        return f"at byte {self.offset}: {self.what}"
