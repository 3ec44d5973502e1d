"""Signals by which people and supervisors end what runs: SIGINT (Ctrl-C), SIGTERM, SIGHUP."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rules.exits import Exit


@contextmanager
def signals_to(tell: Callable[[int], None]) -> Iterator[None]:
    """Have `tell` called with such a signal's number, whatever the event loop does, and be it stuck in a plugin.

    It must not raise. Where C has called Python (a finalizer, a transport that calls its protocol), an exception leads
    nowhere, and what was to be ended goes on.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        tell(number)

    # Whoever had SIGHUP ignored (nohup) wants what runs to outlive the terminal.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def interruptible(*, patiently: bool = False) -> Iterator[None]:
    """Have such a signal cancel this task, which then raises KeyboardInterrupt.

    The second one ends the process at once. `patiently`: it does not, and what is to be undone is undone.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    pressed = False

    def interrupt(_number: int) -> None:
        nonlocal pressed
        if not pressed and task is not None:
            pressed = True
            loop.call_soon_threadsafe(task.cancel)
        elif not patiently:
            os._exit(int(Exit.INTERRUPTED))

    with signals_to(interrupt):
        try:
            yield
        except asyncio.CancelledError:
            if pressed:
                raise KeyboardInterrupt from None
            raise
