"""Secrets in multipart bodies: by the names of parts, and within parts by what they are. Pure."""

import quopri
import re
from base64 import b64decode, encodebytes
from binascii import Error as Base64Error
from collections.abc import Callable

from captures.redaction.edits import PERCENT, Edit, apply, decoded, shifted
from captures.redaction.scanner import Scanner

MAX_PARTS = 1000
"""A body of more parts is searched without a grammar."""

Nested = Callable[[bytes, bytes, int, bool], list[Edit]]
"""Finds secrets in (content, content type, depth, truncated)."""

_BOUNDARY = re.compile(rb"boundary=(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)
_FIRST_LINE = re.compile(rb"\s{0,8}--([^\r\n]{1,200}?)[ \t]*\r?\n(?=[A-Za-z-]+:)")
_HEAD = re.compile(rb"(?:[ \t]*\r?\n)?((?:[^\r\n]+\r?\n)*)\r?\n")
_NAME = re.compile(rb"[;\s]name(?:\*=(?:[\w-]*'[\w-]*')?|=)(?:\"((?:[^\"\\]|\\.)*+)\"|([^\s;\"]+))", re.IGNORECASE)
_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_TRANSFER = re.compile(rb"^content-transfer-encoding:[ \t]*([\w-]+)", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)


def boundary(content_type: bytes, body: bytes) -> bytes | None:
    """Give the boundary, by the type or by the looks of the body's first line; None if it is not multipart."""
    match = _BOUNDARY.search(content_type) if b"multipart" in content_type.lower() else None
    if match and (b"--" + (match[1] or match[2])) in body:
        return match[1] or match[2]
    first = _FIRST_LINE.match(body)
    return first[1] if first else None


def find(
    body: bytes, mark: bytes, scanner: Scanner, nested: Nested, depth: int, *, truncated: bool = False
) -> list[Edit]:
    """Find the secrets in a multipart body whose parts stand between lines of ``--`` and `mark`."""
    parts = body.split(b"--" + mark)
    if len(parts) > MAX_PARTS:
        return scanner.text(body, depth + 1, truncated=truncated)
    edits: list[Edit] = []
    start = 0
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        cut = truncated and last
        if number == 0 or (last and part.startswith(b"--")):
            found = scanner.text(part, depth + 1, truncated=cut)
        else:
            found = _part(part, scanner, nested, depth, truncated=cut)
        edits += shifted(found, start)
        start += len(part) + 2 + len(mark)
    return edits


def _part(part: bytes, scanner: Scanner, nested: Nested, depth: int, *, truncated: bool) -> list[Edit]:
    match = _HEAD.match(part)
    if match is None:
        return scanner.text(part, depth + 1, truncated=truncated)
    head, at = match[1], match.end()
    content = part[at:]
    if content.endswith(b"\n") and not truncated:  # the line's end before the boundary is no part of the content
        content = content[: -2 if content.endswith(b"\r\n") else -1]
    name = _NAME.search(head)
    label = b"" if name is None else decoded(name[1] or name[2] or b"", PERCENT)
    transfer = _TRANSFER.search(head)
    if name is not None and scanner.names.secret(label):
        stop = len(content)
        if truncated:
            found = [Edit(0, stop, b"", f"name {label.decode('utf-8', 'backslashreplace')}")] if content else []
        else:
            found = scanner.replaced(0, stop, _plain(content, transfer[1].lower() if transfer else b""), label)
    elif transfer and transfer[1].lower() in (b"base64", b"quoted-printable"):
        found = _transferred(content, transfer[1].lower(), _type_of(head), nested, depth, truncated=truncated)
    else:
        found = nested(content, _type_of(head), depth + 1, truncated)
    edits = shifted(_of_head(head, content, found, scanner, depth), match.start(1))
    return [*edits, *shifted(found, at)]


def _of_head(head: bytes, content: bytes, found: list[Edit], scanner: Scanner, depth: int) -> list[Edit]:
    """Look at a part's own headers: a file may be named after somebody, and a length has to fit."""
    edits = scanner.patterns.find(head) if name_is_plain(head) else scanner.text(head, depth + 1)
    length = _LENGTH.search(head)
    if found and length and int(length[1][:20]) == len(content):
        size = b"%d" % len(apply(content, found))
        edits = [edit for edit in edits if edit.end <= length.start(1) or edit.start >= length.end(1)]
        edits = sorted([*edits, Edit(*length.span(1), size, "length")])
    return edits


def name_is_plain(head: bytes) -> bool:
    """Say whether no part of a header is percent-encoded."""
    return b"%" not in head


def _type_of(head: bytes) -> bytes:
    match = _TYPE.search(head)
    return match[1].strip() if match else b""


def _plain(content: bytes, transfer: bytes) -> bytes:
    try:
        if transfer == b"base64":
            return b64decode(content)
        if transfer == b"quoted-printable":
            return quopri.decodestring(content)
    except Base64Error:
        pass
    return content


def _transferred(
    content: bytes, transfer: bytes, kind: bytes, nested: Nested, depth: int, *, truncated: bool
) -> list[Edit]:
    """Look into content that was encoded for mail; if there is something, it is encoded anew."""
    if truncated:
        return [Edit(0, len(content), b"", "cut")] if content else []
    plain = _plain(content, transfer)
    edits = nested(plain, kind, depth + 1, False)
    if not edits:
        return []
    changed = apply(plain, edits)
    if transfer == b"quoted-printable":
        again = quopri.encodestring(changed)
    else:
        again = encodebytes(changed).replace(b"\n", b"\r\n").strip()
    return [Edit(0, len(content), again, edits[0].why)]
