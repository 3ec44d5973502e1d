"""The list of revocations: who counts, look by look."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.revoking import MOST_TOLD, SETTLED, Course, Revocations
from loadtag import Revoked
from loadtag.validity import NOBODY

LISTS = st.builds(Revoked, st.frozensets(st.sampled_from("abc")), st.frozensets(st.sampled_from("xyz")))
LOOKS = st.lists(st.tuples(LISTS | st.none(), st.floats(0.05, 1)), max_size=30)


@given(LOOKS)
def test_who_is_on_the_list_never_counts_and_who_is_in_doubt_neither(looks: list[tuple[Revoked | None, float]]) -> None:
    course, now = Course(NOBODY), 0.0
    for found, step in looks:
        now += step
        held = course.look(found, now)
        assert held == course.held
        if found is None:
            assert held is None
        else:
            assert held is not None
            assert held.keys >= found.keys
            assert held.runs >= found.runs


@given(LISTS, LOOKS)
def test_a_line_counts_until_it_was_gone_for_a_while(first: Revoked, looks: list[tuple[Revoked | None, float]]) -> None:
    """An editor may leave the file empty, or away, for a moment."""
    course, now, since = Course(first), 100.0, 100.0
    last: Revoked | None = first
    for found, step in looks:
        now += step
        if found != last:
            last, since = found, now
        before, held = course.held, course.look(found, now)
        if held is not None and before is not None and now - since < SETTLED:
            assert held.keys >= before.keys
            assert held.runs >= before.runs
        if held is not None and now - since >= SETTLED:
            assert held == found


class Told(list[Revoked | None]):
    """What was told of a list, as it is followed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.revocations = Revocations(path, self.append)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self) < count:
                await asyncio.sleep(0.01)


async def test_a_file_is_read_again_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "revoked.txt"
    file.write_text("run a\n")
    told = Told(file)
    told.revocations.begin()
    assert told.revocations.held == Revoked(runs=frozenset("a"))
    told.revocations.follow()
    try:
        with file.open("a") as more:
            more.write("run b  # why\n")
        await told.until(1)
        file.write_text("run a\nrub b\n")
        await told.until(2)
        file.unlink()
        file.write_text("run b\n")
        await told.until(4)
    finally:
        told.revocations.stop()
    both, only_b = Revoked(runs=frozenset("ab")), Revoked(runs=frozenset("b"))
    assert told == [both, None, both, only_b]
    for words in (
        "Revoked: run b, on",
        "No load tag counts: the list of revocations can't be read",
        "line 2, 'rub b'",
        "reads well again",
        "No longer revoked: run a",
    ):
        assert words in caplog.text


async def test_a_long_list_is_told_in_few_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each line takes the time of the event loop, and of real users."""
    file = tmp_path / "revoked.txt"
    file.touch()
    told = Told(file)
    told.revocations.begin()
    told.revocations.follow()
    try:
        new = tmp_path / "new.txt"
        new.write_text("".join(f"run {number}\n" for number in range(30_000)))
        new.replace(file)
        await told.until(1)
    finally:
        told.revocations.stop()
    (held,) = told
    assert held is not None
    assert len(held.runs) == 30_000
    assert caplog.text.count("Revoked: run ") == MOST_TOLD
    assert f"Revoked: {30_000 - MOST_TOLD} more of these, on {file}" in caplog.text


async def test_a_disk_that_hangs_is_doubt(tmp_path: Path) -> None:
    """A pipe that nobody writes to hangs whoever opens it."""
    file = tmp_path / "revoked.txt"
    file.touch()
    told = Told(file)
    told.revocations.begin()
    file.unlink()
    os.mkfifo(file)
    told.revocations.follow()
    try:
        await told.until(1)
        assert told == [None]
    finally:
        told.revocations.stop()
        os.close(os.open(file, os.O_WRONLY))


def test_what_can_not_be_read_at_the_start_is_doubt_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    file = tmp_path / "revoked.txt"
    cases = {b"rub b\n": "line 1", b"\xff": "decode", b"run a\n" * 200_000: "too large"}
    for content, words in cases.items():
        file.write_bytes(content)
        _doubtful(file, words)
    file.unlink()
    _doubtful(file, "No such file")
    os.mkfifo(file)  # hangs whoever opens it
    _doubtful(file, "the disk does not answer")
    os.close(os.open(file, os.O_WRONLY))


def _doubtful(file: Path, words: str) -> None:
    revocations = Told(file).revocations
    revocations.begin()
    assert revocations.held is None
    assert words in revocations.trouble


async def test_what_was_in_doubt_at_the_start_counts_once_it_reads_well(tmp_path: Path) -> None:
    file = tmp_path / "revoked.txt"
    told = Told(file)
    told.revocations.begin()
    told.revocations.follow()
    try:
        file.write_text("rub b\n")
        async with asyncio.timeout(10):
            while "line 1" not in told.revocations.trouble:
                await asyncio.sleep(0.01)
        assert told == []
        file.write_text("run b\n")
        await told.until(1)
    finally:
        told.revocations.stop()
    assert told == [Revoked(runs=frozenset("b"))]
    assert told.revocations.trouble == ""
