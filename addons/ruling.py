"""The owner's rules: what users must get while synthetic requests pass, or the lever is pulled. Pure.

They hold whoever sends the load and whatever that run was told: as the ceiling, they stand at the authority. A rule is
judged only while there is load, and that begins anew (`grace` with it) after half a minute without and after the lever
was reset. Of users who suffer by themselves, no lever would help.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from addons.recounting import Recount
from addons.window import Totals
from rules.experience import SECOND_NS, Recent
from rules.slo import WINDOWS, Rule, Verdict, Watch, observe
from rules.units import UnitError
from rules.wire import Judged

LULL_NS = 30 * SECOND_NS
"""Without a synthetic request for so long, the next ones are another load."""

_HERE = "the sidecar"


def check(rule: Rule) -> Rule:
    """Give the rule back if a sidecar can go by it. Raises UnitError."""
    if rule.external:
        raise UnitError(f"{rule.expression}: a sidecar measures only what it carries: give such a rule to the run")
    if rule.expression.relative:
        raise UnitError(f"{rule.expression}: a sidecar has no warm-up to learn a baseline in: write a time like 500ms")
    if rule.action == "back-off":
        raise UnitError(f"{rule.expression}: a sidecar can't ease the load: action=abort pulls its lever")
    return rule


class Ruled(NamedTuple):
    """What a look led to."""

    pull: str = ""
    """The reason to pull the lever; empty: none."""
    news: tuple[str, ...] = ()
    """What is to be told: rules that have just been breached."""


class Ruling:
    """Judges the rules once in a while. Times are monotonic nanoseconds; totals are by kind, as for `Recount`."""

    def __init__(self, now_ns: int, totals: Mapping[str, Totals]) -> None:
        self._recount = Recount(now_ns, totals)
        self._recent = Recent([_HERE], longest=WINDOWS[0])
        self._watches: dict[Rule, Watch] = {}
        self._verdicts: dict[Rule, Verdict] = {}
        self._values: dict[Rule, float | None] = {}
        self._loaded_ns: int | None = None
        """When the last synthetic request was noticed, while there is load."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is judged."""
        return tuple(self._watches)

    def configure(self, rules: Iterable[Rule], now_ns: int) -> None:
        """Go by these from now on. Those that it went by already keep their memory."""
        rules = tuple(rules)
        self._recent.keep(max((rule.window for rule in rules), default=WINDOWS[0]))
        self._watches = {rule: self._watches.get(rule) or _begun(rule, now_ns) for rule in rules}
        self._verdicts = {rule: told for rule, told in self._verdicts.items() if rule in self._watches}
        self._values = {rule: told for rule, told in self._values.items() if rule in self._watches}

    def look(self, now_ns: int, totals: Mapping[str, Totals], engaged: bool) -> Ruled:
        """Judge all rules by what came since the last look. `engaged`: the lever is pulled already."""
        line = self._recount.tell(now_ns, totals)
        self._recent.add(_HERE, now_ns, line.tallies())
        synthetic = totals["synthetic"]
        passing = line.kinds["synthetic"].arrived > 0 or synthetic.arrived > synthetic.finished + synthetic.unknown
        if engaged or (not passing and self._loaded_ns is not None and now_ns - self._loaded_ns >= LULL_NS):
            self._loaded_ns = None
        elif passing:
            if self._loaded_ns is None:
                for watch in self._watches.values():
                    watch.begin(now_ns)
            self._loaded_ns = now_ns
        pull, news = "", list[str]()
        for rule, watch in self._watches.items():
            reading = observe(rule, self._recent, now_ns)
            self._values[rule] = reading.value
            if self._loaded_ns is None:
                self._verdicts.pop(rule, None)
                continue
            before, verdict = self._verdicts.get(rule), watch.look(reading, now_ns)
            self._verdicts[rule] = verdict
            if verdict.state != "breached":
                continue
            if before is None or before.state != "breached":
                news.append(verdict.words)
            if rule.action == "abort" and passing:
                pull = pull or verdict.words
        return Ruled(pull, tuple(news))

    def judged(self) -> list[Judged]:
        """Tell how each rule stands."""
        return [self._tell(rule) for rule in self._watches]

    def _tell(self, rule: Rule) -> Judged:
        verdict, value = self._verdicts.get(rule), self._values.get(rule)
        measured = "no data" if value is None else rule.expression.tell(value)
        return Judged(
            rule=str(rule),
            expression=str(rule.expression),
            action=rule.action,
            state=verdict.state if verdict else "idle",
            value=value,
            words=verdict.words if verdict else f"{rule.expression}: {measured}, and no synthetic requests pass",
        )


def _begun(rule: Rule, now_ns: int) -> Watch:
    watch = Watch(rule)
    watch.begin(now_ns)
    return watch
