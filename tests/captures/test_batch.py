import random
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import codec
from captures.batch import BatchWriter
from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from captures.verify import verify
from rules.exits import UserError
from tests.captures.making import NOON, noise, record, records
from tests.support.disks import Disk


def key(one: Record) -> bytes:
    return repr(one).encode()


def write(
    folder: Path, made: Sequence[Record], segment_size: int = 64 << 20, then: Callable[[], object] = lambda: None
) -> BatchWriter:
    """Write `made`; `then` is called before the writer is done."""
    with BatchWriter(folder, segment_size=segment_size) as out:
        for one in made:
            out.write(one)
        then()
    return out


def noisy(count: int, size: int) -> list[Record]:
    """Records that do not compress."""
    return [record(NOON + n, body=noise(size), body_size=size) for n in range(count)]


@given(made=st.lists(records, max_size=30), size=st.sampled_from([1, 64 << 20]))
@settings(max_examples=60)
def test_what_goes_in_comes_out_sorted_by_arrival(
    tmp_path_factory: pytest.TempPathFactory, made: list[Record], size: int
) -> None:
    folder = tmp_path_factory.mktemp("batch")  # there and empty: that is allowed
    out = write(folder, made, size)
    found = list(Capture(folder).records())
    assert sorted(map(key, found)) == sorted(map(key, made))
    assert [one.arrival_ns for one in found] == sorted(one.arrival_ns for one in made)
    assert (out.records, out.bytes) == (len(made), sum(path.stat().st_size for path in folder.iterdir()))
    assert verify(folder).ok


def test_segments_are_rotated_and_their_books_fit_together(tmp_path: Path) -> None:
    dice = random.Random(1)
    made = [record(NOON + n, body=dice.randbytes(200_000), body_size=200_000) for n in range(30)]
    write(tmp_path / "out", made, segment_size=2_000_000)
    capture = Capture(tmp_path / "out")
    assert len(capture.segments) >= 3
    assert all(segment.size < 4_000_000 for segment in capture.segments)
    assert list(capture.records()) == made
    report = verify(tmp_path / "out")
    assert report.ok
    assert [segment.sequence for segment in report.segments] == list(range(1, len(capture.segments) + 1))
    (books,) = report.writers
    assert (books.accounting.seen, books.accounting.written, books.covered) == (30, 30, True)


def test_where_it_came_from_and_what_was_redacted_is_kept(tmp_path: Path) -> None:
    said = {"headers": ["*token*"], "key": "abc", "method": "m"}
    with BatchWriter(tmp_path / "out", extra={"made_by": "slice", "from": ["a"]}, redaction=said) as out:
        out.write(record())
    (segment,) = Capture(tmp_path / "out").segments
    assert segment.header
    assert (segment.header.extra, segment.header.redaction) == ({"made_by": "slice", "from": ["a"]}, said)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write(tmp_path / "out", [record()])
    (file,) = (tmp_path / "out").iterdir()
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["folder", "file", "dangling"])
def test_nothing_is_ever_overwritten(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "there"
    if kind == "folder":
        there.mkdir()
        (there / "mine.txt").write_text("mine")
    elif kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to("file")
        (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="there exists and is not an empty folder: name one that is not there yet"):
        write(there, [record()])
    assert sorted(tmp_path.rglob("*")) == before


def test_something_that_turns_up_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    def turn_up() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(CaptureError, match=r"cannot write .*out: Directory not empty"):
        write(tmp_path / "out", [record()], then=turn_up)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_folder_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        write(tmp_path / "nowhere" / "out", [record()])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        assert list(tmp_path.rglob("*.reamp")), "it had begun to write"
        raise error

    with pytest.raises(error):
        write(tmp_path / "out", noisy(20, 200_000), segment_size=1, then=fail)
    assert not list(tmp_path.iterdir())


def test_nobody_sees_it_before_it_is_whole(tmp_path: Path) -> None:
    made, before = noisy(20, 200_000), list[bool]()
    write(tmp_path / "out", made, segment_size=1, then=lambda: before.append((tmp_path / "out").exists()))
    assert before == [False]
    assert list(Capture(tmp_path / "out").records()) == made
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_record_that_does_not_fit_is_told_and_costs_no_other(tmp_path: Path) -> None:
    body = b"x" * codec.MAX_RECORD
    with BatchWriter(tmp_path / "out") as out:
        out.write(record(NOON))
        for unfit in (record(-1), record(body=body), record(status=2**70), record(headers=((b"a", b"b"),) * 5000)):
            with pytest.raises(ValueError, match=r"record|out of range|headers"):
                out.write(unfit)
        out.write(record(NOON + 1))
    assert out.records == 2
    assert [one.arrival_ns for one in Capture(tmp_path / "out").records()] == [NOON, NOON + 1]
    assert verify(tmp_path / "out").ok


def test_more_about_its_source_than_a_header_holds_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="larger than the format allows"):
        with BatchWriter(tmp_path / "out", extra={"from": "x" * 100_000}):
            pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(disk: Disk) -> None:
    with pytest.raises(CaptureError, match=r"cannot write .*out: No space left on device"):
        write(disk.folder / "out", noisy(1000, 10_000))
    assert not list(disk.folder.iterdir())


def test_a_disk_that_has_no_room_for_the_end_is_told_too(disk: Disk) -> None:
    with pytest.raises(CaptureError, match="No space left on device"):
        write(disk.folder / "out", noisy(10, 1000), then=disk.fill)
    assert [path.name for path in disk.folder.iterdir()] == ["ballast"]
