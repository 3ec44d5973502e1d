import fcntl
import gc
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import codec, columns, reader
from captures.codec import Frame
from captures.errors import CaptureError
from captures.reader import Capture, Segment, segment_files
from captures.records import Record
from captures.verify import verify
from tests.captures import making
from tests.captures.making import NOON, record

BLOCKS = [
    [record(NOON + 10 * block + place, path=f"/{block}/{place}", headers=((b"a", b"b"),)) for place in range(3)]
    for block in range(4)
]
ALL = [one for block in BLOCKS for one in block]


def arrivals(records: list[Record]) -> list[int]:
    return [one.arrival_ns for one in records]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "20261121T120000.000000Z-w1-000001.reamp"
    path.write_bytes(b"".join(making.segment(BLOCKS)))
    return path


def test_a_capture_knows_its_span_and_count_without_reading_a_block(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "read_frame", None)
    capture = Capture(file.parent)
    assert (capture.first_ns, capture.last_ns, capture.count) == (NOON, NOON + 32, 12)
    assert (capture.segments[0].state, capture.damage) == ("closed", [])


def test_one_file_is_a_capture_too(file: Path) -> None:
    assert list(Capture(file).records()) == ALL


def test_an_empty_capture_has_no_span(tmp_path: Path) -> None:
    (tmp_path / "a.reamp").write_bytes(b"".join(making.segment([])))
    capture = Capture(tmp_path)
    assert (capture.first_ns, capture.last_ns, capture.count, list(capture.records())) == (None, None, 0, [])


# --- order and slices ---

requests = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), min_size=1, max_size=60)


@given(requests, st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.data())
def test_records_come_in_order_of_arrival_across_blocks_segments_and_writers(
    tmp_path_factory: pytest.TempPathFactory,
    spans: list[tuple[int, int]],
    block_size: int,
    blocks: int,
    writers: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    made = [record(NOON + at, duration_ns=took, body_size=n) for n, (at, took) in enumerate(spans)]
    for writer in range(writers):
        mine = sorted(made[writer::writers], key=lambda one: one.arrival_ns + one.duration_ns)
        cut = [mine[at : at + block_size] for at in range(0, len(mine), block_size)]
        for sequence, start in enumerate(range(0, len(cut), blocks), 1):
            piece = making.segment(cut[start : start + blocks], sequence, f"w{writer}")
            (folder / f"{sequence}-{writer}.reamp").write_bytes(b"".join(piece))

    capture = Capture(folder)
    found = list(capture.records())
    assert arrivals(found) == sorted(arrivals(made))
    assert sorted(found) == sorted(made)
    assert (capture.first_ns, capture.last_ns, capture.count) == (
        min(arrivals(made)),
        max(arrivals(made)),
        len(made),
    )

    low = data.draw(st.none() | st.integers(NOON - 5, NOON + 305))
    high = data.draw(st.none() | st.integers(NOON - 5, NOON + 305))
    inside = [r for r in found if (low is None or low <= r.arrival_ns) and (high is None or r.arrival_ns < high)]
    between = list(capture.records(low, high))
    assert arrivals(between) == arrivals(inside)
    assert sorted(between) == sorted(inside)  # those that arrived in the same nanosecond come in any order


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """Every block that is read, as it is read."""
    seen: list[Frame] = []
    read = Segment.read

    def counted(self: Segment, frame: Frame, *unpack: Any) -> Any:
        seen.append(frame)
        return read(self, frame, *unpack)

    monkeypatch.setattr(Segment, "read", counted)
    return seen


def long_capture(folder: Path) -> None:
    """Write 100 blocks of 10 records; one request of the first block ends in the last."""
    blocks = [[record(NOON + 100 * block + place) for place in range(10)] for block in range(100)]
    blocks[-1].append(record(NOON + 5))
    (folder / "a.reamp").write_bytes(b"".join(making.segment(blocks)))


def test_memory_holds_only_the_blocks_around_the_current_moment(tmp_path: Path, reads: list[Frame]) -> None:
    long_capture(tmp_path)
    for position, one in enumerate(Capture(tmp_path).records()):
        whole = sum(frame.last_ns < one.arrival_ns for frame in reads)
        assert len(reads) - whole <= 3, f"too many blocks open at record {position}"
    assert len(reads) == 100


def test_memory_stays_flat_when_every_block_holds_a_request_that_took_for_ever(
    tmp_path: Path, reads: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WHOLE", 4)
    blocks = [
        [record(NOON + 10_000 + 100 * block + place) for place in range(20)]
        + [record(NOON + 3 * block), record(NOON + 5000 + 3 * block)]
        for block in range(100)
    ]
    (tmp_path / "a.reamp").write_bytes(b"".join(making.segment(blocks)))
    expected = sorted(one.arrival_ns for block in blocks for one in block)
    del blocks
    found, most = [], 0
    before = alive()
    for position, one in enumerate(Capture(tmp_path).records()):
        found.append(one.arrival_ns)
        if position % 50 == 0:
            most = max(most, alive() - before)
    assert found == expected
    assert most < 600, "four blocks, and two or three early records of each of the others"
    assert len(reads) <= 4 * 100
    assert arrivals(list(Capture(tmp_path).records(NOON + 5000, NOON + 10_050))) == [
        at for at in expected if NOON + 5000 <= at < NOON + 10_050
    ]


def alive() -> int:
    return sum(type(thing) is Record for thing in gc.get_objects())


@given(requests, st.integers(1, 9), st.integers(0, 3))
def test_order_does_not_depend_on_how_much_is_held(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]], block_size: int, held: int
) -> None:
    folder = tmp_path_factory.mktemp("capture")
    made = [record(NOON + at, duration_ns=took, body_size=n) for n, (at, took) in enumerate(spans)]
    made.sort(key=lambda one: one.arrival_ns + one.duration_ns)
    blocks = [made[at : at + block_size] for at in range(0, len(made), block_size)]
    (folder / "a.reamp").write_bytes(b"".join(making.segment(blocks)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_WHOLE", held)
        found = list(Capture(folder).records())
    assert arrivals(found) == sorted(arrivals(made))
    assert sorted(found) == sorted(made)


def test_a_slice_reads_only_its_own_blocks(tmp_path: Path, reads: list[Frame]) -> None:
    long_capture(tmp_path)
    found = list(Capture(tmp_path).records(NOON + 5000, NOON + 5200))
    assert arrivals(found) == [NOON + 5000 + 100 * block + place for block in range(2) for place in range(10)]
    assert len(reads) == 3  # two blocks, and the one whose span covers everything


# --- what is broken ---


def test_a_torn_file_reads_exactly_the_blocks_before_the_tear_wherever_it_is(tmp_path: Path) -> None:
    pieces = making.segment(BLOCKS)
    data = b"".join(pieces)
    ends = [len(b"".join(pieces[: count + 1])) for count in range(len(BLOCKS) + 1)]
    path = tmp_path / "a.reamp"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        if cut < ends[0]:
            with pytest.raises(CaptureError, match="empty" if not cut else "not a capture"):
                Capture(tmp_path)
            continue
        capture = Capture(tmp_path)
        whole = sum(end <= cut for end in ends[1:])
        assert list(capture.records()) == ALL[: 3 * whole]
        assert capture.count == 3 * whole
        report = verify(tmp_path)
        assert not report.ok
        assert report.records == 3 * whole
        (segment,) = report.segments
        if segment.state == "torn":
            assert "at most 1s of finished requests" in segment.note
            torn_bytes = cut - max(end for end in ends if end <= cut)
            kind = "footer" if cut >= ends[-1] else "block"
            assert (f"({torn_bytes} bytes of a torn {kind}" in segment.note) == (torn_bytes > 0)
        else:
            assert cut > len(data) - codec.TRAILER - 1


def test_every_flipped_bit_is_noticed_and_costs_no_more_than_its_block(tmp_path: Path) -> None:
    pieces = making.segment(BLOCKS)
    data = b"".join(pieces)
    path = tmp_path / "a.reamp"
    bit = random.Random(7)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 << bit.randrange(8)
        path.write_bytes(broken)
        assert not verify(tmp_path).ok, f"byte {place}"
        hit = [place < len(b"".join(pieces[: n + 2])) and place >= len(b"".join(pieces[: n + 1])) for n in range(4)]
        expected = [one for block, gone in zip(BLOCKS, hit, strict=True) if not gone for one in block]
        assert list(Capture(tmp_path).records()) == expected, f"byte {place}"


def test_a_flipped_bit_without_a_footer_costs_no_more_than_its_block(tmp_path: Path) -> None:
    pieces = making.segment(BLOCKS)[:-1]
    data = b"".join(pieces)
    path = tmp_path / "a.reamp"
    bit = random.Random(8)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 << bit.randrange(8)
        path.write_bytes(broken)
        assert not verify(tmp_path).ok, f"byte {place}"
        hit = [place < len(b"".join(pieces[: n + 2])) and place >= len(b"".join(pieces[: n + 1])) for n in range(4)]
        expected = [one for block, gone in zip(BLOCKS, hit, strict=True) if not gone for one in block]
        assert list(Capture(tmp_path).records()) == expected, f"byte {place}"


def _flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _drop(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    del data[at : at + dice.randrange(60)]


def _insert(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    data[at:at] = dice.randbytes(dice.randrange(60))


def _overwrite(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    data[at : at + 8] = dice.choice([b"\xff" * 8, bytes(8), dice.randbytes(8), b"\x96\xcf\x96\xcf\xc6\xdf\xdd\xce"])


def _repeat(data: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(data))
    data[at:at] = data[at : at + dice.randrange(300)]


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [_flip, _cut, _drop, _insert, _overwrite, _repeat]


def test_no_damage_whatever_makes_reading_fail_otherwise_than_by_saying_so(tmp_path: Path) -> None:
    whole = b"".join(making.segment(BLOCKS))
    path = tmp_path / "a.reamp"
    dice = random.Random(2026)
    known = set(ALL)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 5])):
            if data:
                dice.choice(DAMAGES)(data, dice)
        path.write_bytes(data)
        try:
            found = list(Capture(tmp_path).records())
        except CaptureError:
            found = []
        assert set(found) <= known, "what reads is what was written"
        if data != whole:
            assert not verify(tmp_path).ok or found == ALL


def test_a_file_full_of_false_heads_does_not_keep_the_reader_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each head claims that the rest of the file is its payload: checking all of them would take for ever."""
    head = bytearray(making.frame([record()])[: codec.FRAME_HEAD])
    head[-4:] = (1 << 19).to_bytes(4)
    path = tmp_path / "a.reamp"
    path.write_bytes(making.header() + b"\0" + bytes(head) * 40_000)
    checked = 0
    intact = codec.frame_intact

    def counted(data: bytes) -> bool:
        nonlocal checked
        checked += len(data)
        return intact(data)

    monkeypatch.setattr(codec, "frame_intact", counted)
    segment = Segment(path)
    assert segment.count == 0
    assert "too much damage" in str(segment.damage[-1])
    assert checked <= 5 * path.stat().st_size + columns.MAX_BLOCK


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"hello\n" * 9, b"\x1f\x8b" + bytes(99), making.header()[:30], b"\x81"]
)
def test_foreign_and_empty_files_are_named(content: bytes, file: Path) -> None:
    foreign = file.parent / "zz.reamp"
    foreign.write_bytes(content)
    with pytest.raises(CaptureError, match=r"zz\.reamp is (empty|not a capture)"):
        Segment(foreign)
    capture = Capture(file.parent)
    assert list(capture.records()) == ALL, "the others still read"
    assert "zz.reamp is" in capture.damage[0]


def test_a_segment_of_a_later_version_is_refused_by_name(file: Path) -> None:
    header, _ = codec.unpack_header(making.header())
    later = codec.pack_header(header.model_copy(update={"version": 9}))
    (file.parent / "zz.reamp").write_bytes(later + making.frame(BLOCKS[0]))
    capture = Capture(file.parent)
    assert list(capture.records()) == ALL, "the others still read"
    (line,) = capture.damage
    assert "zz.reamp cannot be read: it has format version 9, and this version of reamp reads up to 2" in line


def test_other_files_in_the_folder_are_left_alone(file: Path) -> None:
    (file.parent / "notes.txt").write_text("mine")
    (file.parent / "reamp").mkdir()
    assert segment_files(file.parent) == [file]


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "is no file: it is a folder"),
        (_pipe, "is no file: it is a pipe, socket or device"),
        (_loop, "Too many levels of symbolic links"),
        (_dangling, "is a link to a file that is not there"),
    ],
)
def test_what_is_no_file_is_named_and_never_waited_for(make: Callable[[Path], None], said: str, file: Path) -> None:
    make(file.parent / "zz.reamp")
    capture = Capture(file.parent)
    assert list(capture.records()) == ALL, "the others still read"
    (line,) = capture.damage
    assert "zz.reamp" in line
    assert said in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(file: Path) -> None:
    other = file.parent / "zz.reamp"
    other.write_bytes(file.read_bytes())
    other.chmod(0)
    assert Capture(file.parent).damage == [f"{other}: Permission denied"]


def test_no_capture_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"no capture in .*: it holds no"):
        Capture(tmp_path)
    with pytest.raises(CaptureError, match="there is no such folder"):
        Capture(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", making.header()[:60], making.header()])
def test_a_file_that_a_writer_has_just_begun_is_open(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.reamp"
    path.write_bytes(content)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        segment = Segment(path)
        assert (segment.state, segment.count, segment.damage) == ("open", 0, [])
        assert Capture(tmp_path).damage == []
        report = verify(tmp_path)
        assert report.ok
        assert report.segments[0].note == "is being written at this moment; holds no whole block"


def test_a_foreign_file_stays_foreign_when_somebody_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "a.reamp"
    path.write_bytes(b"hello\n" * 9)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CaptureError, match="is not a capture"):
            Segment(path)


def test_a_segment_that_is_closed_while_it_is_opened_is_not_torn(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file.read_bytes()
    *whole, footer = making.segment(BLOCKS)
    file.write_bytes(b"".join(whole))

    def ask(_descriptor: int) -> bool:
        with file.open("ab") as writer:  # the writer is done between what is asked first and second
            writer.write(footer)
        return False

    monkeypatch.setattr(reader, "is_being_written", ask)
    assert Segment(file).state == "closed"
    assert file.read_bytes() == data


def test_a_segment_that_goes_away_before_it_is_opened_is_no_part_of_the_capture(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = file.with_name("gone.reamp")
    listed = [gone, file]
    monkeypatch.setattr(reader, "segment_files", lambda _path: listed)
    monkeypatch.setattr("captures.verify.segment_files", lambda _path: listed)
    capture = Capture(file.parent)
    assert (list(capture.records()), capture.damage) == (ALL, [])
    report = verify(file.parent)
    assert (report.ok, [one.file for one in report.segments]) == (True, [file.name])
    del listed[1]
    with pytest.raises(CaptureError, match="no capture in"):
        Capture(file.parent)


def test_a_segment_that_is_deleted_while_it_is_verified_is_no_part_of_the_capture(file: Path) -> None:
    last = file.with_name("z.reamp")
    last.write_bytes(b"".join(making.segment(BLOCKS, writer="w2")))

    def told(done: int, _total: int) -> None:
        if done:
            file.unlink(missing_ok=True)

    report = verify(file.parent, told)
    assert (report.ok, [one.file for one in report.segments]) == (True, ["z.reamp"])


def test_what_is_there_twice_is_read_once(file: Path) -> None:
    alias = file.with_name("alias.reamp")
    alias.symlink_to(file)
    os.link(file, file.with_name("zz.reamp"))
    capture = Capture(file.parent)
    assert list(capture.records()) == ALL
    assert capture.count == len(ALL)
    assert [line.partition(" is left out: ")[2] for line in capture.damage] == [
        f"{file.name} is the same segment",
        f"{file.name} is the same segment",
    ]


def test_a_file_that_goes_away_while_reading_is_damage(file: Path) -> None:
    capture = Capture(file)
    stream = capture.records()
    assert next(stream) == ALL[0]
    file.unlink()
    assert len(list(stream)) == 2
    assert "No such file" in capture.damage[0]
