"""A run's folder on a full disk: the run goes on, says so, does not end well, and leaves nothing half-written."""

import json
import re
from pathlib import Path

import msgpack
import pytest

from replayer.books.folder import Folder, read_report
from replayer.plan import Plan
from replayer.reporting.recovery import report_of
from replayer.reporting.writing import write_beside
from rules.exits import Exit, UserError
from tests.replayer.test_outcome import report
from tests.replayer.test_run import Field, app, here
from tests.support.disks import Disk
from tests.support.place import PATIENT
from tests.support.processes import run

__all__ = ["app", "here"]  # fixtures

PLAN = Plan.model_validate({"recording": Path("r"), "to": "http://127.0.0.1:1", "idle_target": True})


def onto(here: Field, disk: Disk, *more: str) -> list[str]:
    here.runs = disk.folder / "runs"
    return here.arguments("--idle-target", *more)


def whole(folder: Path) -> bool:
    """Whether every line and every map of a folder can be read, and nothing lies about."""
    for name in ("journal.jsonl", "seconds.jsonl"):
        text = (folder / name).read_text()
        assert text == "" or text.endswith("\n")
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    with (folder / "routes.msgpack").open("rb") as file:
        unpacker = msgpack.Unpacker(file, strict_map_key=False)
        assert all(isinstance(found, dict) for found in unpacker)
        assert unpacker.tell() == (folder / "routes.msgpack").stat().st_size
    return not list(folder.glob("*.part"))


def test_a_disk_that_fills_up_fails_the_run_and_nobody_gets_less(here: Field, disk: Disk) -> None:
    with here.start(*onto(here, disk)) as replay:
        here.flowing(50)
        disk.fill()
        assert replay.wait() == Exit.FAILED
    assert len(here.arrivals()) == 300  # it went on
    told = " ".join((here.folder / "replay.out").read_text().replace("│", " ").split())
    assert "(exit code 1)" in told
    assert re.search(r"not written the (histogram log|counts of each \w+): \d+ entr(y|ies) of it w", told), told
    assert "report.json: it can't be written: No space left on device" in told
    assert "look at report.html" not in told
    (folder,) = here.runs.iterdir()
    assert whole(folder)
    assert not {"report.json", "report.html", "junit.xml"} & {path.name for path in folder.iterdir()}
    assert report_of(folder).exit_code == Exit.FAILED


def test_a_page_that_has_no_room_fails_the_run_in_report_json_too(here: Field, disk: Disk) -> None:
    done = run(*onto(here, disk, "--max-requests", "50"))
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    (folder,) = here.runs.iterdir()
    assert whole(folder)
    found = read_report(folder)
    assert found.exit_code == Exit.FAILED
    assert found.unwritten == [f"{folder}/report.html: it can't be written: No space left on device"]
    assert (found.stop, found.accounts.answered) == ("ended", 50)
    assert not (folder / "report.html").exists()
    assert "its books were written" in (folder / "junit.xml").read_text()


def test_what_ended_otherwise_keeps_its_exit_code(here: Field, disk: Disk) -> None:
    with here.start(*onto(here, disk)) as replay:
        here.flowing(30)
        disk.fill()
        replay.stop()
        assert replay.wait() == Exit.INTERRUPTED
    assert "not written" in (here.folder / "replay.out").read_text()


def test_a_run_that_can_not_have_a_folder_does_not_begin_and_leaves_none(here: Field, disk: Disk) -> None:
    disk.fill()
    done = run(*onto(here, disk))
    assert done.returncode == Exit.CONFIGURATION
    assert "can't be written: No space left on device" in " ".join(done.stderr.split())
    assert here.lines() == []
    assert list(here.runs.iterdir()) == []


def test_a_good_file_stays_where_a_new_one_has_no_room(here: Field, disk: Disk) -> None:
    done = run(*here.arguments("--idle-target", "--max-requests", "20"), env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    (folder,) = here.runs.iterdir()
    good = disk.folder / "junit.xml"
    good.write_text("good")
    disk.fill()
    done = run("report", str(folder), "--junit", str(good))
    assert done.returncode != Exit.DONE
    assert "No space left on device" in done.stderr
    assert good.read_text() == "good"
    assert not list(disk.folder.glob("*.part"))


def test_entries_are_written_whole_or_not_at_all_and_counted(disk: Disk) -> None:
    folder = Folder(disk.folder, "run", PLAN)
    ballast = disk.fill()
    lines = [json.dumps({"number": number, "padding": "x" * 700}) for number in range(40)]
    for line in lines[:20]:
        folder.second(line)
    assert folder.unwritten
    ballast.unlink()
    for line in lines[20:]:
        folder.second(line)
    (told,) = folder.finish(report()).unwritten
    written = (folder.path / "seconds.jsonl").read_text().splitlines()
    assert set(written) <= set(lines)
    assert written[-20:] == lines[20:]
    assert told == (
        f"the counts of each second: {40 - len(written)} entries of it were not written (No space left on device)"
    )


def test_a_page_that_can_not_be_drawn_costs_the_page_and_not_what_is_told(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "run", PLAN)
    ended = folder.finish(report())
    assert (ended.unwritten, ended.exit_code) == ([], Exit.DONE)
    line = f'{{"start": 0, "end": 1, "sent": {10**400}}}\n'  # nothing of ours writes that, and no chart can show it
    (folder.path / "seconds.jsonl").write_text(line)
    told = write_beside(ended, folder.path)
    assert told.exit_code == read_report(folder.path).exit_code == Exit.FAILED
    assert "report.html: it can't be made: " in told.unwritten[0]
    assert (folder.path / "junit.xml").exists()


def test_whatever_is_in_the_way_is_not_touched(disk: Disk) -> None:
    there = disk.folder / "run"
    there.mkdir()
    (there / "mine").write_text("mine")
    with pytest.raises(UserError, match="File exists"):
        Folder(disk.folder, "run", PLAN)
    assert (there / "mine").read_text() == "mine"
