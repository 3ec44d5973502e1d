"""A record becomes one request, tagged once, or is skipped for a reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from loadtag import headers
from replayer.requests.encoding import Encoder, Request
from replayer.requests.fields import HOP_BY_HOP, OPTIONS
from replayer.requests.writes import SAFE_METHODS
from tests.support.recording import record

RUN = "20261121-210305-k3f9"
TOKEN = b"v1.key.run.1.shop.signature"


def encode(item: Record, methods: tuple[str, ...] = SAFE_METHODS, **options: Any) -> Request | str:
    return Encoder(RUN, methods, options.pop("host", "target:8080"), **options).encode(item)


def parsed(request: Request | str) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
    """Take the bytes apart, as plainly as a server would: request line, fields, body."""
    assert isinstance(request, Request), request
    head, _, body = (request.prefix + TOKEN + request.tail).partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    pairs = [field.partition(b": ") for field in fields]
    return line.decode(), [(name, value) for name, _, value in pairs], body


def field(request: Request | str, name: bytes) -> list[bytes]:
    return [value for key, value in parsed(request)[1] if key.lower() == name]


def test_a_plain_request() -> None:
    assert parsed(encode(record(path="/item/7?full=1"))) == (
        "GET /item/7?full=1 HTTP/1.1",
        [
            (b"Host", b"target:8080"),
            (b"accept", b"*/*"),
            (b"baggage", b"loadtest=" + TOKEN),
            (b"x-load-test", RUN.encode()),
        ],
        b"",
    )


def test_the_host_is_what_the_plan_says() -> None:
    assert field(encode(record(), host="shop.test"), b"host") == [b"shop.test"]
    assert field(encode(record(), recorded_host=True), b"host") == [b"shop.example"]
    assert field(encode(record(authority=""), recorded_host=True), b"host") == [b"target:8080"]


def test_baggage_is_merged_and_never_overwritten() -> None:
    item = record(headers=[(b"Baggage", b"user=7"), (b"accept", b"*/*"), (b"baggage", b"tier=gold;x=1")])
    assert field(encode(item), b"baggage") == [b"user=7,tier=gold;x=1,loadtest=" + TOKEN]


def test_a_full_baggage_makes_room() -> None:
    members = b",".join(b"m%d=%s" % (i, b"v" * 200) for i in range(64))
    (value,) = field(encode(record(headers=[(b"baggage", members)])), b"baggage")
    assert value.endswith(b"loadtest=" + TOKEN)
    assert len(value) - len(TOKEN) + 300 <= headers.MAX_BYTES
    assert value.count(b",") < headers.MAX_MEMBERS


@pytest.mark.parametrize(
    "fields",
    [
        [(b"baggage", b"loadtest=v1.a.b.1.c.d")],
        [(b"baggage", b"user=7, LoadTest = x")],
        [(b"X-Load-Test", b"some-run")],
        [(b"x_load_test", b"some-run")],
        [(b"accept", b"*/*"), (b"baggage", b"a=b"), (b"BAGGAGE", b"%6coadtest=x")],
    ],
)
def test_what_bears_a_tag_is_never_replayed(fields: list[tuple[bytes, bytes]]) -> None:
    assert encode(record(headers=fields)) == "tagged"


@given(st.lists(st.sampled_from(sorted(HOP_BY_HOP - {b"upgrade", b"connection"})), unique=True))
def test_hop_by_hop_fields_are_left_out(names: list[bytes]) -> None:
    fields = [(name.title(), b"x") for name in names] + [(b"accept", b"*/*")]
    assert [name for name, _ in parsed(encode(record(headers=fields)))[1]] == [
        b"Host",
        b"accept",
        b"baggage",
        b"x-load-test",
    ]


def test_what_connection_names_is_left_out_too() -> None:
    fields = [(b"X-Hop", b"1"), (b"Connection", b"close, x-hop"), (b"connection", b"X-Other"), (b"x-other", b"2")]
    names = [name for name, _ in parsed(encode(record(headers=[*fields, (b"x-end", b"3")])))[1]]
    assert names == [b"Host", b"x-end", b"baggage", b"x-load-test"]


@pytest.mark.parametrize("offer", [b"h2c", b"H2C", b"TLS/1.2, HTTP/1.1", b"HTTP/2.0,h2c", b"", b" , "])
def test_an_offer_to_speak_another_http_is_left_out_and_the_request_is_sent(offer: bytes) -> None:
    fields = [
        (b"Connection", b"Upgrade, HTTP2-Settings"),
        (b"Upgrade", offer),
        (b"HTTP2-Settings", b"AAMAAABkAAQAAP__"),
        (b"accept", b"*/*"),
    ]
    names = [name for name, _ in parsed(encode(record(headers=fields)))[1]]
    assert names == [b"Host", b"accept", b"baggage", b"x-load-test"]


@pytest.mark.parametrize(
    ("fields", "trailers"),
    [
        ([], False),
        ([(b"te", b"trailers")], True),
        ([(b"TE", b"gzip;q=0.5, Trailers"), (b"Connection", b"TE")], True),
        ([(b"TE", b"gzip")], False),
        ([(b"TE", b"gzip"), (b"te", b"trailers")], True),
        ([(b"x-te", b"trailers")], False),
    ],
)
def test_only_http_2_is_told_that_trailers_are_understood(fields: list[tuple[bytes, bytes]], trailers: bool) -> None:
    request = encode(record(headers=fields))
    assert isinstance(request, Request)
    assert field(request, b"te") == []
    assert request.trailers is request.another().trailers is trailers


@given(
    st.lists(
        st.lists(st.sampled_from((b"keep-alive", b"close", b"X-Hop", b"accept", b"TE", b"", b" Close ")), max_size=3),
        max_size=3,
    ),
    st.lists(st.sampled_from((b"Keep-Alive", b"close", b"x-hop", b"Accept", b"x-end")), unique=True),
)
def test_nothing_that_connection_names_is_sent_however_often_it_was_seen(
    options: list[list[bytes]], names: list[bytes]
) -> None:
    fields = [*((b"Connection", b",".join(each)) for each in options), *((name, b"1") for name in names)]
    named = {option.strip().lower() for each in options for option in each}
    left = [name for name in names if name.lower() not in OPTIONS | named]
    encoder = Encoder("run-1", ("GET",), "target")
    for _ in range(3):
        found = [name for name, _ in parsed(encoder.encode(record(headers=fields)))[1]]
        assert found == [b"Host", *left, b"baggage", b"x-load-test"]


def test_several_cookie_fields_are_one() -> None:
    fields = [(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")]
    assert field(encode(record(headers=fields)), b"cookie") == [b"a=1; b=2"]


def test_the_length_is_that_of_the_body_at_hand() -> None:
    fields = [(b"content-length", b"999"), (b"transfer-encoding", b"chunked"), (b"expect", b"100-continue")]
    request = encode(record(method="POST", headers=fields, body=b"a=1"), methods=("POST",))
    assert field(request, b"content-length") == [b"3"]
    assert field(request, b"transfer-encoding") == field(request, b"expect") == []
    assert parsed(request)[2] == b"a=1"
    empty = encode(record(method="POST"), methods=("POST",))
    assert field(empty, b"content-length") == [b"0"]
    assert field(encode(record()), b"content-length") == []


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (record(method="POST", body=b"x"), "unsafe"),
        (record(method="DELETE"), "unsafe"),
        (record(method="get"), "unsafe"),  # methods are case-sensitive (RFC 9110, 9.1)
        (record(method="CONNECT", path="shop:443"), "connect"),
        (record(headers=[(b"Upgrade", b"websocket"), (b"connection", b"upgrade")]), "upgrade"),
        (record(headers=[(b"Upgrade", b"h2c, SPDY/3.1"), (b"connection", b"upgrade")]), "upgrade"),
        (record(headers=[(b"Upgrade", b"h2c"), (b"upgrade", b"tcp")]), "upgrade"),
        (record(body=b"half", body_size=8), "truncated"),
        (record(body_size=8), "truncated"),
        (record(path="/a b"), "malformed"),
        (record(path="/a\r\nx: y"), "malformed"),
        (record(path="http://shop/"), "malformed"),
        (record(path=""), "malformed"),
        (record(headers=[(b"x", b"1\r\nHost: evil")]), "malformed"),
        (record(headers=[(b"x", b"1\n")]), "malformed"),
        (record(headers=[(b"x", b"\0")]), "malformed"),
        (record(headers=[(b"x y", b"1")]), "malformed"),
        (record(headers=[(b"", b"1")]), "malformed"),
        (record(headers=[(b"baggage", b"a=1\r\nx: y")]), "malformed"),
        (record(headers=[(b"cookie", b"a"), (b"cookie", b"b\r\nx: y")]), "malformed"),
    ],
)
def test_skipped(item: Record, reason: str) -> None:
    assert encode(item) == reason


def test_a_recorded_authority_can_not_break_out() -> None:
    assert encode(record(authority="shop\r\nx: y"), recorded_host=True) == "malformed"


def test_bytes_that_are_not_ascii_come_back_as_they_were() -> None:
    raw = b"/caf\xc3\xa9/\xff?q=\xe9"
    request = encode(record(path=raw.decode("utf-8", "surrogateescape")))
    assert isinstance(request, Request)
    assert request.prefix.startswith(b"GET " + raw + b" HTTP/1.1\r\n")


def test_methods_by_plan() -> None:
    request = encode(record(method="DELETE"), methods=("GET", "DELETE"))
    assert isinstance(request, Request)
    assert not request.safe
    head = encode(record(method="HEAD"))
    assert isinstance(head, Request)
    assert head.safe
    assert head.head


fields_ = st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=8)
known = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"accept", b"Cookie", b"Connection", b"baggage", b"X-Load-Test", b"te", b"x-hop"]),
        st.sampled_from([b"", b"a=1", b"x-hop", b"loadtest=1", b"close", b"a,b", b"v\r\nw: 1"]),
    ),
    max_size=8,
)


@given(st.one_of(fields_, known), st.text(max_size=12), st.binary(max_size=20))
def test_whatever_was_recorded_is_one_tagged_request_or_none(
    fields: list[tuple[bytes, bytes]], path: str, body: bytes
) -> None:
    request = encode(record(path="/" + path, headers=fields, body=body))
    if isinstance(request, str):
        return
    line, pairs, sent = parsed(request)
    assert line.startswith("GET /")
    assert sent == body
    names = [name.lower() for name, _ in pairs]
    assert names.count(b"host") == 1
    assert names.count(b"baggage") == 1
    assert names.count(b"x-load-test") == 1
    found = headers.find(pairs)
    assert found is not None
    assert found.token == TOKEN.decode()
