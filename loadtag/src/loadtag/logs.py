"""The run's id in the app's log lines.

    handler.addFilter(LoadTagFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s [%(load_test)s] %(message)s"))

Give it to handlers: a logger's filters see only what is logged by that very logger. Where a queue stands between
(`logging.handlers.QueueHandler`), give it to the queue's handler, which runs where the request is served.
"""

from __future__ import annotations

import logging

from loadtag.records import stamp

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

NONE = "-"
"""What stands in the place of a run's id while something real is served."""


class LoadTagFilter(logging.Filter):
    """Lets every record pass and gives it ``load_test``: the run's id, ``dark:<name>`` for a dark copy, or ``-``.

    `attribute` is for those who want another name. What a record has already is left as it is: its first
    handler may run where the request is served, and the next one in a thread that knows nothing of it.
    """

    def __init__(self, attribute: str = "load_test") -> None:
        super().__init__()
        self.attribute = attribute

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attribute."""
        if not hasattr(record, self.attribute):
            setattr(record, self.attribute, stamp() or NONE)
        return True


def add_load_test(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add ``load_test`` to what is logged, unless something real is served: a processor for structlog."""
    told = stamp()
    if told is not None:
        event.setdefault("load_test", told)
    return event
