"""Secrets in bodies: finds out what a body is, by what it says and by its looks, and has it searched. Pure."""

import re

from captures.redaction import forms, multipart
from captures.redaction.edits import Edit, apply
from captures.redaction.encodings import CannotUnpackError, Text, as_text, names_of, pack, unpack
from captures.redaction.patterns import compiled
from captures.redaction.scanner import MAX_DEPTH, Scanner

_FORM = re.compile(rb"[A-Za-z0-9_.%+*\[\]~!$'()-]{1,200}=[^\s<>\"{}]*")
_MEDIA = (b"image/", b"video/", b"audio/", b"font/")


class WithheldError(Exception):
    """A body that cannot be looked into, and so must not be kept."""


class Opened:
    """A body out of its wrapping, and the way back."""

    def __init__(self, body: bytes, content_type: bytes, content_encoding: bytes, *, truncated: bool) -> None:
        """Unwrap. Raises WithheldError."""
        self.encodings: list[bytes] = []
        if content_encoding:
            try:
                self.encodings = names_of(content_encoding)
                if self.encodings and truncated:
                    raise WithheldError("compressed, and cut")
                body, self.encodings = unpack(body, self.encodings)
            except CannotUnpackError:
                raise WithheldError("it does not unpack") from None
        self.written: Text = as_text(body, content_type, truncated=truncated)
        self.text = self.written.text

    def closed(self, text: bytes) -> bytes:
        """Wrap another text in the same way."""
        return pack(self.written.written(text), self.encodings)


class Bodies:
    """Finds the secrets in bodies."""

    def __init__(self, fields: Scanner) -> None:
        self._fields = fields

    def find(self, text: bytes, content_type: bytes, depth: int = 0, truncated: bool = False) -> list[Edit]:
        """Find the secrets in an unwrapped body. Raises WithheldError."""
        fields = self._fields
        if depth > MAX_DEPTH:
            return fields.loosely(text, truncated=truncated)
        kind = content_type.lower()
        mark = multipart.boundary(content_type, text)
        if mark is not None:
            return multipart.find(text, mark, fields, self.find, depth, truncated=truncated)
        if kind.startswith(_MEDIA) and not kind.startswith(b"image/svg"):
            return fields.patterns.find(text)
        wide = as_text(text, content_type, truncated=truncated) if depth else None
        if wide is not None and wide.charset:
            return self._wide(wide, text, depth, truncated=truncated)
        if _is_binary(text, kind):
            return self._binary(text, depth, truncated=truncated)
        return self._text(text, kind, depth, truncated=truncated)

    def _wide(self, wide: Text, text: bytes, depth: int, *, truncated: bool) -> list[Edit]:
        """Find secrets in a part of a body that is written in wide characters."""
        edits = self.find(wide.text, b"", depth + 1, truncated)
        again = wide.written(apply(wide.text, edits))
        return [Edit(0, len(text), again, edits[0].why)] if edits else []

    def _text(self, text: bytes, kind: bytes, depth: int, *, truncated: bool) -> list[Edit]:
        """Find secrets in a form or in any other text."""
        fields = self._fields
        head = text[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if (b"x-www-form-urlencoded" in kind and head not in (b"{", b"[")) or _is_form(text):
            return forms.find(text, fields, depth, truncated=truncated)
        return fields.text(text, depth, truncated=truncated, loud=True)

    def _binary(self, text: bytes, depth: int, *, truncated: bool) -> list[Edit]:
        """Replace what has the looks of a secret. What a name says cannot be told where there is no grammar."""
        if self._fields.names_in(text):
            raise WithheldError("binary, with the name of a secret in it")
        return self._fields.text(text, depth, truncated=truncated)


def _is_form(text: bytes) -> bool:
    first = text.partition(b"&")[0]
    return _FORM.fullmatch(first) is not None and _FORM.match(text) is not None and b"\n" not in text.strip()


_CONTROL = compiled(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", groups=False)


def _is_binary(text: bytes, kind: bytes) -> bool:
    """Say whether a body is no text: control characters, or neither UTF-8 nor said to be text of another kind."""
    if _CONTROL.search(text) is not None:
        return True
    if text.isascii() or b"charset" in kind or kind.startswith(b"text/"):
        return False
    try:
        text[: len(text) - 3].decode("utf-8")  # a cut may go through a character
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return False
