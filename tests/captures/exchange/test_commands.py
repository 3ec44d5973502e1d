"""`reamp captures import` and `export` as people type them."""

import gzip
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from typer.testing import CliRunner, Result

from captures.batch import BatchWriter
from captures.reader import Capture
from captures.records import Record
from captures.verify import verify
from reamp.cli import run as front_door
from reamp.commands.captures import app
from rules.exits import UserError
from tests.captures.making import MS, NOON, record
from tests.support.processes import reamp

LOG = '10.0.0.1 - - [21/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "x"\n'
CURL = "curl -H 'Authorization: Bearer hunter2' http://shop.example/\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def refused(result: Result, *words: str) -> None:
    assert isinstance(result.exception, UserError), result
    assert all(word in str(result.exception) for word in words), result.exception


def records(folder: str = "out") -> list[Record]:
    return list(Capture(Path(folder)).records())


def made(*some: Record) -> Path:
    with BatchWriter(Path("in")) as batch:
        for one in some:
            batch.write(one)
    return Path("in")


def test_a_file_becomes_a_capture_that_verifies() -> None:
    Path("access.log").write_text(LOG * 3)
    result = run("import", "access.log", "-o", "out", "--authority", "shop.example")
    assert result.exit_code == 0
    assert "access.log (access log): 3 records" in result.stdout
    assert "lost in 3: duration: the log tells none, it counts as 0" in result.stdout
    assert [one.arrival_ns - NOON for one in records()] == [0, 333_333_333, 666_666_666]
    assert verify(Path("out")).ok
    header = Capture(Path("out")).segments[0].header
    assert header
    assert header.extra == {"made_by": "import", "from": ["access.log"]}


def test_secrets_are_replaced_as_when_recording() -> None:
    Path("c.sh").write_text(CURL)
    assert run("import", "c.sh", "-o", "out").exit_code == 0
    (one,) = records()
    assert dict(one.headers)[b"Authorization"].startswith(b"Bearer redacted-")
    assert stat.S_IMODE(Path(".reamp/redaction.key").stat().st_mode) == 0o600
    header = Capture(Path("out")).segments[0].header
    assert header
    assert header.redaction["key"]
    run("import", "c.sh", "-o", "again")
    assert records("again")[0].headers == one.headers, "equal secrets have equal pseudonyms"


def test_bodies_and_paths_are_redacted_too_and_by_rules_of_ones_own() -> None:
    target: dict[str, object] = {
        "method": "POST",
        "url": "http://shop.example/?token=hunter2",
        "body": "eyJwYXNzd29yZCI6Imh1bnRlcjMifQ==",
    }
    target |= {"header": {"Content-Type": ["application/json"], "X-Nick": ["hunter4"]}}
    Path("t.json").write_text(json.dumps(target))
    Path("rules.yaml").write_text("headers: [x-nick]\n")
    assert run("import", "t.json", "-o", "out", "--redaction-rules", "rules.yaml").exit_code == 0
    assert "hunter" not in repr(records())
    assert list(json.loads(records()[0].body)) == ["password"]
    Path("rules.yaml").write_text("nonsense: 1\n")
    refused(run("import", "t.json", "-o", "no", "--redaction-rules", "rules.yaml"), "rules.yaml")


def test_secrets_stay_only_if_that_is_said_and_with_a_warning() -> None:
    Path("c.sh").write_text(CURL)
    result = run("import", "c.sh", "-o", "out", "--no-redaction")
    assert "warning: nothing is redacted" in result.stderr
    assert dict(records()[0].headers)[b"Authorization"] == b"Bearer hunter2"
    assert not Path(".reamp").exists()


def test_synthetic_traffic_is_left_out_and_counted() -> None:
    Path("c.sh").write_text(CURL + "curl -H 'x-load-test: run-7' http://shop.example/\n")
    result = run("import", "c.sh", "-o", "out")
    assert "left out 1: requests that bear a load tag" in result.stdout
    assert len(records()) == 1


def test_times_of_what_has_none() -> None:
    Path("t.json").write_text('{"method":"GET","url":"http://shop.example/"}\n' * 3)
    run("import", "t.json", "-o", "out", "--rate", "4/s", "--start", "2026-11-21T12:00:00Z")
    assert [(one.arrival_ns - NOON) // MS for one in records()] == [0, 250, 500]
    assert "one second apart" in run("import", "t.json", "-o", "now").stdout
    refused(run("import", "t.json", "-o", "no", "--rate", "4"), "--rate")
    refused(run("import", "t.json", "-o", "no", "--rate", "0/s"), "nothing ever comes")
    refused(run("import", "t.json", "-o", "no", "--start", "soon"), "--start", "is not a time")
    Path("access.log").write_text(LOG)
    refused(run("import", "access.log", "-o", "no", "--rate", "4/s"), "access.log", "formats without times")


def test_several_files_and_standard_input_of_several_formats() -> None:
    Path("access.log.gz").write_bytes(gzip.compress(LOG.encode()))
    Path("c.sh.zst").write_bytes(zstandard.compress(CURL.encode()))
    result = run("import", "access.log.gz", "-", "c.sh.zst", "-o", "out", "--json", stdin=LOG.encode() * 2)
    told = json.loads(result.stdout)
    assert told["records"] == 4
    assert [(one["file"], one["format"], one["records"]) for one in told["files"]] == [
        *(("access.log.gz", "log", 1), ("-", "log", 2), ("c.sh.zst", "curl", 1)),
    ]


def test_what_is_broken_is_named_and_the_rest_comes_in() -> None:
    Path("access.log").write_text(LOG + "garbage\n" * 15 + LOG)
    result = run("import", "access.log", "-o", "out")
    assert result.exit_code == 0
    assert "2 records, 15 broken" in result.stdout
    assert "broken: line 2: it is not in the format combined" in result.stdout
    assert "broken: 5 more" in result.stdout


def test_strict_writes_nothing_if_anything_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Path("access.log").write_text(LOG + "garbage\n")
    assert front_door(["captures", "import", "access.log", "-o", "out", "--strict"]) == 1
    told = capsys.readouterr()
    assert "line 2" in told.err
    assert "nothing was written" in told.err
    assert not Path("out").exists()
    assert sorted(path.name for path in Path().iterdir()) == [".reamp", "access.log"]


@pytest.mark.parametrize(
    ("name", "data", "options", "words"),
    [
        ("x.bin", b"\0\1\2", [], ("x.bin", "no format that is known", "--format")),
        ("x", b"", [], ("it is empty",)),
        ("x.har", b'{"log": ', [], ("x.har", "no JSON")),
        ("x.log", b"what\n", [], ("x.log", "--log-format")),
        ("x.log", LOG.encode(), ["--format", "har"], ("it is no JSON",)),
        ("x.log", LOG.encode(), ["--format", "pcap"], ("--format", "pcap", "goreplay")),
        ("x.log", LOG.encode(), ["--format", "har", "--log-format", "common"], ("is for access logs",)),
        ("x.log", LOG.encode(), ["--scheme", "gopher"], ("--scheme",)),
        ("x.log", LOG.encode(), ["--log-format", "$status"], ("holds no request",)),
        ("x.gz", gzip.compress(LOG.encode() * 99, mtime=0)[:-20], ["--format", "log"], ("x.gz", "torn off")),
        ("x.sh", b"# nothing\n", [], ("there is no request to import",)),
    ],
)
def test_what_cannot_be_imported_is_refused(name: str, data: bytes, options: list[str], words: tuple[str, ...]) -> None:
    Path(name).write_bytes(data)
    refused(run("import", name, "-o", "out", *options), *words)
    assert not Path("out").exists()


def test_places_that_cannot_be_read_or_written_are_refused() -> None:
    Path("access.log").write_text(LOG)
    refused(run("import", "nowhere.log", "-o", "out"), "nowhere.log", "No such file")
    refused(run("import", ".", "-o", "out"), "directory")
    refused(run("import", "access.log", "-o", "no/where"), "no folder no")
    Path("full").mkdir()
    Path("full/x").touch()
    refused(run("import", "access.log", "-o", "full"), "not an empty folder")


def test_a_bomb_of_zeros_fills_no_memory() -> None:
    Path("x.log.gz").write_bytes(gzip.compress(LOG.encode() + b"\0" * (100 << 20)))
    result = run("import", "x.log.gz", "-o", "out")
    assert "1 broken" in result.stdout
    assert "longer than 1 MiB" in result.stdout


# --- export ---


@pytest.mark.parametrize("name", ["har", "mitmproxy", "goreplay", "jsonl"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_there_and_back(name: str, packed: str) -> None:
    asked = record(headers=((b"Host", b"shop.example"), (b"Content-Length", b"2")), body=b"ab", body_size=2)
    some = [asked._replace(arrival_ns=NOON + n * MS, path=f"/{n}") for n in range(50)]
    out = run("export", made(*some), "--to", name, "-o", f"x.{name}{packed}")
    assert out.exit_code == 0, out.exception
    assert "50 records" in out.stdout
    assert "lost" not in out.stdout
    assert run("import", f"x.{name}{packed}", "-o", "out", "--no-redaction").exit_code == 0
    assert records() == some


def test_losses_are_told_with_their_numbers() -> None:
    folder = made(record(scheme="https"), record(), record(NOON + 1, method="A B"))
    result = run("export", folder, "--to", "goreplay", "-o", "x.gor")
    assert "lost in 1: scheme https" in result.stdout
    assert "left out 1: methods that are no token" in result.stdout
    told = json.loads(run("export", folder, "--to", "vegeta", "-o", "x.json", "--json").stdout)
    assert told["lost"]["status"] == 3
    assert told["records"] == 3


def test_part_of_a_capture() -> None:
    folder = made(*(record(NOON + n * 1000 * MS, path=f"/{n}") for n in range(10)))
    narrow = ["--from", "+2s", "--until", "+8s", "--only", "~u /[3579]", "--except", "~u /5"]
    run("export", folder, "--to", "jsonl", "-o", "x.jsonl", *narrow)
    assert [json.loads(line)["path"] for line in Path("x.jsonl").read_text().splitlines()] == ["/3", "/7"]
    refused(run("export", folder, "--to", "jsonl", "-o", "y.jsonl", "--only", "~u /none"), "no record")
    assert not Path("y.jsonl").exists()


def test_synthetic_records_do_not_go_out() -> None:
    folder = made(record(), record(headers=((b"Baggage", b"loadtest=x"),)))
    told = json.loads(run("export", folder, "--to", "jsonl", "-o", "x.jsonl", "--json").stdout)
    assert told["records"] == 1
    assert sum(told["left_out"].values()) == 1


def test_vegeta_targets_can_be_sent_elsewhere_and_fit_its_schema() -> None:
    folder = made(record(body=b"\xff", body_size=1, headers=((b"X", b"1"), (b"X", b"2"))))
    run("export", folder, "--to", "vegeta", "-o", "x.json", "--target", "http://127.0.0.1:8000/")
    target = json.loads(Path("x.json").read_text())
    assert target == {
        "method": "GET",
        "url": "http://127.0.0.1:8000/item/7?full=1",
        "body": "/w==",
        "header": {"X": ["1", "2"]},
    }


def test_a_file_that_is_there_is_not_written_over_unless_told() -> None:
    folder = made(record())
    Path("x.har").write_text("mine")
    refused(run("export", folder, "--to", "har", "-o", "x.har"), "--force")
    assert Path("x.har").read_text() == "mine"
    assert run("export", folder, "--to", "har", "-o", "x.har", "--force").exit_code == 0
    assert json.loads(Path("x.har").read_text())["log"]["entries"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ("--to", "say which format")),
        (["--to", "curl"], ("'curl' is no format",)),
        (["--to", "har", "--target", "http://x"], ("--target is for artillery, k6, locust, vegeta",)),
        (["--to", "k6", "--target", "shop.example"], ("--target", "write it like")),
        (["--to", "k6", "--target", "http://x/path"], ("without a path",)),
        (["--to", "har", "-o", "no/where.har"], ("cannot write no/where.har",)),
        (["--to", "har", "-o", "in"], ("is a folder",)),
    ],
)
def test_what_cannot_be_exported_is_refused(options: list[str], words: tuple[str, ...]) -> None:
    result = run("export", made(record()), *options)
    refused(result, *words)


def test_standard_output_holds_the_file_and_nothing_else() -> None:
    folder = made(record(), record(NOON + 1))
    done = subprocess.run(
        reamp("captures", "export", str(folder), "--to", "jsonl"), capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [200, 200]
    assert "2 records" in done.stderr


def test_a_reader_that_has_seen_enough_ends_it() -> None:
    folder = made(*(record(NOON + n, path=f"/{n}" * 100) for n in range(5000)))
    head = f"{' '.join(reamp('captures', 'export', str(folder), '--to', 'jsonl'))} | head -n 1"
    piped = subprocess.run(["bash", "-o", "pipefail", "-c", head], capture_output=True, text=True, check=False)
    assert piped.returncode == 0
    assert len(piped.stdout.splitlines()) == 1
    assert "Traceback" not in piped.stderr
    (told,) = piped.stderr.splitlines()
    assert "5,000 records" not in told


def test_help_comes_without_mitmproxy() -> None:
    code = "import sys; from reamp.cli import run; run(['captures', 'import', '--help']); "
    code += "sys.exit('mitmproxy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_strangers_sent_never_reaches_the_terminal_raw() -> None:
    Path("access.log").write_bytes(LOG.encode() + b'\x1b]0;owned\x07 "\n' + LOG.replace("GET /a", "\x1b[31m").encode())
    result = run("import", "access.log", "-o", "out")
    assert "2 broken" in result.stdout
    assert not {"\x1b", "\x07"} & set(result.output)
