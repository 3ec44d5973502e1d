"""uvloop for the sidecar.

uvloop starts tasks with an argument that the eager task factory of Python 3.13 does not know, and mitmproxy runs on
eager tasks. So its loop is given a factory that leaves the argument out. Tested with mitmproxy 12.2 and uvloop 0.23.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from addons.internals.trial import expect, passes


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Give a new event loop for a sidecar: uvloop's, if it is there and holds. Not to be called from within a loop."""
    return _uvloop() if passes("running on uvloop", _self_test) else asyncio.new_event_loop()


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 - not there on every platform

    class Loop(uvloop.Loop):
        """uvloop's loop, with a task factory that takes what Python's own takes."""

        _given: Any = None

        def set_task_factory(self, factory: Any) -> None:
            self._given = factory
            super().set_task_factory(factory and _tolerant(factory))

        def get_task_factory(self) -> Any:
            return self._given

    return Loop()


def _tolerant(factory: Callable[..., Any]) -> Callable[..., Any]:
    def make(loop: Any, coroutine: Any, *, eager_start: Any = None, **settings: Any) -> Any:  # noqa: ARG001
        return factory(loop, coroutine, **settings)

    return make


def _self_test() -> None:
    """Start a task the way that mitmproxy does."""
    loop = _uvloop()
    try:
        loop.set_task_factory(asyncio.eager_task_factory)
        expect(loop.get_task_factory() is asyncio.eager_task_factory, "it forgets its task factory")
        expect(loop.run_until_complete(_starts_at_once()), "tasks do not start at once")
    finally:
        loop.close()


async def _starts_at_once() -> bool:
    seen: list[str] = []

    async def task() -> None:
        seen.append("started")
        await asyncio.sleep(0)
        seen.append("ended")

    running = asyncio.get_running_loop().create_task(task(), name="self-test")
    started = seen == ["started"]
    await running
    return started and seen == ["started", "ended"]
