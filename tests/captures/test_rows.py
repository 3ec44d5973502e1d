"""Segments of format version 1, which are written no more: here they are made as they were."""

from collections.abc import Sequence
from pathlib import Path

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from captures import codec, rows
from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from captures.verify import verify
from tests.captures import making
from tests.captures.making import NOON, record
from tests.support.rows import content


def frame(block: Sequence[Record]) -> bytes:
    """Make a block's frame."""
    arrivals = [one.arrival_ns for one in block]
    payload = zstandard.ZstdCompressor().compress(content(block))
    return codec.pack_frame(min(arrivals), max(arrivals), len(block), payload, codec.ROWS)


@given(st.lists(making.records, min_size=1, max_size=20))
def test_a_block_gives_back_every_record_exactly(block: list[Record]) -> None:
    read = rows.decode(content(block), len(block))
    assert read.records(range(len(block))) == block
    assert list(read.arrivals) == [one.arrival_ns for one in block]


def test_a_segment_of_version_1_reads_and_is_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [
        [record(NOON + 5), record(NOON + 3)],
        [record(NOON + 9, path=b"/\xff".decode("utf-8", "surrogateescape"))],
    ]
    with monkeypatch.context() as old:
        old.setattr(making, "frame", frame)
        old.setattr(codec, "VERSION", 1)
        (tmp_path / "old.reamp").write_bytes(b"".join(making.segment(blocks)))
    capture = Capture(tmp_path)
    assert capture.segments[0].header is not None
    assert capture.segments[0].header.version == 1
    assert list(capture.records()) == sorted(one for block in blocks for one in block)
    assert verify(tmp_path).ok


ROW: list[object] = [0, "GET", "http", "a", "/", "HTTP/1.1", [], b"", 0, 200, 0, 1, 1]
WRONG: tuple[object, ...] = (None, 1.5, {}, True)


@pytest.mark.parametrize(
    "wrong",
    [
        *([*ROW[:place], wrong, *ROW[place + 1 :]] for place in range(13) for wrong in WRONG),
        [-1, *ROW[1:]],
        *([*ROW[:place], wrong, *ROW[place + 1 :]] for place in range(8, 13) for wrong in (-2, 2**63)),
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
def test_records_of_a_wrong_shape_are_named(wrong: object) -> None:
    with pytest.raises(CaptureError):
        rows.decode(msgpack.packb(wrong), 1)
