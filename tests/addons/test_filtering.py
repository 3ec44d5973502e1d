"""What a filter says of a record, held against what mitmproxy says of the same request as a flow."""

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import flowfilter

from addons.filtering import matcher
from addons.flowfiles import as_flow
from captures.records import Record
from rules.exits import UserError
from tests.captures.making import record, records

RECORDS = (
    record(),
    record(method="POST", path="/api/cart", headers=((b"Content-Type", b"application/json"),), body=b'{"a":1}'),
    record(method="POST", path="/api/login", headers=((b"Host", b"Shop.Example:8080"), (b"X-A", b"b")), status=500),
    record(scheme="https", authority="xn--bcher-kva.example", headers=(), status=404),
    record(http_version="HTTP/2.0", headers=((b"x", b"\xff\r\n"), (b"host", b"other.example"))),
    record(http_version="HTTP/2.0", authority="", path="/\udcff?q=%20", headers=()),
    record(authority="[::1]:8080", headers=((b"host", b"[::1]:8080"), (b"HOST", b"second")), status=0, ttfb_ns=-1),
    record(method="OPTIONS", path="*"),
    record(method="CONNECT", authority="db.example:443", path="db.example:443", http_version="HTTP/1.1"),
    record(headers=((b"Host", b"h" * 300),)),
    record(authority="user@shop.example", headers=((b"host", b""),)),
    record(headers=((b"content-encoding", b"gzip"),), body=gzip.compress(b"the needle")),
    record(headers=((b"Content-Encoding", b"br"),), body=brotli.compress(b"the needle")),
    record(headers=((b"content-encoding", b"zstd"),), body=zstandard.compress(b"the needle")),
    record(headers=((b"content-encoding", b"Deflate"),), body=zlib.compress(b"the needle")),
    record(headers=((b"content-encoding", b"gzip"),), body=b"the needle, not packed"),
    record(headers=((b"content-encoding", b"br"),), body=brotli.compress(b"the needle" * 99)[:9]),
)

EXPRESSIONS = (
    *("~all", "~http", "~tcp", "~q", "~s", "~e", "~m POST", "~m ^get$", "~c 404", "~c 0", "~m P & ~u /api"),
    *(
        "/api",
        "~u shop.example/item",
        "~u ^https",
        "~u :8080",
        "~u ^http://shop.example$",
        "~d shop",
        "~d ^other",
        "~d 1",
    ),
    *("!(~m POST | ~c 500)", "~m GET ~c 200 ~u item", "~u 'q=%20'", "~d ''", "~d \\xff", "~u \\udcff"),
    *("~h '^x-a: b'", "~hq content-type", "~hq '^host: *$'", "~t json", "~tq ^application", "~b needle", "~bq ^.the"),
    *("~b '\"a\":1'", '~h "accept: \\\\*/\\\\*"', "~dns | ~udp | ~m connect"),
)


def by_mitmproxy(expression: str, one: Record) -> bool:
    return bool(flowfilter.match(expression, as_flow(one)))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_filter_says_of_a_record_what_mitmproxy_says_of_its_flow(expression: str) -> None:
    matches = matcher(expression)
    found = [matches(one) for one in RECORDS]
    assert found == [by_mitmproxy(expression, one) for one in RECORDS]


def test_the_expressions_tell_records_apart() -> None:
    told = [sum(map(matcher(expression), RECORDS)) for expression in EXPRESSIONS]
    assert sum(0 < count < len(RECORDS) for count in told) > 20


@given(one=records, expression=st.sampled_from(EXPRESSIONS))
@settings(max_examples=300)
def test_it_does_so_of_any_record(one: Record, expression: str) -> None:
    assert matcher(expression)(one) == by_mitmproxy(expression, one)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "it is empty; write it like '~m POST & ~u /api'"),
        ("~foo bar", "there is no operator ~foo"),
        ("~m GET & !~nope x", "there is no operator ~nope"),
        ("(~m GET", "its parentheses do not match"),
        ("~u '('", r"'\(' is no regular expression \("),
        ("~c many", "write it like"),
        ("~m", "write it like"),
    ],
)
def test_what_is_no_filter_is_told_with_the_reason(expression: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"is not a filter: {why}"):
        matcher(expression)


@pytest.mark.parametrize(
    ("expression", "what"),
    [("~bs error", "the body of the answer"), ("~m GET & !(~src 10.)", "the address of the client"), ("~a", "answer")],
)
def test_what_a_recording_does_not_hold_is_refused_and_not_silently_never_true(expression: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"asks for .*{what}, which a recording does not hold"):
        matcher(expression)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, zstandard.compress, brotli.compress])
def test_a_small_body_that_unpacks_to_much_does_not_fill_the_memory(pack: object) -> None:
    names = {gzip.compress: b"gzip", zlib.compress: b"deflate", zstandard.compress: b"zstd", brotli.compress: b"br"}
    packed = pack(bytes(200_000_000))  # type: ignore[operator]
    bomb = record(headers=((b"content-encoding", names[pack]),), body=packed)
    matches = matcher("~b needle")
    tracemalloc.start()
    try:
        assert not matches(bomb)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_nested_too_deep_is_told() -> None:
    with pytest.raises(UserError, match="is not a filter"):
        matcher("(" * 5000 + "~all" + ")" * 5000)
