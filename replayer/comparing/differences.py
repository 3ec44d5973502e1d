"""What differs between answers to the same request, and whether that is more than they differ by themselves. Pure.

An answer that bears a time or a random number is never the same twice. So the same request is sent twice to the same
place, and what differs between those two answers is noise (as in Diffy, https://github.com/opendiffy/diffy). An aspect
differs *really* if it differs more often than noise does: Fisher's exact test on the two counts, corrected for all
aspects of all routes by Benjamini and Hochberg (`comparison`).

Of JSON, places are kept (`$.items[].price`) and what differs there (value, type, missing, added), never values: an
answer of the target may hold what must not stand in a report.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from captures.rendering import printable
from replayer.comparing.comparison import FALSE_ALARMS, adjusted, fisher

Aspect = Literal["status", "size", "body-hash", "json"]
ASPECTS: tuple[Aspect, ...] = ("status", "size", "body-hash", "json")

RECORDED: tuple[Aspect, ...] = ("status", "size")
"""What a recording tells of an answer, and so can be compared with."""

MOST_PLACES, MOST_NODES = 200, 50_000
"""Places told apart on a route, and parts of a document that are looked at."""

_LONGEST, _DEEPEST = 120, 60
"""Characters of a key that are kept, and levels of a document that are looked at."""

OTHER_PLACES = "(other places)"


class Seen(NamedTuple):
    """An answer, as far as it is compared. None: not known of this one."""

    status: int
    size: int
    body: bytes | None = None
    """Unpacked; None: not kept, or too long."""


class Found(BaseModel):
    """How often one aspect of a route's answers differed."""

    what: str = Field(description="status, size, body-hash, or a place in a JSON document and what differs there")
    differing: int = Field(description="of the compared requests")
    noise: int = Field(description="of the same: between two answers of one place")
    p: float
    adjusted: float = Field(description="p, corrected for all that was tested")
    verdict: Literal["differs", "noise"]
    example: str = Field("", description="of a status or a size: one before and one after")


class RouteDifferences(BaseModel):
    """What differed on one route."""

    method: str
    template: str
    compared: int
    found: list[Found] = Field(description="the most frequent first")


class Differences(BaseModel):
    """The answers of a run, compared."""

    aspects: list[Aspect]
    against: str = Field(description="the recording, or the URL of the reference")
    sent: int = Field(description="requests sent for it, beside those of the replay")
    compared: int = Field(description="requests of which all answers came")
    without_credit: int = Field(0, description="not sent: nothing was granted for it")
    failed: dict[str, int] = Field({}, description="requests of which an answer did not come, by kind")
    routes: list[RouteDifferences] = []


def differing(a: Seen, b: Seen, aspects: Iterable[Aspect]) -> dict[str, str]:
    """Tell in what two answers differ, with an example where one may be shown. With the status all else differs."""
    chosen = set(aspects)
    if "status" in chosen and a.status != b.status:
        return {"status": f"{a.status} before, {b.status} after"}
    found = {}
    if "size" in chosen and a.size != b.size:
        found["size"] = f"{a.size} B before, {b.size} B after"
    if a.body is None or b.body is None:
        return found
    if "body-hash" in chosen and _hash(a.body) != _hash(b.body):
        found["body-hash"] = ""
    if "json" in chosen and a.body != b.body:
        found |= dict.fromkeys(places(_document(a.body), _document(b.body)), "")
    return found


def _hash(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


_Pair = tuple[str, Any, Any, int]
"""A place, what stands there in both documents, and how deep it is."""


class _None:
    """Stands for a body that is no JSON."""


_NO_DOCUMENT = _None()


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NO_DOCUMENT


def places(a: Any, b: Any) -> set[str]:
    """Tell where two documents differ, and how: ``$.items[].price: value``. List items are compared by their order."""
    if a is _NO_DOCUMENT or b is _NO_DOCUMENT:
        return set() if a is b else {"$: type"}
    found: set[str] = set()
    left = MOST_NODES
    rest: list[_Pair] = [("$", a, b, 0)]
    while rest and left and len(found) < MOST_PLACES:
        left -= 1
        _look(rest.pop(), found, rest)
    return found


def _look(pair: _Pair, found: set[str], rest: list[_Pair]) -> None:
    """Compare two parts of a document; what is below them is put with the rest."""
    place, x, y, depth = pair
    if _kind(x) is not _kind(y):
        found.add(f"{place}: type")
    elif isinstance(x, dict | list) and depth >= _DEEPEST:
        return
    elif isinstance(x, dict):
        for key in x.keys() | y.keys():
            below = f"{place}.{printable(key)[:_LONGEST]}"
            if key in x and key in y:
                rest.append((below, x[key], y[key], depth + 1))
            else:
                found.add(f"{below}: {'missing' if key in x else 'added'}")
    elif isinstance(x, list):
        if len(x) != len(y):
            found.add(f"{place}[]: length")
        rest += [(f"{place}[]", one, other, depth + 1) for one, other in zip(x, y, strict=False)]
    elif x != y:
        found.add(f"{place}: value")


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


@dataclass
class _Route:
    compared: int = 0
    real: Counter[str] = field(default_factory=Counter)
    noise: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


class Compared:
    """Counts differences by route."""

    def __init__(self) -> None:
        self.routes: dict[int, _Route] = {}

    def add(self, number: int, real: dict[str, str], noise: dict[str, str]) -> None:
        """Count what differed in the answers to one request: between the two sides, and within one of them."""
        route = self.routes.setdefault(number, _Route())
        route.compared += 1
        for counter, found in ((route.real, real), (route.noise, noise)):
            # Names of several parts may be folded into one, which counts once for each request.
            counter.update({self._known(route, what) for what in found})
        for what, example in real.items():
            if example and what in route.real:
                route.examples.setdefault(what, example)

    def _known(self, route: _Route, what: str) -> str:
        known = what in route.real or what in route.noise
        return what if known or len(route.real) + len(route.noise) < MOST_PLACES else OTHER_PLACES

    def findings(self, names: dict[int, tuple[str, str]]) -> list[RouteDifferences]:
        """Judge all of it together; `names` gives method and template of each route's number."""
        merged: dict[tuple[str, str], _Route] = {}
        for number, route in self.routes.items():
            into = merged.setdefault(names[number], _Route())
            into.compared += route.compared
            into.real += route.real
            into.noise += route.noise
            into.examples = {**route.examples, **into.examples}
        tested = [(name, route, what) for name, route in merged.items() for what in sorted(route.real | route.noise)]
        ps = [fisher(r.real[what], r.compared, r.noise[what], r.compared) for _, r, what in tested]
        found: dict[tuple[str, str], list[Found]] = {name: [] for name in merged}
        for (name, route, what), p, corrected in zip(tested, ps, adjusted(ps), strict=True):
            really = corrected <= FALSE_ALARMS and route.real[what] > route.noise[what]
            found[name].append(
                Found(
                    what=what,
                    differing=route.real[what],
                    noise=route.noise[what],
                    p=p,
                    adjusted=corrected,
                    verdict="differs" if really else "noise",
                    example=route.examples.get(what, ""),
                )
            )
        return [
            RouteDifferences(
                method=name[0],
                template=name[1],
                compared=route.compared,
                found=sorted(found[name], key=lambda each: (each.verdict, -each.differing, each.what)),
            )
            for name, route in sorted(merged.items(), key=lambda each: -each[1].compared)
        ]
