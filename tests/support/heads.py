"""Strategies: heads and chunked bodies, valid ones and such as came to harm."""

from hypothesis import strategies as st

_TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAMES = [
    *(
        b"Host",
        b"host",
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"Connection",
        b"Upgrade",
        b"Expect",
    ),
    *(b"Accept", b"Cookie", b"X-A", b"TE", b"Trailer", b"Keep-Alive", b"Proxy-Connection", b"Authorization"),
]
_VALUES = [
    *(
        b"",
        b"shop.example",
        b"0",
        b"5",
        b"05",
        b"+5",
        b"5, 5",
        b"18446744073709551621",
        b"chunked",
        b"Chunked",
        b"gzip",
    ),
    *(b"gzip, chunked", b"identity", b"chunked, chunked", b"close", b"Close", b"keep-alive", b"close, keep-alive"),
    *(b"websocket", b"h2c", b"100-continue", b"Basic x", b"NTLM x", b"a, b", b"a: b", b"a\tb", b"\xe9", b"\x80\xff"),
]
_HARM = [
    *(b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b" ", b"\t", b":", b",", b";", b"\x00", b"\x0b", b"\x0c", b"\x7f"),
    *(b"\x80", b"\xa0", b"\x85", b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b" chunked", b"0", b"HTTP/1.1", b"\r\n\r\n", b"GET / HTTP/1.1\r\n"),
]

tokens = st.text(_TOKEN, min_size=1, max_size=12).map(str.encode)
names = st.one_of(st.sampled_from(_NAMES), tokens)
texts = st.binary(max_size=12).map(lambda data: bytes(byte for byte in data if byte > 32 and byte != 127))
values = st.one_of(st.sampled_from(_VALUES), texts)
blanks = st.sampled_from([b" ", b"", b"\t", b"  ", b" \t "])
fields = st.lists(
    st.builds(lambda name, gap, value: name + b":" + gap + value + b"\r\n", names, blanks, values), max_size=6
)
methods = st.one_of(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"get", b"PRI", b"M-SEARCH"]), tokens
)
targets = st.one_of(
    st.sampled_from([b"/", b"/a?b=c#d", b"*", b"//a", b"http://a/", b"a:80", b"/%00", b"/\xe9", b"/a b"]),
    texts.map(lambda text: b"/" + text),
)
versions = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1"])
hosts = st.sampled_from([b"Host: shop.example\r\n"] * 8 + [b"", b"Host:\r\n", b"Host: a\r\nHost: b\r\n"])


@st.composite
def harmed(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Leave it alone, or do it a little harm: bytes put in, taken out, changed, or said twice."""
    data = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 3)))
        kind = draw(st.sampled_from(["put in", "take out", "change", "twice"]))
        if kind == "put in":
            data = data[:at] + draw(st.sampled_from(_HARM)) + data[at:]
        elif kind == "take out":
            data = data[:at] + data[until:]
        elif kind == "change":
            data = data[:at] + draw(st.binary(min_size=until - at, max_size=until - at)) + data[until:]
        else:
            data = data[:until] + data[at:]
    return data


def _request(method: bytes, target: bytes, version: bytes, first: list[bytes], host: bytes, last: list[bytes]) -> bytes:
    return b"%b %b %b\r\n%b%b%b\r\n" % (method, target, version, b"".join(first), host, b"".join(last))


plain_requests = st.builds(
    _request,
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"]),
    st.sampled_from([b"/", b"/a?b=c", b"/%20/"]),
    st.just(b"HTTP/1.1"),
    st.just([]),
    st.just(b"Host: shop.example\r\n"),
    st.lists(
        st.sampled_from(
            [
                *(b"Accept: */*\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"X-A:1\r\n"),
                *(b"Connection: close\r\n", b"content-length:  0\r\n", b"X-B:\t\xe9 a\r\n"),
            ]
        ),
        max_size=3,
    ),
)
requests = harmed(st.one_of(plain_requests, st.builds(_request, methods, targets, versions, fields, hosts, fields)))

_statuses = st.one_of(st.integers(100, 599), st.integers(0, 1200)).map(lambda number: b"%03d" % number)
_reasons = st.one_of(st.sampled_from([b" OK", b" ", b"", b" Not Found", b" tr\xc3\xa8s bien", b"  x"]), texts)
answers = harmed(
    st.builds(
        lambda version, status, reason, lines: b"%b %b%b\r\n%b\r\n" % (version, status, reason, b"".join(lines)),
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"ICY"]),
        _statuses,
        _reasons,
        fields,
    )
)

_sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"%x ", b"%x;a=b", b'%x;a="b;c"', b"%x\t", b"%x ;a", b"%x;"])


@st.composite
def _chunked(draw: st.DrawFn) -> bytes:
    wire = b""
    for content in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        wire += draw(_sizes) % len(content) + b"\r\n" + content + b"\r\n"
    last = draw(st.sampled_from([b"0", b"000", b"0;a=b", b"0 "]))
    return wire + last + b"\r\n" + b"".join(draw(st.one_of(st.just([]), fields))) + b"\r\n"


chunked_bodies = harmed(_chunked())
afterwards = st.one_of(st.just(b""), st.just(b"GET /next HTTP/1.1\r\n"), st.binary(max_size=10))
