"""The native lane: a small C library (`native/`) sends, and this hands it requests, credit and the tag. Edge.

    supply -> batches -> [sender: pace, credit, connections, answers] -> counts -> ledger

The sender has a thread of its own, which knows nothing of Python and never waits for it. What happens here is by the
batch: requests are loaded some seconds ahead, grants are handed on as they are heard, counts are fetched.
"""

import asyncio
import ctypes
import os
import threading
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from captures.errors import CaptureError
from replayer.comparing.routes import Route
from replayer.counting.ledger import Ledger
from replayer.lanes.build import library
from replayer.lanes.lane import Host
from replayer.lanes.loading import Batches, Loader
from replayer.permission.ceiling import SPENDABLE_NS, STALE_NS, Source
from replayer.plan import Plan
from replayer.requests.encoding import Request
from replayer.safety.thinning import seeded
from replayer.schedule.pacing import awake
from replayer.stock import Supply
from replayer.transport import Target
from rules.wire import SIGNAL_TIMEOUT

AHEAD = 8192
"""Requests to hold loaded at most."""

LOW = AHEAD // 2
"""With fewer than this, loading goes on."""

AHEAD_BYTES = 16 << 20
AHEAD_NS = 5_000_000_000
"""Nothing is loaded that is due later than this."""

LOAD = 128
"""Requests loaded at a time: a millisecond."""

LOAD_BYTES = 4 << 20
"""Bytes of them: bodies may be large."""

DRAIN_NS = 900_000_000
"""Between two times that the histograms are fetched."""

REST = 20e-6
"""Seconds; the kernel makes it some more."""

LOOK_UP_NS = 30_000_000_000
"""Between two times that the target is looked up: what it had yesterday may be somebody else's address today."""

LEASE_NS = int(SIGNAL_TIMEOUT * 1e9)
"""For how long the sender goes on without hearing of the event loop. If that is stuck, no Ctrl-C is heard either."""

SHEDS = ("credit", "signal", "lever", "connections", "backoff", "connecting", "late", "backed-off")
FAILURES = ("refused", "connect", "connect-timeout", "closed", "reset", "first-byte-timeout",
            "truncated", "timeout", "protocol")  # fmt: skip
WITHHOLDS = ("credit", "lever", "tag")
"""As `enum shed`, `enum failure` and `struct answer` number them."""

NEWS_DEADLINE, NEWS_EXHAUSTED, NEWS_LEVER, NEWS_SETTLED, NEWS_BROKEN = 2, 4, 8, 16, 32
LATENCY, SERVICE, LAG, WAIT, STATUS, ERROR, WITHHELD, BYTES, SHED = range(1, 10)
RECORDED_STATUS, RECORDED_BYTES, RECORDED_DURATION, RECORDED_TTFB = range(10, 14)


class _Settings(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("max_lag", "lag_bound", "connect_timeout", "first_byte_timeout", "timeout")),
        ("seed", c_uint64),
        *((name, c_int32) for name in ("max_connections", "guarded", "news_fd", "low")),
    )


_COUNTS = (
    *("taken", "queued", "queued_bytes", "sent", "answered", "in_flight", "waiting", "open"),
    *("retried", "crowded", "bytes_sent", "bytes_received", "news"),
)


class _Look(Structure):
    _fields_ = (
        *((name, c_int64) for name in _COUNTS),
        ("shed", c_int64 * len(SHEDS)),
        ("withheld", c_int64 * len(WITHHOLDS)),
        ("errors", c_int64 * len(FAILURES)),
        ("reasons", c_int64 * len(FAILURES)),
        ("statuses", c_int64 * 1000),
    )


_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # the result, then the arguments
    "ceiling_new": (c_void_p, c_int32, c_int64, c_int64),
    "ceiling_free": (None, c_void_p),
    "ceiling_hear": (None, c_void_p, c_int32, c_int64, c_bool, c_int64, c_int64, c_int64, c_bool),
    "ceiling_spend": (c_int32, c_void_p, c_int64),
    "ceiling_open": (c_int32, c_void_p, c_int64),
    "pace": (c_int32, c_int64, c_int64, c_int64, c_int64),
    "awake": (c_int64, c_int64, c_int64, c_int64, c_int64),
    "rounded": (c_int64, c_int64),
    "passes": (c_bool, c_uint64, c_uint64, c_int64),
    "sender_new": (c_void_p, POINTER(_Settings), c_void_p),
    "sender_run": (c_int32, c_void_p),
    "sender_address": (c_int32, c_void_p, c_char_p, c_uint32, c_bool),
    "sender_begin": (None, c_void_p, c_int64),
    "sender_load": (c_int32, c_void_p, c_uint32, *[c_void_p] * 6, c_char_p, c_uint64),
    "unfold_numbers": (c_int32, c_char_p, c_uint32, c_uint32, c_int64, c_int64, c_int64, c_void_p),
    "unfold_places": (c_int32, c_char_p, *[c_uint32] * 4, c_void_p),
    "unfold_times": (c_int32, c_uint32, c_int64, *[c_void_p] * 4),
    "unfold_total": (c_int64, c_void_p, c_uint32, c_void_p),
    "unfold_uses": (None, c_void_p, c_uint32, c_void_p),
    "block_fill": (c_int32, c_void_p, c_void_p, c_void_p),
    "block_mark": (None, c_void_p, c_char_p, c_char_p, c_char_p, c_void_p, c_char_p, c_void_p, c_void_p),
    "block_load": (c_int32, c_void_p, c_void_p, c_void_p, c_uint32, c_int64),
    "block_prefix": (c_uint32, c_void_p, c_uint32, c_char_p, c_uint32),
    "sender_last": (None, c_void_p),
    "sender_fed_again": (None, c_void_p, c_int64),
    "sender_token": (c_int32, c_void_p, c_char_p, c_uint32, c_int64),
    "sender_hear": (None, c_void_p, c_int32, c_int64, c_bool, c_int64, c_int64, c_int64, c_bool),
    "sender_gain": (None, c_void_p, c_int64),
    "sender_halt": (c_int64, c_void_p),
    "sender_withdraw": (c_int64, c_void_p),
    "sender_look": (None, c_void_p, POINTER(_Look), POINTER(c_int64)),
    "sender_queued": (c_int64, c_void_p, POINTER(c_int64)),
    "sender_news": (c_int64, c_void_p),
    "sender_turn": (c_uint64, c_void_p),
    "sender_tallied": (None, c_void_p, c_void_p, c_void_p),
    "sender_close": (c_int64, c_void_p),
    "sender_free": (None, c_void_p),
}


def load(path: Path | None = None) -> Any:
    """Load the library, by default the one that was built from these sources. Raises OSError, in words."""
    path = path or library()
    if not path.exists():
        raise OSError("it is not built: python -m replayer.lanes.build")
    found = ctypes.CDLL(str(path))
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


class NativeLane:
    """Sends for one run over plain HTTP/1.1. Raises OSError if it can't be set up."""

    name = "native"

    def __init__(
        self,
        host: Host,
        plan: Plan,
        target: Target,
        clock: Callable[[], int],
        addresses: Sequence[bytes],
        code: Any = None,
        look_up: Callable[[], Awaitable[Sequence[bytes]]] | None = None,
        part: int = 0,
    ) -> None:
        """`look_up` finds the target's addresses anew, for connections that are opened later. It may raise OSError.

        `part`: which of the run's processes this is.
        """
        self._host = host
        self._ledger = host.ledger
        self._accounts = host.ledger.accounts
        self._routes = host.ledger.routes
        self._sources = host.ceiling.sources
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._code = code or load()
        self._lock = threading.Lock()  # metrics are asked for from a thread of their own
        self._news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        settings = _Settings(
            max_lag=int(plan.max_lag * 1e9),
            lag_bound=int(plan.lag_bound * 1e9),
            connect_timeout=int(target.connect_timeout * 1e9),
            first_byte_timeout=int((target.first_byte_timeout or target.timeout) * 1e9),
            timeout=int(target.timeout * 1e9),
            seed=seeded(plan.seed, part),
            max_connections=target.max_connections,
            guarded=target.guarded,
            news_fd=self._news,
            low=LOW,
        )
        ceiling = self._code.ceiling_new(len(self._sources), SPENDABLE_NS, STALE_NS)
        self._sender = self._code.sender_new(ctypes.byref(settings), ceiling)
        if not self._sender:
            os.close(self._news)
            raise OSError("this system is too old for it")
        self._connect_to(addresses)
        self._look_up = look_up
        self._looking: asyncio.Task[None] | None = None
        self._looked_up_ns = clock()
        self._supply: Supply | None = None
        self._sending = self._said_last = self._loading = False
        self._dropped = 0
        self._max_lag_ns = settings.max_lag
        self._looked_ns = self._awake_ns = 0
        self._loader = Loader(self._code, self._sender, self._find_out_if_held_up, self._rest)
        self._seen = [0] * len(SHEDS)
        self._drained_ns = 0
        self._statuses: list[int] = []
        self._found = _Look()
        self._spent = (c_int64 * max(1, len(self._sources)))()
        self._loop.add_reader(self._news, self._take_news)
        self._thread = threading.Thread(target=self._code.sender_run, args=(self._sender,), name="sender", daemon=True)
        self._thread.start()

    # --- what the run asks ---

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""
        self.look()
        return int(self._found.in_flight)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection of their own."""
        self.look()
        return int(self._found.waiting)

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of each kind of connection that failed, the first error in words."""
        return {
            kind: f"[Errno {number}] {os.strerror(number)}"
            for kind, number in zip(FAILURES, self._found.reasons, strict=True)
            if number
        }

    @property
    def damage(self) -> Sequence[str]:
        """Nothing that the run does not know."""
        return ()

    @property
    def code(self) -> Any:
        """The library."""
        return self._code

    def begin(self, supply: Supply, deadline_ns: int) -> None:
        """Send what falls due."""
        self._supply = supply
        self._sending = True
        self._renew()
        self._load()
        self._code.sender_begin(self._sender, deadline_ns)

    def wake(self) -> None:
        """Load what is wanted."""
        if self._sending and not self._loading:
            self._load()

    def heard(self, source: Source) -> None:
        """Hand on what a sidecar granted."""
        if self._sender:
            cleared, amount, at_ns = source.earned
            self._hand_on(source, at_ns, cleared, amount)

    def beat(self, now_ns: int) -> None:
        """Renew the tag, take note of sidecars that refuse, fetch the histograms."""
        if not self._sender:
            return
        for source in self._sources:
            self._hand_on(source, now_ns)
        self._renew()
        if now_ns - self._drained_ns >= DRAIN_NS:
            self._drained_ns = now_ns
            self._drain()
        if self._look_up is not None and now_ns - self._looked_up_ns >= LOOK_UP_NS:
            self._looked_up_ns = now_ns
            if self._looking is None or self._looking.done():
                self._looking = self._loop.create_task(self._look_again(self._look_up))

    def set_gain(self, gain: int) -> None:
        """Let this share of what falls due go on."""
        if self._sender:
            self._code.sender_gain(self._sender, gain)

    def look(self) -> None:
        """Bring the accounts up to date."""
        with self._lock:
            if self._sender:
                self._code.sender_look(self._sender, ctypes.byref(self._found), self._spent)
                self._copy(self._found)

    def halt(self) -> int:
        """Begin nothing any more."""
        if not self._sending or self._supply is None:
            return 0
        self._sending = False
        left: int = self._code.sender_halt(self._sender)
        if self._supply.echo is None:
            return 0  # what a recording holds is not wanted before it is due; what live traffic asked for is
        self._dropped += left
        return self._supply.demand.pending + left

    def withdraw(self) -> int:
        """Send nothing any more."""
        return self._code.sender_withdraw(self._sender) if self._sender else 0

    def close(self) -> int:
        """Close every connection and end the thread."""
        if not self._sender:
            return 0
        self._sending = False
        if self._looking is not None:
            self._looking.cancel()
        unanswered: int = self._code.sender_close(self._sender)
        self._thread.join()
        self._drain()
        self.look()
        with self._lock:
            self._code.sender_free(self._sender)
            self._sender = None
        self._loop.remove_reader(self._news)
        os.close(self._news)
        return unanswered

    # --- handing down ---

    def _connect_to(self, addresses: Sequence[bytes]) -> None:
        for number, address in enumerate(addresses):
            self._code.sender_address(self._sender, address, len(address), not number)

    async def _look_again(self, look_up: Callable[[], Awaitable[Sequence[bytes]]]) -> None:
        with suppress(OSError):  # then those that were found before have to do
            found = await look_up()
            if self._sender:
                self._connect_to(found)

    def _hand_on(self, source: Source, at_ns: int, cleared: bool = False, amount: int = 0) -> None:
        heard = -1 if source.heard_ns is None else source.heard_ns
        place = self._sources.index(source)
        self._code.sender_hear(
            self._sender, place, at_ns, cleared, amount, source.allowance, heard, source.lever.engaged
        )

    def _renew(self) -> None:
        token, until_ns = self._host.token_until()
        self._code.sender_token(self._sender, token, len(token), min(until_ns, self._clock() + LEASE_NS))

    def _load(self) -> None:
        """Load some of what is wanted, and go on with that when others had their turn."""
        self._loading = False
        if not self._sending or self._supply is None:
            return
        self._find_out_if_held_up()
        queued, held = self._queued()
        room = min(LOAD, AHEAD - queued)
        if room <= 0 or held >= AHEAD_BYTES:
            return
        try:
            more = self._load_some(self._supply, room)
        except CaptureError as error:
            self._host.stop("failed", str(error))
            return
        if self._supply.demand.exhausted:
            if not self._said_last:
                self._said_last = True
                self._code.sender_last(self._sender)
        elif more:
            self._loading = True
            self._loop.call_soon(self._load)

    def _queued(self) -> tuple[int, int]:
        """Tell how many requests are loaded and not taken yet, and their bytes."""
        held = c_int64()
        return self._code.sender_queued(self._sender, ctypes.byref(held)), held.value

    def _rest(self) -> None:
        """Leave the core to the thread that sends, if it has enough to go on with: the two may have but one.

        A fair scheduler lets whoever makes requests have its turn of milliseconds first.
        """
        if self._queued()[0] >= LOW:
            time.sleep(REST)

    def _find_out_if_held_up(self) -> None:
        now = self._clock()
        since = awake(self._awake_ns, self._looked_ns, now, self._max_lag_ns)
        if since != self._awake_ns:
            self._code.sender_fed_again(self._sender, since)
        self._awake_ns, self._looked_ns = since, now

    def _load_some(self, supply: Supply, count: int) -> bool:
        """Load some; tell whether there may be more to load at once."""
        until = self._clock() + AHEAD_NS
        source: object = supply.stock
        if isinstance(source, Batches):
            return source.load(self._loader, until)
        stock, demand = supply.stock, supply.demand
        stock.fill(count)
        requests: list[tuple[int, Request]] = []
        size = 0
        while len(requests) < count and size < LOAD_BYTES and (due := demand.due()) is not None and due <= until:
            request = demand.take()
            requests.append((due, request))
            size += len(request)
        if requests:
            self._loader.load(requests)
        return len(requests) == count or size >= LOAD_BYTES or stock.low

    # --- hearing of ---

    def _take_news(self) -> None:
        os.eventfd_read(self._news)
        news = self._code.sender_news(self._sender) if self._sender else 0
        if news & NEWS_LEVER:
            self._host.refused_by_lever()
        if news & NEWS_BROKEN:
            self._host.stop("failed", "the native sender has no memory, or its system fails")
        if news & NEWS_DEADLINE:
            self._host.stop("ended", "the time was up")
        if news & NEWS_EXHAUSTED:
            self._host.stop("ended", self._supply.ending if self._supply else "")
        if news & NEWS_SETTLED:
            self._host.settled()
        self.wake()

    def _copy(self, found: _Look) -> None:
        accounts, supply = self._accounts, self._supply
        if supply is not None:
            ahead = self._loader.count - self._dropped - found.taken
            if supply.echo is None:
                accounts.wanted = supply.demand.wanted - ahead
                accounts.waiting = found.waiting
            else:
                accounts.wanted = supply.demand.wanted
                accounts.waiting = found.waiting + ((supply.demand.pending + ahead) if self._sending else 0)
        for place, (kind, count) in enumerate(zip(SHEDS, found.shed, strict=True)):
            if count != self._seen[place]:
                accounts.shed[kind] += count - self._seen[place]
                self._seen[place] = count
        accounts.sent, accounts.answered = found.sent, found.answered
        accounts.in_flight, accounts.retried = found.in_flight, found.retried
        accounts.bytes_sent, accounts.bytes_received = found.bytes_sent, found.bytes_received
        accounts.withheld = Counter(_named(WITHHOLDS, found.withheld))
        accounts.errors = Counter(_named(FAILURES, found.errors))
        if sum(map(found.statuses.__getitem__, self._statuses)) != found.answered:  # there is a new one
            self._statuses = [status for status, count in enumerate(found.statuses) if count]
        accounts.statuses = Counter({status: found.statuses[status] for status in self._statuses})
        self._ledger.crowded = found.crowded
        for source, spent in zip(self._sources, self._spent, strict=False):
            source.spent = spent

    def _drain(self) -> None:
        """Take what was counted by value since the last time."""
        count_values(self._ledger, *self._tallied())

    def _tallied(self) -> "tuple[array[int], array[int]]":
        entries = self._code.sender_turn(self._sender)
        keys, counts = array("Q", bytes(8 * entries)), array("Q", bytes(8 * entries))
        self._code.sender_tallied(self._sender, keys.buffer_info()[0], counts.buffer_info()[0])
        return keys, counts


def count_values(
    ledger: Ledger, keys: Iterable[int], counts: Iterable[int], routes: Sequence[int] | None = None
) -> None:
    """Count what a sender tallied; `routes` gives the ledger's number for each of the sender's, if they differ."""
    whole: dict[int, Counter[int]] = {kind: Counter() for kind in (LATENCY, SERVICE, LAG, WAIT)}
    for key, count in zip(keys, counts, strict=True):
        kind, value, route = key >> 60, key & 0xFFFFFFFFFF, key >> 40 & 0xFFFF
        if kind in whole:
            whole[kind][value] += count
            if kind in (LAG, WAIT):
                continue
        _count(ledger.routes[route if routes is None else routes[route]], kind, value, count)
    for kind, recorder in zip(whole, (ledger.latency, ledger.service, ledger.lag, ledger.wait), strict=True):
        recorder.count(whole[kind])


def _count(route: Route, kind: int, value: int, count: int) -> None:
    """Add to a route's counts."""
    if kind == LATENCY:
        route.latency[value] += count
    elif kind == SERVICE:
        route.service[value] += count
    elif kind == RECORDED_DURATION:
        route.recorded.duration[value] += count
    elif kind == RECORDED_TTFB:
        route.recorded.ttfb[value] += count
    elif kind == BYTES:
        route.bytes_received += count
    elif kind == RECORDED_BYTES:
        route.recorded.bytes += count
    elif kind == RECORDED_STATUS:
        route.recorded.count += count
        route.recorded.statuses[value] += count
    elif kind == SHED:
        route.shed[SHEDS[value]] += count
    else:
        _count_outcome(route, kind, value, count)


def _count_outcome(route: Route, kind: int, value: int, count: int) -> None:
    route.sent += count
    if kind == STATUS:
        route.answered += count
        route.statuses[value] += count
    elif kind == ERROR:
        route.errors[FAILURES[value]] += count
    else:
        route.withheld += count


def _named(names: tuple[str, ...], counts: Any) -> dict[str, int]:
    return {name: count for name, count in zip(names, counts, strict=True) if count}
