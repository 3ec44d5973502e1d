"""Stands in for third parties: one answer for each call that is not let through.

Whoever sends an idempotency key asks for the same thing again, and is to get the same answer (as Stripe does for a day,
docs.stripe.com/api/idempotent_requests). Answers are remembered within bounds. Errors that were drawn are not: they
stand for a request that was not executed, so another try may go well.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from addons.parties.asked import Asked
from addons.parties.drawing import Draws, Ids
from addons.parties.rule import PartyRule
from addons.parties.sandbox import RenderError
from addons.parties.template import Compiled, Rendered, compiled
from rules.wire import PROBLEM_JSON, Problem

MARK = b"reamp-third-party"
"""Response header that says that it was not the third party who answered, and what was done."""

REMEMBERED_FOR = 24 * 3600.0
MOST_REMEMBERED = 10_000
MOST_BYTES = 16 << 20

LONGEST_KEY = 512
"""Characters of an idempotency key that is one; Stripe allows 255."""

Outcome = Literal["stubbed", "erred", "failed", "blocked"]
"""Stubbed: the rule's answer. Erred: its error, as drawn. Failed: its answer could not be made of this request."""


class Said(NamedTuple):
    """An answer and when it is due."""

    answer: Rendered
    seconds: float
    outcome: Outcome


class _One(NamedTuple):
    """One rule's answers."""

    rule: PartyRule
    answer: Compiled | None
    """None: what reamp says of a call that it blocks."""
    error: Compiled | None
    draws: Draws


class StandIn:
    """The answers of all rules. Times are monotonic seconds, but for `now`, which is unix seconds."""

    def __init__(self, rules: Sequence[PartyRule], seed: str = "") -> None:
        """Make all answers ready. Raises UnitError if one can't be."""
        self._all = [
            _One(
                rule,
                compiled(rule, 403 if rule.action == "block" else 200) if rule.action == "stub" or rule.said else None,
                compiled(rule.error, 503) if rule.error else None,
                Draws(rule, seed, number),
            )
            for number, rule in enumerate(rules)
        ]
        self._memory: OrderedDict[tuple[str, ...], tuple[float, Rendered]] = OrderedDict()
        self._bytes = 0

    def answer(self, number: int, asked: Asked, run: str, monotonic: float, now: float) -> Said:
        """Answer a call that rule `number` blocks or stubs."""
        one = self._all[number]
        drawn = one.draws.draw()
        if drawn.fails:
            rendered = self._render(one.error, asked, Ids.fresh(), now) if one.error else None
            return Said(rendered or _unavailable(), drawn.seconds, "erred")
        if one.answer is None:
            where = f"The rule for {one.rule.match} in third_parties blocks it."
            return Said(refusal(asked.host, where), drawn.seconds, "blocked")
        key = self._key(one.rule, number, asked, run)
        if key is not None and (known := self._recall(key, monotonic)):
            return Said(known, drawn.seconds, "stubbed")
        try:
            rendered = one.answer.render(asked, Ids.of(*key) if key else Ids.fresh(), now)
        except RenderError as error:
            return Said(_unable(one.rule, str(error)), drawn.seconds, "failed")
        if one.rule.action == "block":
            return Said(_marked(rendered, b"block"), drawn.seconds, "blocked")
        rendered = _marked(rendered, b"stub")
        if key is not None:
            self._remember(key, rendered, monotonic)
        return Said(rendered, drawn.seconds, "stubbed")

    def looks_at_bodies(self, number: int) -> bool:
        """Whether the answer of rule `number` may depend on a call's body."""
        return self._all[number].answer is not None

    @property
    def remembered(self) -> int:
        """How many answers are remembered."""
        return len(self._memory)

    @staticmethod
    def _render(answer: Compiled, asked: Asked, ids: Ids, now: float) -> Rendered | None:
        try:
            return _marked(answer.render(asked, ids, now), b"error")
        except RenderError:
            return None

    @staticmethod
    def _key(rule: PartyRule, number: int, asked: Asked, run: str) -> tuple[str, ...] | None:
        key = asked.headers.get(rule.idempotency, "") if rule.idempotency and rule.action == "stub" else ""
        if not 0 < len(key) <= LONGEST_KEY:
            return None
        # A run that replays a recording again sends the same keys again.
        return (run, str(number), asked.method, asked.host, asked.path, key)

    def _recall(self, key: tuple[str, ...], monotonic: float) -> Rendered | None:
        when, answer = self._memory.get(key, (0.0, None))
        if answer is not None and monotonic - when > REMEMBERED_FOR:
            self._forget(key)
            return None
        return answer

    def _remember(self, key: tuple[str, ...], answer: Rendered, monotonic: float) -> None:
        self._memory[key] = (monotonic, answer)
        self._bytes += _size(key, answer)
        while len(self._memory) > MOST_REMEMBERED or self._bytes > MOST_BYTES:
            self._forget(next(iter(self._memory)))

    def _forget(self, key: tuple[str, ...]) -> None:
        _, answer = self._memory.pop(key)
        self._bytes -= _size(key, answer)


def _size(key: tuple[str, ...], answer: Rendered) -> int:
    fields = sum(len(name) + len(value) + 200 for name, value in answer.fields)
    return len(answer.body) + fields + sum(len(part) + 80 for part in key) + 400


def _marked(answer: Rendered, what: bytes) -> Rendered:
    return answer._replace(fields=(*answer.fields, (MARK, what)))


def _problem(status: int, about: str, title: str, detail: str, mark: bytes) -> Rendered:
    problem = Problem(type=f"urn:reamp:third-party-{about}", title=title, status=status, detail=detail)
    fields = ((b"content-type", PROBLEM_JSON.encode()), (b"cache-control", b"no-store"), (MARK, mark))
    return Rendered(status, fields, problem.model_dump_json().encode())


def refusal(host: str, why: str) -> Rendered:
    """Answer a call that is blocked without a word on how."""
    host = host[:253].encode("utf-8", "replace").decode()  # who knows what stood there
    detail = f"This call to {host} is, or may be, part of a load test or of a dark copy, so it did not go out. {why}"
    return _problem(403, "blocked", "Blocked in a load test", detail, b"block")


def _unavailable() -> Rendered:
    detail = "This error was drawn: the rule's error_share asks for such."
    return _problem(503, "error", "Service unavailable in a load test", detail, b"error")


def _unable(rule: PartyRule, error: str) -> Rendered:
    detail = f"The answer that the rule for {rule.match} describes can't be made of this request: {error}"
    return _problem(500, "stub", "No answer for this request in a load test", detail, b"failed")
