"""`reamp drill from`, as somebody at a terminal sees it."""

import json
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from captures.batch import BatchWriter
from drill.incident import read_incident
from reamp.cli import run
from rules.exits import Exit
from tests.captures.making import NOON, record
from tests.support.disks import Disk
from tests.support.processes import eventually, reamp

SECOND = 10**9


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten minutes of one request a second, with a minute in which the cart fails."""
    monkeypatch.chdir(tmp_path)
    with BatchWriter(tmp_path / "recordings") as out:
        for number in range(600):
            failing = 300 <= number < 360 and number % 2
            path = "/cart" if number % 2 else f"/item/{number}"
            out.write(record(NOON + number * SECOND, path=path, status=503 if failing else 200))
    (tmp_path / "odd.json").write_text('{"hello": 1}')
    (tmp_path / "access.log").write_text(
        "".join(
            f'10.0.0.1 - - [21/Nov/2026:12:{second // 60:02d}:{second % 60:02d} +0000] "GET /item/7 HTTP/1.1" 200 512\n'
            for second in range(600)
        )
    )
    (tmp_path / "top.csv").write_text("url,count\n/,400\n")
    return tmp_path


def drill(*words: str) -> int:
    return run(["drill", "from", *words])


def test_it_says_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("recordings", "--around-peak", "2m", "-o", "incident.reamp") == Exit.DONE
    told = capsys.readouterr().out
    for words in (
        "the capture recordings",
        "(2m)",
        "120, 1/s",
        "GET /cart",
        "GET /item/{id}",
        "5XX",
        "the peak is about",
    ):
        assert words in told
    assert told.endswith("written: incident.reamp\n")


def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("recordings", "--from", "12:04", "--until", "12:07", "-o", "incident.reamp", "--json") == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["requests"], told["seconds"], told["failed"]) == (180, 180, 30 / 180)
    assert (told["output"], told["source"], told["times"]) == ("incident.reamp", "capture", "kept")
    assert {route["path"]: route["failed"] for route in told["routes"]} == {"/cart": 30 / 90, "/item/{id}": 0}


def test_a_log_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((folder / "access.log").read_bytes())))
    assert drill("-", "--authority", "shop.example", "-o", "incident.reamp") == Exit.DONE
    found = read_incident(folder / "incident.reamp")
    assert found.capture.count == 600
    assert {one.authority for one in found.capture.records()} == {"shop.example"}
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".reamp"]


def test_no_key_is_made_where_there_is_nothing_to_replace(folder: Path) -> None:
    assert drill("recordings", "-o", "incident.reamp") == Exit.DONE
    assert not (folder / ".reamp").exists()


@pytest.mark.parametrize("source", ["-", "access.log", "top.csv"])
def test_a_full_disk_is_told_and_nothing_is_left_on_it(
    folder: Path, disk: Disk, source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((folder / "access.log").read_bytes())))
    disk.fill()
    more = ["--duration", "1m"] if source == "top.csv" else []
    assert drill(source, *more, "-o", str(disk.folder / "incident.reamp")) == Exit.FAILED
    assert "No space left on device" in capsys.readouterr().err
    assert [one.name for one in disk.folder.iterdir()] == ["ballast"]


def test_the_format_of_a_log(folder: Path) -> None:
    (folder / "odd.log").write_text("1795262400 GET /a\n1795262401 GET /b\n")
    assert drill("odd.log", "--log-format", "$msec $request_method $request_uri", "-o", "incident.reamp") == Exit.DONE
    assert [one.path for one in read_incident(folder / "incident.reamp").capture.records()] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere", "-o", "new.reamp"], "nowhere: No such file or directory"),
        (["recordings", "-o", "recordings"], "recordings is a folder"),
        (["recordings", "-o", "access.log"], "is there already: --force"),
        (["recordings", "-o", "nowhere/new.reamp"], "there is no folder nowhere"),
        (["recordings", "--from", "13:00", "-o", "new.reamp"], "nothing is known of 2026-11-21T13:00"),
        (["top.csv", "-o", "new.reamp"], "say how long it counted with --duration 30m"),
        (
            ["top.csv", "--from", "14:02", "--to", "14:31", "--duration", "29m", "-o", "new.reamp"],
            "leave one of them out",
        ),
        (["recordings", "--from", "12:05", "--to", "12:04", "-o", "new.reamp"], "has to lie before --until"),
        (["recordings", "--around-peak", "10", "-o", "new.reamp"], "--around-peak: '10' is not a duration"),
        (["recordings", "--around-peak", "0s", "-o", "new.reamp"], "give it like 10m"),
        (["recordings", "--only", "~u /nothing", "-o", "new.reamp"], "no request of the incident is left"),
        (["recordings", "access.log", "-o", "new.reamp"], "different kinds"),
        (
            ["top.csv", "--duration", "1m", "--fill-from", "nowhere", "-o", "new.reamp"],
            "reamp: --fill-from: nowhere: No",
        ),
        (["recordings", "--rate", "5/s", "-o", "new.reamp"], "--rate and --start are for requests without times"),
        (["access.log", "--format", "har", "-o", "new.reamp"], "access.log"),
        (["access.log", "--rate", "5/s", "-o", "new.reamp"], "formats without times"),
        (["access.log", "--log-format", "%h", "-o", "new.reamp"], "it holds no request"),
        (["odd.json", "-o", "new.reamp"], "Read are captures, access logs, HAR, CSV, Upsun's and Prometheus' JSON"),
    ],
)
def test_mistakes_are_told_in_a_line(
    folder: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drill(*words) in {Exit.CONFIGURATION, Exit.FAILED}
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (folder / "new.reamp").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_it_finds_nothing_left_behind(folder: Path, number: signal.Signals) -> None:
    before = sorted(path.name for path in folder.iterdir())
    command = reamp("drill", "from", "-", "-o", "incident.reamp")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder) as process:
        eventually(lambda: any(path.name.startswith(".incident-") for path in folder.iterdir()))
        process.send_signal(number)
        assert process.wait(30) == Exit.INTERRUPTED
    assert sorted(path.name for path in folder.iterdir()) == before
