"""SLO rules: what must hold while synthetic traffic runs, and for how long it may not. Pure: readings and time come in.

    p(95)<500ms  p(99.9)<=2s  avg<80ms  med<50ms  max<10s  error_ratio<1%  rate>10/s  p(99)<1.1x baseline

An expression means what it means in k6 (grafana.com/docs/k6, "Thresholds"): it says what has to *hold*, and the rule is
breached when it does not. Unlike k6's it is judged over a window that slides, not over everything since the start:
after a quiet hour, ten seconds in which every request fails are not lost in the average. And unlike k6's, no data is a
breach: who does not know how users fare must not load them.

`Expression` turns counts into a number and says whether that will do; `Rule` adds over which window, for how long and
what then; `Watch` is the rule's memory. Percentiles are by nearest rank, over the cells of `latency`.
"""

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from rules.experience import SECOND_NS, Recent, Tally
from rules.latency import longest
from rules.units import Duration, Factor, Rate, Share, UnitError, Written
from rules.wire import EXPERIENCE_TIMEOUT

Subject = Literal["real", "synthetic"]
Action = Literal["warn", "back-off", "abort"]
State = Literal["fine", "pending", "breached"]

SUBJECTS: tuple[str, ...] = get_args(Subject)

WINDOWS = (1.0, 600.0)
"""Seconds that a window may have: counts come once a second, and are kept for ten minutes."""

MIN_SAMPLES = 20
"""Of fewer, the 95th percentile is nothing but the slowest, and one error is more than 5 %."""

_NAME = "^[A-Za-z_][A-Za-z0-9_]{0,127}$"
"""Of an environment variable."""

LONGEST_TEXT = 8192
"""Characters that a rule may have: room for a long query, and none for mischief."""

_LATENCIES = ("avg", "med", "min", "max")
_OPERATORS = ("<", "<=", ">", ">=", "==")
_GRAMMAR = re.compile(
    r"(?:(?P<subject>[a-z_]+)\s*\.\s*)?"
    r"(?P<statistic>[a-z_]+)\s*(?:\(\s*(?P<percentile>[0-9]{1,3}(?:\.[0-9]{0,9})?)\s*\))?"
    r"\s*(?P<operator>[<>=!]+)\s*"
    r"(?P<bound>[^\s<>=!].*)"
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,3})?")
_HOW = "write it like p(95)<500ms, error_ratio<1%, rate>10/s, p(99)<1.1x baseline or synthetic.avg<80ms"


class Reading(NamedTuple):
    """What a source says at a moment."""

    value: float | None
    """Seconds, a share (0..1), events per second or, of a query or plugin, whatever it measures. None: no data."""
    samples: int
    """Of how many it was made."""
    why: str = ""
    """Of no data, why there is none; of a value, where it comes from. For people."""


@dataclass(frozen=True)
class Expression(Written):
    """What has to hold. Parse it with `parse`."""

    subject: Subject
    """Whose requests. Of `value` it means nothing."""
    statistic: str
    """``p`` (see `percentile`), ``avg``, ``med``, ``min``, ``max``, ``error_ratio``, ``rate`` or ``value``."""
    percentile: Fraction
    """0 to 100; 0 where it is not a percentile."""
    operator: str
    bound: float
    """In the unit of the value, or a factor if it is `relative`."""
    relative: bool
    """Whether the bound is a multiple of the baseline."""
    text: str = field(compare=False)
    """As it was written, but for blanks."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an expression; blanks are allowed anywhere between its parts. Raises UnitError."""
        match = _GRAMMAR.fullmatch(text.strip()) if len(text) <= LONGEST_TEXT else None
        if not match:
            raise cls._error(text)
        subject, statistic, percentile = match["subject"] or "real", match["statistic"], match["percentile"]
        if subject not in SUBJECTS:
            raise UnitError(f"{text!r}: there are no {subject!r} requests: write real. (or nothing) or synthetic.")
        _check_statistic(text, statistic, percentile)
        if statistic == "value" and match["subject"]:
            raise UnitError(f"{text!r}: a value of a query or a plugin is nobody's requests: write it like value<0.8")
        if match["operator"] not in _OPERATORS:
            raise UnitError(f"{text!r}: {match['operator']!r} is none of {' '.join(_OPERATORS)}")
        bound, relative = _bound(text, statistic, match["bound"].strip())
        return cls(
            "synthetic" if subject == "synthetic" else "real",
            statistic,
            Fraction(percentile or 0),
            match["operator"],
            bound,
            relative,
            "".join(text.split()).replace("baseline", " baseline"),
        )

    def __str__(self) -> str:
        return self.text

    @classmethod
    def _error(cls, value: Any) -> UnitError:
        return UnitError(f"{str(value)[:200]!r} is not an SLO expression: {_HOW}")

    def tell(self, value: float) -> str:
        """Write a value in its unit, with four digits: more is not known of a time, nor of use of the others."""
        if self.statistic == "error_ratio":
            return f"{_plain(value * 100, 4)}%"
        if self.statistic == "rate":
            return f"{_plain(value, 4)}/s"
        if self.statistic == "value":
            return _plain(value)
        return str(Duration(float(f"{value:.4g}")))

    def measure(self, tally: Tally) -> Reading:
        """Make a number of what was counted. A rate there always is; all else needs a request at least."""
        if self.statistic == "rate":
            rate = tally.rate
            return Reading(None, 0, "nothing was counted yet") if rate is None else Reading(rate, tally.arrived)
        if self.statistic == "error_ratio":
            if not tally.finished:
                return Reading(None, 0, f"no {self.subject} request ended")
            return Reading(tally.errors / tally.finished, tally.finished)
        count = sum(tally.latency.values())
        if not count:
            return Reading(None, 0, f"no {self.subject} request was answered")
        return Reading(self._of_latency(sorted(tally.latency.items()), count), count)

    def limit(self, baseline: float | None) -> float | None:
        """Tell what the value is held against; None while it is a multiple of a baseline that is not known."""
        if not self.relative:
            return self.bound
        return None if baseline is None else self.bound * baseline

    def holds(self, value: float, limit: float) -> bool:
        """Judge a value."""
        match self.operator:
            case "<":
                return value < limit
            case "<=":
                return value <= limit
            case ">":
                return value > limit
            case ">=":
                return value >= limit
        return value == limit

    def _of_latency(self, cells: list[tuple[int, int]], count: int) -> float:
        if self.statistic == "avg":
            return sum(longest(cell) * times for cell, times in cells) / count
        share = {"min": Fraction(0), "med": Fraction(50), "max": Fraction(100)}.get(self.statistic, self.percentile)
        rank = max(1, math.ceil(share * count / 100))
        up_to = accumulate(times for _, times in cells)
        return longest(next(cell for (cell, _), reached in zip(cells, up_to, strict=True) if reached >= rank))


def _check_statistic(text: str, statistic: str, percentile: str | None) -> None:
    if statistic == "p":
        if percentile is None or Fraction(percentile) > 100:
            raise UnitError(f"{text!r}: write a percentile like p(95), from p(0) to p(100)")
    elif percentile is not None:
        raise UnitError(f"{text!r}: only p takes a number: write p({percentile}), or {statistic} alone")
    elif statistic not in (*_LATENCIES, "error_ratio", "rate", "value"):
        known = "p(95), avg, med, min, max, error_ratio, rate and, of a query or a plugin, value"
        raise UnitError(f"{text!r}: there is no {statistic!r}: there are {known}")


def _bound(text: str, statistic: str, bound: str) -> tuple[float, bool]:
    """Read what stands behind the operator. A bare number is taken only where it can't be misread."""
    words = bound.split()
    if words[-1] == "baseline":
        if statistic in ("value", "error_ratio"):
            raise UnitError(
                f"{text!r}: a baseline is learnt of latencies and of the rate."
                + (" (Without an error in it, its bound would be 0.)" if statistic == "error_ratio" else "")
            )
        try:
            return Factor.parse("".join(words[:-1])) / 1_000_000, True
        except UnitError:
            raise UnitError(f"{text!r}: write a multiple of the baseline like p(99)<1.1x baseline") from None
    number = float(bound) if _NUMBER.fullmatch(bound) else None
    try:
        match statistic:
            case "error_ratio":
                value = number if number is not None and 0 <= number < 1 else Share.parse(bound) / 1_000_000
            case "rate":
                value = float(Rate.parse(bound))
            case "value":
                value = number if number is not None else math.nan
            case _:
                value = float(Duration.parse(bound))
    except UnitError:
        raise UnitError(f"{text!r}: {_hint(statistic, bound, number)}") from None
    if not math.isfinite(value):
        raise UnitError(f"{text!r}: {_hint(statistic, bound, number)}")
    return value, False


def _hint(statistic: str, bound: str, number: float | None) -> str:
    match statistic:
        case "error_ratio":
            return f"{bound!r} is not a share: write 1% or 0.01"
        case "rate":
            return (
                f"{bound!r} is not a rate: write rate>10/s, which is how many requests come."
                " The share of those that fail is error_ratio<1%"
            )
        case "value":
            return f"{bound!r} is not a number: write it like value<0.8"
    if number is not None:
        return f"{bound} what? A time needs its unit: write {bound}ms or {bound}s"
    return f"{bound!r} is not a time: write it like 500ms or 1.5s"


def _plain(number: float, digits: int = 12) -> str:
    """Write a number without noise in its last digits."""
    return f"{float(f'{number:.{digits}g}'):.12g}"


class Prometheus(BaseModel):
    """Where a rule's value comes from, if a query of Prometheus measures it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="of the server, like http://prometheus:9090")
    query: str = Field(min_length=1, max_length=LONGEST_TEXT, description="PromQL that gives one number")
    token_from: str | None = Field(
        None, pattern=_NAME, description="environment variable that holds the bearer token to show"
    )
    login_from: str | None = Field(
        None, pattern=_NAME, description="environment variable that holds name:password, for basic authentication"
    )
    ca: Path | None = Field(None, description="PEM file of certificate authorities to trust; None: the system's")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UnitError(f"{url!r} is not the URL of a Prometheus: write it like http://prometheus:9090")
        if "@" in parts.netloc:
            raise UnitError(
                "a URL of a Prometheus with a password would show it in every report: put that into an environment "
                "variable, and name the variable with login_from"
            )
        return url

    @model_validator(mode="after")
    def _shows_one_thing(self) -> Self:
        if self.token_from is not None and self.login_from is not None:
            raise UnitError("who asks Prometheus is shown by a token (token_from) or a password (login_from), not both")
        return self


_ASKING = ("token_from", "login_from", "ca")
_OPTIONS = ("window", "for", "grace", "min_samples", "action", "plugin", "prometheus", *_ASKING, "query")
_OPTION = re.compile(r"\s(?P<name>[a-z][a-z_-]*)\s*=(?!=)\s*")


def _least_samples(given: dict[str, Any]) -> int:
    expression = given.get("expression")
    statistic = expression.statistic if isinstance(expression, Expression) else ""
    # A rate is known exactly, of however few; how many a query or a plugin counted, only they know.
    return 0 if statistic == "rate" else 1 if statistic == "value" else MIN_SAMPLES


class Rule(BaseModel):
    """One SLO rule: a mapping in YAML, or text: ``p(95)<500ms window=30s for=10s action=back-off``.

    In text, ``query=`` comes last and takes all that follows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True)

    expression: Expression = Field(description="what has to hold")
    window: Duration = Field(Duration(30), description="how far it looks back")
    for_: Duration = Field(
        Duration(5), alias="for", description="how long a breach has to last before anything is done"
    )
    grace: Duration = Field(Duration(10), description="how long after the start of the load nothing is done")
    min_samples: int = Field(
        default_factory=_least_samples,
        ge=0,
        validate_default=True,
        description="of fewer requests in the window nothing can be said: that is no data",
    )
    action: Action = Field("abort", description="what a breach leads to")
    prometheus: Prometheus | None = Field(None, description="measure `value` by a query of Prometheus")
    plugin: str | None = Field(None, description="measure `value` by MODULE:FUNCTION")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rule from text. Raises UnitError."""
        try:
            return cls.model_validate(text)
        except ValidationError as error:
            told = (
                (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, ")) for one in error.errors()
            )
            raise UnitError("; ".join(f"{where}: {what}" if where else what for where, what in told)) from None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return _options(given) if isinstance(given, str) else given

    @field_validator("window")
    @classmethod
    def _is_window(cls, window: Duration) -> Duration:
        least, most = WINDOWS
        if not least <= window <= most:
            raise UnitError(f"a window of {window} is not possible: from {Duration(least)} to {Duration(most)}")
        return window

    @field_validator("plugin")
    @classmethod
    def _is_plugin(cls, plugin: str | None) -> str | None:
        if plugin is not None and not re.fullmatch(r"\w+(\.\w+)*:\w+", plugin):
            raise UnitError(f"{plugin!r} is not a plugin: write it like my_checks:queue_length")
        return plugin

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = [name for name in ("prometheus", "plugin") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise UnitError("a rule is measured by a query of Prometheus or by a plugin, not by both")
        if sources and self.expression.statistic != "value":
            raise UnitError(f"with {sources[0]} the expression is about its value: write it like value<0.8")
        if not sources and self.expression.statistic == "value":
            raise UnitError("value of what? Say prometheus (url, query) or plugin (module:function) with it")
        return self

    @property
    def external(self) -> bool:
        """Whether something else than requests is measured."""
        return self.prometheus is not None or self.plugin is not None

    def __str__(self) -> str:
        """Write it as text that reads back."""
        told = [str(self.expression), f"window={self.window}", f"for={self.for_}", f"grace={self.grace}"]
        told += [f"min_samples={self.min_samples}", f"action={self.action}"]
        if self.plugin is not None:
            told.append(f"plugin={self.plugin}")
        if self.prometheus is not None:
            told.append(f"prometheus={self.prometheus.url}")
            asking = ((name, getattr(self.prometheus, name)) for name in _ASKING)
            told += [f"{name}={value}" for name, value in asking if value is not None]
            told.append(f"query={self.prometheus.query}")
        return " ".join(told)


def _options(text: str) -> dict[str, Any]:
    """Split the text of a rule. Raises UnitError."""
    if len(text) > LONGEST_TEXT:
        raise UnitError(f"a rule has at most {LONGEST_TEXT} characters")
    found: dict[str, Any] = {}
    name, rest = "expression", " " + text.strip()
    while True:
        match = _OPTION.search(rest) if name != "query" else None
        if name in found:
            raise UnitError(f"{name!r} is there twice in {text!r}")
        found[name] = (rest[: match.start()] if match else rest).strip()
        if not match:
            break
        name, rest = match["name"].replace("-", "_"), rest[match.end() :]
        if name not in _OPTIONS:
            raise UnitError(f"{text!r}: there is no option {match['name']!r}: there are {', '.join(_OPTIONS)}")
    if found.keys() & {"prometheus", "query", *_ASKING}:
        if "prometheus" not in found or "query" not in found:
            raise UnitError(f"{text!r}: write prometheus=URL query=QUERY, the query last")
        asking = {name: found.pop(name) for name in _ASKING if name in found}
        found["prometheus"] = {"url": found["prometheus"], "query": found.pop("query"), **asking}
    return found


def observe(rule: Rule, recent: Recent, now_ns: int, bound: float = EXPERIENCE_TIMEOUT) -> Reading:
    """Read what a rule is about from what the sources counted.

    One source that is silent for more than `bound` seconds is enough for no data: how its users fare is not known.
    """
    silent = recent.silent(now_ns, bound)
    if silent:
        told = ", ".join(
            f"{source} said nothing yet" if age is None else f"{source} is silent for {age:.1f}s"
            for source, age in silent.items()
        )
        return Reading(None, 0, told)
    tally = recent.last(rule.expression.subject, rule.window, now_ns)
    return rule.expression.measure(tally)


class Verdict(NamedTuple):
    """What a `Watch` makes of a reading."""

    state: State
    """Pending: there is a breach, and nothing is to be done about it yet."""
    words: str
    """For people: the rule, the figures, and for how long."""
    lasted: float
    """Seconds that the breach has lasted; 0 if there is none."""
    value: float | None
    """What was judged; None is no data."""
    limit: float | None
    """What it was held against; None if the baseline is not known."""


class Watch:
    """The memory of one rule. Times are monotonic nanoseconds.

    Time only ever adds up from one look to the next: a clock that stands still or is set back clears no breach, and one
    that is set forward makes it ripen sooner, which is the safe side. Only a reading that is fine clears one.
    """

    def __init__(self, rule: Rule, baseline: float | None = None) -> None:
        """`baseline`: what the rule's value is without load, for an expression that is relative to it."""
        self.rule, self.baseline = rule, baseline
        self._now_ns: int | None = None
        self._under_load_ns = 0
        self._breach_ns: int | None = None

    def begin(self, now_ns: int) -> None:
        """Take note that load starts now: grace begins, and what was before is forgotten. Else: at the first look."""
        self._now_ns, self._under_load_ns, self._breach_ns = now_ns, 0, None

    def look(self, reading: Reading, now_ns: int) -> Verdict:
        """Judge the newest reading."""
        step = 0 if self._now_ns is None else max(0, now_ns - self._now_ns)
        self._now_ns = now_ns
        self._under_load_ns += step
        in_grace = self._under_load_ns < self.rule.grace * SECOND_NS
        limit = self.rule.expression.limit(self.baseline)
        trouble = self._trouble(reading, limit)
        value = None if trouble else reading.value
        if value is not None and limit is not None and self.rule.expression.holds(value, limit):
            self._breach_ns = None
        elif self._breach_ns is not None:
            self._breach_ns += step
        elif value is not None or not in_grace:
            self._breach_ns = 0
        lasted = (self._breach_ns or 0) / SECOND_NS
        state: State = "fine"
        if self._breach_ns is not None:
            state = "pending" if in_grace or lasted < self.rule.for_ else "breached"
        return Verdict(state, self._words(reading, limit, trouble, in_grace), lasted, value, limit)

    def _trouble(self, reading: Reading, limit: float | None) -> str:
        """Say why a reading can't be judged; nothing if it can."""
        if reading.value is None:
            return reading.why or "no data"
        if not math.isfinite(reading.value):
            return f"the value is {reading.value}"
        if reading.samples < self.rule.min_samples:
            return f"{reading.samples:,} samples in {self.rule.window}, and {self.rule.min_samples:,} are needed"
        return "the baseline was not learnt" if limit is None else ""

    def _words(self, reading: Reading, limit: float | None, trouble: str, in_grace: bool) -> str:
        expression = self.rule.expression
        if trouble or reading.value is None or limit is None:
            told = f"{expression}: no data ({trouble})"
            if self._breach_ns is None:
                return f"{told}, which does not count yet, so soon after the start"
            told += ", which counts as a breach"
        else:
            figures = expression.tell(reading.value)
            if expression.relative:
                figures += f", and the bound is {expression.tell(limit)}"
            told = f"{expression} {'holds' if self._breach_ns is None else 'does not hold'}: {figures}"
            if not self.rule.external:
                told += f" ({reading.samples:,} {expression.subject} requests in {self.rule.window})"
        if self._breach_ns is not None:
            told += f", for {Duration(round(self._breach_ns / SECOND_NS, 1))}" if self._breach_ns else ""
            told += ", so soon after the start" if in_grace else ""
        return told
