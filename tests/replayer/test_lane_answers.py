"""The native lane's parser of answers: it finds what the other lane finds, however the bytes come in pieces."""

import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replayer.transport import http1
from tests.replayer.test_transport_fuzz import feed
from tests.support.answers import BODIES, FIELDS, INTERIM, STARTS, broken, cut, parse


@given(
    interim=st.lists(st.sampled_from(INTERIM), max_size=2),
    start=st.sampled_from(STARTS),
    fields=st.lists(st.sampled_from(FIELDS), max_size=3),
    body=st.sampled_from(BODIES),
    method=st.sampled_from(["GET", "HEAD"]),
)
def test_both_lanes_find_the_same(
    native: Any, interim: list[bytes], start: bytes, fields: list[bytes], body: bytes, method: str
) -> None:
    codings = [field for field in fields if field.startswith(b"Transfer-Encoding")]
    assume(len(codings) < 2)  # of several the parser of the Python lane looks at the first one
    body = b"" if method == "HEAD" else body
    whole = b"".join([*interim, b"\r\n".join((start, *fields, b"", b"")), body])
    python = feed(http1.Connection, b"", [whole], method).found
    assert [parse(native, [whole], head=method == "HEAD").outcome] == python


@given(st.randoms(use_true_random=False), st.booleans())
def test_how_it_is_cut_makes_no_difference(native: Any, draw: random.Random, head: bool) -> None:
    whole = broken(draw)
    assert parse(native, cut(draw, whole), head=head).outcome == parse(native, [whole], head=head).outcome


@pytest.mark.parametrize("before", range(10))
@pytest.mark.parametrize("after", range(10))
def test_no_control_character_is_in_a_value(native: Any, before: int, after: int) -> None:
    for byte in range(256):
        value = b"y" * before + bytes([byte]) + b"z" * after
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + value + b"\r\n\r\n"
        good = byte == 9 or (byte >= 32 and byte != 127)
        assert parse(native, [whole]).outcome == (200 if good else "protocol"), byte
