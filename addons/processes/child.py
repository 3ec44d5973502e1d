"""A process of the sidecar's own: started by the supervisor, told what to do on stdin, heard on stdout, and ended."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from signal import Signals

from pydantic import ValidationError

from addons.processes.orders import DRAIN, MAX_LINE, RETIRE, Order, Report
from rules.exits import Exit, UserError
from rules.wire import SECRETS

logger = logging.getLogger(__name__)

END_WITHIN = 10.0
"""Seconds from the order to end until a process that has not is killed: the time to drain, and to write out records."""

AT_ONCE = 2.0
"""The same, when the order is given for the second time."""

RETIRE_WITHIN = RETIRE + DRAIN + 15.0
"""Seconds from the order to retire until a process that has not is told to end, and killed if that does not help."""

KILLED_WITHIN = 2.0
"""Seconds that a killed process is waited for: one that hangs in the kernel outlives even that."""


async def start(module: str, inherited: Sequence[int]) -> asyncio.subprocess.Process:
    """Start one. It gets its settings through a pipe: a command line is there for everybody to read."""
    with _undisturbed:
        return await asyncio.create_subprocess_exec(
            # -P: a folder called `addons` where somebody starts the sidecar is not ours.
            *(sys.executable, "-P", "-m", module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=inherited,
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
            limit=MAX_LINE,
        )


class Child:
    """One such process, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.process, self.name = process, name
        self.pid = process.pid
        self.since = time.time()
        self.began = time.monotonic()
        self.serves = self.retired = False
        self._unread = ""
        self._deadlines: list[asyncio.TimerHandle] = []
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> None:
        """Wait until it serves. Raises UserError if it can't."""
        await asyncio.shield(self._ready)

    async def ended(self) -> int:
        """Wait for its end, and give the exit code (negative: the signal that killed it)."""
        code = await self.process.wait()
        await self._reading
        for deadline in self._deadlines:
            deadline.cancel()
        return code

    @property
    def unread(self) -> str:
        """Say why it can't read public keys, if it serves. Empty: it can, or could when it began."""
        return f"{self.name} {self.pid}: {self._unread}" if self.serves and self._unread else ""

    def retire(self) -> None:
        """Have it end when its connections have."""
        if not self.retired:
            self.retired = True
            self.say(Order(do="retire").line())
            # One that hangs, or that could not take the order, would keep what it has for ever.
            self._later(RETIRE_WITHIN, signal.SIGTERM)
            self._later(RETIRE_WITHIN + END_WITHIN, signal.SIGKILL)

    def dismiss(self) -> None:
        """Have it end."""
        self.retired = True
        self.signal(signal.SIGTERM)
        self._later(END_WITHIN + 1.0, signal.SIGKILL)  # at the end of all, `Crew.end` is earlier

    def signal(self, number: Signals) -> None:
        """Send a signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def say(self, line: bytes) -> None:
        """Write a line to its stdin."""
        stdin = self.process.stdin
        if stdin and not stdin.is_closing():
            stdin.write(line)

    def heard(self, report: Report) -> None:
        """Note what it reports, beside whether it serves."""
        self._unread = report.unread or self._unread

    def _later(self, seconds: float, number: Signals) -> None:
        loop = asyncio.get_running_loop()
        self._deadlines.append(loop.call_later(seconds, self._insist, number))

    def _insist(self, number: Signals) -> None:
        if self.process.returncode is None:
            logger.warning("%s %d was to end and has not: it gets %s", self.name.capitalize(), self.pid, number.name)
            self.signal(number)

    async def _read(self) -> None:
        stdout = self.process.stdout
        with contextlib.suppress(ConnectionError, ValidationError, ValueError):
            while stdout and (line := await stdout.readline()):
                report = Report.model_validate_json(line)
                self.serves = self.serves or report.ready
                self.heard(report)
                if report.ready:
                    self._settle(None)
                elif report.error:
                    self._settle(UserError(report.error))
        self._settle(UserError(f"{self.name} {self.pid} ended before it served: see its log", Exit.FAILED))

    def _settle(self, error: UserError | None) -> None:
        if self._ready.done():
            return
        if error:
            self._ready.set_exception(error)
            self._ready.exception()  # somebody may not be waiting any more
        else:
            self._ready.set_result(None)


async def gone(children: Collection[Child], watching: Collection[asyncio.Task[None]], seconds: float) -> None:
    """Wait for the tasks that see children through to their ends; children that take longer are killed."""
    watched = list(watching)
    if not watched:
        return
    _, late = await asyncio.wait(watched, timeout=seconds)
    if late:
        for child in children:
            logger.warning("%s %d did not end within %g s: killed", child.name.capitalize(), child.pid, seconds)
            child.signal(signal.SIGKILL)
        await asyncio.wait(late, timeout=KILLED_WITHIN)
        for child in children:
            logger.error("%s %d can't be killed: it is left behind", child.name.capitalize(), child.pid)


def how(code: int) -> str:
    """Say how a process has ended."""
    if code >= 0:
        return f"ended with {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


class _Undisturbed:
    """Holds back what a terminal sends to all processes: a child is born with it held back, and so never hears it.

    Several may be started at the same time: the first one holds back, the last one lets go.
    """

    def __init__(self) -> None:
        self._starting = 0
        self._kept: set[signal.Signals] = set()

    def __enter__(self) -> None:
        if not self._starting:
            kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
            self._kept = {signal.Signals(number) for number in kept}
        self._starting += 1

    def __exit__(self, *_: object) -> None:
        self._starting -= 1
        if not self._starting:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._kept)


_undisturbed = _Undisturbed()
