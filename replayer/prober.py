"""Sends some of a run's requests twice, and to a second place, to compare the answers. Edge: own connections.

Beside the replay and never in its way: at a rate of its own, by the same transport over connections of its own, answers
read to the end within bounds. Only what reads is sent (GET, HEAD, OPTIONS), and what goes to a live target spends
credit like everything else. Routes take turns, so a rare one is compared as often as a busy one.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from captures.unpacking import unpacked_as
from replayer.comparing.differences import RECORDED, Aspect, Compared, Differences, Seen, differing
from replayer.comparing.routes import Routes, final_names
from replayer.permission.ceiling import SPENDABLE_NS
from replayer.plan import Plan
from replayer.requests.encoding import Request
from replayer.transport import Answer, Failure, Target, Withdrawal, connections, target
from replayer.transport.tls import to_target

KEPT = 1 << 18
"""Bytes of a body that are compared: so much JSON takes some milliseconds, in which nothing else is done."""

LONGEST = 1 << 23
"""Bytes of an answer that are read at most."""

AHEAD, AHEAD_BYTES = 64, 8 << 20
"""Requests of a route that wait to be compared, the newest, and bytes of all of them."""

AT_ONCE = 8
"""Requests on their way for it at most."""

SWEEP = 0.05
"""Seconds between two looks at what has waited too long."""


class Asker:
    """Sends requests to one place and gives the answers. Is the `Outcomes` of its connections."""

    def __init__(
        self,
        place: Target,
        clock: Callable[[], int],
        token: Callable[[], bytes],
        may: Callable[[int], Withdrawal | None],
        spend: Callable[[], bool],
        authority: bytes | None = None,
        kept: int = KEPT + 1,
        longest: int = LONGEST,
    ) -> None:
        """`may` tells what stands against sending what was allowed at a moment; `spend` is asked before a retry.

        `authority` goes into `Host`; None: what stands there. `kept` and `longest`: bytes of a body that are kept, and
        of an answer that is read at most.
        """
        self.count = 0  # requests that were sent
        self._clock = clock
        self._authority = authority
        self._asked: dict[Request, asyncio.Future[Answer | str]] = {}
        # Some are looked up by what the pool asks for.
        self.token = token
        self.may_retry = spend
        self._may = may
        bounds = place._replace(kept=kept, longest=longest, max_connections=2 * AT_ONCE)
        self._pool = connections(bounds, self, clock)

    async def ask(self, request: Request) -> Answer | str:
        """Send a request and give its answer, or why there is none."""
        now = self._clock()
        shortage = self._pool.shortage(now)
        if shortage is not None:
            return shortage
        own = Request(_addressed(request.prefix, self._authority), request.tail, "HEAD" if request.head else "GET")
        own.trailers = request.trailers
        told: asyncio.Future[Answer | str] = asyncio.get_running_loop().create_future()
        self._asked[own] = told
        try:
            self._pool.send(own, now, now, now)
            return await told
        finally:
            self._asked.pop(own, None)

    @property
    def reasons(self) -> dict[Failure, str]:
        """Say the first reason of each kind of failure in words."""
        return self._pool.reasons

    def sweep(self) -> None:
        """Give up what has waited too long."""
        self._pool.sweep(self._clock())

    def close(self) -> None:
        """Close every connection at once."""
        self._pool.close()

    # --- called by the pool ---

    def answered(self, answer: Answer) -> None:
        """Take a whole answer."""
        self._tell(answer.request, answer)

    def failed(self, request: Request, _sent_ns: int | None, failure: Failure) -> None:
        """Take the news that there is none."""
        self._tell(request, failure)

    def withdrawal(self, since_ns: int, *, again: bool) -> Withdrawal | None:
        """Tell why a request that waited for its connection must not be sent any more."""
        return self._may(since_ns)

    def withdrawn(self, request: Request, why: Withdrawal) -> None:
        """Take the news that a request was not sent."""
        self._tell(request, why)

    def sent(self, _due_ns: int, _ready_ns: int, _sent_ns: int) -> None:
        """Count a request that is on its way."""
        self.count += 1

    def ready(self) -> None:
        """Nobody waits for a free connection here."""

    def _tell(self, request: Request, what: Answer | str) -> None:
        told = self._asked.get(request)
        if told is not None and not told.done():
            told.set_result(what)


class Prober:
    """Compares for one run."""

    def __init__(
        self,
        plan: Plan,
        routes: Routes,
        clock: Callable[[], int],
        token: Callable[[], bytes],
        spend: Callable[[], bool],
        still: Callable[[], bool],
        lever: Callable[[], None],
    ) -> None:
        """Set up to compare. Raises UserError.

        `spend` gives False where there is no credit for another request to the target, `still` where what got one must
        not be sent any more.
        """
        self._plan = plan
        self._routes = routes
        self._spend = spend
        self._lever = lever

        def may(since_ns: int) -> Withdrawal | None:
            if not still():
                return "signal"
            return "connecting" if plan.sidecars and clock() - since_ns > SPENDABLE_NS else None

        self._target = Asker(target(plan, to_target(plan)), clock, token, may, spend)
        self._reference: Asker | None = None
        if plan.diff_against is not None:
            there = plan.model_copy(update={"to": plan.diff_against})
            own = plan.diff_against.split("//")[1].encode() if plan.host == "target" else None
            free: Callable[[int], Withdrawal | None] = lambda _: None  # noqa: E731
            self._reference = Asker(target(there, to_target(there)), clock, token, free, lambda: True, own)
        self._waiting: dict[int, deque[Request]] = {}  # by route; the one whose turn it is comes first
        self._bytes = 0
        self._new = asyncio.Event()
        self._compared = Compared()
        self._whole = self._without_credit = 0
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
        for asker in self._askers:
            asker.close()

    async def close(self) -> str:
        """Wait until nothing is on its way any more; tell what went wrong, if something did."""
        self.stop()
        if self._task is None:
            return ""
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        return "" if isinstance(ended, asyncio.CancelledError) else repr(ended)

    def findings(self) -> Differences:
        """Judge what was compared."""
        names = final_names(self._routes.totals)
        found = [names[route.method, route.template] for route in self._routes.totals]
        return Differences(
            aspects=list(self._plan.diff),
            against=self._plan.diff_against or "the recording",
            sent=sum(asker.count for asker in self._askers),
            compared=self._whole,
            without_credit=self._without_credit,
            failed=dict(self._failed),
            routes=self._compared.findings(dict(enumerate(found))),
        )

    @property
    def _askers(self) -> list[Asker]:
        return [self._target] if self._reference is None else [self._target, self._reference]

    async def _sweep(self) -> None:
        while True:
            for asker in self._askers:
                asker.sweep()
            await asyncio.sleep(SWEEP)

    async def _run(self) -> None:
        pause = 1 / float(self._plan.diff_rate)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
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
        got = await asyncio.gather(*(place.ask(request) for place in places))
        seen = []
        for answer in got:
            if not isinstance(answer, Answer) or answer.withheld is not None:
                self._failed["withheld" if isinstance(answer, Answer) else answer] += 1
                if isinstance(answer, Answer) and answer.withheld == "lever":
                    self._lever()
                return
            seen.append(_seen(answer))
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


def _seen(answer: Answer) -> Seen:
    body = answer.body
    if body is None:
        return Seen(answer.status, 0)
    return Seen(answer.status, body.size, _meant(body.start, body.coding) if body.size <= KEPT else None)


def _meant(body: bytes, packing: bytes) -> bytes | None:
    found = unpacked_as(body, packing, KEPT + 1)
    return found if len(found) <= KEPT else None


def _addressed(prefix: bytes, authority: bytes | None) -> bytes:
    if authority is None:
        return prefix
    line, _, rest = prefix.partition(b"\r\n")
    _, _, fields = rest.partition(b"\r\n")  # the second line is Host
    return line + b"\r\nHost: " + authority + b"\r\n" + fields
