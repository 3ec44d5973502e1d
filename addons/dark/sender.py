"""The aide that sends dark copies: ``python -m addons.dark.sender``, started by the supervisor and by nobody else.

It reads a copy from the socket only when it may send it (`bounds`), so it holds no more of them than are under way.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from yarl import URL

from addons.books import Books
from addons.dark.accounts import Accounts, AideRow
from addons.dark.bounds import Bounds
from addons.dark.comparison import Answer, Aspect, Aspects, Checksum, differing, words
from addons.dark.copying import MESSAGE, Asked, Copy, asked, unpacked
from addons.dark.settings import Settings
from addons.processes.ear import Ear
from addons.processes.orders import Errand, Report
from rules.exits import Exit, leave

logger = logging.getLogger(__name__)

STALE_NS = 1_000_000_000
"""A copy that has waited for longer is not sent: what comes now says more about now."""

NICE = 10
"""Added to the niceness: real requests get the processor first."""

KEPT = 10.0
"""Seconds for which a connection that is not needed is kept for the next copy."""

LONGEST_FIELD = 64 << 10
"""Bytes of a header field of an answer."""

INTERIM = 32
"""Answers with a status of 1xx that may come before the one to a copy. aiohttp keeps all there are."""

TOLD = 1.0
"""Seconds between two lines of the log about answers that differ."""


class _Hearing(ResponseHandler):
    """A connection that ends when the service announces an answer without end."""

    _interim = 0

    def set_response_params(self, **params: Any) -> None:
        """Begin to read another answer."""
        self._interim = 0
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a head."""
        self._interim += data[0].code < 200
        if self._interim <= INTERIM:
            super().feed_data(data, size)
        elif self.transport is not None:
            self.transport.abort()


class Sender:
    """Reads copies and sends them, for as long as nothing says stop."""

    def __init__(
        self, settings: Settings, row: AideRow, inlet: socket.socket, stopped: Callable[[], bool], now: float
    ) -> None:
        """Begin to send; a loop has to run. `inlet`: where copies come from. `stopped`: whether a lever is pulled."""
        self._settings, self._row, self._inlet, self._stopped = settings, row, inlet, stopped
        parts = urlsplit(settings.url)
        self._to = f"{parts.scheme}://{parts.netloc}"
        self._bounds = Bounds(settings.at_once, settings.per_second, now)
        self._aspects = Aspects.parse(",".join(settings.compare))
        self._session = self._new_session()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._told, self._untold = 0.0, 0
        self._attend()

    def _new_session(self) -> aiohttp.ClientSession:
        # One made now: aiohttp's own is from when it was imported.
        trusting = ssl.create_default_context() if self._to.startswith("https:") else False
        connector = aiohttp.TCPConnector(limit=self._settings.at_once, keepalive_timeout=KEPT, ssl=trusting)
        hearing = functools.partial(_Hearing, loop=asyncio.get_running_loop())
        connector._factory = cast("functools.partial[ResponseHandler]", hearing)  # noqa: SLF001 - no other way to it
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=LONGEST_FIELD,
            max_field_size=LONGEST_FIELD,
        )
        # One copy is one request, whatever becomes of it. aiohttp's own tests switch this off the same way.
        session._retry_connection = False  # noqa: SLF001
        return session

    async def close(self) -> None:
        """Read no more, and wait for what is under way, which has a time-out."""
        self._closed = True
        self._attend(False)
        if self._timer:
            self._timer.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._session.close()

    def _attend(self, wanted: bool = True) -> None:
        """Wait for copies, or leave them in the socket."""
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._inlet, self._read)
            else:
                self._loop.remove_reader(self._inlet)

    def _read(self) -> None:
        """Send what has come and may be sent; for the rest, come back later."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while not self._closed:
            now = self._loop.time()
            pause = self._bounds.wait(now)
            if pause != 0:
                # Left in the socket until something under way is over, or until the time comes.
                self._attend(False)
                self._timer = self._loop.call_later(pause, self._read) if pause else None
                return
            found = self._next()
            if found is None:
                self._attend()
                return
            self._bounds.begin(now)
            task = self._loop.create_task(self._send(*found))
            self._tasks.add(task)
            task.add_done_callback(self._over)

    def _next(self) -> tuple[Copy, Asked] | None:
        """Take the next copy that is worth sending out of the socket; None: there is none."""
        settings = self._settings
        while True:
            try:
                message = self._inlet.recv(MESSAGE)
            except BlockingIOError:
                return None
            self._row.count("taken")
            try:
                copy = unpacked(message)
                found = copy, asked(copy, settings.name, settings.host.encode(), secrets=settings.secrets)
            except ValueError as error:
                logger.debug("unsendable: %s", error)
                self._row.count("unsendable")
                continue
            if self._stopped():
                self._row.count("recalled")
            elif time.monotonic_ns() - copy.at_ns > STALE_NS:
                self._row.count("stale")
            else:
                return found

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A copy could not be sent", exc_info=error)
        if not self._closed and not self._reading:
            self._read()

    async def _send(self, copy: Copy, asked: Asked) -> None:
        """Send one copy, and count what comes of it: exactly once, whatever happens."""
        began, outcome, answer, why = time.monotonic(), "failed", None, ""
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._answer(asked)
            outcome = f"{min(max(answer.status // 100, 1), 5)}xx"
        except TimeoutError:
            outcome, why = "timeout", f"no answer within {self._settings.timeout:g} s"
        except (aiohttp.ClientError, OSError) as error:
            why = f"{type(error).__name__} {error}".strip()
        finally:
            try:
                self._end(answer is not None, why)
                if answer is not None:
                    self._row.took("real", copy.duration_ns / 1e9)
                    self._row.took("dark", time.monotonic() - began)
                    self._row.count("bytes", answer.size)
                    self._compare(copy, answer)
            finally:
                self._row.count(outcome)  # last: what is settled has been counted everywhere

    def _end(self, answered: bool, why: str) -> None:
        rested = self._bounds.resting
        self._bounds.end(self._loop.time(), answered)
        if self._bounds.resting and not rested:
            logger.warning("The dark service answers no more (%s): it is tried now and then", why or "unknown")
        elif rested and not self._bounds.resting:
            logger.info("The dark service answers again")

    async def _answer(self, asked: Asked) -> Answer:
        body = Checksum() if Aspect.BODY_HASH in self._aspects else None
        size = 0
        async with self._session.request(
            asked.method,
            URL(f"{self._to}{asked.target}", encoded=True),
            headers=asked.fields,
            data=asked.body,
            allow_redirects=False,
        ) as response:
            async for piece in response.content.iter_any():
                size += len(piece)
                if body is not None:
                    body(piece)
        return Answer(response.status, size, body.value if body else 0)

    def _compare(self, copy: Copy, dark: Answer) -> None:
        if not self._aspects:
            return
        real = Answer(copy.status, copy.size, copy.checksum)
        found = differing(self._aspects, real, dark)
        for aspect in self._aspects:
            self._row.count(f"{'different' if aspect in found else 'same'} {aspect}")
        if not found:
            return
        now = self._loop.time()
        if now - self._told < TOLD:
            self._untold += 1
            return
        path = copy.target.partition(b"?")[0][:200].decode("ascii", "backslashreplace")
        more = f" ({self._untold} more since the last such line)" if self._untold else ""
        said = words(copy.method.decode("ascii", "replace"), path, found, real, dark)
        logger.info("The dark answer differs: %s%s", said, more)
        self._told, self._untold = now, 0


async def work() -> int:
    """Send until told to end, and give the exit code."""
    ear = await Ear.begin()
    line = await ear.first()
    if not line:
        return Exit.FAILED
    errand = Errand.model_validate_json(line)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s dark: %(message)s")
    for name in ("httpcore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    shared, accounts = Books.attach(errand.shares["books"]).shared, Accounts(errand.shares["dark-accounts"])
    inlet = socket.socket(fileno=errand.shares["dark-inlet"])
    inlet.setblocking(False)

    def stopped() -> bool:
        return bool(shared.engaged) or accounts.engaged or not shared.watched(time.monotonic_ns())

    settings = Settings.model_validate(errand.settings)
    sender = Sender(settings, accounts.aide(errand.row), inlet, stopped, asyncio.get_running_loop().time())
    ear.report(Report(ready=True))
    async for order in ear.orders():
        if order.do == "retire":
            break
    await sender.close()
    return Exit.DONE


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    leave(asyncio.run(work()))
