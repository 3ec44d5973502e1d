"""The egress in a master of our own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from addons.egress.calls import Passage
from addons.egress.destinations import Destinations
from addons.embedded.master import Embedded
from addons.internals.outward import EgressMode, Protocols
from addons.internals.targets import read_targets_quickly
from addons.processes.doors import Doors

CORE_OPTIONS: dict[str, Any] = {
    "mode": [EgressMode.type_name],
    "connection_strategy": "lazy",  # a call that is answered here costs its third party not even a connection
    "rawtcp": True,  # what is neither TLS nor HTTP within a tunnel passes
    "tcp_timeout": 86_400,  # a tunnel or a stream may be silent for long, and would have been without us, too
    "websocket": False,  # passes, too, instead of being taken apart and kept
}


class Carrier(Embedded):
    """Carries the app's calls. One that retires lets open connections end by themselves."""

    def __init__(
        self,
        destinations: Destinations,
        chain: Sequence[Any],
        passage: Passage,
        doors: Doors,
        settings: Mapping[str, Any],
        started: Callable[[], None],
    ) -> None:
        """Put it together. `settings` are mitmproxy options. Raises UserError if one of them is wrong."""
        self._passage = passage
        read_targets_quickly()
        super().__init__(doors, Protocols(destinations.looks_into), chain, {**CORE_OPTIONS, **settings}, started)

    def busy(self) -> bool:
        """Whether a call is being answered."""
        return bool(self._passage.under_way)
