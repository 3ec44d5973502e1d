"""The worker processes: started, watched, replaced when they die, exchanged on a reload, and ended."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from addons.books import BEAT, Books, Row
from addons.processes.child import AT_ONCE, END_WITHIN, Child, gone, how, start
from addons.processes.holding import Holding
from addons.processes.orders import Assignment, Order, Report
from addons.processes.posts import Restarts, cover
from captures.worker import Worker as Thread
from rules.exits import Exit, UserError
from rules.wire import Worker, WorkerState

logger = logging.getLogger(__name__)

ROWS_PER_WORKER = 4
"""Rows of the books: for the worker, for its successor on a reload, and for those that have not left yet."""

STALLED_NS = 3_000_000_000
"""A worker that has shown no sign of life for so long is taken to hang."""

COUNT_WITHIN = 10.0
"""Seconds to count what a worker has left on the disk."""


class Hand(Child):
    """One worker process. Make it with `hire`."""

    def __init__(self, process: asyncio.subprocess.Process, row: Row, restarts: int) -> None:
        self.row = row
        self.restarts = restarts
        self.captures = ""
        self.writer = ""
        self.stalled = False
        self.attends: list[int] = []
        super().__init__(process, "worker")

    @classmethod
    async def hire(cls, assignment: Assignment, inherited: Sequence[int], row: Row, restarts: int) -> "Hand":
        """Start a process."""
        hand = cls(await start("addons.processes.worker", inherited), row, restarts)
        hand.attends = [assignment.post]
        hand.say(assignment.line())
        return hand

    @property
    def state(self) -> WorkerState:
        """Tell how it is."""
        if self.process.returncode is not None:
            return "dead"
        if self.retired:
            return "retiring"
        return "starting" if not self.serves else "stalled" if self.stalled else "serving"

    def attend(self, posts: Sequence[int]) -> None:
        """Have it accept at these posts."""
        if self.serves and not self.retired and self.attends != list(posts):
            self.attends = list(posts)
            self.say(Order(do="attend", at=self.attends).line())

    def heard(self, report: Report) -> None:
        """Note what it is called as a writer, and that its row of the books is in use."""
        super().heard(report)
        self.writer = report.writer or self.writer
        if report.ready:
            self.row.begin(self.pid, self.restarts)


class Post:
    """One worker's place: its sockets, and who is there."""

    def __init__(self, number: int, sockets: Sequence[socket.socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.hand: Hand | None = None
        self.restarts = Restarts()
        self.next: asyncio.Task[None] | None = None
        """The replacement that is under way."""

    def forget_next(self) -> None:
        """Call the replacement off."""
        if self.next:
            self.next.cancel()
            self.next = None

    @property
    def well(self) -> bool:
        """Whether somebody serves here."""
        return self.hand is not None and self.hand.serves and not self.hand.stalled


class Crew:
    """All workers of one sidecar."""

    def __init__(
        self,
        sockets: Sequence[Sequence[socket.socket]],
        books: Books,
        options: Mapping[str, Any],
        holding: Holding,
        shares: Mapping[str, int] | None = None,
    ) -> None:
        """`shares`: descriptors of what workers have in common with aides, by name."""
        self.posts = [Post(number, one) for number, one in enumerate(sockets)]
        self.options = options
        self._books, self._holding = books, holding
        self._shares = dict(shares or {})
        self._free = list(range(len(books.rows)))
        self._inherited = [
            books.fileno(),
            *holding.kept,
            *(one.fileno() for post in self.posts for one in post.sockets),
            *self._shares.values(),
        ]
        self._started = self._ending = False
        self._hiring = asyncio.Lock()
        self._hands: set[Hand] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where users connect to."""
        host, port = self.posts[0].sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def watch(self) -> None:
        """Give signs of life, and look for those of the workers, for ever.

        A worker that shows none is not killed: somebody may be looking into it with a debugger, and it may be in the
        middle of real requests. But what comes in at its post is left to others.
        """
        before = time.monotonic_ns()
        while True:
            now = self._books.shared.beat_ns = time.monotonic_ns()
            held_up, before = now - before > STALLED_NS / 2, now
            # After a moment in which this process hung itself, it first lets the others speak.
            for post in [] if held_up else self.posts:
                hand = post.hand
                if hand and hand.serves and hand.stalled != (now - hand.row.beat_ns > STALLED_NS):
                    hand.stalled = not hand.stalled
                    logger.warning("Worker %d %s", hand.pid, "hangs" if hand.stalled else "goes on")
                    self._cover()
            await asyncio.sleep(BEAT)

    def workers(self) -> list[Worker]:
        """Tell how all of them are. Restarts are told of a post, by whoever is there now: so their sum never falls."""
        current = [(post.hand, post.restarts.count) for post in self.posts if post.hand]
        others = self._hands - {hand for hand, _ in current}
        return [
            Worker(pid=hand.pid, state=hand.state, since=hand.since, restarts=restarts)
            for hand, restarts in [*current, *((hand, 0) for hand in sorted(others, key=lambda hand: hand.since))]
        ]

    def unread(self) -> str:
        """Say why one of the workers can't read public keys; empty: all can."""
        return next((post.hand.unread for post in self.posts if post.hand and post.hand.unread), "")

    async def hire(self) -> None:
        """Start all workers, without waiting for them."""
        for post in self.posts:
            post.hand = await self._hire(post, self.options)

    async def serving(self) -> None:
        """Wait until all that were hired serve. Raises UserError if one of them can't."""
        await self._all_ready([post.hand for post in self.posts if post.hand])
        self._started = True

    async def reload(self, options: Mapping[str, Any]) -> None:
        """Exchange all workers for new ones. Raises UserError if one of those can't serve; the old ones stay then."""
        if len(self._free) < 2 * len(self.posts):
            raise UserError("workers from before the last reload still have connections open: try again in a moment")
        new: list[Hand] = []
        try:
            for post in self.posts:
                new.append(await self._hire(post, options))  # noqa: PERF401 - those before one that fails count
            await self._all_ready(new)
        except BaseException:
            for hand in new:
                if hand.serves:  # users may have come in
                    hand.retire()
                else:
                    hand.dismiss()
            raise
        self.options = options
        for post, hand in zip(self.posts, new, strict=True):
            old, post.hand = post.hand, hand
            post.forget_next()
            if old:
                old.retire()
        self._cover()

    async def end(self) -> None:
        """End all workers; those that do not are killed."""
        self._ending = True
        for post in self.posts:
            post.forget_next()
        for hand in self._hands:
            hand.dismiss()
        # As long as one process has a socket open, the kernel takes in users there. None of the workers does any more.
        for post in self.posts:
            for one in post.sockets:
                one.close()
        await gone(self._hands, self._watching, END_WITHIN)

    async def end_at_once(self) -> None:
        """Do not wait for requests under way any more."""
        for hand in self._hands:
            hand.signal(signal.SIGTERM)
        await gone(self._hands, self._watching, AT_ONCE)

    # --- one process

    async def _all_ready(self, hands: Sequence[Hand]) -> None:
        """Wait for workers that are to begin together. Raises UserError if one of them can't serve."""
        results = await asyncio.gather(*(hand.ready() for hand in hands), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            # What a worker says of a wrong setting tells more than that another one ended.
            raise min(failed, key=_vagueness)
        if not self._hands.issuperset(hands):  # nobody would replace one that is gone before it has its post
            raise UserError("a worker died while it started: see its log", Exit.FAILED)

    async def _hire(self, post: Post, options: Mapping[str, Any]) -> Hand:
        async with self._hiring:
            if self._ending:
                raise UserError("the sidecar is about to end")
            return await self._hire_next(post, options)

    async def _hire_next(self, post: Post, options: Mapping[str, Any]) -> Hand:
        if not self._free:
            raise OSError("all rows of the books are taken by workers that have not ended yet")
        row = self._free.pop(0)
        assignment = Assignment(
            post=post.number,
            posts=[[one.fileno() for one in other.sockets] for other in self.posts],
            books=self._books.fileno(),
            row=row,
            options=dict(options),
            shares=self._shares,
            holding=str(self._holding.path),
            in_charge=self._holding.name,
        )
        try:
            hand = await Hand.hire(assignment, self._inherited, self._books.rows[row], post.restarts.count)
        except BaseException:
            self._free.append(row)
            raise
        hand.captures = str(options["reamp_captures"])
        self._hands.add(hand)
        watching = asyncio.create_task(self._watch(post, hand, row))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        if self._ending:  # meanwhile
            hand.dismiss()
        return hand

    async def _watch(self, post: Post, hand: Hand, row: int) -> None:
        """See a worker through to its end, and have it replaced if that was not meant to be."""
        code = await hand.ended()
        self._hands.discard(hand)
        hand.serves = False
        hand.row.pid = 0
        if self._ending or hand.retired:
            if code not in (0, -signal.SIGTERM):
                logger.warning("Worker %d %s while it was to end", hand.pid, how(code))
        elif self._started and post.hand is hand:
            delay = post.restarts.died(hand.began, time.monotonic())
            when = f"in {delay:g} s" if delay else "at once"
            logger.warning("Worker %d %s; another one starts %s", hand.pid, how(code), when)
            self._cover()
            post.next = asyncio.create_task(self._replace(post, delay))
        # The successor has a row of its own and need not wait for this.
        if not self._ending:
            settling = asyncio.create_task(self._settle(hand, row))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)

    async def _settle(self, hand: Hand, row: int) -> None:
        """Close the accounts of a worker that has ended, and free its row for another one."""
        written = None
        try:
            written = await asyncio.wait_for(aside(_on_disk, hand.captures, hand.writer), COUNT_WITHIN)
        except TimeoutError:
            logger.warning("What worker %s has recorded can't be counted: the disk does not answer", hand.writer)
        except Exception:
            logger.exception("What worker %s has recorded can't be counted", hand.writer)
        hand.row.settle(written)
        self._free.append(row)

    async def _replace(self, post: Post, delay: float) -> None:
        await asyncio.sleep(delay)
        while True:
            try:
                post.hand = hand = await self._hire(post, self.options)
                break
            except OSError as error:
                delay = post.restarts.died(time.monotonic(), time.monotonic())
                logger.warning("No process can be started (%s); tried again in %g s", error, delay)
                await asyncio.sleep(delay)
            except UserError:  # nobody is needed any more
                return
        try:
            await hand.ready()
        except UserError as error:
            logger.warning("Worker %d can't serve: %s", hand.pid, error)  # and `_watch` has it replaced
            return
        if post.next is asyncio.current_task():  # and not one that was begun when this worker died in turn
            post.next = None
        logger.info("Worker %d serves", hand.pid)
        self._cover()

    def _cover(self) -> None:
        """Have the workers that are well accept for those that are not."""
        for post, at in zip(self.posts, cover([post.well for post in self.posts]), strict=True):
            if post.hand:
                post.hand.attend(sorted(at))


async def aside[**P, T](function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what may wait for a disk, in a thread that is left behind if it hangs when this process ends."""
    thread = Thread("reamp-aside")
    call = thread.submit(function, *args, **kwargs)
    thread.shutdown()
    return await asyncio.wrap_future(call)


def _on_disk(folder: str, writer: str) -> int | None:
    """Give a worker's account of what it has written by what it has left on the disk; None if that can't be told.

    The last segment says how much was written before it, and holds the rest: the first ones may have been removed.
    """
    if not folder or not writer:
        return None
    from captures.errors import CaptureError  # noqa: PLC0415 - workers start while this is not loaded
    from captures.reader import Segment  # noqa: PLC0415
    from captures.segments import SUFFIX  # noqa: PLC0415

    def sequence(file: Path) -> int:
        number = file.stem.rpartition("-")[2]
        return int(number) if number.isdecimal() else 0

    try:
        files = sorted(Path(folder).glob(f"*-{writer}-*{SUFFIX}"), key=sequence, reverse=True)
    except OSError as error:
        logger.warning("What worker %s has recorded can't be counted: %s", writer, error)
        return None
    for file in files:
        try:
            segment = Segment(file)
        except CaptureError:
            continue  # it was killed before this one held anything
        if segment.header is not None:
            return segment.header.accounting.written + segment.count
    return None


def _vagueness(error: BaseException) -> int:
    return 0 if isinstance(error, UserError) and error.code is Exit.CONFIGURATION else 1
