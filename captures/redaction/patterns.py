"""What is a secret by its looks, wherever it stands. Pure.

Regular expressions are RE2's: it takes time in proportion to the text whatever the pattern and the text are, so no
client can hang the sidecar, and nobody who writes a pattern can either.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import re2

from captures.redaction.edits import Edit
from captures.redaction.pseudonyms import EMAIL, Pseudonyms, is_card, looks_like_pseudonym

LONGEST_PATTERN = 1000
"""Characters of a pattern."""


class Pattern(NamedTuple):
    """One kind of secret. If the expression has a group, the first one is the secret, else the whole match."""

    name: str
    regex: bytes
    hint: bytes = b""
    """Matches in every text, as written in a form or a query too, in which `regex` does; empty: `regex` itself."""
    spans: Callable[[bytes], Iterable[tuple[int, int]]] | None = None
    """Says which parts of a match are the secret, if not all of it is."""
    needs: bytes = b""
    """Stands in every text in which `regex` matches."""


def _card_spans(run: bytes) -> Iterator[tuple[int, int]]:
    """Find the cards in a run of digits with single blanks or hyphens between them: the places of their digits."""
    groups = [match.span() for match in _GROUP.finditer(run)]
    first = 0
    while first < len(groups):
        best = 0
        digits = b""
        for last in range(first, min(first + 19, len(groups))):
            digits += run[slice(*groups[last])]
            if len(digits) > 19:
                break
            if len(digits) >= 13 and is_card(digits):
                best = last + 1
        if best:
            yield groups[first][0], groups[best - 1][1]
        first = best or first + 1


def _no_file(address: bytes) -> Iterator[tuple[int, int]]:
    """Spare what only looks like an address: ``logo@2x.png``, ``lodash@4.17.min.js``."""
    if address.rpartition(b".")[2].lower() not in _FILES and not address.startswith((b".", b"@")):
        yield 0, len(address)


def _no_word(token: bytes) -> Iterator[tuple[int, int]]:
    """Spare the prose of ``basic understanding``."""
    if len(token) >= 24 or not token.isalpha():
        yield 0, len(token)


_GROUP = re.compile(rb"[0-9]+")
_FILES = frozenset(b"avif css gif html ico jpeg jpg js json map mjs png svg ts webp woff woff2".split())

DEFAULT = (
    Pattern(
        "private-key",
        rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
        rb"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        rb"PRIVATE[ +]KEY",
        needs=b"PRIVATE KEY",
    ),
    Pattern("jwt", rb"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*)*", rb"eyJ", needs=b"eyJ"),
    Pattern("userinfo", rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#\s\"'<>@\\]+)@", rb"://[^/?#\s\"'<>@\\]+@", needs=b"://"),
    Pattern(
        "bearer",
        rb"(?i:\b(?:bearer|basic))[ \t]+([A-Za-z0-9._~+/=-]{8,})",
        rb"[bB][eEaA][aAsS][rRiI][eEcC][rR]?[ \t+]+[A-Za-z0-9._~+/=-]{8}",
        _no_word,
    ),
    Pattern(
        "api-key",
        rb"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}"
        rb"|glpat-[A-Za-z0-9_-]{20,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,}"
        rb"|sk-[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|npm_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}"
        rb"|dop_v1_[a-f0-9]{64}|ya29\.[A-Za-z0-9_-]{20,})",
    ),
    Pattern("email", EMAIL, rb"[A-Za-z0-9._+\x80-\xf4'-]@[A-Za-z0-9\xc3-\xf4]", _no_file, b"@"),
    Pattern(  # what follows a digit and a point is the rest of a fraction
        "card",
        rb"(?:^|[^0-9.]|(?:^|[^0-9])\.)([0-9](?:[ -]?[0-9]){12,})",
        rb"(?:^|[^0-9.]|(?:^|[^0-9])\.)[2-6][0-9](?:[ +-]?[0-9]){11}",
        _card_spans,
    ),
)

# An escape of any kind: what stands in the text may not be what is meant.
ESCAPES = rb"\\|%[0-9A-Fa-f]{2}|&#|&[a-z]{2,7};"
# Base64 of JSON: it begins with {" or {<newline or blank> or [{ or ["
PACKED_JSON = rb"eyJ|ewo|eyA|ew0|W3s|WyJ"


def compiled(regex: bytes, *, groups: bool = True) -> Any:
    """Compile an expression of bytes; without `groups` it is quicker. Raises ValueError with RE2's words."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = not groups
    try:
        return re2.compile(regex, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


class Patterns:
    """Finds what looks like a secret, and puts its pseudonym there."""

    def __init__(self, patterns: Iterable[Pattern], pseudonyms: Pseudonyms, spared: Iterable[bytes] = ()) -> None:
        self._patterns = [(pattern, compiled(pattern.regex)) for pattern in patterns]
        self._pseudonyms = pseudonyms
        self._spared = frozenset(spared)
        self.hint = b"|".join(pattern.hint or b"(?:" + pattern.regex + b")" for pattern, _ in self._patterns)
        self._hint = compiled(self.hint, groups=False) if self.hint else None

    def find(self, text: bytes, taken: Iterable[Edit] = ()) -> list[Edit]:
        """Give the edits for all of `text`, those that are `taken` among them, in order."""
        edits = list(taken)
        if self._hint is None or not self._hint.search(text):
            return edits
        for pattern, regex in self._patterns:
            if pattern.needs and pattern.needs not in text:
                continue
            found = [span for match in regex.finditer(text) for span in self._spans(pattern, match)]
            if found:
                edits = sorted([*edits, *self._free(text, pattern, found, edits)])
        return edits

    def _spans(self, pattern: Pattern, match: Any) -> Iterator[tuple[int, int]]:
        start, end = match.span(1) if match.re.groups and match.span(1) != (-1, -1) else match.span()
        if pattern.spans is None:
            yield start, end
        else:
            for first, last in pattern.spans(match.string[start:end]):
                yield start + first, start + last

    def _free(self, text: bytes, pattern: Pattern, found: list[tuple[int, int]], taken: list[Edit]) -> Iterator[Edit]:
        """Give edits for what was found, but for what is taken already."""
        number = 0
        for start, end in found:
            while number < len(taken) and taken[number].end <= start:
                number += 1
            if number < len(taken) and taken[number].start < end:
                if pattern in DEFAULT:
                    continue
                # Somebody's own pattern reaches further than what was found before: the rest goes as well.
                at = start
                for other in taken[number:]:
                    if other.start >= end:
                        break
                    yield from self._edit(text, at, other.start, pattern)
                    at = max(at, other.end)
                yield from self._edit(text, at, end, pattern)
                continue
            yield from self._edit(text, start, end, pattern)

    def _edit(self, text: bytes, start: int, end: int, pattern: Pattern) -> Iterator[Edit]:
        secret = text[start:end]
        if not secret.strip() or secret in self._spared or self._pseudonyms.owns(secret):
            return
        if b"@" in secret and self._pseudonyms.owns(secret.partition(b"@")[0]):
            return  # somebody's pseudonym before a host is no address
        if _within_pseudonym(text, start, end):
            return
        instead = self._pseudonyms.of(secret)
        if pattern.name == "card":  # digit by digit: what stands between them may be written in any way
            for match in _GROUP.finditer(secret):
                yield Edit(start + match.start(), start + match.end(), instead[slice(*match.span())], "pattern card")
        else:
            yield Edit(start, end, instead, f"pattern {pattern.name}")


_AROUND = re.compile(rb"redacted-[A-Za-z0-9_-]{23,}(?:@example\.invalid)?")


def _within_pseudonym(text: bytes, start: int, end: int) -> bool:
    """Say whether a match lies in a pseudonym that was put there before."""
    near = max(0, start - 64)
    return any(
        match.start() + near <= start and end <= match.end() + near for match in _AROUND.finditer(text, near, end + 64)
    )


def looks_random(text: bytes) -> bool:
    """Say whether a text is more likely drawn by lot than written: a token rather than a word, a date or a number.

    Long enough, of an alphabet that tokens have, letters and digits mixed, and of an entropy per character that words
    do not have.
    """
    if len(text) < 20 or not _TOKEN.fullmatch(text) or looks_like_pseudonym(text):
        return False
    digits = sum(48 <= byte < 58 for byte in text)
    letters = sum(bytes((byte,)).isalpha() for byte in text)
    if not digits or not letters or digits + letters < 0.8 * len(text):
        return False
    if _HEX.fullmatch(text):
        return len(text) >= 32 and entropy(text) > 3.0
    changes = sum(_kind(one) != _kind(two) for one, two in pairwise(text))
    return entropy(text) > 3.6 and changes >= len(text) / 5


def entropy(text: bytes) -> float:
    """Give the entropy of a text's characters, bits for each (Shannon 1948)."""
    counts = [text.count(bytes((byte,))) for byte in set(text)]
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _kind(byte: int) -> int:
    return 0 if 48 <= byte < 58 else 1 if 65 <= byte < 91 else 2 if 97 <= byte < 123 else 3


_TOKEN = re.compile(rb"[A-Za-z0-9+/_.~=-]+")
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
