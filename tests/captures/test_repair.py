"""Clean copies: everything that reads, exact, in order, and honest about what is missing."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import codec
from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from captures.repair import RepairReport, repair
from captures.verify import verify
from rules.exits import UserError
from rules.wire import Accounting
from tests.captures import making
from tests.captures.making import NOON, record, segment

BLOCKS = [[record(NOON + 10 * block + n, path=f"/{block}/{n}") for n in range(3)] for block in range(4)]
ALL = [one for block in BLOCKS for one in block]


def put(folder: Path, sequence: int, pieces: list[bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{sequence}.reamp"
    path.write_bytes(b"".join(pieces))
    return path


def series(folder: Path, count: int = 3) -> list[Path]:
    """Segments of one writer; the records of each are an hour later than those of the one before."""
    return [put(folder, n, segment(later(n), sequence=n, written=12 * (n - 1))) for n in range(1, count + 1)]


def later(sequence: int) -> list[list[Record]]:
    hours = (sequence - 1) * 3_600_000_000_000
    return [[one._replace(arrival_ns=one.arrival_ns + hours) for one in block] for block in BLOCKS]


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.iterdir()
        if file.is_file()
    }


def repaired(source: Path) -> RepairReport:
    """Repair, and demand what always holds: the source is as it was, the copy is in order, and has all that reads."""
    before, target = snapshot(source), source.with_name("clean")
    report = repair(source, target)
    assert snapshot(source) == before
    verdict = verify(target)
    assert verdict.ok, verdict.model_dump_json(indent=1)
    assert list(Capture(target).records()) == list(Capture(source).records())
    assert report.records == verdict.records
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in target.iterdir())
    return report


def flip(path: Path, offset: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= bit
    path.write_bytes(data)


def test_what_is_in_order_is_copied_byte_for_byte(tmp_path: Path) -> None:
    series(tmp_path / "in")
    report = repaired(tmp_path / "in")
    assert (report.copied, report.rewritten, report.records, report.losses) == (3, 0, 36, [])
    for file in (tmp_path / "in").iterdir():
        assert (tmp_path / "clean" / file.name).read_bytes() == file.read_bytes()


def _payload(path: Path) -> None:
    pieces = segment(BLOCKS)
    flip(path, len(pieces[0]) + len(pieces[1]) + 60)


def _frame_head(path: Path) -> None:
    pieces = segment(BLOCKS)
    flip(path, len(pieces[0]) + len(pieces[1]) + 3)


def _footer(path: Path) -> None:
    flip(path, path.stat().st_size - 40)


def _trailer(path: Path) -> None:
    flip(path, path.stat().st_size - 1)


def _truncated(path: Path) -> None:
    pieces = segment(BLOCKS)
    path.write_bytes(path.read_bytes()[: len(b"".join(pieces[:3])) + 20])


def _broken_header(path: Path) -> None:
    flip(path, path.read_bytes().index(b"writer") + 9)


@pytest.mark.parametrize("sequence", [1, 2, 3])
@pytest.mark.parametrize(
    ("damage", "lost"),
    [(_payload, 3), (_frame_head, 3), (_footer, 0), (_trailer, 0), (_truncated, 6)],
)
def test_damage_costs_its_block_and_the_copy_says_so(
    damage: Callable[[Path], None], lost: int, sequence: int, tmp_path: Path
) -> None:
    path = series(tmp_path / "in")[sequence - 1]
    damage(path)
    report = repaired(tmp_path / "in")
    assert (report.copied, report.rewritten, report.records) == (2, 1, 36 - lost)
    (loss,) = report.losses
    assert loss.file == path.name
    verdict = verify(tmp_path / "clean")
    note = verdict.segments[sequence - 1].note
    assert note.startswith(f"a repaired copy of {path.name}: ")
    # Of the last segment, without a footer, nobody knows what it has lost.
    known = 0 if damage is _truncated and sequence == 3 else lost
    assert (loss.records, verdict.lost_before) == (known, known)
    assert (f"lost were {known} records" in note) == (known > 0)


def test_a_segment_with_a_broken_header_gets_a_new_one_and_accounts_of_its_own(tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    _broken_header(paths[1])
    report = repaired(tmp_path / "in")
    assert (report.copied, report.rewritten, report.records) == (1, 2, 36)
    assert "the header is broken" in report.losses[0].why[0]
    verdict = verify(tmp_path / "clean")
    assert sorted(writer.records for writer in verdict.writers) == [12, 24]
    assert "1 segment before it" in verdict.segments[2].note


def test_a_missing_segment_stays_missing_and_is_told(tmp_path: Path) -> None:
    series(tmp_path / "in", 4)[1].unlink()
    assert not verify(tmp_path / "in").ok
    report = repaired(tmp_path / "in")
    assert (report.copied, report.rewritten) == (2, 1)
    assert "1 segment before it" in verify(tmp_path / "clean").segments[1].note


def test_accounts_that_contradict_each_other_are_begun_anew(tmp_path: Path) -> None:
    put(tmp_path / "in", 1, segment(BLOCKS, sequence=1))
    odd = making.header(2, accounting=Accounting(seen=3, written=3))
    put(tmp_path / "in", 2, [odd, *segment(later(2), sequence=2)[1:]])
    report = repaired(tmp_path / "in")
    assert (report.records, len(verify(tmp_path / "clean").writers)) == (24, 2)


def test_a_twin_is_left_out_and_the_better_one_is_kept(tmp_path: Path) -> None:
    (path,) = series(tmp_path / "in", 1)
    (tmp_path / "in" / "0.reamp").write_bytes(path.read_bytes()[:-200])
    before = snapshot(tmp_path / "in")
    report = repair(tmp_path / "in", tmp_path / "clean")
    assert snapshot(tmp_path / "in") == before
    assert [loss.model_dump() for loss in report.losses] == [
        {"file": "0.reamp", "blocks": 0, "records": 0, "why": ["the same segment is there twice"]}
    ]
    assert [file.name for file in (tmp_path / "clean").iterdir()] == ["1.reamp"]
    assert verify(tmp_path / "clean").ok


def test_a_block_that_lies_about_its_times_gets_the_right_ones(tmp_path: Path) -> None:
    data = making.frame(BLOCKS[0])
    put(tmp_path / "in", 1, [making.header(), codec.stamped(data, NOON - 5, NOON + 900)])
    assert not verify(tmp_path / "in").ok
    assert repaired(tmp_path / "in").records == 3


def test_strangers_are_named_and_left_behind(tmp_path: Path) -> None:
    series(tmp_path / "in", 1)
    (tmp_path / "in" / "x.reamp").write_bytes(b"\x1f\x8b" + bytes(9))
    report = repaired(tmp_path / "in")
    assert "It seems to be a gzip file" in report.losses[0].why[0]
    assert (tmp_path / "in" / "x.reamp").exists()


def test_one_file_is_repaired_alone(tmp_path: Path) -> None:
    path = series(tmp_path / "in", 3)[1]
    report = repair(path, tmp_path / "clean")
    assert (report.copied, report.records) == (1, 12)


def test_a_repaired_capture_is_repaired_no_further(tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    _payload(paths[1])
    repair(tmp_path / "in", tmp_path / "one")
    report = repair(tmp_path / "one", tmp_path / "two")
    assert (report.copied, report.rewritten, report.losses) == (3, 0, [])


@pytest.mark.parametrize("make", [Path.touch, lambda path: (path.mkdir(), (path / "mine").touch())])
def test_what_is_there_is_never_written_over(make: Callable[[Path], None], tmp_path: Path) -> None:
    series(tmp_path / "in")
    make(tmp_path / "clean")
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        repair(tmp_path / "in", tmp_path / "clean")


def test_if_nothing_reads_there_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.reamp").write_bytes(b"rubbish")
    with pytest.raises(CaptureError, match=r"nothing in .* reads"):
        repair(tmp_path / "in", tmp_path / "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_progress_ends_at_all_of_it(tmp_path: Path) -> None:
    series(tmp_path / "in")
    told: list[tuple[int, int]] = []
    repair(tmp_path / "in", tmp_path / "clean", lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@given(data=st.data())
def test_whatever_is_broken_the_copy_is_in_order(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("repair")
    paths = series(folder / "in")
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(paths))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        match data.draw(st.sampled_from(["flip", "cut", "remove", "insert"])):
            case "flip" if content:
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[at:]
            case "remove":
                del content[at : at + data.draw(st.integers(1, 300))]
            case _:
                content[at:at] = data.draw(st.binary(min_size=1, max_size=60))
        path.write_bytes(content)
    try:
        Capture(folder / "in")
    except CaptureError:
        with pytest.raises(CaptureError):
            repair(folder / "in", folder / "clean")
        return
    repaired(folder / "in")
