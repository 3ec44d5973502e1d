"""Changes to a text, as places and what to put there: everything else stays byte for byte. Pure.

A text within a text (percent-encoding, JSON's escapes, entities) is decoded, searched, and what is found there is
brought back to the places where it stands in the text as it was written.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from html import unescape
from typing import NamedTuple
from urllib.parse import quote_from_bytes


class Edit(NamedTuple):
    """Put `instead` between `start` and `end`."""

    start: int
    end: int
    instead: bytes
    why: str
    """The rule: ``name password`` or ``pattern email``; ``cut`` for the end of a truncated text.

    Nothing is put in where a truncated text is cut, and nowhere else."""


def apply(text: bytes, edits: Iterable[Edit]) -> bytes:
    """Carry out edits that are in order and do not overlap."""
    parts: list[bytes] = []
    done = 0
    for start, end, instead, _ in edits:
        parts += (text[done:start], instead)
        done = end
    parts.append(text[done:])
    return b"".join(parts)


def shifted(edits: Iterable[Edit], by: int) -> list[Edit]:
    """Give the edits of a part as edits of the whole."""
    return [Edit(start + by, end + by, instead, why) for start, end, instead, why in edits]


class Encoding(NamedTuple):
    """A way to write bytes with escapes."""

    escape: re.Pattern[bytes]
    decode: Callable[[re.Match[bytes]], bytes]
    encode: Callable[[bytes], bytes]
    """For what is put in; pseudonyms come out as they are."""


def _percent(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[0].replace(b"%", b"").decode("ascii"))


def _json(match: re.Match[bytes]) -> bytes:
    text = match[0]
    if text[1:2] == b"u":
        units = [int(unit, 16) for unit in text.decode("ascii").split("\\u")[1:]]
        raw = b"".join(unit.to_bytes(2, "big") for unit in units)
        return raw.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")
    return _SHORT_ESCAPES.get(text[1:], text[1:])


_SHORT_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}

PERCENT = Encoding(
    re.compile(rb"(?:%[0-9A-Fa-f]{2})++"), _percent, lambda text: quote_from_bytes(text, safe="@-_.~ ").encode("ascii")
)
JSON = Encoding(
    re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[^u])", re.DOTALL),
    _json,
    lambda text: text.replace(b"\\", b"\\\\").replace(b'"', b'\\"'),
)
# In a text that is not valid JSON only what a name or a pattern could be written in; quotes keep their meaning.
LOOSE_JSON = Encoding(
    re.compile(rb"\\u00(?:2[0bBdDeE]|3[0-9aA]|40|[46][1-9a-fA-F]|5[0-9aAfF]|7[0-9aA])"), _json, lambda text: text
)
ENTITIES = Encoding(
    re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos|commat|period|colon|equals);"),
    lambda match: unescape(match[0].decode("ascii")).encode("utf-8", "surrogatepass"),
    lambda text: text,
)


def decoded(text: bytes, encoding: Encoding) -> bytes:
    """Decode all escapes in a text."""
    return encoding.escape.sub(encoding.decode, text)


def through(text: bytes, encoding: Encoding, find: Callable[[bytes], list[Edit]]) -> list[Edit]:
    """Have `find` look at the decoded text, and give what it found as edits of the text as it was written."""
    edits = find(decoded(text, encoding))
    if not edits:
        return []
    # Where runs begin, decoded and as written: a run is either an escape or what stands between two.
    places, written, escapes = [0], [0], [False]
    at = done = 0
    for match in encoding.escape.finditer(text):
        start, end = match.span()
        at += start - done
        for value, length, escape in _units(match, encoding):
            places.append(at)
            written.append(start)
            escapes.append(escape)
            at += len(value)
            start += length
        places.append(at)
        written.append(end)
        escapes.append(False)
        done = end
    written.append(len(text))
    escapes.append(False)

    def begin(place: int) -> int:
        run = bisect_right(places, place) - 1
        return written[run] if escapes[run] else written[run] + place - places[run]

    def finish(place: int) -> int:
        run = bisect_right(places, place - 1) - 1
        return written[run + 1] if escapes[run] else written[run] + place - places[run]

    return [
        Edit(begin(start), finish(end) if end > start else begin(start), encoding.encode(instead), why)
        for start, end, instead, why in edits
    ]


def _units(match: re.Match[bytes], encoding: Encoding) -> Iterable[tuple[bytes, int, bool]]:
    """Give the single escapes of a match: decoded, how long each is written, and that it is one."""
    value = encoding.decode(match)
    if encoding is PERCENT:  # a run of them is decoded at once
        return [(value[number : number + 1], 3, True) for number in range(len(value))]
    return [(value, len(match[0]), True)]
