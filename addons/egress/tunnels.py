"""Add-on: sends calls where they are to go, and refuses those that would come back to the sidecar itself."""

import asyncio
import socket
from collections.abc import Collection

from mitmproxy import http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.egress.destinations import Destinations
from addons.processes.tallies import Tallies


class Tunnels:
    """Knows where everything goes. `guarded`: ports of this machine that no call may go to.

    They are the egress's own, which would call itself until nothing is left, and the control port: it trusts whoever
    is on its machine, so nobody may reach it by way of a process on it.
    """

    def __init__(self, destinations: Destinations, guarded: Collection[int], tallies: Tallies) -> None:
        self._destinations, self._guarded, self._tallies = destinations, frozenset(guarded), tallies

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Send a tunnel for a name of the map to what that stands for."""
        if target := self._destinations.target(flow.request.host, flow.request.port):
            flow.request.host, flow.request.port = target.host, target.port

    async def server_connect(self, data: ServerConnectionHookData) -> None:
        """Refuse what would go in circles, or to the control port, under whatever name."""
        address = data.server.address
        if address is None or address[1] not in self._guarded:
            return
        found = await _resolve(address[0], address[1])
        if found is None or any(map(_is_here, found)):
            data.server.error = "the sidecar's own ports can't be called through its egress"
            self._tallies.add("refused")
        else:
            # What was looked at is what is called: a name could lead elsewhere when it is looked up again.
            data.server.address = found[0], address[1]


async def _resolve(host: str, port: int) -> list[str] | None:
    """Give the addresses of a host; None: it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return [str(where[0]) for *_, where in found]


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine: only those can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
