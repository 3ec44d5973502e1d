"""Fields set and left out, paths rewritten: what the rules do, and what they refuse with which words."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Headers
from replayer.requests.encoding import Encoder, Request
from replayer.requests.fields import Names
from replayer.requests.rewriting import LARGEST_PATH, LONGEST_PATH, PathRule, Rewriting, header, name_pattern, once
from replayer.requests.writes import SAFE_METHODS
from tests.support.recording import record

TOKEN = b"v1.key.run.1.shop.signature"


def paths(*rules: str) -> Rewriting:
    return Rewriting(paths=tuple(map(PathRule.parse, rules)))


def set_(texts: list[str]) -> tuple[tuple[bytes, bytes], ...]:
    return once(map(header, texts))


def fields(sent: list[tuple[bytes, bytes]], rewriting: Rewriting) -> list[bytes]:
    """Encode a request with these fields; give the lines of its head after Host."""
    request = Encoder("run", SAFE_METHODS, "target", rewriting=rewriting).encode(record(headers=sent))
    assert isinstance(request, Request), request
    head, _, _ = (request.prefix + TOKEN + request.tail).partition(b"\r\n\r\n")
    return head.split(b"\r\n")[2:]


TAG = [b"baggage: loadtest=" + TOKEN, b"x-load-test: run"]


# --- fields ---


def test_a_field_that_is_set_stands_in_the_place_of_all_recorded_ones() -> None:
    recorded = [(b"accept-language", b"de"), (b"accept", b"*/*"), (b"ACCEPT-LANGUAGE", b"fr")]
    rewriting = Rewriting(set_(["Accept-Language: en", "X-New:1"]))
    assert fields(recorded, rewriting) == [b"accept: */*", b"Accept-Language: en", b"X-New: 1", *TAG]


def test_fields_are_left_out_by_pattern() -> None:
    recorded = [(b"X-Forwarded-For", b"1"), (b"x-forwarded-proto", b"h"), (b"x-forward", b"2"), (b"Cookie", b"a=1")]
    assert fields(recorded, Rewriting(removed=Names(["x-forwarded-*", "COOKIE"]))) == [b"x-forward: 2", *TAG]
    assert fields(recorded, Rewriting(removed=Names(["*"]))) == TAG


def test_a_pattern_is_no_regular_expression() -> None:
    assert b"x.y" in Names(["x.y"])
    assert b"x-y" not in Names(["x.y"])
    assert b"y" in Names(["x|y", "y"])
    assert b"x" not in Names(["x|y", "y"])


def test_what_the_connection_names_does_not_take_out_what_is_set() -> None:
    assert fields([(b"connection", b"x-new")], Rewriting(set_(["X-New: 1"]))) == [b"X-New: 1", *TAG]


def test_baggage_can_be_set_and_left_out_and_still_bears_the_tag() -> None:
    recorded = [(b"baggage", b"user=7")]
    (baggage, _) = fields(recorded, Rewriting(set_(["Baggage: tier=gold"])))
    assert baggage == b"baggage: tier=gold,loadtest=" + TOKEN
    assert fields(recorded, Rewriting(removed=Names(["baggage"]))) == TAG


@pytest.mark.parametrize("removed", ["*", "baggage", "x-load-test"])
@pytest.mark.parametrize("tag", [(b"baggage", b"loadtest=v1.a.b.1.c.d"), (b"X-Load-Test", b"r")])
def test_leaving_the_tag_out_does_not_make_a_synthetic_record_a_real_one(
    removed: str, tag: tuple[bytes, bytes]
) -> None:
    encoder = Encoder("run", SAFE_METHODS, "target", rewriting=Rewriting(removed=Names([removed])))
    assert encoder.encode(record(headers=[tag])) == "tagged"
    handshake = record(headers=[(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")])
    assert encoder.encode(handshake) == "upgrade"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Accept", "no colon"),
        (": x", "no name of a header"),
        ("a b: x", "no name of a header"),
        ("Accept : */*", None),
        ("Empty:", None),
        ("X: a\r\nHost: evil", "line break"),
        ("X\r\n: a", "no name of a header"),
        ("X: \0", "line break or another control"),
        ("Host: shop", "--host says"),
        ("content-length: 3", "belongs to the connection"),
        ("Transfer-Encoding: chunked", "belongs to the connection"),
        ("Connection: close", "belongs to the connection"),
        ("X-Load-Test: r", "where the load tag stands"),
        ("x_load_test: r", "where the load tag stands"),
        ("baggage: user=7,LOADTEST=x", "where the load tag stands"),
    ],
)
def test_what_can_be_set(text: str, part: str | None) -> None:
    if part is None:
        header(text)
    else:
        with pytest.raises(ValueError, match=part):
            header(text)


def test_a_header_is_set_once() -> None:
    with pytest.raises(ValueError, match="accept is given twice"):
        set_(["Accept: a", "accept: b"])


@pytest.mark.parametrize(
    ("pattern", "part"), [("", "no name"), ("a b", "no name"), ("a:", "no name"), ("host", "not taken from")]
)
def test_what_can_be_left_out(pattern: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        name_pattern(pattern)


# --- paths ---


@pytest.mark.parametrize(
    ("rules", "path", "sent"),
    [
        ([r"^/v1/(\w+) => /v2/\1"], "/v1/item/7?full=1", "/v2/item/7?full=1"),
        ([r"^/v1/(\w+) => /v2/\1"], "/v3/v1/item", "/v3/v1/item"),
        ([r"/a => /b"], "/a/a?x=/a", "/b/b?x=/b"),
        ([r"/a => /b", "/b => /c"], "/a/b", "/c/c"),
        ([r"\?.* => "], "/a?b=1", "/a"),
        ([r"\?.* =>"], "/a?b=1", "/a"),
        ([r"(?P<k>\w+)=(\d+) => \2=\g<k>\\\$\0"], "/?a=1", "/?1=a\\$a=1"),
        ([r"(x)?y => [\1]"], "/y", "/[]"),
        ([r"(?i)/SHOP => /store"], "/shop", "/store"),
        ([r"a=>b => c"], "/?a=>b", "/?c"),
    ],
)
def test_paths(rules: list[str], path: str, sent: str) -> None:
    assert paths(*rules).path(path) == sent


def test_the_rewritten_path_is_what_is_sent_and_what_its_route_is() -> None:
    encoder = Encoder("run", SAFE_METHODS, "target", rewriting=paths("^/v1/ => /v2/"))
    for number in (7, 8):
        request = encoder.encode(record(path=f"/v1/item/{number}"))
        assert isinstance(request, Request)
        assert request.prefix.startswith(b"GET /v2/item/%d HTTP/1.1\r\n" % number)
    assert [route.template for route in encoder.routes.all] == ["/v2/item/{id}"]


def test_bytes_that_are_no_text_pass_through() -> None:
    raw = b"/v1/\xff\xc3\xa9"
    assert paths("^/v1/(.*) => /v2/\\1").path(raw.decode("utf-8", "surrogateescape")) == (
        raw.replace(b"v1", b"v2").decode("utf-8", "surrogateescape")
    )


@pytest.mark.parametrize(("rule", "path"), [("^/.* => shop", "/x"), ("a => b", "/" + "a" * LONGEST_PATH)])
def test_what_the_rules_make_no_path_of_is_counted_and_not_sent(rule: str, path: str) -> None:
    encoder = Encoder("run", SAFE_METHODS, "target", rewriting=paths(rule))
    assert encoder.encode(record(path=path)) == "rewrite"


def test_a_request_without_a_path_is_left_alone() -> None:
    assert paths("a => b").path("*") == "*"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/a", r"'/a': write it like '^/v1/(\w+) => /v2/\1'"),
        (" => /b", r"' => /b': write it like '^/v1/(\w+) => /v2/\1'"),
        ("/a=>/b", r"'/a=>/b': write it like '^/v1/(\w+) => /v2/\1'"),
        ("/a(b => /", "the regex: missing ): /a(b\n    /a(b\n    ^"),
        ("/[z-a] => /", "the regex: invalid character class range: z-a\n    /[z-a]\n      ^"),
        ("/(?!b) => /", "the regex: invalid perl operator: (?!; RE2 has no look-around\n    /(?!b)\n     ^"),
        (r"(a)\1 => /", "escape sequence: \\1; RE2 has no references inside the regex\n    (a)\\1\n       ^"),
        (r"(a) => /\2", "the regex has 1 group, so there is no \\2\n    /\\2\n     ^"),
        (r"a => /\g<id>", "the regex has no group named id\n    /\\g<id>\n     ^"),
        (r"a => /\d", "all of the match is \\0, a backslash is \\\\\n    /\\d\n     ^"),
        ("(a) => /$1", "groups are written \\1, not $1; for a dollar sign itself write \\$\n    /$1\n     ^"),
        ("a => /b c", "a path holds no blanks: write %20\n    /b c\n      ^"),
        ("a => /b\r\nX:1", "a path holds no blanks: write %20"),
    ],
)  # fmt: skip
def test_mistakes_are_pointed_at(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PathRule.parse(text)


def test_no_pattern_hangs_and_no_replacement_grows_without_end() -> None:
    began = time.process_time()
    assert paths(r"^(/(a+)+)+$ => /x").path("/" + "a" * 5000 + "!") == "/" + "a" * 5000 + "!"
    assert paths(r"a.*b|a => \0").path("/" + "a" * 8000) == "/" + "a" * 8000
    grown = paths(*[r"a => \0\0\0\0"] * 20).path("/a")
    assert len(grown) <= LARGEST_PATH
    assert time.process_time() - began < 20  # not a measure: a pattern that backtracks takes years


@given(
    st.lists(st.sampled_from([r"a => \0b", r"^/(.) => /\1", r"[^/] => %20", r".* => /z", r"b* => a", r"\d+ => 1"])),
    st.text(max_size=20),
)
def test_whatever_the_rules_do_it_is_one_request_or_none(rules: list[str], path: str) -> None:
    encoder = Encoder("run", SAFE_METHODS, "target", rewriting=paths(*rules))
    request = encoder.encode(record(path="/" + path))
    again = encoder.encode(record(path="/" + path))
    if isinstance(request, str):
        assert request in ("rewrite", "malformed")
        assert again == request
        return
    assert isinstance(again, Request)
    assert again.prefix == request.prefix  # remembered or not
    line = request.prefix.split(b"\r\n")[0]
    assert line.startswith(b"GET /")
    assert line.count(b" ") == 2


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"X-A", b"x-b", b"Cookie", b"baggage", b"te"]), st.binary(max_size=6))),
    st.lists(st.sampled_from(["X-*", "cookie", "b*", "a", "x-b"]), max_size=3),
    st.lists(st.sampled_from(["a: 1", "x-a: 2", "Cookie: c=3", "Baggage: u=4"]), unique=True, max_size=3),
)
def test_removed_names_never_go_out_and_set_ones_always_do(
    recorded: list[tuple[bytes, bytes]], removed: list[str], given_headers: list[str]
) -> None:
    rewriting = Rewriting(set_(given_headers), Names(removed))
    sent: Headers = tuple(recorded)
    request = Encoder("run", SAFE_METHODS, "target", rewriting=rewriting).encode(record(headers=list(sent)))
    if isinstance(request, str):
        assert request in ("malformed", "tagged")
        return
    lines = (request.prefix + TOKEN + request.tail).split(b"\r\n\r\n")[0].split(b"\r\n")[2:]
    names = [line.partition(b":")[0].lower() for line in lines]
    own = [name.lower() for name, _ in rewriting.fields]
    for name in own:
        assert names.count(name) == 1
    assert names[-2:] == [b"baggage", b"x-load-test"]
    assert not [name for name in names[:-2] if name in rewriting.removed and name not in own]
