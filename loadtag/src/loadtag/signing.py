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
from loadtag.validity import ALWAYS, NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from loadtag.validity import Revoked, Validity

_T = TypeVar("_T")

CACHED = 1024
"""How many good tokens, and how many bad ones, a verifier remembers."""


class PublicKey:
    """A public key, what it is good for, and its id: 11 characters (66 bits) of base64url(sha256(the raw 32 bytes))."""

    __slots__ = ("_key", "key_id", "validity")

    def __init__(self, key: Ed25519PublicKey, validity: Validity = ALWAYS) -> None:
        import hashlib  # noqa: PLC0415 - it loads OpenSSL, which apps without a key need not

        self._key = key
        self.validity = validity
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
    """Makes tokens with one private key, within what the key is good for."""

    __slots__ = ("_key", "public_key")

    def __init__(self, private_key: Ed25519PrivateKey, validity: Validity = ALWAYS) -> None:
        self._key = private_key
        self.public_key = PublicKey(private_key.public_key(), validity)

    @property
    def key_id(self) -> str:
        """The id that tells verifiers which public key to use."""
        return self.public_key.key_id

    @property
    def validity(self) -> Validity:
        """What the key is good for."""
        return self.public_key.validity

    def sign(self, run_id: str, expires: int, audience: str, now: float | None = None) -> str:
        """Make a token that is valid for `audience` until `expires` (unix time in seconds).

        No token outlives its key: `expires` is brought down to the key's end. Run id and audience are 1 to 64 of the
        characters ``A-Z a-z 0-9 _ -``; ValueError is raised for anything else. Raises TagError (a ValueError) with
        ``key-audience`` if the key is not good for `audience`; and, if `now` (unix time) is given, with ``key-early``
        or ``key-expired`` if it is not good at that time.
        """
        validity = self.validity
        reason = None if now is None else validity.reason(now)
        if reason is None and not validity.admits(audience):
            reason = "key-audience"
        if reason is not None:
            raise TagError(reason)
        if validity.not_after is not None:
            expires = min(expires, validity.not_after)
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

    __slots__ = ("_audience", "_bad", "_good", "_keys", "_latest", "_revoked")

    def __init__(self, public_keys: Iterable[PublicKey], audience: str, revoked: Revoked | None = NOBODY) -> None:
        """Know these keys (none at all is allowed: then nothing verifies). `revoked` as in `revoke`.

        Raises ValueError if one key is given twice and is to be good for two different things.
        """
        self._keys: dict[str, PublicKey] = {}
        for key in public_keys:
            if self._keys.setdefault(key.key_id, key).validity != key.validity:
                raise ValueError(f"the key {key.key_id} stands there twice, good for different times or audiences")
        self._audience = audience
        self._revoked = revoked
        self._good: dict[str, LoadTag] = {}
        self._bad: dict[str, str | LoadTag] = {}  # token to reason; or to the tag of one that only time made bad
        self._latest = -sys.float_info.max

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The keys that are known."""
        return tuple(self._keys.values())

    @property
    def revoked(self) -> Revoked | None:
        """What counts as revoked; None: nobody knows."""
        return self._revoked

    def revoke(self, revoked: Revoked | None) -> None:
        """From now on these keys and runs don't count. None: which ones is not known, so none does."""
        if revoked != self._revoked:
            self._revoked = revoked
            self._good.clear()
            self._bad.clear()

    def verify(self, token: str, now: float) -> LoadTag:
        """Return the tag if it is valid at `now` (unix time in seconds). Raises TagError with the reason.

        Reasons other than ``malformed``, ``unknown-key`` and ``signature`` are said only of tags whose signature fits,
        so none of them can be a mere forgery. (But of a revoked key ``key-revoked`` is said also after it was removed.)
        """
        self._latest = max(self._latest, now)
        tag = self._good.get(token) or self._examine(token)
        reason = self._untimely(tag)
        if reason is None:
            return tag
        if reason != "key-early" and token in self._good:
            del self._good[token]
            _remember(self._bad, token, tag)
        raise TagError(reason)

    def standing(self, tag: LoadTag, now: float) -> str | None:
        """Say why a tag that was verified before would not count any more at `now`, whatever its own expiry; or None.

        For what goes on for longer than a token lasts: as long as its key and its run count.
        """
        self._latest = max(self._latest, now)
        key = self._keys.get(tag.key_id)
        reason = self._unwanted(tag)
        if key is None:
            return reason if reason == "key-revoked" else "unknown-key"
        return reason or key.validity.reason(self._latest)

    def _examine(self, token: str) -> LoadTag:
        """Judge all but times, and remember the good and what was costly to find bad."""
        known = self._bad.get(token)
        if known is not None:
            if isinstance(known, str):
                raise TagError(known)
            return known
        tag, signature, signed = parse(token)
        key = self._keys.get(tag.key_id)
        if key is None:
            gone = self._revoked is not None and tag.key_id in self._revoked.keys
            raise TagError("key-revoked" if gone else "unknown-key")
        reason = self._unwanted(tag) if key.verifies(signature, signed) else "signature"
        if reason is None:
            _remember(self._good, token, tag)
            return tag
        _remember(self._bad, token, reason)
        raise TagError(reason)

    def _unwanted(self, tag: LoadTag) -> str | None:
        """Say why a tag with a good signature does not count at any time."""
        if self._revoked is None:
            return "revocations-unknown"
        if tag.key_id in self._revoked.keys:
            return "key-revoked"
        if tag.run_id in self._revoked.runs:
            return "run-revoked"
        if tag.audience != self._audience:
            return "audience"
        key = self._keys.get(tag.key_id)
        return None if key is None or key.validity.admits(self._audience) else "key-audience"

    def _untimely(self, tag: LoadTag) -> str | None:
        """Say why a tag does not count now. That its key has expired says more than that it has itself."""
        reason = self._keys[tag.key_id].validity.reason(self._latest)
        return reason or ("expired" if self._latest >= tag.expires else None)


def _remember(cache: dict[str, _T], token: str, value: _T) -> None:
    """Add to a cache; a full one forgets what it has held longest."""
    if len(cache) >= CACHED:
        del cache[next(iter(cache))]
    cache[token] = value
