"""A look at raw header fields tells the same as mitmproxy's headers and the load tag's own search do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tflow

from addons import glance as module
from addons.glance import CODING, HOST, LENGTH, TRACE, UPGRADE, WITHHELD, Fields, glance
from addons.passage import KIND, STREAM_ABOVE, is_long
from addons.tag import Tag
from loadtag import headers
from rules.wire import WITHHELD_HEADER

NAMES = [
    *("baggage", "x-load-test", "x_load_test", "upgrade", "content-length", "transfer-encoding", "host"),
    *(WITHHELD_HEADER, "accept", "x-load-tests", "content_length", "", "x" * 300),
]


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(NAMES))
    return "".join(draw(st.sampled_from((letter, letter.upper()))) for letter in name).encode()


values = st.one_of(st.sampled_from((b"loadtest=x", b"5", b"65537", b"websocket", b"\xff")), st.binary(max_size=9))
fields = st.lists(st.tuples(st.one_of(spelled(), st.binary(max_size=15)), values), max_size=8).map(tuple)


@given(fields)
def test_each_name_is_found_as_mitmproxy_finds_it(headers_: Fields) -> None:
    known = http.Headers(headers_)
    found, length, host = glance(headers_)
    for kind, name in (
        (UPGRADE, "upgrade"),
        (LENGTH, "content-length"),
        (CODING, "transfer-encoding"),
        (HOST, "host"),
        (WITHHELD, WITHHELD_HEADER),
    ):
        assert bool(found & kind) == (name in known)
    for value, name in ((length, "content-length"), (host, "host")):
        several = len(known.get_all(name)) > 1
        assert value == (b"" if several else next((v for n, v in headers_ if n.lower() == name.encode()), None))


@given(fields)
def test_whatever_could_be_a_tag_is_looked_at_closely(headers_: Fields) -> None:
    if headers.find(headers_) is not None:
        assert glance(headers_)[0] & TRACE
    flow = tflow.tflow()
    flow.request.headers.fields = headers_
    Tag().requestheaders(flow)
    assert flow.metadata[KIND] == ("real" if headers.find(headers_) is None else "untrusted")
    assert headers.find(flow.request.headers.fields) is None


def test_names_that_a_client_makes_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 1000)
    memory = module._Memory()
    for number in range(2000):
        assert memory.glance(((b"x-%d" % number, b""), (b"Host", b"a"))) == (HOST, None, b"a")
        assert len(memory._marks) < 250


@pytest.mark.parametrize(
    ("lengths", "long"),
    [
        ((b"0",), False),
        ((b"%d" % STREAM_ABOVE,), False),
        ((b"%d" % (STREAM_ABOVE + 1),), True),
        ((b"00000000000005",), False),
        ((b"9" * 5000,), True),
        ((b"-1",), True),
        ((b"",), True),
        ((b"5", b"5"), True),
    ],
)
def test_a_body_is_long_if_its_length_is_or_is_unclear(lengths: tuple[bytes, ...], long: bool) -> None:
    for message in (tflow.tflow().request, http.Response.make()):
        message.headers.fields = tuple((b"Content-Length", length) for length in lengths)
        assert is_long(message) is long


@pytest.mark.parametrize(("status", "long"), [(200, True), (204, False), (304, False), (101, False)])
def test_an_answer_without_a_length_may_be_endless(status: int, long: bool) -> None:
    answer = http.Response.make(status)
    answer.headers.fields = ()
    assert is_long(answer) is long
    request = tflow.tflow().request
    request.headers.fields = ()
    assert not is_long(request)
