"""Secrets in forms, queries and the paths of URLs, percent-encoded as they are. Pure."""

import re
from typing import TYPE_CHECKING

from captures.redaction.edits import PERCENT, Edit, decoded, shifted, through
from captures.redaction.patterns import looks_random

if TYPE_CHECKING:
    from captures.redaction.scanner import Scanner


def find(text: bytes, scanner: "Scanner", depth: int = 0, *, truncated: bool = False) -> list[Edit]:
    """Find the secrets in ``a=b&c=d``."""
    edits: list[Edit] = []
    start = 0
    for pair in text.split(b"&"):
        end = start + len(pair)
        cut = truncated and end == len(text)
        if cut or not _quiet(pair, scanner):
            edits += shifted(_pair(pair, scanner, depth, truncated=cut), start)
        start = end + 1
    return edits


def _quiet(text: bytes, scanner: "Scanner") -> bool:
    """Say whether there is certainly nothing, with a plus for a blank and for itself."""
    return scanner.quiet(text) and (b"+" not in text or scanner.quiet(text.replace(b"+", b" ")))


def _pair(pair: bytes, scanner: "Scanner", depth: int, *, truncated: bool) -> list[Edit]:
    name, equals, value = pair.partition(b"=")
    if not equals:
        return _text(pair, scanner, depth, truncated=truncated)
    at = len(name) + 1
    if scanner.names.secret(_plain(name)):
        if truncated:
            return (
                [Edit(at, len(pair), b"", f"name {_plain(name).decode('utf-8', 'backslashreplace')}")] if value else []
            )
        return scanner.replaced(at, len(pair), decoded(value.replace(b"+", b" "), PERCENT), _plain(name))
    return [*_text(name, scanner, depth), *shifted(_text(value, scanner, depth, truncated=truncated), at)]


def _plain(name: bytes) -> bytes:
    """Decode a name, however often it was encoded."""
    for _ in range(3):
        if b"%" not in name:
            break
        name = decoded(name, PERCENT)
    return name.replace(b"+", b" ")


def _text(raw: bytes, scanner: "Scanner", depth: int, *, truncated: bool = False) -> list[Edit]:
    """Look into a name or a value. A plus is a blank by the standard and itself by mistake: both are looked at."""
    if not truncated and _quiet(raw, scanner):
        return []
    found = _decoded(raw, scanner, depth, truncated=truncated)
    if b"+" not in raw:
        return found
    return _longest([*_decoded(raw.replace(b"+", b" "), scanner, depth, truncated=truncated), *found])


def _decoded(raw: bytes, scanner: "Scanner", depth: int, *, truncated: bool) -> list[Edit]:
    return through(raw, PERCENT, lambda plain: scanner.text(plain, depth + 1, truncated=truncated))


def _longest(edits: list[Edit]) -> list[Edit]:
    """Of edits that overlap keep the one that reaches further."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda each: (each.start, -each.end)):
        if kept and edit.start < kept[-1].end:
            if edit.end - edit.start > kept[-1].end - kept[-1].start:
                first = min(kept[-1].start, edit.start)
                kept[-1] = edit._replace(start=first)
            elif edit.end > kept[-1].end:
                kept[-1] = kept[-1]._replace(end=edit.end)
        else:
            kept.append(edit)
    return kept


_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def find_in_url(text: bytes, scanner: "Scanner", fields: "Scanner") -> list[Edit]:
    """Find the secrets in a URL or the target of a request: ``scanner`` knows parameters, ``fields`` the rest."""
    if _quiet(text, scanner):
        return []
    edits: list[Edit] = []
    path = re.split(rb"[?#]", text, maxsplit=1)[0]
    start = 0
    authority = _AUTHORITY.match(path)
    if authority:
        start = authority.end()
        edits += fields.text(path[:start])
    named = b""
    for segment in path[start:].split(b"/"):
        plain = decoded(segment, PERCENT) if b"%" in segment else segment
        if named and looks_random(plain):  # /reset-password/3f9c...
            edits += fields.replaced(start, start + len(segment), plain, named)
        elif segment:
            edits += shifted(_text(segment, fields, 0), start)
        named = plain if fields.names.secret(plain) else b""
        start += len(segment) + 1
    if len(path) < len(text):
        for part in re.split(rb"[?#]", text[len(path) + 1 :]):
            edits += shifted(find(part, scanner), start)
            start += len(part) + 1
    return edits
