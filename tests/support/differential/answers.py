"""What apps may answer: valid, odd and broken. A case is the app's very bytes, and how it goes on after them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.support.differential.origin import SCRIPTED, Script

End = Literal["keep", "close", "reset"]


@dataclass(frozen=True)
class AnswerCase:
    """An answer, and the request that it is given to."""

    name: str
    script: Script
    method: bytes = b"GET"
    waits: bool = False
    """Whether the client keeps back half of its body."""
    cut: bool = False
    """Whether the answer is not whole: no client may take it for whole."""
    chance: bool = False
    """Whether what a proxy makes of it depends on what comes first: the answer's end or the request's."""

    @property
    def group(self) -> str:
        return "cut short" if self.cut else "then closed" if self.script.end == "close" else "then kept"

    @property
    def slug(self) -> bytes:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).encode()

    @property
    def target(self) -> bytes:
        return SCRIPTED + self.slug

    @property
    def request(self) -> bytes:
        """What the client sends."""
        head = self.method + b" " + self.target + b" HTTP/1.1\r\nHost: shop.example\r\n"
        if self.method == b"POST":
            sent = 120_000 if self.waits else 200_000
            return head + b"Content-Length: 200000\r\n\r\n" + b"x" * sent
        return head + b"\r\n"


def ok(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    """Make an answer with just these fields."""
    return b"\r\n".join((version + b" " + status, *lines, b"", b"")) + body


def sized(body: bytes = b"hello", *lines: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    """Make an answer with the right length."""
    return ok(b"Content-Length: %d" % len(body), *lines, body=body, status=status, version=version)


def chunked(body: bytes, *lines: bytes) -> bytes:
    """Make an answer with a chunked body, given as it is on the wire."""
    return ok(b"Transfer-Encoding: chunked", *lines, body=body)


ANOTHER = sized(b"smuggled")
"""An answer that nobody asked for."""

# name: the bytes, and what the app does after them
_KEPT: dict[str, bytes] = {
    "plain": sized(),
    "empty": sized(b""),
    "200 KiB": sized(b"x" * 200_000),
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + sized(),
    "102 first": b"HTTP/1.1 102 Processing\r\n\r\n" + sized(),
    "103 first": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + sized(),
    "three 1xx first": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + sized(),
    "1xx with a length": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + sized(),
    "101 that nobody asked for": ok(b"Upgrade: x", b"Connection: Upgrade", status=b"101 Switching Protocols"),
    "204": ok(status=b"204 No Content"),
    "204 with a length": ok(b"Content-Length: 5", status=b"204 No Content"),
    "204 with length 0": ok(b"Content-Length: 0", status=b"204 No Content"),
    "204 chunked": ok(b"Transfer-Encoding: chunked", status=b"204 No Content"),
    "204 with a body": sized(status=b"204 No Content"),
    "205": sized(b"", status=b"205 Reset Content"),
    "304": ok(b'ETag: "x"', status=b"304 Not Modified"),
    "304 with a length": ok(b"Content-Length: 5", status=b"304 Not Modified"),
    "304 chunked": ok(b"Transfer-Encoding: chunked", status=b"304 Not Modified"),
    "304 with a body": sized(status=b"304 Not Modified"),
    "chunked": chunked(b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked empty": chunked(b"0\r\n\r\n"),
    "chunked with a trailer": chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    "chunked with an announced trailer": chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"Trailer: X-Sum"),
    "chunked with an extension": chunked(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    "chunked with leading zeros": chunked(b"0005\r\nhello\r\n0000\r\n\r\n"),
    "Chunked in capitals": ok(b"TRANSFER-ENCODING: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked of 100 pieces": chunked(b"1\r\nx\r\n" * 100 + b"0\r\n\r\n"),
    "chunked with bare LF": chunked(b"5\nhello\n0\n\n"),
    "chunked with blanks after the size": chunked(b"5  \r\nhello\r\n0\r\n\r\n"),
    "equal lengths": ok(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "equal lengths in a list": ok(b"Content-Length: 5, 5", body=b"hello"),
    "coding and length": ok(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "length and coding": ok(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "length with a leading zero": ok(b"Content-Length: 05", body=b"hello"),
    "another after it": sized() + ANOTHER,
    "another after a chunked one": chunked(b"5\r\nhello\r\n0\r\n\r\n") + ANOTHER,
    "bytes after it": sized() + b"and more",
    "a blank line after it": sized() + b"\r\n",
    "no reason": sized(status=b"200 "),
    "no reason and no blank": sized(status=b"200"),
    "a long reason": sized(status=b"200 " + b"fine " * 100),
    "a reason with high bytes": sized(status=b"200 tr\xc3\xa8s bien"),
    "status 299": sized(status=b"299 Odd"),
    "status 418": sized(status=b"418 Teapot"),
    "status 500": sized(status=b"500 Broken"),
    "status 599": sized(status=b"599 Odd"),
    "status 600": sized(status=b"600 Odd"),
    "status 999": sized(status=b"999 Odd"),
    "folded field": sized(b"hello", b"X-A: a\r\n b"),
    "a field without colon": sized(b"hello", b"X-A"),
    "a field with a blank before the colon": sized(b"hello", b"X-A : 1"),
    "length with a blank before the colon": ok(b"Content-Length : 5", body=b"hello"),
    "a field with brackets": sized(b"hello", b"X(A): 1"),
    "a NUL in a value": sized(b"hello", b"X-A: a\x00b"),
    "a control character in a value": sized(b"hello", b"X-A: a\x01b"),
    "a bare CR in a value": sized(b"hello", b"X-A: a\rb"),
    "high bytes in a value": sized(b"hello", b"X-A: \xc3\xa9"),
    "an empty value": sized(b"hello", b"X-A:"),
    "bare LF": sized().replace(b"\r\n", b"\n"),
    "two Set-Cookie": sized(b"hello", b"Set-Cookie: a=1", b"Set-Cookie: b=2"),
    "300 fields": sized(b"hello", *(b"X-%d: 1" % number for number in range(300))),
    "3 KiB field": sized(b"hello", b"X-A: " + b"x" * 3000),
    "Connection: keep-alive": sized(b"hello", b"Connection: keep-alive"),
    "Connection: x-a": sized(b"hello", b"Connection: x-a", b"X-A: 1"),
    "1.0 keep-alive": sized(b"hello", b"Connection: keep-alive", version=b"HTTP/1.0"),
    "Upgrade offered": sized(b"hello", b"Upgrade: h2c", b"Connection: Upgrade"),
}

_CLOSED: dict[str, bytes] = {
    "until close": ok(body=b"hello"),
    "until close, 1.0": ok(body=b"hello", version=b"HTTP/1.0"),
    "until close, 200 KiB": ok(body=b"x" * 200_000),
    "until close, empty": ok(),
    "identity until close": ok(b"Transfer-Encoding: identity", body=b"hello"),
    "Connection: close": sized(b"hello", b"Connection: close"),
    "Connection: close chunked": chunked(b"5\r\nhello\r\n0\r\n\r\n", b"Connection: close"),
    "length, then closed": sized(),
    "1.0": sized(version=b"HTTP/1.0"),
    "1.0 chunked": ok(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", version=b"HTTP/1.0"),
    "1.2": sized(version=b"HTTP/1.2"),
    "2.0": sized(version=b"HTTP/2.0"),
    "gzip coding": ok(b"Transfer-Encoding: gzip", body=b"hello"),
    "unknown coding": ok(b"Transfer-Encoding: cow", body=b"hello"),
    "chunked twice": ok(b"Transfer-Encoding: chunked, chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked hidden by a vertical tab": ok(b"Transfer-Encoding: \x0bchunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "different lengths": ok(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
    "different lengths in a list": ok(b"Content-Length: 5, 6", body=b"hello!"),
    "length is a word": ok(b"Content-Length: five", body=b"hello"),
    "length is negative": ok(b"Content-Length: -5", body=b"hello"),
    "length with a plus": ok(b"Content-Length: +5", body=b"hello"),
    "length is empty": ok(b"Content-Length:", body=b"hello"),
    "huge length": ok(b"Content-Length: " + b"9" * 30, body=b"hello"),
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "only a 1xx": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "noise": b"what?\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "ICY": b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "small letters": b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a blank line first": b"\r\n" + sized(),
    "status 099": sized(status=b"099 Odd"),
    "status 20": sized(status=b"20 Odd"),
    "status 2000": sized(status=b"2000 Odd"),
    "status is a word": sized(status=b"fine OK"),
    "a NUL in a name": sized(b"hello", b"X\x00A: 1"),
    "100 KiB head": sized(b"hello", b"X-A: " + b"x" * 100_000),
    "300 KiB head": sized(b"hello", b"X-A: " + b"x" * 300_000),
}

_CUT: dict[str, tuple[bytes, End]] = {
    "short body": (ok(b"Content-Length: 10", body=b"hello"), "close"),
    "short body, reset": (ok(b"Content-Length: 10", body=b"hello"), "reset"),
    "no body at all": (ok(b"Content-Length: 10"), "close"),
    "short body of 200 KiB": (ok(b"Content-Length: 200000", body=b"x" * 150_000), "close"),
    "short body of 200 KiB, reset": (ok(b"Content-Length: 200000", body=b"x" * 150_000), "reset"),
    "chunked, cut in the data": (chunked(b"5\r\nhel"), "close"),
    "chunked, cut after the data": (chunked(b"5\r\nhello"), "close"),
    "chunked, cut before the last": (chunked(b"5\r\nhello\r\n"), "close"),
    "chunked, cut in the last": (chunked(b"5\r\nhello\r\n0\r\n"), "close"),
    "chunked, cut, reset": (chunked(b"5\r\nhello\r\n"), "reset"),
    "chunked, bad size": (chunked(b"5\r\nhello\r\nx\r\n\r\n"), "close"),
    "chunked, size too small": (chunked(b"4\r\nhello\r\n0\r\n\r\n"), "close"),
    "chunked, huge size": (chunked(b"5\r\nhello\r\n" + b"f" * 20 + b"\r\n"), "close"),
    "reset at once": (b"", "reset"),
    "reset after a 1xx": (b"HTTP/1.1 103 Early Hints\r\n\r\n", "reset"),
}


def _cases() -> Iterator[AnswerCase]:
    for name, data in _KEPT.items():
        yield AnswerCase(name, Script((data,)))
    for name, data in _CLOSED.items():
        yield AnswerCase(name, Script((data,), "close"))
    for name, (data, end) in _CUT.items():
        yield AnswerCase(name, Script((data,), end), cut=True)
    heads: tuple[tuple[str, bytes, End], ...] = (
        ("HEAD", ok(b"Content-Length: 5"), "keep"),
        ("HEAD chunked", ok(b"Transfer-Encoding: chunked"), "keep"),
        ("HEAD without length", ok(), "keep"),
        ("HEAD with a body", sized(), "keep"),
        ("HEAD, closed", ok(b"Content-Length: 5", b"Connection: close"), "close"),
        ("HEAD after 103", b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"Content-Length: 5"), "keep"),
        ("HEAD with both framings", ok(b"Content-Length: 5", b"Transfer-Encoding: chunked"), "keep"),
        ("HEAD 304", ok(b"Content-Length: 5", status=b"304 Not Modified"), "keep"),
        ("HEAD nothing", b"", "close"),
    )
    for name, data, end in heads:
        yield AnswerCase(name, Script((data,), end), b"HEAD")
    early = sized(b"no", status=b"413 Too Large")
    yield AnswerCase("early, kept", Script((early,), early=True), b"POST", chance=True)
    yield AnswerCase("early, closed", Script((early,), "close", early=True), b"POST", chance=True)
    yield AnswerCase("early, the client waits", Script((early,), early=True), b"POST", waits=True)
    yield AnswerCase(
        "early, the client waits, closed", Script((early,), "close", early=True), b"POST", waits=True, chance=True
    )
    yield AnswerCase("100 Continue, the client waits", Script((b"HTTP/1.1 100 Continue\r\n\r\n" + early,), early=True),
                     b"POST", waits=True)  # fmt: skip
    yield AnswerCase("POST", Script((sized(),)), b"POST")
    yield AnswerCase("POST, nothing", Script((b"",), "close"), b"POST")
    yield AnswerCase("POST, reset", Script((b"",), "reset"), b"POST")


ANSWERS = list(_cases())
SCRIPTS = {case.target: case.script for case in ANSWERS}
