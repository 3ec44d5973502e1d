"""Keeps a run's books on the disk while it lasts: each second, and each route when its time has come.

Driven by the run's beat. Between two requests there is little time, so a beat looks at a few routes only.
"""

import time

from replayer.books.folder import Folder
from replayer.comparing.routes import Routes
from replayer.counting.accounts import Accounts
from replayer.counting.bottleneck import Strain
from replayer.counting.cores import Cores
from replayer.counting.latency import Quantiles
from replayer.counting.ledger import Ledger
from replayer.counting.series import Second, Tally, packed, stretch
from replayer.permission.ceiling import Ceiling, Unbounded
from replayer.requests.encoding import Encoder

AT_ONCE, ENOUGH_NS = 8, 500_000
"""Routes looked at in a beat at most, and nanoseconds after which no other one is: each takes 0.1 to 1 ms to write."""

DIGEST = 512
"""Of what was told of a route, so much is counted at a time: a fifth of a millisecond."""

SHORT = 0.5
"""Seconds. What is shorter says nothing about how busy the sender was."""


class Chronicle:
    """Writes for one run. Times are seconds since its start."""

    def __init__(self, folder: Folder, encoder: Encoder, ledger: Ledger, ceiling: Ceiling | Unbounded) -> None:
        self.strain = Strain()
        self._folder = folder
        self._books = [_Book(folder, encoder.routes), _Book(folder, encoder.left_out)]
        self._ledger = ledger
        self._ceiling = ceiling
        self._cores = Cores()
        self._tally = Tally()
        self._beats = self._full = 0
        self._granted = 0
        self._real: dict[str, int] = {}

    def begin(self) -> None:
        """Take what sidecars have told until now for the time before the first second."""
        self._granted = self._ceiling.granted
        self._real = {source.url: source.real for source in self._ceiling.sources}

    def beat(self, now: float, full: bool) -> None:
        """Look after the routes whose turn it is; `full`: all connections are in use."""
        self._beats += 1
        self._full += full
        enough = time.perf_counter_ns() + ENOUGH_NS
        for book in self._books:
            book.turn(now, enough)

    def second(
        self,
        start: float,
        end: float,
        accounts: Accounts,
        latency: Quantiles,
        lag: Quantiles,
        gain: float | None = None,
        real_p95: float | None = None,
    ) -> Second:
        """Write down a second, and give it. `real_p95`: what rules go by, if they know better than the signals."""
        sources = self._ceiling.sources
        real = {source.url: source.real for source in sources}
        grown = {url: count - self._real.get(url, 0) for url, count in real.items()}
        p95s = [source.signal.p95 for source in sources if source.signal and source.signal.p95 is not None]
        busiest = self._cores.busiest()
        second = Second(
            start=round(start, 3),
            end=round(end, 3),
            granted=self._ceiling.granted - self._granted if sources else None,
            real=sum(grown.values()) if sources else None,
            ceiling=sum(grown[source.url] * int(source.ratio) / 1e6 for source in sources) if sources else None,
            in_flight=accounts.in_flight,
            waiting=accounts.waiting,
            full=round(self._full / max(1, self._beats), 3),
            cpu=round(busiest.used, 3),
            cpu_wanted=round(busiest.wanted, 3),
            latency=latency,
            lag=lag,
            real_p95=max(p95s, default=None) if real_p95 is None else real_p95,
            gain=gain,
            **self._tally.growth(accounts),
        )
        self._real, self._granted = real, self._ceiling.granted
        self._beats = self._full = 0
        if end - start >= SHORT:
            self.strain.add(second)
        self._folder.second(second.model_dump_json(exclude_defaults=True))
        return second

    def finish(self, now: float) -> None:
        """Write what is left of every route."""
        for book in self._books:
            book.finish(now)


class _Book:
    """Some routes, and when each of them was written last."""

    def __init__(self, folder: Folder, routes: Routes) -> None:
        self._folder = folder
        self._routes = routes
        self._since: list[float] = []
        self._next = 0

    def turn(self, now: float, enough: int) -> None:
        """Look after the next few, at least at one; no more after `enough` (of `perf_counter_ns`)."""
        count = len(self._routes.all)
        for _ in range(min(AT_ONCE, count)):
            self._next = (self._next + 1) % count
            self._look(self._next, now)
            if time.perf_counter_ns() > enough:
                return

    def finish(self, now: float) -> None:
        """Write what is left of every route."""
        for number in range(len(self._routes.all)):
            self._write(number, now)

    def _look(self, number: int, now: float) -> None:
        self._routes.all[number].digest(DIGEST)
        if now - self._last(number) >= stretch(now):
            self._write(number, now)

    def _write(self, number: int, now: float) -> None:
        since = self._last(number)
        taken = self._routes.taken(number)
        if taken is not None:
            self._folder.route(packed(taken, since, now))
        self._since[number] = now

    def _last(self, number: int) -> float:
        self._since += [0.0] * (len(self._routes.all) - len(self._since))
        return self._since[number]
