"""What clients may send: valid, odd and hostile. A case is bytes and a name; ``/@`` in them becomes the name.

Each table reads as "name: what is special about it"; a function makes whole requests of it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Then = Literal["", "half-close", "close"]


@dataclass(frozen=True)
class Case:
    """Some bytes of one client, and whether it says that it will send no more (or goes away) right after them."""

    name: str
    data: bytes
    then: Then = ""

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]


def get(*lines: bytes, target: bytes = b"/@", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    """Make a request without a body."""
    return b"\r\n".join((method + b" " + target + b" " + version, b"Host: shop.example", *lines, b"", b""))


def post(*lines: bytes, body: bytes = b"", **changes: bytes) -> bytes:
    """Make a request with whatever body and length it is told to have."""
    return get(*lines, **{"method": b"POST", **changes}) + body


def sized(body: bytes = b"hello", *lines: bytes, **changes: bytes) -> bytes:
    """Make a request whose body has its right length."""
    return post(b"Content-Length: %d" % len(body), *lines, body=body, **changes)


def chunked(body: bytes = b"5\r\nhello\r\n0\r\n\r\n", *lines: bytes, **changes: bytes) -> bytes:
    """Make a request with a chunked body, given as it is on the wire."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body, **changes)


FOLLOWING = get(target=b"/@/smuggled")
"""What an attacker wants to be a request of its own, or not to be one."""


def _methods() -> Iterator[tuple[str, bytes]]:
    for method in b"GET HEAD OPTIONS DELETE TRACE PROPFIND PURGE M-SEARCH get gEt A !#$%&'*+-.^_`|~ FOO_BAR".split():
        yield method.decode(), get(method=method)
    for method in b"POST PUT PATCH DELETE GET OPTIONS".split():
        yield method.decode() + " with body", sized(method=method)
        yield method.decode() + " chunked", chunked(method=method)
    yield "HEAD twice", get(method=b"HEAD") + get(method=b"HEAD", target=b"/@/2")
    yield "HEAD then GET", get(method=b"HEAD") + get(target=b"/@/2")
    yield "long", get(method=b"X" * 300)
    for name, method in {"brackets": b"G(T", "colon": b"GET:", "high byte": b"G\xc4T", "NUL": b"G\x00T"}.items():
        yield name, get(method=method)
    for name, target in {"host and port": b"shop:443", "path": b"/@", "none": b""}.items():
        yield "CONNECT " + name, get(method=b"CONNECT", target=target)
    yield "CONNECT then smuggled", get(method=b"CONNECT", target=b"shop:443") + FOLLOWING


_TARGETS = {
    "root": b"/",
    "query": b"/@?a=1&b=%20",
    "empty query": b"/@?",
    "only query": b"/?x",
    "fragment": b"/@#part",
    "dots": b"/@/a/../b/./c",
    "dots out of it": b"/../../@",
    "slashes": b"//@//x//",
    "encoded slash": b"/@/a%2fb%2F",
    "encoded NUL": b"/@/%00",
    "encoded line end": b"/@/%0d%0aX:%20y",
    "bad encoding": b"/@/%zz",
    "half an encoding": b"/@/%",
    "reserved characters": b"/@/!$&'()*+,;=:@",
    "unwise characters": b'/@/{}|\\^[]`"<>',
    "backslash": b"\\@",
    "colon": b"/@:80",
    "high bytes": b"/@/\xc3\xa9\xff",
    "NUL": b"/@/\x00",
    "DEL": b"/@/\x7f",
    "control character": b"/@/\x01",
    "tab": b"/@\tx",
    "blank": b"/@ x",
    "blanks around": b" /@ ",
    "bare CR": b"/@\rx",
    "vertical tab": b"/@\x0bx",
    "form feed": b"/@\x0cx",
    "asterisk": b"*",
    "empty": b"",
    "word": b"@",
    "absolute": b"http://shop.example/@",
    "absolute other host": b"http://other.example/@",
    "absolute with port": b"http://shop.example:8080/@?q",
    "absolute without path": b"http://shop.example",
    "absolute query without path": b"http://shop.example?q",
    "absolute capitals": b"HTTP://Shop.Example/@",
    "absolute https": b"https://shop.example/@",
    "absolute ftp": b"ftp://shop.example/@",
    "absolute userinfo": b"http://user:pw@shop.example/@",
    "absolute IPv6": b"http://[::1]:80/@",
    "absolute bad port": b"http://shop.example:99999/@",
    "absolute empty host": b"http:///@",
    "authority": b"shop.example:80",
    "1 KiB": b"/@/" + b"x" * 1024,
    "8 KiB": b"/@/" + b"x" * 8192,
    "64 KiB": b"/@/" + b"x" * 65536,
}


def _targets() -> Iterator[tuple[str, bytes]]:
    for name, target in _TARGETS.items():
        yield name, get(target=target)
    yield "OPTIONS asterisk", get(method=b"OPTIONS", target=b"*")


def _versions() -> Iterator[tuple[str, bytes]]:
    for version in ("HTTP/1.0", "HTTP/1.2", "HTTP/1.9", "HTTP/0.9", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/11.1"):
        yield version, get(version=version.encode())
    for version in (
        "http/1.1",
        "HTTP/1.",
        "HTTP/1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP 1.1",
        "HTTPS/1.1",
        "HTTP/1,1",
        "X",
    ):
        yield version, get(version=version.encode())
    yield "HTTP/1.1 and a blank", get(version=b"HTTP/1.1 ")
    yield "HTTP/1.1 and a tab", get(version=b"HTTP/1.1\t")
    yield "1.0 keep-alive", get(b"Connection: keep-alive", version=b"HTTP/1.0")
    yield "1.0 keep-alive twice", get(b"Connection: keep-alive", version=b"HTTP/1.0") + get(target=b"/@/2")
    yield "1.0 with body", sized(version=b"HTTP/1.0")
    yield "1.0 chunked", chunked(version=b"HTTP/1.0")
    yield "1.0 then smuggled", get(version=b"HTTP/1.0") + FOLLOWING
    yield "1.0 without Host", b"GET /@ HTTP/1.0\r\n\r\n"
    yield "0.9", b"GET /@\r\n"
    yield "0.9 with a blank", b"GET /@ \r\n\r\n"
    yield "0.9 then smuggled", b"GET /@\r\n" + FOLLOWING


_LINES: dict[str, Callable[[bytes], bytes]] = {
    "bare LF": lambda data: data.replace(b"\r\n", b"\n"),
    "bare LF after the request line": lambda data: data.replace(b"\r\n", b"\n", 1),
    "bare LF at the end": lambda data: data.replace(b"\r\n\r\n", b"\r\n\n"),
    "bare LF twice at the end": lambda data: data.replace(b"\r\n\r\n", b"\n\n"),
    "LF CR LF at the end": lambda data: data.replace(b"\r\n\r\n", b"\n\r\n"),
    "bare CR": lambda data: data.replace(b"\r\n", b"\r"),
    "bare CR after the request line": lambda data: data.replace(b"\r\n", b"\r", 1),
    "bare CR in the first field": lambda data: data.replace(b"shop.example", b"shop\r.example", 1),
    "CR CR LF": lambda data: data.replace(b"\r\n", b"\r\r\n"),
    "CR CR LF once": lambda data: data.replace(b"\r\n", b"\r\r\n", 1),
    "LF CR": lambda data: data.replace(b"\r\n", b"\n\r"),
    "one blank line first": lambda data: b"\r\n" + data,
    "three blank lines first": lambda data: b"\r\n\r\n\r\n" + data,
    "blank LF lines first": lambda data: b"\n\n" + data,
    "a CR first": lambda data: b"\r" + data,
    "a blank first": lambda data: b" " + data,
    "a tab first": lambda data: b"\t" + data,
    "a NUL first": lambda data: b"\x00" + data,
    "a byte order mark first": lambda data: b"\xef\xbb\xbf" + data,
    "two blanks": lambda data: data.replace(b" ", b"  "),
    "tabs for blanks": lambda data: data.replace(b" ", b"\t", 2),
    "no blank before the version": lambda data: data.replace(b" HTTP", b"HTTP"),
    "a blank before the first field": lambda data: data.replace(b"Host", b" Host"),
    "a tab before the first field": lambda data: data.replace(b"Host", b"\tHost"),
    "no empty line": lambda data: data[:-2],
    "only the request line": lambda data: data.partition(b"\r\n")[0] + b"\r\n\r\n",
    "a line of blanks": lambda data: data.replace(b"\r\n\r\n", b"\r\n \r\n\r\n"),
}


def _lines() -> Iterator[tuple[str, bytes]]:
    for name, change in _LINES.items():
        yield name, change(get(b"X-Last: 1"))
    yield "nothing", b""
    yield "blank lines only", b"\r\n\r\n"
    yield "blank lines between", get() + b"\r\n\r\n" + get(target=b"/@/2")
    yield "bare LF with body", sized().replace(b"\r\n", b"\n")
    yield "CR CR LF then smuggled", get(b"X-Last: 1\r") + FOLLOWING
    yield "bare CR smuggles a field", get(b"X-A: b\rTransfer-Encoding: chunked") + b"0\r\n\r\n"
    yield "bare CR smuggles a request", get(b"X-A: b\r\rGET /@/smuggled HTTP/1.1\rHost: a\r\r")
    yield "half a request line", b"GET /@"
    yield "half a field", b"GET /@ HTTP/1.1\r\nHos"
    yield "noise", bytes(range(256)) + b"\r\n\r\n"
    yield "noise without line end", bytes(range(14, 256))


_FIELDS = {
    "blank before the colon": b"X-A : 1",
    "tab before the colon": b"X-A\t: 1",
    "no blank after the colon": b"X-A:1",
    "blanks and tabs around": b"X-A: \t 1 \t ",
    "empty value": b"X-A:",
    "only a blank": b"X-A: ",
    "empty name": b": 1",
    "no colon": b"X-A",
    "only a colon": b":",
    "twice": b"X-A: 1\r\nX-A: 2",
    "twice in two cases": b"x-a: 1\r\nX-A: 1",
    "underscore": b"X_A: 1",
    "every token character": b"!#$%&'*+-.^_`|~09AZaz: 1",
    "brackets in the name": b"X(A): 1",
    "slash in the name": b"X/A: 1",
    "quote in the name": b'X"A: 1',
    "blank in the name": b"X A: 1",
    "high byte in the name": b"X\xc4A: 1",
    "NUL in the name": b"X\x00A: 1",
    "control character in the name": b"X\x01A: 1",
    "high bytes in the value": b"X-A: \xc3\xa9\xff\x80",
    "NUL in the value": b"X-A: a\x00b",
    "NUL as the value": b"X-A: \x00",
    "control character in the value": b"X-A: a\x01b",
    "DEL in the value": b"X-A: a\x7fb",
    "tab in the value": b"X-A: a\tb",
    "vertical tab in the value": b"X-A: a\x0bb",
    "form feed at the ends": b"X-A: \x0ca\x0c",
    "non-breaking blanks at the ends": b"X-A: \xa0a\xa0",
    "NEL at the ends": b"X-A: \x85a\x85",
    "bare CR in the value": b"X-A: a\rb",
    "bare CR at the end of the value": b"X-A: a\r",
    "folded": b"X-A: a\r\n b",
    "folded with a tab": b"X-A: a\r\n\tb",
    "folded twice": b"X-A: a\r\n b\r\n  c",
    "folded to nothing": b"X-A: a\r\n ",
    "folded at once": b"X-A:\r\n b",
    "folded length": b"X-A: a\r\n Content-Length: 5",
    "colon in the value": b"X-A: a:b:c",
    "comma list": b"X-A: a, b,,c",
    "cookies": b"Cookie: a=1; b=2\r\nCookie: c=3",
    "TE": b"TE: trailers",
    "Trailer": b"Trailer: X-Sum",
    "Keep-Alive": b"Keep-Alive: timeout=5",
    "Via": b"Via: 1.1 other",
    "Max-Forwards": b"Max-Forwards: 0",
    "X-Forwarded-For": b"X-Forwarded-For: 203.0.113.9",
    "Range": b"Range: bytes=0-1",
    "If-None-Match": b'If-None-Match: "x"',
    "100 fields": b"\r\n".join(b"X-%d: %d" % (number, number) for number in range(100)),
    "600 fields": b"\r\n".join(b"X-%d: %d" % (number, number) for number in range(600)),
    "8 KiB": b"X-A: " + b"x" * 8192,
    "100 KiB": b"X-A: " + b"x" * 102_400,
    "100 KiB in many": b"\r\n".join(b"X-%d: " % number + b"x" * 4096 for number in range(25)),
    "200 KiB": b"X-A: " + b"x" * 204_800,
    "long name": b"X" * 8192 + b": 1",
}


def _fields() -> Iterator[tuple[str, bytes]]:
    for name, line in _FIELDS.items():
        yield name, get(line)


_LENGTHS = {
    "equal twice": (b"5", b"5"),
    "different": (b"5", b"6"),
    "different, the first is 0": (b"0", b"5"),
    "equal list": (b"5, 5",),
    "different list": (b"5, 6",),
    "list without blanks": (b"5,5",),
    "empty member": (b"5,",),
    "plus": (b"+5",),
    "minus": (b"-5",),
    "minus 0": (b"-0",),
    "hexadecimal": (b"0x5",),
    "leading zero": (b"05",),
    "many leading zeros": (b"0" * 40 + b"5",),
    "empty": (b"",),
    "word": (b"five",),
    "fraction": (b"5.0",),
    "exponent": (b"5e0",),
    "underscore": (b"0_5",),
    "inner blank": (b"5 5",),
    "blanks around": (b"  5  ",),
    "tabs around": (b"\t5\t",),
    "vertical tab": (b"\x0b5",),
    "NUL": (b"5\x00",),
    "non-breaking blank": (b"\xa05",),
    "other digits": ("\u0665".encode(),),
    "superscript": (b"\xb2",),
    "semicolon": (b"5;",),
    "quotes": (b'"5"',),
    "huge": (b"9" * 30,),
    "2^63": (b"9223372036854775808",),
    "2^64 + 5": (b"18446744073709551621",),
    "2^32 + 5": (b"4294967301",),
}


def _lengths() -> Iterator[tuple[str, bytes]]:
    for name, lengths in _LENGTHS.items():
        yield name, post(*(b"Content-Length: " + length for length in lengths), body=b"hello" + FOLLOWING)
    yield "0", post(b"Content-Length: 0")
    yield "0 and a body", post(b"Content-Length: 0", body=FOLLOWING)
    yield "none", post()
    yield "none and a body", post(body=FOLLOWING)
    yield "right", sized()
    yield "lower case", sized().replace(b"Content-Length", b"content-length")
    yield "too short by one", post(b"Content-Length: 4", body=b"hello")
    yield "too long by one", post(b"Content-Length: 6", body=b"hello")
    yield "body is a request", sized(get(target=b"/inside")) + get(target=b"/@/2")
    yield "blank before the colon", post(b"Content-Length : 5", body=b"hello")
    yield "underscore in the name", post(b"Content_Length: 5", body=FOLLOWING)
    yield "GET with length", sized(method=b"GET") + get(target=b"/@/2")
    yield "63 KiB", sized(b"x" * 64_000)
    yield "200 KiB", sized(b"y" * 200_000)
    yield "200 KiB and another", sized(b"z" * 200_000) + get(target=b"/@/2")


_CODINGS = {
    "capital": (b"Transfer-Encoding: Chunked",),
    "capitals": (b"TRANSFER-ENCODING: CHUNKED",),
    "twice in a list": (b"Transfer-Encoding: chunked, chunked",),
    "two fields": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "two fields, identity first": (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    "two fields, identity last": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "gzip, chunked in two fields": (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    "identity": (b"Transfer-Encoding: identity",),
    "identity and length": (b"Transfer-Encoding: identity", b"Content-Length: 5"),
    "gzip": (b"Transfer-Encoding: gzip",),
    "gzip and length": (b"Transfer-Encoding: gzip", b"Content-Length: 5"),
    "gzip, chunked": (b"Transfer-Encoding: gzip, chunked",),
    "chunked, gzip": (b"Transfer-Encoding: chunked, gzip",),
    "chunked, identity": (b"Transfer-Encoding: chunked, identity",),
    "identity, chunked": (b"Transfer-Encoding: identity, chunked",),
    "xchunked": (b"Transfer-Encoding: xchunked",),
    "chunkedx": (b"Transfer-Encoding: chunkedx",),
    "cow": (b"Transfer-Encoding: cow",),
    "empty": (b"Transfer-Encoding:",),
    "empty and length": (b"Transfer-Encoding:", b"Content-Length: 5"),
    "only a comma": (b"Transfer-Encoding: ,",),
    "comma first": (b"Transfer-Encoding: , chunked",),
    "comma last": (b"Transfer-Encoding: chunked,",),
    "parameter": (b"Transfer-Encoding: chunked;q=1",),
    "quotes": (b'Transfer-Encoding: "chunked"',),
    "blanks around": (b"Transfer-Encoding:   chunked   ",),
    "tab before": (b"Transfer-Encoding:\tchunked",),
    "tab after": (b"Transfer-Encoding: chunked\t",),
    "vertical tab before": (b"Transfer-Encoding: \x0bchunked",),
    "vertical tab after": (b"Transfer-Encoding: chunked\x0b",),
    "form feed": (b"Transfer-Encoding:\x0cchunked",),
    "NUL after": (b"Transfer-Encoding: chunked\x00",),
    "high byte after": (b"Transfer-Encoding: chunked\xff",),
    "non-breaking blank": (b"Transfer-Encoding: \xa0chunked",),
    "a letter that folds to k": ("Transfer-Encoding: chun\u212aed".encode(),),
    "bare CR": (b"Transfer-Encoding: \rchunked",),
    "blank before the colon": (b"Transfer-Encoding : chunked",),
    "tab before the colon": (b"Transfer-Encoding\t: chunked",),
    "NUL in the name": (b"Transfer-Encoding\x00: chunked",),
    "underscore in the name": (b"Transfer_Encoding: chunked",),
    "blank before the name": (b"X-A: 1", b" Transfer-Encoding: chunked"),
    "folded": (b"Transfer-Encoding:\r\n chunked",),
    "folded after": (b"Transfer-Encoding: chunked\r\n x",),
    "with length before": (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "with length after": (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "with a bad length": (b"Transfer-Encoding: chunked", b"Content-Length: x"),
    "with length 0": (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    "hidden by a vertical tab, with length": (b"Content-Length: 5", b"Transfer-Encoding: \x0bchunked"),
    "hidden by x, with length": (b"Content-Length: 5", b"Transfer-Encoding: xchunked"),
    "named by Connection": (b"Connection: transfer-encoding", b"Transfer-Encoding: chunked"),
}


def _codings() -> Iterator[tuple[str, bytes]]:
    for name, lines in _CODINGS.items():
        yield name, post(*lines, body=b"0\r\n\r\n" + FOLLOWING)
    yield "GET", chunked(method=b"GET") + get(target=b"/@/2")
    yield "length named by Connection", post(b"Connection: content-length", b"Content-Length: 5", body=b"hello")


_CHUNKS = {
    "none": b"0\r\n\r\n",
    "one": b"5\r\nhello\r\n0\r\n\r\n",
    "two": b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "leading zeros": b"0005\r\nhello\r\n0000\r\n\r\n",
    "many leading zeros": b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n",
    "capital size": b"A\r\n0123456789\r\n0\r\n\r\n",
    "small size": b"a\r\n0123456789\r\n0\r\n\r\n",
    "extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "quoted extension": b'5;a="b;c"\r\nhello\r\n0\r\n\r\n',
    "quoted line end in an extension": b'5;a="b\r\nc"\r\nhello\r\n0\r\n\r\n',
    "bare LF in an extension": b"5;a\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension of 10 KiB": b"5;" + b"a" * 10_240 + b"\r\nhello\r\n0\r\n\r\n",
    "blank before the extension": b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
    "extension of the last": b"5\r\nhello\r\n0;a=b\r\n\r\n",
    "blank after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab after the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "blank before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailer": b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "two trailers": b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n",
    "trailer that frames": b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    "trailer without colon": b"5\r\nhello\r\n0\r\nX-Sum\r\n\r\n",
    "trailer with a bare LF": b"5\r\nhello\r\n0\r\nX-Sum: 1\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "size is a word": b"five\r\nhello\r\n0\r\n\r\n",
    "hexadecimal mark": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "NUL in the size": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "comma": b"5,5\r\nhello\r\n0\r\n\r\n",
    "size too small": b"4\r\nhello\r\n0\r\n\r\n",
    "size too large": b"6\r\nhello\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "bare CR after the data": b"5\r\nhello\r0\r\n\r\n",
    "two bytes after the data": b"5\r\nhelloXX0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "CR and another byte after the size": b"5\rXhello\r\n0\r\n\r\n",
    "bare LF everywhere": b"5\nhello\n0\n\n",
    "bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "huge size": b"f" * 15 + b"\r\nhello\r\n",
    "2^64 + 5": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "2^32 + 5": b"100000005\r\nhello\r\n",
    "size of 100 digits": b"0" * 99 + b"5\r\nhello\r\n0\r\n\r\n",
    "cut in the size": b"5",
    "cut in the data": b"5\r\nhel",
    "cut after the data": b"5\r\nhello",
    "cut before the last": b"5\r\nhello\r\n",
    "cut in the last": b"5\r\nhello\r\n0\r\n",
    "cut in the trailer": b"5\r\nhello\r\n0\r\nX-Sum",
    "200 chunks": b"1\r\nx\r\n" * 200 + b"0\r\n\r\n",
    "100 KiB": b"19000\r\n" + b"x" * 102_400 + b"\r\n0\r\n\r\n",
}


def _chunks() -> Iterator[tuple[str, bytes]]:
    for name, body in _CHUNKS.items():
        yield name, chunked(body)
    for name in ("one", "trailer", "size too small", "bare LF after the size", "2^64 + 5", "extension"):
        yield name + " then another", chunked(_CHUNKS[name]) + FOLLOWING


_CONNECTION = {
    "close": b"Connection: close",
    "Close": b"Connection: Close",
    "keep-alive": b"Connection: keep-alive",
    "close, keep-alive": b"Connection: close, keep-alive",
    "keep-alive, close": b"Connection: keep-alive, close",
    "two fields": b"Connection: keep-alive\r\nConnection: close",
    "empty": b"Connection:",
    "other": b"Connection: x-a\r\nX-A: 1",
    "Proxy-Connection": b"Proxy-Connection: close",
    "names Host": b"Connection: host",
    "closed": b"Connection: closed",
}


def _connection() -> Iterator[tuple[str, bytes]]:
    for name, lines in _CONNECTION.items():
        yield name, get(lines)
    yield "close then smuggled", get(b"Connection: close") + FOLLOWING
    yield "close with a body", sized(b"hello", b"Connection: close")


_HOSTS = {
    "missing": b"",
    "empty": b"Host:\r\n",
    "twice the same": b"Host: shop.example\r\nHost: shop.example\r\n",
    "two": b"Host: shop.example\r\nHost: other.example\r\n",
    "port": b"Host: shop.example:8080\r\n",
    "bad port": b"Host: shop.example:x\r\n",
    "huge port": b"Host: shop.example:99999\r\n",
    "empty port": b"Host: shop.example:\r\n",
    "IPv4": b"Host: 127.0.0.1\r\n",
    "IPv6": b"Host: [::1]:80\r\n",
    "bad IPv6": b"Host: [::1\r\n",
    "capitals": b"Host: SHOP.Example\r\n",
    "dot at the end": b"Host: shop.example.\r\n",
    "two dots": b"Host: shop..example\r\n",
    "underscore": b"Host: my_shop\r\n",
    "slash": b"Host: shop.example/x\r\n",
    "userinfo": b"Host: user@shop.example\r\n",
    "comma": b"Host: shop.example, other.example\r\n",
    "blank inside": b"Host: shop example\r\n",
    "high bytes": b"Host: sh\xc3\xb6p.example\r\n",
    "NUL": b"Host: shop\x00.example\r\n",
    "query": b"Host: shop.example?x\r\n",
    "300 characters": b"Host: " + b"x" * 300 + b"\r\n",
    "in capitals and last": b"X-A: 1\r\nHOST: shop.example\r\n",
}


def _hosts() -> Iterator[tuple[str, bytes]]:
    for name, lines in _HOSTS.items():
        yield name, b"GET /@ HTTP/1.1\r\n" + lines + b"\r\n"
    yield "other than the absolute target", b"GET http://a.example/@ HTTP/1.1\r\nHost: b.example\r\n\r\n"
    yield "missing with an absolute target", b"GET http://a.example/@ HTTP/1.1\r\n\r\n"


def _expect() -> Iterator[tuple[str, bytes]]:
    yield "100-continue", sized(b"hello", b"Expect: 100-continue")
    yield "100-continue chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n", b"Expect: 100-continue")
    yield "100-continue without body", get(b"Expect: 100-continue")
    yield "100-continue waits", post(b"Content-Length: 5", b"Expect: 100-continue")
    yield "100-Continue", sized(b"hello", b"Expect: 100-Continue")
    yield "200-ok", sized(b"hello", b"Expect: 200-ok")
    yield "in 1.0", sized(b"hello", b"Expect: 100-continue", version=b"HTTP/1.0")
    yield "then another", sized(b"hello", b"Expect: 100-continue") + get(target=b"/@/2")


_WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def _upgrades() -> Iterator[tuple[str, bytes]]:
    h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    yield "h2c", get(*h2c)
    yield "h2c then smuggled", get(*h2c) + FOLLOWING
    yield "h2c with a body", sized(b"hello", *h2c)
    yield "websocket declined", get(*_WEBSOCKET)
    yield "websocket declined then another", get(*_WEBSOCKET) + get(target=b"/@/2")
    yield "websocket of a POST", sized(b"hello", *_WEBSOCKET)
    yield "without Connection", get(b"Upgrade: h2c")
    yield "TLS", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0")
    yield "empty", get(b"Connection: Upgrade", b"Upgrade:")


def _pipelines() -> Iterator[tuple[str, bytes]]:
    numbered = [get(target=b"/@/%d" % number) for number in range(1, 6)]
    for count in range(2, 6):
        yield f"{count} GET", b"".join(numbered[:count])
    yield "POST between", numbered[0] + sized(target=b"/@/2") + numbered[2]
    yield "chunked between", numbered[0] + chunked(target=b"/@/2") + numbered[2]
    yield "HEAD between", numbered[0] + get(method=b"HEAD", target=b"/@/2") + numbered[2]
    yield "5 POST", b"".join(sized(b"body %d" % number, target=b"/@/%d" % number) for number in range(1, 6))
    yield "invalid second", numbered[0] + b"nonsense\r\n\r\n" + numbered[2]
    yield "invalid third", numbered[0] + numbered[1] + b"GET\r\n\r\n"
    yield "bad length second", numbered[0] + post(b"Content-Length: x", target=b"/@/2") + numbered[2]
    yield (
        "both framings second",
        (numbered[0] + chunked(b"0\r\n\r\n", b"Content-Length: 5", target=b"/@/2") + numbered[2]),
    )
    yield "bad chunk second", numbered[0] + chunked(b"x\r\n", target=b"/@/2") + numbered[2]
    yield "close second", numbered[0] + get(b"Connection: close", target=b"/@/2") + numbered[2]
    yield "half a third", numbered[0] + numbered[1] + numbered[2][:20]
    yield "upgrade second", numbered[0] + get(*_WEBSOCKET, target=b"/@/2") + numbered[2]
    yield "expect second", numbered[0] + sized(b"hello", b"Expect: 100-continue", target=b"/@/2") + numbered[2]
    yield "1.0 second", numbered[0] + get(target=b"/@/2", version=b"HTTP/1.0") + numbered[2]
    yield "CONNECT second", numbered[0] + get(method=b"CONNECT", target=b"shop:443") + numbered[2]
    yield "large second", numbered[0] + sized(b"x" * 150_000, target=b"/@/2") + numbered[2]
    yield "100 GET", b"".join(get(target=b"/@/%d" % number) for number in range(100))


def _other_protocols() -> Iterator[tuple[str, bytes]]:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "HTTP/2 preface", preface
    yield "HTTP/2 preface and settings", preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    yield "half an HTTP/2 preface", preface[:9]
    yield "HTTP/2 preface second", get() + preface
    yield "SSH", b"SSH-2.0-OpenSSH_9.2\r\n"
    yield "SMTP", b"EHLO shop.example\r\n"
    yield "PROXY protocol", b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 80\r\n" + get()
    yield "memcached", b"set x 0 0 5\r\nhello\r\n"


def _goodbyes() -> Iterator[tuple[str, bytes]]:
    yield "GET", get()
    yield "POST", sized()
    yield "chunked", chunked()
    yield "half a body", post(b"Content-Length: 10", body=b"hello")
    yield "half a chunk", chunked(b"a\r\nhello")
    yield "half a head", get()[:20]
    yield "two GET", get() + get(target=b"/@/2")
    yield "GET and half another", get() + get()[:20]
    yield "half a large body", post(b"Content-Length: 200000", body=b"x" * 150_000)


_GROUPS: Mapping[str, Iterable[tuple[str, bytes]]] = {
    "method": _methods(),
    "target": _targets(),
    "version": _versions(),
    "line": _lines(),
    "field": _fields(),
    "length": _lengths(),
    "coding": _codings(),
    "chunk": _chunks(),
    "connection": _connection(),
    "host": _hosts(),
    "expect": _expect(),
    "upgrade": _upgrades(),
    "pipeline": _pipelines(),
    "protocol": _other_protocols(),
}


def _case(group: str, name: str, data: bytes, then: Then = "") -> Case:
    full = f"{group}/{name}"
    slug = re.sub(r"[^a-z0-9/]+", "-", full.lower()).encode()
    return Case(full, data.replace(b"/@", b"/" + slug).replace(b"\\@", b"\\" + slug), then)


CASES = [
    *(_case(group, name, data) for group, cases in _GROUPS.items() for name, data in cases),
    *(_case("half-close", name, data, "half-close") for name, data in _goodbyes()),
    *(_case("goes away", name, data, "close") for name, data in _goodbyes()),
]
"""All of them. Names are unique: differences are explained by name."""

GROUPS = list(dict.fromkeys(case.group for case in CASES))
