"""Where a rule's readings come from. `read` is pure; what keeps it fresh is an edge of its own.

experience (the sidecars' streams)  ─┐
the run's own counts (idle target)  ─┼─> Source.read(now) -> Reading -> loop
a query of Prometheus, a plugin     ─┘
"""

import time
from collections.abc import Callable
from typing import Protocol

from replayer.safety.plugin import PluginSource, Standing, facts
from replayer.safety.prometheus import PrometheusSource
from rules.experience import Recent
from rules.slo import Reading, Rule, observe


class Source(Protocol):
    """What measures one rule."""

    def read(self, now_ns: int) -> Reading:
        """Give the newest reading that is known at `now_ns` (monotonic). Never waits.

        One that is too old to go by is no data: its value is None, and `why` says since when nothing came.
        """

    async def follow(self) -> None:
        """Keep what is known fresh until cancelled. Raises nothing else: what goes wrong is no data, in words."""


class Counted:
    """Measures a rule by requests that were counted; whoever counts them fills `recent`."""

    def __init__(self, rule: Rule, recent: Recent) -> None:
        self._rule, self._recent = rule, recent

    def read(self, now_ns: int) -> Reading:
        """Make a reading of the rule's window."""
        return observe(self._rule, self._recent, now_ns)

    async def follow(self) -> None:
        """Leave that to whoever counts: one stream serves all rules."""


def measured(rule: Rule, recent: Recent, standing: Callable[[], Standing] = Standing) -> Source:
    """Give what measures `rule`; `recent` is what requests got, `standing` tells how the run does.

    Raises UserError if that can't be.
    """
    if rule.prometheus is not None:
        return PrometheusSource(rule)
    if rule.plugin is not None:
        return PluginSource(rule, lambda: facts(recent, rule.window, time.monotonic_ns(), standing()))
    return Counted(rule, recent)
