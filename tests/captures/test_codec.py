import struct

import google_crc32c
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from captures import codec
from captures.columns import MAX_BLOCK, MAX_TIME, Block
from captures.errors import CaptureError
from captures.records import Record
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import NOON, record


def everything(block: Block) -> list[Record]:
    """All records of a block, in the order in which they were written."""
    return block.records(range(len(block.arrivals)))


@given(st.lists(making.records, min_size=1, max_size=20))
def test_a_block_gives_back_every_record_exactly(block: list[Record]) -> None:
    data = making.frame(block)
    frame = codec.frame_head(data, 7)
    assert frame is not None
    assert tuple(frame) == (
        7,
        min(r.arrival_ns for r in block),
        max(r.arrival_ns for r in block),
        len(block),
        len(data),
    )
    assert everything(codec.read_frame(data, frame)) == block


def test_a_full_block_of_noise_reads_though_compression_makes_it_longer() -> None:
    block = [record(NOON + n, body=making.noise(MAX_BLOCK // 2 - 1000), body_size=1) for n in range(2)]
    data = making.frame(block)
    assert len(data) > 2 * len(block[0].body)
    frame = codec.frame_head(data, 0)
    assert frame is not None
    assert everything(codec.read_frame(data, frame)) == block
    assert len(zstandard.ZstdCompressor(level=1).compress(making.noise(MAX_BLOCK))) <= codec.MAX_PAYLOAD


def test_a_payload_that_no_block_can_have_is_no_frame() -> None:
    head = bytearray(making.frame([record()])[: codec.FRAME_HEAD])
    for length, fits in ((codec.MAX_PAYLOAD, True), (codec.MAX_PAYLOAD + 1, False)):
        head[-4:] = length.to_bytes(4)
        assert (codec.frame_head(bytes(head), 0) is not None) == fits


def test_the_largest_body_fits_whatever_its_headers_are() -> None:
    headers = tuple((b"x-%d" % n, bytes(2000)) for n in range(500))
    largest = record(body=bytes(codec.MAX_BODY), headers=headers)
    assert codec.weigh(largest)[0] <= codec.MAX_RECORD
    frame = making.frame([largest])
    head = codec.frame_head(frame, 0)
    assert head is not None
    assert everything(codec.read_frame(frame, head)) == [largest]


def test_a_footer_that_no_reader_would_take_is_not_made() -> None:
    footer = codec.Footer(closed_ns=NOON, why="end", records=1, first_ns=0, last_ns=1, accounting=Accounting())
    entry = (MAX_TIME - 1, MAX_TIME - 1, MAX_TIME - 1, 2**32 - 1)
    full = codec.pack_footer(footer, [entry] * codec.MAX_FRAMES, 0)
    assert len(full) <= codec.MAX_FOOTER, "as many blocks as a segment can have always fit"
    with pytest.raises(ValueError, match="larger than the format allows"):
        codec.pack_footer(footer, [entry] * 2 * codec.MAX_FRAMES, 0)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(MAX_BLOCK + 1))
    with pytest.raises(CaptureError, match="more than the format allows"):
        codec.read_frame(*_framed(bomb))


def test_a_bomb_that_hides_its_size_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(MAX_BLOCK + 1))
    with pytest.raises(CaptureError, match="more than the format allows"):
        codec.read_frame(*_framed(bomb))


def test_deep_nesting_is_refused() -> None:
    deep = zstandard.ZstdCompressor().compress(b"\x91" * 1_000_000 + b"\xc0")
    with pytest.raises(CaptureError):
        codec.read_frame(*_framed(deep))


def _framed(payload: bytes) -> tuple[bytes, codec.Frame]:
    before = struct.pack(">BBQBQBI", 0x96, 0xCF, NOON, 0xCF, NOON, 0xCE, 1) + b"\xa4zcol"
    after = struct.pack(">BI", 0xC6, len(payload))
    crc = google_crc32c.value(before + after + payload)
    data = before + struct.pack(">BI", 0xCE, crc) + after + payload
    frame = codec.frame_head(data, 0)
    assert frame is not None
    return data, frame


def test_a_header_of_a_later_version_is_refused_by_number() -> None:
    fields = {"format": codec.FORMAT, "version": 3}
    with pytest.raises(CaptureError, match="format version 3, and this version of reamp reads up to 2"):
        codec.unpack_header(codec._seal(fields))


@pytest.mark.parametrize("fields", [{}, {"format": "other"}, {"format": codec.FORMAT, "version": 1}])
def test_a_header_that_lacks_what_it_must_have_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(CaptureError):
        codec.unpack_header(codec._seal(fields))
