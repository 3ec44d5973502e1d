"""Blocks under lock and key: the payload of a frame, encrypted so that nobody can change or move it unnoticed. Pure.

Each segment has a data key of its own, 32 random bytes that exist only in the memory of who writes the segment and,
wrapped by `keyring` to those who may read, in its header. A block is encrypted with ChaCha20-Poly1305 (RFC 8439):

    nonce    4 zero bytes, 8 bytes: the block's number in the segment, from 0. Never used twice under one key
    covered  SHA-256 of the segment's header, and the frame's head up to its checksum: times, count and codec

ChaCha20-Poly1305 and not AES-GCM, because age itself rests on it already, it is fast and without side channels on
machines that have no instructions for AES, and compressed blocks are few bytes a second. The number is stored before
the ciphertext and not counted from the place in the file, so that a lost block costs only itself.

The footer carries a tag made with the same key, by keyed BLAKE2b (RFC 7693): whoever has the key can tell that index
and accounts are those of the writer, so that no block was taken away. (That needs no nonce: a segment that is repaired
gets a second footer under the same key.) That a whole segment was put in by somebody else who knows the recipients does
not show: age says who can read, not who wrote.
"""

import hashlib
import secrets
from hmac import compare_digest
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import BaseModel, ConfigDict, Field

from captures.errors import CaptureError

SCHEME = "age+chacha20poly1305"
KEY = 32
NUMBER = 8
"""Bytes before the ciphertext: the block's number."""
TAG = 16
OVERHEAD = NUMBER + TAG
"""Bytes that a sealed payload is longer than what is in it."""

FOOTER_TAG = 32

_BLOCK, _FOOTER = b"reamp block\0", b"reamp footer"
_MAX_NUMBER = 1 << 63

_SEALED, _PLAIN = b"x", b"z"


class Encryption(BaseModel):
    """What a header says about how its segment's blocks are encrypted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scheme: str = Field(description="how blocks are encrypted")
    key: str = Field(description="the data key, as an age file in age's armor")
    recipients: list[str] = Field(
        description="to whom, in short: enough to know an own key by, not enough to encrypt to it"
    )


def new_key() -> bytes:
    """Draw a data key."""
    return secrets.token_bytes(KEY)


def is_sealed(codec: bytes) -> bool:
    """Whether a frame with this codec holds a sealed payload: `xstd` is a sealed `zstd`."""
    return codec[:1] == _SEALED


def sealed_name(codec: bytes) -> bytes:
    """Name the codec of a sealed block whose content has `codec`: the first letter says it."""
    if codec[:1] != _PLAIN:
        raise ValueError(f"a block with codec {codec!r} cannot be sealed")
    return _SEALED + codec[1:]


def plain_name(codec: bytes) -> bytes:
    """Name the codec of what is in a sealed block."""
    return _PLAIN + codec[1:]


def number_of(payload: bytes) -> int | None:
    """Give the number that a sealed payload claims, without any key; None if it is too short to be one."""
    if len(payload) < OVERHEAD:
        return None
    number = int.from_bytes(payload[:NUMBER])
    return number if number < _MAX_NUMBER else None


class Seal:
    """Seals and opens the blocks of one segment: `header` is the segment's whole header, as it stands in the file."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._key = key
        self._cipher = ChaCha20Poly1305(key)
        self._segment = hashlib.sha256(header).digest()
        self._next = 0

    def seal(self, head: bytes, number: int, payload: bytes) -> bytes:
        """Encrypt block `number`. `head` is its frame's head up to the checksum, codec included.

        Numbers only rise: a second text under the same number would give both away. Raises ValueError if they do not.
        """
        if not self._next <= number < _MAX_NUMBER:
            raise ValueError(f"block {number} cannot be sealed: {self._next} is next")
        self._next = number + 1
        stored = number.to_bytes(NUMBER)
        return stored + self._cipher.encrypt(bytes(4) + stored, payload, self._covered(head))

    def open(self, head: bytes, payload: bytes) -> bytes:
        """Decrypt a block. Raises CaptureError if it is not, byte for byte, one that was sealed for this segment."""
        number = number_of(payload)
        if number is None:
            raise CaptureError("the encrypted block is too short to be one")
        try:
            return self._cipher.decrypt(bytes(4) + payload[:NUMBER], payload[NUMBER:], self._covered(head))
        except InvalidTag:
            raise CaptureError(
                f"block {number} is not the one that was sealed here: it was changed, or comes from another segment"
            ) from None

    def sign(self, footer: bytes) -> bytes:
        """Make the tag for a footer's bytes."""
        return self._tag(footer)

    def signed(self, footer: bytes, tag: bytes) -> bool:
        """Whether `tag` was made for these bytes, with this key, in this segment."""
        return compare_digest(self._tag(footer), tag)

    def _tag(self, footer: bytes) -> bytes:
        return hashlib.blake2b(self._segment + footer, digest_size=FOOTER_TAG, key=self._key, person=_FOOTER).digest()

    def _covered(self, head: bytes) -> bytes:
        return _BLOCK + self._segment + head


class Lock(Protocol):
    """What stands between a reader and the blocks of one encrypted segment."""

    @property
    def seal(self) -> Seal | None:
        """The segment's seal; None if no identity was given that unwraps its key."""
        ...
