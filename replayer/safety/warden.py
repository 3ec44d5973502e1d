"""The safety loop of one run at work. Edge: follows the sources, asks the loop once a second, does what it says.

On an idle target there is no sidecar to tell what requests get. There the run's own are counted here.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

import httpx

from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.safety.experience import follow
from replayer.safety.loop import Event, Loop, judged
from replayer.safety.plugin import Standing
from replayer.safety.sources import measured
from replayer.safety.thinning import passes, seeded
from replayer.stopping import Stop
from rules.experience import Recent, Tally
from rules.latency import place
from rules.slo import Expression, observe
from rules.units import MILLION
from rules.wire import Experience

OWN = "this run"
"""Who counts where no sidecar does."""

REAL = 10.0
"""Seconds over which it is told what real users get, where no rule says over how many."""

_P95 = Expression.parse("p(95)<1s")

WARM_UP_FLOOR = MILLION // 1000
"""Of what arrived in the warm-up, the share of synthetic requests from which on it was no time without load."""


class Host(Protocol):
    """A run, as its warden sees it."""

    def note(self, event: str, **details: object) -> None:
        """Write into the journal."""

    def stop(self, why: Stop, reason: str) -> None:
        """End the run."""

    def set_gain(self, gain: int) -> None:
        """Let this share of the demand go on, in millionths."""


class Warden:
    """Watches over one run. Raises UserError if a rule can't be measured. Times are monotonic nanoseconds."""

    def __init__(self, host: Host, plan: Plan, clock: Callable[[], int]) -> None:
        self._host, self._plan, self._clock = host, plan, clock
        self._own = not plan.sidecars
        rules = judged(plan.slo, live=not self._own)
        looked_back = [*(rule.window for rule in rules), plan.warm_up or 0.0, REAL]
        self.recent = Recent(plan.sidecars or (OWN,), longest=max(looked_back))
        self._sources = [measured(rule, self.recent, self._standing) for rule in rules]
        self.loop = Loop(zip(rules, self._sources, strict=True))
        self._trouble: dict[str, str] = {}
        self._counted = Accounts()
        self._counted_ns: int | None = None
        self._begun_ns: int | None = None
        self._seed, self._number = seeded(plan.seed, -1), 0

    def followers(
        self, client: httpx.AsyncClient, run_id: str, token: Callable[[], str]
    ) -> list[Coroutine[None, None, None]]:
        """Give what has to run as long as the run does. Nothing, if there is nothing to watch over."""
        if not self._plan.slo and self._plan.warm_up is None:
            return []
        streams = [
            follow(client, url, run_id, token, self._hearing(url), self._failing(url)) for url in self._plan.sidecars
        ]
        return [*streams, *(source.follow() for source in self._sources)]

    @property
    def gain(self) -> float | None:
        """The share of the demand that goes on; None if no rule changes it."""
        return self.loop.gain.value / MILLION if self.loop.backing() is not None else None

    @property
    def real_p95(self) -> float | None:
        """What real users get now, merged over all sidecars, in seconds; None if nobody told."""
        if self._own or not self._plan.slo:
            return None
        windows = [rule.window for rule in self._plan.slo if rule.expression.subject == "real" and not rule.external]
        return _P95.measure(self.recent.last("real", min(windows, default=REAL), self._clock())).value

    def passes(self) -> bool:
        """Tell whether one request more, beside the schedule, may go on under the gain."""
        self._number += 1
        return passes(self._seed, self._number, self.loop.gain.value)

    def _standing(self) -> Standing:
        """Tell how the run stands, for plugins."""
        elapsed = 0.0 if self._begun_ns is None else (self._clock() - self._begun_ns) / 1e9
        return Standing(elapsed, self.loop.gain.value / MILLION)

    # --- the warm-up ---

    def learn(self) -> str:
        """Take what was heard in the warm-up for the baseline; say why that can't be, or nothing."""
        now, seconds = self._clock(), self._plan.warm_up
        if seconds is None:
            return ""
        synthetic, real = (self.recent.last(kind, seconds, now).arrived for kind in ("synthetic", "real"))
        if any(rule.expression.relative for rule in self._plan.slo) and synthetic * MILLION > real * WARM_UP_FLOOR:
            return f"{synthetic} synthetic requests passed meanwhile, of another run; without load is without any"
        lacking = self.loop.learn(lambda rule: observe(rule.model_copy(update={"window": seconds}), self.recent, now))
        for number, judgement in enumerate(self.loop.judgements(), 1):
            if judgement.baseline is not None:
                value = round(judgement.baseline, 6)
                self._host.note("baseline", rule=judgement.expression, value=value, number=number)
        return "; ".join(lacking)

    # --- under load ---

    def begin(self) -> None:
        """Take note that load begins."""
        self._counted_ns = self._begun_ns = self._clock()
        self.loop.begin(self._counted_ns)

    def count(self, accounts: Accounts, service: Mapping[int, int]) -> None:
        """Count what the run's own requests got since the last time; `service`: microseconds, and how often."""
        now = self._clock()
        if self._own and self._counted_ns is not None:
            before, errors = self._counted, _errors(accounts)
            latency: Counter[int] = Counter()
            for microseconds, count in service.items():
                latency[place(microseconds / 1e6)] += count
            tally = Tally(
                (now - self._counted_ns) / 1e9,
                accounts.sent - before.sent,
                accounts.answered - before.answered + accounts.errors.total() - before.errors.total(),
                errors - _errors(before),
                latency,
            )
            self.recent.add(OWN, now, {"synthetic": tally})
        self._counted_ns = now
        self._counted = Accounts(
            sent=accounts.sent,
            answered=accounts.answered,
            errors=Counter(accounts.errors),
            statuses=Counter(accounts.statuses),
        )

    def look(self, sent: int, wanted: int) -> None:
        """Judge all rules, and do what follows of it; `sent`, `wanted`: requests of the run so far."""
        for event in self.loop.look(self._clock(), sent, wanted):
            self._do(event)

    def _do(self, event: Event) -> None:
        value, limit = (None if found is None else round(found, 6) for found in (event.value, event.limit))
        details = {"rule": event.rule, "value": value, "limit": limit, "samples": event.samples, "number": event.number}
        if event.change is not None:
            before, after = event.change.before / MILLION, event.change.after / MILLION
            self._host.set_gain(event.change.after)
            cause = details if event.change.cause is not None else {}
            self._host.note("gain", before=before, after=after, **cause, because=event.words)
        elif event.kind == "abort":
            told = "".join(f"; {url}: {why}" for url, why in self._trouble.items())
            self._host.note("slo abort", **details, because=event.words + told)
            self._host.stop("slo", event.words + told)
        else:
            self._host.note(f"slo {event.kind}", **details, because=event.words)

    # --- what sidecars say ---

    def _hearing(self, url: str) -> Callable[[Experience], None]:
        def hear(experience: Experience) -> None:
            if self._trouble.pop(url, None):
                self._host.note("experience found", sidecar=url)
            self.recent.add(url, self._clock(), experience.tallies())

        return hear

    def _failing(self, url: str) -> Callable[[str], None]:
        def fail(why: str) -> None:
            if url not in self._trouble:
                self._trouble[url] = why
                self._host.note("experience lost", sidecar=url, because=why)

        return fail


def _errors(accounts: Accounts) -> int:
    failed = sum(count for status, count in accounts.statuses.items() if status >= 500)
    return accounts.errors.total() + failed
