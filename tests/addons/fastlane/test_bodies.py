"""Bodies on their way: the same content whatever the framing, however it is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.fastlane.bodies import Body
from addons.fastlane.chunked import MAX_SIZE_LINE, ChunkedReader, ChunkError, chunk, last_chunk
from addons.fastlane.head import CHUNKED, UNTIL_CLOSE
from addons.fastlane.phases import Phase, limit


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut `data` at some places."""
    edges = [0, *sorted({place % (len(data) + 1) for place in at}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def drop_by_drop(reader: ChunkedReader, data: bytes) -> None:
    """Feed one byte at a time."""
    for byte in data:
        reader.feed(bytes((byte,)))


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 10_000)), st.binary(max_size=20))
def test_a_chunked_body_comes_out_whole(pieces: list[bytes], places: list[int], after: bytes) -> None:
    trailers = ((b"Sum", b"1"),)
    wire = b"".join(map(chunk, pieces)) + last_chunk(trailers) + after
    reader, content = ChunkedReader(), b""
    for part in cut(wire, places):
        content += reader.feed(part)
    assert (content, reader.done, reader.trailers, reader.rest()) == (b"".join(pieces), True, trailers, after)


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello",
        b"5;a\nb\r\nhello",
        b"5\r\nhello!\r\n",
        b"5\r\nhello\n0\r\n",
        b"1000000000000000\r\n",
        b"5;" + b"x" * MAX_SIZE_LINE,
        b"5;" + b"x" * MAX_SIZE_LINE + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\nbad name: x\r\n\r\n",
        b"0\r\nX: y\n\n",
    ],
)
def test_a_body_that_is_not_chunked_as_it_should_be(wire: bytes) -> None:
    with pytest.raises(ChunkError):
        ChunkedReader().feed(wire)
    with pytest.raises(ChunkError):
        drop_by_drop(ChunkedReader(), wire)


@given(st.binary(max_size=60), st.lists(st.integers(0, 10_000)), st.sampled_from([CHUNKED, 0]), st.booleans())
def test_what_is_passed_on_is_what_came(content: bytes, places: list[int], framing: int, doubled: bool) -> None:
    """Through each framing to each, with an add-on's function or without."""
    length = len(content)
    wire = chunk(content) * bool(content) + last_chunk(()) if framing == CHUNKED else content
    for out_framing in (CHUNKED, length, UNTIL_CLOSE):
        body = Body(framing or length)
        body.send_as(out_framing, (lambda piece: [piece, piece]) if doubled else True)
        out = b"".join(map(body.pass_on, cut(wire, places))) + body.flush() + body.end(())
        assert body.done
        if out_framing == CHUNKED:
            out = ChunkedReader().feed(out)
        assert sorted(out) == sorted(content * (1 + doubled))
        assert body.short == (out_framing == length and doubled and length > 0)


def test_a_function_may_hold_back_until_the_end() -> None:
    held: list[bytes] = []

    def hold(piece: bytes) -> bytes:
        held.append(piece)
        return b"" if piece else b"".join(held)

    body = Body(CHUNKED)
    body.send_as(CHUNKED, hold)
    assert body.pass_on(chunk(b"a") + chunk(b"b") + last_chunk(())) == b""
    assert body.flush() + body.end(()) == chunk(b"ab") + b"0\r\n\r\n"


def test_only_what_may_take_long_has_no_limit() -> None:
    limits = {phase: limit(phase, 600, 300) for phase in Phase}
    assert limits[Phase.IDLE] == limits[Phase.CLIENT] == 600
    assert limits[Phase.APP] == 300
    assert limits[Phase.HEAD] == 60
    assert limits[Phase.TASK] == float("inf")
    assert limit(Phase.HEAD, 5, 300) == 5
