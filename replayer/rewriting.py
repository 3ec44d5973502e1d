"""What is changed on purpose in a recorded request: fields set and left out, paths rewritten. Pure.

A rule looks at the name of one field, or at one path, and at nothing else. So what it makes of them may be remembered,
and a recording costs as much as it has different names and paths.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import re2

import loadtag.headers

FRAMING = frozenset((b"host", b"content-length", b"expect"))
"""Fields that the sender writes anew for every request: they belong to this connection and this body."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings".split()
)
"""Fields between two neighbours on the way, never for the far end (RFC 9110, 7.6.1; RFC 9113, 8.2.2)."""

OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))
"""Fields by which a request asks to be taken for one of another method."""

LONGEST_PATH = 8192
"""Characters of a path that is rewritten: more than common servers take. A search is linear in them, and there may be
as many searches, so this bounds the time."""

LARGEST_PATH = 1 << 16
"""Characters that a path may have after the last rule."""

MOST_RULES = 100
"""Rules of one kind in one plan."""

_KNOWN, _LONG = 1 << 14, 512
"""Paths whose outcome is remembered, and the characters of the longest one."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_REFERENCE = re.compile(r"\\(?:([0-9])|g<([A-Za-z_]\w*)>|([\\$])|(.?))|\$(\d)", re.DOTALL)
_BLANK = re.compile(r"[\x00-\x20\x7f]")


class Names:
    """Names of fields by patterns: ``X-Forwarded-*``. Letters large or small, ``*`` is any number of characters."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        expression = "|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in self.patterns)
        self._regex = compiled(f"(?is:{expression})") if self.patterns else None

    def __bool__(self) -> bool:
        return self._regex is not None

    def __contains__(self, name: bytes) -> bool:
        return self._regex is not None and self._regex.fullmatch(name) is not None


def name_pattern(text: str) -> str:
    """Check a pattern of `Names`. Raises ValueError."""
    pattern = text.strip()
    if not _NAME.fullmatch(_bytes(pattern)):
        raise ValueError(f"{text!r} is no name of a header: write it like Cookie, or X-Forwarded-* for several")
    lower = _bytes(pattern.lower())
    if lower in FRAMING:
        raise ValueError(f"{pattern} is not taken from the recording: the sender writes what the request needs")
    return pattern


def header(text: str) -> tuple[bytes, bytes]:
    """Read ``Name: value``. Raises ValueError for what is none, and for fields that are not the user's to set."""
    name, colon, value = (part.strip(" \t") for part in text.partition(":"))
    if not colon:
        raise ValueError(f"{text!r} has no colon: write it like 'Accept-Language: de'")
    raw, lower = (_bytes(name), _bytes(value)), _bytes(name.lower())
    if not _NAME.fullmatch(raw[0]):
        raise ValueError(f"{name!r} is no name of a header: write it like 'Accept-Language: de'")
    if not _VALUE.fullmatch(raw[1]):
        raise ValueError(f"the value of {name} holds a line break or another control character")
    if loadtag.headers.find([raw]):
        raise ValueError(f"{name} is where the load tag stands, and only a signed one is sent")
    if lower == b"host":
        raise ValueError("--host says which Host is sent: target, recorded, or a name")
    if lower in FRAMING or lower in HOP_BY_HOP:
        raise ValueError(f"{name} belongs to the connection: the sender writes what the request needs")
    if lower.replace(b"_", b"-") in OVERRIDES:
        raise ValueError(f"{name} makes another method of every request, past --methods and --allow")
    return raw


def headers(texts: Iterable[str]) -> tuple[tuple[bytes, bytes], ...]:
    """Read several `header`. Raises ValueError if one is given twice."""
    found = tuple(header(text) for text in texts)
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


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is changed of every request. Nothing, by default."""

    fields: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Put in; recorded ones of the same names are left out."""
    removed: Names = field(default_factory=lambda: Names(()))
    """Left out."""
    paths: tuple[PathRule, ...] = ()
    """Applied one after the other, each to what the one before gave."""
    _known: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def drops(self, name: bytes) -> bool:
        """Whether a recorded field of this name is left out."""
        return name in self.removed or any(name.lower() == own.lower() for own, _ in self.fields)

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


def compiled(expression: str) -> Any:
    """Compile an expression of RE2 for bytes. Raises ValueError with RE2's words."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, as they are on the wire
    options.log_errors = False
    try:
        return re2.compile(_bytes(expression), options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


def _pointed(text: str, place: int, message: str) -> str:
    return f"{message}\n    {text}\n    {' ' * place}^"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
