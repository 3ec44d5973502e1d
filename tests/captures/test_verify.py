from pathlib import Path

import pytest

from captures import codec
from captures.errors import CaptureError
from captures.records import Record
from captures.verify import Report, verify
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import NOON, record, segment

BLOCKS = [[record(NOON), record(NOON + 1)], [record(NOON + 2)]]


def put(folder: Path, sequence: int, pieces: list[bytes]) -> Path:
    path = folder / f"{sequence}.reamp"
    path.write_bytes(b"".join(pieces))
    return path


def series(folder: Path, count: int = 4) -> list[Path]:
    return [put(folder, n, segment(BLOCKS, sequence=n, written=3 * (n - 1))) for n in range(1, count + 1)]


def problems(report: Report) -> list[str]:
    damage = [line for one in report.segments for line in one.damage]
    return damage + [line for writer in report.writers for line in writer.problems]


def test_a_whole_capture_is_in_order(tmp_path: Path) -> None:
    series(tmp_path)
    report = verify(tmp_path)
    assert (report.ok, report.records, problems(report)) == (True, 12, [])
    assert report.writers[0].accounting == Accounting(seen=12, written=12)
    assert Report.model_validate_json(report.model_dump_json()).records == 12


def test_old_segments_may_be_removed_and_a_hole_may_not_be(tmp_path: Path) -> None:
    paths = series(tmp_path, 6)
    paths[0].unlink()
    assert verify(tmp_path).ok
    paths[2].unlink()
    assert problems(verify(tmp_path)) == ["segment 3 is missing"]
    paths[3].unlink()
    assert problems(verify(tmp_path)) == ["segment 3 to 4 is missing"]


def test_a_copy_beside_the_original_is_noticed(tmp_path: Path) -> None:
    (path, *_) = series(tmp_path, 2)
    (tmp_path / "1-copy.reamp").write_bytes(path.read_bytes())
    assert problems(verify(tmp_path)) == ["segment 1 is there twice: 1-copy.reamp and 1.reamp"]


def _footer(records: int = 3, accounting: Accounting | None = None) -> codec.Footer:
    return codec.Footer(
        closed_ns=NOON,
        why="end",
        records=records,
        first_ns=NOON,
        last_ns=NOON + 2,
        accounting=accounting or Accounting(seen=3, written=3),
    )


def _with_footer(footer: codec.Footer, blocks: list[list[Record]]) -> list[bytes]:
    *pieces, _ = segment(blocks)
    offset, index = len(pieces[0]), []
    for block, piece in zip(blocks, pieces[1:], strict=True):
        index.append((offset, block[0].arrival_ns, block[-1].arrival_ns, len(block)))
        offset += len(piece)
    return [*pieces, codec.pack_footer(footer, index, offset)]


@pytest.mark.parametrize(
    ("footer", "said"),
    [
        (_footer(2), "the footer says 2 records, the blocks say 3"),
        (_footer(3, Accounting(seen=4, written=4)), "the counters say 4 records were written, the footer says 3"),
        (_footer(3, Accounting(seen=4, written=3)), "the accounts at close do not reconcile: seen 4, written 3"),
    ],
)
def test_books_that_do_not_agree_are_told(tmp_path: Path, footer: codec.Footer, said: str) -> None:
    put(tmp_path, 1, _with_footer(footer, BLOCKS))
    report = verify(tmp_path)
    assert not report.ok
    assert any(said in line for line in problems(report))


def test_a_lost_block_shows_even_if_the_file_was_put_together_again(tmp_path: Path) -> None:
    put(tmp_path, 1, _with_footer(_footer(3), BLOCKS[:1]))
    assert "the footer says 3 records, the blocks say 2" in problems(verify(tmp_path))


def test_a_block_that_lies_about_its_times_is_told(tmp_path: Path) -> None:
    lying = codec.Compressor(3).frame(NOON - 5, NOON + 5, 1, making.packed([record(NOON)]))
    put(tmp_path, 1, [making.header(), lying])
    assert "the block spans other times than its head says" in problems(verify(tmp_path))[0]


def test_a_torn_last_segment_is_told_in_words(tmp_path: Path) -> None:
    put(tmp_path, 1, [*segment(BLOCKS)[:2], b"\x96\xcf\x00"])
    (one,) = verify(tmp_path).segments
    assert (one.state, one.lost) == ("torn", True)
    assert one.note == (
        "has no footer: the sidecar was killed or crashed, or the disk failed. "
        "It reads up to 2026-11-21T12:00:00.000Z (3 bytes of a torn block after it); "
        "at most 1s of traffic after that was lost"
    )


def test_a_torn_segment_before_another_is_complete_exactly_if_the_next_one_says_so(tmp_path: Path) -> None:
    put(tmp_path, 1, segment(BLOCKS)[:-1])
    put(tmp_path, 2, segment(BLOCKS, sequence=2, written=3))
    assert verify(tmp_path).ok
    put(tmp_path, 1, segment(BLOCKS)[:-2])
    report = verify(tmp_path)
    assert not report.ok
    assert "by the accounts of the next segment, 1 records are missing" in report.segments[0].note


def test_an_unreadable_file_is_part_of_the_report(tmp_path: Path) -> None:
    series(tmp_path, 1)
    (tmp_path / "2.reamp").write_bytes(b"")
    report = verify(tmp_path)
    assert not report.ok
    assert report.segments[1].state == "unreadable"
    assert "is empty" in report.segments[1].damage[0]


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in series(tmp_path, 2)]
    told: list[tuple[int, int]] = []
    verify(tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(sizes[0], sum(sizes)), (sum(sizes), sum(sizes))]


def test_without_a_capture_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(CaptureError):
        verify(tmp_path)
