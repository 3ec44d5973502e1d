"""What is changed on purpose in a recorded request: fields set and left out, paths rewritten. Pure.

A rule looks at the name of one field, or at one path, and at nothing else. So what it makes of them may be remembered,
and a recording costs as much as it has different names and paths.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import loadtag.headers
from replayer.requests.fields import FRAMING, HOP_BY_HOP, LEFT_OUT, OVERRIDES, Kind, Names, compiled, is_name, kind_of

LONGEST_PATH = 8192
"""Characters of a path that is rewritten: more than common servers take. A search is linear in them, and there may be
as many searches, so this bounds the time."""

LARGEST_PATH = 1 << 16
"""Characters that a path may have after the last rule."""

MOST_RULES = 100
"""Rules of one kind in one plan."""

_KNOWN, _LONG = 1 << 14, 512
"""Paths whose outcome is remembered, and the characters of the longest one."""

_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REFERENCE = re.compile(r"\\(?:([0-9])|g<([A-Za-z_]\w*)>|([\\$])|(.?))|\$(\d)", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_BLANK = re.compile(r"[\x00-\x20\x7f]")


def name_pattern(text: str) -> str:
    """Check a pattern of `Names`. Raises ValueError."""
    pattern = text.strip()
    if not is_name(_bytes(pattern)):
        raise ValueError(f"{text!r} is no name of a header: write it like Cookie, or X-Forwarded-* for several")
    lower = _bytes(pattern.lower())
    if lower in FRAMING or lower in HOP_BY_HOP:
        raise ValueError(f"{pattern} is not taken from the recording: the sender writes what the request needs")
    return pattern


def header(text: str) -> tuple[bytes, bytes]:
    """Read ``Name: value``. Raises ValueError for what is none, and for fields that are not the user's to set."""
    name, colon, value = (part.strip(" \t") for part in text.partition(":"))
    if not colon:
        raise ValueError(f"{text!r} has no colon: write it like 'Accept-Language: de'")
    raw, lower = (_bytes(name), _bytes(value)), _bytes(name.lower())
    if not is_name(raw[0]):
        raise ValueError(f"{name!r} is no name of a header: write it like 'Accept-Language: de'")
    if not _VALUE.fullmatch(raw[1]):
        raise ValueError(f"the value of {name} holds a line break or another control character")
    if loadtag.headers.find([raw]):
        raise ValueError(f"{name} is where the load tag stands, and only a signed one is sent")
    if lower == b"authorization":
        raise ValueError("what is given here is written into the run's folder: --token-from names a variable instead")
    if lower == b"host":
        raise ValueError("--host says which Host is sent: target, recorded, or a name")
    if lower in FRAMING or lower in HOP_BY_HOP:
        raise ValueError(f"{name} belongs to the connection: the sender writes what the request needs")
    if lower.replace(b"_", b"-") in OVERRIDES:
        raise ValueError(f"{name} makes another method of every request, past --methods and --allow")
    return raw


def token(text: str, environment: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Read a header from the environment: ``NAME`` names a variable for `Authorization`, ``Header: NAME`` for another.

    A token without a scheme before it is a bearer's (RFC 6750, 2.1). Raises ValueError, which never holds the value.
    """
    field, variable = token_source(text)
    value = environment.get(variable, "").strip()
    if not value:
        # Somebody may have given the token itself, which is not to be shown.
        shown = variable if _SHOWN.fullmatch(variable) else "variable of this name"
        raise ValueError(f"the environment has no {shown}, or it is empty: export it first")
    if field.lower() == "authorization" and " " not in value:
        value = f"Bearer {value}"
    raw = _bytes(value)
    if not _VALUE.fullmatch(raw):
        raise ValueError("the variable holds a line break or another control character")
    if loadtag.headers.find([(_bytes(field), raw)]):
        raise ValueError(f"{field} is where the load tag stands, and only a signed one is sent")
    return _bytes(field), raw


def token_source(text: str) -> tuple[str, str]:
    """Take apart what `token` reads: (header, variable). Raises ValueError."""
    field, colon, variable = (part.strip() for part in text.rpartition(":"))
    if not _VARIABLE.fullmatch(variable) or (colon and not field):
        raise ValueError(
            "write the name of an environment variable, like SHOP_TOKEN, or 'X-Api-Key: SHOP_KEY' for another header"
        )
    if colon:
        header(f"{field}:") if field.lower() != "authorization" else None
    return field or "Authorization", variable


def once(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """Give the fields. Raises ValueError if one is there twice."""
    found = tuple(fields)
    names = [name.lower() for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name.decode()} is given twice: write its values as one, with commas between them")
    return found


@dataclass(frozen=True, slots=True)
class PathRule:
    """A regular expression of RE2, which no path can hang, and what to put in the place of every match."""

    regex: Any
    pieces: tuple[bytes | int, ...]
    """Text, and numbers of groups."""

    @classmethod
    def parse(cls, text: str) -> "PathRule":
        """Read ``regex => replacement``. Raises ValueError that points at the mistake."""
        expression, arrow, replacement = f"{text} ".rpartition(" => ")
        expression, replacement = expression.strip(), replacement.strip()
        if not arrow or not expression:
            raise ValueError(rf"{text!r}: write it like '^/v1/(\w+) => /v2/\1'")
        if blank := _BLANK.search(replacement):
            raise ValueError(_pointed(replacement, blank.start(), "a path holds no blanks: write %20"))
        try:
            regex = compiled(expression)
        except ValueError as error:
            # RE2 names the piece that it stumbled over last.
            words, _, piece = str(error).rpartition(": ")
            place = expression.find(piece) if piece and words else -1
            hint = "; RE2 has no look-around" if piece.startswith("(?") else ""
            hint = hint or ("; RE2 has no references inside the regex" if re.fullmatch(r"\\\d", piece) else "")
            raise ValueError(_pointed(expression, max(place, 0), f"the regex: {error}{hint}")) from None
        return cls(regex, tuple(_pieces(replacement, regex)))

    def __call__(self, path: bytes) -> bytes:
        """Give the path with every match replaced."""
        made, end = [], 0
        for match in self.regex.finditer(path):
            made.append(path[end : match.start()])
            made += [piece if isinstance(piece, bytes) else match[piece] or b"" for piece in self.pieces]
            end = match.end()
        return b"".join((*made, path[end:])) if made else path


def _pieces(replacement: str, regex: Any) -> Iterable[bytes | int]:
    end = 0
    for found in _REFERENCE.finditer(replacement):
        number, name, plain, wrong, dollar = found.groups()
        if replacement[end : found.start()]:
            yield _bytes(replacement[end : found.start()])
        end = found.end()
        if dollar:
            message = rf"groups are written \{dollar}, not ${dollar}; for a dollar sign itself write \$"
        elif wrong is not None:
            message = rf"\{wrong} means nothing here: groups are \1 to \9, all of the match is \0, a backslash is \\"
        elif plain:
            yield plain.encode()
            continue
        elif name:
            if (named := regex.groupindex.get(name.encode(), regex.groupindex.get(name))) is not None:
                yield named
                continue
            message = f"the regex has no group named {name}"
        else:
            if int(number) <= regex.groups:
                yield int(number)
                continue
            message = (
                f"the regex has {regex.groups or 'no'} group{'s' * (regex.groups != 1)}, so there is no \\{number}"
            )
        raise ValueError(_pointed(replacement, found.start(), message))
    if replacement[end:]:
        yield _bytes(replacement[end:])


NONE = Names()


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is changed of every request. Nothing, by default."""

    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Put in; recorded ones of the same names are left out."""
    removed: Names = NONE
    """Left out."""
    kept: Names = NONE
    """Sent as recorded, though they would be left out or renewed."""
    renewed: Names = NONE
    """Given a new value for every request, as idempotency keys are."""
    paths: tuple[PathRule, ...] = ()
    """Applied one after the other, each to what the one before gave."""
    _known: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def kind(self, name: bytes) -> Kind:
        """Say what is done with recorded fields of this name."""
        return kind_of(name, dropped=self.drops(name), kept=name in self.kept, renewed=name in self.renewed)

    def drops(self, name: bytes) -> bool:
        """Whether the user wants a recorded field of this name left out."""
        return name in self.removed or any(name.lower() == own.lower() for own, _ in self.fields)

    def with_fields(self, fields: Iterable[tuple[bytes, bytes]]) -> "Rewriting":
        """Give the same with more fields. Raises ValueError if one is there twice."""
        return replace(self, fields=once((*self.fields, *fields)))

    def after_plugin(self) -> "Rewriting":
        """Give what is left to do with a request that a plugin made of one: what it put in is meant to be there."""
        return Rewriting(kept=Names((*LEFT_OUT, *self.kept.patterns)), renewed=self.renewed)

    def path(self, path: str) -> str:
        """Give the path (with its query) to send; empty if it or what the rules make of it is too long."""
        if path in self._known:
            return self._known[path]
        found = self._applied(path)
        if len(path) <= _LONG and len(found) <= _LONG:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[path] = found
        return found

    def _applied(self, path: str) -> str:
        raw = _bytes(path)
        for rule in self.paths:
            if len(raw) > LONGEST_PATH:
                return ""
            raw = rule(raw)
        return raw.decode("utf-8", "surrogateescape") if len(raw) <= LARGEST_PATH else ""


def _pointed(text: str, place: int, message: str) -> str:
    return f"{message}\n    {text}\n    {' ' * place}^"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
