"""What is drawn for a stub's answer: how long it takes, whether it fails, ids that look like theirs. Pure.

Times and errors come from a seed, one sequence for each rule: the n-th call of a rule fares the same in each run of
the sidecar. Ids must never come twice, so theirs is the system's randomness; but where a call bears an idempotency key,
they are made of that.
"""

import hashlib
import math
import random
import string
import uuid
from typing import NamedTuple

from addons.parties.rule import PartyRule

_P99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""

_ALPHABET = string.ascii_letters + string.digits

LONGEST_ID = 256


class Drawn(NamedTuple):
    """What was drawn for one call."""

    seconds: float
    fails: bool


class Draws:
    """The draws of one rule."""

    def __init__(self, rule: PartyRule, seed: str, number: int) -> None:
        self._random = random.Random(f"{seed}/{number}/{rule.match}")
        self._share = int(rule.error_share)
        self._least, self._sigma, self._most = 0.0, 0.0, 0.0
        if rule.latency is not None:
            self._least = float(rule.latency.p50)
            p99 = float(rule.latency.p99 or rule.latency.p50)
            self._sigma = math.log(p99 / self._least) / _P99
            self._most = p99 * 10

    def draw(self) -> Drawn:
        """Draw for the next call. Both are drawn for each, so that a change of one setting does not shift the other."""
        fails = self._random.randrange(1_000_000) < self._share
        seconds = self._least * math.exp(self._sigma * self._random.gauss()) if self._least else 0.0
        return Drawn(min(seconds, self._most), fails)


class Ids:
    """Ids for one answer."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    @classmethod
    def of(cls, *parts: str) -> "Ids":
        """Give the ids that always belong to these parts, and to nothing else."""
        text = b"".join(len(part).to_bytes(4) + part.encode("utf-8", "surrogateescape") for part in parts)
        return cls(random.Random(hashlib.blake2b(text).digest()))

    @classmethod
    def fresh(cls) -> "Ids":
        """Give ids that nobody had before."""
        return cls(random.SystemRandom())

    def text(self, length: int) -> str:
        """Give letters and digits, so many. Raises ValueError."""
        if not 1 <= length <= LONGEST_ID:
            raise ValueError(f"an id has 1 to {LONGEST_ID} characters, not {length}")
        return "".join(self._source.choices(_ALPHABET, k=length))

    def uuid(self) -> str:
        """Give one in the form of a random UUID (RFC 9562, 5.4)."""
        return str(uuid.UUID(int=self._source.getrandbits(128), version=4))
