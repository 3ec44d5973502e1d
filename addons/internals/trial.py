"""Runs a trick's self-test and says once what is left out."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

_passed: dict[str, bool] = {}


def passes(what: str, test: Callable[[], None]) -> bool:
    """Whether `test` runs through without an exception; each is run once. `what` is named in the warning."""
    if what not in _passed:
        try:
            test()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, traffic is to go on without it
            # One line, not a traceback: nothing is broken, it is only slower.
            logger.warning("This mitmproxy is not known here, so this is done the plain way: %s (%r)", what, error)
            _passed[what] = False
        else:
            _passed[what] = True
    return _passed[what]


def expect(condition: object, what: str) -> None:
    """Fail the self-test unless `condition` holds; unlike `assert`, this can't be switched off."""
    if not condition:
        raise RuntimeError(what)


def at_once(running: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, without an event loop."""
    try:
        running.send(None)
    except StopIteration:
        return
    running.close()
    raise RuntimeError("it waits")
