"""Reading small files that somebody named."""

import errno
import os
import threading
from pathlib import Path

import pytest

from rules.files import read_small

MOST = 100_000


def refused(path: Path) -> OSError:
    """Give why a file is not read. Whatever it is, it comes with words."""
    with pytest.raises(OSError, match=r".") as told:
        read_small(path, MOST, "too large for a list")
    assert told.value.strerror
    return told.value


@pytest.mark.parametrize("size", [0, 1, MOST])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "link").symlink_to("file")
    assert read_small(tmp_path / "file", MOST, "") == content
    assert read_small(tmp_path / "link", MOST, "") == content


def test_what_is_too_large_is_refused_in_the_words_of_who_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MOST + 1))
    error = refused(tmp_path / "file")
    assert (error.errno, error.strerror) == (errno.EFBIG, "too large for a list")


def test_nothing_without_end_is_read_on() -> None:
    assert refused(Path("/dev/zero")).errno == errno.EFBIG


@pytest.mark.parametrize("size", [7, MOST, MOST + 1, 3 * MOST])
def test_a_pipe_is_read_to_its_end_or_to_the_bound(tmp_path: Path, size: int) -> None:
    """As of a shell's ``<(...)``, from which a secret comes that lies in no file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    given = os.urandom(size)

    def write() -> None:
        try:
            path.write_bytes(given)
        except BrokenPipeError:
            assert size > MOST

    writer = threading.Thread(target=write)
    writer.start()
    try:
        if size > MOST:
            assert refused(path).errno == errno.EFBIG
        else:
            assert read_small(path, MOST, "") == given
    finally:
        writer.join(10)
    assert not writer.is_alive()


def test_what_is_not_there_or_no_file_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "round").symlink_to("round")
    cases = {
        tmp_path / "none": errno.ENOENT,
        tmp_path / "file" / "none": errno.ENOTDIR,
        tmp_path: errno.EISDIR,
        tmp_path / "round": errno.ELOOP,
        tmp_path / ("x" * 300): errno.ENAMETOOLONG,
        tmp_path / "a\0b": errno.EINVAL,
    }
    for path, number in cases.items():
        error = refused(path)
        assert (error.errno, error.strerror) == (number, os.strerror(number)), path
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "none", MOST, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0)
    assert refused(tmp_path / "file").errno == errno.EACCES


def test_a_disk_that_fails_is_told() -> None:
    """The memory of a process has no page at its beginning: reading it fails after it was opened."""
    assert refused(Path("/proc/self/mem")).errno == errno.EIO
