"""The mark of a dark copy: a header that only sidecars set. Pure.

It is not signed. Every sidecar takes it away from what comes in, unless it was told that it stands before a dark
service; so it holds where the network is the owner's own.
"""

import re
from collections.abc import Iterable

from loadtag.propagation import DARK_HEADER

Field = tuple[bytes, bytes]

HEADER = DARK_HEADER.encode()

NAME = re.compile("[A-Za-z0-9._-]{1,64}")
"""What a dark service may be called: it is written into the header."""


def is_mark(name: bytes) -> bool:
    """Whether some app might take a header of this name for the mark: gateways make one variable of both spellings."""
    return len(name) == len(HEADER) and name.lower().replace(b"_", b"-") == HEADER


def marked(fields: Iterable[Field]) -> str | None:
    """Give what the mark says; None: there is none. One that says nothing sensible is a mark all the same."""
    for name, value in fields:
        if is_mark(name):
            said = value.decode("ascii", "replace")
            return said if NAME.fullmatch(said) else "dark"
    return None


def unmarked(fields: Iterable[Field]) -> list[Field]:
    """Take every mark away; all other fields stay as they are."""
    return [field for field in fields if not is_mark(field[0])]
