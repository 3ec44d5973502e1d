"""Which parts of a path name a place in the app, and which identify one thing. Pure.

Two ways lead to a template. What an identifier looks like tells most of them from one path alone: numbers, UUIDs,
hexadecimal, dates, e-mail addresses, random characters. Words that stand for things (`/blog/how-to-bake`,
`/user/alice`) look like the names of endpoints; they show only by their number, so they are found among all endpoints
together.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

ID, DATE, EMAIL, HASH, SLUG, REST = "{id}", "{date}", "{email}", "{hash}", "{slug}", "{rest}"

MANY_SLUGS, MANY_WORDS = 30, 100
"""So many siblings of one shape are one endpoint: names of several words or with digits, and plain words. An app has
hardly so many endpoints side by side that take the same methods and lead nowhere, or all to the same places."""

HEAVY = 0.05
"""A sibling with at least this share of the requests keeps its name: whatever it is, it is worth seeing."""

_LONG = 64  # characters: no name of an endpoint is so long; and the cache must not hold what strangers make up
_DEEP = 16  # parts of a path

_NUMBER = re.compile(r"[-+]?\d+(?:[.,:_x-]\d+)*")
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?")
_HEX = re.compile(r"(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}")  # with a digit in it: `deadbeef` is a word
_DATE = re.compile(r"(?:19|20)\d\d-(?:0\d|1[0-2])(?:-[0-3]\d)?(?:[T ]\d.*)?|(?:19|20)\d\d-?W[0-5]\d(?:-?\d)?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_PREFIXED = re.compile(
    r"[A-Za-z]{1,8}(?:[-_:]\d+)*[-_:]\d{3,}|[a-zA-Z]\d{4,}|[A-Z]{2,5}\d{3,}"
)  # user_123, ORD-2026-17
_FILE = re.compile(r"(.+?)((?:\.[A-Za-z][A-Za-z0-9]{0,4}){1,2})")
_HASHED = re.compile(r"(.+[._-])([0-9a-zA-Z]{6,}|[0-9a-zA-Z_-]{8})")
_WORDS = re.compile(r"(?:[A-Z]?[a-z]+|[A-Z]+|\d{1,4})(?:[-_.](?:[A-Z]?[a-z]+|[A-Z]+|\d{1,4}))*")
_PREFIX = re.compile(r"[a-z]{2,5}_(?=[A-Za-z0-9]{8})")  # cus_NffrFeUfNV2Hib
_RUN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_SLUGGISH = re.compile(r"[-_.%@~+ :\d]")


def template(path: str) -> str:
    """Give the path without query, with ``{id}`` and the like in place of the parts that identify one thing."""
    path = path.partition("?")[0].partition("#")[0]
    parts = path.split("/")
    if len(parts) > _DEEP:
        parts[_DEEP:] = [REST]
    return "/".join([_part(part) if len(part) <= _LONG else _long(part) for part in parts])


def _long(part: str) -> str:
    return SLUG if "-" in part and _WORDS.fullmatch(part[:1000]) else ID


@lru_cache(maxsize=1 << 14)
def _part(part: str) -> str:
    part = part.partition(";")[0]  # what Java servers put there is a session or a kind of query
    if len(part) < 8 and part.isalpha():
        return part
    plain = unquote(part) if "%" in part else part
    stem, suffix = plain, ""
    if file := _FILE.fullmatch(plain):
        stem, suffix = file.groups()
    if _EMAIL.fullmatch(plain):
        return EMAIL
    if kind := _kind(stem):
        return kind + suffix
    hashed = _HASHED.fullmatch(stem) if suffix else None
    if hashed and _is_hash(hashed[2]):
        return hashed[1] + HASH + suffix
    return ID + suffix if _is_random(stem) else part


def _kind(part: str) -> str:
    """Say what the part identifies; empty if it is a name."""
    if _DATE.fullmatch(part):
        return DATE
    if _NUMBER.fullmatch(part) or _UUID.fullmatch(part) or _HEX.fullmatch(part) or _PREFIXED.fullmatch(part):
        return ID
    return ""


def _is_random(part: str) -> bool:
    """Whether it changes between digits, capitals and small letters as no name does: `dQw4w9WgXcQ`."""
    part = _PREFIX.sub("", part)
    if len(part) < 8 or _WORDS.fullmatch(part):
        return False
    if not all(c.isascii() and (c.isalnum() or c in "-_=.~:") for c in part):
        return False
    runs = len(_RUN.findall(part)) / len(part)
    has_digit = any(c.isdigit() for c in part)
    if part.upper() == part or part.lower() == part:
        return has_digit and runs >= 0.33
    if len(part) >= 14:
        return runs >= 0.4 and (has_digit or len(part) >= 20)
    return has_digit and runs >= 0.5


def _is_hash(part: str) -> bool:
    """Whether the last part of a file's name is the mark of its content that build tools append."""
    if re.fullmatch("[0-9a-f]{6,}", part):
        return any(c.isdigit() for c in part)
    return len(part) in {8, 10, 16, 20} and len(_RUN.findall(part)) >= 3


# --- words, found by their number ---


class _Node:
    """A part of a path, with what comes below it."""

    __slots__ = ("below", "count", "methods")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.methods: frozenset[str] = frozenset()
        self.count = 0

    def shape(self) -> frozenset[str]:
        """Say how siblings are alike: methods, and what is directly below."""
        return self.methods | {"/" + ("*" if _SLUGGISH.search(name) else name) for name in self.below}


def generalised(endpoints: Iterable[tuple[str, str, int]], pressed: bool = False) -> dict[tuple[str, str], str]:
    """Find the words in paths that stand for things: from (method, template, count) to (method, template) -> template.

    Only what changes is in the result. `pressed`: there are too many endpoints, so any 30 siblings become one,
    alike or not.
    """
    known = [(method, path, count) for method, path, count in endpoints]
    root = _Node()
    for method, path, count in known:
        node = root
        node.count += count
        for part in path.split("/"):
            node = node.below.setdefault(part, _Node())
            node.count += count
        node.methods |= {method}
    renamed: dict[tuple[_Node, str], _Node] = {}
    _fold(root, pressed, renamed)
    changes = {}
    for method, path, _ in known:
        node, parts = root, []
        for part in path.split("/"):
            if (node, part) in renamed:
                node = renamed[node, part]
                parts.append(SLUG)
            else:
                node = node.below[part]
                parts.append(part)
        if SLUG in parts and (found := "/".join(parts)) != path:
            changes[method, path] = found
    return changes


def _fold(node: _Node, pressed: bool, renamed: dict[tuple[_Node, str], _Node]) -> None:
    """Make one of the siblings that are alike, from the top down: below what was made one there is more to compare."""
    for names in _alike(node, pressed):
        one = node.below.setdefault(SLUG, _Node())
        for name in names:
            _merge(one, node.below.pop(name))
            renamed[node, name] = one
    for below in node.below.values():
        _fold(below, pressed, renamed)


def _alike(node: _Node, pressed: bool) -> list[list[str]]:
    """Give the groups of names below a node that are one endpoint each (all of them the same one)."""
    light = {
        name: below
        for name, below in node.below.items()
        if name and not name.startswith("{") and below.count < HEAVY * node.count
    }
    if pressed:
        return [list(light)] if len(light) >= MANY_SLUGS else []
    if SLUG not in node.below and len(light) < MANY_SLUGS:
        return []
    shapes = {name: below.shape() for name, below in light.items()}
    groups: list[list[str]] = []
    for sluggish, many in ((True, MANY_SLUGS), (False, MANY_WORDS)):
        names = [name for name in light if (_SLUGGISH.search(name) is not None) == sluggish]
        if SLUG in node.below:
            many = 1 if sluggish else MANY_SLUGS  # noqa: PLW2901 - it is known by now that there are such
        often = {shape for shape, count in Counter(shapes[name] for name in names).items() if count >= many}
        if not often:
            continue
        # With few requests to each, not every thing shows all that can be done with it.
        whole = frozenset().union(*often)
        groups.append([name for name in names if shapes[name] in often or shapes[name] <= whole])
    return groups


def _merge(into: _Node, other: _Node) -> None:
    into.count += other.count
    into.methods |= other.methods
    for name, below in other.below.items():
        if name in into.below:
            _merge(into.below[name], below)
        else:
            into.below[name] = below
