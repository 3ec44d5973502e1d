"""The dark answer beside the real one. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

import google_crc32c


class Aspect(StrEnum):
    """What of two answers is compared."""

    STATUS = "status"
    SIZE = "size"
    BODY_HASH = "body-hash"


class Aspects(tuple[Aspect, ...]):
    """Some of them, as people write them: ``status,size,body-hash``."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read them. Raises ValueError."""
        known = {aspect.value: aspect for aspect in Aspect}
        named = [part.strip() for part in text.split(",") if part.strip()]
        if wrong := [name for name in named if name not in known]:
            raise ValueError(f"{wrong[0]!r} can't be compared: name some of {', '.join(known)}")
        return cls(aspect for name, aspect in known.items() if name in named)

    def __str__(self) -> str:
        return ",".join(self)


class Answer(NamedTuple):
    """What is compared of an answer."""

    status: int
    size: int
    """Bytes of its body, as they were sent: compressed, if they were."""
    checksum: int
    """CRC-32C of them."""


def differing(aspects: Iterable[Aspect], real: Answer, dark: Answer) -> list[Aspect]:
    """List what differs."""
    values = {Aspect.STATUS: 0, Aspect.SIZE: 1, Aspect.BODY_HASH: 2}
    return [aspect for aspect in aspects if real[values[aspect]] != dark[values[aspect]]]


def words(method: str, path: str, aspects: Sequence[Aspect], real: Answer, dark: Answer) -> str:
    """Say what differs, for a log. `path` without its query, which may hold secrets."""

    def one(aspect: Aspect) -> str:
        if aspect is Aspect.STATUS:
            return f"status {real.status}, dark {dark.status}"
        if aspect is Aspect.SIZE:
            return f"{real.size} bytes, dark {dark.size}"
        return "another body"

    return f"{method} {path}: {'; '.join(map(one, aspects))}"


class Checksum:
    """Adds up a body that comes in pieces.

    CRC-32C: what two honest programs answer is compared, and it costs next to nothing (some microseconds for 64 KiB).
    """

    __slots__ = ("size", "value")

    def __init__(self) -> None:
        self.size = self.value = 0

    def __call__(self, piece: bytes) -> None:
        """Add a piece."""
        self.size += len(piece)
        self.value = google_crc32c.extend(self.value, bytes(piece))


def checksum(body: bytes) -> int:
    """Give the CRC-32C of a body."""
    return int(google_crc32c.value(body))
