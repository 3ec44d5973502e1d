"""One drill at work: a run of the replayer for each step, and rest between them. Edge: the clock, signals, the clone.

    the clone is asked -> (what is next? -> run -> how did it go? -> rest) ... -> drill.json

Decisions are those of `steps`, `outcome` and `calm`. Ctrl-C, SIGTERM and SIGHUP stop it at once, wherever it is.
"""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from captures.errors import CaptureError
from drill.fairness.checking import check
from drill.fairness.conditions import Conditions
from drill.fairness.fairness import Fairness
from drill.incident import Incident
from drill.running.calm import MOST, Calm, Rested
from drill.running.folder import DrillFolder
from drill.running.outcome import Outcome, failing, outcome, unreached
from drill.running.plan import DrillPlan, Part
from drill.running.probing import Probes
from drill.running.record import DrillRecord, State, Step
from drill.running.steps import Done, Next, Over, following, most_left
from drill.running.survey import Example, Survey
from replayer.books.folder import Folder
from replayer.books.report import Report
from replayer.comparing.routes import settled
from replayer.counting.accounts import Accounts
from replayer.counting.snapshot import Snapshot
from replayer.engine import replay
from replayer.interruption import signals_to
from replayer.metrics import serving
from replayer.plan import Plan
from replayer.preparing.prepare import prepare
from replayer.preparing.prepared import Prepared
from replayer.reporting.findings import routes_of, seconds
from replayer.reporting.writing import write_beside
from replayer.stock import usable
from rules.exits import Exit, UserError

AT_A_TIME = 2000
"""Records that are read before others get their turn."""

_STATES: dict[str, State] = {
    "interrupted": "interrupted",
    "lever": "lever",
    "outside-window": "outside-window",
    "failed": "failed",
    "signal-lost": "failed",
    "killed": "failed",
    "preflight": "failed",
}

EXITS: dict[State, Exit] = {
    "interrupted": Exit.INTERRUPTED,
    "lever": Exit.LEVER,
    "outside-window": Exit.OUTSIDE_WINDOW,
    "failed": Exit.FAILED,
}
"""How a drill's command ends if the drill did not come to its own end. Else, and for `running`, by the verdict."""


class Surveyed(NamedTuple):
    """What is known of an incident before anything is sent."""

    prepared: Prepared
    whole: Part
    heaviest: Part
    """What a step of the sweep plays."""
    examples: list[Example]
    requests: int
    """How many can be sent, at 1x."""


class Teller:
    """Whom a drill tells how it goes. This one keeps it to itself: for those who want JSON."""

    def step(self, step: Next, number: int, steps: int, seconds: float, left: float) -> None:
        """Tell of a step that begins: its number and how many there may be, how long it and all that is left take."""

    def snapshot(self, snapshot: Snapshot) -> None:
        """Show how the run of a step stands."""

    def over(self, step: Step, report: Report) -> None:
        """Tell what came of a step."""

    def asking(self, done: int, of: int) -> None:
        """Tell how far the comparison of the clone with the incident has come."""

    def compared(self, fairness: Fairness) -> None:
        """Tell how fair a stand-in the clone is."""

    def say(self, text: str) -> None:
        """Tell something else."""


async def survey(plan: DrillPlan, incident: Incident) -> Surveyed:
    """Check all that can be checked before anything is sent, and read the incident once. Raises UserError."""
    sending = plan.of_step("repeat", plan.amplify, 1, _all(incident), True, incident.path)
    sending = sending.model_copy(update={"runs": plan.sending.runs, "dry_run": plan.sending.dry_run})
    prepared = await prepare(sending)
    found, accounts = Survey(plan.step, prepared.seconds), Accounts()
    try:
        for number, arrival in enumerate(usable(prepared.capture.sifted(), prepared.encoder, accounts)):
            if arrival is not None:
                found.add(*arrival)
            if not number % AT_A_TIME:
                await asyncio.sleep(0)
    except CaptureError as error:
        raise UserError(str(error), error.code) from None
    routes = prepared.encoder.routes.totals
    work = found.work(routes, incident.story)
    whole, played = _all(incident), Part(found.first_ns, found.end_ns)
    heaviest = Part(*found.heaviest(work))
    part = whole if heaviest == played else heaviest.rounded()
    return Surveyed(prepared, whole, part, found.examples(routes, work, MOST), found.count)


def _all(incident: Incident) -> Part:
    begin_ns, end_ns = incident.story.begin_ns, incident.story.end_ns
    return Part(begin_ns, max(end_ns, begin_ns + 1_000_000_000))  # of less than a second, a rate says nothing


class Drill:
    """Runs one drill. Used once."""

    def __init__(
        self,
        plan: DrillPlan,
        incident: Incident,
        known: Surveyed,
        folder: DrillFolder,
        teller: Teller,
        conditions: Conditions,
    ) -> None:
        """`conditions`: what was said of the clone, and of production."""
        self.plan, self.folder, self.known, self.teller = plan, folder, known, teller
        self.record = DrillRecord(
            drill=folder.path.name,
            started=time.time(),
            to=plan.sending.to,
            amplify=plan.amplify,
            repeat=plan.repeat,
            sweep=None if plan.sweep is None else tuple(plan.sweep),
            criteria=tuple(map(str, plan.expressions)),
            defaulted=plan.defaulted,
            against=plan.against,
            plan=plan.model_dump(mode="json"),
        )
        self._incident = incident
        self._conditions = conditions
        self._compared = False
        self._warmed = 0.0  # seconds
        self._failing = False  # something did at the end of the last step
        self._calm: Calm | None = None
        self._signal = ""
        self._stopped = asyncio.Event()

    async def run(self) -> DrillRecord:
        """Run to the end, however it comes. Raises UserError if not even a first step could be run."""
        self.folder.write(self.record)
        self.folder.note("plan", drill=self.record.drill, to=self.record.to, plan=self.record.plan)
        probes = Probes(self.known.prepared, self.plan.sending, self.known.examples)
        try:
            with self._signals():
                state, reason = await self._all_steps(probes)
        except UserError as error:
            self._end("failed", str(error), error.code)
            raise
        finally:
            await probes.close()
        self._end(state, reason)
        for told in (reason, *self.folder.unwritten):
            self.teller.say(told)
        return self.record

    def _end(self, state: State, reason: str, code: Exit | None = None) -> None:
        code = EXITS.get(state) if code is None else code
        self._write(ended=time.time(), state=state, reason=reason, exit_code=None if code is None else int(code))
        self.folder.note("over", state=state, reason=reason)
        self.folder.close()

    async def _all_steps(self, probes: Probes) -> tuple[State, str]:
        await self._look_first(probes)
        while not self._wants_to_end():
            step = following(self.plan.scheme, self._done)
            if isinstance(step, Over):
                await self._look_last(probes)
                return ("interrupted", self._signal) if self._wants_to_end() else ("ended", step.why)
            rested = self._rested or await self._rest(probes)
            if self._wants_to_end():
                break
            if not rested:
                told = f"the clone did not come to rest within {self.plan.calm_within} after step {len(self._done)}"
                return "ended", f"{told}: what would be measured now is what that one left behind"
            if step.kind != "warm-up" and not self._compared:
                await self._compare(probes)
            elif end := await self._tried(step):
                return end
        return "interrupted", self._signal

    async def _look_first(self, probes: Probes) -> None:
        """See how the clone answers without load. Raises UserError if it does not."""
        self.teller.say("the clone is asked how fast it answers without load")
        self._calm = await self._unless_stopped(probes.learn())
        if self._calm is not None and not self._calm.known and self.known.examples:
            told = probes.reasons or "what it is asked for, it answers with 5xx"
            to = self.plan.sending.to
            raise UserError(f"{to} does not answer as it should even without load: {told}", Exit.FAILED)

    async def _compare(self, probes: Probes) -> None:
        """See how fair a stand-in the clone is, as warm as it is going to be. Raises UserError."""
        if self._warmed:
            self._calm = await self._unless_stopped(probes.learn())
        conditions = self._conditions._replace(warmed=self._warmed)
        self.teller.say("the clone is compared with the incident, one request at a time")
        found = await self._unless_stopped(check(self.plan.sending, self._incident, conditions, self.teller.asking))
        if found is not None:
            self._compared = True
            self.folder.write_check(found)
            self.folder.note("check", sentence=found.sentence, findings=len(found.findings), requests=found.requests)
            self.teller.compared(found)

    async def _tried(self, step: Next) -> tuple[State, str] | None:
        """Run a step; give how the drill ends with it, if it does."""
        try:
            report = await self._run(step)
        except UserError as error:
            if not self.record.steps and error.code != Exit.OUTSIDE_WINDOW:
                raise
            return "outside-window" if error.code == Exit.OUTSIDE_WINDOW else "failed", str(error)
        if report.stop in _STATES:
            return _STATES[report.stop], report.reason
        if unreached(report) and len(self.record.steps) == 1:
            why = next(iter(report.reasons.values()), "") or ", ".join(report.accounts.errors)
            return "failed", f"there was never a connection to {self.plan.sending.to} ({why}): is the clone up?"
        return None

    def _wants_to_end(self) -> bool:
        return bool(self._signal)

    @property
    def _rested(self) -> bool:
        """Whether nothing was sent since the clone came to rest, but by those who wait for it."""
        return not self.record.steps or self.record.steps[-1].rest is not None

    @property
    def _done(self) -> list[Done]:
        return [Done(step.kind, step.factor, step.found) for step in self.record.steps]

    # --- a step ---

    async def _run(self, step: Next) -> Report:
        number = len(self.record.steps) + 1
        part = self.known.heaviest if step.kind == "sweep" else self.known.whole
        plan = self.plan.of_step(step.kind, step.factor, number, part, part == self.known.whole, self.folder.incident)
        prepared = await prepare(plan)
        folder = Folder(plan.runs, prepared.run_id, plan)
        begun = Step(
            number=number,
            kind=step.kind,
            factor=step.factor,
            run=prepared.run_id,
            begin_ns=part.begin_ns,
            end_ns=part.end_ns,
            zero_ns=prepared.capture.first_ns or part.begin_ns,
            started=time.time(),
        )
        self._write(steps=(*self.record.steps, begun))
        self.folder.note("step", number=number, kind=step.kind, factor=step.factor, run=begun.run, why=step.why)
        steps, left = self._left()
        self.teller.step(step, number, number + steps - 1, self._seconds(step, part), left)
        with serving(plan.metrics) as registry:
            show = self.teller.snapshot
            report = await replay(plan, prepared, folder, registry, show, already=lambda: self._signal, pass_on=True)
        report = write_beside(report, folder.path)
        self._warmed += round(report.seconds, 1) if step.kind == "warm-up" else 0.0
        found = _outcome(step, report, folder, plan)
        self._failing = failing(seconds(folder.path))
        ended = begun.model_copy(
            update={
                "ended": time.time(),
                "stop": report.stop,
                "reason": report.reason,
                "valid": report.valid,
                "found": found.found,
                "because": found.because,
            }
        )
        self._write(steps=(*self.record.steps[:-1], ended))
        self.folder.note("step over", number=number, stop=report.stop, found=found.found, because=found.because)
        self.teller.over(ended, report)
        return report

    async def _rest(self, probes: Probes) -> bool:
        """Let the clone come to rest; tell whether it did, as far as anybody can tell."""
        begun = time.monotonic()
        self.teller.say(f"the clone rests, {self.plan.cool_down} at least")
        await self._unless_stopped(asyncio.sleep(self.plan.cool_down))
        found: Rested | None = None
        if self._calm is not None and self._calm.known:
            found = await self._unless_stopped(probes.rest(self._calm, self.plan.calm_within))
        told = {} if found is None else found._asdict()
        last = self.record.steps[-1].model_copy(update={"rest": round(time.monotonic() - begun, 3), **told})
        self._write(steps=(*self.record.steps[:-1], last))
        self.folder.note("rest", after=last.number, calm=last.calm, silence=last.silence, seconds=last.rest)
        return found is None or found.calm

    async def _look_last(self, probes: Probes) -> None:
        """See whether the clone is still there after the last step, if something failed at its end."""
        if not self._failing or self._rested or self._calm is None or not self._calm.known:
            return
        self.teller.say("the clone is asked whether it is still there")
        found = await self._unless_stopped(probes.rest(self._calm, self.plan.calm_within, back=True))
        if found is not None and found.silence:
            last = self.record.steps[-1].model_copy(update=found._asdict())
            self._write(steps=(*self.record.steps[:-1], last))
            self.folder.note("rest", after=last.number, calm=last.calm, silence=last.silence)

    def _seconds(self, step: Next, part: Part) -> float:
        return float(self.plan.warm) if step.kind == "warm-up" and self.plan.warm is not None else part.seconds

    def _left(self) -> tuple[int, float]:
        """Give how many steps there may be from now on, and how long they may take, rests not counted."""
        whole, swept = most_left(self.plan.scheme, self._done[:-1])
        warm = self.plan.warm if self.plan.warm is not None and len(self.record.steps) == 1 else None
        seconds = (warm or 0.0) + whole * self.known.whole.seconds + swept * self.known.heaviest.seconds
        steps = (warm is not None) + whole + swept
        return steps, seconds + (steps - 1) * self.plan.cool_down

    def _write(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        self.folder.write(self.record)

    # --- the end, if somebody wants it ---

    async def _unless_stopped[T](self, doing: Coroutine[object, object, T]) -> T | None:
        """Do something, and leave it when the drill is stopped: that gives None."""
        task = asyncio.ensure_future(doing)
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def interrupt(number: int) -> None:
            if self._signal:
                os._exit(int(Exit.INTERRUPTED))
            self._signal = signal.Signals(number).name
            loop.call_soon_threadsafe(self._stopped.set)

        with signals_to(interrupt):  # except while a step runs: of those the replayer passes on what comes too late
            yield


def _outcome(step: Next, report: Report, folder: Folder, plan: Plan) -> Outcome:
    if step.kind == "warm-up":
        return Outcome("held", ()) if report.stop == "ended" else Outcome("unclear", (report.reason,))
    return outcome(report, settled(routes_of(folder.path)), plan.slo)


__all__ = ["EXITS", "Drill", "Surveyed", "Teller", "survey"]
