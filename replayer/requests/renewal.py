"""Idempotency keys, new for every copy of a request that is sent. Pure.

A server that has seen a key answers a write without doing it again: a replay with recorded keys would measure a lookup.
A new key is derived from the run, the round through the recording, the number of the copy, and the recorded key. So it
is the same whichever process of a run makes it; another run never repeats it; and what a client of the recording sent
twice with one key is sent twice with one key again, and swallowed as it was then.
"""

import re
from functools import lru_cache
from hashlib import blake2b

_HEX = re.compile(rb"[0-9a-fA-F]{32}")


@lru_cache(maxsize=16)
def _key(run_id: str) -> bytes:
    return blake2b(run_id.encode(), digest_size=32).digest()


def renewed(recorded: bytes, run_id: str, round_: int, copy: int) -> bytes:
    """Give the key of a copy: a random-looking UUID, or 32 hexadecimal digits if it was; in quotes if it was.

    `copy` counts from 0, and so does `round_`.
    """
    place = round_.to_bytes(8) + copy.to_bytes(8)
    digits = blake2b(recorded, key=_key(run_id), salt=place, digest_size=16).hexdigest()
    bare = recorded.strip(b' \t"')
    if not _HEX.fullmatch(bare):
        # Version 4, variant 1 (RFC 9562, 5.4).
        variant = "89ab"[int(digits[16], 16) % 4]
        digits = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
    return b'"%b"' % digits.encode() if recorded.strip(b" \t").startswith(b'"') else digits.encode()
