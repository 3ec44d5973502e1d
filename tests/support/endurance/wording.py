"""What is asked, and the only right answer to it."""

import zlib
from random import Random
from typing import NamedTuple

GET, POST, CHUNKED = "GET", "POST", "chunked POST"


class Asked(NamedTuple):
    """One request. Its number makes it and its answer unlike any other."""

    number: int
    kind: str
    sent: int
    """Bytes of its body."""
    wanted: int
    """Bytes that the answer is to have beside its first line."""
    in_chunks: bool
    """Whether the answer is to come in chunks."""
    aborts: bool
    """Whether the client hangs up before it is answered."""
    last: bool
    """Whether the client takes a new connection after it."""

    @property
    def repeatable(self) -> bool:
        return self.kind == GET

    def body(self) -> bytes:
        return filler(self.number, self.sent)

    def wire(self) -> bytes:
        """The request as it is sent."""
        method = b"GET" if self.kind == GET else b"POST"
        line = b"%b /%d?%d%b HTTP/1.1\r\nhost: shop\r\n" % (method, self.number, self.wanted, b"c" * self.in_chunks)
        if self.kind == GET:
            return line + b"\r\n"
        body = self.body()
        if self.kind == POST:
            return line + b"content-length: %d\r\n\r\n" % len(body) + body
        middle = len(body) // 3
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:middle], body[middle:]) if part)
        return line + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"

    def answer(self) -> bytes:
        return answer(self.number, self.sent, zlib.crc32(self.body()) if self.sent else 0, self.wanted)


def filler(number: int, size: int) -> bytes:
    """Bytes that nobody else's number makes."""
    if not size:
        return b""
    word = b"%d," % number
    return (word * (size // len(word) + 1))[:size]


def answer(number: int, received: int, checksum: int, wanted: int) -> bytes:
    """What the app says."""
    return b"%d %d %08x\n" % (number, received, checksum) + filler(number, wanted)


def plan(number: int, choice: Random) -> Asked:
    """Make up a request: most are small, some are large or chunked, some clients hang up."""
    aborts, last = choice.random() < 0.01, choice.random() < 0.03
    kind, wanted = choice.random(), 20
    if kind < 0.60:
        return Asked(number, GET, 0, choice.choice((0, 20, 200, 2000)), choice.random() < 0.1, aborts, last)
    if kind < 0.90:
        return Asked(number, POST, choice.choice((1, 20, 500, 3000)), wanted, False, aborts, last)
    if kind < 0.97:
        return Asked(number, CHUNKED, choice.choice((2, 500, 3000)), wanted, choice.random() < 0.5, aborts, last)
    if kind < 0.985:
        return Asked(number, GET, 0, choice.randint(60_000, 150_000), choice.random() < 0.5, aborts, last)
    if kind < 0.995:
        return Asked(number, POST, choice.randint(60_000, 150_000), wanted, False, aborts, last)
    return Asked(number, CHUNKED, choice.randint(60_000, 150_000), 70_000, True, aborts, last)
