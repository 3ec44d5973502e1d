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
from pathlib import Path

from captures.errors import CaptureError
from captures.records import Headers

log = logging.getLogger(__name__)

DEFAULT = (
    # what somebody proves who they are with
    *("*auth*", "*cookie*", "*credential*", "*oidc*", "*principal*", "*saml*", "*sess*", "*ticket*", "*userinfo*"),
    *("sid", "*-sid", "otp", "*-otp"),
    # what must not be known at all
    *("*key*", "pass", "*-pass", "*passcode*", "*passphrase*", "*passw*", "*pwd*", "*secret*", "pw", "*-pw"),
    # what opens something for whoever holds it
    *("*assertion*", "*bearer*", "*csrf*", "*dpop*", "*hmac*", "*jwt*", "*signature*", "*token*", "*xsrf*"),
    # what only sounds like it
    *("!authority", "!:authority", "!x-forwarded-authority"),  # where a request goes
    *("!idempotency-key", "!x-idempotency-key"),  # which request it is
    *("!sec-websocket-key",),  # a random number that shows that the server speaks WebSocket
    *("!www-authenticate", "!proxy-authenticate"),  # the question, not the answer
)
"""Header names, lower case, with ``*`` for anything; ``!`` before a name: this one not. An underscore is a hyphen.

A word counts wherever it stands in a name: what is replaced needlessly costs a replay one header's value, and what is
forgotten costs a user's account."""

KEY_SIZE = 32
PREFIX = b"redacted-"
"""Every pseudonym starts with this, then come 16 characters of base64url."""

# The first word of an authorization is kept only if it is one of these; any other could be the secret itself.
_SCHEMES = frozenset(
    b"apikey aws4-hmac-sha256 basic bearer digest dpop gnap hawk hoba jwt key mutual negotiate ntlm oauth "
    b"privatetoken scram-sha-1 scram-sha-256 sharedkey token vapid".split()
)

# Repeated values cost one look-up. A client must not be able to fill the memory, nor to push all others out with a few
# large ones.
_CACHED_VALUES = 4 << 20  # bytes, for each of the handful of rules
_CACHED_SIZE = 4096
_CACHED_NAMES = 4096

Rule = Callable[[bytes], bytes]


class _Redacted(dict[bytes, bytes]):
    """What one rule makes of values: looked up if it was made before, else made."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self._rule = rule
        self._size = 0

    def __missing__(self, value: bytes) -> bytes:
        redacted = self._rule(value)
        if len(value) <= _CACHED_SIZE:
            if self._size > _CACHED_VALUES:
                self.clear()
                self._size = 0
            self[value] = redacted
            self._size += len(value) + len(redacted)
        return redacted


class Redactor:
    """Replaces the values of secret headers. `names` are patterns as in `DEFAULT`."""

    def __init__(self, key: bytes, names: tuple[str, ...] = DEFAULT) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"the key has to be {KEY_SIZE} bytes")
        self.names = tuple(map(_normal, names))
        self._key = key
        self._redacted: dict[bytes, _Redacted | None] = {}
        self._by_rule: dict[Rule, _Redacted] = {}

    def describe(self) -> dict[str, object]:
        """Say what is replaced and under which key (a fingerprint: equal ones mean that pseudonyms compare)."""
        fingerprint = hashlib.blake2b(b"fingerprint", key=self._key, digest_size=8).hexdigest()
        return {"headers": list(self.names), "key": fingerprint, "method": "blake2b-96 keyed"}

    def headers(self, headers: Headers) -> Headers:
        """Give `headers` with secrets replaced; the very same tuple if it holds none."""
        changed: list[tuple[bytes, bytes]] | None = None
        redacted = self._redacted
        position = 0
        for name, value in headers:
            try:
                known = redacted[name]
            except KeyError:
                known = self._learn(name)
            if known is not None and (instead := known[value]) != value:
                if changed is None:
                    changed = list(headers)
                changed[position] = (name, instead)
            position += 1  # noqa: SIM113 - cheaper than to enumerate, and nearly always for nothing
        return headers if changed is None else tuple(changed)

    def pseudonym(self, value: bytes) -> bytes:
        """Give the stand-in for one secret, whatever blanks and quotes it stands in; nothing stays nothing."""
        secret = value.strip()
        if len(secret) > 1 and secret[:1] == secret[-1:] == b'"':
            secret = secret[1:-1].strip()
        if not secret:
            return value
        return PREFIX + urlsafe_b64encode(hashlib.blake2b(secret, key=self._key, digest_size=12).digest())

    def _learn(self, name: bytes) -> "_Redacted | None":
        """Find the rule for a header name, once: names repeat all day."""
        text = _normal(name.decode("latin-1"))
        rule: Rule | None = None
        if text == "host":
            rule = _host
        elif self._is_secret(text):
            rule = self._special.get(text, Redactor.pseudonym).__get__(self)
        if len(self._redacted) >= _CACHED_NAMES:
            self._redacted.clear()
        known = None if rule is None else self._by_rule.setdefault(rule, _Redacted(rule))
        self._redacted[name] = known
        return known

    def _is_secret(self, name: str) -> bool:
        return f"!{name}" not in self.names and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.names)

    def _authorization(self, value: bytes) -> bytes:
        """Keep ``Bearer``, replace the rest."""
        scheme, *rest = value.split(maxsplit=1) or [value]
        if rest and scheme.lower() in _SCHEMES:
            return scheme + b" " + self.pseudonym(rest[0])
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
        if value.strip(b" \t="):
            return name + equals + self.pseudonym(value)
        # No value: the name is all there is, and what follows it may be the padding of base64.
        bare = pair.strip()
        return pair.replace(bare, self.pseudonym(bare)) if bare else pair

    _special = {  # noqa: RUF012 - never changed
        "authorization": _authorization,
        "proxy-authorization": _authorization,
        "cookie": _cookie,
        "cookie2": _cookie,
        "set-cookie": _set_cookie,
        "set-cookie2": _set_cookie,
    }


def _normal(name: str) -> str:
    """Give a header's name as most servers understand it, however a client wrote it."""
    return name.strip().lower().replace("_", "-")


def without_userinfo(authority: str) -> str:
    """Cut ``user:secret@`` off a host."""
    return authority.rpartition("@")[2]


def _host(value: bytes) -> bytes:
    return value.rpartition(b"@")[2]


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
