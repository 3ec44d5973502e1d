"""How much of a request's body is kept, by what it is. Pure.

A policy is a list of rules, the first that fits decides: ``image/*=drop, application/json=1MiB, *=keep``.
"""

import fnmatch
import re
from collections.abc import Sequence
from typing import NamedTuple, Self

from captures.records import Headers
from rules.units import Size, UnitError

DEFAULT = "image/*=drop, audio/*=drop, video/*=drop, *=keep"
"""Pictures and sound say nothing about load, are large, and nothing in them can be redacted."""

_TYPE = re.compile(r"[a-z0-9*?][a-z0-9!#$&^_.+*?-]*(/[a-z0-9!#$&^_.+*?-]+)?|\*")
_RULES = 100
_REMEMBERED = 1000


class Rule(NamedTuple):
    """How much to keep of bodies of one kind."""

    pattern: str
    """A media type, lower case, with ``*`` for anything; ``*`` alone also fits a body without any."""
    limit: int | None
    """Bytes; None: as of every other body."""

    def __str__(self) -> str:
        return f"{self.pattern}={'keep' if self.limit is None else Size(self.limit) if self.limit else 'drop'}"


class BodyPolicy:
    """Says how many bytes of a body are kept."""

    def __init__(self, rules: Sequence[Rule], limit: int) -> None:
        """`limit`: the bytes to keep of bodies that no rule says otherwise of."""
        self.rules, self.limit = tuple(rules), limit
        limits = {limit if rule.limit is None else rule.limit for rule in self.rules} | {limit}
        self.uniform = len(limits) == 1
        """Whether the kind makes no difference."""
        self._known: dict[bytes, int] = {}

    @classmethod
    def parse(cls, text: str, limit: int) -> Self:
        """Read rules. Raises UnitError, and ValueError for what is no rule."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(parts) > _RULES:
            raise ValueError(f"{len(parts)} rules are too many: at most {_RULES}")
        return cls([_rule(part) for part in parts], limit)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules))

    def keeps(self, headers: Headers) -> int:
        """Say how many bytes to keep of the body that comes with these headers."""
        if self.uniform:
            return self.limit
        kind = next((value for name, value in headers if len(name) == 12 and name.lower() == b"content-type"), b"")
        known = self._known.get(kind)
        if known is None:
            known = self._limit(kind)
            if len(kind) <= 256:  # a client must not be able to fill the memory, neither with long ones nor with many
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[kind] = known
        return known

    def _limit(self, content_type: bytes) -> int:
        kind = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        for pattern, limit in self.rules:
            if pattern == "*" or fnmatch.fnmatchcase(kind, pattern):
                return self.limit if limit is None else limit
        return self.limit


def _rule(text: str) -> Rule:
    pattern, _, how = (part.strip().lower() for part in text.rpartition("="))
    if not _TYPE.fullmatch(pattern):
        raise ValueError(f"{text!r} is no rule for bodies: write it like image/*=drop or application/json=64KiB")
    if how in ("keep", "drop"):
        return Rule(pattern, None if how == "keep" else 0)
    try:
        return Rule(pattern, Size.parse(how))
    except UnitError:
        raise UnitError(f"{text!r}: after the = comes keep, drop or a size, like 64KiB") from None
