"""One run, from the first request to the report. Edge: the clock, the loop and the signals are here, decisions are not.

    due? (demand) -> in time? (pacing) -> a connection? (transport) -> credit? (ceiling) -> send -> outcome -> accounts

The pump asks these questions in this order for the request that is due next, and stops at the first answer that is not
"send". It is woken by an alarm at the next due time, by a grant, and by a connection that is free again. The beat
looks after everything that takes no part in sending: time-outs, the signal, the lever, the end, what is shown.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from captures.errors import CaptureError
from replayer.accounts import Accounts
from replayer.alarm import alarm
from replayer.ceiling import Ceiling, Heard, Source, Unbounded
from replayer.credits import follow
from replayer.demand import Demand
from replayer.encoding import Request
from replayer.folder import Folder
from replayer.latency import Recorder, quantiles
from replayer.metrics import RunCollector, serving
from replayer.pacing import Pace, pace
from replayer.plan import Plan
from replayer.prepare import Prepared, control_client, run_seconds
from replayer.report import Live, Report, Stop, exit_code, faults
from replayer.snapshot import Observer, Snapshot
from replayer.stock import Supply, supply
from replayer.tagging import Tag
from replayer.transport import Failure, Pool, Target
from replayer.vigil import Vigil
from rules.exits import Exit
from rules.wire import Withheld

BEAT = 0.05
"""Seconds between two looks at everything that takes no part in sending."""

BATCH = 64
"""Requests sent before answers get their turn."""

REFILL = 16
"""Requests read ahead at a time: a fraction of a millisecond."""

LEAD_NS = 50_000_000
"""Between being ready and the first due request."""


class Run:
    """Sends what a plan wants and a ceiling allows. Used once. Is the `Outcomes` of its pool."""

    def __init__(
        self, plan: Plan, prepared: Prepared, folder: Folder, show: Callable[[Snapshot], None] = lambda _: None
    ) -> None:
        self.plan = plan
        self.prepared = prepared
        self.folder = folder
        self.accounts = Accounts()
        self.latency, self.service, self.lag = Recorder(), Recorder(), Recorder()
        self._show = show
        self._clock = time.monotonic_ns
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[tuple[Stop, str]] = self._loop.create_future()
        self._drained = asyncio.Event()
        self._sending = False
        self.interrupted = False
        self._tag = Tag(prepared.signer, prepared.run_id, prepared.terms.audience, plan.tag_lifetime)
        self._max_lag_ns = int(plan.max_lag * 1e9)
        terms = prepared.terms
        self.ceiling: Ceiling | Unbounded = (
            Unbounded() if terms.ceiling is None else Ceiling(Source(url, terms.ceiling) for url in prepared.states)
        )
        host, port = plan.address
        name = None if plan.host in ("target", "recorded") else plan.host.rpartition(":")[0] or plan.host
        self.pool = Pool(
            Target(host, port, prepared.tls, name, plan.connect_timeout, plan.timeout, plan.max_connections),
            self,
            self._clock,
        )
        self._alarm = alarm(self._loop, self._pump)
        self._supply: Supply | None = None
        self._taken = 0
        self._shortage: str | None = None
        self._start_ns = self._deadline_ns = self._end_ns = 0
        self._beat_ns = 0
        self._second_ns = 0
        self._stalled_ns = 0
        self._observer = Observer(self.ceiling)
        self._vigil = Vigil(len(self.ceiling.sources), int(plan.signal_timeout * 1e9))
        self._ratios: dict[str, int] = {}

    async def run(self) -> Report:
        """Run to the end, however it comes, and write the report. Raises UserError if it can't even begin."""
        started = time.time()
        self._note("plan", run=self.prepared.run_id, to=self.plan.to, ceiling=self.prepared.terms.ceiling)
        with serving(self.plan.metrics, RunCollector(self._current, self.latency, self.lag)), _calm():
            async with control_client(self.plan) as client:
                followers = [
                    self._loop.create_task(
                        follow(
                            client, source, self.prepared.run_id, lambda: self.token().decode(), self._clock, self._hear
                        ),
                        name=source.url,
                    )
                    for source in self.ceiling.sources
                ]
                try:
                    self._beat_ns = self._clock()
                    self._beat()
                    if await self._signal_is_there():
                        self._begin()
                    stop, reason = await self._stopped
                    await self._wind_down(stop)
                    if stop == "ended" and self.interrupted:
                        stop, reason = "interrupted", f"{reason}; the last answers were not waited for"
                finally:
                    self._alarm.close()
                    for follower in followers:
                        follower.cancel()
                    await asyncio.gather(*followers, return_exceptions=True)
        report = self._report(started, stop, reason)
        self._note("stopped", why=stop, reason=reason, exit_code=report.exit_code)
        self.folder.finish(report)
        return report

    def stop(self, why: Stop, reason: str) -> None:
        """Send nothing any more, from this moment on."""
        self._sending = False
        if not self._stopped.done():
            self._end_ns = self._clock()
            self._stopped.set_result((why, reason))

    def interrupt(self, by: str) -> None:
        """Stop because somebody said so, even while the last answers are waited for."""
        self.interrupted = True
        self.stop("interrupted", by)
        self._drained.set()

    # --- the beginning ---

    async def _signal_is_there(self) -> bool:
        """Wait for the first grant of every sidecar; False if the run is over before it began."""
        until = self._clock() + int(self.plan.signal_timeout * 1e9)
        while not self._stopped.done():
            lost = self.ceiling.lost(self._clock())
            if not lost:
                return True
            if self._clock() > until:
                urls = ", ".join(map(_told, lost))
                self.stop("signal-lost", f"no grant came from {urls} within {self.plan.signal_timeout}")
                return False
            await asyncio.sleep(0.01)
        return False

    def _begin(self) -> None:
        now = self._clock()
        self._start_ns = now + LEAD_NS
        self._second_ns = self._start_ns
        try:
            prepared = self.prepared
            self._supply = supply(
                self.plan,
                prepared.capture,
                prepared.encoder,
                self.accounts,
                self._start_ns,
                lambda: self._note("recording loops"),
            )
            self._supply.stock.fill(BATCH)
        except CaptureError as error:
            self.stop("failed", str(error))
            return
        if self.plan.duration is not None or self.plan.of == "live":
            self._deadline_ns = self._start_ns + int(run_seconds(self.plan, self.prepared) * 1e9)
        self._observer = Observer(self.ceiling)
        self._note("start", of=self.plan.of, amplify=self.plan.amplify, top_up=self.plan.top_up)
        self._sending = True
        self._pump()

    # --- sending ---

    def _pump(self) -> None:
        if not self._sending or self._supply is None:
            return
        demand = self._supply.demand
        try:
            for _ in range(BATCH):
                now = self._clock()
                due = self._due(demand, now)
                if due is None:
                    return
                match pace(now, due, self._max_lag_ns):
                    case Pace.WAIT:
                        self._alarm.at(due)
                        return
                    case Pace.SHED:
                        demand.take()
                        self.accounts.shed[self._shortage or "late"] += 1
                    case Pace.SEND:
                        if not self._send(demand, due, now):
                            return
        except CaptureError as error:
            self.stop("failed", str(error))
            return
        self._loop.call_soon(self._pump)

    def _due(self, demand: Demand[Request], now: int) -> int | None:
        """Tell when the next request is due; None if there is none, for now or for good."""
        if self._deadline_ns and now >= self._deadline_ns:
            self.stop("ended", "the time was up")
            return None
        due = demand.due()
        if due is None and demand.exhausted:
            self.stop("ended", "the recording was played to its end")
        return due

    def _send(self, demand: Demand[Request], due: int, now: int) -> bool:
        """Send the request that is due; False if there is no connection for it now."""
        shortage = self.pool.shortage(now)
        if shortage is not None:
            self._shortage = shortage
            self._alarm.at(due + self._max_lag_ns + 1)
            return False
        self._shortage = None
        request = demand.take()
        self._taken += 1
        if self._taken >= REFILL:
            self._taken = 0
            self._loop.call_soon(self._refill)
        refusal = self.ceiling.spend(now)
        if refusal is not None:
            self.accounts.shed[refusal] += 1
            return True
        self.accounts.sent += 1
        self.lag.pending.append((now - due) // 1000)
        self.pool.send(request, due, now)
        return True

    def _refill(self) -> None:
        if not self._sending or self._supply is None:
            return
        try:
            self._supply.stock.fill(2 * REFILL)
        except CaptureError as error:
            self.stop("failed", str(error))

    def _hear(self, source: Source, heard: Heard) -> None:
        """Take in what a sidecar reported."""
        if source.lever.engaged:
            self._pulled(source)
        if self._ratios.get(source.url) != source.ratio:
            self._ratios[source.url] = source.ratio
            self._note("ceiling", sidecar=source.url, ratio=source.ratio)
        echo = self._supply.echo if self._supply else None
        if self._sending and echo is not None:
            now = self._clock()
            late = echo.hear(heard, now)
            if late:
                # Either the line was long on its way, or it lay here while this process was held up.
                stalled = now - self._beat_ns > BEAT * 1e9 + self._max_lag_ns
                self.accounts.shed["late" if stalled else "signal"] += late
            self._pump()

    # --- outcomes, called by the pool ---

    def answered(self, due_ns: int, sent_ns: int, status: int, size: int, withheld: Withheld | None) -> None:
        """Count an answer."""
        accounts = self.accounts
        accounts.bytes_received += size
        if withheld is None:
            now = self._clock()
            accounts.answered += 1
            accounts.statuses[status] += 1
            self.latency.pending.append((now - due_ns) // 1000)
            self.service.pending.append((now - sent_ns) // 1000)
        else:
            accounts.withheld[withheld] += 1
            if withheld == "lever":
                self._note("lever", told_by="the guard")
                self.stop("lever", "the guard refused: the lever is pulled")
        if not self._sending and not self.pool.in_flight:
            self._drained.set()

    def failed(self, _due_ns: int, _sent_ns: int, failure: Failure) -> None:
        """Count a request that will have no answer."""
        self.accounts.errors[failure] += 1
        if not self._sending and not self.pool.in_flight:
            self._drained.set()

    def token(self) -> bytes:
        """Give the load tag's token, valid now."""
        return self._tag.token(time.time())

    def may_send(self) -> bool:
        """Let a request go that waited for its connection, unless the ceiling has closed meanwhile."""
        return self.ceiling.open(self._clock())

    def may_retry(self) -> bool:
        """Let a lost request be sent again, for another credit."""
        return self._sending and self.ceiling.spend(self._clock()) is None

    def ready(self) -> None:
        """Go on, there is a connection again."""
        self._pump()

    # --- the beat ---

    def _beat(self) -> None:
        if self._stopped.done() and self._drained.is_set():
            return
        now = self._clock()
        held_up = now - self._beat_ns - int(BEAT * 1e9)
        self._beat_ns = now
        self._loop.call_later(BEAT, self._beat)
        if self._sending and held_up > self._max_lag_ns:
            self._stalled_ns += held_up
            self._note("stalled", seconds=round(held_up / 1e9, 3))
        self.pool.sweep(now)
        for recorder in (self.latency, self.service, self.lag):
            recorder.digest()
        self._watch_signal(now)
        if self._sending:
            self._refill()
            self._pump()  # whatever woke nobody up (a clock that was set, an alarm that was lost), this does
        if self._start_ns and now - self._second_ns >= 1_000_000_000:
            self._tell(now)

    def _watch_signal(self, now: int) -> None:
        if self.ceiling.lever is not None:
            self._pulled(self.ceiling.lever)
        if not self._sending:
            return
        change = self._vigil.look((source.url for source in self.ceiling.lost(now)), now)
        for url in change.lost:
            self._note("signal lost", sidecar=url)
        for url in change.found:
            self._note("signal found", sidecar=url)
        if change.give_up:
            urls = ", ".join(map(_told, self.ceiling.lost(now)))
            self.stop("signal-lost", f"the signal of {urls} did not come back within {self.plan.signal_timeout}")

    def _pulled(self, source: Source) -> None:
        if self._stopped.done():
            return
        lever = source.lever
        self._note("lever", sidecar=source.url, by=lever.by, reason=lever.reason)
        self.stop("lever", f"the lever was pulled at {source.url} by {lever.by or 'somebody'}: {lever.reason}")

    def _tell(self, now: int) -> None:
        """Log a second's histograms and show how things stand."""
        start, end = (self._second_ns - self._start_ns) / 1e9, (now - self._start_ns) / 1e9
        p95 = None
        for tag, recorder in (("latency", self.latency), ("service", self.service), ("lag", self.lag)):
            values = recorder.interval()
            if values.total_count:
                self.folder.interval(tag, values, start, end)
                if recorder is self.latency:
                    p95 = values.get_value_at_percentile(95) / 1e6
        self._second_ns = now
        left = max(0.0, run_seconds(self.plan, self.prepared) - end)
        self._show(self._observer.observe(self._current(), end, end - start, left, p95, self._vigil.lost))

    def _current(self) -> Accounts:
        """Give the accounts, with what others count brought up to date."""
        accounts = self.accounts
        if self._supply is not None:
            accounts.wanted = self._supply.demand.wanted
        accounts.retried = self.pool.retried
        accounts.bytes_sent = self.pool.sent_bytes
        accounts.in_flight = self.pool.in_flight
        return accounts

    # --- the end ---

    async def _wind_down(self, stop: Stop) -> None:
        """After the planned end, wait for what is on its way. At any other, close at once."""
        if self._supply is not None and self._supply.demand.pending:
            self.accounts.shed["stopped"] += self._supply.demand.pending
        if stop == "ended" and self.pool.in_flight and not self.interrupted:
            self._drained.clear()
            try:
                async with asyncio.timeout(self.plan.timeout + 2 * BEAT):
                    await self._drained.wait()
            except TimeoutError:
                pass
        self.accounts.unanswered += self.pool.close()
        self._drained.set()

    def _report(self, started: float, stop: Stop, reason: str) -> Report:
        now = self._clock()
        if self._start_ns:
            self._tell(now)
        accounts = self._current()
        lag = quantiles(self.lag.total)
        seconds = max(0, self._end_ns - self._start_ns) / 1e9 if self._start_ns else 0.0
        stalled = self._stalled_ns / 1e9
        invalid = faults(self.plan, accounts, lag, stalled, seconds)
        return Report(
            run=self.prepared.run_id,
            plan=self.plan.model_dump(mode="json"),
            ceiling=self.prepared.terms.ceiling,
            audience=self.prepared.terms.audience,
            started=started,
            ended=time.time(),
            seconds=seconds,
            stalled=stalled,
            accounts=accounts,
            sidecars=[
                Live(url=s.url, real=s.real, granted=s.granted, spent=s.spent, ceiling=s.ratio, signal=s.signal)
                for s in self.ceiling.sources
            ],
            latency=quantiles(self.latency.total),
            service=quantiles(self.service.total),
            lag=lag,
            stop=stop,
            reason=reason,
            valid=not invalid,
            invalid_because=invalid,
            exit_code=int(exit_code(stop, invalid, accounts)),
        )

    def _note(self, event: str, **details: object) -> None:
        self.folder.note(event, time.time(), **details)


def _told(source: Source) -> str:
    return f"{source.url} (it refuses: {source.refused})" if source.refused else source.url


async def replay(plan: Plan, prepared: Prepared, folder: Folder, show: Callable[[Snapshot], None]) -> Report:
    """Run a plan; Ctrl-C and SIGTERM stop it within milliseconds, the second one ends the process."""
    run = Run(plan, prepared, folder, show)
    loop = asyncio.get_running_loop()

    def interrupt(number: signal.Signals) -> None:
        if run.interrupted:
            os._exit(int(Exit.INTERRUPTED))
        run.interrupt(number.name)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await run.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextmanager
def _calm() -> Iterator[None]:
    """Keep the garbage collector from stopping the loop to look at what lives for the whole run anyway."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
