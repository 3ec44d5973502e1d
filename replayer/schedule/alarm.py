"""A timer for the send schedule. Edge.

An event loop's own timers count in milliseconds (libuv's do, and epoll's time-out). On Linux a timer of the kernel
(`timerfd_create(2)`) wakes the loop when the next request is due, to some tens of microseconds.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """Calls back once, at a time; setting it again replaces the time."""

    def at(self, due_ns: int) -> None:
        """Set it to a time of `time.monotonic_ns`."""

    def close(self) -> None:
        """Never call back again."""


class LoopAlarm:
    """On the event loop's timers, to a millisecond."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    def at(self, due_ns: int) -> None:
        """Set it."""
        self.close()
        self._handle = self._loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._call)

    def close(self) -> None:
        """Put it off."""
        if self._handle is not None:
            self._handle.cancel()


if sys.platform == "linux" and sys.version_info >= (3, 13):

    class KernelAlarm:
        """On a timer of the kernel. Raises OSError if it gives none."""

        def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
            self._loop = loop
            self._call = call
            self._fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
            self._due_ns = 0  # 0: it rang
            loop.add_reader(self._fd, self._expired)

        def at(self, due_ns: int) -> None:
            """Set it."""
            if due_ns == self._due_ns:
                return
            self._due_ns = due_ns
            os.timerfd_settime_ns(self._fd, flags=os.TFD_TIMER_ABSTIME, initial=max(1, due_ns))

        def close(self) -> None:
            """Take it back."""
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)
                os.close(self._fd)
                self._fd = -1

        def _expired(self) -> None:
            # Set again since it rang: there is nothing to read, and it will ring.
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 8)
                self._due_ns = 0
                self._call()


def alarm(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> Alarm:
    """Make the finest that this machine has."""
    if sys.platform == "linux" and sys.version_info >= (3, 13):
        with contextlib.suppress(OSError):
            return KernelAlarm(loop, call)
    return LoopAlarm(loop, call)
