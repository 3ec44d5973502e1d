"""A worker's sidecar: our add-ons in a master of our own."""

from collections.abc import Callable, Mapping
from typing import Any

from mitmproxy.addons.next_layer import NextLayer

from addons.chain import Chain
from addons.embedded.master import Embedded
from addons.internals.quickening import carried
from addons.lanes import Lanes
from addons.processes.doors import Doors

CORE_OPTIONS: dict[str, Any] = {
    "keep_host_header": True,  # the app sees the host that its users typed
    "connection_strategy": "lazy",  # a refused synthetic request costs the app not even a connection
    "rawtcp": False,  # an upgrade to what is not HTTP would be a way around the guard
}


class Sidecar(Embedded):
    """Carries users' requests. One that retires lets open connections ask once more."""

    def __init__(self, chain: Chain, doors: Doors, settings: Mapping[str, Any], started: Callable[[], None]) -> None:
        """Put it together. `settings` are mitmproxy options. Raises UserError if one of them is wrong."""
        self._chain, self._lanes = chain, Lanes()
        options = {**CORE_OPTIONS, **carried(settings)}
        super().__init__(doors, NextLayer(), [self._lanes, *chain.addons()], options, started)

    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._chain.meter.in_flight or self._lanes.busy)

    def connections(self) -> int:
        """Count those of both lanes."""
        return super().connections() + self._lanes.connections

    def hurry(self, at_once: bool) -> None:
        """Have connections of the fast lane end; those of mitmproxy's own stack are told by `farewell`."""
        self._lanes.drain(at_once)
