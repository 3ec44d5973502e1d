"""Which requests that change things may be sent: only those of routes that the plan names. Pure.

Whoever replays a recording once too often with `POST /orders` in it has ordered twice. So there is no switch for a
method; each route is named, as `reamp captures top` and ``--dry-run`` write it: ``POST /cart/{id}``.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from captures.templates import DATE, EMAIL, HASH, ID, REST, SLUG, template
from replayer.comparing.routes import Route
from replayer.requests.fields import compiled

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Sent unless told otherwise."""

READING = frozenset((*SAFE_METHODS, "TRACE", "PROPFIND", "QUERY", "REPORT", "SEARCH"))
"""Methods that only read (the column *safe* of IANA's registry of methods)."""

EVERYTHING = "*"

_PLACES = (ID, DATE, EMAIL, HASH, SLUG, REST)
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_PLACE = re.compile(r"\{[^{}]*\}?|\}")
_KNOWN, _LONG = 1 << 12, 512
"""Requests whose answer is remembered, and the characters of the longest path among them."""

_TRICKS = ("%2e", "%2f", "%5c", "%25", "%00", "\\")


class RoutePattern(NamedTuple):
    """A method, and which paths."""

    method: str
    parts: tuple[Any, ...] | None
    """One for each part of a path; None: whatever the path."""
    below: bool
    """Whether more parts may follow, at least one."""

    @classmethod
    def parse(cls, text: str) -> "RoutePattern":
        """Read ``POST /cart/{id}``. Raises ValueError.

        ``{id}`` and its like are parts of a path that look like one, as in `captures.templates`, so that
        ``/cart/checkout`` is not meant; ``*`` is any one part or a piece of one, ``**`` at the end whatever is below.
        """
        method, _, path = text.strip().partition(" ")
        method, path = method.upper(), path.strip()
        if not _METHOD.fullmatch(method) or not (path.startswith("/") or path == EVERYTHING):
            raise ValueError(f"{text!r}: write a method and a path, like 'POST /cart/{{id}}', or 'POST *' for all")
        if method in READING:
            raise ValueError(f"{text!r}: {method} only reads; --methods says which of those are sent")
        if method == "CONNECT":
            raise ValueError(f"{text!r}: CONNECT opens a tunnel, and is never replayed")
        if path == EVERYTHING:
            return cls(method, None, True)
        if bad := next((sign for sign in "?# " if sign in path), None):
            raise ValueError(f"{text!r}: a route holds no {bad!r}: it is a path without its query")
        for place in _PLACE.findall(path):
            if place not in _PLACES:
                known = ", ".join(_PLACES)
                raise ValueError(
                    f"{text!r}: {place} is none of {known}, which stand for what looks like one; "
                    "write * for any one part of a path, ** at its end for whatever is below"
                )
        parts = path.replace(REST, "**").replace(SLUG, "*").split("/")[1:]
        below = parts[-1] == "**"
        if any("**" in part for part in parts[: len(parts) - below]):
            raise ValueError(f"{text!r}: ** stands for whatever is below, as the last part of a path")
        return cls(method, tuple(map(_part, parts[: len(parts) - below])), below)

    def matches(self, raw: list[bytes], named: list[bytes]) -> bool:
        """Whether a path is meant, by its parts as they are and as its template has them."""
        if self.parts is None:
            return True
        if len(raw) <= len(self.parts) if self.below else len(raw) != len(self.parts):
            return False
        return len(named) >= len(self.parts) and all(
            part.fullmatch(one) or part.fullmatch(other)
            for part, one, other in zip(self.parts, raw, named, strict=False)
        )


def _part(part: str) -> Any:
    return compiled(".+" if part == "*" else ".*".join(map(re.escape, part.split("*"))))


class Writes:
    """The routes that a plan allows. None, by default."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = tuple(map(RoutePattern.parse, patterns))
        self._known: dict[tuple[str, str], bool] = {}

    def allow(self, method: str, path: str) -> bool:
        """Whether this request may be sent, `path` being what goes over the wire."""
        key = (method, path)
        known = self._known.get(key)
        if known is None:
            known = self._look(method, path)
            if len(path) <= _LONG:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[key] = known
        return known

    def _look(self, method: str, path: str) -> bool:
        meant = [pattern for pattern in self._patterns if pattern.method == method]
        if not meant or any(pattern.parts is None for pattern in meant):
            return bool(meant)
        plain = path.partition("?")[0].partition("#")[0]
        if not plain.startswith("/") or _is_tricky(plain):
            return False
        raw, named = (text.encode("utf-8", "surrogateescape").split(b"/")[1:] for text in (plain, template(path)))
        return any(pattern.matches(raw, named) for pattern in meant)


def _is_tricky(path: str) -> bool:
    """Whether servers may take it for another path: ``/cart/../orders``, in one disguise or another."""
    lower = path.lower()
    return any(trick in lower for trick in _TRICKS) or any(
        part.partition(";")[0] in (".", "..") for part in path.split("/")
    )


def leave(method: str, template_: str, methods: Sequence[str]) -> str:
    """Give the option that would send a route that is left out, empty if none would; `methods` are those sent."""
    if method in READING:
        return f"--methods {','.join((*methods, method))}"
    for route in (f"{method} {template_}", f"{method} {EVERYTHING}"):
        try:
            pattern = RoutePattern.parse(route)
        except ValueError:
            continue
        if pattern.method == method and (pattern.parts is None or not _is_tricky(template_)):
            return f"--allow {shlex.quote(route)}"
    return ""


def omit(routes: Sequence[Route], excepted: str | None, allowed: Sequence[str]) -> str:
    """Give the option that leaves these routes out, and no other; empty if none does.

    `excepted` and `allowed` are what --except and --allow say already: the first is kept, and a method of which a route
    is allowed is not left out as a whole. Recorded methods are strangers' text, and people copy options into a shell.
    """
    methods = list(dict.fromkeys(route.method for route in routes))
    if not methods or not all(map(_METHOD.fullmatch, methods)):
        return ""
    if any(RoutePattern.parse(pattern).method in methods for pattern in allowed):
        return ""
    known = [f"({excepted})"] if excepted else []
    return "--except " + shlex.quote(" | ".join((*known, *(f"~m {method}" for method in methods))))


def lines(sent: Sequence[Route], left_out: Sequence[Route], methods: Sequence[str]) -> list[tuple[str, str]]:
    """Say for people which writes are among some records: (what, which)."""
    found = [("writes sent", _listed((route, route.sent) for route in sent))] if sent else []
    if left_out:
        first = left_out[0]
        option = leave(first.method, first.template, methods)
        hint = f"; {option} would send these" if option else ""
        found.append(("writes left out", _listed((route, route.left_out) for route in left_out) + hint))
    return found


_MOST_SHOWN = 12


def _listed(routes: Iterable[tuple[Route, int]]) -> str:
    counts = Counter({f"{route.method} {route.template}": count for route, count in routes})
    shown = ", ".join(f"{name} ({count})" for name, count in counts.most_common(_MOST_SHOWN))
    rest = len(counts) - _MOST_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
