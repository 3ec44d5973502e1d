"""Who may make load tags, and which ones count.

Ed25519 (RFC 8032): the replayer holds the private key, sidecars only public ones, so taking over a sidecar does not
let anybody send load to the others. A tag is not bound to a path or a body, since downstream requests differ.
Key objects come from `cryptography`; this module calls their methods and imports it only for types.
"""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, TypeVar

from loadtag.tag import LoadTag, TagError, format_token, parse, signed_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_T = TypeVar("_T")

CACHED = 1024
"""How many good tokens, and how many bad ones, a verifier remembers."""


class PublicKey:
    """A public key and its id: the first 11 characters (66 bits) of base64url(sha256(the raw 32 bytes))."""

    __slots__ = ("_key", "key_id")

    def __init__(self, key: Ed25519PublicKey) -> None:
        import hashlib  # noqa: PLC0415 - it loads OpenSSL, which apps without a key need not

        self._key = key
        digest = hashlib.sha256(key.public_bytes_raw()).digest()
        self.key_id = base64.urlsafe_b64encode(digest)[:11].decode("ascii")

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Tell whether `signature` over `signed` was made with the private half of this key."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - only where a key is used

        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"PublicKey(key_id={self.key_id!r})"


class Signer:
    """Makes tokens with one private key."""

    __slots__ = ("_key", "public_key")

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._key = private_key
        self.public_key = PublicKey(private_key.public_key())

    @property
    def key_id(self) -> str:
        """The id that tells verifiers which public key to use."""
        return self.public_key.key_id

    def sign(self, run_id: str, expires: int, audience: str) -> str:
        """Make a token that is valid for `audience` until `expires` (unix time in seconds).

        Run id and audience are 1 to 64 of the characters ``A-Z a-z 0-9 _ -``. Raises ValueError for anything else.
        """
        tag = LoadTag(self.key_id, run_id, expires, audience)
        return format_token(tag, self._key.sign(signed_bytes(tag)))

    def __repr__(self) -> str:
        return f"Signer(key_id={self.key_id!r})"


class Verifier:
    """Judges tokens for one audience. Not thread-safe: one event loop owns it.

    The signature of each distinct token is verified once, then remembered. Good tokens and bad ones are remembered
    apart: nobody without a private key can push a good one out. A stream of ever new forgeries costs one check
    of a signature each (nothing can avoid that) and a bounded amount of memory.

    A clock that steps back stands still until it has caught up: what has expired once stays expired. A clock
    that was wrongly far ahead therefore shuts out synthetic requests, never real ones, until the process starts anew.
    """

    __slots__ = ("_audience", "_bad", "_good", "_keys", "_latest")

    def __init__(self, public_keys: Iterable[PublicKey], audience: str) -> None:
        self._keys = {key.key_id: key for key in public_keys}  # none at all is allowed: then nothing verifies
        self._audience = audience
        self._good: dict[str, LoadTag] = {}
        self._bad: dict[str, str] = {}  # token to reason
        self._latest = -sys.float_info.max

    def verify(self, token: str, now: float) -> LoadTag:
        """Return the tag if it is valid at `now` (unix time in seconds). Raises TagError with the reason.

        ``expired`` and ``audience`` are said only of tags whose signature fits, so neither can be a mere forgery.
        """
        self._latest = max(self._latest, now)
        tag = self._good.get(token) or self._examine(token)
        if self._latest >= tag.expires:
            self._good.pop(token, None)
            _remember(self._bad, token, "expired")
            raise TagError("expired")
        return tag

    def _examine(self, token: str) -> LoadTag:
        """Judge all but the expiry, and remember the good and what was costly to find bad."""
        if token in self._bad:
            raise TagError(self._bad[token])
        tag, signature, signed = parse(token)
        key = self._keys.get(tag.key_id)
        if key is None:
            raise TagError("unknown-key")
        if not key.verifies(signature, signed):
            reason = "signature"
        elif tag.audience != self._audience:
            reason = "audience"
        else:
            _remember(self._good, token, tag)
            return tag
        _remember(self._bad, token, reason)
        raise TagError(reason)


def _remember(cache: dict[str, _T], token: str, value: _T) -> None:
    """Add to a cache; a full one forgets what it has held longest."""
    if len(cache) >= CACHED:
        del cache[next(iter(cache))]
    cache[token] = value
