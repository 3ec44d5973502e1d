"""A rule's value by a function of the user's own. Public, for whoever writes one.

    # shop_checks.py, and then: reamp replay ... --slo 'value<1000 plugin=shop_checks:queue_length'
    from collections.abc import Mapping

    def queue_length(run: Mapping[str, object]) -> float | None:
        return float(open("/run/queue/length").read())

It is called about once a second with what is known of the run (`Facts`), and gives a number, or None if it has none.
It may take its time, within `TIMEOUT`: it has a thread of its own, and nobody waits for it. What it raises, what it
gives that is no finite number, and that it has not come back for too long, are all the same to the rule: no data. A
call that hangs is not repeated, and does not keep the run from ending.
"""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from numbers import Real
from types import MappingProxyType
from typing import NamedTuple

from replayer.plugins import described, find, place
from rules.exits import UserError
from rules.experience import Recent
from rules.slo import SUBJECTS, Expression, Reading, Rule

SECOND_NS = 1_000_000_000

INTERVAL = 1.0
"""Seconds between the beginnings of two calls."""

TIMEOUT = 2.0
"""Seconds that a call may take. What it gives after that is not taken any more."""

FRESH_NS = int((INTERVAL + TIMEOUT + 0.5) * SECOND_NS)
"""For how long a value counts, from the beginning of the call that gave it."""

Facts = Mapping[str, float | Mapping[str, float | None]]
"""``elapsed`` (seconds since the load began), ``gain`` (0..1: what back-off leaves of the demand) and, under ``real``
and ``synthetic``, what those requests got lately: ``rate`` (a second), ``error_ratio`` (0..1), ``p50``, ``p95``,
``p99`` (seconds), each None if it is not known. They can't be changed."""

NO_FACTS: Facts = MappingProxyType({})

_FIGURES = {
    "rate": "rate>0/s",
    "error_ratio": "error_ratio<1%",
    "p50": "p(50)<1s",
    "p95": "p(95)<1s",
    "p99": "p(99)<1s",
}
_MEASURES = {name: Expression.parse(text) for name, text in _FIGURES.items()}


class Standing(NamedTuple):
    """How a run stands."""

    elapsed: float = 0.0
    """Seconds since the load began."""
    gain: float = 1.0


def facts(recent: Recent, window: float, now_ns: int, standing: Standing) -> Facts:
    """Put together what a plugin is told: how the run stands, and what requests got in the last `window` seconds."""
    found = {
        kind: MappingProxyType({name: each.measure(tally).value for name, each in _MEASURES.items()})
        for kind, tally in ((kind, recent.last(kind, window, now_ns)) for kind in SUBJECTS)
    }
    return MappingProxyType({"elapsed": standing.elapsed, "gain": standing.gain, **found})


class PluginSource:
    """Measures a rule by its plugin. Is a `replayer.safety.sources.Source`. `facts` is called in the event loop."""

    def __init__(
        self, rule: Rule, facts: Callable[[], Facts] = lambda: NO_FACTS, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Import the plugin. Raises UserError."""
        if rule.plugin is None:
            raise UserError(f"{rule}: no plugin is named")
        self.name = rule.plugin
        self._plugin = find(rule.plugin, "--slo plugin", "what is known of the run")
        self._facts, self._clock = facts, clock
        self._called_ns: int | None = None
        """When the call began that is not back yet."""
        self._known: tuple[Reading, int] = (Reading(None, 0, f"{self.name} was not called yet"), clock())
        """What the newest call gave, and when that began: replaced whole, so that the two fit together."""

    def read(self, now_ns: int) -> Reading:
        """Give what the newest call gave, as long as it counts."""
        called_ns = self._called_ns
        if called_ns is not None and now_ns - called_ns > TIMEOUT * SECOND_NS:
            return Reading(None, 0, f"{self.name} has not come back for {(now_ns - called_ns) / SECOND_NS:.1f} s")
        reading, began_ns = self._known
        if reading.value is not None and now_ns - began_ns > FRESH_NS:
            return Reading(None, 0, f"{self.name} was last called {(now_ns - began_ns) / SECOND_NS:.1f} s ago")
        return reading

    async def follow(self) -> None:
        """Have it called again and again, until cancelled."""
        asking: queue.SimpleQueue[Facts | None] = queue.SimpleQueue()
        # Nobody waits for it at the end: a call that hangs would hang the run.
        threading.Thread(target=self._work, args=(asking,), name=f"reamp-rule-{self.name}", daemon=True).start()
        try:
            while True:
                if self._called_ns is None and asking.empty():
                    asking.put(self._facts())
                await asyncio.sleep(INTERVAL)
        finally:
            asking.put(None)

    def _work(self, asking: "queue.SimpleQueue[Facts | None]") -> None:
        """Call it whenever there is something new to tell it. Runs in the thread."""
        while (facts := asking.get()) is not None:
            began_ns = self._called_ns = self._clock()
            reading = self._call(facts)
            took = (self._clock() - began_ns) / SECOND_NS
            if took > TIMEOUT:
                reading = Reading(None, 0, f"{self.name} took {took:.1f} s, and has {TIMEOUT:g} s")
            self._known = reading, began_ns
            self._called_ns = None

    def _call(self, facts: Facts) -> Reading:
        try:
            given: object = self._plugin(facts)
        except BaseException as error:  # noqa: BLE001 - whatever it is (SystemExit too), it is no data
            return Reading(None, 0, f"{self.name} failed: {described(error)}{place(error)}")
        if given is None:
            return Reading(None, 0, f"{self.name} has no value")
        try:
            if type(given) is bool or not isinstance(given, Real):
                return Reading(None, 0, f"{self.name} gave {type(given).__name__}, which is no number")
            value = float(given)
        except Exception as error:  # noqa: BLE001 - a number of somebody's own
            return Reading(None, 0, f"{self.name} gave what is no number: {described(error)}")
        if not math.isfinite(value):
            return Reading(None, 0, f"{self.name} gave {value}")
        return Reading(value, 1, f"by {self.name}")
