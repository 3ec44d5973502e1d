"""The file of an incident, as whoever gets it reads it."""

from pathlib import Path

import pytest

from captures.batch import BatchWriter
from captures.reader import Capture
from drill.incident import read_incident, write_incident
from drill.story import RouteFigures, Story
from rules.exits import UserError
from tests.captures.making import NOON, record
from tests.support.processes import run

MADE = [record(NOON + number * 1_000_000) for number in range(100)]


def story(**more: object) -> Story:
    plain = {"source": "log", "told": "nginx's log", "begin_ns": NOON, "end_ns": NOON + 10**9, "times": "kept"}
    return Story.model_validate({**plain, "outcomes": "records", **more})


def test_it_reads_as_it_was_written(tmp_path: Path) -> None:
    told = story(notes=("two lines did not read",), statuses={"2XX": 90}, grain=60.0, seed=3)
    assert write_incident(tmp_path / "incident.reamp", told, MADE) == len(MADE)
    found = read_incident(tmp_path / "incident.reamp")
    assert found.story == told
    assert list(found.capture.records()) == MADE
    assert [path.name for path in tmp_path.iterdir()] == ["incident.reamp"]


def test_it_is_a_capture_to_all_that_reads_captures(tmp_path: Path) -> None:
    write_incident(tmp_path / "incident.reamp", story(), MADE)
    verified = run("captures", "verify", str(tmp_path / "incident.reamp"))
    assert verified.returncode == 0, verified.stdout


def test_a_capture_without_a_story_is_an_incident(tmp_path: Path) -> None:
    with BatchWriter(tmp_path / "recordings") as out:
        for one in MADE:
            out.write(one)
    found = read_incident(tmp_path / "recordings")
    assert (found.story.source, found.story.outcomes, found.story.times) == ("capture", "records", "kept")
    assert (found.story.begin_ns, found.story.end_ns) == (MADE[0].arrival_ns, MADE[-1].arrival_ns + 1)


def test_a_story_of_any_length_finds_room(tmp_path: Path) -> None:
    routes = [RouteFigures(method="GET" * 50, template="/é" * 900, count=7, quantiles={"p50": 0.1, "p96": 2.0})] * 2000
    told = story(outcomes="routes", routes=routes, notes=["x" * 5000] * 200)
    write_incident(tmp_path / "incident.reamp", told, MADE)
    found = read_incident(tmp_path / "incident.reamp").story
    assert 5 < len(found.routes) < len(routes)
    assert found.notes[-2:] == (
        f"the figures of {len(routes) - len(found.routes)} routes are not kept: there is no room",
        f"{200 - len(found.notes[:-2])} more notes are not kept: there is no room",
    )


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "incident.reamp"
    write_incident(path, story(), MADE[:5])
    with pytest.raises(UserError, match="--force"):
        write_incident(path, story(), MADE)
    with pytest.raises(UserError, match="no request"):
        write_incident(path, story(), [], force=True)
    assert Capture(path).count == 5
    write_incident(path, story(), MADE, force=True)
    assert Capture(path).count == len(MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["incident.reamp"]


def test_what_is_no_capture_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no capture"):
        read_incident(tmp_path / "incident.reamp")


def test_a_source_that_is_no_incident_yet_is_told_how_to_become_one(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text('10.0.0.1 - - [21/Nov/2026:14:02:00 +0000] "GET / HTTP/1.1" 200 5\n')
    with pytest.raises(UserError, match=r"not a capture.*reamp drill from .*access\.log -o incident\.reamp"):
        read_incident(tmp_path / "access.log")
