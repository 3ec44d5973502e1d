"""Two processes that record into one folder at the same time."""

import fcntl
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from captures.reader import Capture
from captures.segments import Place, SegmentFile, is_being_written
from captures.verify import verify
from captures.worker import Worker

SEGMENTS = 100


def test_two_processes_of_100_segments_each_share_none_and_lose_none(tmp_path: Path) -> None:
    folder = tmp_path / "captures"
    names = ["one", "two"]
    begin = [sys.executable, "-m", "tests.captures.locked_writer", str(folder)]
    processes = [
        subprocess.Popen(
            [*begin, name, str(SEGMENTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
    said = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [int(written) for _, written in said] == [SEGMENTS, SEGMENTS]

    ids = dict(zip(names, (writer for writer, _ in said), strict=True))
    assert len(set(ids.values())) == 2
    found: Counter[str] = Counter()
    full = 0
    for segment in Capture(folder).segments:
        assert segment.header
        records = list(segment.records())
        full += bool(records)
        for one in records:
            _, name, _ = one.path.split("/")
            assert segment.header.writer == ids[name], "a record lies in a segment of its own writer"
            found[one.path] += 1
    assert full == 2 * SEGMENTS
    assert found == {f"/{name}/{number}": 1 for name in names for number in range(SEGMENTS)}
    report = verify(folder)
    assert report.ok
    assert sorted(one.writer for one in report.writers) == sorted(ids.values())


async def test_a_reader_that_looks_at_the_wrong_moment_does_not_keep_the_lock_from_its_writer(tmp_path: Path) -> None:
    """It tries the lock of the file that has just been made, and holds it for an instant."""
    place, tried = Place(tmp_path), threading.Event()
    real = os.open

    def open_and_be_looked_at(*arguments: object, **keywords: object) -> int:
        descriptor = real(*arguments, **keywords)  # type: ignore[arg-type]
        if str(arguments[0]).endswith("a.reamp") and not tried.is_set():
            tried.set()
            reader = real(str(arguments[0]), os.O_RDONLY)
            fcntl.flock(reader, fcntl.LOCK_SH)
            threading.Timer(0.1, os.close, [reader]).start()
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", open_and_be_looked_at)
        file = await SegmentFile.create(place, "a.reamp", Worker("test"))
    with (tmp_path / "a.reamp").open("rb") as reader:
        assert is_being_written(reader.fileno())
    await file.close()


async def test_a_new_file_that_somebody_else_keeps_locked_is_not_written(tmp_path: Path) -> None:
    real = os.open
    kept: list[int] = []

    def open_and_lock(*arguments: object, **keywords: object) -> int:
        descriptor = real(*arguments, **keywords)  # type: ignore[arg-type]
        if str(arguments[0]).endswith("a.reamp") and not kept:
            kept.append(real(str(arguments[0]), os.O_RDWR))
            fcntl.flock(kept[0], fcntl.LOCK_EX)
        return descriptor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", open_and_lock)
        with pytest.raises(OSError, match="somebody else has locked"):
            await SegmentFile.create(Place(tmp_path), "a.reamp", Worker("test"))
    os.close(kept[0])
    assert not list(tmp_path.iterdir())
