from pathlib import Path

import pytest

from captures import codec
from captures.accounting import Counts, settle
from captures.errors import CaptureError
from captures.moments import SECOND
from captures.reader import Capture, Segment
from captures.records import Record
from captures.verify import GapReport, Report, verify
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
    assert problems(verify(tmp_path)) == [
        "segment 1 is there twice: 1-copy.reamp and 1.reamp (only 1-copy.reamp is replayed)"
    ]


@pytest.mark.parametrize(
    ("opens_with", "said"),
    [
        (Accounting(seen=5, written=5), "2 records are counted as written that neither holds"),
        (Accounting(seen=9, written=4, filtered=5), "1 record is counted as written that neither holds"),
        (Accounting(seen=3, written=2, dropped=1), "the counters went backwards: written"),
        (Accounting(seen=2, written=3, pending=-1), "the counters went backwards: seen"),
        (Accounting(seen=3, written=3), ""),
        (Accounting(seen=4, written=3, pending=1), ""),
    ],
)
def test_closed_neighbours_are_held_against_each_other(tmp_path: Path, opens_with: Accounting, said: str) -> None:
    put(tmp_path, 1, segment(BLOCKS))
    after = opens_with.model_copy(update={"seen": opens_with.seen + 3, "written": opens_with.written + 3})
    put(tmp_path, 2, _with_footer(_footer(3, after), BLOCKS, 2, opens_with))
    expected = [f"between segments 1 and 2, {said}"] if said else []
    assert problems(verify(tmp_path)) == expected


def test_drops_never_go_down(tmp_path: Path) -> None:
    closed, opened = Accounting(seen=5, written=3, dropped=2), Accounting(seen=6, written=3, dropped=1, filtered=2)
    put(tmp_path, 1, _with_footer(_footer(3, closed), BLOCKS))
    put(tmp_path, 2, _with_footer(_footer(0, opened), [], 2, opened))
    assert problems(verify(tmp_path)) == ["between segments 1 and 2, the counters went backwards: dropped"]


def _footer(records: int = 3, accounting: Accounting | None = None) -> codec.Footer:
    return codec.Footer(
        closed_ns=NOON,
        why="end",
        records=records,
        first_ns=NOON,
        last_ns=NOON + 2,
        accounting=accounting or Accounting(seen=3, written=3),
    )


def _with_footer(
    footer: codec.Footer, blocks: list[list[Record]], sequence: int = 1, opens_with: Accounting | None = None
) -> list[bytes]:
    *pieces, _ = segment(blocks, sequence)
    pieces[0] = making.header(sequence, accounting=opens_with)
    offset, index = len(pieces[0]), []
    for block, piece in zip(blocks, pieces[1:], strict=True):
        index.append((offset, block[0].arrival_ns, block[-1].arrival_ns, len(block)))
        offset += len(piece)
    if not blocks:
        footer = footer.model_copy(update={"first_ns": None, "last_ns": None})
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


def test_accounts_at_open_that_do_not_reconcile_are_told(tmp_path: Path) -> None:
    odd = Accounting(seen=7, written=0)
    put(tmp_path, 1, _with_footer(_footer(3, Accounting(seen=7, written=3, pending=4)), BLOCKS, 1, odd))
    (problem,) = problems(verify(tmp_path))
    assert problem.startswith("the accounts at open do not reconcile: seen 7, written 0")


@pytest.mark.parametrize("name", ["seen", "synthetic", "untrusted", "filtered", "sampled_out", "dropped"])
def test_counters_that_go_backwards_within_a_segment_are_told(tmp_path: Path, name: str) -> None:
    at_open = {"seen": 9, "pending": 4, "synthetic": 1, "untrusted": 1, "filtered": 1, "sampled_out": 1, "dropped": 1}
    at_close = {**at_open, "written": 3, "pending": 1}
    at_close[name] -= 1
    at_close["pending"] += -1 if name == "seen" else 1
    footer = _footer(3, Accounting(**at_close))
    put(tmp_path, 1, _with_footer(footer, BLOCKS, 1, Accounting(**at_open)))
    assert problems(verify(tmp_path)) == [f"the counters went backwards: {name}"]


def test_a_lost_block_shows_even_if_the_file_was_put_together_again(tmp_path: Path) -> None:
    put(tmp_path, 1, _with_footer(_footer(3), BLOCKS[:1]))
    assert "the footer says 3 records, the blocks say 2" in problems(verify(tmp_path))


def test_a_block_that_lies_about_its_times_is_told(tmp_path: Path) -> None:
    lying = codec.pack_frame(NOON - 5, NOON + 5, 1, codec.Compressor(3).payload([record(NOON)]))
    put(tmp_path, 1, [making.header(), lying])
    assert "the block spans other times than its head says" in problems(verify(tmp_path))[0]


@pytest.mark.parametrize("span", [{"first_ns": NOON + 1}, {"last_ns": NOON + 9}, {"first_ns": None, "last_ns": None}])
def test_a_footer_that_lies_about_its_span_is_told(tmp_path: Path, span: dict[str, int | None]) -> None:
    put(tmp_path, 1, _with_footer(_footer().model_copy(update=span), BLOCKS))
    assert problems(verify(tmp_path)) == ["the footer says another span than its index"]


def test_records_of_other_times_than_their_head_says_never_come_out_of_order(tmp_path: Path) -> None:
    lying = codec.stamped(making.frame([record(NOON - 50), record(NOON + 30), record(NOON + 99)]), NOON + 20, NOON + 40)
    put(tmp_path, 1, [making.header(), making.frame([record(NOON + 10), record(NOON + 25)]), lying])
    capture = Capture(tmp_path)
    assert [one.arrival_ns - NOON for one in capture.records()] == [10, 25, 30]
    assert "these are left out" in capture.damage[0]


def test_a_torn_last_segment_is_told_in_words(tmp_path: Path) -> None:
    put(tmp_path, 1, [*segment(BLOCKS)[:2], b"\x96\xcf\x00"])
    (one,) = verify(tmp_path).segments
    assert (one.state, one.lost) == ("torn", True)
    assert one.note == (
        "has no footer: the sidecar was killed or crashed, or the disk failed. "
        "It reads up to 2026-11-21T12:00:00.000Z (3 bytes of a torn block after it). Lost are at most 1s of finished "
        "requests if the disk kept up, otherwise also what waited for it, up to 32MiB; "
        "and whatever was still being answered"
    )


def test_a_broken_footer_is_told_from_a_missing_one(tmp_path: Path) -> None:
    pieces = segment(BLOCKS)
    at = pieces[-1].index(b"records")
    put(tmp_path, 1, [*pieces[:-1], pieces[-1][:at] + b"R" + pieces[-1][at + 1 :]])
    (one,) = verify(tmp_path).segments
    assert one.damage == [
        f"at byte {len(b''.join(pieces[:-1]))}: its footer is broken, and with it the accounts at close"
    ]
    assert "was killed" not in one.note
    assert one.records == 3


def test_gaps_are_told_and_are_no_damage(tmp_path: Path) -> None:
    pause = 3600 * SECOND
    steady = [[record(at + n * SECOND // 10) for n in range(100)] for at in (NOON, NOON + pause)]
    put(tmp_path, 1, segment(steady))
    report = verify(tmp_path)
    assert report.ok
    assert report.gaps == [GapReport(from_ns=steady[0][-1].arrival_ns, to_ns=NOON + pause, cause="stopped")]
    assert (report.first_ns, report.last_ns) == (NOON, steady[1][-1].arrival_ns)


def test_a_gap_within_a_block_is_found_too(tmp_path: Path) -> None:
    put(
        tmp_path,
        1,
        segment([[record(at + n * SECOND // 10) for at in (NOON, NOON + 600 * SECOND) for n in range(100)]]),
    )
    assert len(verify(tmp_path).gaps) == 1


def test_a_torn_segment_of_a_header_alone_holds_no_torn_block(tmp_path: Path) -> None:
    put(tmp_path, 1, [making.header()])
    assert "It holds no whole block. Lost are" in verify(tmp_path).segments[0].note


def test_accounts_of_a_segment_without_footer_are_those_from_its_opening(tmp_path: Path) -> None:
    put(tmp_path, 1, segment(BLOCKS))
    (whole,) = verify(tmp_path).writers
    assert (whole.covered, whole.accounted) == (True, 1)
    put(tmp_path, 2, segment(BLOCKS, sequence=2, written=3)[:-1])
    (torn,) = verify(tmp_path).writers
    assert (torn.covered, torn.accounted, torn.accounting.written) == (False, 2, 3)


def test_a_torn_segment_before_another_is_complete_exactly_if_the_next_one_says_so(tmp_path: Path) -> None:
    put(tmp_path, 1, segment(BLOCKS)[:-1])
    put(tmp_path, 2, segment(BLOCKS, sequence=2, written=3))
    assert verify(tmp_path).ok
    put(tmp_path, 1, segment(BLOCKS)[:-2])
    report = verify(tmp_path)
    assert not report.ok
    assert "by the accounts of the next segment, 1 record is missing" in report.segments[0].note


def test_a_torn_segment_that_holds_more_than_was_counted_is_told(tmp_path: Path) -> None:
    put(tmp_path, 1, segment(BLOCKS)[:-1])
    put(tmp_path, 2, segment(BLOCKS[1:], sequence=2, written=2))
    report = verify(tmp_path)
    assert not report.ok
    assert "by the accounts of the next segment, 1 record is too many: they may be in both" in report.segments[0].note


def test_an_unreadable_file_is_part_of_the_report(tmp_path: Path) -> None:
    series(tmp_path, 1)
    (tmp_path / "2.reamp").write_bytes(b"")
    report = verify(tmp_path)
    assert not report.ok
    assert report.segments[1].state == "unreadable"
    assert "is empty" in report.segments[1].damage[0]


def test_progress_is_told_in_bytes_from_the_start_and_by_the_block(tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in series(tmp_path, 2)]
    ends = [frame.offset + frame.length for frame in Segment(tmp_path / "1.reamp").frames()]
    told: list[tuple[int, int]] = []
    verify(tmp_path, lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {sum(sizes)}
    assert [done for done, _ in told] == [0, *ends, sizes[0], *(sizes[0] + end for end in ends), sum(sizes)]


def test_without_a_capture_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(CaptureError):
        verify(tmp_path)


async def test_a_writer_that_goes_on_with_the_counters_of_a_dead_one_is_in_order(tmp_path: Path) -> None:
    """Counters are the worker's place, files the worker's own: the second one's begin where the first one's ended."""
    counts = Counts(seen=9, written=4, synthetic=2, in_flight=1, queued=1)  # killed within a count
    settle(counts, 5)
    for _ in range(2):
        writer = making.writer(tmp_path, counts)
        await writer.start()
        for number in range(3):
            counts.seen += 1
            assert writer.offer(record(NOON + number))
        await writer.close()
    report = verify(tmp_path)
    assert (report.ok, report.records, problems(report)) == (True, 6, [])
    assert report.writers[-1].accounting == Accounting(seen=15, written=11, synthetic=2, dropped=2)
