"""The watch over the live signal: who is lost, who is found, and when it is time to give up. Pure."""

from collections.abc import Iterable
from typing import NamedTuple


class Change(NamedTuple):
    """What is new since the last look."""

    lost: list[str]
    found: list[str]
    give_up: bool
    """Nothing was heard from any sidecar for longer than the run was to wait."""


class Vigil:
    """Remembers which sidecars are silent, and since when all of them are."""

    def __init__(self, sidecars: int, patience_ns: int) -> None:
        self.lost: set[str] = set()
        self._sidecars = sidecars
        self._patience_ns = patience_ns
        self._alone_ns: int | None = None

    def look(self, silent: Iterable[str], now_ns: int) -> Change:
        """Take in which sidecars are silent at `now_ns`."""
        before, self.lost = self.lost, set(silent)
        if not self.lost or len(self.lost) < self._sidecars:
            self._alone_ns = None
        elif self._alone_ns is None:
            self._alone_ns = now_ns
        give_up = self._alone_ns is not None and now_ns - self._alone_ns > self._patience_ns
        return Change(sorted(self.lost - before), sorted(before - self.lost), give_up)
