"""The loop itself: what the rules' sources say, once a second, becomes less load, a warning or the end. Pure.

    reading -> watch (rules.slo: fine, pending, breached) -> warn: it is told
                                                             back-off: gain (less, the same, more)
                                                             abort: the run ends

Everything that changes the load, and every rule that breaks or holds again, is an `Event` with its cause and figures.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from replayer.safety.gain import SECOND_NS, Change, Gain, Push, standing
from replayer.safety.rising import Rise
from replayer.safety.sources import Source
from rules.slo import Action, Expression, Reading, Rule, Verdict, Watch
from rules.units import MILLION

Kind = Literal["breached", "held", "gain", "abort"]


class Event(NamedTuple):
    """Something that the journal has to know of."""

    kind: Kind
    """A rule is breached; it holds again; the gain changes; a rule ends the run."""
    rule: str
    """Whose news it is; of a gain that rises, empty: all of them let it."""
    words: str
    value: float | None = None
    limit: float | None = None
    samples: int = 0
    change: Change | None = None
    number: int = 0
    """Of that rule in the plan, from 1: several may have the same expression. 0: of none."""


class Judgement(BaseModel):
    """How a rule fared over a run."""

    rule: str = Field(description="as it could be written for `--slo`")
    expression: str = Field(description="what had to hold")
    action: Action
    verdict: Literal["held", "breached", "not judged"] = Field(
        "not judged", description="breached: at any time for as long as the rule demands"
    )
    breaches: int = Field(0, description="how often it became breached")
    seconds: float = Field(0.0, description="how long it was breached in all")
    worst: float | None = Field(
        None, description="of its values under load the one farthest beyond or nearest its limit"
    )
    limit: float | None = Field(None, description="what they were held against")
    baseline: float | None = Field(None, description="the value without load, if the rule speaks of it")
    words: str = Field("", description="the last thing that was said of it")
    told: str = Field("", description="its worst value and its limit, for people")


class Backing(BaseModel):
    """What back-off left of the demand."""

    last: float = Field(1.0, description="the gain at the end: share of the demand that was let through")
    least: float = Field(1.0, description="the lowest gain")
    mean: float = Field(1.0, description="over the time of the load")
    cuts: int = Field(0, description="how often it was lowered")


@dataclass(slots=True)
class _Watched:
    """A rule at work."""

    rule: Rule
    number: int
    source: Source
    watch: Watch
    judgement: Judgement
    verdict: Verdict | None = None
    samples: int = 0
    worst_load: float = -1.0


class Loop:
    """All rules of one run. Times are monotonic nanoseconds."""

    def __init__(self, rules: Iterable[tuple[Rule, Source]]) -> None:
        self.gain = Gain()
        self._all = [
            _Watched(rule, number, source, Watch(rule), blank(rule)) for number, (rule, source) in enumerate(rules, 1)
        ]
        self._sent: deque[tuple[int, int]] = deque()
        self._longest_ns = max((_window_ns(each.rule) for each in self._all), default=0)
        self._backing = Backing()
        self._rise = Rise()
        self._begun_ns: int | None = None
        self._looked_ns = 0
        self._weighted = 0.0
        self._over = False

    @property
    def breached(self) -> list[tuple[Rule, bool]]:
        """Tell of each rule whether it is breached now."""
        return [(each.rule, _is_breached(each)) for each in self._all]

    @property
    def trouble(self) -> str:
        """Say which rules are not fine, for people; empty if all are."""
        return "; ".join(each.verdict.words for each in self._all if each.verdict and each.verdict.state != "fine")

    def learn(self, measure: Callable[[Rule], Reading]) -> list[str]:
        """Take what is measured for the baseline. Give why that can't be done, for each rule that needs one."""
        lacking = []
        for each in self._all:
            if not each.rule.expression.relative:
                continue
            reading = measure(each.rule)
            enough = reading.samples >= each.rule.min_samples
            if reading.value is None or not math.isfinite(reading.value) or not enough:
                found = reading.why or f"{reading.samples} requests, and {each.rule.min_samples} are needed"
                lacking.append(f"{each.rule.expression}: {found}")
                continue
            each.judgement.baseline = each.watch.baseline = reading.value
        return lacking

    def begin(self, now_ns: int) -> None:
        """Take note that load begins now: the rules' times of grace do."""
        self._begun_ns = self._looked_ns = now_ns
        for each in self._all:
            each.watch.begin(now_ns)

    def look(self, now_ns: int, sent: int, wanted: int = 0) -> list[Event]:
        """Judge all rules at `now_ns`; `sent`, `wanted`: requests of the run so far. Give what is new, in order."""
        if self._begun_ns is None or self._over:
            return []
        step = max(0, now_ns - self._looked_ns)
        self._looked_ns = now_ns
        self._weighted += step * self.gain.value
        self._remember(now_ns, sent)
        events = [event for each in self._all for event in self._judge(each, now_ns, step)]
        ending = next((each for each in self._all if each.rule.action == "abort" and _is_breached(each)), None)
        if ending is not None:
            self._over = True
            return [*events, _event("abort", ending)]
        pushes = [self._push(each) for each in self._all if each.rule.action == "back-off"]
        if pushes and (change := self.gain.look(pushes, now_ns)) is not None:
            events.append(self._changed(change))
        holding = next((push for push in pushes if push.standing != "easy"), None)
        risen = self._rise.look(now_ns, wanted, hold=holding is not None)
        if holding is not None and risen > 1 and (change := self.gain.offset(risen, holding, now_ns)) is not None:
            events.append(self._offset(change, risen))
        return events

    def judgements(self) -> list[Judgement]:
        """Sum up how every rule fared."""
        return [told(each.judgement, each.rule) for each in self._all]

    def backing(self) -> Backing | None:
        """Sum up what back-off did; None if no rule may do that."""
        if not any(each.rule.action == "back-off" for each in self._all):
            return None
        passed = self._looked_ns - self._begun_ns if self._begun_ns is not None else 0
        mean = self._weighted / passed / MILLION if passed else 1.0
        return self._backing.model_copy(update={"last": self.gain.value / MILLION, "mean": round(mean, 4)})

    # --- inside ---

    def _judge(self, each: _Watched, now_ns: int, step: int) -> Iterable[Event]:
        before = _is_breached(each)
        reading = each.source.read(now_ns)
        each.samples = reading.samples
        if self._too_little_sent(each.rule, reading, now_ns):
            each.watch.begin(now_ns)  # nothing to judge: what comes after has its time of grace again
            each.verdict = None
        else:
            each.verdict = each.watch.look(reading, now_ns)
            _count(each, step)
        if _is_breached(each) and not before:
            each.judgement.breaches += 1
            yield _event("breached", each)
        elif before and not _is_breached(each):
            yield _event("held", each)

    def _too_little_sent(self, rule: Rule, reading: Reading, now_ns: int) -> bool:
        """Tell whether a rule about synthetic requests has nothing to judge because hardly any were sent.

        Else a gain of nothing would be its own reason for ever: no requests, no data, no gain.
        """
        if rule.external or rule.expression.subject != "synthetic":
            return False
        if reading.value is not None and reading.samples >= rule.min_samples:
            return False
        since = now_ns - _window_ns(rule)
        before = next((sent for at, sent in reversed(self._sent) if at <= since), 0)
        return self._sent[-1][1] - before < max(1, rule.min_samples)

    def _remember(self, now_ns: int, sent: int) -> None:
        self._sent.append((now_ns, sent))
        while len(self._sent) > 1 and self._sent[1][0] <= now_ns - self._longest_ns:
            self._sent.popleft()

    def _push(self, each: _Watched) -> Push:
        name, delay = each.judgement.rule, _window_ns(each.rule)
        verdict = each.verdict
        if verdict is None:  # idle: nothing speaks against more
            return Push(name, "easy", 0.0, delay)
        used = load(each.rule.expression, verdict.value, verdict.limit)
        if verdict.state == "breached":
            if used is None:
                return Push(name, "blind", 0.0, delay)
            return Push(name, "breached", max(1.0, used), delay)
        if verdict.state == "pending" or used is None:
            return Push(name, "near", used or 0.0, delay)
        found = standing(used)
        return Push(name, "near" if found == "breached" else found, used, delay)

    def _offset(self, change: Change, risen: float) -> Event:
        why = f"the demand rose by {risen - 1:.0%}, and not all rules are well inside their limits"
        return Event("gain", "", f"{self._shares(change)}: {why}", change=change._replace(cause=None))

    def _shares(self, change: Change) -> str:
        self._backing.least = min(self._backing.least, change.after / MILLION)
        return f"from {change.before / MILLION:.1%} to {change.after / MILLION:.1%} of the demand"

    def _changed(self, change: Change) -> Event:
        shares = self._shares(change)
        if change.cause is None:
            return Event("gain", "", f"{shares}: all rules are well inside their limits", change=change)
        self._backing.cuts += 1
        each = next(e for e in self._all if e.judgement.rule == change.cause.rule)
        return _event("gain", each)._replace(words=f"{shares}: {_words(each)}", change=change)


def load(expression: Expression, value: float | None, limit: float | None) -> float | None:
    """Tell how much of its limit a value uses: 1 at the limit, more beyond it; None without data.

    Of what has to stay above its limit it is the other way round: half of what is demanded is 2.
    """
    if value is None or limit is None or not math.isfinite(value):
        return None
    if expression.operator == "==" or limit < 0 or value < 0:
        return 0.0 if expression.holds(value, limit) else math.inf  # there is no more or less of it
    above, below = (limit, value) if expression.operator.startswith(">") else (value, limit)
    if below:
        return above / below
    return math.inf if above or not expression.holds(value, limit) else 0.0


def blank(rule: Rule) -> Judgement:
    """Give the judgement of a rule of which nothing is known yet."""
    return Judgement(rule=str(rule), expression=str(rule.expression), action=rule.action)


def _window_ns(rule: Rule) -> int:
    return round(rule.window * SECOND_NS)


def _is_breached(each: _Watched) -> bool:
    return each.verdict is not None and each.verdict.state == "breached"


def _count(each: _Watched, step: int) -> None:
    verdict, judgement = each.verdict, each.judgement
    if verdict is None:
        return
    judgement.words, judgement.limit = verdict.words, verdict.limit
    if verdict.state == "breached":
        judgement.verdict = "breached"
        judgement.seconds += step / SECOND_NS
    elif judgement.verdict == "not judged" and verdict.value is not None:
        judgement.verdict = "held"
    used = load(each.rule.expression, verdict.value, verdict.limit)
    if used is not None and used > each.worst_load:
        each.worst_load, judgement.worst = used, verdict.value


def told(judgement: Judgement, rule: Rule) -> Judgement:
    """Give a rule's judgement with its figures in words."""
    tell = rule.expression.tell
    words = [f"worst {tell(judgement.worst)}"] if judgement.worst is not None else []
    if rule.expression.relative and judgement.limit is not None:
        words.append(f"limit {tell(judgement.limit)}")
    if judgement.baseline is not None:
        words.append(f"baseline {tell(judgement.baseline)}")
    used = load(rule.expression, judgement.worst, judgement.limit)
    if judgement.verdict == "held" and used is not None and used > 1:
        words.append(f"beyond it for less than {rule.for_}" + (f", or in the first {rule.grace}" if rule.grace else ""))
    last = judgement.words
    if judgement.verdict == "not judged" and not last:
        enough = f", {rule.min_samples:,} requests in {rule.window}" if rule.min_samples > 1 else ""
        last = f"there was never enough to judge ({rule.grace} of grace{enough})"
    changes = {"told": ", ".join(words), "words": last, "seconds": round(judgement.seconds, 1)}
    return judgement.model_copy(update=changes)


def _words(each: _Watched) -> str:
    return each.verdict.words if each.verdict is not None else f"{each.rule.expression}: too few requests to judge"


def _event(kind: Kind, each: _Watched) -> Event:
    verdict = each.verdict
    return Event(
        kind,
        str(each.rule.expression),
        _words(each),
        verdict.value if verdict else None,
        verdict.limit if verdict else None,
        each.samples,
        number=each.number,
    )


def judged(rules: Iterable[Rule], *, live: bool) -> list[Rule]:
    """Give rules as they are judged: where there are no real users (an idle target), by the run's own requests."""
    return [rule if live else of_own(rule) for rule in rules]


def of_own(rule: Rule) -> Rule:
    """Give a rule as it is judged where there are no real users (an idle target): by the run's own requests."""
    if rule.external or rule.expression.subject == "synthetic":
        return rule
    expression = replace(rule.expression, subject="synthetic", text=f"synthetic.{rule.expression.text}")
    return rule.model_copy(update={"expression": expression})
