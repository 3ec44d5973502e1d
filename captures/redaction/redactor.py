"""All rules on a whole record. Pure."""

import hashlib
import json
from base64 import b64encode

from captures.records import Headers, Record
from captures.redaction.bodies import Bodies, Opened, WithheldError
from captures.redaction.edits import apply
from captures.redaction.headers import HeaderRedactor, without_userinfo
from captures.redaction.pseudonyms import Pseudonyms
from captures.redaction.rules import DEFAULTS, Rules
from captures.redaction.scanner import Scanner

_CACHED_PATHS = 4 << 20  # characters
_CACHED_SIZE = 2048
_LARGEST_DESCRIPTION = 16 << 10  # bytes: a segment's header takes 64 KiB

_new_record = tuple.__new__


class Redactor:
    """Replaces the secrets in records by pseudonyms under `key` (32 bytes). Raises ValueError if it is none."""

    def __init__(self, key: bytes | Pseudonyms, rules: Rules = DEFAULTS) -> None:
        self.rules = rules
        self.withheld = 0
        """Bodies that were not kept because they could not be looked into."""
        self._pseudonyms = key if isinstance(key, Pseudonyms) else Pseudonyms(key)
        fields = Scanner(rules, rules.field_names(), self._pseudonyms)
        query = Scanner(rules, rules.query_names(), self._pseudonyms)
        self._fields = fields
        self.query, self.fields = query, fields
        self._headers = HeaderRedactor(rules, fields, query)
        self.bodies = Bodies(fields)
        self._paths: dict[str, str] = {}
        self._paths_size = 0

    def describe(self) -> dict[str, object]:
        """Say what is replaced and under which key (a fingerprint: equal ones mean that pseudonyms compare)."""
        rules = self.rules.model_dump(mode="json", exclude_defaults=True)
        written = json.dumps(rules, sort_keys=True).encode()
        names = {"headers": list(self._headers.names)}
        told: dict[str, object] = {
            "method": "blake2b-96 keyed",
            "scheme": 2,
            "key": self._pseudonyms.fingerprint,
            "rules_digest": hashlib.blake2b(written, digest_size=8).hexdigest(),
        }
        if len(written) + sum(map(len, self._headers.names)) <= _LARGEST_DESCRIPTION:
            told |= names | {"rules": rules}
        return told

    def record(self, record: Record) -> Record:
        """Give the record with all its secrets replaced; the very same one if it holds none."""
        _, _, _, authority, path, _, headers, body, size, _, _, _, _ = record
        clean_headers = self._headers.headers(headers)
        clean_path = self._paths.get(path)
        if clean_path is None:
            clean_path = self._path(path)
        clean_authority = without_userinfo(authority) if "@" in authority else authority
        clean_body = body
        if body:
            clean_body, size, clean_headers = self._body(body, size, headers, clean_headers)
        elif clean_headers is headers and clean_path is path and clean_authority is authority:
            return record
        if clean_headers is headers and clean_path is path and clean_authority is authority and clean_body is body:
            return record
        clean = (clean_authority, clean_path, record[5], clean_headers, clean_body, size)
        return _new_record(Record, (*record[:3], *clean, *record[9:]))

    def headers(self, headers: Headers) -> Headers:
        """Give `headers` with secrets replaced; the very same tuple if it holds none."""
        return self._headers.headers(headers)

    def is_secret_header(self, name: str) -> bool:
        """Say whether a header of this name, in normal form, is replaced whole."""
        return self._headers.is_secret(name)

    def pseudonym(self, value: bytes) -> bytes:
        """Give the stand-in for one secret, whatever blanks and quotes it stands in; nothing stays nothing."""
        return self._headers.pseudonym(value)

    def _path(self, path: str) -> str:
        try:
            raw = path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # no bytes give such a text, and it cannot be packed
            return path
        clean = self._headers.url(raw)
        text = path if clean == raw else clean.decode("utf-8", "surrogateescape")
        if len(path) <= _CACHED_SIZE:
            if self._paths_size > _CACHED_PATHS:
                self._paths.clear()
                self._paths_size = 0
            self._paths[path] = text
            self._paths_size += len(path) + len(text)
        return text

    def _body(self, body: bytes, size: int, headers: Headers, clean: Headers) -> tuple[bytes, int, Headers]:
        """Give the body and its size with secrets replaced, and the headers that fit it."""
        truncated = len(body) < size
        content_type, content_encoding = content_headers(headers)
        plain = not content_encoding and not truncated and b"\x00" not in body and b"utf-7" not in content_type.lower()
        if plain and b"cp" not in content_type and b"ibm" not in content_type.lower() and self._fields.quiet(body):
            return body, size, clean
        try:
            opened = Opened(body, content_type, content_encoding, truncated=truncated)
            edits = self.bodies.find(opened.text, content_type, 0, truncated)
            if not edits:
                return body, size, clean
            changed = opened.closed(apply(opened.text, edits))
        except WithheldError:
            self.withheld += 1
            return b"", size, _undigested(clean, self._headers)
        if truncated:
            # What was put in lengthens what was sent; what was cut away is not kept, and that is all.
            cut = sum(edit.end - edit.start for edit in edits if not edit.instead)
            growth = max(0, len(changed) + cut - len(body)) if not opened.written.charset else 0
            grown = max(size + growth, len(changed) + 1)
            fitted = _fitted(clean, size, grown)
            return changed, grown, _undigested(fitted, self._headers)
        fitted = _fitted(clean, size, len(changed))
        return changed, len(changed), _digested(fitted, body, changed, self._headers)


def content_headers(headers: Headers) -> tuple[bytes, bytes]:
    """Give the content type and the content encoding; of several, all in a row."""
    kind = b""
    encodings = []
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            kind = kind or value
        elif len(name) == 16 and name.lower() == b"content-encoding":
            encodings.append(value)
    return kind, b",".join(encodings)


def _fitted(headers: Headers, before: int, after: int) -> Headers:
    """Make the content length, if it was right, right again."""
    if before == after:
        return headers
    told, tells = b"%d" % before, b"%d" % after
    return tuple(
        (name, tells if value.strip() == told and name.lower() == b"content-length" else value)
        for name, value in headers
    )


_DIGESTS = {b"md5": "md5", b"sha": "sha1", b"sha-256": "sha256", b"sha-512": "sha512"}
_DIGEST_HEADERS = frozenset((b"content-md5", b"digest", b"content-digest", b"repr-digest"))


def _digested(headers: Headers, before: bytes, after: bytes, by: HeaderRedactor) -> Headers:
    """Make digests of the body right again; with one of the body as it was, a secret could be guessed."""
    if not any(name.lower() in _DIGEST_HEADERS for name, _ in headers):
        return headers
    fresh = []
    for name, value in headers:
        if name.lower() not in _DIGEST_HEADERS:
            fresh.append((name, value))
            continue
        instead = value
        for method in _DIGESTS.values():
            old, new = (
                b64encode(hashlib.new(method, each, usedforsecurity=False).digest()) for each in (before, after)
            )
            instead = instead.replace(old, new)
        fresh.append((name, instead if instead != value else by.pseudonym(value)))
    return tuple(fresh)


def _undigested(headers: Headers, by: HeaderRedactor) -> Headers:
    """Replace digests of a body that is not kept as it was."""
    if not any(name.lower() in _DIGEST_HEADERS for name, _ in headers):
        return headers
    return tuple((name, by.pseudonym(value) if name.lower() in _DIGEST_HEADERS else value) for name, value in headers)
