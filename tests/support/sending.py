"""A lane on its own: requests that fall due one after the other, and what the ledger says of them at the end."""

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Any

from replayer.comparing.routes import Outline, Route
from replayer.counting.accounts import Accounts
from replayer.counting.ledger import Ledger
from replayer.lanes.choice import packed
from replayer.lanes.lane import Lane
from replayer.lanes.native import NativeLane
from replayer.lanes.python import PythonLane
from replayer.permission.ceiling import Ceiling, Unbounded
from replayer.plan import Plan
from replayer.requests.encoding import Request
from replayer.schedule.demand import Timeline
from replayer.stock import Stock, Supply
from replayer.stopping import Stop
from replayer.transport import Target

LANES = ("python", "native")


def get(method: str = "GET", body: bytes = b"", route: int = 0) -> Request:
    """A request as the encoder makes them."""
    head = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nbaggage: loadtest=".encode()
    return Request(head, b"\r\n\r\n" + body, method, route, Outline(200, 5, 1_000_000, 2_000_000))


class Host:
    """A run that only keeps what its lane tells it."""

    def __init__(self, ceiling: Ceiling | Unbounded | None = None) -> None:
        self.ledger = Ledger([Route("GET", "/"), Route("GET", "/other")])
        self.ceiling = ceiling or Unbounded()
        self.stopped: tuple[Stop, str] | None = None
        self.lane: Lane | None = None
        self.tag = b"token"
        self.tag_ns = 60_000_000_000
        self.guard_said_lever = False

    def token(self) -> bytes:
        return self.tag

    def token_until(self) -> tuple[bytes, int]:
        return self.tag, time.monotonic_ns() + self.tag_ns

    def stop(self, why: Stop, reason: str) -> None:
        if self.stopped is None and self.lane is not None:
            self.stopped = why, reason
            self.ledger.accounts.shed["stopped"] += self.lane.halt()

    def refused_by_lever(self) -> None:
        self.guard_said_lever = True
        self.stop("lever", "the guard said so")

    def settled(self) -> None:
        pass


def lane(name: str, host: Host, port: int, code: Any = None, **options: Any) -> Lane:
    """Make a lane to a port of this machine; `options` are those of `Target`, ``max_lag`` and ``look_up``."""
    look_up = options.pop("look_up", None)
    settings = {"max_lag": str(options.pop("max_lag", "1s"))}
    plan = Plan.model_validate(
        {"recording": "r", "to": f"http://127.0.0.1:{port}", "idle_target": True, "amplify": "1x", **settings}
    )
    target = Target("127.0.0.1", port, **({"connect_timeout": 2.0, "timeout": 5.0, "max_connections": 4} | options))
    if name == "native":
        host.lane = NativeLane(
            host, plan, target, time.monotonic_ns, [packed(socket.AF_INET, ("127.0.0.1", port))], code, look_up
        )
    else:
        host.lane = PythonLane(host, plan, target, time.monotonic_ns)
    return host.lane


async def play(host: Host, requests: Sequence[tuple[float, Request]], seconds: float = 15) -> Accounts:
    """Send `requests`, each after so many seconds, wait for what becomes of them, and close. The accounts reconcile."""
    lane = host.lane
    assert lane is not None
    start = time.monotonic_ns() + 20_000_000
    items = [(round(at * 1e9), request) for at, request in requests]
    stock = Stock(iter(items), lambda item: len(item[1]))
    stock.fill(len(items))
    lane.begin(Supply(Timeline(stock, 0, start), stock, None), 0)
    async with asyncio.timeout(seconds):
        while host.stopped is None or lane.in_flight or lane.waiting:
            lane.beat(time.monotonic_ns())
            lane.wake()
            lane.look()
            assert host.ledger.accounts.reconciles(), host.ledger.accounts
            await asyncio.sleep(0.005)
    accounts = host.ledger.accounts
    accounts.shed["stopped"] += lane.withdraw()
    accounts.unanswered += lane.close()
    lane.look()
    assert accounts.reconciles(), accounts
    return accounts
