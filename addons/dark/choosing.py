"""Which real requests are copied. Pure."""

import random
from collections.abc import Callable, Iterable

from addons.glance import UPGRADE
from rules.units import MILLION, Share

SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, 9.2.1). TRACE is one too, but shows headers to whoever asks."""

NEVER = ("CONNECT", "TRACE")


class Chooser:
    """Says of each request on its own whether it is copied: no session and no rhythm of the traffic changes the share.

    `draw` gives numbers from 0 to below 1, evenly spread.
    """

    def __init__(self, share: Share, allow: Iterable[str] = (), draw: Callable[[], float] = random.random) -> None:
        """`allow`: methods beside the safe ones. Raises ValueError if one of them can't be copied."""
        for method in allow:
            if method in NEVER or not (method.isascii() and method.isalpha() and method.isupper()):
                raise ValueError(f"{method!r} can't be copied: allow methods such as POST or PUT")
        self.methods = frozenset(method.encode() for method in (*SAFE, *allow))
        self._below = int(share) / MILLION
        self._draw = draw

    def may(self, method: bytes, marks: int) -> bool:
        """Say whether such a request may be copied at all. `marks`: see `glance`.

        What asks for an upgrade is the beginning of a talk, and no request.
        """
        return method in self.methods and not marks & UPGRADE

    def takes(self) -> bool:
        """Draw."""
        return self._draw() < self._below
