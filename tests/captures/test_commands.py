import asyncio
import json
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner, Result

from captures import codec
from captures.records import Record
from reamp.cli import run as front_door
from reamp.commands.captures import app
from rules.exits import UserError
from rules.units import Size
from rules.wire import Accounting
from tests.captures.making import MS, NOON, record, segment, write

SECOND = 1000 * MS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def traffic() -> list[Record]:
    """60 seconds: items are asked for often, one report is slow."""
    made = [record(NOON + n * SECOND // 10, path=f"/item/{n}?a=b", duration_ns=10 * MS) for n in range(600)]
    made += [record(NOON + n * 6 * SECOND, path="/report", duration_ns=2 * SECOND, status=503) for n in range(10)]
    return sorted(made, key=lambda one: one.arrival_ns + one.duration_ns)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(write(tmp_path / "recordings", traffic(), segment_size=Size(1), block_size=Size(16 << 10)))
    return tmp_path / "recordings"


def test_ls_lists_segments_and_adds_up(folder: Path) -> None:
    result = run("ls", folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    segments = list(folder.glob("*.reamp"))
    assert len(segments) >= 2
    assert all(any(path.name in line and "closed" in line for line in lines) for path in segments)
    assert "2026-11-21 12:00:00" in lines[2]
    assert lines[-1].startswith("610 records in")
    assert "2026-11-21T12:00:00.000Z to 2026-11-21T12:00:59.900Z" in lines[-1]


def test_ls_shows_what_is_torn_and_what_is_no_segment(folder: Path) -> None:
    last = max(folder.glob("*.reamp"))
    last.write_bytes(last.read_bytes()[:-30])
    (folder / "x.reamp").write_bytes(b"")
    result = run("ls", folder)
    assert "torn" in result.stdout
    assert "x.reamp is empty" in result.stderr


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


def seen(result: Result) -> list[str]:
    return [line.rstrip() for line in Text.from_ansi(result.stdout).plain.splitlines()]


@pytest.mark.usefixtures("terminal")
def test_ls_tells_segments_and_their_state_in_eighty_columns(folder: Path) -> None:
    lines = seen(run("ls", folder))
    assert max(map(len, lines)) <= 80
    for path in folder.glob("*.reamp"):
        (row,) = [line for line in lines if path.stem.partition("Z-")[2] in line]
        assert row.endswith("closed")
        assert "2026-11-21 12:00" in row


@pytest.mark.usefixtures("terminal")
def test_ls_has_room_for_a_day_and_millions(tmp_path: Path) -> None:
    head, block, _ = segment([[record(NOON), record(NOON + 86_399 * SECOND)]])
    day = codec.Footer(
        closed_ns=NOON,
        why="end",
        records=9_999_999,
        first_ns=NOON,
        last_ns=NOON + 86_399 * SECOND,
        accounting=Accounting(),
    )
    index = [(len(head), NOON, NOON + 86_399 * SECOND, 9_999_999)]
    footer = codec.pack_footer(day, index, len(head) + len(block))
    (tmp_path / "20261121T120000.000000Z-8f3a01bc-000001.reamp").write_bytes(head + block + footer)
    assert seen(run("ls", tmp_path))[2].split() == [
        *("8f3a01bc-000001", "2026-11-21", "12:00", "23h59m59s", "9,999,999"),
        *(f"{len(head + block + footer)}", "B", "████████", "closed"),
    ]


@pytest.mark.usefixtures("terminal")
def test_verify_wraps_below_its_headings(folder: Path) -> None:
    last = max(folder.glob("*.reamp"))
    last.write_bytes(last.read_bytes()[:-30])
    lines = seen(run("verify", folder))
    start = next(number for number, line in enumerate(lines) if "has no footer" in line)
    assert all(line.startswith("    ") for line in lines[start : start + 4])
    assert "being answered" in " ".join(lines[start : start + 4])


def test_ls_gives_no_rate_of_an_instant(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path, [record(NOON), record(NOON + MS)]))
    assert "/s" not in run("ls", tmp_path).stdout


@pytest.mark.usefixtures("terminal")
def test_long_reading_shows_how_far_it_is(folder: Path) -> None:
    assert "610/610" in run("top", folder).stderr
    assert "/600" in run("show", folder, 600).stderr
    assert "reading" in run("verify", folder).stderr


def test_show_gives_one_request_as_http(folder: Path) -> None:
    result = run("show", folder, 3)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:3] == [
        "# 2026-11-21T12:00:00.100Z  http://shop.example",
        "GET /item/1?a=b HTTP/1.1",
        "Host: shop.example",
    ]
    assert "# answered 200, 512 bytes, first byte after 2.000 ms, all after 10.000 ms" in result.stdout


def damaged(folder: Path) -> Path:
    first = min(folder.glob("*.reamp"))
    data = bytearray(first.read_bytes())
    block = codec.FRAME_PATTERN.search(data)
    assert block is not None
    data[block.end() + 20] ^= 4
    first.write_bytes(data)
    return folder


@pytest.mark.parametrize("arguments", [["show"], ["show", "--curl"], ["top"], ["top", "--json"]])
def test_damage_that_was_met_is_told(folder: Path, arguments: list[str]) -> None:
    assert "damaged: " in run(*arguments, damaged(folder)).stderr


@pytest.mark.parametrize("moment", ["2026-11-21T12:00:30.1Z", "2026-11-21 13:00:30.1+01:00", "1795262430.1"])
def test_show_finds_a_moment(folder: Path, moment: str) -> None:
    assert "GET /item/301?" in run("show", folder, "--at", moment).stdout
    assert "GET /item/303?" in run("show", folder, 3, "--at", moment).stdout


def test_show_gives_a_curl_command(folder: Path) -> None:
    shown = run("show", folder, 3, "--curl").stdout
    assert shown.startswith("curl -sS -i -X 'GET' -H 'Host: shop.example'")
    assert shown.endswith("'http://shop.example/item/1?a=b'\n")


def test_show_says_when_there_is_no_such_record(folder: Path) -> None:
    for arguments in (["show", folder, 611], ["show", folder, "--at", "2027-01-01"]):
        error = run(*arguments).exception
        assert isinstance(error, UserError)
        assert "the capture holds 610" in str(error)
    error = run("show", folder, "--at", "yesterday").exception
    assert isinstance(error, UserError)
    assert "--at: 'yesterday' is not a time" in str(error)


@pytest.mark.parametrize(("by", "first"), [("impact", "/report"), ("count", "/item/{id}"), ("time", "/report")])
def test_top_ranks_endpoints(folder: Path, by: str, first: str) -> None:
    top = json.loads(run("top", folder, "--by", by, "--json").stdout)
    assert top["records"] == 610
    assert [top["endpoints"][0]["path"], len(top["endpoints"])] == [first, 2]
    report = next(entry for entry in top["endpoints"] if entry["path"] == "/report")
    assert report == {
        "method": "GET",
        "path": "/report",
        "count": 10,
        "share": pytest.approx(10 / 610),
        "mean_seconds": pytest.approx(2.0),
        "impact_seconds": pytest.approx(20.0),
        "impact_share": pytest.approx(20 / 26),
        "failed": 10,
    }
    table = run("top", folder, "--by", by, "-n", 1).stdout
    assert first in table
    assert "610 records, 2 endpoints, 1 more not shown" in table


def test_top_of_nothing_is_nothing(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path, []))
    assert "0 records, 0 endpoints" in run("top", tmp_path).stdout
    assert json.loads(run("top", tmp_path, "--json").stdout) == {"records": 0, "endpoints": []}
    assert "no records" in run("ls", tmp_path).stdout
    assert run("verify", tmp_path).exit_code == 0


def test_verify_says_that_all_is_there(folder: Path) -> None:
    result = run("verify", folder)
    assert result.exit_code == 0
    assert "610 seen = 610 written + 0 synthetic" in result.stdout
    assert "610 records: the capture is whole, and its accounts reconcile" in result.stdout
    report = json.loads(run("verify", folder, "--json").stdout)
    assert (report["ok"], report["records"]) == (True, 610)


def test_verify_lists_gaps_and_goes_on(tmp_path: Path) -> None:
    made = [record(at + n * SECOND // 10) for at in (NOON, NOON + 600 * SECOND) for n in range(100)]
    asyncio.run(write(tmp_path, made))
    result = run("verify", tmp_path)
    assert result.exit_code == 0
    assert "gaps without any record, far longer than usual: 1" in result.stdout
    assert "2026-11-21T12:00:09.900Z to 2026-11-21T12:10:00.000Z, 9m50.1s: " in result.stdout
    assert "1 segments, 2026-11-21T12:00:00.000Z to 2026-11-21T12:10:09.900Z" in result.stdout


def test_verify_exits_with_one_on_damage(folder: Path) -> None:
    result = run("verify", damaged(folder))
    assert result.exit_code == 1
    assert "damage: at byte" in result.stdout
    assert "NOT in order" in result.stdout
    assert json.loads(run("verify", folder, "--json").stdout)["ok"] is False


def test_verify_exits_with_one_on_a_torn_tail(folder: Path) -> None:
    last = max(folder.glob("*.reamp"))
    last.write_bytes(last.read_bytes()[:-30])
    result = run("verify", folder)
    assert result.exit_code == 1
    assert "at most 1s of finished requests if the disk kept up" in result.stdout


def test_verify_repairs_into_a_new_folder(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    damaged(folder)
    broken = {file.name: file.read_bytes() for file in folder.iterdir()}
    clean = folder.with_name("clean")
    result = run("verify", folder, "--repair", "-o", clean)
    assert result.exit_code == 0, result.output
    assert f"{len(broken) - 1} segments copied as they were, 1 made whole again" in result.stdout
    assert "the capture is whole, and its accounts reconcile" in result.stdout
    assert "records were lost before the capture was repaired" in result.stdout
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == broken != before
    report = json.loads(run("verify", clean, "--json").stdout)
    assert report["ok"]
    assert report["records"] + report["lost_before"] == 610
    error = run("verify", folder, "--repair", "-o", clean).exception
    assert isinstance(error, UserError)
    assert "exists and is not an empty folder" in str(error)


@pytest.mark.parametrize("arguments", [["--repair"], ["-o", "x"]])
def test_verify_wants_both_or_neither_of_repair_and_out(folder: Path, arguments: list[str]) -> None:
    error = run("verify", folder, *arguments).exception
    assert isinstance(error, UserError)
    assert "--repair -o NEW" in str(error)


def test_verify_claims_no_accounts_that_were_not_written_down(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path, traffic()))
    (file,) = tmp_path.glob("*.reamp")
    file.write_bytes(file.read_bytes()[:-30])
    told = run("verify", tmp_path).stdout
    assert "as segment 1 was opened; what came then is not accounted for yet" in told


@pytest.mark.parametrize("command", ["ls", "show", "top", "verify"])
def test_without_a_capture_the_user_is_told_what_to_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, hint in (([command], True), ([command, tmp_path], False)):
        error = run(*arguments).exception
        assert isinstance(error, UserError)
        assert "no capture in" in str(error)
        assert ("Say where the recordings are: reamp captures ls DIR" in str(error)) == hint


def test_the_default_folder_is_recordings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert "610 records" in run("ls").stdout


def test_what_strangers_sent_never_reaches_the_terminal_raw(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\u202e"
    made = [record(path=f"/{evil}", headers=((b"x", evil.encode() + b"\xff\n"),), body=evil.encode(), body_size=99)]
    asyncio.run(write(tmp_path, made))
    for arguments in (["show", tmp_path], ["show", tmp_path, "--curl"], ["top", tmp_path], ["ls", tmp_path]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(result.output)


def test_the_front_door_turns_verdicts_into_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert front_door(["captures", "verify", str(folder)]) == 0
    first = min(folder.glob("*.reamp"))
    first.write_bytes(first.read_bytes()[:-1])
    assert front_door(["captures", "verify", str(folder)]) == 1
    assert front_door(["captures", "ls", str(folder / "nowhere")]) == 104
    told = capsys.readouterr()
    assert "no capture in" in told.err
    assert "Traceback" not in told.err + told.out
