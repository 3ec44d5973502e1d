"""A signal that pulls the lever: ``kill -USR1 PID``.

Who sent it and which process that was, the kernel tells only to a thread that waits for signals (`signal.sigwaitinfo`);
where there is no such thing, the event loop is told of the signal and nothing else.
"""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from addons.lever.people import user

NUMBER = signal.SIGUSR1

_END_WITHIN = 0.5
"""Seconds that the thread is given to end: it has nothing to do but that."""

REASON = f"signal {NUMBER.name}"

Pull = Callable[[str, str], object]
"""Takes the reason and who it was. Called in the event loop."""


@contextlib.contextmanager
def obeyed(pull: Pull) -> Iterator[None]:
    """Have the signal pull while the block lasts. For the main thread, before there are others.

    The signal is held back for the process and for all that it starts (workers), whom it would end otherwise.
    """
    if not hasattr(signal, "sigwaitinfo"):
        with announced(pull):
            yield
        return
    loop = asyncio.get_running_loop()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {NUMBER})
    wanted = threading.Event()
    wanted.set()

    def wait() -> None:
        while True:
            # Not `sigtimedwait`: in a process that is stopped and goes on once the time is over it tells of a signal
            # that nobody sent (CPython 3.13 then gives what happens to lie in memory).
            told = signal.sigwaitinfo({NUMBER})
            if not wanted.is_set():
                return
            by = f"{user(told.si_uid)} (process {told.si_pid})"
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(pull, REASON, by)

    thread = threading.Thread(target=wait, name="reamp-stop-signal", daemon=True)
    thread.start()
    try:
        with announced(pull):  # a thread that was there before, and does not hold it back, gets it otherwise
            yield
    finally:
        wanted.clear()
        if thread.ident is not None:
            signal.pthread_kill(thread.ident, NUMBER)  # to that thread only: it wakes up, and nobody else hears of it
        thread.join(_END_WITHIN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def announced(pull: Pull) -> Iterator[None]:
    """Do the same in a process that is somebody else's, where threads run already: the event loop is told.

    It is told of no sender, so that is whoever may send one. What the process did at this signal before (mitmproxy
    prints what it is doing, which holds up all users for as long) it does again after the block.
    """
    loop, before = asyncio.get_running_loop(), signal.getsignal(NUMBER)
    try:
        loop.add_signal_handler(NUMBER, lambda: pull(REASON, user(os.getuid())))
    except (RuntimeError, ValueError, NotImplementedError):  # not the main thread, or no such thing
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(NUMBER)
        signal.signal(NUMBER, before)
