import struct
from pathlib import Path

import google_crc32c
import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from captures import codec
from captures.errors import CaptureError
from captures.records import Record
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import NOON, record


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
    assert codec.read_frame(data, frame) == block


def test_a_request_line_that_is_not_utf8_keeps_its_bytes_in_valid_msgpack() -> None:
    odd = record(path=b"/caf\xe9".decode("utf-8", "surrogateescape"), method="G\udcffT")
    (row,) = making.packed([odd])
    assert msgpack.unpackb(row)[4] == b"/caf\xe9"
    assert codec.unpack_records(row, 1) == [odd]


@pytest.mark.parametrize(
    "bad",
    [
        record(arrival_ns=-1),
        record(arrival_ns=2**63),
        record(path="\ud800"),
        record(body_size=2**70),
        record(headers=((b"a", object()),)),
        record(headers=((b"a", b"b"),) * 5000),
    ],
)
def test_what_the_format_cannot_hold_is_refused(bad: Record) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        making.packed([bad])


ROW: list[object] = [0, "GET", "http", "a", "/", "HTTP/1.1", [], b"", 0, 200, 0, 1, 1]
WRONG: tuple[object, ...] = (None, 1.5, {}, True)


@pytest.mark.parametrize(
    "row",
    [
        *([*ROW[:place], wrong, *ROW[place + 1 :]] for place in range(13) for wrong in WRONG),
        [-1, *ROW[1:]],
        ROW[:12],
        [*ROW, 1],
        7,
        [],
        [*ROW[:6], [[b"a"]], *ROW[7:]],
        [*ROW[:6], [b"ab"], *ROW[7:]],
        [*ROW[:6], [["a", b"b"]], *ROW[7:]],
        [*ROW[:6], [[b"a", b"b"]] * 5000, *ROW[7:]],
    ],
)
def test_records_of_a_wrong_shape_are_named(row: object) -> None:
    with pytest.raises(CaptureError):
        codec.unpack_records(msgpack.packb(row), 1)


def test_a_full_block_of_noise_reads_though_compression_makes_it_longer() -> None:
    block = [record(NOON + n, body=making.noise(codec.MAX_BLOCK // 2 - 1000), body_size=1) for n in range(2)]
    data = making.frame(block)
    assert len(data) > sum(map(len, making.packed(block)))
    frame = codec.frame_head(data, 0)
    assert frame is not None
    assert codec.read_frame(data, frame) == block
    assert len(zstandard.ZstdCompressor(level=1).compress(making.noise(codec.MAX_BLOCK))) <= codec.MAX_PAYLOAD


def test_a_payload_that_no_block_can_have_is_no_frame() -> None:
    head = bytearray(making.frame([record()])[: codec.FRAME_HEAD])
    for length, fits in ((codec.MAX_PAYLOAD, True), (codec.MAX_PAYLOAD + 1, False)):
        head[-4:] = length.to_bytes(4)
        assert (codec.frame_head(bytes(head), 0) is not None) == fits


def test_the_largest_body_fits_whatever_its_headers_are() -> None:
    headers = tuple((b"x-%d" % n, bytes(2000)) for n in range(500))
    (packed,) = making.packed([record(body=bytes(codec.MAX_BODY), headers=headers)])
    assert len(packed) <= codec.MAX_RECORD


def test_a_footer_that_no_reader_would_take_is_not_made() -> None:
    footer = codec.Footer(closed_ns=NOON, why="end", records=1, first_ns=0, last_ns=1, accounting=Accounting())
    entry = (codec.MAX_TIME - 1, codec.MAX_TIME - 1, codec.MAX_TIME - 1, 2**32 - 1)
    full = codec.pack_footer(footer, [entry] * codec.MAX_FRAMES, 0)
    assert len(full) <= codec.MAX_FOOTER, "as many blocks as a segment can have always fit"
    with pytest.raises(ValueError, match="larger than the format allows"):
        codec.pack_footer(footer, [entry] * 2 * codec.MAX_FRAMES, 0)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(codec.MAX_BLOCK + 1))
    with pytest.raises(CaptureError, match="more than the format allows"):
        codec.read_frame(*_framed(bomb))


def test_a_bomb_that_hides_its_size_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(codec.MAX_BLOCK + 1))
    with pytest.raises(CaptureError, match="more than the format allows"):
        codec.read_frame(*_framed(bomb))


def test_deep_nesting_is_refused() -> None:
    deep = zstandard.ZstdCompressor().compress(b"\x91" * 1_000_000 + b"\xc0")
    with pytest.raises(CaptureError):
        codec.read_frame(*_framed(deep))


def _framed(payload: bytes) -> tuple[bytes, codec.Frame]:
    before = struct.pack(">BBQBQBI", 0x96, 0xCF, NOON, 0xCF, NOON, 0xCE, 1) + b"\xa4zstd"
    after = struct.pack(">BI", 0xC6, len(payload))
    crc = google_crc32c.value(before + after + payload)
    data = before + struct.pack(">BI", 0xCE, crc) + after + payload
    frame = codec.frame_head(data, 0)
    assert frame is not None
    return data, frame


def test_any_msgpack_library_can_walk_a_segment(tmp_path: Path) -> None:
    """Only msgpack and zstandard, nothing of ours: this is what the format promises."""
    blocks = [[record(NOON + 5), record(NOON + 3)], [record(NOON + 9, body=b"x", body_size=1)]]
    file = tmp_path / "one.reamp"
    file.write_bytes(b"".join(making.segment(blocks)))

    with file.open("rb") as stream:
        header, *frames, footer, footer_offset = msgpack.Unpacker(stream)
    assert (header["format"], header["version"]) == ("reamp-capture", 1)
    found = []
    for first, last, count, kind, _, payload in frames:
        assert kind == "zstd"
        rows = msgpack.Unpacker()
        rows.feed(zstandard.ZstdDecompressor().decompress(payload))
        arrival, arrivals = 0, []
        for row in rows:
            arrival += row[0]
            arrivals.append(arrival)
            found.append((arrival, row[1], row[4], bytes(row[7])))
        assert (first, last, count) == (min(arrivals), max(arrivals), len(arrivals))
    assert found == [(r.arrival_ns, r.method, r.path, r.body) for block in blocks for r in block]
    assert footer["records"] == 3
    assert [entry[1:] for entry in footer["index"]] == [list(frame[:3]) for frame in frames]
    assert file.read_bytes()[footer_offset:].startswith(msgpack.packb(footer)[:20])


def test_a_header_of_a_later_version_is_refused_by_number() -> None:
    fields = {"format": codec.FORMAT, "version": 2}
    with pytest.raises(CaptureError, match="format version 2, and this version of reamp reads 1"):
        codec.unpack_header(codec._seal(fields))


@pytest.mark.parametrize("fields", [{}, {"format": "other"}, {"format": codec.FORMAT, "version": 1}])
def test_a_header_that_lacks_what_it_must_have_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(CaptureError):
        codec.unpack_header(codec._seal(fields))
