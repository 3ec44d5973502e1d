"""What stands in a secret's place. Pure.

A pseudonym is a function of the secret alone, so equal secrets stay equal wherever they stand. It has the kind of the
secret, so that what parsed before parses after, and the length of its *class*, not of the secret itself:

    any text          redacted-<16 characters, the pseudonym><7, its check>---...     32, 64, 128, ... 8192 bytes
    digits alone      9999<tag><check, 2 digits><Luhn digit>                          18, 32, 64, ... digits
    a card's number   the same, in as many digits and with the blanks that it had     13 to 19 digits
    an address        redacted-<16><7>@example.invalid                                48 bytes, 64 if it was longer

No card begins with 9999 (ISO/IEC 7812: 9 is for national bodies, 999 is no country of ISO 3166), and no mail goes to
`.invalid` (RFC 2606). The check is keyed as well: a pseudonym of one's own is known again and left alone, and nobody
without the key can dress a secret up as one.
"""

import hashlib
import re
from base64 import urlsafe_b64encode

KEY_SIZE = 32
PREFIX = b"redacted-"
DOMAIN = b"@example.invalid"

_LETTER = rb"(?:[A-Za-z0-9]|[\xc3-\xf4][\x80-\xbf]{1,3})"
EMAIL = (
    rb"[A-Za-z0-9._+\x80-\xf4'-]+@"
    rb"(?:" + _LETTER + rb"(?:" + _LETTER + rb"|-)*\.)+(?:[A-Za-z]|[\xc3-\xf4][\x80-\xbf])(?:" + _LETTER + rb"|-)+"
)
"""An e-mail address, as a regular expression of bytes. Quoted names of mailboxes are not known."""

LONGEST = 8192
"""Bytes of the longest pseudonym: the last length class is for everything that is longer than half of this."""

_EMAIL = re.compile(EMAIL)
_CHARACTERS = 16
_CHECK = 7
_SHORTEST = len(PREFIX) + _CHARACTERS + _CHECK
_MARK = b"9999"
_CARD_LIKE = re.compile(rb"[2-6][0-9](?:[ -]?[0-9]){11,17}")
_NUMERIC_SHAPE = re.compile(rb"9999[0-9]{9,}")
_SHAPE = re.compile(rb"redacted-[A-Za-z0-9_-]{23}-*(?:@example\.invalid)?")

_CACHED_VALUES = 4 << 20  # bytes
_CACHED_SIZE = 4096


class Pseudonyms:
    """Gives secrets their pseudonyms under one key (32 bytes)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"the key has to be {KEY_SIZE} bytes")
        self._key = key
        # A client must not be able to fill the memory, nor to push all others out with a few large values.
        self._known: dict[bytes, bytes] = {}
        self._size = 0

    @property
    def fingerprint(self) -> str:
        """What tells keys apart and gives none away."""
        return hashlib.blake2b(b"fingerprint", key=self._key, digest_size=8).hexdigest()

    def of(self, secret: bytes) -> bytes:
        """Give the pseudonym of a secret that is not empty."""
        found = self._known.get(secret)
        if found is None:
            found = self._make(secret)
            if len(secret) <= _CACHED_SIZE:
                if self._size > _CACHED_VALUES:
                    self._known.clear()
                    self._size = 0
                self._known[secret] = found
                self._size += len(secret) + len(found)
        return found

    def number(self, secret: bytes) -> bytes:
        """Give the pseudonym of a JSON number: a number, and the one that its digits alone would get."""
        return self.of(secret) if secret.isdigit() else self._digits(secret, 18)

    def _make(self, secret: bytes) -> bytes:
        if self.owns(secret):
            return secret
        if secret.isdigit():
            size = len(secret) if is_card(secret) else _length_class(len(secret), 18)
            return self._digits(secret, size)
        if _CARD_LIKE.fullmatch(secret) and is_card(digits := _digits_of(secret)):
            return _as_written(secret, self._digits(digits, len(digits)))
        if len(secret) <= 320 and _EMAIL.fullmatch(secret):
            return self._email(secret)
        return self._text(secret, _length_class(len(secret), _SHORTEST))

    def owns(self, text: bytes) -> bool:
        """Say whether this is a pseudonym under this key."""
        if text.startswith(PREFIX):
            local = text.removesuffix(DOMAIN)
            core = local[len(PREFIX) : len(PREFIX) + _CHARACTERS]
            return local == PREFIX + core + self._check(core) + b"-" * (len(local) - _SHORTEST)
        digits = _digits_of(text) if b" " in text or b"-" in text else text
        if not _NUMERIC_SHAPE.fullmatch(digits):
            return False
        return digits[-3:] == self._numeric_end(digits[:-3])

    def _text(self, secret: bytes, size: int) -> bytes:
        core = urlsafe_b64encode(hashlib.blake2b(secret, key=self._key, digest_size=12).digest())
        return (PREFIX + core + self._check(core)).ljust(size, b"-")

    def _email(self, secret: bytes) -> bytes:
        # Names of mailboxes differ in case nowhere that mattered, and domains never do.
        local = 32 if len(secret) <= 48 else 48
        return self._text(secret.lower(), local) + DOMAIN

    def _digits(self, secret: bytes, size: int) -> bytes:
        digest = hashlib.blake2b(secret, key=self._key, person=b"digits").digest()
        tag = b"%d" % (
            int.from_bytes(digest, "big") % 10 ** (size - 7) if size <= 128 else int.from_bytes(digest, "big")
        )
        stem = _MARK + tag.rjust(size - 7, b"0")
        return stem + self._numeric_end(stem)

    def _check(self, core: bytes) -> bytes:
        digest = hashlib.blake2b(core, key=self._key, person=b"check", digest_size=6).digest()
        return urlsafe_b64encode(digest)[:_CHECK]

    def _numeric_end(self, stem: bytes) -> bytes:
        digest = hashlib.blake2b(stem, key=self._key, person=b"check", digest_size=4).digest()
        stem += b"%02d" % (int.from_bytes(digest, "big") % 100)
        return stem[-2:] + luhn_digit(stem)


class Shapes(Pseudonyms):
    """Pseudonyms under whichever key: what looks like one is left alone."""

    def __init__(self) -> None:
        super().__init__(bytes(KEY_SIZE))

    def owns(self, text: bytes) -> bool:
        """Say whether this may be a pseudonym."""
        return looks_like_pseudonym(text)


def looks_like_pseudonym(text: bytes) -> bool:
    """Say whether this may be a pseudonym, under whichever key."""
    if _SHAPE.fullmatch(text):
        return True
    digits = _digits_of(text) if b" " in text or b"-" in text else text
    return _NUMERIC_SHAPE.fullmatch(digits) is not None and luhn_digit(digits[:-1]) == digits[-1:]


def is_card(digits: bytes) -> bool:
    """Say whether this can be the number of a payment card: a network's first digits, its length, and the check digit.

    Known are Visa, Mastercard, American Express, Diners Club, Discover, JCB, UnionPay, Mir, Maestro (16 digits on).
    """
    return _IIN.fullmatch(digits) is not None and luhn_digit(digits[:-1]) == digits[-1:]


_IIN = re.compile(
    rb"4[0-9]{12}(?:[0-9]{3}|[0-9]{6})?"  # Visa
    rb"|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"  # Mastercard
    rb"|3[47][0-9]{13}"  # American Express
    rb"|3(?:0[0-5]|09|[689][0-9])[0-9]{11,16}"  # Diners Club
    rb"|35[0-9]{14,17}|220[0-4][0-9]{12,15}"  # JCB, Mir
    rb"|(?:5[0678]|6[0-9])[0-9]{14,17}"  # Discover, UnionPay, Maestro
)

_DOUBLED = bytes(b"0246813579"[byte - 48] if 48 <= byte < 58 else byte for byte in range(256))


def luhn_digit(stem: bytes) -> bytes:
    """Give the digit that makes `stem` pass (ISO/IEC 7812-1, annex B)."""
    total = sum(stem[-2::-2]) + sum(stem[::-2].translate(_DOUBLED)) - 48 * len(stem)
    return b"%d" % (-total % 10)


def _length_class(size: int, shortest: int) -> int:
    """Round a length up: to the shortest class, or a power of two."""
    if size <= shortest:
        return shortest
    return min(1 << (size - 1).bit_length(), LONGEST)


def _digits_of(text: bytes) -> bytes:
    return text.replace(b" ", b"").replace(b"-", b"")


def _as_written(like: bytes, digits: bytes) -> bytes:
    """Write digits with the blanks and hyphens of `like`."""
    rest = iter(digits)
    return bytes(next(rest) if 48 <= byte < 58 else byte for byte in like)
