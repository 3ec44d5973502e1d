"""`reamp captures cat, merge, slice, stats` and what all of them have in common."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text
from typer.testing import CliRunner, Result

from captures.batch import BatchWriter
from captures.reader import Capture
from captures.records import Record
from captures.rendering import as_line
from captures.verify import verify
from reamp.commands.captures import app
from rules.exits import UserError
from tests.captures.making import MS, NOON, noise, record, records, segment

SECOND = 1000 * MS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def good(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result.stdout


def told(*arguments: object) -> str:
    """What a user is told who asked for something impossible."""
    error = run(*arguments).exception
    assert isinstance(error, UserError)
    return str(error)


def made(folder: Path, some: list[Record], segment_size: int = 64 << 20) -> Path:
    with BatchWriter(folder, segment_size=segment_size, redaction={"key": "k"}, extra={"by": "test"}) as out:
        for one in some:
            out.write(one)
    return folder


def read(folder: Path) -> list[Record]:
    assert verify(folder).ok
    return list(Capture(folder).records())


TRAFFIC = [
    record(
        NOON + number * SECOND,
        method="POST" if number % 3 == 0 else "GET",
        path=f"/api/item/{number}" if number % 2 else "/healthz",
        status=500 if number % 10 == 0 else 200,
        headers=((b"Host", b"shop.example"), (b"Cookie", b"session=redacted-%d" % (number % 7))),
    )
    for number in range(120)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "recordings", TRAFFIC, segment_size=1)


# --- slice ---


@given(
    some=st.lists(records, min_size=1, max_size=20),
    low=st.none() | st.integers(NOON, NOON + 1000),
    high=st.none() | st.integers(NOON, NOON + 1000),
)
@settings(max_examples=40)
def test_a_slice_holds_what_arrived_between(
    tmp_path_factory: pytest.TempPathFactory, some: list[Record], low: int | None, high: int | None
) -> None:
    tmp_path = tmp_path_factory.mktemp("slice")
    made(tmp_path / "all", some)
    bounds = [] if low is None else ["--from", str(low)]
    bounds += [] if high is None else ["--to", str(high)]
    result = run("slice", tmp_path / "all", *bounds, "-o", tmp_path / "new")
    expected = [
        one for one in some if (low is None or one.arrival_ns >= low) and (high is None or one.arrival_ns < high)
    ]
    if low is not None and high is not None and low >= high:
        assert "has to lie before --to" in str(result.exception)
    elif not expected:
        assert "there is no record" in str(result.exception)
        assert not (tmp_path / "new").exists()
    else:
        assert sorted(map(repr, read(tmp_path / "new"))) == sorted(map(repr, expected))


def test_times_can_be_written_in_many_ways(folder: Path, tmp_path: Path) -> None:
    expected = TRAFFIC[60:90]
    for number, (low, high) in enumerate(
        [
            ("2026-11-21T12:01:00Z", "2026-11-21 13:01:30+01:00"),
            ("-59s", "-29s"),
            ("+1m", "+1m30s"),
            ("12:01", "12:01:30"),
            (str(NOON // SECOND + 60), f"{NOON // SECOND + 90}.0"),
        ]
    ):
        out = tmp_path / str(number)
        said = good("slice", folder, "--from", low, "--to", high, "-o", out)
        assert read(out) == expected
        assert said.startswith("30 records in ")
        assert f", 2026-11-21T12:01:00.000Z to 2026-11-21T12:01:29.000Z: {out}" in said


def test_a_slice_holds_what_matches_and_says_where_it_came_from(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    good("slice", folder, "--from", "+1m", "--only", "~m POST", "--except", "~u /healthz | ~c 500", "-o", out)
    expected = [one for one in TRAFFIC[60:] if one.method == "POST" and one.path != "/healthz" and one.status != 500]
    assert read(out) == expected
    (segment,) = Capture(out).segments
    (source,) = {one.header.writer for one in Capture(folder).segments if one.header}
    assert segment.header
    assert segment.header.redaction == {"key": "k"}
    assert segment.header.extra == {
        "made_by": "slice",
        "from": [{"writer": source, "segments": [1, len(Capture(folder).segments)]}],
        "from_ns": NOON + 60 * SECOND,
        "only": "~m POST",
        "except": "~u /healthz | ~c 500",
    }


def test_a_slice_reads_only_the_blocks_that_it_needs(tmp_path: Path) -> None:
    """Blocks outside are overwritten with noise; nobody notices."""
    pieces = segment([[record(NOON + block * SECOND + n) for n in range(50)] for block in range(10)])
    for number in (1, 2, 3, 4, 7, 8, 9, 10):
        pieces[number] = noise(len(pieces[number]))
    (tmp_path / "x.reamp").write_bytes(b"".join(pieces))
    good("slice", tmp_path / "x.reamp", "--from", "+4s", "--to", "+6s", "-o", tmp_path / "new")
    assert len(read(tmp_path / "new")) == 100


def test_an_empty_slice_is_told_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    said = told("slice", folder, "--from", "13:00", "--only", "~m PUT", "-o", tmp_path / "new")
    assert said == (
        "there is no record from 2026-11-21T13:00:00.000Z on, that matches '~m PUT': "
        "the capture holds 120 records, 2026-11-21T12:00:00.000Z to 2026-11-21T12:01:59.000Z"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_a_slice_never_overwrites(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    assert "exists and is not an empty folder: name one that is not there yet" in told("slice", folder, "-o", folder)
    assert sorted(folder.iterdir()) == before
    assert "there is no folder" in told("slice", folder, "-o", tmp_path / "no" / "new")


# --- merge ---


def test_merged_captures_come_by_arrival_and_segments_once(folder: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", [one._replace(arrival_ns=one.arrival_ns + MS) for one in TRAFFIC])
    copy = tmp_path / "copy"
    copy.mkdir()
    first = min(folder.iterdir())
    (copy / first.name).write_bytes(first.read_bytes())
    result = run("merge", folder, other, copy, folder, "-o", tmp_path / "new")
    assert result.exit_code == 0
    assert f"{copy / first.name} is left out: {first} is the same segment" in result.stderr
    assert "was named twice: it is taken once" in result.stderr
    expected = sorted([*TRAFFIC, *read(other)], key=lambda one: one.arrival_ns)
    assert read(tmp_path / "new") == expected
    assert {source.count for source in [Capture(tmp_path / "new")]} == {240}


def test_of_two_copies_of_a_segment_the_longer_one_is_taken(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", TRAFFIC)
    (file,) = whole.iterdir()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / file.name).write_bytes(file.read_bytes()[:400])
    for order in ((torn, whole), (whole, torn)):
        out = tmp_path / f"new-{order[0].name}"
        run("merge", *order, "-o", out)
        assert read(out) == TRAFFIC


def test_slices_that_overlap_are_noticed_and_joined_again(folder: Path, tmp_path: Path) -> None:
    good("slice", folder, "--to", "+80s", "-o", tmp_path / "a")
    good("slice", folder, "--from", "+40s", "-o", tmp_path / "b")
    result = run("merge", tmp_path / "a", tmp_path / "b", "--unique", "-o", tmp_path / "ab")
    assert result.exit_code == 0
    assert "left out: 40 records that were there already" in result.stderr
    assert read(tmp_path / "ab") == TRAFFIC
    result = run("merge", folder, tmp_path / "b", "-o", tmp_path / "twice")
    assert "was made of others that are here too: --unique takes equal records once" in result.stderr
    assert len(read(tmp_path / "twice")) == 200


def test_equal_records_that_are_real_stay_without_being_asked(tmp_path: Path) -> None:
    log = [record(NOON)] * 3 + [record(NOON, path="/b"), record(NOON)]
    assert len(read(made(tmp_path / "log", log))) == 5
    good("merge", tmp_path / "log", "-o", tmp_path / "new")
    assert len(read(tmp_path / "new")) == 5


def test_what_was_redacted_in_either_is_kept_of_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with BatchWriter(tmp_path / name, redaction={"key": name}) as out:
            out.write(record())
    good("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "new")
    (segment,) = Capture(tmp_path / "new").segments
    assert segment.header
    assert segment.header.redaction == {"several": [{"key": "a"}, {"key": "b"}]}


def test_more_about_redaction_than_a_header_holds_is_cut_and_that_is_said(tmp_path: Path) -> None:
    for number in range(12):
        with BatchWriter(tmp_path / f"{number}", redaction={"key": str(number), "headers": ["x" * 5_000]}) as out:
            out.write(record(NOON + number))
    good("merge", *(tmp_path / f"{number}" for number in range(12)), "-o", tmp_path / "new")
    (segment,) = Capture(tmp_path / "new").segments
    assert segment.header
    assert [one["key"] for one in segment.header.redaction["several"]] == [str(number) for number in range(6)]
    assert segment.header.redaction["more"] == 6
    assert len(read(tmp_path / "new")) == 12


def test_of_more_than_a_header_holds_the_number_is_told(tmp_path: Path) -> None:
    sources = []
    for number in range(10):
        said = {"recorded": {"only": str(number) * 4000}}
        with BatchWriter(tmp_path / str(number), redaction={"key": "k"}, extra=said) as out:
            out.write(record(NOON + number))
        sources.append(tmp_path / str(number))
    good("merge", *sources, "-o", tmp_path / "all")
    told = json.loads(good("ls", tmp_path / "all", "--json"))["recorded"]
    assert [one["only"][0] for one in told[:-1]] == ["0", "1", "2", "3"]
    assert told[-1] == {"more": 6}
    assert "what at least 6 more sidecars recorded is not told" in " ".join(good("ls", tmp_path / "all").split())


def test_what_was_written_is_told_to_programs_too(folder: Path, tmp_path: Path) -> None:
    for command in ("slice", "merge"):
        found = json.loads(good(command, folder, "-o", tmp_path / command, "--json"))
        assert found == {
            "output": str(tmp_path / command),
            "records": 120,
            "bytes": sum(path.stat().st_size for path in (tmp_path / command).iterdir()),
            "first_ns": NOON,
            "last_ns": NOON + 119 * SECOND,
            "left_out": 0,
        }


def test_nothing_merged_is_an_empty_capture(tmp_path: Path) -> None:
    made(tmp_path / "a", [])
    assert "0 records in" in good("merge", tmp_path / "a", "-o", tmp_path / "new")
    assert read(tmp_path / "new") == []


# --- cat ---


def test_cat_prints_a_line_for_each_record(folder: Path) -> None:
    lines = good("cat", folder, "--from", "+1m58s").splitlines()
    assert lines == [
        "2026-11-21T12:01:58.000Z GET http://shop.example/healthz -> 200 512B 3.000ms",
        "2026-11-21T12:01:59.000Z GET http://shop.example/api/item/119 -> 200 512B 3.000ms",
    ]
    assert as_line(record(body=b"x", body_size=9, status=0)).endswith(" +9B -> no answer 3.000ms")


def test_cat_prints_json_with_all_that_a_record_holds(tmp_path: Path) -> None:
    odd = record(headers=((b"x", b"\xff"), (b"x", b"\xc3\xa4")), body=b"\xff\0", body_size=9, path="/\udcff\x1b")
    made(tmp_path / "odd", [record(body=b'{"a": 1}', body_size=8), odd])
    output = good("cat", tmp_path / "odd", "--json")
    assert output.isascii(), "nothing of it may reach a terminal raw"
    plain, strange = map(json.loads, output.splitlines())
    assert plain == {
        "time": "2026-11-21T12:00:00.000Z",
        "arrival_ns": NOON,
        "method": "GET",
        "scheme": "http",
        "authority": "shop.example",
        "path": "/item/7?full=1",
        "http_version": "HTTP/1.1",
        "headers": [["Host", "shop.example"], ["Accept", "*/*"]],
        "body": '{"a": 1}',
        "body_size": 8,
        "status": 200,
        "response_size": 512,
        "ttfb_ns": 2 * MS,
        "duration_ns": 3 * MS,
    }
    assert strange["headers"] == [["x", {"base64": "/w=="}], ["x", "\u00e4"]]
    assert (strange["body"], strange["path"]) == ({"base64": "/wA="}, {"base64": "L/8b"})


def test_what_strangers_sent_reaches_no_terminal_raw(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\u202e\x9b"
    made(tmp_path / "x", [record(path=f"/{evil}", method=evil, authority=evil, http_version=evil)])
    for arguments in (["cat"], ["cat", "--json"], ["stats"], ["stats", "--json"], ["ls", "--json"], ["top", "--json"]):
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(run(*arguments, tmp_path / "x").output)


# --- stats, top, show, ls ---


def test_stats_gives_figures(folder: Path) -> None:
    found = json.loads(good("stats", folder, "--json", "--only", "~u /api"))
    assert (found["records"], found["statuses"], found["methods"]) == (60, {"200": 60}, {"GET": 40, "POST": 20})
    assert found["per_second"] == pytest.approx(60 / 118)
    assert [window["peak"] for window in found["bursts"]] == [1, 1, 1, 5]
    assert found["seconds"]["p50"] == pytest.approx(0.003, rel=0.001)
    assert (found["sessions"]["count"], found["sessions"]["requests_by"]) == (7, {"cookie": 60})
    lines = good("stats", folder)
    for words in ("120 records, 2026-11-21T12:00:00.000Z to", "dispersion", "over time", "p99.9", "a cookie 100.0%"):
        assert words in lines
    assert "statuses   200 90.0%, 500 10.0%" in lines


def test_stats_of_nothing(folder: Path, tmp_path: Path) -> None:
    made(tmp_path / "empty", [])
    assert "there is no record: the capture holds 0 records" in good("stats", tmp_path / "empty")
    assert json.loads(good("stats", folder, "--json", "--only", "~m PUT"))["records"] == 0


@pytest.mark.parametrize("columns", ["80", "160"])
def test_tables_fit_the_terminal(folder: Path, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", columns), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    for command in ("ls", "stats", "top"):
        lines = Text.from_ansi(good(command, folder)).plain.splitlines()
        assert max(map(len, lines)) <= int(columns)
        assert not any("\u2026" in line for line in lines), "nothing is cut off"


def test_ls_shows_the_rate_at_any_width(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("80", "140", "160"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "█" in good("ls", folder)


def test_ls_reads_no_block(tmp_path: Path) -> None:
    pieces = segment([[record(NOON), record(NOON + 9 * SECOND)]])
    pieces[1] = noise(len(pieces[1]))
    (tmp_path / "x.reamp").write_bytes(b"".join(pieces))
    assert json.loads(good("ls", tmp_path, "--json")) == {
        "records": 2,
        "bytes": sum(map(len, pieces)),
        "first_ns": NOON,
        "last_ns": NOON + 9 * SECOND,
        "recorded": [],
        "segments": [
            {
                "file": "x.reamp",
                "state": "closed",
                "encrypted_to": [],
                "writer": "w1",
                "sequence": 1,
                "records": 2,
                "bytes": sum(map(len, pieces)),
                "first_ns": NOON,
                "last_ns": NOON + 9 * SECOND,
            }
        ],
    }


def test_top_counts_what_was_asked_for(folder: Path) -> None:
    def counted(*arguments: str) -> dict[str, int]:
        found = json.loads(good("top", folder, "--json", *arguments))
        return {f"{one['method']} {one['path']}": one["count"] for one in found["endpoints"]}

    assert counted("--method", "post") == {"POST /healthz": 20, "POST /api/item/{id}": 20}
    assert counted("--method", "POST", "--method", "GET", "--to", "+30s", "--except", "~u healthz") == {
        "GET /api/item/{id}": 10,
        "POST /api/item/{id}": 5,
    }


def test_show_counts_what_matches(folder: Path) -> None:
    assert (
        good("show", folder, "2", "--only", "~c 500", "--at", "12:01")
        .splitlines()[0]
        .startswith("# 2026-11-21T12:01:10")
    )
    assert "there is no record number 13 that matches" in told("show", folder, "13", "--only", "~c 500")


# --- what goes wrong ---


@pytest.mark.parametrize("command", [["cat"], ["stats"], ["top"], ["slice", "-o", "NEW"]], ids=lambda words: words[0])
def test_wrong_times_and_filters_are_told(folder: Path, tmp_path: Path, command: list[str]) -> None:
    name, *rest = [str(tmp_path / "new") if word == "NEW" else word for word in command]
    assert "--from: 'yesterday' is not a time" in told(name, folder, *rest, "--from", "yesterday")
    assert "--to: '-15' is not a time: write it like -15m" in told(name, folder, *rest, "--to", "-15")
    said = told(name, folder, *rest, "--from", "12:01", "--to", "12:00:30")
    assert said == "--from (2026-11-21T12:01:00.000Z) has to lie before --to (2026-11-21T12:00:30.000Z)"
    assert "there is no operator ~nope" in told(name, folder, *rest, "--only", "~nope")
    assert "which a recording does not hold" in told(name, folder, *rest, "--except", "~bs x")
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


@pytest.mark.parametrize(
    "command", [["cat"], ["stats"], ["ls"], ["slice", "-o", "NEW"], ["merge", "-o", "NEW"]], ids=lambda words: words[0]
)
def test_what_is_no_capture_is_told(tmp_path: Path, command: list[str]) -> None:
    name, *rest = [str(tmp_path / "new") if word == "NEW" else word for word in command]
    assert "there is no such folder" in told(name, tmp_path / "nowhere", *rest)
    (tmp_path / "empty").mkdir()
    assert "it holds no *.reamp files" in told(name, tmp_path / "empty", *rest)
    (tmp_path / "notes.reamp").write_text("notes")
    assert "is not a capture" in told(name, tmp_path / "notes.reamp", *rest)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "command",
    [["cat"], ["stats"], ["top"], ["show", "1"], ["slice", "-o", "NEW"], ["merge", "-o", "NEW"]],
    ids=lambda words: words[0],
)
def test_damage_is_named_costs_its_block_and_shows_in_the_exit_code(tmp_path: Path, command: list[str]) -> None:
    pieces = segment([[record(NOON + block * SECOND + n) for n in range(50)] for block in range(3)])
    pieces[2] = pieces[2][:-1] + bytes([pieces[2][-1] ^ 1])
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "x.reamp").write_bytes(b"".join(pieces))
    (folder / "y.reamp").write_bytes(b"")
    name, *rest = [str(tmp_path / "new") if word == "NEW" else word for word in command]
    folders = [made(tmp_path / "other", [record(NOON + 9)]), folder] if name == "merge" else [folder]
    result = run(name, *folders, *rest)
    assert result.exit_code == 1
    assert "y.reamp is empty" in result.stderr
    if name != "show":  # which reads no further than it has to
        assert "damaged: x.reamp at byte" in result.stderr
    if "-o" in command:
        assert len(read(tmp_path / "new")) == 100 + len(folders) - 1


def test_a_command_that_needs_no_filter_does_not_wait_for_mitmproxy(folder: Path) -> None:
    code = (
        "import sys; from reamp.cli import run; assert run(sys.argv[1:]) == 0; "
        "loaded = {'mitmproxy', 'hdrh', 'httpx', 'uvloop', 'starlette'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code, "captures", "ls", str(folder)], check=True, capture_output=True)


def test_segments_that_retention_removes_meanwhile_cost_only_themselves(folder: Path) -> None:
    capture = Capture(folder)
    found = capture.records()
    next(found)
    for gone in capture.segments[1:]:
        gone.path.unlink()
    first = len(list(Capture(folder).records()))
    assert len(list(found)) == first - 1
    assert len(capture.damage) == len(capture.segments) - 1
    assert "it cannot be read: No such file" in capture.damage[0]


# --- the document ---

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/captures.md"


def test_every_command_in_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one folder, on twenty-four minutes of traffic like those in the document."""
    lines = re.findall(r"^\$ reamp captures (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(lines) > 12
    half_past_eight = NOON + 30_600 * SECOND
    traffic = [
        record(half_past_eight + number * SECOND, path=path, method=method, status=status)
        for number in range(1440)
        for path, method, status in [
            [("/search?q=lamp", "GET", 200), ("/api/cart", "POST", 200), (f"/item/{number}", "GET", 503)][number % 3]
        ]
    ]
    made(tmp_path / "recordings", traffic)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = shlex.split(line)
        arguments = words[: words.index("|")] if "|" in words else words
        assert good(*arguments), line
    assert len(read(tmp_path / "last-quarter")) == 901  # the last one is in it, and so is the one 15 minutes before
    assert len(read(tmp_path / "posts")) == 100
    assert len(read(tmp_path / "both")) == 901
