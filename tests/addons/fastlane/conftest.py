"""These tests run on both event loops that a sidecar may run on."""

import asyncio
from collections.abc import Callable, Mapping

from addons.internals.loop import new_event_loop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": new_event_loop}
