"""The edge of experience: counts once a second, for those who listen and for the owner's rules.

It lives in the process that serves the control port, and reads the books as that does.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable

from addons import reckoning
from addons.books import Books
from addons.recounting import TOLD, Recount
from addons.ruling import Ruling
from addons.window import Totals
from rules.experience import SECOND_NS
from rules.slo import Rule
from rules.wire import EXPERIENCE_INTERVAL, Judged

logger = logging.getLogger(__name__)

REUSE_NS = SECOND_NS // 20
"""What was added up serves all who ask within this time: it costs about a millisecond."""

BY = "rule"
"""Who pulled the lever, if a rule did."""


class Watchman:
    """Reads the books of one sidecar. `engaged` tells whether its lever is pulled, and `pull` pulls it: reason, who."""

    def __init__(self, books: Books, engaged: Callable[[], bool], pull: Callable[[str, str], object]) -> None:
        self._books, self._engaged, self._pull = books, engaged, pull
        self._counted_ns, self._counted = 0, dict[str, Totals]()
        self._ruling: Ruling | None = None
        self._closed = asyncio.Event()
        self.listeners = 0
        """Who listens to lines."""

    def configure(self, rules: Iterable[Rule]) -> None:
        """Go by these rules from now on. Without any, nothing is counted for them."""
        rules = tuple(rules)
        if not rules:
            self._ruling = None
            return
        now_ns, totals = self._count()
        self._ruling = self._ruling or Ruling(now_ns, totals)
        self._ruling.configure(rules, now_ns)

    def judged(self) -> list[Judged]:
        """Tell how each rule stands."""
        return self._ruling.judged() if self._ruling else []

    def close(self) -> None:
        """End all that goes on."""
        self._closed.set()

    def listen(self, stands: Callable[[], bool] = lambda: True) -> AsyncIterator[bytes]:
        """Begin to listen: the first line at once (it says that somebody is there), then one after another.

        `stands`: whether whoever listens still may.
        """
        return self._lines(Recount(*self._count()), stands)

    async def _lines(self, recount: Recount, stands: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.listeners += 1
        try:
            while not self._closed.is_set() and stands():
                yield recount.tell(*self._count()).model_dump_json().encode() + b"\n"
                await self._pause()
        finally:
            self.listeners -= 1

    async def keep_watch(self) -> None:
        """Judge the rules, once in a while, until the end."""
        while not self._closed.is_set():
            await self._pause()
            try:
                self._look()
            except Exception:
                # A fault of ours. Whether users are well is not known now, so nothing synthetic may pass.
                logger.exception("The rules can't be judged")
                if not self._engaged():
                    self._pull("the sidecar's rules could not be judged: its log tells why", BY)

    def _look(self) -> None:
        if self._ruling is None:
            return
        ruled = self._ruling.look(*self._count(), self._engaged())
        for words in ruled.news:
            logger.warning("SLO: %s", words)
        if ruled.pull and not self._engaged():
            self._pull(ruled.pull, BY)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), EXPERIENCE_INTERVAL)

    def _count(self) -> tuple[int, dict[str, Totals]]:
        now_ns = time.monotonic_ns()
        if not self._counted or now_ns - self._counted_ns >= REUSE_NS:
            rows, share = self._books.rows, self._books.shared.share
            self._counted = {kind: reckoning.totals(rows, kind, share) for kind in TOLD}
            self._counted_ns = now_ns
        return self._counted_ns, self._counted
