"""One run, from the first request to the report. Edge: the clock, the loop and the signals are here, decisions are not.

    prepared -> the signal is there -> begin -> (lane: send, count) -> end, however it comes -> report

What is sent leaves by the run's lane (`replayer.lanes`). The run hears the sidecars, and its beat looks after
everything that takes no part in sending: time-outs, the signal, the lever, the end, what is shown.
"""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from prometheus_client import CollectorRegistry

from captures.errors import CaptureError
from replayer.announcing.herald import Herald, Outcome
from replayer.announcing.wording import Facts, Words, orphaned, stop_command, words
from replayer.books.chronicle import Chronicle
from replayer.books.folder import Folder
from replayer.books.report import Lateness, Live, Report, exit_code, faults, lacking
from replayer.counting.accounts import Accounts
from replayer.counting.bottleneck import bottleneck
from replayer.counting.latency import quantiles, quantiles_of
from replayer.counting.ledger import Ledger
from replayer.counting.snapshot import Observer, Snapshot
from replayer.interruption import signals_to
from replayer.lanes.bulk import Bulk, fits
from replayer.lanes.choice import addresses_of
from replayer.lanes.fleet import Fleet
from replayer.lanes.lane import Lane
from replayer.lanes.native import NativeLane
from replayer.lanes.python import PythonLane
from replayer.metrics import RunCollector
from replayer.permission.ceiling import Ceiling, Heard, Source, Unbounded
from replayer.permission.credits import follow
from replayer.permission.vigil import Vigil
from replayer.person import host, person
from replayer.plan import Plan
from replayer.preparing.describing import intent, opening
from replayer.preparing.length import run_seconds
from replayer.preparing.prepared import Prepared
from replayer.preparing.sidecars import control_client
from replayer.preparing.timetable import starts
from replayer.prober import Prober
from replayer.reporting.findings import by_route, caveats, left_out
from replayer.requests.tagging import Tag
from replayer.safety.loop import Loop
from replayer.safety.warden import Warden
from replayer.schedule.waiting import countdown, watch_levers
from replayer.stock import REFILL, Supply, stocked, supply
from replayer.stopping import Stop
from replayer.transport import target
from rules.exits import Exit
from rules.wire import Lever

logger = logging.getLogger(__name__)

BEAT = 0.05
BEAT_NS = int(BEAT * 1e9)
"""Seconds between two looks at everything that takes no part in sending."""

WAKE_NS = 10_000_000
"""A beat that comes later than this shows that the process was held up."""

LEAD_NS = 50_000_000
"""Between being ready and the first due request."""

type Again = Callable[[], Awaitable[tuple[Stop, str] | None]]
"""A check just before the start: how the run ends with it, or None."""


class Run:
    """Sends what a plan wants and a ceiling allows. Used once. Is the `Host` of its lane."""

    def __init__(
        self,
        plan: Plan,
        prepared: Prepared,
        folder: Folder,
        show: Callable[[Snapshot], None] = lambda _: None,
        again: Again | None = None,
    ) -> None:
        self.plan = plan
        self.prepared = prepared
        self.folder = folder
        self.ledger = Ledger(prepared.encoder.routes.all)
        self.accounts = self.ledger.accounts
        self._show = show
        self._again = again
        self._clock = time.monotonic_ns
        self._loop = asyncio.get_running_loop()
        self._warden = Warden(self, plan, self._clock)
        self._end: tuple[Stop, str] | None = None
        self._ended = asyncio.Event()
        self._drained = asyncio.Event()
        self._sending = False
        self._facts = facts(plan, prepared, folder)
        self._herald: Herald | None = None
        self._written = False  # whether the journal is closed
        self._tag = Tag(prepared.signer, prepared.run_id, prepared.terms.audience, plan.tag_lifetime)
        terms = prepared.terms
        self.ceiling: Ceiling | Unbounded = (
            Unbounded() if terms.ceiling is None else Ceiling(Source(url, terms.ceiling) for url in prepared.states)
        )
        self._shared = False  # whether the processes of the run read the recording themselves
        self.lane = self._lane()
        self._supply: Supply | None = None
        self._looped = False
        self._began_ns = self._clock()
        self._planned_ns = 0  # when it is to start, if that was announced
        self._start_ns = self._end_ns = 0
        self._beat_ns = self._awake_ns = 0
        self._second_ns = 0
        self._stalled_ns = 0
        self._observer = Observer(self.ceiling)
        self._lateness = Lateness(plan)
        self._chronicle = Chronicle(folder, prepared.encoder, self.ledger, self.ceiling)
        self._prober: Prober | None = None
        if plan.diff:
            self._prober = Prober(
                plan, prepared.encoder.routes, self._clock, self.token, self._spend, self._still, self.refused_by_lever
            )
        self._vigil = Vigil(len(self.ceiling.sources), int(plan.signal_timeout * 1e9))
        self._ratios: dict[str, int] = {}
        self._warmed: dict[str, tuple[int, int]] = {}  # real requests and grants of the warm-up, by sidecar
        self._loudness, self._stage, self._stages = plan.loudness, "", 0

    def _spend(self) -> bool:
        """Spend a credit on a request beside the schedule; False if it can't be sent."""
        return self._sending and self._warden.passes() and self.ceiling.spend(self._clock()) is None

    def _still(self) -> bool:
        """Tell whether what got a credit may still be sent."""
        return self._sending and bool(self._warden.loop.gain.value) and self.ceiling.open(self._clock())

    @property
    def rules(self) -> Loop:
        """How the rules stand."""
        return self._warden.loop

    async def run(self) -> Report:
        """Run to the end, however it comes, and write the report."""
        started = time.time()
        if self.prepared.receivers:
            self._herald = Herald(self.prepared.receivers, orphaned(self._facts), self._outcome)
        self.folder.begin("plan", started, **opening(self.plan, self.prepared))
        for damage in self.prepared.capture.damage:
            self._note("damage", found=damage)
        with _calm():
            async with control_client(self.plan) as client:
                followers: list[asyncio.Task[None]] = []
                try:
                    self._beat_ns = self._clock()
                    self._beat()
                    if await self._is_time(client):
                        followers += self._follow(client)
                        if await self._signal_is_there() and await self._warm_up():
                            await self._begin()
                    await self._ended.wait()
                    await self._wind_down()
                finally:
                    self.lane.close()
                    if self._prober is not None and (trouble := await self._prober.close()):
                        self._note("diff ended", error=trouble)
                    for follower in followers:
                        follower.cancel()
                    await asyncio.gather(*followers, return_exceptions=True)
        report = lacking(self._report(started), self.folder.unwritten)
        for number, judgement in enumerate(report.slo, 1):
            if judgement.verdict == "not judged" and report.accounts.sent:
                self._note("slo not judged", rule=judgement.expression, number=number, because=judgement.words)
        self._note(
            "stopped", why=report.stop, reason=report.reason, exit_code=report.exit_code, sent=report.accounts.sent
        )
        report, self._written = self.folder.finish(report), True
        if self._herald is not None:
            await self._herald.close()  # all is written by now, so this holds nothing up but the command's own end
        return report

    def stop(self, why: Stop, reason: str) -> None:
        """Send nothing any more, from this moment on.

        After the planned end the last answers are waited for, and any other end may still come. That one is final.
        """
        if self._prober is not None:
            self._prober.stop()
        if self._end is None:
            self._end_ns = self._clock()
            self._sending = False
            self.accounts.shed["stopped"] += self.lane.halt()
            self._ended.set()
        elif self._end[0] == "ended" and why != "ended" and not self._drained.is_set():
            reason += "; the last answers were not waited for"
        else:
            return
        self._end = why, reason
        if why != "ended":
            self.accounts.shed["stopped"] += self.lane.withdraw()
            self._drained.set()

    def settled(self) -> None:
        """Take the news that a request has its outcome (called by the lane)."""
        if self._end is not None and not self.lane.in_flight and not self.lane.waiting:
            self._drained.set()

    def refused_by_lever(self) -> None:
        """Stop, because a guard says that its lever is pulled (called by the lane)."""
        self._note("lever", sidecar=None, by=None, reason=None, told_by="the guard")
        self.stop("lever", "the guard refused: the lever is pulled")

    def token(self) -> bytes:
        """Give the load tag's token, valid now (called by the lane)."""
        return self._tag.token(time.time())

    def token_until(self) -> tuple[bytes, int]:
        """Give a token that is valid for some beats, and until when it may be sent (called by the lane)."""
        now, now_ns = time.time(), self._clock()
        token = self._tag.token(now + 2 * BEAT)
        return token, now_ns + int((self._tag.until - now) * 1e9)

    def _lane(self) -> Lane:
        plan = self.plan
        there = target(plan, self.prepared.tls)
        choice = self.prepared.lane
        if plan.processes > 1:
            self._shared = fits(plan, self.prepared.capture, self.prepared.encoder)
            told = {
                "run": self.prepared.run_id,
                "begin": self.prepared.capture.first_ns,
                "addresses": choice.addresses,
                "dealt": not self._shared,
            }
            return Fleet(self, plan, plan.processes, self.prepared.encoder, told)
        if choice.name == "native":
            try:
                look_up = partial(addresses_of, plan)
                return NativeLane(self, plan, there, self._clock, choice.addresses, look_up=look_up)
            except OSError as error:
                self._note("lane", taken="python", because=str(error))
        return PythonLane(self, plan, there, self._clock)

    # --- the beginning ---

    async def _is_time(self, client: httpx.AsyncClient) -> bool:
        """Announce the start and wait for it, if that was asked for; False if the run is over before it began."""
        before = self.plan.announce_before
        if before is None:
            return True
        self._planned_ns = self._clock() + int(before * 1e9)
        self._note("ahead", **ahead(self.plan, self.prepared))
        watch = self._loop.create_task(watch_levers(client, self.plan.sidecars, self._pulled_at))
        try:
            if await self._people_know():
                await countdown(self._planned_ns, self._clock, self._ended, self._show_countdown)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        self._planned_ns = 0
        # What was well when it was announced may not be so any more.
        if self._end is None and self._again is not None and (end := await self._again()) is not None:
            self.stop(*end)
        return self._end is None

    def _show_countdown(self, left: float) -> None:
        lasts = run_seconds(self.plan, self.prepared)
        self._show_it(self._observer.observe(self.current(), 0.0, 1.0, lasts, None, set())._replace(starts_in=left))

    def _follow(self, client: httpx.AsyncClient) -> list[asyncio.Task[None]]:
        """Subscribe to every sidecar."""
        run, token = self.prepared.run_id, lambda: self.token().decode()
        followers = [
            self._loop.create_task(follow(client, source, run, token, self._clock, self._hear), name=source.url)
            for source in self.ceiling.sources
        ]
        return followers + [self._loop.create_task(each) for each in self._warden.followers(client, run, token)]

    async def _people_know(self) -> bool:
        """Where it is required, wait until everybody was told; False if the run is over before it began."""
        while (  # noqa: ASYNC110 - it is over in the time that a message takes, or a beat finds that it is not
            self._end is None and self._herald is not None and self.plan.announce_required and self._herald.pending
        ):
            await asyncio.sleep(0.01)
        return self._end is None

    async def _signal_is_there(self) -> bool:
        """Wait for the first grant of every sidecar; False if the run is over before it began."""
        until = self._clock() + int(self.plan.signal_timeout * 1e9)
        while self._end is None:
            lost = self.ceiling.lost(self._clock())
            if not lost:
                return True
            if self._clock() > until:
                urls = ", ".join(map(_told, lost))
                self.stop("signal-lost", f"no grant came from {urls} within {self.plan.signal_timeout}")
                return False
            await asyncio.sleep(0.01)
        return False

    async def _warm_up(self) -> bool:
        """Learn what users get without load; False if that can't be learnt, or if the run is over before it began."""
        if self.plan.warm_up is None:
            return True
        self._note("warm-up", seconds=float(self.plan.warm_up))
        begun = shown = self._clock()
        until = begun + int(self.plan.warm_up * 1e9)
        observer = Observer(self.ceiling)
        while self._end is None and (now := self._clock()) < until:
            if now - shown >= 1_000_000_000:
                passed, left = (now - begun) / 1e9, (until - now) / 1e9
                told = "warm-up: learning what users get, nothing is sent"
                self._show_it(
                    observer.observe(self.accounts, passed, (now - shown) / 1e9, left, None, set(), trouble=told)
                )
                shown = now
            await asyncio.sleep(BEAT)
        if self._end is None and (trouble := self._warden.learn()):
            self.stop("slo", f"nothing was sent, the warm-up taught no baseline: {trouble}")
        # The warm-up is no part of what the extra traffic is held against.
        self._chronicle.begin()
        self._warmed = {source.url: (source.real, source.granted) for source in self.ceiling.sources}
        return self._end is None

    async def _begin(self) -> None:
        if self._prober is not None:
            self.prepared.encoder.offer = self._prober.offer
        if not await self._stock_up():
            return
        deadline_ns = 0
        if self.plan.duration is not None:  # and not `run_seconds`, which ends with the last request, and so without it
            deadline_ns = self._start_ns + int(self.plan.duration * 1e9)
        elif self.plan.of == "live":
            deadline_ns = self._start_ns + int(run_seconds(self.plan, self.prepared) * 1e9)
        self._observer = Observer(self.ceiling)
        self._sending = True
        self._warden.begin()
        if isinstance(self.lane, Fleet) and self._shared:
            self.lane.start(self._start_ns, deadline_ns)
        elif self._supply is not None:
            self.lane.begin(self._supply, deadline_ns)
        if self._prober is not None:
            self._prober.begin()

    async def _stock_up(self) -> bool:
        """Get ready to send, and set the moment of the start; False if the run is over before it began."""
        capture, encoder = self.prepared.capture, self.prepared.encoder
        if isinstance(self.lane, Fleet) and (not await self.lane.ready() or self._end is not None):
            return False
        if self._shared:
            return await self._set_start()
        if isinstance(self.lane, NativeLane) and fits(self.plan, capture, encoder):
            if not await self._set_start():
                return False
            bulk = Bulk(self.plan, capture, encoder, self.accounts, self.lane.code, self._start_ns)
            self._supply = bulk.supply()
            return True
        stock = stocked(self.plan, capture, encoder, self.accounts)
        try:
            while stock.low and self._end is None:
                stock.fill(REFILL)
                await asyncio.sleep(0)
        except CaptureError as error:
            self.stop("failed", str(error))
        if self._end is not None or not await self._set_start():
            return False
        self._supply = supply(self.plan, stock, capture.first_ns or 0, self._start_ns)
        return True

    async def _set_start(self) -> bool:
        """Say that it starts, now that all is ready, and set the moment; False if the run is over before it began."""
        lane = f"{self.prepared.lane.name}: {self.prepared.lane.why}"
        self._note(
            "start", of=self.plan.of, amplify=self.plan.amplify, top_up=self.plan.top_up, rate=self.plan.rate, lane=lane
        )
        if not await self._people_know():
            return False
        self._start_ns = self._second_ns = self._clock() + LEAD_NS
        return True

    # --- what sidecars report ---

    def _hear(self, source: Source, heard: Heard) -> None:
        """Take in what a sidecar reported."""
        self.lane.heard(source)
        if source.lever.engaged:
            self._pulled(source)
        if self._ratios.get(source.url) != source.ratio:
            self._ratios[source.url] = source.ratio
            self._note("ceiling", sidecar=source.url, ratio=source.ratio)
        echo = self._supply.echo if self._supply else None
        if self._sending and echo is not None:
            now = self._clock()
            self._wake(now)
            late = echo.hear(heard, now, self._awake_ns)
            if late:
                # Either it lay here while this process was held up, or it was long on its way.
                self.accounts.shed["late" if heard.until_ns < self._awake_ns else "signal"] += late
        self.lane.wake()

    def _wake(self, now: int) -> int:
        """Take note if this process was held up until now; tell for how long."""
        held_up = now - self._beat_ns - BEAT_NS
        if held_up > WAKE_NS:
            self._awake_ns = now
        return held_up

    # --- the beat ---

    def _beat(self) -> None:
        if self._drained.is_set():
            return
        now = self._clock()
        held_up = self._wake(now)
        self._beat_ns = now
        self._loop.call_later(BEAT, self._beat)
        try:
            self._look_after(now, held_up)
        except Exception as error:  # noqa: BLE001 - a fault of ours: nobody looks after the signal and the rules now
            self.stop("failed", f"the run could not be looked after: {error!r}")

    def _look_after(self, now: int, held_up: int) -> None:
        if self._sending and held_up > self.plan.lag_bound * 1e9:
            self._stalled_ns += held_up
            self._note("stalled", seconds=round(held_up / 1e9, 3))
        self.lane.beat(now)
        self._watch_hours(now)
        self._watch_signal(now)
        self._watch_key()
        if self._sending:
            self.lane.wake()  # whatever woke nobody up (a clock that was set, an alarm that was lost), this does
        self._note_reading()
        self._note_stage(now)
        if self._herald is not None:
            self._herald.beat()
        if self._start_ns:
            in_use = self.lane.in_flight + self.lane.waiting
            full = in_use >= self.plan.max_connections and not self.plan.may_multiplex
            self._chronicle.beat((now - self._start_ns) / 1e9, full)
            if now - self._second_ns >= 1_000_000_000:
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

    def _watch_key(self) -> None:
        """Stop when the key is not good any more: what a sidecar would refuse is not sent."""
        if self._end is None and (why := self._tag.over(time.time())):
            self._note("key over", key=self._tag.key_id, because=why)
            self.stop("outside-window", why)

    def _watch_hours(self, now: int) -> None:
        """Stop outside of the windows (by the wall clock) and after the longest time (by the clock that nobody sets).

        Answers that are still to come after the planned end break no window; requests that are still to be sent do.
        """
        if self._end is None or self.lane.waiting:
            moment = datetime.now(UTC) + timedelta(microseconds=max(0, self._planned_ns - now) // 1000)
            if why := self.prepared.calendar.why_not(moment):
                self._note("outside window", because=why)
                self.stop("outside-window", f"{why}; {self.prepared.calendar.next_opening(moment)}")
        longest = self.plan.max_time
        if longest is not None and self._end is None and now - self._began_ns >= longest * 1e9:
            self._note("longest time", seconds=float(longest))
            if self._sending:
                self.stop("ended", f"after --max-time {longest}, which cut the rest off")
            else:
                self.stop("failed", f"--max-time {longest} was over before anything was sent")

    def _pulled(self, source: Source) -> None:
        if self._end is not None and self._end[0] != "ended":
            return
        self._pulled_at(source.url, source.lever)

    def _pulled_at(self, url: str, lever: Lever) -> None:
        if self._end is None or self._end[0] == "ended":
            self._note("lever", sidecar=url, by=lever.by, reason=lever.reason)
            self.stop("lever", f"the lever was pulled at {url} by {lever.by or 'somebody'}: {lever.reason}")

    def _tell(self, now: int) -> None:
        """Log a second's histograms and show how things stand."""
        start, end = (self._second_ns - self._start_ns) / 1e9, (now - self._start_ns) / 1e9
        found = {}
        service: Mapping[int, int] = {}
        for tag, recorder in self.ledger.recorders:
            recorder.digest()
            if tag == "service":
                service = recorder.recent
            found[tag] = quantiles_of(recorder.recent)
            values = recorder.interval()
            if values.total_count:
                self.folder.interval(tag, values, start, end)
        self._keep_watch(service)
        p95 = found["latency"].p95
        gain, real = self._warden.gain, self._warden.real_p95
        latency, lag = found["latency"], found["lag"]
        self._lateness.add(self._chronicle.second(start, end, self.current(), latency, lag, gain, real))
        self._second_ns = now
        left = max(0.0, run_seconds(self.plan, self.prepared) - end)
        if end - start < 1:
            return  # the last part of a second: rates would say nothing
        ended = self._end is not None
        trouble = "" if ended else self._warden.loop.trouble
        lost = self._vigil.lost
        snapshot = self._observer.observe(self.current(), end, end - start, left, p95, lost, ended, trouble)
        self._show_it(snapshot._replace(gain=gain))

    def _keep_watch(self, service: Mapping[int, int]) -> None:
        """Judge the rules; `service`: how long answers took in this second."""
        try:
            accounts = self.current()
            self._warden.count(accounts, service)
            if self._sending:
                self._warden.look(accounts.sent, accounts.wanted)
        except Exception as error:  # noqa: BLE001 - a fault of ours: nobody knows what users get, so nothing is sent
            self.stop("failed", f"the rules could not be judged: {error!r}")

    def _show_it(self, snapshot: Snapshot) -> None:
        try:
            self._show(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever ails the output, the run goes on
            self._note("output ended", error=repr(error))
            self._show = lambda _: None

    def current(self) -> Accounts:
        """Give the accounts, with what others count brought up to date."""
        self.lane.look()
        return self.accounts

    def _note_reading(self) -> None:
        for how in self.prepared.encoder.news():
            self._note("plugin failed", how=how)
        if self.accounts.rounds and not self._looped:
            self._looped = True
            self._note("recording loops")

    def _note_stage(self, now: int) -> None:
        if self.plan.stage and self._sending:
            stage = str(self._loudness.stage(now - self._start_ns))
            if stage != self._stage:
                self._stage = stage
                self._stages += 1
                self._note("stage", stage=stage, number=self._stages)

    # --- the end ---

    async def _wind_down(self) -> None:
        """After the planned end, wait for what is on its way. At any other, close at once."""
        if self.lane.in_flight or self.lane.waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.plan.timeout + 2 * BEAT):
                    await self._drained.wait()
        self.accounts.shed["stopped"] += self.lane.withdraw()
        self.accounts.unanswered += self.lane.close()
        self._drained.set()

    def _report(self, started: float) -> Report:
        stop, reason = self._end or ("failed", "it never began")
        now = self._clock()
        if self._start_ns:
            self._tell(now)
            self._chronicle.finish((now - self._start_ns) / 1e9)
        self._note_reading()
        accounts = self.current()
        lag = quantiles(self.ledger.lag.total)
        seconds = max(0, self._end_ns - self._start_ns) / 1e9 if self._start_ns else 0.0
        stalled = self._stalled_ns / 1e9
        lagging = self._lateness.longest
        invalid = faults(self.plan, accounts, lag, stalled, seconds, self.ledger.crowded, lagging)
        shed = accounts.shed["connections"] + self.ledger.crowded
        limit = bottleneck(
            self._chronicle.strain, invalid, lag.p99, self.plan.lag_bound, self.plan.max_connections, shed
        )
        code = exit_code(stop, invalid, accounts)
        if stop == "ended" and code == Exit.FAILED:
            reason += "; not one request was answered"
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
            sidecars=[self._live(source) for source in self.ceiling.sources],
            latency=quantiles(self.ledger.latency.total),
            service=quantiles(self.ledger.service.total),
            lag=lag,
            wait=quantiles(self.ledger.wait.total),
            reasons={**self.lane.reasons, **self.prepared.encoder.reasons},
            damage=list(dict.fromkeys([*self.prepared.capture.damage, *self.lane.damage])),
            stop=stop,
            reason=reason,
            valid=not invalid,
            invalid_because=invalid,
            bottleneck=limit,
            routes=by_route(self.prepared.encoder.routes, self.folder.path),
            left_out=left_out(self.prepared.encoder.left_out.settled(), self.plan),
            caveats=caveats(self.plan, seconds),
            differences=self._prober.findings() if self._prober is not None else None,
            slo=self._warden.loop.judgements(),
            back_off=self._warden.loop.backing(),
            exit_code=int(code),
        )

    def _live(self, source: Source) -> Live:
        real, granted = self._warmed.get(source.url, (0, 0))
        return Live(
            url=source.url,
            real=source.real - real,
            granted=source.granted - granted,
            spent=source.spent,
            ceiling=source.ratio,
            signal=source.signal,
        )

    def set_gain(self, gain: int) -> None:
        """Let this share of the demand go on (called by the warden)."""
        self.lane.set_gain(gain)

    def note(self, event: str, **details: object) -> None:
        """Write into the journal (called by the warden)."""
        self._note(event, **details)

    def _note(self, event: str, **details: object) -> None:
        """Write a decision into the journal, and tell people of it if it is one for them. All decisions go this way."""
        self.folder.note(event, time.time(), **details)
        if self._herald is not None and (told := words(event, details, self._facts)) is not None:
            self._herald.say(told)

    def _outcome(self, outcome: Outcome) -> None:
        """Take in what became of an announcement."""
        if not outcome.trouble:
            if not self._written:
                self._note("announced", what=outcome.event, to=outcome.to)
            return
        if not self._written:
            self._note("not announced", what=outcome.event, to=outcome.to, because=outcome.trouble)
        logger.warning("%s could not be told (%s): %s", outcome.to, outcome.event, outcome.trouble)
        if self.plan.announce_required and not self._written:
            self.stop("failed", f"{outcome.to} could not be told ({outcome.event}): {outcome.trouble}")


def _told(source: Source) -> str:
    return f"{source.url} (it refuses: {source.refused})" if source.refused else source.url


def facts(plan: Plan, prepared: Prepared, folder: Folder) -> Facts:
    """Give what is said of a run in each announcement."""
    machine = host()
    return Facts(
        run=prepared.run_id,
        to=plan.to,
        operator=person(plan.operator),
        host=machine,
        what=intent(plan, prepared),
        stop=stop_command(plan.sidecars, machine, os.getpid()),
        folder=str(folder.path.absolute()),
    )


def ahead(plan: Plan, prepared: Prepared) -> dict[str, object]:
    """Give what is said of a start to come."""
    return {"ahead": plan.announce_before, "starts": prepared.calendar.told(starts(plan, datetime.now(UTC)))}


def notice(plan: Plan, prepared: Prepared, folder: Folder) -> Words | None:
    """Give what people are told of a start to come; None if it is not announced ahead."""
    found = facts(plan, prepared, folder)
    return None if plan.announce_before is None else words("ahead", ahead(plan, prepared), found)


async def replay(
    plan: Plan,
    prepared: Prepared,
    folder: Folder,
    registry: CollectorRegistry,
    show: Callable[[Snapshot], None],
    again: Again | None = None,
    already: Callable[[], str] = lambda: "",
    *,
    pass_on: bool = False,
) -> Report:
    """Run a plan; Ctrl-C, SIGTERM and SIGHUP stop it within milliseconds, the second one ends the process.

    What `registry` serves tells of it; `again` is asked just before a start that was announced ahead. `already` names a
    signal that the caller had got until here, and with which nothing is sent; empty: none. `pass_on`: a signal that
    comes when there is nothing left to stop is for whoever heard such signals before. Gives the report, in which stands
    what of it did not reach the disk.
    """
    run = Run(plan, prepared, folder, show, again)
    registry.register(RunCollector(run.current, run.ledger.latency, run.ledger.lag, run.rules))
    loop = asyncio.get_running_loop()

    pressed = 0

    def interrupt(number: int) -> None:
        nonlocal pressed
        if pressed:
            os._exit(int(Exit.INTERRUPTED))
        pressed = number
        loop.call_soon_threadsafe(run.stop, "interrupted", signal.Signals(number).name)

    with signals_to(interrupt):
        if told := already():
            run.stop("interrupted", told)
        report = await run.run()
    if pressed and pass_on and report.stop != "interrupted":
        os.kill(os.getpid(), pressed)
    return report


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
