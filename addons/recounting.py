"""What was counted since the last time somebody was told: the lines of the stream of experience. Pure.

The books only ever count up. Each listener has a `Recount`, which remembers what it has told of them; a line is the
difference. So nothing is lost and nothing told twice, however late a line is, and a listener costs the workers nothing.
"""

from collections.abc import Mapping

from addons.window import Totals
from rules.wire import Counted, Experience

TOLD = ("real", "synthetic")
"""The kinds that have an experience. What is untrusted is nobody's whose experience counts."""


class Recount:
    """What one listener was told. Times are monotonic nanoseconds."""

    def __init__(self, now_ns: int, totals: Mapping[str, Totals]) -> None:
        """Begin with what there is by now: none of that is told. `totals`: by kind, all of `TOLD`."""
        self._joined_ns = self._told_ns = now_ns
        self._told = dict(totals)

    def tell(self, now_ns: int, totals: Mapping[str, Totals]) -> Experience:
        """Tell what came since the last time."""
        line = Experience(
            elapsed_ns=max(0, now_ns - self._joined_ns),
            span_ns=max(0, now_ns - self._told_ns),
            kinds={"real": self._new("real", totals), "synthetic": self._new("synthetic", totals)},
        )
        self._told_ns = now_ns
        return line

    def _new(self, kind: str, totals: Mapping[str, Totals]) -> Counted:
        before, now = self._told[kind], totals[kind]
        # A request counts as one that came until it is withheld, a moment later. So this one total may go back by a
        # few; what was told stays told, and the next that come make up for it.
        arrived = max(before.arrived, now.arrived)
        self._told[kind] = now._replace(arrived=arrived)
        latency: dict[int, int] = {}
        if now.latency != before.latency:
            pairs = enumerate(zip(before.latency, now.latency, strict=True))
            latency = {cell: after - earlier for cell, (earlier, after) in pairs if after != earlier}
        return Counted(
            arrived=arrived - before.arrived,
            finished=now.finished - before.finished,
            errors=now.errors - before.errors,
            latency=latency,
        )
