"""What a load tag says, and how it is written.

A token is ``v1.<key id>.<run id>.<expiry>.<audience>.<signature>``. Every field is written in the base64url alphabet
(RFC 4648, section 5), so a token needs no escaping in baggage, in a header, in a log line or in a shell. There is
exactly one way to write a given tag: no padding, no leading zeros, no spare bits in the last character of the
signature. Whoever changes any character of a token has therefore made a different token, or none.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

MAX_LENGTH = 512
"""No token is longer than this many characters (a v1 token with the longest fields has 297)."""

_FIELD = "[A-Za-z0-9_-]{1,64}"
# [0-9] and not \d, which also takes digits of other scripts. Twelve digits reach the year 33658.
_EXPIRY = "0|[1-9][0-9]{0,11}"
# 64 bytes are 85 characters and two bits: the last character is one of the four whose other four bits are zero.
_SIGNATURE = "[A-Za-z0-9_-]{85}[AQgw]"

_TOKEN = re.compile(rf"(v1\.({_FIELD})\.({_FIELD})\.({_EXPIRY})\.({_FIELD}))\.({_SIGNATURE})")
_NAME = re.compile(_FIELD)
_TIME = re.compile(_EXPIRY)

_REASONS = {
    "malformed": "not a load tag",
    "unknown-key": "signed with a key that is not known here",
    "signature": "the signature does not fit",
    "expired": "expired",
    "audience": "meant for another audience",
    "key-early": "its key is not good yet",
    "key-expired": "its key has expired",
    "key-audience": "its key is not good for this audience",
    "key-revoked": "its key was revoked",
    "run-revoked": "its run was revoked",
    "revocations-unknown": "which keys were revoked is not known at the moment",
}

_FORGEABLE = {"malformed", "unknown-key", "signature"}


class TagError(ValueError):
    """A token that is no valid load tag.

    ``reason`` is ``malformed``, ``unknown-key`` or ``signature``, which anybody can cause; or ``expired``,
    ``audience``, ``key-early``, ``key-expired``, ``key-audience``, ``key-revoked``, ``run-revoked`` or
    ``revocations-unknown``: a bounded set, fit for a metric's label. The token itself is never part of the message.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def by_known_key(self) -> bool:
        """Whether a key that is known made the token, or one that was revoked by name, so that it is no mere forgery.

        Such a request is load, and never a real user's: it should be refused, not passed on without its tag.
        """
        return self.reason not in _FORGEABLE

    def __str__(self) -> str:
        return _REASONS.get(self.reason, self.reason)


class LoadTag(NamedTuple):
    """What the tag of a synthetic request says."""

    key_id: str
    """Which key signed it (see `loadtag.keys`)."""
    run_id: str
    """Which run sent it."""
    expires: int
    """Unix time in seconds; from this moment on the tag is no longer valid."""
    audience: str
    """For whom it is meant: a sidecar accepts only tags for its own audience."""


class Parsed(NamedTuple):
    """A token taken apart; nothing of it is verified."""

    tag: LoadTag
    signature: bytes
    """64 bytes, Ed25519 (RFC 8032)."""
    signed: bytes
    """What the signature is over: the token's bytes before the last dot."""


def parse(token: str) -> Parsed:
    """Take a token apart without verifying it. Raises TagError("malformed")."""
    match = _TOKEN.fullmatch(token) if len(token) <= MAX_LENGTH else None
    if match is None:
        raise TagError("malformed")
    signed, key_id, run_id, expires, audience, signature = match.groups()
    tag = LoadTag(key_id, run_id, int(expires), audience)
    return Parsed(tag, base64.urlsafe_b64decode(signature + "=="), signed.encode("ascii"))


def signed_bytes(tag: LoadTag) -> bytes:
    """Write what the signature of `tag` is over. Raises ValueError for a field that can't be written in a token."""
    for what, text in (("key id", tag.key_id), ("run id", tag.run_id), ("audience", tag.audience)):
        if not _NAME.fullmatch(text):
            raise ValueError(f"the {what} {text!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
    if not _TIME.fullmatch(f"{tag.expires:d}"):
        raise ValueError(f"the expiry {tag.expires!r} must be a unix time in whole seconds")
    return f"v1.{tag.key_id}.{tag.run_id}.{tag.expires:d}.{tag.audience}".encode("ascii")


def format_token(tag: LoadTag, signature: bytes) -> str:
    """Write a tag and its 64-byte signature as a token: what `parse` reads. Raises ValueError."""
    if len(signature) != 64:
        raise ValueError(f"an Ed25519 signature has 64 bytes, not {len(signature)}")
    return f"{signed_bytes(tag).decode('ascii')}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode('ascii')}"
