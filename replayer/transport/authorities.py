"""A pool for each authority, behind the interface of one.

Where requests keep the host that they were recorded for, a TLS connection belongs to that host: its name is asked for
(SNI) and the certificate has to bear it. And a host may have an address of its own. All pools together keep to the
plan's bound; for a new connection, an idle one of the authority that was used longest ago is given up.
"""

from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from replayer.requests.encoding import Request
from replayer.transport.failures import Failure
from replayer.transport.outcomes import Outcomes, Shortage
from replayer.transport.pool import Pool
from replayer.transport.target import Target

KEPT = 1024
"""Pools without connections that are kept, to remember how often connecting failed. A recording may name any host."""

type _Key = tuple[str, int, str | None]


def connections(target: Target, outcomes: Outcomes, clock: Callable[[], int]) -> "Pool | Authorities":
    """Give the pool that a target needs."""
    return (Authorities if target.by_authority else Pool)(target, outcomes, clock)


class Authorities:
    """The connections to all authorities of a recording. One event loop owns it."""

    def __init__(self, target: Target, outcomes: Outcomes, clock: Callable[[], int]) -> None:
        self.target = target
        self.outcomes = outcomes
        self.clock = clock
        self._pools: dict[_Key, Pool] = {}  # the one used last is last
        self._places: dict[bytes, Target] = {}
        self._gone: Counter[str] = Counter()  # what pools had counted that are gone
        self._reasons: dict[Failure, str] = {}

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""
        return sum(pool.in_flight for pool in self._pools.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection and were never sent."""
        return sum(pool.waiting for pool in self._pools.values())

    @property
    def retried(self) -> int:
        """Requests that were sent once more."""
        return self._gone["retried"] + sum(pool.retried for pool in self._pools.values())

    @property
    def sent_bytes(self) -> int:
        """Bytes that were sent."""
        return self._gone["sent_bytes"] + sum(pool.sent_bytes for pool in self._pools.values())

    @property
    def connections(self) -> int:
        """Connections that are there or being opened."""
        return sum(pool.connections for pool in self._pools.values())

    @property
    def reasons(self) -> dict[Failure, str]:
        """The first reason of each kind of failure, in words."""
        found = dict(self._reasons)
        for pool in self._pools.values():
            for failure, why in pool.reasons.items():
                found.setdefault(failure, f"{pool.target.server_name or pool.target.host}: {why}")
        return found

    def shortage(self, _now_ns: int) -> Shortage | None:
        """Tell what stands against sending any request now. What stands against one is found when it is sent."""
        if self.connections < self.target.max_connections or any(pool.idle for pool in self._pools.values()):
            return None
        for pool in self._pools.values():
            pool.turned_away = True
        return "connections"

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send a request, or wait for a connection with it; only while there is no `shortage`.

        While connections to its authority fail, it is withdrawn.
        """
        place = self._place(request)
        key = place.host, place.port, place.server_name
        pool = self._pools.pop(key, None) or self._open(place)
        self._pools[key] = pool
        shortage = pool.shortage(now_ns)
        if shortage is None:
            pool.send(request, due_ns, ready_ns, now_ns)
        else:
            self.outcomes.withdrawn(request, shortage)

    def sweep(self, now_ns: int) -> None:
        """Give up what has waited too long."""
        for pool in list(self._pools.values()):
            pool.sweep(now_ns)

    def withdraw(self) -> int:
        """Give up what waits for a connection; tell how many of them were never sent. The others have failed."""
        return sum(pool.withdraw() for pool in self._pools.values())

    def close(self) -> int:
        """Close every connection at once; give the number of requests that stay without an outcome."""
        return sum(pool.close() for pool in self._pools.values())

    def _place(self, request: Request) -> Target:
        """Find where a request goes: its `Host` is the second line."""
        start = request.prefix.find(b"\r\nHost: ") + len(b"\r\nHost: ")
        end = request.prefix.find(b"\r\n", start)
        authority = request.prefix[start : end if end >= 0 else None]
        place = self._places.get(authority)
        if place is None:
            if len(self._places) >= KEPT:
                self._places.clear()
            place = self._places[authority] = place_of(self.target, authority.decode("utf-8", "replace"))
        return place

    def _open(self, place: Target) -> Pool:
        if len(self._pools) >= KEPT:
            for unused in [key for key, pool in self._pools.items() if not (pool.connections or pool.in_flight)]:
                pool = self._pools.pop(unused)
                self._gone.update(retried=pool.retried, sent_bytes=pool.sent_bytes)
                for failure, why in pool.reasons.items():
                    self._reasons.setdefault(failure, f"{pool.target.server_name or pool.target.host}: {why}")
        return Pool(place, self.outcomes, self.clock, self._full)

    def _full(self) -> bool:
        """Whether no connection may be opened any more, not even for one that is idle elsewhere."""
        if self.connections < self.target.max_connections:
            return False
        return not any(pool.give_up_idle() for pool in self._pools.values())


def place_of(target: Target, authority: str) -> Target:
    """Tell where requests for an authority go: to the target, or to the address that `resolve` has for it."""
    try:
        parts = urlsplit(f"//{authority}")
        host, port = (parts.hostname or target.host), parts.port or target.port
    except ValueError:  # it is no host and port; so no certificate can be for it
        host, port = authority, target.port
    addresses = target.resolve.get((host, port))
    name = host if target.tls is not None else None
    if addresses is None:
        return target._replace(server_name=name)
    return target._replace(host=host, port=port, server_name=name)
