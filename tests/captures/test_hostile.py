"""Input made to exhaust memory or time: each case here would do so without the bound that it is named after."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from captures import codec, columns, rows
from captures.errors import CaptureError
from captures.reader import Capture, Segment
from captures.verify import verify
from tests.captures import making
from tests.captures.making import NOON, record
from tests.support.fuzzing.crew import Crew
from tests.support.fuzzing.mutations import checked

FULL = 0xFFFF


def array(*items: bytes) -> bytes:
    return b"\xdc" + len(items).to_bytes(2) + b"".join(items)


def filled(thing: bytes) -> bytes:
    """As many things as a block of 16 MiB holds."""
    row = b"\xdc\xff\xff" + thing * FULL
    return array(*[row] * (columns.MAX_BLOCK // len(row) - 1))


@pytest.mark.parametrize("thing", [b"\x80", b"\x90", b"\x91\x00", b"\xa2ab", b"\xcd\x01\x02", b"\x92\x91\x00\x91\x00"])
@pytest.mark.parametrize("decode", [columns.decode, rows.decode])
def test_small_things_do_not_fill_the_memory(thing: bytes, decode: Callable[[bytes, int], object]) -> None:
    content = filled(thing)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CaptureError):
        decode(content, 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 450 << 10


def block(fields: list[object], shapes: list[object], fillings: list[object], count: int, planes: bytes = b"") -> bytes:
    numbers = [0, 1, b""]
    text = [b"", ["/"]]
    line = [b"", [["GET", "http", "h", "HTTP/1.1"]]]
    tree = [count, NOON, *[numbers] * 6, line, text, [fields, [planes, shapes], fillings], [b"", [b""]]]
    packed: bytes = msgpack.packb(tree)
    return packed


def test_headers_without_a_byte_in_them_do_not_fill_the_memory() -> None:
    """65,536 records of 4,096 empty headers each: two gigabytes of references, and not one byte of text."""
    with pytest.raises(CaptureError, match="headers are larger than the format allows"):
        columns.decode(block([[b""]], [[0] * 4096], [[b"", [b""]]], columns.MAX_RECORDS), columns.MAX_RECORDS)


def test_many_holes_in_many_templates_do_not_take_for_ever() -> None:
    holes, shapes = 30_000, 30_000
    content = block([[b"%d" % n] for n in range(holes)], [[n] for n in range(shapes)], [[b"", [b""]]] * holes, 1, b"\0")
    begun = time.monotonic()
    with pytest.raises(CaptureError):
        columns.decode(content, 1)
    with pytest.raises(CaptureError):
        columns.decode(content, shapes)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("thing", [b"\x80", b"\x90", b"\x91\x00"])
def test_a_footer_of_small_things_does_not_fill_the_memory(thing: bytes, tmp_path: Path) -> None:
    row = b"\xdc\xff\xff" + thing * FULL
    many = array(*[row] * ((codec.MAX_FOOTER - 1000) // len(row)))
    head = making.header()
    footer = checked({"closed_ns": 1})[:-12] + b"\xa1x" + many  # no checksum is reached
    (tmp_path / "x.reamp").write_bytes(head + footer + b"\xcf" + len(head).to_bytes(8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Segment(tmp_path / "x.reamp").state == "torn"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


PROGRAM = """
import os, sys
from captures import codec, columns, rows
from captures.errors import CaptureError
def taken(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
before = taken()
for _ in range(5):
    try:
        HERE
    except CaptureError:
        print("refused")
print(taken() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "here",
    [
        r"columns.decode(b'\x9c' + b'\xdc\xff\xff' * 1000, 1)",
        r"rows.decode(b'\xdc\x0f\xff' * 1000, 1)",
        r"codec.unpack_header(b'\x81\xa6format' + b'\xdd\x00\x01\x86\x9f' * 1000)",
        r"codec.unpack_footer(b'\x81\xa5index' + b'\xdd\x00\x01\x86\x9f' * 1000, 0, 0)",
    ],
)
def test_arrays_in_arrays_that_never_come_take_no_memory_for_good(here: str) -> None:
    """What msgpack has begun when it fails is never freed, so each file of a folder would cost it once more."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.replace("HERE", here)], capture_output=True, check=True)
    *refused, grown = done.stdout.split()
    assert refused == [b"refused"] * 5
    assert int(grown) < 10


def test_a_file_of_nothing_but_heads_is_not_listed_without_end(tmp_path: Path) -> None:
    head = codec.pack_frame(NOON, NOON, 1, b"")
    (tmp_path / "x.reamp").write_bytes(making.header() + head * (codec.MAX_FRAMES + 50))
    segment = Segment(tmp_path / "x.reamp")
    assert len(segment.frames()) == codec.MAX_FRAMES
    assert "more blocks than the format allows" in str(segment.damage[0])


def test_damage_is_listed_up_to_a_bound(tmp_path: Path) -> None:
    head = codec.pack_frame(NOON, NOON, 1, b"")
    (tmp_path / "x.reamp").write_bytes(making.header() + head * 3000)
    segment = Segment(tmp_path / "x.reamp")
    assert [segment.read(frame) for frame in segment.frames()] == [None] * 3000
    assert len(segment.damage) == 1001
    assert "and there is more damage than this" in str(segment.damage[-1])


def test_a_sparse_file_of_any_size_is_passed_over(tmp_path: Path) -> None:
    good = making.frame([record(NOON)])
    path = tmp_path / "x.reamp"
    path.write_bytes(making.header() + good)
    with path.open("r+b") as file:
        file.seek(1 << 40)
        file.write(good)
    begun = time.monotonic()
    assert len(list(Capture(tmp_path).records())) == 2
    assert not verify(tmp_path).ok
    os.truncate(path, 1 << 41)
    assert len(list(Capture(tmp_path).records())) == 2
    assert time.monotonic() - begun < 10


def test_damage_after_damage_is_searched_in_bounded_time(tmp_path: Path) -> None:
    good = making.frame([record(NOON)])
    begun = time.monotonic()
    (tmp_path / "x.reamp").write_bytes(making.header() + (good + b"\x81\xa1") * 4000)
    assert Segment(tmp_path / "x.reamp").count == 4000
    (tmp_path / "x.reamp").write_bytes(making.header() + (good + b"\x81\xa9closed_ns\x00") * 4000)
    segment = Segment(tmp_path / "x.reamp")
    assert 10 < segment.count < 4000
    assert "too much damage" in str(segment.damage[-1])
    assert time.monotonic() - begun < 20


def test_the_bounds_let_the_largest_good_block_through() -> None:
    made = [record(NOON + n, headers=tuple((b"h%d" % m, b"%d" % (n * m)) for m in range(40))) for n in range(5000)]
    content = b"".join(columns.encode(columns.packer(), made))
    assert columns.decode(content, len(made)).records(range(len(made))) == made
    assert columns.MAX_EXPANDED >= 2 * 5000 * 40 * columns.FIELD


@pytest.mark.timeout(300)
def test_hostile_segments_neither_crash_nor_hang_nor_grow() -> None:
    """A part of what `python -m tests.support.fuzzing` does, in processes whose address space is bounded."""
    summary = Crew(segments=3000, seed=7, processes=2, memory=512, seconds=20).run(lambda _: None)
    assert summary.troubles == []
    assert summary.counts["segments"] == 3000
    assert min(summary.counts[kind] for kind in ("refused", "damaged", "in order")) > 50
