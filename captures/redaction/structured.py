"""Secrets in JSON, found without writing it anew. Pure.

A parser says whether it is JSON at all. Then the scanner's hint says *where* a secret may be, and only the strings and
numbers at those places are looked at: that a hint matches in no other string is what makes it quick, and that nothing
is written but pseudonyms is what keeps blanks, the order of keys, numbers' spellings and double keys as they were.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import from_json

from captures.redaction.edits import JSON, Edit, decoded, shifted, through

if TYPE_CHECKING:
    from captures.redaction.scanner import Scanner

_BOM = b"\xef\xbb\xbf"


def find(text: bytes, scanner: "Scanner", depth: int) -> list[Edit] | None:
    """Find the secrets in JSON, or in JSON lines; None if it is neither."""
    start = len(_BOM) if text.startswith(_BOM) else 0
    body = text[start:] if start else text
    if _is_json(body):
        return shifted(_Document(body, scanner, depth).edits(), start)
    lines = body.split(b"\n")
    if len(lines) < 2 or not _is_json(lines[0].strip()):
        return None
    edits: list[Edit] = []
    for line in lines:
        if line.strip() and not scanner.quiet(line):
            if not _is_json(line):
                return None
            edits += shifted(_Document(line, scanner, depth).edits(), start)
        start += len(line) + 1
    return edits


def _is_json(text: bytes) -> bool:
    """Say whether it parses, to a depth of some 200 (deeper is none: nobody's stack is to overflow)."""
    try:
        from_json(text, cache_strings=False)
    except ValueError:
        return False
    return True


_KEY = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*+")
_REVERSED = re.compile(rb"[0-9.eE+-]*+")
_LONGEST_NUMBER = 400
_TOKENS = re.compile(rb"\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"|-?[0-9][0-9.eE+-]*+|[{}\[\]]", re.DOTALL)
_NAMING = frozenset((b"name", b"key", b"field", b"id", b"param", b"parameter", b"label", b"attribute", b"k", b"n"))
_NEAR = 64
"""Bytes before a name in which the key stands that says so, unless there are many blanks."""
_NAMED = frozenset((b"value", b"values", b"val", b"content", b"data", b"v", b"string-value"))


class _Document:
    """One JSON text, and what is to be changed in it."""

    def __init__(self, text: bytes, scanner: "Scanner", depth: int) -> None:
        self._text = text
        self._scanner = scanner
        self._depth = depth
        # In the mask every quote is the begin or the end of a string. In valid JSON a backslash stands in strings only.
        self._mask = text.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in text else text
        self._found: list[Edit] = []
        self._named: list[int] = []
        """Where strings stand that are the name of a secret, by themselves."""

    def edits(self) -> list[Edit]:
        mask = self._mask
        done = counted = quotes = 0
        for place in self._places():
            if place < done:
                continue
            quotes += mask.count(b'"', counted, place)
            counted = place
            if quotes % 2:
                start = mask.rfind(b'"', 0, place) + 1
                done = self._string(start, mask.index(b'"', place))
            else:
                done = max(place, self._number(place))
            if done > counted:
                quotes += mask.count(b'"', counted, done)
                counted = done
        if self._named:
            self._values_of_named()
        return self._found

    def _places(self) -> Iterator[int]:
        """Give where to look: a place in each string and number in which there may be a secret."""
        scanner, text = self._scanner, self._text
        if scanner.own_patterns:
            return (
                match.start() + (match[0][:1] == b'"') for match in _TOKENS.finditer(text) if match[0] not in b"{}[]"
            )
        # The first byte of a match may be what stands before a name.
        return (min(match.start() + 1, match.end() - 1) for match in scanner.hint.finditer(text))

    def _string(self, start: int, end: int) -> int:
        """Look at the string between two quotes; give how far is done."""
        raw, scanner = self._text[start:end], self._scanner
        key = _KEY.match(self._text, end + 1)
        plain = decoded(raw, JSON) if b"\\" in raw else raw
        if key is None:
            self._found += self._inside(start, raw)
            if self._names(start) and scanner.names.secret(plain):
                self._named.append(start)
            return end + 1
        if scanner.names.secret(plain):
            return self._value(key.end(), plain)
        self._found += shifted(scanner.patterns.find(raw), start) if raw is plain else self._inside(start, raw)
        return end + 1

    def _names(self, start: int) -> bool:
        """Say whether the string at `start` may be a field's name, as after ``"name":``. In doubt it is one."""
        before = self._text[max(0, start - _NEAR) : start - 1].rstrip()
        if before and not before.endswith(b":"):
            return False
        _, quote, key = before[:-1].rstrip()[:-1].rpartition(b'"')
        return not quote or key.lower() in _NAMING

    def _inside(self, start: int, raw: bytes) -> list[Edit]:
        """Find secrets within a string's text: it may be JSON itself, a URL, a form, or prose."""
        scanner, depth = self._scanner, self._depth + 1
        if b"\\" in raw:
            return shifted(through(raw, JSON, lambda plain: scanner.text(plain, depth)), start)
        return shifted(scanner.text(raw, depth), start)

    def _value(self, at: int, name: bytes) -> int:
        """Replace the value at `at`, all of it; give where it ends."""
        text, depth = self._text, 0
        for match in _TOKENS.finditer(text, at):
            piece, start = match[0], match.start()
            if not depth and start > at:
                return at  # true, false or null
            if piece in b"{[":
                depth += 1
            elif piece in b"}]":
                depth -= 1
            elif piece[:1] != b'"':
                instead = self._scanner.pseudonyms.number(piece)
                if piece not in self._scanner.spared and instead != piece:
                    self._found.append(Edit(start, match.end(), instead, f"name {_shown(name)}"))
            elif not depth or _KEY.match(text, match.end()) is None:
                self._secret(start + 1, match.end() - 1, name)
            if depth <= 0:
                return match.end()
        return at

    def _secret(self, start: int, end: int, name: bytes) -> None:
        """Replace a whole string; of a text with a scheme (``Bearer abc``) the scheme stays."""
        raw = self._text[start:end]
        plain = decoded(raw, JSON) if b"\\" in raw else raw
        scheme = _SCHEME.match(plain) if plain is raw else None
        if scheme:
            start, plain = start + scheme.end(), plain[scheme.end() :]
        self._found += self._scanner.replaced(start, end, plain, name)

    def _number(self, at: int) -> int:
        """Look at the number around `at` (or at what else stands outside of strings); give how far is done."""
        text = self._text
        before = _REVERSED.match(text[max(0, at - _LONGEST_NUMBER) : at][::-1])
        start = at - (before.end() if before else 0)
        match = _NUMBER.match(text, start)
        if match is None:
            return at + 1
        number = match[0]
        if self._scanner.patterns.find(number) and not self._scanner.pseudonyms.owns(number):
            found = self._scanner.patterns.find(number)[0]
            instead = self._scanner.pseudonyms.number(number)
            self._found.append(Edit(start, match.end(), instead, found.why))
        return match.end()

    # --- {"name": "password", "value": "hunter2"} ---

    def _values_of_named(self) -> None:
        """Replace the values beside the names of secrets: of the same object, one level."""
        wanted = set(self._named)
        text = self._text
        open_objects: list[list[tuple[int, int, bytes]]] = []  # for each: key's end, place of its value, key
        naming: list[bytes] = []
        secret_in: list[tuple[list[tuple[int, int, bytes]], bytes]] = []
        for match in _TOKENS.finditer(text):
            piece = match[0]
            if piece in b"{[":
                open_objects.append([])
                naming.append(b"")
            elif piece in b"}]":
                members = open_objects.pop()
                name = naming.pop()
                if name:
                    secret_in.append((members, name))
            elif piece[:1] == b'"' and open_objects:
                key = _KEY.match(text, match.end())
                members = open_objects[-1]
                if key:
                    members.append((match.start(), key.end(), _normal(piece[1:-1])))
                elif match.start() + 1 in wanted and members and members[-1][1] == match.start():
                    naming[-1] = piece[1:-1] if members[-1][2] in _NAMING else naming[-1]
        spans = [(at, name) for members, name in secret_in for _, at, key in members if key in _NAMED]
        self._replace_values(sorted(spans))

    def _replace_values(self, spans: list[tuple[int, bytes]]) -> None:
        """Replace the values that begin at these places, in order."""
        before, self._found = self._found, []
        taken: list[tuple[int, int]] = []
        for at, name in spans:
            if not taken or at >= taken[-1][1]:
                taken.append((at, self._value(at, name)))
        starts = [at for at, _ in taken]
        for edit in before:  # what a name says of a value goes before what was found in it
            place = bisect_right(starts, edit.start) - 1
            if place < 0 or edit.start >= taken[place][1]:
                self._found.append(edit)
        self._found.sort()


def place_in_json(text: bytes, at: int) -> str | None:
    """Give the path of what stands at byte `at` of a JSON text (or of its line): ``$.user.cards[].number``."""
    if not _is_json(text):
        start = text.rfind(b"\n", 0, at) + 1
        stop = text.find(b"\n", at)
        text, at = text[start : stop if stop >= 0 else len(text)], at - start
        if not start or not _is_json(text):
            return None
    if text.lstrip()[:1] not in b'{["':
        return None
    steps: list[bytes | None] = []
    for match in _TOKENS.finditer(text):
        piece = match[0]
        if match.end() > at:
            break
        if piece in b"{[":
            steps.append(b"" if piece == b"{" else None)
        elif piece in b"}]":
            steps.pop()
        elif piece[:1] == b'"' and steps and steps[-1] is not None and _KEY.match(text, match.end()):
            steps[-1] = decoded(piece[1:-1], JSON)
    return "$" + "".join("[]" if step is None else "." + _shown(step) for step in steps)


_SCHEME = re.compile(rb"(?i:bearer|basic|digest|dpop|token|apikey)[ \t]+(?=\S)")


def _normal(key: bytes) -> bytes:
    return re.sub(rb"[^a-z0-9]+", b"-", re.sub(rb"(?<=[a-z])(?=[A-Z])", b"-", key).lower())


def _shown(name: bytes) -> str:
    return name[-80:].decode("utf-8", "backslashreplace")
