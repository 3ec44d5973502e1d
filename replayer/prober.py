"""Sends some of a run's requests twice, and to a second place, to compare the answers. Edge: own connections.

Beside the replay and never in its way: at a rate of its own, each request over a new connection, answers read to the
end within bounds. Only what reads is sent (GET, HEAD, OPTIONS), and what goes to a live target spends credit like
everything else. Routes take turns, so a rare one is compared as often as a busy one.
"""

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import h11

from captures.unpacking import unpacked_as
from replayer.differences import RECORDED, Aspect, Compared, Differences, Seen, differing
from replayer.encoding import Request
from replayer.plan import Plan
from replayer.routes import Routes, final_names
from replayer.transport.heads import withheld
from replayer.transport.tls import to_target
from rules.wire import Withheld

KEPT = 1 << 18
"""Bytes of a body that are compared: so much JSON takes some milliseconds, in which nothing else is done."""

LONGEST = 1 << 23
"""Bytes of an answer that are read at most."""

AHEAD, AHEAD_BYTES = 64, 8 << 20
"""Requests of a route that wait to be compared, the newest, and bytes of all of them."""

AT_ONCE = 8
"""Requests on their way for it at most."""


class WithheldError(Exception):
    """The guard answered, and not the target."""

    def __init__(self, why: Withheld) -> None:
        super().__init__(why)
        self.why = why


class Place(NamedTuple):
    """Where requests are sent to."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str | None
    authority: bytes | None
    """What goes into `Host`; None: what stands there."""


def place_of(plan: Plan, authority: bytes | None = None) -> Place:
    """Tell where a plan sends to, by HTTP/1.1. Raises UserError."""
    plain = plan.model_copy(update={"http2": "never"})
    host, port = plain.address
    addresses = plain.addresses.get((host, port))
    return Place(addresses[0] if addresses else host, port, to_target(plain), plan.server_name or host, authority)


class Prober:
    """Compares for one run. `spend` gives False where there is no credit for another request to the target."""

    def __init__(
        self,
        plan: Plan,
        routes: Routes,
        token: Callable[[], bytes],
        spend: Callable[[], bool],
        lever: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._routes = routes
        self._token = token
        self._spend = spend
        self._lever = lever
        self._target = place_of(plan)
        self._reference: Place | None = None
        if plan.diff_against is not None:
            there = plan.model_copy(update={"to": plan.diff_against})
            own = plan.host == "target"
            self._reference = place_of(there, plan.diff_against.split("//")[1].encode() if own else None)
        self._waiting: dict[int, deque[Request]] = {}  # by route; the one whose turn it is comes first
        self._bytes = 0
        self._new = asyncio.Event()
        self._compared = Compared()
        self._sent = self._whole = self._without_credit = 0
        self._failed: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def offer(self, request: Request) -> None:
        """Take note of a request that is about to be replayed."""
        known = self._reference is not None or (request.recorded is not None and request.recorded.status)
        if not (request.safe and known) or self._bytes + len(request) > AHEAD_BYTES:
            return
        waiting = self._waiting.setdefault(request.route, deque())
        waiting.append(request)
        self._bytes += len(request)
        if len(waiting) > AHEAD:
            self._bytes -= len(waiting.popleft())
        self._new.set()

    def _next(self) -> Request:
        number, waiting = next(iter(self._waiting.items()))
        request = waiting.popleft()
        self._bytes -= len(request)
        del self._waiting[number]
        if waiting:
            self._waiting[number] = waiting  # after all others
        if not self._waiting:
            self._new.clear()
        return request

    def begin(self) -> None:
        """Begin to compare."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Send nothing any more and close everything, at once."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> str:
        """Wait until nothing is on its way any more; tell what went wrong, if something did."""
        if self._task is None:
            return ""
        self._task.cancel()
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        return "" if isinstance(ended, asyncio.CancelledError) else repr(ended)

    def findings(self) -> Differences:
        """Judge what was compared."""
        names = final_names(self._routes.totals)
        found = [names[route.method, route.template] for route in self._routes.totals]
        return Differences(
            aspects=list(self._plan.diff),
            against=self._plan.diff_against or "the recording",
            sent=self._sent,
            compared=self._whole,
            without_credit=self._without_credit,
            failed=dict(self._failed),
            routes=self._compared.findings(dict(enumerate(found))),
        )

    async def _run(self) -> None:
        pause = 1 / float(self._plan.diff_rate)
        async with asyncio.TaskGroup() as group:
            pending: set[asyncio.Task[None]] = set()
            while True:
                await self._new.wait()
                if len(pending) < AT_ONCE:
                    task = group.create_task(self._compare(self._next()))
                    pending.add(task)
                    task.add_done_callback(pending.discard)
                await asyncio.sleep(pause)

    async def _compare(self, request: Request) -> None:
        to_target = 1 if self._reference is not None else 2
        if not all(self._spend() for _ in range(to_target)):
            self._without_credit += 1
            return
        places = [self._target, self._reference, self._reference] if self._reference else [self._target, self._target]
        got = await asyncio.gather(*(self._exchange(request, place) for place in places), return_exceptions=True)
        for error in got:
            if isinstance(error, BaseException):
                self._failed[_kind(error)] += 1
                if isinstance(error, WithheldError) and error.why == "lever":
                    self._lever()
                return
        seen = [each for each in got if isinstance(each, Seen)]
        self._whole += 1
        aspects: tuple[Aspect, ...] = self._plan.diff
        if self._reference is not None:
            candidate, first, second = seen
            self._compared.add(request.route, differing(first, candidate, aspects), differing(first, second, aspects))
        elif request.recorded is not None:
            first, second = seen
            told = Seen(request.recorded.status, request.recorded.response_size)
            known = [aspect for aspect in aspects if aspect in RECORDED]
            self._compared.add(request.route, differing(told, first, known), differing(first, second, known))

    async def _exchange(self, request: Request, place: Place) -> Seen:
        """Send a request and read the answer. Raises OSError, TimeoutError, h11.RemoteProtocolError, WithheldError."""
        async with asyncio.timeout(self._plan.connect_timeout):
            reader, writer = await asyncio.open_connection(
                place.host, place.port, ssl=place.tls, server_hostname=place.server_name if place.tls else None
            )
        self._sent += 1
        try:
            writer.write(_addressed(request.prefix, place.authority) + self._token() + request.tail)
            async with asyncio.timeout(self._plan.timeout):
                return await _answer(reader, request.prefix.partition(b" ")[0], guarded=bool(self._plan.sidecars))
        finally:
            writer.transport.abort()


async def _answer(reader: asyncio.StreamReader, method: bytes, guarded: bool) -> Seen:
    here = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 16)
    here.send(h11.Request(method=method, target="/", headers=[("host", "x")]))  # only to tell it what was asked
    here.send(h11.EndOfMessage())
    status, size, kept, packing = 0, 0, bytearray(), b""
    while True:
        event = here.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(1 << 16)
            here.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            fields = b"".join(b"\r\n" + name + b": " + value for name, value in event.headers)
            why = withheld(b"HTTP/1.1 %d %s\r\n\r\n" % (status, fields)) if guarded and status in (429, 503) else None
            if why is not None:
                raise WithheldError(why)
            packing = b", ".join(value for name, value in event.headers if name == b"content-encoding")
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > LONGEST:
                raise h11.RemoteProtocolError("the answer is too long")
            kept += event.data
            del kept[KEPT + 1 :]
        elif isinstance(event, h11.EndOfMessage):
            return Seen(status, size, _meant(bytes(kept), packing) if size <= KEPT else None)
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the answer broke off")


def _meant(body: bytes, packing: bytes) -> bytes | None:
    found = unpacked_as(body, packing, KEPT + 1)
    return found if len(found) <= KEPT else None


def _addressed(prefix: bytes, authority: bytes | None) -> bytes:
    if authority is None:
        return prefix
    line, _, rest = prefix.partition(b"\r\n")
    _, _, fields = rest.partition(b"\r\n")  # the second line is Host
    return line + b"\r\nHost: " + authority + b"\r\n" + fields


def _kind(error: BaseException) -> str:
    match error:
        case WithheldError():
            return "withheld"
        case TimeoutError():
            return "timeout"
        case h11.RemoteProtocolError():
            return "protocol"
        case OSError():
            return "connection"
    raise error
