"""Finds the secrets in a text, whatever the text is. Pure.

    text      what is it?  JSON -> `structured`; encoded -> decoded, and again; else
    loosely   no grammar at all: a secret name, then something like ``:`` or ``=``, then a value

What can be parsed is changed exactly where the secret is. What cannot be, or was cut, is searched loosely, where the
rule is: in doubt it is a secret. All texts are bytes in an encoding that holds ASCII (UTF-8, Latin-1, ...).

**The hint.** One expression, RE2's, that matches wherever a secret can be: any name that means a secret, any pattern,
any escape behind which one could hide. Most texts have none of it and are done with. So it has to hold, and tests hold
it to that: where the hint does not match, the scanner finds nothing.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import Any

from captures.redaction import structured
from captures.redaction.edits import (
    ENTITIES,
    LOOSE_JSON,
    PERCENT,
    Edit,
    Encoding,
    apply,
    shifted,
    through,
)
from captures.redaction.names import Names
from captures.redaction.patterns import ESCAPES, PACKED_JSON, Patterns, compiled
from captures.redaction.pseudonyms import Pseudonyms
from captures.redaction.rules import Rules

MAX_DEPTH = 6
"""Texts within texts."""


class Scanner:
    """Applies rules to texts. One for each kind of names: fields, query parameters."""

    def __init__(self, rules: Rules, names: tuple[str, ...], pseudonyms: Pseudonyms) -> None:
        self.names = Names(names)
        self.pseudonyms = pseudonyms
        self.patterns = Patterns(rules.free_patterns(), pseudonyms, rules.spared_values())
        self.spared = rules.spared_values()
        self.own_patterns = bool(rules.patterns)
        """Whether there are patterns of which it is not known what they may span."""
        named = self.names.hint()
        self._named: Any = compiled(named, groups=False) if named else None
        self.hint: Any = compiled(
            b"|".join(filter(None, (named, self.patterns.hint, ESCAPES, PACKED_JSON))), groups=False
        )

    def quiet(self, text: bytes) -> bool:
        """Say whether there is certainly no secret in a text."""
        return self.hint.search(text) is None

    def names_in(self, text: bytes) -> bool:
        """Say whether the name of a secret, of five letters or more, stands in bytes without a grammar.

        Shorter ones (`pin`) stand in any picture by chance.
        """
        if self._named is None:
            return False
        found = (match for match in self._named.finditer(text) if len(match[0].strip(_NO_LETTERS)) >= 5)
        return any(self.names.secret(self._name_at(text, match.start() + 1)) for match in found)

    def _name_at(self, text: bytes, at: int) -> bytes:
        before, after = _WORD.match(text[max(0, at - _LONGEST_NAME) : at][::-1]), _WORD.match(text, at)
        return text[at - before.end() if before else at : after.end() if after else at]

    def instead(self, secret: bytes) -> bytes:
        """Give what stands for a value that a name says is secret, whatever blanks and quotes it stands in."""
        bare = secret.strip()
        if len(bare) > 1 and bare[:1] == bare[-1:] == b'"':
            bare = bare[1:-1].strip()
        if not bare or bare in self.spared:
            return secret
        return self.pseudonyms.of(bare)

    def replaced(self, start: int, end: int, secret: bytes, name: bytes) -> list[Edit]:
        """Give the edit for a value that `name` says is secret; none if there is nothing to replace."""
        instead = self.instead(secret)
        return [] if instead == secret else [Edit(start, end, instead, _why(name))]

    def text(self, text: bytes, depth: int = 0, *, truncated: bool = False, loud: bool = False) -> list[Edit]:
        """Find the secrets in a text of any kind. `truncated`: it goes on, but the rest is not there.

        `loud`: it is known not to be quiet.
        """
        if not truncated and not loud and self.quiet(text):
            return []
        if depth < MAX_DEPTH:
            head = text[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if head and head in b'{["' and not truncated:
                found = structured.find(text, self, depth)
                if found is not None:
                    return found
            encoding = _encoding_of(text)
            if encoding is not None:
                return self.inside(text, encoding, depth, truncated=truncated)
            if not truncated and (found := self._packed(text, depth)) is not None:
                return found
        return self._cut(text, self.loosely(text, truncated=truncated)) if truncated else self.loosely(text)

    def inside(self, text: bytes, encoding: Encoding, depth: int, *, truncated: bool = False) -> list[Edit]:
        """Find the secrets in a text that is written with escapes."""
        return through(text, encoding, lambda decoded: self.text(decoded, depth + 1, truncated=truncated))

    def _packed(self, text: bytes, depth: int) -> list[Edit] | None:
        """Look into base64 of JSON; None if it is not that."""
        match = _PACKED.fullmatch(text)
        if not match:
            return None
        urlsafe = b"-" in text or b"_" in text
        bare = match[1]
        try:
            plain = b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_" if urlsafe else None, validate=True)
        except (Base64Error, ValueError):
            return None
        if plain[:1] not in b"{[":
            return None
        edits = self.text(plain, depth + 1)
        if not edits:
            return []
        again = b64encode(apply(plain, edits), altchars=b"-_" if urlsafe else None)
        return [Edit(0, len(text), again if match[2] else again.rstrip(b"="), edits[0].why)]

    # --- without a grammar ---

    def loosely(self, text: bytes, *, truncated: bool = False) -> list[Edit]:
        """Find the secrets in a text of no known grammar: by names with a value after them, and by patterns."""
        edits: list[Edit] = []
        done = 0
        if self._named is not None:
            for match in self._named.finditer(text):
                at = min(match.start() + 1, match.end() - 1)
                if at < done:
                    continue
                found, done = self._after_name(text, at, done, truncated=truncated)
                edits += found
        return self.patterns.find(text, edits)

    def _after_name(self, text: bytes, at: int, done: int, *, truncated: bool) -> tuple[list[Edit], int]:
        """Look at the name around `at`; give edits for its value, and how far that reaches."""
        first = max(done, at - _LONGEST_NAME)
        before, after = _NAME.match(text[first:at][::-1]), _NAME.match(text, at)
        start = at - before.end() if before else at
        end = after.end() if after else at
        name = text[start:end]
        tag = _TAG.search(text, max(0, start - _LONGEST_NAME), start)
        sign = _ASSIGN.match(text, end)
        header = _PART_OF_LIST.match(text, end) if sign is None else None
        # Whether it could be a name at all is told quicker than which: a long word has many names in it by chance.
        if not (tag or sign or header) or not self.names.secret(name):
            return [], end
        if tag:
            return self._element(text, tag[1] + name, end, truncated=truncated)
        quoted = text[start - 1 : start] in (b'"', b"'", b"`") and start > 0
        if sign is None:
            return self._value(text, header.end(), name, truncated=truncated) if header else ([], end)
        line = not quoted and sign[1] == b":" and _LINE_BEGINS.search(text, max(0, start - 64), start) is not None
        line = line or (not quoted and sign[1] == b":" and start <= 64 and not text[:start].strip(b" \t-"))
        if line and text[sign.end() : sign.end() + 1] not in (b'"', b"'", b"{", b"["):
            stop = text.find(b"\n", sign.end())
            stop = len(text) if stop < 0 else stop
            value = text[sign.end() : stop].rstrip()
            return self._until(text, sign.end(), sign.end() + len(value), name, truncated=truncated)
        return self._value(text, sign.end(), name, truncated=truncated)

    def _value(self, text: bytes, at: int, name: bytes, *, truncated: bool) -> tuple[list[Edit], int]:
        """Replace the value that begins at `at`."""
        opened = _OPENING.match(text, at)
        if opened:
            quote = opened[1]
            start = opened.end()
            stop = _closing(text, start, quote)
            if stop < 0:
                line = text.find(b"\n", start)
                stop = len(text) if truncated or line < 0 else line
            return self._until(text, start, stop, name, truncated=truncated)
        if text[at : at + 1] in (b"{", b"["):
            return self._all_inside(text, at, name, truncated=truncated)
        bare = _BARE.match(text, at)
        if bare is None or not bare[0]:
            return [], at
        start, end = bare.span()
        if bare[0].lower() in _SCHEMES and (rest := _AFTER_SCHEME.match(text, end)):
            start, end = rest.span(1)
        if text[start:end] in _NOTHING and (end < len(text) or not truncated):
            return [], end
        return self._until(text, start, end, name, truncated=truncated)

    def _until(self, text: bytes, start: int, end: int, name: bytes, *, truncated: bool) -> tuple[list[Edit], int]:
        if truncated and end >= len(text):
            return [Edit(start, len(text), b"", _why(name))] if start < len(text) else [], len(text)
        return self.replaced(start, end, text[start:end], name), end

    def _all_inside(self, text: bytes, at: int, name: bytes, *, truncated: bool) -> tuple[list[Edit], int]:
        """Replace every value from the bracket at `at` to the one that closes it, or to the end."""
        edits: list[Edit] = []
        depth = 0
        for match in _PIECES.finditer(text, at):
            piece = match[0]
            if piece in (b"{", b"["):
                depth += 1
            elif piece in (b"}", b"]"):
                depth -= 1
                if not depth:
                    return edits, match.end()
            elif _ASSIGN.match(text, match.end()):
                continue  # a name
            else:
                inner = piece.strip(b"\"'")
                if inner not in _NOTHING:
                    start = match.start() + piece.index(inner)
                    edits += self._until(text, start, start + len(inner), name, truncated=truncated)[0]
        return edits, len(text)

    def _element(self, text: bytes, name: bytes, end: int, *, truncated: bool) -> tuple[list[Edit], int]:
        """Replace what stands in an XML element; its attributes come later, by their own names."""
        opened = text.find(b">", end, end + _LONGEST_TAG)
        if opened < 0 or text[opened - 1 : opened] == b"/":
            return [], end
        closed = text.find(b"</" + name, opened)
        stop = closed if closed >= 0 else len(text)
        edits = self.patterns.find(text[end:opened])
        edits = [*shifted(edits, end), *self._attributes(text, end, opened)] if not edits else shifted(edits, end)
        for match in _CONTENT.finditer(text, opened, stop):
            inner = match[1] if match[1] is not None else match[2]
            if inner.strip():
                start = match.start(1) if match[1] is not None else match.start(2)
                lead = len(inner) - len(inner.lstrip())
                bare = inner.strip()
                cut = truncated and closed < 0
                edits += self._until(text, start + lead, start + lead + len(bare), name, truncated=cut)[0]
        return edits, stop

    def _attributes(self, text: bytes, start: int, end: int) -> Iterator[Edit]:
        yield from shifted(self.loosely(text[start:end]), start)

    def _cut(self, text: bytes, edits: list[Edit]) -> list[Edit]:
        """Cut the last word of a truncated text away: it may be the half of a secret."""
        if edits and edits[-1].end == len(text):  # it may be no more than the half of one: no pseudonym joins it
            return [*edits[:-1], edits[-1]._replace(instead=b"")]
        floor = edits[-1].end if edits else 0
        tail = _TAIL.match(text[floor:][::-1])
        start = max(floor, len(text) - (tail.end() if tail else 0))
        return [*edits, Edit(start, len(text), b"", "cut")] if len(text) - start > _HARMLESS else edits


def _why(name: bytes) -> str:
    return f"name {name[-80:].decode('utf-8', 'backslashreplace')}"


def _encoding_of(text: bytes) -> Encoding | None:
    """Say with which escapes a text is written, if it is."""
    return next((encoding for encoding in (LOOSE_JSON, PERCENT, ENTITIES) if encoding.escape.search(text)), None)


def _closing(text: bytes, start: int, quote: bytes) -> int:
    """Give where the quote that opened closes again, -1 if nowhere."""
    if len(quote) > 1:  # the quotes are escaped themselves: JSON in a string
        return text.find(quote, start)
    pattern = _CLOSING_DOUBLE if quote == b'"' else _CLOSING_SINGLE if quote == b"'" else _CLOSING_BACK
    match = pattern.match(text, start)
    return match.end() - 1 if match else -1


_LONGEST_NAME = 100
_NO_LETTERS = bytes(byte for byte in range(256) if not bytes((byte,)).isalnum())
_LONGEST_TAG = 64 << 10
_LINE_BEGINS = re.compile(rb"\n[ \t-]*\Z")
_HARMLESS = 4
"""Bytes of a card or an address that may stay where a body was cut. What a name says is secret goes whole."""
# Before a place they are matched backwards: a search for an end tries every beginning.
_NAME = re.compile(rb"[\w.$\[\]\x80-\xff-]*+")
_TAG = re.compile(rb"<([\w.-]*:|)\Z")
_WORD = re.compile(rb"[A-Za-z0-9_.-]*+")
_ASSIGN = re.compile(rb"\\*[\"'`]?[ \t\r\n]{0,32}(:=|=>|:|=)[ \t\r\n]{0,32}")
_PART_OF_LIST = re.compile(rb"\\*[\"']?[ \t]{0,8},[ \t]{0,8}(?=\\*[\"'])(?!\\*[\"'][^\"']{0,80}\\*[\"'][ \t]{0,8}[:=])")
"""``("password", "hunter2")``: a name and its value as two of a list."""
_OPENING = re.compile(rb"(\\*[\"'`])")
_CLOSING_DOUBLE = re.compile(rb"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"", re.DOTALL)
_CLOSING_SINGLE = re.compile(rb"[^'\\]*+(?:\\.[^'\\]*+)*+'", re.DOTALL)
_CLOSING_BACK = re.compile(rb"[^`]*+`")
_BARE = re.compile(rb"[^\s,;&\"'<>(){}\[\]]*")
_SCHEMES = frozenset(b"bearer basic digest token apikey negotiate".split())
_AFTER_SCHEME = re.compile(rb"[ \t]+([^\s,;&\"'<>(){}\[\]]+)")
_NOTHING = frozenset((b"", b"null", b"true", b"false", b"none", b"None", b"undefined", b"nil", b"True", b"False"))
_PIECES = re.compile(
    rb"\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"?|'[^'\\]*+(?:\\.[^'\\]*+)*+'?|[{}\[\]]|[^\s,:;=\"'{}\[\]]++", re.DOTALL
)
_CONTENT = re.compile(rb"<!\[CDATA\[(.*?)(?:\]\]>|\Z)|(?<=>)([^<]+)", re.DOTALL)
_PACKED = re.compile(rb"((?:eyJ|ewo|eyA|ew0|W3s|WyJ)[A-Za-z0-9+/_-]++)(={0,2})")
# Backwards from the end: what could be the beginning of a token, or of a card's number with blanks in it.
_TAIL = re.compile(rb"[^\s\"'<>,;&{}()\[\]:=]*+(?:[ \t]+[0-9-]{1,20}(?![^\s\"'<>,;&{}()\[\]:=]))*+")
