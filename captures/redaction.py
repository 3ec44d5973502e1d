"""Secrets out, pseudonyms in, before a record is packed.

Equal secrets get equal pseudonyms under one key, so sessions stay joinable; without the key nothing leads back, and
the key lives outside the recordings so that a leaked capture cannot be tried against guessed values.
"""

import fnmatch
import hashlib
import logging
import os
import secrets
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from captures.errors import CaptureError
from captures.records import Headers

log = logging.getLogger(__name__)

DEFAULT = (
    "authorization",
    "proxy-authorization",
    "authentication",
    "cookie",
    "set-cookie",
    "cookie2",
    "set-cookie2",
    "*api-key",
    "*apikey",
    "*api-token",
    "*access-key",
    "*subscription-key",
    "x-*-key",
    "token",
    "*-token",
    "*-secret",
    "*-password",
    "*-passwd",
    "*-credential",
    "*-credentials",
    "*-signature",
    "*-session",
    "*-session-id",
    "*-sessionid",
    "*-auth",
    "x-auth-*",
    "*-authorization",
    "*-jwt",
    "*-jwt-assertion",
)
"""Header names, lower case, with ``*`` for anything: ``*-token`` covers x-csrf-token, x-amz-security-token, ..."""

KEY_SIZE = 32
PREFIX = b"redacted-"
"""Every pseudonym starts with this, then come 16 characters of base64url."""

# The first word of an authorization is kept only if it is one of these; any other could be the secret itself.
_SCHEMES = frozenset(
    b"apikey aws4-hmac-sha256 basic bearer digest dpop gnap hawk hoba jwt key mutual negotiate ntlm oauth "
    b"privatetoken scram-sha-1 scram-sha-256 sharedkey token vapid".split()
)

# Repeated values cost one look-up. Larger ones are not kept: a client must not be able to fill the memory.
_CACHED_VALUES = 4096
_CACHED_SIZE = 4096
_CACHED_NAMES = 4096

Rule = Callable[[bytes], bytes]


class Redactor:
    """Replaces the values of secret headers. `names` are patterns as in `DEFAULT`."""

    def __init__(self, key: bytes, names: tuple[str, ...] = DEFAULT) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"the key has to be {KEY_SIZE} bytes")
        self.names = tuple(name.lower() for name in names)
        self._key = key
        self._rules: dict[bytes, Rule | None] = {}
        self._cached = lru_cache(maxsize=_CACHED_VALUES)(self._apply)

    def describe(self) -> dict[str, object]:
        """Say what is replaced and under which key (a fingerprint: equal ones mean that pseudonyms compare)."""
        fingerprint = hashlib.blake2b(b"fingerprint", key=self._key, digest_size=8).hexdigest()
        return {"headers": list(self.names), "key": fingerprint, "method": "blake2b-96 keyed"}

    def headers(self, headers: Headers) -> Headers:
        """Give `headers` with secrets replaced; the very same tuple if it holds none."""
        changed: list[tuple[bytes, bytes]] | None = None
        rules = self._rules
        for position, (name, value) in enumerate(headers):
            try:
                rule = rules[name]
            except KeyError:
                rule = self._learn(name)
            if rule is not None:
                if changed is None:
                    changed = list(headers)
                changed[position] = (
                    name,
                    self._cached(rule, value) if len(value) <= _CACHED_SIZE else rule(value),
                )
        return headers if changed is None else tuple(changed)

    def pseudonym(self, value: bytes) -> bytes:
        """Give the stand-in for one secret; nothing stays nothing."""
        if not value:
            return value
        return PREFIX + urlsafe_b64encode(hashlib.blake2b(value, key=self._key, digest_size=12).digest())

    def _learn(self, name: bytes) -> Rule | None:
        """Find the rule for a header name, once: names repeat all day."""
        lower = name.lower()
        text = lower.decode("latin-1")
        rule: Rule | None = None
        if any(fnmatch.fnmatchcase(text, pattern) for pattern in self.names):
            rule = self._special.get(lower, Redactor.pseudonym).__get__(self)
        if len(self._rules) >= _CACHED_NAMES:
            self._rules.clear()
        self._rules[name] = rule
        return rule

    @staticmethod
    def _apply(rule: Rule, value: bytes) -> bytes:
        return rule(value)

    def _authorization(self, value: bytes) -> bytes:
        """Keep ``Bearer``, replace the rest."""
        scheme, space, rest = value.partition(b" ")
        if space and scheme.lower() in _SCHEMES:
            return scheme + space + self.pseudonym(rest.strip())
        return self.pseudonym(value)

    def _cookie(self, value: bytes) -> bytes:
        """Keep the names, replace each value by itself: ``sid=redacted-...; theme=redacted-...``."""
        return b";".join(map(self._pair, value.split(b";")))

    def _set_cookie(self, value: bytes) -> bytes:
        """Replace the value, keep the name and the attributes."""
        pair, semicolon, attributes = value.partition(b";")
        return self._pair(pair) + semicolon + attributes

    def _pair(self, pair: bytes) -> bytes:
        name, equals, value = pair.partition(b"=")
        if equals:
            return name + equals + self.pseudonym(value.strip())
        bare = pair.strip()
        return pair.replace(bare, self.pseudonym(bare)) if bare else pair

    _special = {  # noqa: RUF012 - never changed
        b"authorization": _authorization,
        b"proxy-authorization": _authorization,
        b"cookie": _cookie,
        b"cookie2": _cookie,
        b"set-cookie": _set_cookie,
        b"set-cookie2": _set_cookie,
    }


def load_key(path: Path) -> bytes:
    """Read the pseudonym key, making it (32 random bytes, readable by its owner only) if there is none.

    Keep it outside the recordings. Raises CaptureError if it cannot be read, made, or is not a key.
    """
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
        if path.stat().st_mode & 0o077:
            log.warning("the redaction key %s can be read by others: chmod 600 it", path)
    except OSError as error:
        raise CaptureError(f"redaction key {path}: {os.strerror(error.errno or 0)}") from None
    if len(key) != KEY_SIZE:
        raise CaptureError(f"{path} is not a redaction key: it has {len(key)} bytes, a key has {KEY_SIZE}")
    return key


def _make_key(path: Path) -> None:
    """Make the key whole or not at all; if another process is quicker, its key stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".key-") as draft:
        draft.write(secrets.token_bytes(KEY_SIZE))
        draft.flush()
        os.fsync(draft.fileno())
        with suppress(FileExistsError):
            os.link(draft.name, path)
